"""Fake quantisation: real numbers that are already on the integers' grid.

A value is scaled, clipped, rounded and scaled back, so that training meets the error that
integers will make. Rounding has no useful derivative; it is passed straight through
(Bengio et al. 2013, arXiv:1308.3432, section 4), and what is clipped gets none.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32


def straight_through(value: jax.Array, smooth: jax.Array) -> jax.Array:
    """`value`, to the bit, going forward; the derivative of `smooth` going back."""
    return jax.lax.stop_gradient(value) + (smooth - jax.lax.stop_gradient(smooth))


def round_ste(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Nearest integer, halves to even; derivative 1.

    >>> float(round_ste(jnp.float32(2.5))), float(jax.grad(round_ste)(2.5))
    (2.0, 1.0)
    """
    return straight_through(jnp.round(x), x)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def fake_quantize(
    x: Float[Array, "..."],
    step: Float[Array, "..."],
    low: int,
    high: int,
    method: Literal["lsq", "pact", "fixed"] = "lsq",
) -> Float[Array, "..."]:
    """step * clip(round(x / step), low, high); `step` broadcasts against x.

    The derivative by x is 1 inside the range and 0 outside. The one by the step is
    round(x/step) - x/step inside and low or high outside for "lsq" (Esser et al. 2020,
    arXiv:1902.08153, equation 3), only the latter for "pact", where the clipping level
    high * step is what learns (Choi et al. 2018, arXiv:1805.06085, section 3), and 0 for
    "fixed".

    >>> slope = jax.grad(fake_quantize, argnums=1)
    >>> [round(float(slope(jnp.float32(x), jnp.float32(1), 0, 3)), 2) for x in (1.2, 9)]
    [-0.2, 3.0]
    """
    return step * jnp.clip(jnp.round(x / step), low, high)


def _forward(x, step, low, high, method):
    return fake_quantize(x, step, low, high, method), (x, step)


def _backward(low, high, method, saved, slope):
    x, step = saved
    scaled = x / step
    inside = (low <= scaled) & (scaled <= high)
    by_x = jnp.where(inside, slope, 0)
    if method == "fixed":
        return by_x, jnp.zeros_like(step)
    error = jnp.round(scaled) - scaled if method == "lsq" else jnp.zeros_like(scaled)
    change = jnp.where(inside, error, jnp.clip(scaled, low, high))
    return by_x, _summed_to(slope * change, step.shape)


def _summed_to(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Sums over the axes along which an array of `shape` was broadcast.

    The first axis last: XLA on CPU adds up whole arrays one number at a time, but rows of
    the batch, which is contiguous in memory, many at once.
    """
    padded = (1,) * (x.ndim - len(shape)) + shape
    axes = [axis for axis in range(x.ndim) if padded[axis] == 1]
    inner = tuple(axis for axis in axes if axis)
    x = x.sum(inner, keepdims=True)
    return (x.sum(0, keepdims=True) if 0 in axes else x).reshape(shape)


fake_quantize.defvjp(_forward, _backward)


def power_of_two(log2_step: Float[Array, "..."]) -> Float[Array, "..."]:
    """2^round(t), as if t needed no rounding going back: d/dt = step * ln 2
    (Jain et al. 2020, arXiv:1903.08066, section 3.2)."""
    exponent = jnp.round(jax.lax.stop_gradient(log2_step)).astype(jnp.int32)
    step = jnp.ldexp(jnp.float32(1), exponent)
    return straight_through(step, step * math.log(2) * log2_step)


def dyadic(
    step: Float[Array, " f"],
    input_step: Float[Array, ""],
    sum_step: Float[Array, ""],
    shift: int,
    multipliers: Int32[np.ndarray, "65536"],
) -> Float[Array, " f"]:
    """The nearest step that hardware can rescale by a multiplication and a shift.

    sw = m * 2^-shift * sum_step / input_step, m an integer in 1..65535, of which
    `multipliers` holds the allowed one for each.
    """
    unit = jax.lax.stop_gradient(sum_step / input_step) * 2.0**-shift
    nearest = jnp.clip(jnp.round(jax.lax.stop_gradient(step) / unit), 1, 65535)
    multiplier = jnp.asarray(multipliers)[nearest.astype(jnp.int32)]
    return straight_through(multiplier.astype(jnp.float32) * unit, step)
