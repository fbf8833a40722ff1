"""What is drawn on a flat ground: centred as MNIST's digits are, and hints where it is not.

ink            |pixel - ground| above a fifth of its largest value; ground is the
               median of the outermost pixels
centred        the longer side of the ink's box becomes 20/28 of the shorter side of
               the network's input, aspect ratio kept; its centre of mass goes to
               pixel side / 2 (LeCun et al., the MNIST database: 20 x 20 in 28 x 28)
hint           what training data looks like is read from the golden test images of
               the run. Nothing is said unless all of them have a flat dark or a flat
               light border; without golden images nothing is said at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from configs.errors import InputError
from quant import golden
from quant.network import IntNetwork

_BOX = 20 / 28
_FAINTEST = 0.2
# Of the border's pixels as far from black (or white) as this at most, this share is flat.
_NEAR, _FLAT = 64, 0.9
# How far box and centre of mass may be from those of centred data, in shares of a side.
_BOX_SLACK, _CENTRE_SLACK = 0.15, 0.1


def resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [H, W, C] at another size, bilinear; its shape is not kept."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, np.uint8).reshape(height, width, pixels.shape[2])


def centred(pixels: np.ndarray, height: int, width: int, origin: str) -> np.ndarray:
    """What is drawn in uint8 [H, W, C], alone in the middle of [height, width, C].

    Raises:
      InputError: all pixels are the same; `origin` names the picture.
    """
    ground, strength = _ink(pixels)
    if not strength.any():
        raise InputError(
            f"{origin} must show something on a flat ground to be centred, but all its "
            f"pixels are the same; leave out `--fit`."
        )
    rows, cols = (np.flatnonzero(strength.any(axis=axis)) for axis in (1, 0))
    box = pixels[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    scale = _BOX * min(height, width) / max(box.shape[:2])
    small = resized(box, *(max(1, round(scale * side)) for side in box.shape[:2]))
    weight = np.abs(small.astype(np.float64) - ground).mean(axis=2)
    canvas = np.empty((height, width, pixels.shape[2]), np.uint8)
    canvas[:] = ground
    at = [
        _start(weight.sum(axis=1 - axis), (height, width)[axis]) for axis in (0, 1)
    ]  # fmt: skip
    canvas[at[0] : at[0] + small.shape[0], at[1] : at[1] + small.shape[1]] = small
    return canvas


def _start(weight: np.ndarray, side: int) -> int:
    """Where a row of weights starts if its centre of mass is to be on pixel side / 2.

    That is half a pixel past the middle, as in MNIST: pixel 14 of 28, counted from 0.
    """
    mass = np.arange(len(weight)) @ weight / weight.sum()
    return int(np.clip(round(side / 2 - mass), 0, side - len(weight)))


def _border(pixels: np.ndarray) -> np.ndarray:
    """The outermost pixels, [n, C]."""
    sides = (pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1])
    return np.concatenate(sides)


def _ink(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ground's value in each channel, and how much every pixel [H, W] departs."""
    ground = np.median(_border(pixels), axis=0).astype(np.uint8)
    departs = np.abs(pixels.astype(np.float64) - ground).max(axis=2)
    return ground, np.where(departs > _FAINTEST * departs.max(), departs, 0)


def learnt(folder: Path, network: IntNetwork) -> list[np.ndarray]:
    """Test images that the run keeps among its golden vectors; none if there are none.

    Raises:
      InputError: one is damaged.
    """
    shape = network.network.input_shape
    found = sorted(folder.glob(golden.image_name(network, "*")))
    return [_stored(path, shape) for path in found]


def _stored(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    content = path.read_bytes()
    body = int(np.prod(shape))
    wanted = golden.npy(
        golden.Vector(layer="", tensor="", image=0, array=np.zeros(shape, np.uint8))
    )
    if len(content) != len(wanted) or content[:-body] != wanted[:-body]:
        raise InputError(
            f"`{path}` must be an image uint8 {list(shape)} as it was written, but is not; "
            f"quantise the run again with --overwrite."
        )
    return np.frombuffer(content[-body:], np.uint8).reshape(shape)


def hint(
    pixels: np.ndarray, seen: Sequence[np.ndarray], *, inverted: bool, fitted: bool
) -> str:
    """What may be wrong with uint8 [H, W, C] beside images that were `seen`; "" if nothing.

    Args:
      inverted, fitted: what was done to it already.
    """
    ground = {_flat(image) for image in seen}
    if len(ground) != 1 or None in ground:
        return ""
    (usual,) = ground
    # Paper of a photo is rarely white, a blackboard rarely black: half is enough.
    lightness = float(np.median(_border(pixels)))
    if abs(lightness - usual) > 127.5:
        way = "leave out `--invert`" if inverted else "try `--invert`"
        return f"looks inverted: {way}"
    placed = [_place(image) for image in seen]
    if fitted or not all(_is_centred(place) for place in placed):
        return ""
    return "" if _is_centred(_place(pixels)) else "looks off centre or size: try `--fit`"


def _flat(image: np.ndarray) -> int | None:
    """0 or 255 if nearly all of the border is near it."""
    border = _border(image).astype(np.int64)
    for value in (0, 255):
        if np.mean(np.abs(border - value) < _NEAR) >= _FLAT:
            return value
    return None


def _place(pixels: np.ndarray) -> tuple[float, float]:
    """Longer side of the ink's box and distance of its mass from the middle, in sides."""
    _, strength = _ink(pixels)
    if not strength.any():
        return _BOX, 0.0
    sides, away = [], []
    for axis in (0, 1):
        weight = strength.sum(axis=1 - axis)
        inside = np.flatnonzero(weight)
        size = len(weight)
        sides.append((inside[-1] + 1 - inside[0]) / size)
        mass = (np.arange(size) + 0.5) @ weight / weight.sum()
        away.append(abs(mass - size / 2) / size)
    return max(sides), max(away)


def _is_centred(place: tuple[float, float]) -> bool:
    longest, away = place
    return abs(longest - _BOX) <= _BOX_SLACK and away <= _CENTRE_SLACK
