"""Classifies pictures with the integer network alone: numpy, no JAX."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from configs.checks import brief
from configs.errors import InputError
from quant import drawing, files, normative
from quant.network import IntNetwork
from train import picture, rundir

# Classes named beside the most likely one.
_OTHERS = 2


def predict(
    folder: Path,
    paths: Sequence[Path],
    *,
    invert: bool = False,
    fit: bool = False,
    out: Path | None = None,
    overwrite: bool = False,
) -> list[dict]:
    """What the network in `folder` makes of each picture.

    Args:
      invert, fit: as in `read_picture`.
      out: folder that gets a PNG of exactly the pixels that went in, for each picture.
      overwrite: replace PNG files that are there.

    Raises:
      InputError: a picture cannot be read, the network takes no pictures, or a file of
        `out` exists.
    """
    network = files.load(folder).network
    written = _names(out, paths, overwrite) if out else [None] * len(paths)
    pictures = [read_picture(path, network, invert=invert, fit=fit) for path in paths]
    images = np.stack([pixels for pixels, _ in pictures])
    outputs = normative.run(network, images)
    seen = drawing.learnt(folder, network)
    for pixels, target in zip(images, written, strict=True):
        if target is not None:
            _write(target, pixels)
    return [
        {
            "picture": str(path),
            "note": note,
            "hint": drawing.hint(pixels, seen, inverted=invert, fitted=fit),
            **({"input": str(target)} if target else {}),
            **_answer(network, row),
        }
        for path, (pixels, note), target, row in zip(
            paths, pictures, written, outputs, strict=True
        )
    ]


def read_picture(
    path: Path, network: IntNetwork, *, invert: bool = False, fit: bool = False
) -> tuple[np.ndarray, str]:
    """Pixels (H, W, C) as the network takes them, and a note on what was changed.

    Args:
      invert: swap black and white.
      fit: centre what is drawn as MNIST's digits are (`drawing.centred`).
    """
    shape = network.network.input_shape
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise InputError(
            f"`IMAGE` (={brief(str(path))}) cannot go into this network, whose input is "
            f"{shape}, not a gray or coloured picture; use the golden vectors instead."
        )
    height, width, channels = shape
    origin = f"`IMAGE` (={brief(str(path))})"
    shown = picture.read(path, f"{origin} must be a readable picture")
    pixels, notes = shown.pixels(channels), list(shown.notes())
    if channels == 1 and not shown.gray and np.ptp(shown.pixels(3), axis=2).any():
        notes.append("colours became gray")
    pixels = 255 - pixels if invert else pixels
    before = shown.image.size
    if fit:
        pixels = drawing.centred(pixels, height, width, origin)
        notes.append(f"centred from {before[0]} x {before[1]}")
    elif before != (width, height):
        pixels = drawing.resized(pixels, height, width)
        notes.append(f"resized from {before[0]} x {before[1]}")
    return pixels, ", ".join(notes)


def _names(out: Path, paths: Sequence[Path], overwrite: bool) -> list[Path]:
    """A PNG in `out` for each picture; the number keeps equal names apart."""
    digits = len(str(len(paths)))
    names = [out / f"{i:0{digits}}_{p.stem}.png" for i, p in enumerate(paths, start=1)]
    for name in names:
        if not overwrite and name.exists():
            raise InputError(
                f"`--out` (={out}) already holds {name.name}; replace it with --overwrite, "
                f"or name another folder."
            )
        if any(path.exists() and name.exists() and path.samefile(name) for path in paths):
            raise InputError(
                f"`--out` (={out}) must not hold the picture {name.name} itself; name "
                f"another folder."
            )
    return names


def _write(target: Path, pixels: np.ndarray) -> None:
    content = io.BytesIO()
    shown = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    Image.fromarray(shown).save(content, format="PNG")
    try:
        rundir.write_bytes(target, content.getvalue())
    except InputError as error:
        # Of a file outside a run directory; it names --run.
        raise InputError(
            f"`--out` (={target.parent}) cannot be written: {error.__cause__}; choose "
            f"another folder with --out."
        ) from error


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
