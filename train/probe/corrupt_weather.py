"""Fog of a plasma fractal, and spattered mud."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from train.probe.corrupt_blur import gaussian


def fog(
    x: jax.Array, keys: jax.Array, *, strength: float, decay: float, size: int
) -> jax.Array:
    """(x + strength * plasma) * m / (m + strength), m the largest pixel of the image."""
    plasma = jax.lax.map(lambda key: plasma_fractal(key, decay, size), keys, batch_size=8)
    plasma = plasma[:, : x.shape[1], : x.shape[2], None]
    largest = x.max(axis=(1, 2, 3), keepdims=True)
    return (x + strength * plasma) * largest / (largest + strength)


def plasma_fractal(key: jax.Array, decay: float, size: int) -> jax.Array:
    """A height map (size, size) in 0..1 by the diamond-square algorithm.

    Every level halves the distance of the known points of a torus: the middle of each
    square, then the middle of each edge, gets the mean of its four neighbours and a
    uniform number within +-wobble^2; the wobble is 100 first and divided by `decay` at
    every level. `size` is a power of two.
    """
    heights = jnp.zeros((1, 1), jnp.float32)
    wobble = 100.0
    # All numbers in one draw: one for every point but the first.
    numbers = jax.random.uniform(key, (size**2 - 1,), jnp.float32, -1.0, 1.0)
    while (n := len(heights)) < size:
        draw = numbers[n * n - 1 : 4 * n * n - 1].reshape(3, n, n)
        heights = _finer(heights, draw * wobble**2)
        wobble /= decay
    heights = heights - heights.min()
    return heights / heights.max()


def _finer(corner: jax.Array, noise: jax.Array) -> jax.Array:
    """Heights (n, n) and noise (3, n, n) -> (2n, 2n)."""
    below, right = jnp.roll(corner, -1, 0), jnp.roll(corner, -1, 1)
    middle = (corner + below + right + jnp.roll(below, -1, 1)) / 4 + noise[0]
    top = (middle + jnp.roll(middle, 1, 0) + corner + right) / 4 + noise[1]
    left = (middle + jnp.roll(middle, 1, 1) + corner + below) / 4 + noise[2]
    rows = [jnp.stack([corner, top], -1), jnp.stack([left, middle], -1)]
    n = len(corner)
    return jnp.stack([row.reshape(n, 2 * n) for row in rows], 1).reshape(2 * n, 2 * n)


def spatter(
    x: jax.Array,
    keys: jax.Array,
    *,
    mean: float,
    deviation: float,
    sigma: float,
    threshold: float,
    mask_sigma: float,
    mask_threshold: float,
    gray_level: int,
) -> jax.Array:
    """Mud of the stated gray level where a blurred Gaussian field is high.

    Its mask is blurred too and cut at mask_threshold; between there and 1 mud and
    picture mix.
    """
    draw = lambda key: jax.random.normal(key, x.shape[1:], jnp.float32)
    liquid = gaussian(mean + deviation * jax.vmap(draw)(keys), sigma)
    mask = gaussian((liquid > threshold).astype(jnp.float32), mask_sigma)
    mask = jnp.where(mask < mask_threshold, 0, mask)
    return x * (1 - mask) + mask * gray_level / 255
