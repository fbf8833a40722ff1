"""One layer after the other, written as instructions; see `loops` for their order."""

from __future__ import annotations

from dataclasses import dataclass, field

from accel.gemm import Gemm
from accel.tpu.isa import WIDTHS, Instruction, Opcode, PaddingKind, PoolingKind, Register
from accel.tpu.loops import parts
from accel.tpu.machine import TpuMachine
from accel.tpu.program import Tensor
from configs.errors import InputError, unknown
from configs.network import Conv, Flatten, GlobalPool, LayerInfo, Pool, Shape


@dataclass(frozen=True, kw_only=True)
class Work:
    """One layer in its place."""

    name: str
    # None for a matrix product of which no more is known.
    info: LayerInfo | None
    source: Tensor
    output: Tensor
    # Where the channel means go that pad the input.
    means: Tensor | None = None
    # The layer's product, block of parameters and first weight tile, if it has weights.
    gemm: Gemm | None = None
    parameters: int = 0
    tile: int = 0


@dataclass(kw_only=True)
class Writer:
    """The program as far as it is written."""

    machine: TpuMachine
    speed: int = 1
    instructions: list[Instruction] = field(default_factory=list)
    # Layer of each instruction, and the one that is being written.
    layer: list[int] = field(default_factory=list)
    current: int = -1
    registers: dict[Register, int] = field(default_factory=dict)
    # Something was issued that the next matmul must wait for.
    unsynced: bool = False

    def put(self, opcode: Opcode, **fields: int | bool) -> None:
        self.instructions.append(Instruction(opcode=opcode, **fields))
        self.layer.append(self.current)
        self.unsynced |= opcode in (Opcode.Activate, Opcode.Read_Host_Memory)

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

    def write(self, work: Work) -> None:
        """All instructions of one layer."""
        spec = work.info.spec if work.info else None
        if work.gemm:
            if isinstance(spec, Conv):
                self._set_up(work)
            else:
                self.set(channels=work.gemm.K)
            self._product(work, isinstance(spec, Conv))
        elif spec is None:
            raise unknown(work, "accel.tpu.writer")
        elif isinstance(spec, GlobalPool):
            shape = work.source.shape[:2]
            self._pool(work.source, work.output.row, spec.kind, shape, shape, (1, 1))
        elif isinstance(spec, Pool):
            self._pool(
                work.source, work.output.row, spec.kind, spec.window, spec.stride,
                work.info.output_shape,
            )  # fmt: skip
        elif not isinstance(spec, Flatten):
            raise unknown(spec, "accel.tpu.writer")

    def _set_up(self, work: Work) -> None:
        """The map of a convolution, and what stands around it."""
        info, spec = work.info, work.info.spec
        if work.means:
            shape = work.source.shape[:2]
            self._pool(work.source, work.means.row, "mean", shape, shape, (1, 1))
            self.set(means=work.means.row)
        self._set_map(info.input_shape, spec.kernel, spec.stride, info.output_shape)
        (top, _), (left, _) = spec.pads(info.input_shape)
        padding = "zero" if spec.padding == "valid" else spec.padding
        self.set(pad_top=top, pad_left=left, padding=PaddingKind[padding])

    def _set_map(self, shape: Shape, window: Shape, stride: Shape, out: Shape) -> None:
        self.set(height=shape[0], width=shape[1], channels=shape[2])
        self.set(kernel_height=window[0], kernel_width=window[1])
        self.set(stride_down=stride[0], stride_right=stride[1])
        self.set(output_height=out[0], output_width=out[1])

    def _pool(
        self, source: Tensor, row: int, kind: str, window: Shape, stride: Shape, out: Shape
    ) -> None:
        """Pooling of a tensor in the unified buffer into another."""
        self._set_map(source.shape, window, stride, out)
        self.set(pooling=PoolingKind[kind], images=source.images, destination=row)
        self.set(signed=source.signed)
        # It works on tensors, which the host or the activation unit has to have written.
        self.sync()
        rows = -(-source.bytes // self.machine.side)
        self.put(Opcode.Activate, ub_address=source.row, length=rows, from_ub=True)

    def _product(self, work: Work, convolve: bool) -> None:
        """All tiles of a layer's matrix product; repeats one after the other."""
        gemm, machine = work.gemm, self.machine
        k_tiles, n_tiles = tile_grid(gemm, machine.side)
        self.set(output_channels=gemm.N, parameters=work.parameters)
        self.set(signed=work.source.signed)
        self.sync()
        for part in parts(gemm.M, [(k_tiles, n_tiles * gemm.repeats)], machine):
            self.set(first_row=part.first_row)
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
