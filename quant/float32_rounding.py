"""Where float32 rounds a requantisation exactly as integers do.

Integer hardware computes RNE(acc * m / 2^s). ONNX Runtime and XNNPACK compute
rint(float32(acc) * float32(m * 2^-s)). Both are monotone in `acc`, so they are the same
function if they step from y - 1 to y at the same `acc` for every output y.
"""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Bool, Int64


def integer_step(m: np.ndarray | int, shift: int, y: np.ndarray) -> np.ndarray:
    """Smallest acc with RNE(acc * m / 2^shift) >= y: int64, for int64 outputs y.

    The halfway point y - 1/2 itself rounds up to y if y is even.
    """
    halfway = (2 * y - 1) << (shift - 1)
    even = y % 2 == 0
    # Smallest acc with acc * m >= halfway (even y) or > halfway (odd y).
    return np.where(even, -(-halfway // m), halfway // m + 1)


def float32_round(acc: np.ndarray, m: np.ndarray | int, shift: int) -> np.ndarray:
    """rint(float32(acc) * float32(m * 2^-shift)), as the runtimes compute it."""
    scale = np.ldexp(np.asarray(m, np.float32), -shift)
    return np.rint(acc.astype(np.float32) * scale)


def _agree(
    m_N: Int64[np.ndarray, " n"], shift: int, low: int, high: int
) -> Bool[np.ndarray, " n"]:
    """For each multiplier, whether both rules take every step at the same `acc`."""
    y = np.arange(low + 1, high + 1, dtype=np.int64)[None]
    m_N1 = m_N[:, None]
    first = integer_step(m_N1, shift, y)
    reached = float32_round(first, m_N1, shift) >= y
    not_before = float32_round(first - 1, m_N1, shift) < y
    return np.all(reached & not_before, axis=1)


@functools.lru_cache(maxsize=1 << 16)
def agrees_with_float32(m: int, shift: int, low: int, high: int) -> bool:
    """Whether both rules give the same output, clipped to low..high, for every int32."""
    return bool(_agree(np.array([m], np.int64), shift, low, high)[0])


@functools.cache
def nearest_agreeing(shift: int, low: int, high: int) -> np.ndarray:
    """For each multiplier 0..65535 the nearest one that `agrees_with_float32`: int32.

    Up to a shift of 16 that is the multiplier itself (1 for 0): acc * m stays below 2^24
    wherever the output is not saturated, so that float32 makes no error.
    """
    every = np.arange(65536, dtype=np.int64)
    if shift <= 16:
        return np.maximum(every, 1).astype(np.int32)
    parts = np.array_split(every[1:], 64)
    good = np.concatenate([m_N[_agree(m_N, shift, low, high)] for m_N in parts])
    after = np.minimum(np.searchsorted(good, every), len(good) - 1)
    before = np.maximum(after - 1, 0)
    closer = every - good[before] < good[after] - every
    return np.where(closer, good[before], good[after]).astype(np.int32)
