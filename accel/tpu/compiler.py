"""From a network to a program.

    for each layer:
      Sync, unless all activations and host reads so far are waited for
      for part in `loops.parts`: tiles of N, pairs of chunks of M's rows, tiles of K
        [Read_Weights]; MatrixMultiply or Convolve, adding to the sums where k > 0
        [Activate]

Where K has several tiles, a layer reads tiles of K * tiles of N * pairs of chunks; where
it has one, tiles of N. Weights do not wait for the Sync: they are fetched ahead, as far
as the FIFO goes. A product that is repeated (groups of a convolution, gates of an LSTM
cell) has tiles of its own each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from accel.gemm import Gemm, gemms
from accel.tpu.isa import Opcode
from accel.tpu.layout import Layout, fitted
from accel.tpu.machine import TpuMachine
from accel.tpu.program import Parameters, Program, Tensor
from accel.tpu.writer import Work, Writer, tile_grid
from configs.checks import brief
from configs.errors import InputError
from configs.network import Conv, Dense, Flatten, GlobalPool, Network, Pool
from quant.network import IntNetwork


def compile_network(
    network: IntNetwork, images: int, machine: TpuMachine, *, keep: bool = False
) -> Program:
    """The program that runs a batch of images through an integer network.

    With `keep` every layer's output still stands in the unified buffer at the end.

    Errors: what does not fit the unified buffer or the weight memory, by name.
    """
    _require_images(images)
    layout = fitted(list(network.network.walk()), images, machine, keep=keep)
    signed = {"input": False} | {one.name: one.output.signed for one in network.walk()}
    signed |= {f"{one.name} means": one.input.signed for one in network.walk()}
    tensors = {
        name: replace(tensor, signed=signed[name])
        for name, tensor in layout.tensors.items()
    }
    layout = replace(layout, tensors=tensors)
    program = _compile(_works(network.network, layout, images), layout, images, machine)
    held = [layer.weighted for layer in network.walk() if layer.weighted]
    return replace(
        program,
        tiles=np.concatenate([_cut(one.matrix, machine.side) for one in held]),
        parameters=tuple(Parameters.of(one) for one in held),
        kept=keep,
    )


def compile_shapes(
    network: Network | Sequence[Gemm],
    images: int,
    machine: TpuMachine,
    *,
    speed: int = 1,
    batches: int = 1,
) -> Program:
    """The same program from shapes alone: it has a duration and no results.

    A list of products stands for layers one after the other whose maps are not known:
    no unified buffer is laid out, the host sends the rows of the first product and gets
    those of the last. A network with other layers than convolutions, dense ones and
    pooling is taken as its products, too. Registers do not say which channels a group of
    a convolution reads: that changes no duration. At a `speed` of 2 or 4 activations have
    16 bits. With several `batches` one runs after the other, and the next input arrives
    during the last layer with weights.
    """
    _require_images(images)
    how = {"element_bytes": 1 if speed == 1 else 2}
    if isinstance(network, Network) and not _is_placed(network):
        network = gemms(network, images)
    if isinstance(network, Network):
        own_input = batches > 1
        walk = list(network.walk())
        layout = fitted(walk, images, machine, own_input=own_input, **how)
        works = _works(network, layout, images)
    else:
        layout = Layout(tensors={}, rows=0)
        works = [_bare(gemm, images, **how) for gemm in network]
    return _compile(works, layout, images, machine, speed=speed, batches=batches)


def _require_images(images: int) -> None:
    if type(images) is not int or images < 1:
        raise InputError(
            f"`images` (={brief(images)}) must be a whole number of 1 or more."
        )


def _is_placed(network: Network) -> bool:
    """Whether it has only layers whose maps the compiler can lay out."""
    kinds = (Conv, Dense, Pool, GlobalPool, Flatten)
    return all(type(info.spec) in kinds for info in network.walk())


def _works(network: Network, layout: Layout, images: int) -> list[Work]:
    """The layers of a network in their places."""
    products = {gemm.name: gemm for gemm in gemms(network, images)}
    works, source = [], layout.tensors["input"]
    for info in network.walk():
        output = layout.tensors[info.name]
        works.append(
            Work(
                name=info.name,
                info=info,
                source=source,
                output=output,
                means=layout.tensors.get(f"{info.name} means"),
                gemm=products.get(info.name),
            )
        )
        source = output
    return works


def _bare(gemm: Gemm, images: int, element_bytes: int) -> Work:
    """A matrix product of which no more is known."""
    if gemm.images != images:
        raise InputError(
            f"`images` (={gemm.images}) of {gemm.name} must be the batch's, {images}; "
            f"make the products for that batch."
        )
    source, output = (
        Tensor(row=0, images=gemm.M, shape=(columns,), element_bytes=element_bytes)
        for columns in (gemm.K, gemm.N)
    )
    return Work(name=gemm.name, info=None, source=source, output=output, gemm=gemm)


def _compile(
    works: list[Work],
    layout: Layout,
    images: int,
    machine: TpuMachine,
    *,
    speed: int = 1,
    batches: int = 1,
) -> Program:
    works, used = _numbered(works, machine)
    writer = Writer(machine=machine, speed=speed)
    last = max(number for number, work in enumerate(works) if work.gemm)
    source, output = works[0].source, works[-1].output
    writer.read(source)
    writer.sync()
    for batch in range(batches):
        for number, work in enumerate(works):
            if number == last and batch + 1 < batches:
                writer.sync()
                writer.read(source)
                # This layer does not wait for it: the next batch's first Sync does.
                writer.unsynced = False
            writer.current = number
            writer.write(work)
            writer.current = -1
        writer.put(Opcode.Write_Host_Memory, ub_address=output.row, length=output.bytes)
    writer.put(Opcode.Halt)
    return Program(
        instructions=tuple(writer.instructions),
        layer=tuple(writer.layer),
        layers=tuple(work.name for work in works),
        images=images,
        tiles_used=used,
        tensors=layout.tensors,
        unified_buffer_rows=layout.rows,
    )


def _numbered(works: list[Work], machine: TpuMachine) -> tuple[list[Work], np.ndarray]:
    """Works with their parameters and tiles numbered; rows and columns of each tile."""
    numbered, used, tiles = [], [], 0
    for work in works:
        if work.gemm:
            numbered.append(replace(work, parameters=len(used), tile=tiles))
            used.append(_used(work.gemm, machine.side))
            tiles += len(used[-1])
        else:
            numbered.append(work)
    if not used:
        raise InputError(
            f"`network` (={len(works)} layers) must have a layer with weights; without, "
            f"the TPU has nothing to multiply."
        )
    if tiles > machine.weight_tiles:
        raise InputError(
            f"`weight_memory_bytes` (={machine.weight_memory_bytes:,}) must hold {tiles:,} "
            f"tiles of {machine.tile_bytes:,} bytes; enlarge it."
        )
    return numbered, np.concatenate(used)


def _used(gemm: Gemm, side: int) -> np.ndarray:
    """Rows and columns that carry weights, int32 (tiles, 2), tiles of N outermost."""
    k_tiles, n_tiles = tile_grid(gemm, side)
    rows = np.minimum(gemm.K - side * np.arange(k_tiles), side)
    cols = np.minimum(gemm.N - side * np.arange(n_tiles), side)
    pairs = np.stack([np.tile(rows, n_tiles), np.repeat(cols, k_tiles)], axis=1)
    return np.tile(pairs.astype(np.int32), (gemm.repeats, 1))


def _cut(matrix_KN: np.ndarray, side: int) -> np.ndarray:
    """Weights as tiles (T, side, side), tiles of N outermost, padded with zeros."""
    K, N = matrix_KN.shape
    padded = np.pad(matrix_KN, ((0, -K % side), (0, -N % side)))
    grid = padded.reshape(len(padded) // side, side, -1, side)
    return grid.transpose(2, 0, 1, 3).reshape(-1, side, side)
