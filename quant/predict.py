"""Classifies pictures with the integer network alone: numpy, no JAX."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from configs.checks import brief
from configs.errors import InputError
from quant import files, normative
from quant.network import IntNetwork

# What Pillow raises for files that are missing, damaged, no pictures or far too large.
_UNREADABLE = (
    OSError, SyntaxError, ValueError,
    Image.DecompressionBombWarning, Image.DecompressionBombError,
)  # fmt: skip
# Classes named beside the most likely one.
_OTHERS = 2


def predict(folder: Path, paths: Sequence[Path], *, invert: bool = False) -> list[dict]:
    """What the network in `folder` makes of each picture.

    Raises:
      InputError: a picture cannot be read, or the network takes no pictures.
    """
    network = files.load(folder).network
    pictures = [read_picture(path, network, invert=invert) for path in paths]
    images = np.stack([pixels for pixels, _ in pictures])
    outputs = normative.run(network, images)
    return [
        {"picture": str(path), "note": note, **_answer(network, row)}
        for path, (_, note), row in zip(paths, pictures, outputs, strict=True)
    ]


def read_picture(
    path: Path, network: IntNetwork, *, invert: bool = False
) -> tuple[np.ndarray, str]:
    """Pixels (H, W, C) as the network takes them, and a note if the size was changed."""
    shape = network.network.input_shape
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise InputError(
            f"`IMAGE` (={brief(str(path))}) cannot go into this network, whose input is "
            f"{shape}, not a gray or coloured picture; use the golden vectors instead."
        )
    height, width, channels = shape
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                before = picture.size
                picture = _plain(picture).convert("L" if channels == 1 else "RGB")
                if before != (width, height):
                    picture = picture.resize((width, height), Image.Resampling.BILINEAR)
                pixels = np.asarray(picture, np.uint8).reshape(shape)
    except _UNREADABLE as error:
        raise InputError(
            f"`IMAGE` (={brief(str(path))}) must be a readable picture: {error}; give a "
            f"PNG or JPEG file."
        ) from None
    note = f"resized from {before[0]} x {before[1]}" if before != (width, height) else ""
    return (255 - pixels if invert else pixels), note


def _plain(picture: Image.Image) -> Image.Image:
    """The picture without transparency, in colours that Pillow converts to 8 bits."""
    # A transparent background is white paper.
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        paper = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(paper, picture)
    # Pillow cuts wider grays off at 255 instead of scaling them.
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits")
    return picture


def _answer(network: IntNetwork, outputs: np.ndarray) -> dict:
    """Classes by probability, softmax of the outputs' real values."""
    real = outputs.astype(np.float64) * network.output.scale
    if not network.classes:
        return {"outputs": real.tolist()}
    odds = np.exp(real - real.max())
    probabilities = odds / odds.sum()
    order = np.argsort(-real, kind="stable")
    ranked = [
        {"class": network.classes[i], "probability": float(probabilities[i])} for i in order
    ]
    return {**ranked[0], "then": ranked[1 : 1 + _OTHERS], "outputs": outputs.tolist()}
