"""From a network to a program.

    for each step of the network's program that moves or computes anything:
      Sync, unless all activations and host reads so far are waited for
      for part in `loops.parts`: tiles of N, pairs of chunks of M's rows, tiles of K
        [Read_Weights]; MatrixMultiply or Convolve, adding to the sums where k > 0
        [Activate]
      or pooling, or Vector

Where K has several tiles, a step reads tiles of K * tiles of N * pairs of chunks; where
it has one, tiles of N. Weights do not wait for the Sync: they are fetched ahead, as far
as the FIFO goes. A product that is repeated (groups of a convolution, gates of an LSTM
cell) has tiles of its own each time; products that share their weights share them. A
state is set to zeros before the step that reads it first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from accel.tpu.isa.isa import Opcode
from accel.tpu.isa.layout import Layout, fitted, is_part
from accel.tpu.isa.program import Parameters, Program, Tensor
from accel.tpu.isa.writer import PlacedLayer, Writer, tile_grid
from accel.tpu.machine import TpuMachine
from accel.tpu.sim.schedule import is_placed, product_of
from accel.tpu.vectors import terms
from accel.workload.gemm import Gemm, gemms
from configs import program as nodes
from configs.checks import brief
from configs.errors import InputError
from configs.network import Network
from quant.network import Format, IntNetwork, IntStep


def compile_network(
    network: IntNetwork, images: int, machine: TpuMachine, *, keep: bool = False
) -> Program:
    """The program that runs a batch of images through an integer network.

    With `keep` every step's output still stands in the unified buffer at the end.

    Raises:
      InputError: what does not fit the unified buffer or the weight memory, or what no
        instruction does, by name.
    """
    _require_images(images)
    graph, formats = network.program, network.starts
    layout = fitted(graph, images, machine, keep=keep)
    for one in network.walk():
        formats[one.name] = one.output
        if one.step.find(nodes.Pad):
            formats[f"{one.name} means"] = one.input
    tensors = {
        name: _signed(name, tensor, formats[name])
        for name, tensor in layout.tensors.items()
    }
    layout = replace(layout, tensors=tensors)
    exponents = {name: kind.exponent for name, kind in formats.items()}
    for one in network.walk():
        _require_bytes(one)
    blocks: dict[tuple, Parameters] = {}
    works = [
        _with_block(work, network, blocks)
        for work in _works(graph, layout, images, exponents)
    ]
    program = _compile(works, layout, images, machine)
    return replace(
        program,
        tiles=np.concatenate(
            [
                _cut(network.weighted[name].matrix, node.repeats, machine.side)
                for name, node in graph.weighted.items()
            ]
        ),
        parameters=tuple(blocks.values()),
        kept=keep,
    )


def compile_shapes(
    network: Network | Sequence[Gemm],
    images: int,
    machine: TpuMachine,
    *,
    speed: int = 1,
    batches: int = 1,
    whole: bool = False,
) -> Program:
    """The same program from shapes alone: it has a duration and no results.

    A list of products stands for layers one after the other whose maps are not known:
    no unified buffer is laid out, the host sends the rows of the first product and gets
    those of the last. A network whose steps are no chain (it forks, joins or keeps a
    state) is taken as its products, too, as the paper's model is, unless it is wanted
    `whole`, as it is executed. Registers say nothing of grids and signs. At a `speed` of
    2 or 4 activations have 16 bits. With several `batches` one runs after the other, and
    the next input arrives during the last layer with weights.
    """
    _require_images(images)
    how = {"element_bytes": 1 if speed == 1 else 2}
    if is_placed(network, whole):
        graph, own_input = network.program, batches > 1
        layout = fitted(graph, images, machine, own_input=own_input, **how)
        works = list(_works(graph, layout, images, dict.fromkeys(graph.by_name, 0)))
        seen: dict[str, int] = {}
        works = [
            replace(work, parameters=seen.setdefault(work.holder, len(seen)))
            if work.holder
            else work
            for work in works
        ]
    else:
        layout = Layout(tensors={}, rows=0)
        found = gemms(network, images) if isinstance(network, Network) else network
        works = [_bare(gemm, images, **how) for gemm in found]
        works = [replace(one, parameters=number) for number, one in enumerate(works)]
    return _compile(works, layout, images, machine, speed=speed, batches=batches)


def _require_images(images: int) -> None:
    if type(images) is not int or images < 1:
        raise InputError(
            f"`images` (={brief(images)}) must be a whole number of 1 or more."
        )


def _signed(name: str, tensor: Tensor, kind: Format) -> Tensor:
    """The tensor with its sign; refuses values that it has no room for."""
    if kind.dtype.itemsize != tensor.element_bytes:
        raise InputError(
            f"`bits` (={kind.bits}) of `{name}` must be 8 or fewer, unless the network "
            f"gives its grid (an LSTM's cell); quantise it to a byte."
        )
    return replace(tensor, signed=kind.signed)


def _require_bytes(one: IntStep) -> None:
    """Refuses values of two bytes where instructions have one."""
    narrow = one.step.find((nodes.Product, nodes.Pool)) is not None
    looked_up = one.activated is not None and one.activated.table is not None
    kinds = [*one.inputs, one.output] if narrow else [one.output] * looked_up
    if any(kind.bits > 8 for kind in kinds):
        raise InputError(
            f"`{one.name}` (=16 bits) must have 8 bits or fewer: the TPU multiplies, pools "
            f"and looks up bytes; only what is added, multiplied by a value or moved may "
            f"be wider."
        )


def _works(
    graph: nodes.Program, layout: Layout, images: int, exponents: Mapping[str, int]
) -> Iterator[PlacedLayer]:
    """The steps that move anything in their places, each state before its first reader."""
    tensors, seen = layout.tensors, set()
    for step in graph.steps:
        for name in step.inputs:
            if isinstance(graph.by_name[name], nodes.State) and name not in seen:
                seen.add(name)
                here = tensors[name]
                yield PlacedLayer(
                    name=name, step=None, tensors={}, source=here, output=here
                )
        node = step.product
        names = (*step.inputs, step.name, f"{step.name} means")
        yield PlacedLayer(
            name=step.name,
            step=step,
            part=is_part(step, graph),
            tensors={name: tensors[name] for name in names if name in tensors},
            source=tensors[step.inputs[0]],
            output=tensors[step.name],
            exponents={name: exponents[name] for name in step.inputs},
            gemm=product_of(step, node, images) if node else None,
        )


def _with_block(
    work: PlacedLayer, network: IntNetwork, blocks: dict[tuple, Parameters]
) -> PlacedLayer:
    """The work with its block of the activation unit's parameters, each once; one that
    needs none as it is."""
    holder = work.holder
    if not holder:
        return work
    if work.gemm:
        key, block = (holder,), Parameters.of(network.weighted[holder])
    else:
        exponent = min(term.exponent for term in terms(work.step, work.exponents))
        block = Parameters.rescaling(network.activated[holder], exponent)
        key = (holder, block.shift)
    blocks.setdefault(key, block)
    return replace(work, parameters=list(blocks).index(key))


def _bare(gemm: Gemm, images: int, element_bytes: int) -> PlacedLayer:
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
    return PlacedLayer(
        name=gemm.name, step=None, tensors={}, source=source, output=output, gemm=gemm
    )


def _compile(
    works: list[PlacedLayer],
    layout: Layout,
    images: int,
    machine: TpuMachine,
    *,
    speed: int = 1,
    batches: int = 1,
) -> Program:
    works, used = _with_tiles(works, machine)
    writer = Writer(machine=machine, speed=speed)
    last = max(number for number, work in enumerate(works) if work.gemm)
    source, output = layout.tensors.get("input", works[0].source), works[-1].output
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


def _with_tiles(
    works: list[PlacedLayer], machine: TpuMachine
) -> tuple[list[PlacedLayer], np.ndarray]:
    """Works with their tiles numbered, those that share weights the same; rows and columns
    of each tile."""
    numbered, used, tiles = [], [], 0
    begins: dict[str, int] = {}
    for work in works:
        if work.gemm and (work.holder or work.name) not in begins:
            begins[work.holder or work.name] = tiles
            used.append(_used(work.gemm, machine.side))
            tiles += len(used[-1])
        begin = begins.get(work.holder or work.name, 0)
        numbered.append(replace(work, tile=begin) if work.gemm else work)
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


def _cut(matrix_KN: np.ndarray, repeats: int, side: int) -> np.ndarray:
    """Weights as tiles (T, side, side), repeats outermost, then tiles of N, padded with
    zeros."""
    tiles = []
    for part_KN in np.split(matrix_KN, repeats, axis=1):
        K, N = part_KN.shape
        padded = np.pad(part_KN, ((0, -K % side), (0, -N % side)))
        grid = padded.reshape(len(padded) // side, side, -1, side)
        tiles.append(grid.transpose(2, 0, 1, 3).reshape(-1, side, side))
    return np.concatenate(tiles)
