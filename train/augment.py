"""Random shifts and rotations of training images, drawn and applied on the device."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from configs.schema import Augment
from train import warp


def draw(augment: Augment, batch: int, *, key: jax.Array) -> jax.Array:
    """Uniform parameters of one batch: degrees, pixels down, pixels right; (B, 3), or
    (B, K, 3) for the worst of K."""
    largest = jnp.array(
        [augment.rotate_deg, augment.shift_px, augment.shift_px], jnp.float32
    )
    shape = (batch, 3) if augment.worst_of == 1 else (batch, augment.worst_of, 3)
    drawn = jax.random.uniform(key, shape, jnp.float32, -1.0, 1.0)
    return drawn * largest.reshape((1,) * (len(shape) - 1) + (3,))


def apply(augment: Augment, pixels: jax.Array, drawn: jax.Array) -> jax.Array:
    """Changed pixels, float32 in 0..255, of images (B, H, W, C)."""
    if not (augment.shift_px or augment.rotate_deg):
        return pixels.astype(jnp.float32)
    return warp.affine(pixels, warp.rotation(drawn[:, 0]), drawn[:, 1:])
