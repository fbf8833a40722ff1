"""Other gray levels at the same places: brighter, and inverted stripes."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def brightness(x: jax.Array, keys: jax.Array, *, added: float) -> jax.Array:
    """HSV value + added; the value of a gray pixel is the pixel."""
    return x + added


def stripe(x: jax.Array, keys: jax.Array, *, share: float) -> jax.Array:
    """Inverted in a stripe of that share of the width at the left and at the right."""
    width = x.shape[2]
    column = jnp.arange(width, dtype=jnp.int32)[None, None, :, None]
    stripe = int(width * share)
    return jnp.where((column < stripe) | (column >= width - stripe), 1 - x, x)
