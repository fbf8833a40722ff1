"""One reader of pictures: what a file means in pixels, for training and for prediction.

formats        PNG JPEG BMP GIF PGM/PPM TIFF WebP; of several frames the first
orientation    as the EXIF tag says
transparency   composed onto white paper
16 bits        the high byte, v // 256, of every channel
gray           modes L and 16-bit gray, but no GIF, whose palette is gray or not as
               its colours happen to lie; all others (1-bit and LA too) become RGB,
               and gray again where a network takes one channel
refused        32-bit and floating point pixels, colours that are not converted (LAB)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from configs.errors import InputError

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
_MODES = (
    "1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV",
)  # fmt: skip
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_ORIENTATION = 0x0112
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What a file shows."""

    # Mode L if it is stored as gray, else RGB.
    image: Image.Image
    # Some of it was transparent.
    transparent: bool
    # An orientation tag turned it.
    turned: bool
    # Pictures in the file; the first is taken.
    frames: int

    @property
    def gray(self) -> bool:
        return self.image.mode == "L"

    def pixels(self, channels: int) -> np.ndarray:
        """uint8 [H, W, channels]; colours become gray by ITU-R 601."""
        image = self.image.convert("L" if channels == 1 else "RGB")
        return np.asarray(image, np.uint8).reshape(image.height, image.width, channels)

    def notes(self) -> tuple[str, ...]:
        """What was done to it beside decoding."""
        done = {
            "transparent parts became white paper": self.transparent,
            "turned as its EXIF tag says": self.turned,
            f"the first of {self.frames} frames": self.frames > 1,
        }
        return tuple(text for text, was in done.items() if was)


def read(path: Path, rule: str) -> Picture:
    """The picture in a file.

    Args:
        rule: begins the sentence that refuses it, with the field in backticks, up to
          what the file must be.

    Raises:
        InputError: missing, damaged, far too large, or of a kind that is not read.
    """
    return _opened(path, rule, _decoded)


def is_gray(path: Path, rule: str) -> bool:
    """Whether `read` will find a gray picture, from the head of the file alone."""
    return _opened(path, rule, _is_gray)


def _opened(path: Path, rule: str, see: Callable[[Image.Image], _T]) -> _T:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as file:
                return see(file)
    except Exception as error:  # Pillow fails on damaged files in any way
        raise InputError(
            f"{rule} ({type(error).__name__}: {error}); replace it, or save it as PNG or "
            f"JPEG with 8 bits a channel."
        ) from None


def _decoded(file: Image.Image) -> Picture:
    kind, gray, frames = file.format, _is_gray(file), getattr(file, "n_frames", 1)
    file.load()
    turned = file.getexif().get(_ORIENTATION, 1) in range(2, 9)
    upright = ImageOps.exif_transpose(file) if turned else file
    if not gray and upright.mode not in _MODES:
        raise ValueError(f"pixels of mode {upright.mode} in {kind} are not read")
    plain, transparent = _on_paper(_narrow(upright, kind))
    image = plain.convert("L" if gray else "RGB")
    return Picture(image=image, transparent=transparent, turned=turned, frames=frames)


def _is_gray(file: Image.Image) -> bool:
    return file.format != "GIF" and (file.mode == "L" or _is_wide(file, file.format))


def _is_wide(image: Image.Image, kind: str | None) -> bool:
    """Gray of 16 bits; Pillow gives 32 to that of PGM and of some PNG."""
    return image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM"))


def _narrow(image: Image.Image, kind: str | None) -> Image.Image:
    """8 bits a channel; Pillow itself takes the high byte of 16-bit colours."""
    clear = image.info.get("transparency")
    if not _is_wide(image, kind):
        if isinstance(clear, tuple) and max(clear) > 255:
            raise ValueError("a transparent colour of 16 bits is not read")
        if image.mode == "1" and clear == 1:
            image = image.copy()
            image.info["transparency"] = 255
        return image
    values = np.asarray(image)
    high = (values >> 8).astype(np.uint8)
    if clear is None:
        return Image.fromarray(high)
    alpha = np.where(values == clear, 0, 255).astype(np.uint8)
    return Image.merge("LA", [Image.fromarray(high), Image.fromarray(alpha)])


def _on_paper(image: Image.Image) -> tuple[Image.Image, bool]:
    """The picture on white paper, and whether the paper shows."""
    if image.mode not in _WITH_ALPHA and "transparency" not in image.info:
        return image, False
    # Pillow warns if a palette with transparency becomes RGB at once.
    if image.mode == "La":
        image = image.convert("LA")
    image = image.convert("RGBA")
    if image.getextrema()[3][0] == 255:
        return image.convert("RGB"), False
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image), True
