"""Fifteen corruptions in the style of MNIST-C, at the severities that it publishes.

Mu and Gilmer 2019 (arXiv:1906.02337) and their reference code. The algorithms are
theirs; the random numbers are our own, so the images are not the published ones:
"MNIST-C style". Pixels are divided by 255, corrupted, clipped to 0..1 and rounded to
the nearest uint8. Lengths in pixels are meant for images of 28 x 28; other sizes are
taken wherever the algorithm has a meaning, with the same lengths.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from configs.errors import InputError
from train.probe import (
    corrupt_blur,
    corrupt_drawing,
    corrupt_edges,
    corrupt_geometry,
    corrupt_noise,
    corrupt_tone,
    corrupt_weather,
)
from train.probe.batches import over_devices

SOURCE = "Mu and Gilmer 2019, arXiv:1906.02337, reference code corruptions.py"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One number of a corruption and what it is measured in."""

    value: Any
    unit: str


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """A corruption as data: compute(x (B, H, W, C) in 0..1, keys (B,), **parameters)."""

    compute: Callable[..., jax.Array]
    # The published severity, 1..5; None where there is only one.
    severity: int | None
    parameters: dict[str, Parameter]
    # Whether it is defined for one channel only.
    gray: bool = False
    # Smallest and largest height and width.
    smallest: int = 1
    largest: int = 2**30


def _entry(compute, severity, *, gray=False, smallest=1, largest=2**30, **parameters):
    return Corruption(
        compute=compute,
        severity=severity,
        gray=gray,
        smallest=smallest,
        largest=largest,
        parameters={
            name: Parameter(value=value, unit=unit)
            for name, (value, unit) in parameters.items()
        },
    )


TABLE = {
    "shot_noise": _entry(
        corrupt_noise.shot_noise, 5, photons=(3, "mean count of a white pixel")
    ),
    "impulse_noise": _entry(corrupt_noise.impulse_noise, 4, amount=(0.17, "of all values")),
    "glass_blur": _entry(
        corrupt_blur.glass_blur,
        1,
        smallest=3,
        sigma=(0.7, "px"),
        max_delta=(1, "px"),
        passes=(2, "times"),
    ),
    "motion_blur": _entry(
        corrupt_blur.motion_blur,
        1,
        radius=(10, "px"),
        sigma=(3.0, "px"),
        angle_deg=(45.0, "degrees, largest"),
    ),
    "shear": _entry(corrupt_geometry.shear, 2, angle_rad=(0.4, "radians")),
    "scale": _entry(corrupt_geometry.scale, 3, factor=(0.7, "of the size")),
    "rotate": _entry(corrupt_geometry.rotate, 2, angle_rad=(0.4, "radians")),
    "brightness": _entry(
        corrupt_tone.brightness, 5, gray=True, added=(0.5, "of white, HSV value")
    ),
    "translate": _entry(corrupt_geometry.translate, 3, shift_px=(3, "px on each axis")),
    "stripe": _entry(corrupt_tone.stripe, None, share=(0.25, "of the width, each side")),
    "fog": _entry(
        corrupt_weather.fog,
        5,
        largest=256,
        strength=(3.0, "of white"),
        decay=(1.4, "wobble, per level"),
        size=(256, "px of the map"),
    ),
    "spatter": _entry(
        corrupt_weather.spatter,
        4,
        gray=True,
        mean=(0.65, "of white"),
        deviation=(0.3, "of white"),
        sigma=(1.0, "px"),
        threshold=(0.65, "of white"),
        mask_sigma=(1.5, "px"),
        mask_threshold=(0.8, "of 1"),
        gray_level=(63, "of 255"),
    ),
    "dotted_line": _entry(
        corrupt_drawing.dotted_line,
        None,
        smallest=2,
        reach_px=(2.3, "px from the line"),
        dot_px=(2, "columns"),
    ),
    "zigzag": _entry(
        corrupt_drawing.zigzag,
        None,
        smallest=8,
        reach_px=(2.3, "px from the line"),
        half_length_px=(2.0, "px"),
        amplitude_px=(2.0, "px"),
        margin_px=(2, "columns"),
        rise_px=(5, "rows, largest"),
    ),
    "canny_edges": _entry(
        corrupt_edges.canny_edges,
        None,
        gray=True,
        sigma=(1.0, "px"),
        low=(0.1, "Sobel sum, white 1"),
        high=(0.2, "Sobel sum, white 1"),
    ),
}
NAMES = tuple(TABLE)


def corrupt(
    name: str, images: np.ndarray, *, seed: int, indices: np.ndarray | None = None
) -> np.ndarray:
    """Corrupted images, uint8 (N, H, W, C) like those given.

    `indices` (N,) number the images in their data set, 0 to N - 1 by default: what an
    image gets depends on the seed, the corruption and its number alone.

    Raises:
      InputError: for an unknown name, or images that the corruption is not defined for.
    """
    _check(name, images)
    indices = np.arange(len(images)) if indices is None else np.asarray(indices)
    seeds = np.full(len(images), seed, np.uint32)
    return over_devices(_computed(name), images, indices.astype(np.uint32), seeds)


def _check(name: str, images: np.ndarray) -> None:
    if name not in TABLE:
        raise InputError(
            f"`name` (={name!r}) is no corruption; use one of {', '.join(NAMES)}."
        )
    if images.dtype != np.uint8 or images.ndim != 4:
        raise InputError(
            f"`images` ({images.dtype}, shape {images.shape}) must be uint8 (N, H, W, C); "
            f"give pixels in 0..255."
        )
    entry, (height, width, channels) = TABLE[name], images.shape[1:]
    if entry.gray and channels != 1:
        raise InputError(
            f"`{name}` is defined for gray images, not for {channels} channels; convert "
            f"them or leave it out."
        )
    if not entry.smallest <= min(height, width) <= max(height, width) <= entry.largest:
        raise InputError(
            f"`{name}` takes images of {entry.smallest} to {entry.largest} pixels, not "
            f"{height} x {width}; resize them or leave it out."
        )


@functools.cache
def _computed(name: str) -> Callable[..., jax.Array]:
    """A chunk of uint8 images, their indices and seeds -> uint8 images."""
    entry = TABLE[name]
    parameters = {name: p.value for name, p in entry.parameters.items()}

    def compute(images, indices, seeds):
        keys = jax.vmap(functools.partial(_key, NAMES.index(name)))(indices, seeds)
        x = entry.compute(images.astype(jnp.float32) / 255, keys, **parameters)
        return jnp.round(jnp.clip(x, 0, 1) * 255).astype(jnp.uint8)

    return compute


def _key(number: int, index: jax.Array, seed: jax.Array) -> jax.Array:
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), number), index)
