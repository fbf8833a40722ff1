"""Whether every instruction stays inside the memories. Needs no JAX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accel.tpu.isa import HOST, MATMULS, Opcode, PaddingKind, PoolingKind, Register
from accel.tpu.machine import TpuMachine
from accel.tpu.program import Issued, Program
from configs.errors import InputError

_SIZES = (
    "height", "width", "channels", "kernel_height", "kernel_width", "stride_down",
    "stride_right", "output_height", "output_width",
)  # fmt: skip


def require_bounds(program: Program, issued: Sequence[Issued], machine: TpuMachine) -> None:
    """Refuses the first instruction that reaches beyond a memory or makes no sense."""
    sides = program.tiles.shape[1:]
    if sides != (machine.side, machine.side):
        raise InputError(
            f"`side` (={machine.side}) must be that of the program's tiles, {sides[0]}; "
            f"compile it for this machine."
        )
    if program.unified_buffer_rows > machine.unified_buffer_rows:
        raise InputError(
            f"`unified_buffer_bytes` (={machine.unified_buffer_bytes:,}) must hold the "
            f"{program.unified_buffer_rows * machine.side:,} that the program uses; "
            f"enlarge it."
        )
    for one in issued:
        opcode = one.instruction.opcode
        if opcode in HOST:
            _host(one, program, machine)
        elif opcode in MATMULS:
            _matmul(one, program, machine)
        elif opcode is Opcode.Activate and one.instruction.from_ub:
            _pool(one, program, machine)
        elif opcode is Opcode.Activate:
            _activate(one, program, machine)


def _register(issued: Issued, name: str) -> int:
    return issued.registers[Register[name]]


def _expect(issued: Issued, name: str, value: Any, rule: bool, rest: str) -> None:
    if not rule:
        one = issued.instruction
        raise InputError(
            f"`{name}` (={value}) of instruction {issued.number} ({one.opcode.name}) must "
            f"{rest}; change it there, or the register before it."
        )


def _inside(
    issued: Issued, name: str, row: int, size: int, program: Program, side: int
) -> None:
    """Bytes from a row of the unified buffer on must lie in what the program uses."""
    room = program.unified_buffer_rows * side
    _expect(
        issued, name, row, row * side + size <= room,
        f"leave room for {size:,} bytes in the {room:,} that the program uses",
    )  # fmt: skip


def _host(issued: Issued, program: Program, machine: TpuMachine) -> None:
    one = issued.instruction
    reads = one.opcode is Opcode.Read_Host_Memory
    most = (program.tensors["input"] if reads else program.output).bytes
    _expect(issued, "length", one.length, one.length <= most, f"be at most {most} bytes")
    # The executor moves the whole buffer and keeps the length that is asked for.
    _inside(issued, "ub_address", one.ub_address, one.length, program, machine.side)


def _rows(issued: Issued, machine: TpuMachine) -> None:
    one, half = issued.instruction, machine.half_rows
    fits = 1 <= one.length <= half
    _expect(issued, "length", one.length, fits, f"be in 1..{half} rows")
    whole = one.acc_address % half + one.length <= half
    fits = whole and one.acc_address < machine.accumulator_rows
    rule = f"leave room for {one.length} rows in its half of {half} accumulators"
    _expect(issued, "acc_address", one.acc_address, fits, rule)


def _map(issued: Issued) -> tuple[int, int]:
    """Bytes of one image, and outputs of one channel."""
    for name in _SIZES:
        value = _register(issued, name)
        _expect(issued, name, value, 1 <= value < 1 << 24, "be in 1..2^24 - 1")
    height, width, channels, P, Q = (
        _register(issued, name)
        for name in ("height", "width", "channels", "output_height", "output_width")
    )
    return height * width * channels, P * Q


def _matmul(issued: Issued, program: Program, machine: TpuMachine) -> None:
    one, side = issued.instruction, machine.side
    _rows(issued, machine)
    image, positions = _map(issued)
    images = -(-(_register(issued, "first_row") + one.length) // positions)
    _inside(issued, "ub_address", one.ub_address, images * image, program, side)
    channels, padding = _register(issued, "channels"), _register(issued, "padding")
    known = padding in tuple(PaddingKind)
    _expect(issued, "padding", padding, known, "be a known kind of padding")
    if padding == PaddingKind.mean:
        means = _register(issued, "means")
        _inside(issued, "means", means, images * channels, program, side)
    K = channels * _register(issued, "kernel_height") * _register(issued, "kernel_width")
    _expect(issued, "tile", one.tile, one.tile * side < K, f"begin below K = {K}")


def _activate(issued: Issued, program: Program, machine: TpuMachine) -> None:
    one, side = issued.instruction, machine.side
    _rows(issued, machine)
    block, N = _register(issued, "parameters"), _register(issued, "output_channels")
    blocks = program.parameters
    known = block < len(blocks)
    _expect(issued, "parameters", block, known, f"be a block below {len(blocks)}")
    fits = len(blocks[block].bias) == N
    rule = f"be the {len(blocks[block].bias)} of its parameters"
    _expect(issued, "output_channels", N, fits, rule)
    _expect(issued, "tile", one.tile, one.tile * side < N, f"begin below N = {N}")
    size = (_register(issued, "first_row") + one.length) * N
    _inside(issued, "ub_address", one.ub_address, size, program, side)


def _pool(issued: Issued, program: Program, machine: TpuMachine) -> None:
    one, side = issued.instruction, machine.side
    image, positions = _map(issued)
    images, channels = _register(issued, "images"), _register(issued, "channels")
    _expect(issued, "images", images, images >= 1, "be 1 or more")
    _inside(issued, "ub_address", one.ub_address, images * image, program, side)
    out = images * positions * channels
    destination = _register(issued, "destination")
    _inside(issued, "destination", destination, out, program, side)
    kind = _register(issued, "pooling")
    _expect(issued, "pooling", kind, kind in tuple(PoolingKind), "be a known kind")
    axes = (
        ("height", "output_height", "stride_down", "kernel_height"),
        ("width", "output_width", "stride_right", "kernel_width"),
    )
    for size, output, stride, kernel in axes:
        whole, count, step, window = (
            _register(issued, name) for name in (size, output, stride, kernel)
        )
        fits = (count - 1) * step + window <= whole
        _expect(issued, output, count, fits, f"keep its windows inside {size} (={whole})")
    rows = -(-images * image // side)
    _expect(issued, "length", one.length, one.length == rows, f"be the {rows} rows read")
