"""Whether every instruction stays inside the memories. Needs no JAX."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from accel.tpu.isa.isa import (
    HOST,
    MATMULS,
    OPERAND_NAMES,
    Opcode,
    PaddingKind,
    PoolingKind,
    Register,
)
from accel.tpu.isa.program import Issued, Program
from accel.tpu.machine import TpuMachine
from configs.errors import InputError

# Sums of values stay below 2^24.
_FARTHEST = 24
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
        elif opcode is Opcode.Vector:
            _vector(one, program, machine)


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
    first, group = _register(issued, "first_channel"), _register(issued, "group_channels")
    group = group or channels
    rule = f"leave room for {group} of the {channels} channels"
    _expect(issued, "first_channel", first, first + group <= channels, rule)
    K = group * _register(issued, "kernel_height") * _register(issued, "kernel_width")
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
    first, columns = _register(issued, "first_column"), _register(issued, "group_columns")
    columns = columns or N
    rule = f"leave room for {columns} of the {N} columns"
    _expect(issued, "first_column", first, first + columns <= N, rule)
    fits = one.tile * side < columns
    _expect(issued, "tile", one.tile, fits, f"begin below N = {columns}")
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
    if kind == PoolingKind.pad:
        padding, window = _register(issued, "padding"), _register(issued, "kernel_height")
        window *= _register(issued, "kernel_width")
        rule = "be a known kind of padding"
        _expect(issued, "padding", padding, padding in tuple(PaddingKind), rule)
        _expect(issued, "kernel_height", window, window == 1, "be 1, as the width")
        if padding == PaddingKind.mean:
            means = _register(issued, "means")
            _inside(issued, "means", means, images * channels, program, side)
    edges = ("pool_top", "pool_bottom"), ("pool_left", "pool_right")
    for (size, output, stride, kernel), ends in zip(axes, edges, strict=True):
        whole, count, step, window = (
            _register(issued, name) for name in (size, output, stride, kernel)
        )
        before, behind = (_register(issued, name) for name in ends)
        for name, outside in zip(ends, (before, behind), strict=True):
            if kind == PoolingKind.pad:
                break
            rule = f"be smaller than the window (={window})"
            _expect(issued, name, outside, outside < window, rule)
        fits = (count - 1) * step + window <= before + whole + behind
        _expect(issued, output, count, fits, f"keep its windows inside {size} (={whole})")
    rows = -(-images * image // side)
    _expect(issued, "length", one.length, one.length == rows, f"be the {rows} rows read")


def _vector(issued: Issued, program: Program, machine: TpuMachine) -> None:
    one, side = issued.instruction, machine.side
    for name in ("images", "outer", "inner"):
        value = _register(issued, name)
        _expect(issued, name, value, 1 <= value < 1 << 24, "be in 1..2^24 - 1")
    here, wide = _register(issued, "operands"), _register(issued, "wide")
    known = all(here >> first & 1 or not here >> first + 1 & 1 for first in (0, 2))
    known &= here < 1 << len(OPERAND_NAMES)
    _expect(issued, "operands", here, known, "have a first factor for each second one")
    reads = []
    for bit, name in enumerate(OPERAND_NAMES):
        if here >> bit & 1:
            first = _register(issued, f"{name}_address")
            size = 1 + (wide >> bit & 1)
            distances = [_register(issued, f"{name}_{by}") for by in ("image", "outer")]
            reach = first + _reach(issued, *distances) * size
            _within(issued, f"{name}_address", first, reach, program, side)
            reads.append(-(-_values(issued, *distances) * size // side))
    size = 1 + (wide >> len(OPERAND_NAMES) & 1)
    distances = [_register(issued, name) for name in ("out_image", "out_outer")]
    first = one.ub_address * side + _register(issued, "out_offset")
    reach = first + _reach(issued, *distances) * size
    _within(issued, "ub_address", one.ub_address, reach, program, side)
    if not here:
        reads.append(-(-_values(issued, *distances) * size // side))
    rows = sum(reads)
    _expect(issued, "length", one.length, one.length == rows, f"be the {rows} rows read")
    for name in ("shift_ab", "shift_cd"):
        shift = _register(issued, name)
        _expect(issued, name, shift, shift <= _FARTHEST, f"be at most {_FARTHEST}")
    block, rescaled = _register(issued, "parameters"), _register(issued, "rescaled")
    _expect(issued, "rescaled", rescaled, rescaled in (0, 1), "be 0 or 1")
    if rescaled:
        blocks = program.parameters
        known = block < len(blocks) and not len(blocks[block].bias)
        _expect(issued, "parameters", block, known, "be a block without a bias")


def _values(issued: Issued, image: int, block: int) -> int:
    """Values that an operand has: those of a distance of 0 count once."""
    counts = _register(issued, "images"), _register(issued, "outer")
    several = (count for count, far in zip(counts, (image, block), strict=True) if far)
    return _register(issued, "inner") * prod(several)


def _reach(issued: Issued, image: int, block: int) -> int:
    """Values from the first one of an operand to its end."""
    images, outer = _register(issued, "images"), _register(issued, "outer")
    last = (images - 1) * image + (outer - 1) * block
    return last + _register(issued, "inner")


def _within(
    issued: Issued, name: str, value: int, end: int, program: Program, side: int
) -> None:
    room = program.unified_buffer_rows * side
    _expect(
        issued, name, value, end <= room,
        f"leave room for its values in the {room:,} bytes that the program uses",
    )  # fmt: skip
