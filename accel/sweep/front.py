"""The Pareto front: designs that no other one beats, and the few of them with a name.

One design beats another if no objective is worse and one is better. Of designs that are
equal in all objectives the first in the space stays, which asks for the least.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from accel.sweep.metrics import METRICS, STRUCTURE
from configs.errors import InputError

DEFAULT = ("time_us", "energy", "area")
# Rows compared at a time: bounds the memory of a comparison.
_ROWS = 256


class Front(NamedTuple):
    """Points by rising index in the space: [points], and all their metrics."""

    index: np.ndarray
    # [points, METRICS]
    values: np.ndarray

    def column(self, name: str) -> np.ndarray:
        return self.values[:, METRICS.index(name)]

    def objectives(self, names: Sequence[str]) -> np.ndarray:
        """[points, objectives]"""
        return self.values[:, [METRICS.index(name) for name in names]]

    def take(self, which: np.ndarray) -> Front:
        return Front(self.index[which], self.values[which])


def empty() -> Front:
    return Front(np.zeros(0, np.int64), np.zeros((0, len(METRICS))))


def check_objectives(names: Sequence[str]) -> tuple[str, ...]:
    """The objectives, all smaller-is-better; refuses others.

    Raises:
      InputError: an unknown or repeated name, or nothing that depends on the rates.
    """
    known = [name for name in METRICS if name != "compute"]
    for name in names:
        if name not in known or list(names).count(name) > 1:
            raise InputError(
                f"`objectives` (={name!r}) must be different ones of {', '.join(known)}."
            )
    if not set(names) - set(STRUCTURE):
        raise InputError(
            f"`objectives` (={', '.join(names)}) must hold one that depends on clock and "
            f"bandwidth; add time_us, cycles, stall or energy."
        )
    return tuple(names)


def beaten(
    values: np.ndarray, by: np.ndarray, index: np.ndarray, by_index: np.ndarray
) -> np.ndarray:
    """Whether a point is beaten, or equalled by one that comes first; [points]."""
    found = np.zeros(len(values), bool)
    for start in range(0, len(values), _ROWS):
        here = slice(start, start + _ROWS)
        a, b = values[here, None], by[None]
        no_worse = (b <= a).all(-1)
        first = by_index[None] < index[here, None]
        found[here] = (no_worse & ((b < a).any(-1) | first)).any(1)
    return found


def pareto(points: Front, names: Sequence[str]) -> Front:
    """The front of some points, each of which occurs once or more often."""
    unique = np.unique(points.index, return_index=True)[1]
    points = points.take(unique)
    order = np.lexsort(points.objectives(names).T[::-1])
    front = empty()
    # What comes first in this order is beaten by nothing that comes later.
    for start in range(0, len(order), _ROWS):
        some = points.take(order[start : start + _ROWS])
        some = some.take(~_loses(some, front, names))
        some = some.take(~_loses(some, some, names))
        front = Front(*(np.concatenate(pair) for pair in zip(front, some, strict=True)))
    return front.take(np.argsort(front.index))


def merged(front: Front, more: Front, names: Sequence[str]) -> Front:
    """The front of a front and more points."""
    more = pareto(more.take(~_loses(more, front, names)), names)
    more = more.take(~np.isin(more.index, front.index))
    if not len(more.index):
        return front
    front = front.take(~_loses(front, more, names))
    both = Front(*(np.concatenate(pair) for pair in zip(front, more, strict=True)))
    return both.take(np.argsort(both.index))


def _loses(points: Front, other: Front, names: Sequence[str]) -> np.ndarray:
    mine, others = points.objectives(names), other.objectives(names)
    return beaten(mine, others, points.index, other.index)


def knees(front: Front) -> dict[str, int]:
    """Positions in the front of the designs that have a name.

    The knee is the point of the front of time and energy that lies farthest below the
    chord between its ends, both axes logarithmic and scaled to 0..1.
    """
    time, energy, area = (front.column(n) for n in ("time_us", "energy", "area"))
    within = np.where(time <= 1.1 * time.min(), area, np.inf)
    return {
        "fastest": _least(time, energy, area),
        "least energy": _least(energy, time, area),
        "smallest within 10 % of the fastest": _least(within, time, energy),
        "best energy-delay": _least(front.column("edp"), time, area),
        "knee": _knee(time, energy, area),
    }


def _least(*keys: np.ndarray) -> int:
    return int(np.lexsort(keys[::-1])[0])


def _knee(time: np.ndarray, energy: np.ndarray, area: np.ndarray) -> int:
    order = np.lexsort((area, energy, time))
    lower = np.minimum.accumulate(energy[order])
    first = np.r_[True, lower[1:] < lower[:-1]]
    curve = order[first]
    x, y = np.log(time[curve]), np.log(energy[curve])
    x = (x - x[0]) / max(x[-1] - x[0], 1e-300)
    y = (y - y[-1]) / max(y[0] - y[-1], 1e-300)
    return int(curve[np.argmax(1 - x - y)])
