"""What each register of a systolic array should hold, written down without stepping it.

Edges t = 1, 2, ...; rows R, cols C; tiles j = 0, 1, ... start P edges apart. The streamed
and the held factor of tile j are x_j and w_j: x and w or, input stationary, those of the
transposed product.

    held, streaming     m = t - 1 - R - r - c - j*P is one of the M items:
                        input[r, c] = x_j[m, r],
                        sum[r, c] = sum over i <= r of x_j[m, i] * w_j[i, c]
    held, one register  s = t - j*P in 1..P: weight[r, c] = w_j[R - s + r, c] while s < R,
                        below it what tile j - 1 left there, then w_j[r, c]
    held, shadow        weight[r, c] = w_j[r, c] from m = 0 on (skewed: an edge before)
    sums stay           s = t - j*P in 1..P, k = s - 1 - r - c: input[r, c] = x_j[r, k],
                        weight[r, c] = w_j[k, c], sum[r, c] = sum over i <= k of
                        x_j[r, i] * w_j[i, c]; in the last R edges they move down

Registers that hold nothing of meaning (no valid operand) are not compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Integer

from accel.machines.machine import Systolic
from accel.predict import closed_forms
from accel.simulate.control import padded
from accel.simulate.trace import Trace

# What should stand somewhere, and whether it matters.
Expected = tuple[
    Int64[np.ndarray, "cycles rows cols"], Bool[np.ndarray, "cycles rows cols"]
]


class Place(NamedTuple):
    """A register that does not hold what it should."""

    # Edge, counted from 1.
    cycle: int
    row: int
    col: int
    register: str
    found: int
    expected: int


def first_difference(trace: Trace) -> Place | None:
    """The first register of a recorded product that is wrong; None if none is.

    On the same edge, whatever feeds a sum comes before the sum.
    """
    places = []
    for order, (name, (expected, matters)) in enumerate(registers(trace).items()):
        found = trace.registers[name].astype(np.int64)
        wrong = np.argwhere((found != expected) & matters)
        if len(wrong):
            at = tuple(int(i) for i in wrong[0])
            place = Place(at[0] + 1, at[1], at[2], name, int(found[at]), int(expected[at]))
            places.append((place.cycle, order, place))
    return min(places)[2] if places else None


def first_result(
    machine: Systolic,
    found_MN: Integer[np.ndarray, "m n"],
    right_MN: Int64[np.ndarray, "m n"],
    depth: int,
) -> Place | None:
    """The first wrong result of one tile, in the PE and on the edge that completes it.

    Args:
      depth: products in a sum that stays.
    """
    found, right = found_MN, right_MN
    if machine.dataflow == "is":
        found, right = found.T, right.T
    wrong = np.argwhere(found != right)
    if not len(wrong):
        return None
    # Both coordinates delay a result by an edge each, whatever stays in the array.
    item, column = min(wrong.tolist(), key=sum)
    cycle, row = 2 * machine.rows + item + column, machine.rows - 1
    if machine.dataflow == "os":
        cycle, row = depth + item + column, item
    values = int(found[item, column]), int(right[item, column])
    return Place(cycle, row, column, "sum", *values)


def registers(trace: Trace) -> Mapping[str, Expected]:
    """By name: what should stand there, on every edge of the trace."""
    return _sums_stay(trace) if trace.machine.dataflow == "os" else _held(trace)


def _held(trace: Trace) -> dict[str, Expected]:
    machine, rows, cols = trace.machine, trace.machine.rows, trace.machine.cols
    transposed, shadow = machine.dataflow == "is", machine.weights == "shadow"
    x, w = (trace.w.T, trace.x.T) if transposed else (trace.x, trace.w)
    # By tile: (tiles of K, M, rows) and (tiles, rows, cols), tiles of K first.
    x = _cut(x, len(x), rows)[:, 0]
    w = _cut(w, rows, cols).reshape(-1, rows, cols)
    deep, period = len(x), _period(machine, x.shape[1])
    t, r, c = _grid(trace)
    tile, m = np.divmod(t - 1 - rows - r - c, period)
    real = (tile >= 0) & (tile < len(w)) & (m < x.shape[1])
    tile, m = np.where(real, tile, 0), np.where(real, m, 0)
    every = np.tile(x, (len(w) // deep, 1, 1))
    partial = np.cumsum(every[..., None] * w[:, None], 2)
    holding = _swapped if shadow else _loaded
    left, top = ("weight", "input") if transposed else ("input", "weight")
    return {
        top: holding(w, machine, period, t, r, c),
        left: (x[tile % deep, m, r], real),
        "valid": (real.astype(np.int64), np.ones_like(real)),
        "sum": (partial[tile, m, r, c], real),
    }


def _loaded(w_TRC, machine: Systolic, period: int, t, r, c) -> Expected:
    """Held tiles, (tiles, rows, cols), while they move in from above, and then."""
    rows = machine.rows
    tile = np.minimum((t - 1) // period, len(w_TRC) - 1)
    row = r + np.maximum(rows - (t - tile * period), 0)
    # Behind its last row stands what the tile before, or none before the first, left.
    before = np.concatenate([np.zeros_like(w_TRC[:1]), w_TRC[:-1]])
    held = np.concatenate([w_TRC, before], 1)[tile, row, c]
    return held, np.ones_like(held, bool)


def _swapped(w_TRC, machine: Systolic, period: int, t, r, c) -> Expected:
    """Held tiles that wait elsewhere until the first item of their tile comes."""
    # `skewed` swaps an edge ahead of the item, `global` together with it.
    ahead = machine.load == "skewed"
    tile = (t - 1 - machine.rows - r - c + ahead) // period
    held = w_TRC[np.clip(tile, 0, len(w_TRC) - 1), r, c]
    return held, tile >= 0


def _sums_stay(trace: Trace) -> dict[str, Expected]:
    rows, cols, depth = trace.machine.rows, trace.machine.cols, trace.x.shape[1]
    # By tile: (tiles of M, rows, K) and (tiles of N, K, cols).
    x = _cut(trace.x, rows, depth)[0]
    w = _cut(trace.w, depth, cols)[:, 0]
    down, period = len(x), _period(trace.machine, depth)
    t, r, c = _grid(trace)
    tile = np.minimum((t - 1) // period, down * len(w) - 1)
    n, m = np.divmod(tile, down)
    k = t - tile * period - 1 - r - c
    real = (k >= 0) & (k < depth)
    step = np.clip(k, 0, depth - 1)
    moved = np.maximum(t - tile * period - (depth + rows + cols - 2), 0)
    source = np.maximum(r - moved, 0)
    # (tiles of N, tiles of M, rows, K, cols)
    partial = np.cumsum(x[None, ..., None] * w[:, None, None], 3)
    sums = partial[n, m, source, np.where(moved > 0, depth - 1, step), c]
    return {
        "weight": (w[n, step, c], real),
        "input": (x[m, r, step], real),
        "valid": (real.astype(np.int64), np.ones_like(real)),
        "sum": (np.where(moved > r, 0, sums), k >= 0),
    }


def _period(machine: Systolic, streamed: int) -> int:
    """Edges from tile to tile, by the closed forms."""
    rows, cols = machine.rows, machine.cols
    if machine.weights == "single":
        return streamed + 2 * rows + cols - 2
    if machine.load == "skewed":
        return closed_forms.skewed_period(streamed, rows)
    return closed_forms.global_period(streamed, rows, cols)


def _cut(
    matrix: Integer[np.ndarray, "a b"], height: int, width: int
) -> Int64[np.ndarray, "j i height width"]:
    """Pieces of a matrix, those of one column of pieces together; zeros fill them up."""
    full = padded(padded(matrix, 0, height), 1, width).astype(np.int64)
    full = full.reshape(len(full) // height, height, -1, width)
    return full.transpose(2, 0, 1, 3)


def _grid(trace: Trace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edge (from 1), row and column of every register on every edge of the trace."""
    t, r, c = np.indices((trace.cycles, trace.machine.rows, trace.machine.cols))
    return t + 1, r, c
