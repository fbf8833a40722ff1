"""One step after the other, written as instructions; see `loops` for their order.

A table from operator to function: each writes what its node asks for. What is added,
multiplied or reshaped is done where the value is brought back, or is no work at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from accel.tpu import vectors
from accel.tpu.isa.isa import (
    BEGIN_AT_ZERO,
    WIDTHS,
    Instruction,
    Opcode,
    PaddingKind,
    PoolingKind,
    Register,
)
from accel.tpu.isa.loops import parts
from accel.tpu.isa.program import Tensor
from accel.tpu.machine import TpuMachine
from accel.workload.gemm import Gemm
from configs import program as nodes
from configs.errors import InputError
from configs.program import Node, Step, entry

# Issued to units whose results the next step must wait for.
_AWAITED = (Opcode.Activate, Opcode.Read_Host_Memory, Opcode.Vector)


@dataclass(frozen=True, kw_only=True)
class PlacedLayer:
    """One step in its place."""

    name: str
    # None for a matrix product of which no more is known, and for a state of zeros.
    step: Step | None
    # Of all values that it takes or makes, by name; the means as "STEP means".
    tensors: Mapping[str, Tensor]
    # What the product reads, or the network; and what is made.
    source: Tensor
    output: Tensor
    # Powers of two that its inputs are multiples of.
    exponents: Mapping[str, int] = field(default_factory=dict)
    # The step's product, block of parameters and first weight tile.
    gemm: Gemm | None = None
    parameters: int = 0
    tile: int = 0
    # The output is the input, or a part of it where it stands.
    part: bool = False

    @property
    def holder(self) -> str:
        """Whose weights, or whose grid and table; "" of a step that holds nothing."""
        step = self.step
        if step is None:
            return ""
        if step.product is not None:
            return step.product.weights
        return step.activate.owner if step.activate is not None else ""

    @property
    def means(self) -> Tensor | None:
        """Where the channel means go that pad the input."""
        return self.tensors.get(f"{self.name} means")


@dataclass(kw_only=True)
class Writer:
    """The program as far as it is written."""

    machine: TpuMachine
    speed: int = 1
    instructions: list[Instruction] = field(default_factory=list)
    # Layer of each instruction, and the one that is being written.
    layer: list[int] = field(default_factory=list)
    current: int = -1
    registers: dict[Register, int] = field(
        default_factory=lambda: dict.fromkeys(BEGIN_AT_ZERO, 0)
    )
    # Something was issued that the next matmul must wait for.
    unsynced: bool = False

    def put(self, opcode: Opcode, **fields: int | bool) -> None:
        self.instructions.append(Instruction(opcode=opcode, **fields))
        self.layer.append(self.current)
        self.unsynced |= opcode in _AWAITED

    def set(self, **values: int) -> None:
        """Sets the registers that do not hold their values yet."""
        for name, value in values.items():
            register = Register[name]
            if self.registers.get(register) != value:
                self.registers[register] = int(value)
                self.put(
                    Opcode.Set_Configuration, acc_address=int(register), length=int(value)
                )

    def sync(self) -> None:
        if self.unsynced:
            self.put(Opcode.Sync)
            self.unsynced = False

    def read(self, tensor: Tensor) -> None:
        self.put(Opcode.Read_Host_Memory, ub_address=tensor.row, length=tensor.bytes)

    def write(self, work: PlacedLayer) -> None:
        """All instructions of one step."""
        if work.part:
            return
        if work.step:
            for node in work.step.nodes:
                entry(_RULES, node, "accel.tpu.isa.writer")(self, work, node)
        elif work.gemm:
            self.set(channels=work.gemm.K)
            self.product(work, None)
        else:
            self.vector(work.output, vectors.zeros(work.output), work.output.bytes)

    def vector(self, out: Tensor, values: Mapping, *read_bytes: int) -> None:
        """Vector on a tensor, with its registers and the bytes of each operand."""
        side = self.machine.side
        for name, value in values.items():
            if isinstance(value, tuple):
                tensor, inside = value
                value = tensor.row * side + inside
            self.set(**{name: value})
        # It works on tensors, which the host or the activation unit has to have written.
        self.sync()
        rows = sum(-(-size // side) for size in read_bytes)
        self.put(Opcode.Vector, ub_address=out.row, length=rows)

    def set_map(
        self, shape: nodes.Shape, window: nodes.Pair, stride: nodes.Pair, out: nodes.Shape
    ) -> None:
        """A map, and the window that runs over it."""
        self.set(height=shape[0], width=shape[1], channels=shape[2])
        self.set(kernel_height=window[0], kernel_width=window[1])
        self.set(stride_down=stride[0], stride_right=stride[1])
        self.set(output_height=out[0], output_width=out[1])

    def pool(
        self, source: Tensor, row: int, kind: str, window: nodes.Pair, stride: nodes.Pair,
        out: nodes.Shape, pads: tuple[nodes.Ends, nodes.Ends] = ((0, 0), (0, 0)),
    ) -> None:  # fmt: skip
        """Pooling of a tensor in the unified buffer into another."""
        self.set_map(source.shape, window, stride, out)
        (top, bottom), (left, right) = pads
        self.set(pool_top=top, pool_bottom=bottom, pool_left=left, pool_right=right)
        self.set(pooling=PoolingKind[kind], images=source.images, destination=row)
        self.set(signed=source.signed)
        # It works on tensors, which the host or the activation unit has to have written.
        self.sync()
        rows = -(-source.bytes // self.machine.side)
        self.put(Opcode.Activate, ub_address=source.row, length=rows, from_ub=True)

    def product(self, work: PlacedLayer, node: nodes.Product | None) -> None:
        """All tiles of a step's matrix product; repeats one after the other."""
        gemm, machine = work.gemm, self.machine
        k_tiles, n_tiles = tile_grid(gemm, machine.side)
        columns = node.features if node else gemm.N
        self.set(output_channels=columns, parameters=work.parameters)
        self.set(signed=work.source.signed)
        self.sync()
        convolve = node is not None and node.kernel is not None
        for part in parts(gemm.M, [(k_tiles, n_tiles * gemm.repeats)], machine):
            self.set(first_row=part.first_row)
            if node:
                self._set_group(node, part.n // n_tiles)
            if part.new_tile:
                tile = work.tile + part.tile
                self.put(Opcode.Read_Weights, ub_address=tile, length=1)
            acc = part.half * machine.half_rows
            self.put(
                Opcode.Convolve if convolve else Opcode.MatrixMultiply,
                ub_address=work.source.row, acc_address=acc, length=part.rows,
                tile=part.k, speed=self.speed, new_tile=part.new_tile,
                accumulate=part.k > 0,
            )  # fmt: skip
            if part.last:
                self.put(
                    Opcode.Activate, ub_address=work.output.row, acc_address=acc,
                    length=part.rows, tile=part.n % n_tiles,
                )  # fmt: skip

    def _set_group(self, node: nodes.Product, repeat: int) -> None:
        """Channels that a repeat reads, and columns that it writes; 0 where it is all."""
        channels = node.K
        if node.kernel is not None:
            channels //= node.kernel[0] * node.kernel[1]
        whole = node.groups == 1
        self.set(first_channel=0 if whole else repeat // node.parts * channels)
        self.set(group_channels=0 if whole else channels)
        alone = node.repeats == 1
        self.set(first_column=0 if alone else repeat * node.N)
        self.set(group_columns=0 if alone else node.N)


def _pad(writer: Writer, work: PlacedLayer, node: nodes.Pad) -> None:
    """The means of channels, where these pad. A product pads as it reads; for others the
    map is moved into a larger one."""
    source = work.tensors[node.input]
    if work.means:
        shape = source.shape[:2]
        writer.pool(source, work.means.row, "mean", shape, shape, (1, 1))
        writer.set(means=work.means.row)
    if work.step.product is None:
        writer.set(padding=PaddingKind[node.kind])
        writer.pool(source, work.output.row, "pad", (1, 1), (1, 1), node.shape, node.pads)


def _product(writer: Writer, work: PlacedLayer, node: nodes.Product) -> None:
    if node.kernel is None:
        writer.set(channels=work.source.shape[-1])
    else:
        pad = work.step.find(nodes.Pad)
        writer.set_map(work.source.shape, node.kernel, node.stride, node.shape)
        (top, _), (left, _) = pad.pads if pad else ((0, 0), (0, 0))
        kind = pad.kind if pad else "zero"
        writer.set(pad_top=top, pad_left=left, padding=PaddingKind[kind])
        down, right = node.dilation
        writer.set(skip_down=down - 1, skip_right=right - 1)
    writer.product(work, node)


def _activate(writer: Writer, work: PlacedLayer, node: nodes.Activate) -> None:
    """Of sums that a product left it is part of that; else of values in the buffer."""
    if work.step.product is not None:
        return
    found = vectors.terms(work.step, work.exponents)
    sizes = [work.tensors[name].bytes for term in found for name in term.factors]
    writer.set(parameters=work.parameters)
    values = vectors.summed(work.step, work.tensors, work.exponents)
    writer.vector(work.output, values, *sizes)


def _pool(writer: Writer, work: PlacedLayer, node: nodes.Pool) -> None:
    source = work.tensors[node.input]
    # A window of a whole channel moves nowhere, or by its own size.
    channels = len(work.output.shape) == 1
    writer.pool(
        source, work.output.row, node.kind, node.window,
        node.window if channels else node.stride, node.shape, node.pads,
    )  # fmt: skip


def _slice(writer: Writer, work: PlacedLayer, node: nodes.Slice) -> None:
    source = work.tensors[node.input]
    values = vectors.cut(node, source, work.output)
    writer.vector(work.output, values, work.output.bytes)


def _concat(writer: Writer, work: PlacedLayer, node: nodes.Concat) -> None:
    before = 0
    for name in node.inputs:
        part = work.tensors[name]
        values = vectors.joined(node, part, before, work.output)
        writer.vector(work.output, values, part.bytes)
        before += part.shape[node.axis]


def _nothing(writer: Writer, work: PlacedLayer, node: Node) -> None:
    """Done where the value is brought back, or no work at all."""


_RULES: dict[type[Node], Callable[..., None]] = {
    nodes.Pad: _pad,
    nodes.Product: _product,
    nodes.Activate: _activate,
    nodes.Pool: _pool,
    nodes.Reshape: _nothing,
    nodes.Slice: _slice,
    nodes.Concat: _concat,
    nodes.Add: _nothing,
    nodes.Mul: _nothing,
}


def tile_grid(gemm: Gemm, side: int) -> tuple[int, int]:
    """Tiles along K and along N; refuses more than an instruction can number."""
    k_tiles, n_tiles = -(-gemm.K // side), -(-gemm.N // side)
    most = 1 << WIDTHS["tile"]
    if max(k_tiles, n_tiles) > most:
        raise InputError(
            f"`{gemm.name}` (={gemm.K} x {gemm.N} weights) must have at most {most} tiles "
            f"of {side} in each direction; use a larger `side`."
        )
    return k_tiles, n_tiles
