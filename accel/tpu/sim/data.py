"""What instructions do to data: the other half of a step, beside the clock.

State are the bytes of the unified buffer, the accumulators and what the host got. Rows
beyond the length of an instruction are computed and not kept, since shapes are fixed:
every matmul takes as many rows as the longest of the program.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from accel.tpu.isa.isa import OPERAND_NAMES, PaddingKind, PoolingKind, Register
from quant.execute import divide_rne, requantise

# Sums of this many columns of bytes by int8 are exact in float32: 255 * 128 * 512 < 2^24.
_FLOAT_SIDE = 512
# Outputs that pooling and Vector make at a time.
POOLED = 2048
# Sums of Vector have fewer bits than this shift to the right: a larger one leaves 0.
_FARTHEST = 30


class Memory(NamedTuple):
    """What instructions change; a pytree."""

    # uint8, the bytes that the program uses and some that are never read.
    unified_buffer: Any
    # int32 (rows, side), with surplus rows at the end.
    accumulators: Any
    # uint8: what Write_Host_Memory sent.
    host: Any


class Constants(NamedTuple):
    """What instructions only read; a pytree."""

    # uint8: what Read_Host_Memory fetches.
    images: Any
    # int8 (T, side, side).
    tiles: Any
    # int32 (blocks, N padded), with a multiplier of 1 where there is no output.
    bias: Any
    multiplier: Any
    # int32 (blocks,).
    shift: Any
    low: Any
    high: Any
    # uint8 (blocks, 256): output for each requantised sum at s + 128, if there is one.
    table: Any
    has_table: Any


class Step(NamedTuple):
    """One instruction, or a column of each field for a whole program; int32."""

    # Index in `BRANCHES`.
    branch: Any
    ub: Any
    acc: Any
    length: Any
    tile: Any
    accumulate: Any
    weight_tile: Any
    # (registers,)
    registers: Any


def apply(memory: Memory, step: Step, constants: Constants, rows: int) -> Memory:
    """What one instruction leaves behind; `rows` is the longest matmul's length."""
    branches = [
        lambda memory: memory,
        lambda memory: _read_host(memory, step, constants),
        lambda memory: _matmul(memory, step, constants, rows),
        lambda memory: _activate(memory, step, constants, rows),
        lambda memory: _pool(memory, step),
        lambda memory: _write_host(memory, step),
        lambda memory: _vector(memory, step, constants),
    ]
    return jax.lax.switch(step.branch, branches, memory)


# Branches of `apply`, in order.
NOTHING, READ_HOST, MATMUL, ACTIVATE, POOL, WRITE_HOST, VECTOR = range(7)


def _count(size: int) -> jax.Array:
    return jnp.arange(size, dtype=jnp.int32)


def _side(memory: Memory) -> int:
    return memory.accumulators.shape[1]


def _register(step: Step, *names: str) -> list[jax.Array]:
    return [step.registers[Register[name]] for name in names]


def _signed(byte: jax.Array, signed: jax.Array) -> jax.Array:
    """Bytes as int32, those of int8 where `signed` is 1."""
    value = byte.astype(jnp.int32)
    return value - jnp.where((signed == 1) & (value > 127), 256, 0)


def _read_host(memory: Memory, step: Step, constants: Constants) -> Memory:
    size = constants.images.size
    start = (step.ub * _side(memory),)
    old = jax.lax.dynamic_slice(memory.unified_buffer, start, (size,))
    new = jnp.where(_count(size) < step.length, constants.images, old)
    buffer = jax.lax.dynamic_update_slice(memory.unified_buffer, new, start)
    return memory._replace(unified_buffer=buffer)


def _write_host(memory: Memory, step: Step) -> Memory:
    size = memory.host.size
    start = (step.ub * _side(memory),)
    sent = jax.lax.dynamic_slice(memory.unified_buffer, start, (size,))
    return memory._replace(host=jnp.where(_count(size) < step.length, sent, memory.host))


def _matmul(memory: Memory, step: Step, constants: Constants, rows: int) -> Memory:
    """Rows of the systolic data set-up times the live tile, into the accumulators."""
    side = _side(memory)
    x_MK = set_up(memory.unified_buffer, step, rows, side)
    w_KN = constants.tiles[step.weight_tile]
    kind = jnp.float32 if side <= _FLOAT_SIDE else jnp.int32
    products_MN = jax.lax.dot(
        x_MK.astype(kind), w_KN.astype(kind), precision=jax.lax.Precision.HIGHEST
    ).astype(jnp.int32)
    start = step.acc, jnp.int32(0)
    old_MN = jax.lax.dynamic_slice(memory.accumulators, start, (rows, side))
    sums_MN = products_MN + jnp.where(step.accumulate == 1, old_MN, 0)
    new_MN = jnp.where(_count(rows)[:, None] < step.length, sums_MN, old_MN)
    sums = jax.lax.dynamic_update_slice(memory.accumulators, new_MN, start)
    return memory._replace(accumulators=sums)


