"""What each register of a systolic array should hold, written down without stepping it.

For one tile, after edge t = 1, 2, ... (rows R, cols C; x' and w' are the streamed and the held
factor, x and w or, input stationary, those of the transposed product):

    held, single registers   weight[r, c] = w'[R - t + r, c] for r < t <= R, then w'[r, c]
    held, streaming          with s the edges before the first item, m = t - s - 1 - r - c:
                             input[r, c] = x'[m, r], sum[r, c] = sum over i <= r of
                             x'[m, i] * w'[i, c], where m is one of the items
    sums stay                k = t - 1 - r - c: input[r, c] = x[r, k], weight[r, c] = w[k, c],
                             sum[r, c] = sum over i <= k of x[r, i] * w[i, c]; then they move
                             down

Registers that hold nothing of meaning (no valid operand) are not compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from accel.control import padded
from accel.trace import Trace


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
    """The first register of a recorded tile that is wrong; None if none is.

    On the same edge, whatever feeds a sum comes before the sum.
    """
    places = []
    for order, (name, (expected, matters)) in enumerate(registers(trace).items()):
        found = trace.registers[name][: len(expected)].astype(np.int64)
        wrong = np.argwhere((found != expected[: len(found)]) & matters[: len(found)])
        if len(wrong):
            at = tuple(int(i) for i in wrong[0])
            place = Place(at[0] + 1, at[1], at[2], name, int(found[at]), int(expected[at]))
            places.append((place.cycle, order, place))
    return min(places)[2] if places else None


def registers(trace: Trace) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    """By name: what should stand there, int64 (cycles, rows, cols), and where it matters.

    Args:
      trace: of a product that is one tile.
    """
    return _sums_stay(trace) if trace.machine.dataflow == "os" else _held(trace)


def _held(trace: Trace) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    machine, rows = trace.machine, trace.machine.rows
    transposed = machine.dataflow == "is"
    x, w = (trace.w.T, trace.x.T) if transposed else (trace.x, trace.w)
    x = padded(x, 1, rows).astype(np.int64)
    w = padded(padded(w, 0, rows), 1, machine.cols).astype(np.int64)
    partial = np.cumsum(x[:, :, None] * w[None], 1)
    t, r, c = _grid(trace, len(x) + 2 * rows + machine.cols - 2)
    m = t - rows - 1 - r - c
    real = (m >= 0) & (m < len(x))
    item = np.where(real, m, 0)
    holding = (
        np.broadcast_to(w, t.shape) if machine.weights == "shadow" else _loaded(w, t, r, c)
    )
    settled = real if machine.weights == "shadow" else np.ones_like(real)
    held = (holding, settled)
    moving = (np.where(real, x[item, r], 0), real)
    left, top = ("weight", "input") if transposed else ("input", "weight")
    return {
        top: held,
        left: moving,
        "valid": (real.astype(np.int64), np.ones_like(real)),
        "sum": (np.where(real, partial[item, r, c], 0), real),
    }


def _loaded(w: np.ndarray, t, r, c) -> np.ndarray:
    """The held tile while it moves in from above, and then."""
    rows = len(w)
    row = np.where(t <= rows, rows - t + r, r)
    return np.where(row < rows, w[np.minimum(row, rows - 1), c], 0)


def _sums_stay(trace: Trace) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rows, cols = trace.machine.rows, trace.machine.cols
    x, w = (
        padded(trace.x, 0, rows).astype(np.int64),
        padded(trace.w, 1, cols).astype(np.int64),
    )
    deep = x.shape[1]
    partial = np.cumsum(x.T[:, :, None] * w[:, None], 0)
    t, r, c = _grid(trace, deep + 2 * rows + cols - 2)
    k = t - 1 - r - c
    real = (k >= 0) & (k < deep)
    step = np.where(real, k, 0)
    moved = t - (deep + rows + cols - 2)
    source = np.where(moved > 0, r - moved, r)
    sums = partial[np.clip(k, 0, deep - 1), np.maximum(source, 0), c]
    return {
        "weight": (w[step, c], real),
        "input": (x[r, step], real),
        "valid": (real.astype(np.int64), np.ones_like(real)),
        "sum": (np.where(source >= 0, sums, 0), k >= 0),
    }


def _grid(trace: Trace, cycles: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edge (from 1), row and column of every register on every edge that matters."""
    t, r, c = np.indices((cycles, trace.machine.rows, trace.machine.cols))
    return t + 1, r, c
