"""Noise of single pixels: too few photons, and salt and pepper."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def shot_noise(x: jax.Array, keys: jax.Array, *, photons: int) -> jax.Array:
    """min(Poisson(x * photons) / photons, 1) of pixels x (B, H, W, C) in 0..1.

    Counts from `photons` on are white, so the count is found among the first `photons`
    steps of the Poisson distribution function, exactly:
    count = #{k < photons: u >= P(X <= k)} for uniform u.
    """
    uniform = jax.vmap(lambda key: jax.random.uniform(key, x.shape[1:], jnp.float32))(keys)
    rate = x * photons
    term = below = jnp.exp(-rate)
    count = jnp.zeros_like(x)
    for k in range(photons):
        count = count + (uniform >= below).astype(jnp.float32)
        term = term * rate / (k + 1)
        below = below + term
    return count / photons


def impulse_noise(x: jax.Array, keys: jax.Array, *, amount: float) -> jax.Array:
    """Black or white, evenly, at a share `amount` of all values."""
    draw = lambda key: jax.random.uniform(key, x.shape[1:], jnp.float32)
    uniform = jax.vmap(draw)(keys)
    salted = jnp.where(uniform < amount / 2, 1.0, 0.0)
    return jnp.where(uniform < amount, salted, x)
