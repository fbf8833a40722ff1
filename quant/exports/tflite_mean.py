"""Means that XNNPACK rounds exactly as integers do.

XNNPACK has no mean that rounds half to even, but a depthwise convolution does round so.
With every weight equal to an integer `factor` it computes, for the sum t of `count` values,

    rint(float32(factor * t) * float32(1 / (factor * count)))

which must be RNE(t / count). Both are monotone in t, so comparing them where the integer
rule steps from one output to the next proves it for every t. float32(1 / count) is not
always good enough where t / count is a tie (count 14 is the first); some factor then is.
"""

from __future__ import annotations

import functools

import numpy as np

# Weights are int8.
_FACTORS = range(1, 128)


def mean_scale(count: int, factor: int) -> np.float32:
    """float32(1 / (factor * count)): the scale of the weights."""
    return np.float32(1 / (factor * count))


def mean_is_exact(count: int, factor: int, low: int, high: int) -> bool:
    """Whether both rules agree for every sum of `count` values in low..high."""
    largest = max(-low, high) * count * factor
    if largest >= 2**31:
        return False
    y = np.arange(low + 1, high + 1, dtype=np.int64)
    # Smallest t with RNE(t / count) >= y: twice t reaches the halfway point count*(2y - 1)
    # if y is even (the tie goes up), or passes it.
    halfway = count * (2 * y - 1)
    first = np.where(y % 2 == 0, -(-halfway // 2), halfway // 2 + 1)
    reached = _rounded(first, count, factor) >= y
    not_before = _rounded(first - 1, count, factor) < y
    return bool(np.all(reached & not_before))


def _rounded(total: np.ndarray, count: int, factor: int) -> np.ndarray:
    return np.rint((total * factor).astype(np.float32) * mean_scale(count, factor))


@functools.lru_cache(maxsize=1024)
def mean_factor(count: int, low: int, high: int) -> int | None:
    """Smallest factor that is exact for means of `count` values in low..high, if any."""
    exact = (f for f in _FACTORS if mean_is_exact(count, f, low, high))
    return next(exact, None)
