"""Closed forms of a layer under the sweep's rule: sums stay until they are finished.

Blocks follow each other row by row ("MNK"): T_M rows of T_N blocks, each of T_K slices.
What a period moves depends on where it stands: ten places stand for all where K is whole
(`periods`), 22 where it is cut (`sliced_periods`). Everything takes
arrays that broadcast, and nothing is decided by a value; ceilings are in `dma_cycles`,
maxima in `period`. Numbers are whole: int64 in tables, float64 below 2^53 over designs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from accel.machines.counters import Counters
from accel.predict import closed_forms
from accel.sweep.space import Flow
from accel.workload.layer import packed
from configs.errors import unknown

Array = Any


class Blocks(NamedTuple):
    """A layer cut into blocks; every field an array of whole numbers.

    `m`, `n` are rows and columns of the product in a block, `m_last`, `n_last` those of
    the last one.
    """

    T_M: Array
    T_N: Array
    m: Array
    m_last: Array
    n: Array
    n_last: Array
    K: Array
    # Bytes of the input of a block of rows, of the last one; 0 where they stay on the chip.
    inputs: Array
    inputs_last: Array
    # 1 where the output goes to DRAM.
    leaves: Array
    # Slices of K and terms of the last one, where `K` are those of a slice; None: whole.
    T_K: Array | None = None
    K_last: Array | None = None
    weight_bits: Array = 8
    output_bits: Array = 8

    def weights(self, K: Array, n: Array) -> Array:
        """Bytes of the weights of a block."""
        return packed(self.weight_bits, K * n)

    def outputs(self, m: Array, n: Array) -> Array:
        """Bytes of the results of a block that go to DRAM."""
        return self.leaves * packed(self.output_bits, m * n)


class Period(NamedTuple):
    """`count` periods in which the array takes `compute` and the DMA moves `moved`."""

    count: Array
    compute: Array
    moved: Array


class BlockCycles(NamedTuple):
    """Cycles of the array in a block, by its place: of [m or m_last, n or n_last]."""

    inner: Array
    right: Array
    bottom: Array
    corner: Array


def flag(condition: Array) -> Array:
    return condition.astype(jnp.int64)


def array_counters(flow: Flow, m, K, n, *, rows, cols) -> Counters:
    """Counters of an array for one block."""
    sides = {"rows": rows, "cols": cols}

    def shadowed(items, N) -> Counters:
        period = closed_forms.skewed_period(items, rows)
        return closed_forms.weight_stationary_shadow(items, K, N, **sides, period=period)

    match flow:
        case "ws":
            return closed_forms.weight_stationary(m, K, n, **sides)
        case "os":
            return closed_forms.output_stationary(m, K, n, **sides)
        case "is":
            return closed_forms.transposed(closed_forms.weight_stationary(n, K, m, **sides))
        case "ws_shadow":
            return shadowed(m, n)
        case "is_shadow":
            return closed_forms.transposed(shadowed(n, m))
    raise unknown(flow, "accel.sweep.forms")


def places(blocks: Blocks) -> tuple[Array, Array, Array]:
    """Rows, columns and number of the four kinds of block; [4, ...] each."""
    m = jnp.stack([blocks.m, blocks.m, blocks.m_last, blocks.m_last])
    n = jnp.stack([blocks.n, blocks.n_last, blocks.n, blocks.n_last])
    below, beside = blocks.T_M - 1, blocks.T_N - 1
    one = jnp.ones_like(below * beside)
    count = jnp.stack([below * beside, below * one, beside * one, one])
    return m, n, count


def all_weights(b: Blocks) -> Array:
    """Bytes of weights from DRAM: once if they stay, else for every block of rows."""

    def columns(n: Array) -> Array:
        if b.T_K is None:
            return b.weights(b.K, n)
        return (b.T_K - 1) * b.weights(b.K, n) + b.weights(b.K_last, n)

    once = (b.T_N - 1) * columns(b.n) + columns(b.n_last)
    cut = b.T_N > 1 if b.T_K is None else (b.T_N > 1) | (b.T_K > 1)
    return once * (1 + flag(cut) * (b.T_M - 1))


def all_outputs(b: Blocks) -> Array:
    """Bytes of results to DRAM."""
    m, n, count = places(b)
    each = b.leaves[None] * packed(jnp.asarray(b.output_bits)[None], m * n)
    return (each * count).sum(0)


def periods(b: Blocks, work: BlockCycles) -> tuple[list[Period], list[Array]]:
    """Periods that stand for all of a layer, and what the DMA moves before and after.

    In a period the DMA writes what the block before has left and reads what the next one
    needs: its weights if N is cut (`w`; else they stay), its inputs if it begins a row.
    """
    cut, S = flag(b.T_N > 1), b.T_M
    w, w_last = b.weights(b.K, b.n) * cut, b.weights(b.K, b.n_last) * cut
    second = w_last + flag(b.T_N > 2) * (w - w_last)
    out, out_last = b.outputs(b.m, b.n), b.outputs(b.m_last, b.n)
    row_end = b.outputs(b.m, b.n_last)
    many = flag(S > 1)
    first_inputs = b.inputs_last + many * (b.inputs - b.inputs_last)
    first = work.bottom + many * (work.inner - work.bottom)
    inside, before_last = jnp.maximum(b.T_N - 3, 0), flag(b.T_N > 2)
    found = [
        # The first block: of a cut row, or of three rows of one block.
        Period(
            cut + (1 - cut) * flag(S > 2),
            first,
            cut * second + (1 - cut) * b.inputs,
        ),
        # First blocks of the other rows, of the last row.
        Period(cut * jnp.maximum(S - 2, 0), work.inner, second + row_end),
        Period(cut * many, work.bottom, second + row_end),
        # Inside a row.
        Period((S - 1) * inside, work.inner, w + out),
        Period(inside, work.bottom, w + out_last),
        # The last but one of a row.
        Period((S - 1) * before_last, work.inner, w_last + out),
        Period(before_last, work.bottom, w_last + out_last),
        # The last of a row: before a whole row, before the last row, and the very last.
        Period(jnp.maximum(S - 3 + cut, 0), work.right, w + b.inputs + out),
        Period(many, work.right, w + b.inputs_last + out * flag(S + cut > 2)),
        Period(1, work.corner, cut * out_last + (1 - cut) * many * out),
    ]
    ends = [first_inputs + b.weights(b.K, b.n), b.outputs(b.m_last, b.n_last)]
    return found, ends


def sliced_periods(b: Blocks, full: BlockCycles, last: BlockCycles) -> list[Period]:
    """The same where K is cut into T_K > 1 slices: full ones and the last one.

    Every block needs weights of its own. Sums stay while the slices follow each other, so
    that the first block of a group [m, n] follows results that leave, and the last one
    comes before the next group.
    """
    S, T, L = b.T_M, b.T_N, b.T_K
    many, wide = flag(S > 1), flag(T > 1)
    between, middle = jnp.maximum(S - 2, 0), jnp.maximum(T - 2, 0)
    w, w_last = b.weights(b.K, b.n), b.weights(b.K, b.n_last)
    rest, rest_last = b.weights(b.K_last, b.n), b.weights(b.K_last, b.n_last)
    out, out_last = b.outputs(b.m, b.n), b.outputs(b.m_last, b.n)
    row_end = b.outputs(b.m, b.n_last)
    # After the first slice of a group comes a full one, or the last.
    more = flag(L > 2)
    then, then_last = rest + more * (w - rest), rest_last + more * (w_last - rest_last)
    # Where a row begins: full columns, or all there are.
    begin, begin_w = then_last + wide * (then - then_last), w_last + wide * (w - w_last)
    above = full.right + wide * (full.inner - full.right)
    lowest = full.corner + wide * (full.bottom - full.corner)
    found = [
        # The first slice: of the first group, of those that begin the other rows.
        Period(jnp.ones_like(S), lowest + many * (above - lowest), begin),
        Period(between, above, begin + row_end),
        Period(many, lowest, begin + row_end),
        # Of groups inside a row, of the last of a row.
        Period((S - 1) * middle, full.inner, then + out),
        Period(middle, full.bottom, then + out_last),
        Period((S - 1) * wide, full.right, then_last + out),
        Period(wide, full.corner, then_last + out_last),
        # The last slice: before full columns, before the last ones.
        Period((S - 1) * middle, last.inner, w),
        Period(middle, last.bottom, w),
        Period((S - 1) * wide, last.inner, w_last),
        Period(wide, last.bottom, w_last),
        # Before a whole row, before the last row, and the very last.
        Period(between, last.right, begin_w + b.inputs),
        Period(many, last.right, begin_w + b.inputs_last),
        Period(jnp.ones_like(S), last.corner, jnp.zeros_like(w)),
    ]
    # Slices between: before a full one, before the last one.
    groups = ((S - 1) * (T - 1), S - 1, T - 1, jnp.ones_like(S))
    for count, moved in (
        (jnp.maximum(L - 3, 0), (w, w_last, w, w_last)),
        (more, (rest, rest_last, rest, rest_last)),
    ):
        found += [
            Period(count * group, compute, bytes_)
            for group, compute, bytes_ in zip(groups, full, moved, strict=True)
        ]
    return found


class Rates(NamedTuple):
    """Clock over bandwidth: cycles a byte, and half a byte's part of it; float64."""

    cycles_per_byte: Array
    half: Array


def dma_cycles(moved: Array, rates: Rates) -> Array:
    """ceil(bytes * clock / bandwidth) as floor((bytes * clock - 1/2) / bandwidth) + 1.

    Exact in float64 while bytes * clock < 2^49: the quotient stays half a part of a
    bandwidth away from whole numbers, which is more than three roundings.
    """
    return lax.floor(moved * rates.cycles_per_byte - rates.half) + 1


def period(compute: Array, dma: Array) -> Array:
    """The array and the DMA work at the same time; the slower one decides."""
    return lax.max(compute, dma)


def cycles(found: list[Period], ends: list[Array], rates: Rates) -> Array:
    """Cycles of one repeat; periods [layers, options], rates [rates]."""

    rates = Rates(*(value[None, None] for value in rates))

    def spread(value: Array) -> Array:
        whole = jnp.broadcast_to(jnp.asarray(value), ends[0].shape)
        return whole.astype(jnp.float64)[..., None]

    total = sum(dma_cycles(spread(end), rates) for end in ends)
    for one in found:
        busy = period(*jnp.broadcast_arrays(
            spread(one.compute), dma_cycles(spread(one.moved), rates)
        ))  # fmt: skip
        total = total + spread(one.count) * busy
    return total
