"""Runs products through the register-by-register arrays, a piece of the edges at a time.

Memory is that of a piece and of the results, whatever the number of edges; one compiled
program serves all products on an array.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int8, Int32, Integer

from accel.machines.counters import times, total
from accel.machines.machine import Systolic
from accel.simulate import output_stationary, weight_stationary
from accel.simulate.control import HeldTiles, SumTiles, scheme
from accel.simulate.faults import NONE, Masks
from accel.simulate.phases import Bits, phase_counts
from accel.simulate.simulation import LostResultError, Run
from accel.simulate.wires import Seen

# Edges stepped after the one that should give the last result: nothing more may come.
SURPLUS = 3
# Edges of a piece, and values of a register plane that stay in the first-level cache.
_PIECE = 1024
_PLANE = 8192


class Stepped(NamedTuple):
    """What B arrays gave, working side by side."""

    # Results in the order in which each column gave them, int32 (results, cols, B).
    results: np.ndarray
    bits: Bits
    # Of one array: useful multiplications, words in at the left and at the top.
    macs: int
    left: int
    top: int


def run(
    machine: Systolic,
    x_GMK: Integer[np.ndarray, "g m k"],
    w_KN: Int8[np.ndarray, "k n"],
    faults: Masks = NONE,
) -> Run:
    """G products on an array, as many side by side as the cache likes.

    Raises:
      LostResultError: results are missing, or there are too many.
    """
    lanes = max(1, min(_PLANE // machine.multipliers, len(x_GMK)))
    runs = [
        _group(machine, x_GMK[first : first + lanes], w_KN, faults)
        for first in range(0, len(x_GMK), lanes)
    ]
    return Run(np.concatenate([r.sums for r in runs]), total([r.counters for r in runs]))


def _group(machine: Systolic, x_GMK: np.ndarray, w_KN: np.ndarray, faults: Masks) -> Run:
    if machine.dataflow == "os":
        tiles = SumTiles.cut(machine, x_GMK, w_KN)
        stepped = step(tiles, faults)
        sums = _placed(stepped.results, tiles, x_GMK.shape[1], w_KN.shape[1])
        inputs, weights = stepped.left, stepped.top
    elif machine.dataflow == "ws":
        tiles = HeldTiles.cut(machine, x_GMK, w_KN[None])
        stepped = step(tiles, faults)
        sums = _accumulated(stepped.results, tiles, w_KN.shape[1])
        inputs, weights = stepped.left, stepped.top
    else:
        tiles = HeldTiles.cut(machine, w_KN.T[None], x_GMK.transpose(0, 2, 1))
        stepped = step(tiles, faults)
        sums = _accumulated(stepped.results, tiles, x_GMK.shape[1]).transpose(0, 2, 1)
        inputs, weights = stepped.top, stepped.left
    again = 0 if machine.dataflow == "os" else len(tiles.items) - 1
    phases = phase_counts(stepped.bits, overlapped=machine.weights == "shadow")
    counters = phases._replace(
        macs=stepped.macs,
        slots=machine.multipliers * phases.cycles,
        input_fetches=inputs,
        weight_fetches=weights,
        sum_reads=sums[0].size * again,
        sum_writes=sums[0].size * again,
        output_writes=sums[0].size,
        tiles=tiles.count,
    )
    return Run(sums, times(counters, len(x_GMK)))


def step(tiles: HeldTiles | SumTiles, faults: Masks = NONE) -> Stepped:
    """Steps all tiles through the array, piece by piece.

    Raises:
      LostResultError: columns did not give one result for each item of each tile, in step.
    """
    state, advance = start(tiles, faults)
    bits, came, results, macs, left, top = [], [], [], 0, 0, 0
    for first in range(0, tiles.edges + SURPLUS, _PIECE):
        state, seen = advance(state, tiles.feed(first, first + _PIECE))
        seen: Seen = jax.device_get(seen)
        bits.append(seen.bits)
        came.append(seen.result)
        results.append([seen.bottom[now, c] for c, now in enumerate(seen.result.T)])
        macs, left = macs + int(seen.macs.sum()), left + int(seen.left.sum())
        top += int(seen.top.sum())
    columns = [np.concatenate(pieces) for pieces in zip(*results, strict=True)]
    _require_in_step(np.concatenate(came), tiles)
    return Stepped(np.stack(columns, 1), Bits.joined(bits), macs, left, top)


def _require_in_step(came: Bool[np.ndarray, "edges cols"], tiles) -> None:
    """Raises LostResultError unless each column gave all its results, in step with its left
    one."""
    drains = isinstance(tiles, SumTiles)
    each = tiles.machine.rows if drains else tiles.items_each
    for c, column in enumerate(came.T):
        given = int(column.sum())
        if given != tiles.count * each:
            raise LostResultError(
                f"column {c} of {tiles.machine.name} gave {given} results instead "
                f"of {tiles.count * each}"
            )
        # Sums that stay drain side by side; those that move fall out an edge later.
        late = 0 if drains else c
        if not (np.flatnonzero(column) == np.flatnonzero(came[:, 0]) + late).all():
            raise LostResultError(
                f"column {c} of {tiles.machine.name} is out of step with column 0"
            )


def start(tiles: HeldTiles | SumTiles, faults: Masks = NONE, *, record: bool = False):
    """An array after a reset, and the function that steps it through a feed.

    Args:
      record: the function gives all registers after each edge beside what is seen.
    """
    rows, cols = tiles.machine.rows, tiles.machine.cols
    lanes = {
        "item_lanes": tiles.items.shape[-1],
        "weight_lanes": tiles.weights.shape[-1],
    }
    if isinstance(tiles, SumTiles):
        advance = output_stationary.record if record else output_stationary.run
        return (
            output_stationary.reset(rows, cols, **lanes),
            lambda state, feed: advance(state, feed, faults),
        )
    how = scheme(tiles.machine)
    advance = weight_stationary.record if record else weight_stationary.run
    return (
        weight_stationary.reset(rows, cols, how, **lanes),
        lambda state, feed: advance(state, feed, faults, scheme=how),
    )


def _accumulated(
    results: Int32[np.ndarray, "t c g"], tiles: HeldTiles, wanted: int
) -> Int32[np.ndarray, "g m n"]:
    """Sums over the tiles of K, as the memory below the array adds them up."""
    deep, each = len(tiles.items), tiles.items_each
    found = results.reshape(-1, deep, each, *results.shape[1:]).sum(1, dtype=np.int32)
    return found.transpose(3, 1, 0, 2).reshape(results.shape[2], each, -1)[..., :wanted]


def _placed(
    results: Int32[np.ndarray, "t c g"], tiles: SumTiles, size_M: int, size_N: int
) -> Int32[np.ndarray, "g m n"]:
    """Sums at their places; each tile's last row came first."""
    rows, cols = tiles.machine.rows, tiles.machine.cols
    found = results.reshape(-1, len(tiles.items), rows, cols, results.shape[2])[:, :, ::-1]
    found = found.transpose(4, 1, 2, 0, 3)
    return found.reshape(len(found), -1, found.shape[3] * cols)[:, :size_M, :size_N]
