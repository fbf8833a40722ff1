"""Two lines about a function of one variable, between which it lies on an interval.

    below_slope z + below <= f(z) <= above_slope z + above    for low <= z <= high

Any slope is sound if the intercept is: slopes are chosen for tightness, intercepts are the
extremes of f(z) - slope z, moved outward by more than float64 can be wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from train.certify.rounding import UNIT

# More than numpy's exp, tanh and log are off, of values about 1.
_SMOOTH = 1e-12


class Lines(NamedTuple):
    """Arrays of one shape."""

    below_slope: np.ndarray
    below: np.ndarray
    above_slope: np.ndarray
    above: np.ndarray


class Function(NamedTuple):
    """A function of one variable for the engine; arrays of one shape."""

    # (low, high) -> (low, high): values it takes between.
    range: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    # (low, high) -> Lines.
    lines: Callable[[np.ndarray, np.ndarray], Lines]
    # (low, high) -> bool: where narrower intervals would give closer lines.
    bends: Callable[[np.ndarray, np.ndarray], np.ndarray]
    # (low, high, slope) -> intercept of the lower line of that slope, if slopes from 0 to 1
    # are free somewhere.
    lower: Callable[..., np.ndarray] | None = None
    # (low, high) -> where they are, and z about which lines of other slopes turn.
    pivot: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None


def clip(lowest: float, highest: float) -> Function:
    """min(max(z, lowest), highest): ReLU, ReLU6, identity."""
    cut = lambda z: np.clip(z, lowest, highest)
    return _stair(cut, lowest, highest, 0.0)


def stair(lowest: int, highest: int) -> Function:
    """The same of z rounded to the nearest integer, ties either way."""
    cut = lambda z: np.clip(np.rint(z), lowest, highest)
    return _stair(cut, lowest, highest, 0.5)


def _stair(cut: Callable, lowest: float, highest: float, half: float) -> Function:
    def bends(low, high):
        bottom = (low < lowest + half) & (high > lowest - half)
        top = (low < highest + half) & (high > highest - half)
        return bottom | top

    return Function(
        range=lambda low, high: (cut(low), cut(high)),
        lines=lambda low, high: stair_lines(low, high, cut(low), cut(high), half),
        bends=bends,
        lower=lambda low, high, slope: _below(low, high, cut(low), cut(high), half, slope),
        pivot=lambda low, high: (
            (low < cut(low) - half) & (cut(high) > cut(low)),
            cut(low) + half,
        ),
    )


def stair_lines(
    low: np.ndarray, high: np.ndarray, first: np.ndarray, last: np.ndarray, half: float
) -> Lines:
    """Lines about a function that rises from `first` to `last` within half a step of z.

    Its upper corners are (low, first) and (y - half, y) up to y = last, of which a line
    with a slope of at most 1 has to pass above the first and the last; its lower ones are
    the same turned round. Slopes are those of the chord, or 0 where the function is cut
    off over the larger part of the interval (the choice of Zhang et al. for a ReLU).
    """
    rises = last > first
    reach_above, reach_below = last - half - low, high - first - half
    above_slope = _chord(last - first, reach_above, rises)
    below_slope = _chord(last - first, reach_below, rises)
    flat_top = (high > last + half) & (reach_above < high - last + half)
    flat_bottom = (low < first - half) & (reach_below <= first + half - low)
    above_slope[flat_top] = 0
    below_slope[flat_bottom] = 0
    above = np.maximum(
        first - above_slope * low, last * (1 - above_slope) + above_slope * half
    )
    below = _below(low, high, first, last, half, below_slope)
    above += _size_between(low, high, first, last, half, above_slope)
    return Lines(below_slope, below, above_slope, above)


def _below(low, high, first, last, half: float, slope: np.ndarray) -> np.ndarray:
    """Intercept of the lower line of a slope in 0..1."""
    found = np.minimum(last - slope * high, first * (1 - slope) - slope * half)
    return found - _size_between(low, high, first, last, half, slope)


def _size_between(low, high, first, last, half: float, slope: np.ndarray) -> np.ndarray:
    """What an intercept may be wrong by: nothing for slopes of 0 and 1, where there is no
    rounding to halves."""
    size = 8 * UNIT * (np.abs(low) + np.abs(high) + np.abs(first) + np.abs(last) + half)
    return np.where((slope > 0) & ((slope < 1) | (half > 0)), size, 0)


def _chord(rise: np.ndarray, run: np.ndarray, rises: np.ndarray) -> np.ndarray:
    steep = rises & (run <= rise)
    slope = np.divide(rise, run, out=np.zeros_like(rise), where=rises & ~steep)
    slope[steep] = 1
    return slope


def bell(scale: float, gain: float, offset: float) -> Function:
    """gain * sigmoid(scale z) + offset: sigmoid, tanh(z), tanh(z / 2)."""

    def f(z):
        return gain * _sigmoid(scale * z) + offset

    def turning(slope):
        """Where the derivative is the slope: +- this."""
        share = np.clip(slope / (gain * scale), 0, 0.25)
        root = np.sqrt(1 - 4 * share)
        return np.log((1 + root) / np.maximum(1 - root, 1e-300)) / scale

    def lines(low, high):
        chord = _slope(f, low, high)
        middle = _sigmoid(scale * (low + high) / 2)
        tangent = gain * scale * middle * (1 - middle)
        above = np.where(low >= 0, tangent, chord)
        below = np.where(high <= 0, tangent, chord)
        stationary = lambda slope: (turning(slope), -turning(slope))
        return _smooth_lines(f, low, high, below, above, stationary)

    return _rising(f, lines)


def softplus() -> Function:
    """log(1 + exp(z))."""
    f = lambda z: np.logaddexp(0.0, z)

    def lines(low, high):
        chord, tangent = _slope(f, low, high), _sigmoid((low + high) / 2)

        def stationary(slope):
            inside = np.clip(slope, 1e-300, 1 - 1e-16)
            return (np.log(inside) - np.log1p(-inside),)

        return _smooth_lines(f, low, high, tangent, chord, stationary)

    return _rising(f, lines)


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(z / 2))


def _slope(f: Callable, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    run = high - low
    wide = run > 1e-9
    return np.divide(f(high) - f(low), run, out=np.zeros_like(run), where=wide)


def _rising(f: Callable, lines: Callable) -> Function:
    def reach(low, high):
        first, last = f(low), f(high)
        return first - _size(first), last + _size(last)

    return Function(range=reach, lines=lines, bends=lambda low, high: high > low)


def _size(*values: np.ndarray) -> np.ndarray:
    return _SMOOTH * (1 + sum(np.abs(v) for v in values))


def _smooth_lines(
    f: Callable, low: np.ndarray, high: np.ndarray, below_slope: np.ndarray,
    above_slope: np.ndarray, stationary: Callable,
) -> Lines:  # fmt: skip
    """Intercepts for given slopes: f(z) - slope z is extreme at an end or where f' is the
    slope."""

    def extremes(slope):
        at = [low, high, *(np.clip(z, low, high) for z in stationary(slope))]
        return [f(z) - slope * z for z in at]

    size = _size(low, high)
    return Lines(
        below_slope, np.minimum.reduce(extremes(below_slope)) - size,
        above_slope, np.maximum.reduce(extremes(above_slope)) + size,
    )  # fmt: skip


def table(entries: np.ndarray) -> Function:
    """entries[i + 128] for integers i in -128..127."""
    values = tuple(int(v) for v in entries)

    def at(low, high):
        return low.astype(np.int64) + 128, high.astype(np.int64) + 128

    def reach(low, high):
        bands, (i, j) = _bands(values), at(low, high)
        return bands.least[i, j], bands.most[i, j]

    def lines(low, high):
        bands, (i, j) = _bands(values), at(low, high)
        slope = bands.slope[i, j]
        return Lines(slope, bands.below[i, j], slope, bands.above[i, j])

    return Function(range=reach, lines=lines, bends=lambda low, high: high > low)


class _Bands(NamedTuple):
    """For entries i..j of a table (256, 256): extremes, and lines along the chord."""

    least: np.ndarray
    most: np.ndarray
    slope: np.ndarray
    below: np.ndarray
    above: np.ndarray


@lru_cache(maxsize=64)
def _bands(values: tuple[int, ...]) -> _Bands:
    entries = np.array(values, np.float64)
    count = len(entries)
    found = np.zeros((5, count, count))
    places = np.arange(count) - 128.0
    for i in range(count):
        tail, where = entries[i:], places[i:]
        slope = (tail - tail[0]) / np.maximum(where - where[0], 1)
        least, most = np.minimum.accumulate(tail), np.maximum.accumulate(tail)
        below, above = _band(tail, where, slope)
        # Lines along the chord, or level ones where these are no farther apart.
        level = above - below >= most - least
        slope[level], below[level], above[level] = 0, least[level], most[level]
        found[:, i, i:] = least, most, slope, below, above
    return _Bands(*found)


def _band(
    tail: np.ndarray, where: np.ndarray, slope: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Intercepts of the lines with each slope below and above all entries up to its own."""
    gaps = tail[None] - slope[:, None] * where[None]
    inside = where[None] <= where[:, None]
    size = 16 * UNIT * (np.abs(tail).max() + 128 * np.abs(slope))
    below = np.where(inside, gaps, np.inf).min(1) - size
    return below, np.where(inside, gaps, -np.inf).max(1) + size
