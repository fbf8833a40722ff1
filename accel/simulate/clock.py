"""What the simulators of single-pipeline machines share: the clock and the memories.

A machine is stepped in pieces of some thousand edges, its state handed from piece to
piece. Every edge reports what the machine hands to the memory beside it; whether that is
a result, the bit that travelled with it says. Nothing here knows how long a run takes:
the clock stops after an edge on which the machine was empty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int32, Integer

from accel.machines.counters import PHASES, Counters, times, total
from accel.simulate.simulation import LostResultError, Run

# Edges of the longest piece, and bytes that one piece may hand to the memory.
_MOST_EDGES = 4096
_MOST_BYTES = 1 << 24
# Words of an operand memory below which all sizes share one program.
_SMALL_WORDS = 1 << 20
# Words of operands and registers stepped side by side; more runs than fit go one group
# after the other.
_MOST_WORDS = 1 << 24


class Handed(NamedTuple):
    """What a machine hands to its memory on each edge of a piece: a few lanes."""

    # Whether the word is a finished sum, and its place m * N + n.
    valid: Bool[Array, "edges lanes"]
    word: Int32[Array, "edges lanes"]
    value: Int32[Array, "edges lanes g"]


# (state, first edge) -> (state, counts of one run in int32, what was handed over)
Piece = Callable[[Any, int], tuple[Any, Counters, Handed]]


def zeros() -> Counters:
    """Counters as a scan carries them."""
    return Counters(*(jnp.int32(0) for _ in Counters._fields))


def add(counts: Counters, **amounts: Array) -> Counters:
    """Counts of one edge, bits or whole numbers, on top of those before."""
    grown = {
        name: getattr(counts, name) + jnp.asarray(amount).astype(jnp.int32)
        for name, amount in amounts.items()
    }
    return counts._replace(**grown)


def piece_edges(expected: int, *, lanes: int, group: int, multipliers: int) -> int:
    """Length of a piece: a power of four near the run, few enough to hold and to count.

    Counts within a piece are 32 bits wide. `expected` only picks the length; a wrong one
    costs time.
    """
    most = min(
        _MOST_EDGES, _MOST_BYTES // (4 * lanes * group), (1 << 30) // max(1, multipliers)
    )
    edges = 16
    while edges < expected + 1 and edges < most:
        edges *= 4
    return max(1, min(edges, most))


def run_clock(
    piece: Piece, state: Any, *, length: int, words: int, group: int, edges: int | None
) -> tuple[Int32[np.ndarray, "g words"], Counters]:
    """Steps until the machine is empty, or for `edges` edges; sums and counts of a run.

    Raises:
      LostResultError: a word was not captured exactly once, or the machine counted other
        edges than those up to its last result.
    """
    sums = np.zeros((words, group), np.int32)
    captured = np.zeros(words, np.int64)
    counted, first, last = [], 0, -1
    running = True
    while running and (edges is None or first < edges):
        state, counts, handed = piece(state, first)
        counts = Counters(*(int(count) for count in counts))
        left = length if edges is None else min(length, edges - first)
        valid, word = np.asarray(handed.valid)[:left], np.asarray(handed.word)[:left]
        places = word[valid]
        if places.size:
            _check_places(places, words)
            captured += np.bincount(places, minlength=words)
            sums[places] = np.asarray(handed.value)[:left][valid]
            last = first + int(np.flatnonzero(valid.any(1))[-1])
        counted.append(counts)
        running = counts.cycles == length
        first += length
    all_counts = total(counted) if counted else Counters()
    _check_captured(captured, all_counts, last)
    return np.ascontiguousarray(sums.T), all_counts


def _check_places(places: np.ndarray, words: int) -> None:
    if places.min() < 0 or places.max() >= words:
        wrong = int(places[(places < 0) | (places >= words)][0])
        raise LostResultError(f"a result was handed over for word {wrong} of {words}")


def _check_captured(captured: np.ndarray, counts: Counters, last: int) -> None:
    wrong = np.flatnonzero(captured != 1)
    if wrong.size:
        raise LostResultError(
            f"{wrong.size} of {captured.size} results were not captured exactly once; "
            f"word {wrong[0]} was {captured[wrong[0]]} times"
        )
    if counts.cycles != last + 1:
        phases = {name: getattr(counts, name) for name in PHASES}
        raise LostResultError(
            f"the last result came on edge {last}, but the phases are {phases}"
        )


def in_groups(
    step_group: Callable[[np.ndarray], tuple[np.ndarray, Counters]],
    x_GMK: Integer[np.ndarray, "g m k"],
    *,
    words: int,
    columns: int,
) -> Run:
    """Steps as many runs of `words` words side by side as fit, in groups of one size.

    The last group is filled up with zeros. Every run takes the same course, so each counts
    what its group does.
    """
    runs = len(x_GMK)
    most = max(1, _MOST_WORDS // max(1, words))
    size = -(-runs // max(1, -(-runs // most)))
    sums = np.empty((runs, x_GMK.shape[1], columns), np.int32)
    counters = Counters()
    for first in range(0, runs, max(1, size)):
        some = x_GMK[first : first + size]
        full = np.zeros((size, *x_GMK.shape[1:]), x_GMK.dtype)
        full[: len(some)] = some
        group_sums, counts = step_group(full)
        sums[first : first + size] = group_sums.reshape(size, -1, columns)[: len(some)]
        counters = total([counters, times(counts, len(some))])
    return Run(sums, counters)


def input_memory(x_GMK: Integer[np.ndarray, "g m k"], beyond: int) -> Array:
    """Inputs as int16 [words, G], word m * K + k, of a size that many products share.

    int16 holds uint8 and int8. At least `beyond` words follow the last, since a read past
    the end of a JAX array is moved back into it. They are not zero, so that a lane that
    should be off shows in the sums.
    """
    group, rows, inner = x_GMK.shape
    memory = np.ones((class_words(rows * inner + beyond, group), group), np.int16)
    memory[: rows * inner] = x_GMK.reshape(group, rows * inner).T
    return jnp.asarray(memory)


def weight_memory(
    w_KN: Integer[np.ndarray, "k n"], beyond: tuple[int, int] = (0, 0)
) -> Array:
    """Weights as int16 [N, K] with at least `beyond` more, not zero, each way."""
    inner, columns = w_KN.shape
    rows = max(256, power_of_two(columns + beyond[1]))
    memory = np.ones((rows, max(1024, power_of_two(inner + beyond[0]))), np.int16)
    memory[:columns, :inner] = w_KN.T
    return jnp.asarray(memory)


def class_words(words: int, group: int) -> int:
    """Words a run of a memory that holds `words`; a size that many products share."""
    return max(_SMALL_WORDS // group, power_of_two(words))


def power_of_two(size: int) -> int:
    """The smallest power of two that is not below `size`."""
    return 1 << max(0, size - 1).bit_length()
