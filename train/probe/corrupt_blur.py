"""Blurs: Gaussian, through frosted glass, and of a moving camera."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

# Where scipy and scikit-image end a Gaussian: standard deviations from its centre.
_TRUNCATE = 4.0


def gaussian(
    x: jax.Array, sigma: float, *, axes: tuple[int, ...] = (1, 2), outside: str = "edge"
) -> jax.Array:
    """Gaussian blur of (B, H, W, C) along `axes`; `outside` is "edge" or "constant" (0)."""
    radius = int(_TRUNCATE * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    for axis in axes:
        size = x.shape[axis]
        widths = [(radius, radius) if a == axis else (0, 0) for a in range(x.ndim)]
        padded = jnp.pad(x, widths, mode=outside)
        windows = (
            jax.lax.slice_in_dim(padded, k, k + size, axis=axis)
            for k in range(len(weights))
        )
        x = sum(w * window for w, window in zip(weights, windows, strict=True))
    return x


def glass_blur(
    x: jax.Array, keys: jax.Array, *, sigma: float, max_delta: int, passes: int
) -> jax.Array:
    """Blurred, neighbours swapped at random, blurred again.

    From the lower right to the upper left, with probability 1/2, a pixel changes places
    with the one at a uniform offset in -max_delta .. max_delta - 1 down and right. Both
    blurs run along columns only and pixels between them are truncated to bytes: what the
    reference computes, where scikit-image takes the columns of a gray image for channels.
    """
    # A flat region must keep its byte although float32 sums fall just below it.
    pixels = jnp.floor(gaussian(x, sigma, axes=(1,)) * 255 + 1e-3) / 255
    swapped = _swap(pixels, keys, max_delta, passes)
    return gaussian(swapped, sigma, axes=(1,))


def _swap(x: jax.Array, keys: jax.Array, d: int, passes: int) -> jax.Array:
    """Random swaps; all images meet the same pixel at once, images fastest."""
    _, height, width, channels = x.shape
    rows, columns = height - 2 * d, width - 2 * d
    steps = passes * rows * columns
    # -1: stay; otherwise the place in the 2d x 2d block around the pixel.
    draw = lambda key: jax.random.randint(key, (steps,), -4 * d * d, 4 * d * d)
    choice = jnp.maximum(jax.vmap(draw)(keys), -1).T
    centre = 2 * d * d + d
    places = jnp.arange(4 * d * d, dtype=jnp.int32)[:, None, None]

    def step(n, x):
        h = height - d - (n % (rows * columns)) // columns
        w = width - d - n % columns
        corner, size = (h - d, w - d, 0, 0), (2 * d, 2 * d, channels, len(keys))
        block = jax.lax.dynamic_slice(x, corner, size).reshape(4 * d * d, channels, -1)
        taken = places == choice[n][None, None]
        other = jnp.sum(jnp.where(taken, block, 0), 0)
        stays = choice[n][None] < 0
        new = jnp.where(taken, block[centre][None], block)
        new = new.at[centre].set(jnp.where(stays, block[centre], other))
        return jax.lax.dynamic_update_slice(x, new.reshape(size), corner)

    moved = jax.lax.fori_loop(0, steps, step, x.transpose(1, 2, 3, 0))
    return moved.transpose(3, 0, 1, 2)


def motion_blur(
    x: jax.Array, keys: jax.Array, *, radius: int, sigma: float, angle_deg: float
) -> jax.Array:
    """The motion blur of ImageMagick at a uniform angle within +-angle_deg.

    One half of a Gaussian, 2 * radius + 1 pixels long, laid from each pixel along the
    angle; offsets are rounded to whole pixels, outside is the nearest edge pixel.
    """
    width = 2 * radius + 1
    weights = np.exp(-0.5 * (np.arange(width) / sigma) ** 2)
    weights = jnp.asarray(weights / weights.sum(), jnp.float32)
    pad = width - 1
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")

    def one(image, key):
        angle = jax.random.uniform(key, (), jnp.float32, -1, 1) * math.radians(angle_deg)
        along = jnp.arange(width, dtype=jnp.float32)
        down = jnp.ceil(along * jnp.sin(angle) - 0.5).astype(jnp.int32) + pad
        right = jnp.ceil(along * jnp.cos(angle) - 0.5).astype(jnp.int32) + pad
        add = lambda n, total: (
            total
            + weights[n] * jax.lax.dynamic_slice(image, (down[n], right[n], 0), x.shape[1:])
        )
        return jax.lax.fori_loop(0, width, add, jnp.zeros(x.shape[1:], jnp.float32))

    return jax.vmap(one)(padded, keys)
