"""Warps of one strength in a random direction, about the image's centre."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from train import warp


def rotate(x: jax.Array, keys: jax.Array, *, angle_rad: float) -> jax.Array:
    """Turned by angle_rad either way."""
    return _warped(x, warp.linear(warp.rotation(_signs(keys) * math.degrees(angle_rad))))


def shear(x: jax.Array, keys: jax.Array, *, angle_rad: float) -> jax.Array:
    """Slanted by angle_rad either way: x_in = x -+ sin(a) y, y_in = cos(a) y.

    The cosine is that of the shear of older scikit-image, which the reference
    used: besides slanting it stretches the rows by 1 / cos(a).
    """
    signs = _signs(keys)
    stretch = jnp.array([1 / math.cos(angle_rad), 1.0], jnp.float32)
    return _warped(
        x,
        warp.compose(
            warp.linear(warp.shear(signs * math.tan(angle_rad))),
            warp.linear(warp.scale(jnp.broadcast_to(stretch, (len(x), 2)))),
        ),
    )


def scale(x: jax.Array, keys: jax.Array, *, factor: float) -> jax.Array:
    """Made `factor` times as large on both axes."""
    factors = jnp.full((len(x), 2), factor, jnp.float32)
    return _warped(x, warp.linear(warp.scale(factors)))


def translate(x: jax.Array, keys: jax.Array, *, shift_px: int) -> jax.Array:
    """Moved by shift_px on each axis, either way on each."""
    draw = lambda key: jax.random.rademacher(key, (2,), jnp.float32)
    return _warped(x, warp.translation(jax.vmap(draw)(keys) * shift_px))


def _signs(keys: jax.Array) -> jax.Array:
    draw = lambda key: jax.random.rademacher(key, (), jnp.float32)
    return jax.vmap(draw)(keys)


def _warped(x: jax.Array, by: warp.Affine) -> jax.Array:
    return warp.affine(x, by.inverse, by.shift_px)
