"""Coefficients of rows over a value: over all of it, or over a window of a map.

A row of a convolution meets few positions; only these are held. Windows of all rows have
one size, each its own corner, which may lie outside of the map: coefficients there are 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from configs.program import Ends, Shape


class Region(NamedTuple):
    """Coefficients (n, *shape), or (n, h, w, C) with the windows' top left corners."""

    values: np.ndarray
    # Row and column of the corner of each window, int (n,) each; None for all of a value.
    corner: tuple[np.ndarray, np.ndarray] | None = None


def whole(region: Region, shape: Shape) -> Region:
    """The same over all of a value."""
    if region.corner is None:
        return region
    n, h, w, channels = region.values.shape
    y, x = region.corner
    # With margins, so that every window lies inside.
    top, bottom = _margins(y, h, shape[0])
    left, right = _margins(x, w, shape[1])
    out = np.zeros((n, top + shape[0] + bottom, left + shape[1] + right, channels))
    rows = (y + top)[:, None] + np.arange(h)
    columns = (x + left)[:, None] + np.arange(w)
    out[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]] = region.values
    inside = out[:, top : top + shape[0], left : left + shape[1]]
    return Region(np.ascontiguousarray(inside))


def _margins(corner: np.ndarray, size: int, length: int) -> tuple[int, int]:
    if not len(corner):
        return 0, 0
    return max(0, -int(corner.min())), max(0, int(corner.max()) + size - length)


def narrow(region: Region, shape: Shape) -> Region:
    """Over all of a value where windows are no smaller."""
    if region.corner is None:
        return region
    _, h, w, _ = region.values.shape
    return whole(region, shape) if h * w >= shape[0] * shape[1] else region


def plus(a: Region, b: Region, shape: Shape) -> Region:
    """The sum of two, of the same rows over the same value."""
    same = a.values.shape == b.values.shape and (a.corner is None) == (b.corner is None)
    if same and a.corner is not None:
        pairs = zip(a.corner, b.corner, strict=True)
        same = all(np.array_equal(*pair) for pair in pairs)
    if not same:
        a, b = whole(a, shape), whole(b, shape)
    return Region(a.values + b.values, a.corner)


def seen(region: Region, array: np.ndarray, image: np.ndarray) -> np.ndarray:
    """What each coefficient meets of an array (B, *shape), 0 outside of a map.

    Args:
      image: which of the B images each row belongs to (n,).
    """
    if region.corner is None:
        return array[image]
    h, w = region.values.shape[1:3]
    y, x = region.corner
    top, bottom = _margins(y, h, array.shape[1])
    left, right = _margins(x, w, array.shape[2])
    padded = np.pad(array, ((0, 0), (top, bottom), (left, right), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), axis=(1, 2))
    return windows.transpose(0, 1, 2, 4, 5, 3)[image, y + top, x + left]


def unpadded(region: Region, pads: tuple[Ends, Ends], shape: Shape) -> Region:
    """Over the map (H, W, C) that zeros were put around."""
    (top, _), (left, _) = pads
    if region.corner is None:
        inside = region.values[:, top : top + shape[0], left : left + shape[1]]
        return Region(np.ascontiguousarray(inside))
    corner = (region.corner[0] - top, region.corner[1] - left)
    _, h, w, _ = region.values.shape
    values = region.values
    for axis, (at, size, length) in enumerate(zip(corner, (h, w), shape[:2], strict=True)):
        places = at[:, None] + np.arange(size)
        inside = (places >= 0) & (places < length)
        if not inside.all():
            values = values * np.expand_dims(inside, (2, 3) if axis == 0 else (1, 3))
    return narrow(Region(values, corner), shape)
