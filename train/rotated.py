"""Images turned once and for all, each by an angle of the full circle (rotated MNIST).

Output pixels look up where they came from, as in `train.warp`, and take the bilinear mean
of the four pixels there; outside is 0 and positive angles turn counter-clockwise. Places
are rounded to 1/256 pixel and the rest is done in whole numbers, so that every machine
gets the same bytes: the data of a run are known by their SHA-256.
"""

from __future__ import annotations

import numpy as np

from configs.errors import InputError

# One stream of angles for each split, so that no two share them.
SEEDS = {"train": 360, "validation": 361, "test": 362}
# Parts of a pixel in each direction.
_PARTS = 256
# Images at a time: bounds the memory.
_CHUNK = 1_000
_MARGIN = 2


def angles(count: int, *, seed: int) -> np.ndarray:
    """Uniform angles in [0, 360) degrees, float64 (count,); a longer list begins alike.

    They depend on raw PCG64 bits, which numpy keeps the same for ever.
    """
    bits = np.random.PCG64(seed).random_raw(count)
    return (bits >> np.uint64(11)).astype(np.float64) * (360 * 2.0**-53)


def rotated(images: np.ndarray, *, seed: int) -> np.ndarray:
    """uint8 images (N, H, W, C), every one turned by an angle of its own.

    Raises:
      InputError: the examples are no images.
    """
    if images.ndim != 4:
        raise InputError(
            f"`--data.rotated` (=True) turns images (H, W, C), but these examples are "
            f"{images.shape[1:]}; leave it out."
        )
    degrees, found = angles(len(images), seed=seed), np.empty_like(images)
    for first in range(0, len(images), _CHUNK):
        part = slice(first, first + _CHUNK)
        found[part] = rotate(images[part], degrees[part])
    return found


def rotate(images: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """uint8 images (N, H, W, C), each turned by its angle about its centre."""
    n, height, width, channels = images.shape
    row, column = _places(height, width, degrees)
    top, down = np.divmod(row, _PARTS)
    left, right = np.divmod(column, _PARTS)
    around = ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0))
    flat = np.pad(images, around).reshape(n, -1, channels)
    wide = width + 2 * _MARGIN
    total = np.zeros((n, height * width, channels), np.int32)
    for below in (0, 1):
        i = np.clip(top + below, -_MARGIN, height + _MARGIN - 1) + _MARGIN
        for after in (0, 1):
            j = np.clip(left + after, -_MARGIN, width + _MARGIN - 1) + _MARGIN
            weight = (down if below else _PARTS - down) * (
                right if after else _PARTS - right
            )
            pixels = np.take_along_axis(flat, (i * wide + j)[..., None], axis=1)
            total += weight[..., None] * pixels
    half, whole = _PARTS**2 // 2, _PARTS**2
    return ((total + half) // whole).astype(np.uint8).reshape(images.shape)


def _places(height: int, width: int, degrees: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column that each output pixel came from, int32 (N, H*W), in parts."""
    angle = np.deg2rad(degrees)[:, None]
    i, j = np.mgrid[:height, :width].astype(np.float64).reshape(2, 1, -1)
    i, j = i - (height - 1) / 2, j - (width - 1) / 2
    row = np.cos(angle) * i + np.sin(angle) * j + (height - 1) / 2
    column = -np.sin(angle) * i + np.cos(angle) * j + (width - 1) / 2
    return tuple(np.rint(x * _PARTS).astype(np.int32) for x in (row, column))
