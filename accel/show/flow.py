"""An image and what the layers make of it, as PNG inside the page.

Brightness is magnitude, from black for zero; of signed values the positive are bright
orange, the negative bright blue, so that zero is black everywhere, in light and in dark.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from math import ceil, sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer, UInt8
from markupsafe import Markup
from PIL import Image

# Maps shown of one layer, and values of one row: what a person can still tell apart.
_MOST_MAPS = 64
_MOST_VALUES = 1024
# CSS pixels that a mosaic may take.
_MOST_WIDTH = 440
# Side of the square of one value of a vector.
_CELL = 12

# Colour at magnitudes 0, 1/2 and 1, interpolated.
_ORANGE = ((0, 0, 0), (176, 84, 20), (255, 236, 200))
_BLUE = ((0, 0, 0), (28, 96, 176), (205, 232, 255))


class Flow(NamedTuple):
    """One image through the network, by the integers that the machine computed."""

    # (H, W, C) or (D,)
    image: UInt8[np.ndarray, "..."]
    # Name, activations (P, Q, F), (T, F) or (F,), lowest and highest value of their format.
    layers: Sequence[tuple[str, Integer[np.ndarray, "..."], int, int]]
    # Class and its logit.
    scores: Sequence[tuple[str, int]]
    # The class that the data set says it is.
    label: str | None
    # Of a network that forks and joins: how its steps hang together.
    graph: Markup | None = None
    # Values within layers that are not among `layers`: there are too many.
    left_out: int = 0


class Picture(NamedTuple):
    """A PNG as a data URI, and the size to show it at, in CSS pixels."""

    source: str
    width: int
    height: int
    # Maps or values shown, and how many there are.
    shown: int
    whole: int


def image(pixels: UInt8[np.ndarray, "..."]) -> Picture:
    """Pixels as they are: grey or RGB; other numbers of channels side by side."""
    if pixels.ndim == 3 and pixels.shape[2] in (1, 3):
        rgb = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
        return _picture(_opaque(rgb), pixels.shape[2], pixels.shape[2], most=168)
    return _mosaic(pixels, lambda values: np.repeat(values[..., None], 3, -1))


def activations(values: Integer[np.ndarray, "..."]) -> Picture:
    """The maps of a layer side by side, or its values as cells; brightest: the largest.

    A sequence (T, F) is one map.
    """
    wide = values.astype(np.int64)
    if wide.ndim == 2:
        wide = wide[:, :, None]
    largest = max(int(np.abs(wide).max(initial=0)), 1)
    return _mosaic(wide, lambda part: _coloured(part, largest))


def _mosaic(values: np.ndarray, colour: Callable[[np.ndarray], np.ndarray]) -> Picture:
    """Maps of (P, Q, F), or the values of (F,), beside each other in rows."""
    if values.ndim == 1:
        shown = values[:_MOST_VALUES]
        columns = min(len(shown), 32)
        cell = np.ones((_CELL, _CELL), values.dtype)
        tiles = [colour(value * cell) for value in shown]
    else:
        shown = np.moveaxis(values, 2, 0)[:_MOST_MAPS]
        columns = min(len(shown), max(8, ceil(sqrt(len(shown)))))
        tiles = [colour(one) for one in shown]
    height, width = tiles[0].shape[:2]
    rows = ceil(len(tiles) / columns)
    # One transparent pixel between neighbours: the page's own ground.
    canvas = np.zeros((rows * (height + 1) - 1, columns * (width + 1) - 1, 4), np.uint8)
    for place, tile in enumerate(tiles):
        top, left = (place // columns) * (height + 1), (place % columns) * (width + 1)
        canvas[top : top + height, left : left + width] = _opaque(tile)
    return _picture(canvas, len(tiles), values.shape[-1], most=_MOST_WIDTH)


def _coloured(values: np.ndarray, largest: int) -> np.ndarray:
    share = np.abs(values) / largest
    ramps = [
        np.stack(
            [np.interp(share, (0, 0.5, 1), channel) for channel in zip(*ramp, strict=True)],
            -1,
        )
        for ramp in (_ORANGE, _BLUE)
    ]
    return np.where(values[..., None] < 0, ramps[1], ramps[0]).round().astype(np.uint8)


def _opaque(rgb: np.ndarray) -> np.ndarray:
    return np.concatenate([rgb, np.full((*rgb.shape[:2], 1), 255, np.uint8)], -1)


def _picture(rgba: np.ndarray, shown: int, whole: int, *, most: int) -> Picture:
    height, width = rgba.shape[:2]
    # Whole pixels, or the gaps would not be of one width.
    scale = max(1, min(14, most // width))
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG", optimize=True)
    text = base64.b64encode(buffer.getvalue()).decode()
    source = f"data:image/png;base64,{text}"
    return Picture(source, width * scale, height * scale, shown, whole)
