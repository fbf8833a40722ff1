"""Reads from a simulation's valid bits when it ended and what each cycle was for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Int8

from accel.machines.counters import PHASES, Counters
from accel.simulate.simulation import LostResultError

_LOAD, _FILL, _STREAM, _DRAIN, _STALL = range(5)


class Bits(NamedTuple):
    """What an observer sees on each clock edge, bool (edges,) each."""

    # Held operands move into the array.
    loading: np.ndarray
    # Some PE works on a valid operand.
    active: np.ndarray
    # The machine's first way out gives a result (for os: its last PE multiplies).
    streaming: np.ndarray
    # Some way out gives a result.
    captured: np.ndarray

    @classmethod
    def joined(cls, pieces: list[Bits]) -> Bits:
        return cls(*(np.concatenate(bits) for bits in zip(*pieces, strict=True)))


def labels(bits: Bits, *, overlapped: bool = False) -> Int8[np.ndarray, " cycles"]:
    """Phase of each cycle as an index into PHASES, up to the last captured result.

    Edges after that are surplus: they were stepped to see that nothing more comes.

    Args:
      overlapped: tiles enter while others are at work, so that all of them together fill
        the array once and drain it once; else each tile does.

    Raises:
      LostResultError: no result came out.
    """
    begins = _rising(bits.loading) if bits.loading.any() else _rising(bits.active)
    starts = np.flatnonzero(begins)
    if overlapped or not len(starts):
        starts = np.zeros(1, int)
    found = np.full(len(bits.active), _STALL, np.int8)
    for start, stop in zip(starts, [*starts[1:], len(found)], strict=True):
        end = start + _label(Bits(*(b[start:stop] for b in bits)), found[start:stop])
    return found[:end]


def _label(bits: Bits, found: np.ndarray) -> int:
    """Labels what enters the array together; gives back its number of cycles."""
    streaming, captured = np.flatnonzero(bits.streaming), np.flatnonzero(bits.captured)
    if not (len(streaming) and len(captured)):
        raise LostResultError("no result came out of the array; run more clock edges")
    first, last, end = int(streaming[0]), int(streaming[-1]), int(captured[-1]) + 1
    found[:first][bits.loading[:first]] = _LOAD
    found[:first][bits.active[:first]] = _FILL
    found[bits.streaming] = _STREAM
    found[last + 1 : end] = _DRAIN
    return end


def _rising(bits: np.ndarray) -> np.ndarray:
    return bits & ~np.concatenate([[False], bits[:-1]])


def phase_counts(bits: Bits, *, overlapped: bool = False) -> Counters:
    """Cycles by phase."""
    counts = np.bincount(labels(bits, overlapped=overlapped), minlength=len(PHASES))
    return Counters(**dict(zip(PHASES, counts.tolist(), strict=True)))
