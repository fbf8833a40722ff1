"""Energy of an SRAM access by capacity: straight lines in log-log between table points."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

# A number, or an array of numpy or JAX.
Number = Any

# Ties round up although the last bit of a power may say otherwise: far above the rounding
# of float64 (1e-16 of 10^7), far below what a table knows.
_TIE = 1e-6


def interpolate(capacity: Number, points: Mapping[int, float]) -> Number:
    """Energy per byte of an SRAM of `capacity` bytes, in the unit of the points.

    E(C) = E_0 * prod_i (E_{i+1} / E_i)^t_i,
    t_i = clip(log2(C / C_i) / log2(C_{i+1} / C_i), 0, 1)

    for table points (C_i, E_i) by rising capacity. It passes through the points, is
    constant outside of them, and decides nothing by value: arrays of numpy and JAX work,
    and derivatives with respect to capacity exist. A table of one point is a constant.
    """
    xp = _namespace(capacity)
    sizes = sorted(points)
    within = xp.clip(_floating(capacity, xp), sizes[0], sizes[-1])
    energy = xp.ones_like(within) * float(points[sizes[0]])
    for small, large in pairwise(sizes):
        share = xp.log2(within / small) / float(np.log2(large / small))
        ratio = float(points[large]) / float(points[small])
        energy = energy * ratio ** xp.clip(share, 0.0, 1.0)
    return energy


def whole(capacity: Number, points: Mapping[int, float]) -> Number:
    """The same in whole numbers, rounded once, half up; int for an int, else int64.

    Raises:
      TypeError: an array of JAX without 64 bits (`with jax.enable_x64(True)`), in which
        the last digit would not be sure.
    """
    xp = _namespace(capacity)
    energy = interpolate(capacity, points)
    if str(energy.dtype) != "float64":
        raise TypeError(f"capacities must be int or int64 arrays, not {capacity.dtype}.")
    rounded = xp.floor(energy + (0.5 + _TIE)).astype("int64")
    return int(rounded) if isinstance(capacity, int) else rounded


def clamped(capacity: Number, points: Mapping[int, float]) -> Number:
    """Whether the capacity lies outside of the table: an end point stands for it."""
    return (capacity < min(points)) | (capacity > max(points))


def _floating(capacity: Number, xp: Any) -> Number:
    """As float64; a float array, of a relaxed model, keeps its own width."""
    array = xp.asarray(capacity)
    if "float" in str(array.dtype):
        return array
    wide = "float64" if "64" in str(array.dtype) else "float32"
    return array.astype(wide)


def _namespace(value: Number) -> Any:
    """numpy, or whatever module the array is of."""
    return value.__array_namespace__() if hasattr(value, "__array_namespace__") else np