def set_up(buffer: jax.Array, step: Step, rows: int, side: int) -> jax.Array:
    """Columns tile*side.. of the im2col rows of a map in the unified buffer, int32.

    Row m is (b, p, q), column k is (r, s, c) with c counted from the group's first
    channel; the input at height p*down - top + r*(1 + skip_down) and width
    q*right - left + s*(1 + skip_right), or what stands outside the map.
    """
    height, width, channels, signed = _register(
        step, "height", "width", "channels", "signed"
    )
    R, S, down, right = _register(
        step, "kernel_height", "kernel_width", "stride_down", "stride_right"
    )
    top, left, padding, means = _register(step, "pad_top", "pad_left", "padding", "means")
    P, Q, first = _register(step, "output_height", "output_width", "first_row")
    first_channel, group, skip_down, skip_right = _register(
        step, "first_channel", "group_channels", "skip_down", "skip_right"
    )
    group = jnp.where(group == 0, channels, group)
    m = first + jnp.minimum(_count(rows), step.length - 1)
    k = step.tile * side + _count(side)
    used = k < R * S * group
    k = jnp.where(used, k, 0)
    b, p, q = m // (P * Q), m // Q % P, m % Q
    r, s, c = k // (S * group), k // group % S, k % group + first_channel
    y = (p * down - top)[:, None] + (r * (1 + skip_down))[None]
    x = (q * right - left)[:, None] + (s * (1 + skip_right))[None]
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    y, x = jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)
    address = ((b[:, None] * height + y) * width + x) * channels + c[None]
    mean = means * side + (b * channels)[:, None] + c[None]
    averaged = ~inside & (padding == PaddingKind.mean)
    address = jnp.where(averaged, mean, step.ub * side + address)
    byte = buffer.at[address].get(mode="promise_in_bounds")
    empty = (~inside & (padding == PaddingKind.zero)) | ~used[None]
    return jnp.where(empty, 0, _signed(byte, signed))


def _activate(memory: Memory, step: Step, constants: Constants, rows: int) -> Memory:
    """Sums to bytes: bias, requantisation, table; into the output tensor."""
    side = _side(memory)
    N, first, block = _register(step, "output_channels", "first_row", "parameters")
    before, columns = _register(step, "first_column", "group_columns")
    columns = jnp.where(columns == 0, N, columns)
    acc_MN = jax.lax.dynamic_slice(
        memory.accumulators, (step.acc, jnp.int32(0)), (rows, side)
    )
    at = block, before + step.tile * side
    bias_N = jax.lax.dynamic_slice(constants.bias, at, (1, side))
    multiplier_N = jax.lax.dynamic_slice(constants.multiplier, at, (1, side))
    y_MN = requantise(
        acc_MN + bias_N, multiplier_N, constants.shift[block], constants.low[block],
        constants.high[block],
    )  # fmt: skip
    looked_up = constants.table[block][jnp.clip(y_MN + 128, 0, 255)]
    byte_MN = jnp.where(constants.has_table[block], looked_up, y_MN.astype(jnp.uint8))
    n = step.tile * side + _count(side)
    m = _count(rows)
    address = step.ub * side + ((first + m) * N + before)[:, None] + n[None]
    kept = (m < step.length)[:, None] & (n < columns)[None]
    # What is not kept goes beyond the end, where `drop` loses it.
    address = jnp.where(kept, address, memory.unified_buffer.size)
    buffer = memory.unified_buffer.at[address].set(byte_MN, mode="drop")
    return memory._replace(unified_buffer=buffer)


def _pool(memory: Memory, step: Step) -> Memory:
    """Windows of a tensor reduced to their largest or mean value, in another tensor."""
    side = _side(memory)
    images, P, Q, channels = _register(
        step, "images", "output_height", "output_width", "channels"
    )
    kind, destination = _register(step, "pooling", "destination")
    count = images * P * Q * channels

    def some(number: jax.Array, buffer: jax.Array) -> jax.Array:
        first = number * POOLED
        value = _pooled(buffer, step, first, count, kind, side)
        start = (destination * side + first,)
        old = jax.lax.dynamic_slice(buffer, start, (POOLED,))
        new = jnp.where(first + _count(POOLED) < count, value.astype(jnp.uint8), old)
        return jax.lax.dynamic_update_slice(buffer, new, start)

    pieces = (count + POOLED - 1) // POOLED
    buffer = jax.lax.fori_loop(jnp.int32(0), pieces, some, memory.unified_buffer)
    return memory._replace(unified_buffer=buffer)


def _pooled(buffer, step: Step, first, count, kind, side: int) -> jax.Array:
    """Pooled values of POOLED outputs, counted over (b, p, q, c)."""
    height, width, channels, signed = _register(
        step, "height", "width", "channels", "signed"
    )
    R, S, down, right = _register(
        step, "kernel_height", "kernel_width", "stride_down", "stride_right"
    )
    P, Q, top, left = _register(
        step, "output_height", "output_width", "pool_top", "pool_left"
    )
    padding, means = _register(step, "padding", "means")
    maximum, pads = kind == PoolingKind.max, kind == PoolingKind.pad
    o = jnp.minimum(first + _count(POOLED), count - 1)
    c, o = o % channels, o // channels
    b, p, q = o // (P * Q), o // Q % P, o % Q
    # What a maximum finds outside the map.
    least = jnp.where(maximum, jnp.int32(-128), jnp.int32(0))

    def add(number: jax.Array, total: jax.Array) -> jax.Array:
        y, x = p * down - top + number // S, q * right - left + number % S
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        y, x = jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)
        address = ((b * height + y) * width + x) * channels + c
        averaged = pads & ~inside & (padding == PaddingKind.mean)
        mean = means * side + b * channels + c
        address = jnp.where(averaged, mean, step.ub * side + address)
        byte = buffer.at[address].get(mode="promise_in_bounds")
        taken = inside | (pads & (padding != PaddingKind.zero))
        value = jnp.where(taken, _signed(byte, signed), least)
        return jnp.where(maximum, jnp.maximum(total, value), total + value)

    total = jax.lax.fori_loop(jnp.int32(0), R * S, add, jnp.full(POOLED, least))
    return jnp.where(maximum, total, divide_rne(total, R * S))


def _vector(memory: Memory, step: Step, constants: Constants) -> Memory:
    """Values in the unified buffer, element by element, into another tensor there."""
    side = _side(memory)
    images, outer, inner, wide = _register(step, "images", "outer", "inner", "wide")
    offset, image, block = _register(step, "out_offset", "out_image", "out_outer")
    two = wide >> len(OPERAND_NAMES) & 1
    count = images * outer * inner

    def some(number: jax.Array, buffer: jax.Array) -> jax.Array:
        o = number * POOLED + _count(POOLED)
        kept, o = o < count, jnp.minimum(o, count - 1)
        b, u, j = o // (outer * inner), o // inner % outer, o % inner
        value = _brought_back(_total(buffer, step, b, u, j), step, constants)
        address = step.ub * side + offset + (b * image + u * block + j) * (1 + two)
        # What is not kept goes beyond the end, where `drop` loses it.
        low = jnp.where(kept, address, buffer.size)
        high = jnp.where(kept & (two == 1), address + 1, buffer.size)
        buffer = buffer.at[low].set(value.astype(jnp.uint8), mode="drop")
        return buffer.at[high].set((value >> 8).astype(jnp.uint8), mode="drop")

    pieces = (count + POOLED - 1) // POOLED
    buffer = jax.lax.fori_loop(jnp.int32(0), pieces, some, memory.unified_buffer)
    return memory._replace(unified_buffer=buffer)


def _total(buffer, step: Step, b, u, j) -> jax.Array:
    """a * b * 2^shift_ab + c * d * 2^shift_cd at some places."""
    here, signs, wide = _register(step, "operands", "signs", "wide")
    shifts = _register(step, "shift_ab", "shift_cd")
    found = []
    for bit, name in enumerate(OPERAND_NAMES):
        first, image, block = _register(
            step, f"{name}_address", f"{name}_image", f"{name}_outer"
        )
        two, signed = wide >> bit & 1, signs >> bit & 1
        address = first + (b * image + u * block + j) * (1 + two)
        low, high = (buffer.at[a].get(mode="clip") for a in (address, address + 1))
        value = low.astype(jnp.int32) + jnp.where(two == 1, high.astype(jnp.int32), 0) * 256
        span = jnp.where(two == 1, 1 << 16, 1 << 8)
        value -= jnp.where((signed == 1) & (value >= span // 2), span, 0)
        # A first factor that is not there leaves nothing, a second one all.
        found.append(jnp.where(here >> bit & 1 == 1, value, bit % 2))
    a, b_, c, d = found
    return (a * b_ << shifts[0]) + (c * d << shifts[1])


def _brought_back(y, step: Step, constants: Constants) -> jax.Array:
    """clip(RNE(y / 2^shift)) through the table, or y itself."""
    block, rescaled = _register(step, "parameters", "rescaled")
    shift = constants.shift[block]
    right = divide_rne(y, 1 << jnp.clip(shift, 0, _FARTHEST))
    # What a shift to the left would push out of 32 bits is cut off either way.
    left = jnp.clip(y, -(1 << 14), 1 << 14) << jnp.clip(-shift, 0, 16)
    clipped = jnp.clip(
        jnp.where(shift >= 0, right, left), constants.low[block], constants.high[block]
    )
    looked_up = constants.table[block][jnp.clip(clipped + 128, 0, 255)].astype(jnp.int32)
    value = jnp.where(constants.has_table[block], looked_up, clipped)
    return jnp.where(rescaled == 1, value, y)
