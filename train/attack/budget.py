"""How far an adversarial image may lie from the original, in whole pixel levels.

A perturbation delta, in levels, is real inside an attack. What is evaluated and handed
out is the image it stands for, rounded toward the original (`deployable`):

    x' = x + trunc(delta),    x + delta in [0, 255],    |delta|_inf or |delta|_2 <= levels

Rounding toward the original never leaves a budget.
"""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from configs.errors import InputError

Norm = Literal["linf", "l2"]
PIXEL_HIGH = 255
# The L2 ball is a little smaller inside an attack than in the check, which is exact:
# float32 cannot say on which side of the sphere a point lies.
_INSIDE = 1 - 2.0**-20


class BudgetError(RuntimeError):
    """An attack returned images outside its budget: a fault of the attack."""


def levels_of(eps: float, norm: Norm = "linf") -> int | float:
    """Pixel levels of a budget in [0, 1]: floor(eps * 255), or the L2 radius eps * 255.

    >>> levels_of(0.3), levels_of(0.1), levels_of(49 / 255), levels_of(2, "l2")
    (76, 25, 49, 510.0)
    """
    if not (math.isfinite(eps) and eps >= 0 and (norm == "l2" or eps <= 1)):
        raise InputError(
            f"`eps` (={eps}) must be in 0..1, a part of the pixel range (0 or more for "
            f"l2); use 0.1."
        )
    # What a float misses of k / 255 * 255 must not cost a level.
    return (
        math.floor(eps * PIXEL_HIGH + 1e-9) if norm == "linf" else float(eps * PIXEL_HIGH)
    )


def project(delta: jax.Array, x: jax.Array, levels: jax.Array, norm: Norm) -> jax.Array:
    """The perturbation brought back into budget and pixel range.

    Args:
      delta, x: float32 (B, ...), both in levels.
      levels: float32 (B,).
    """
    if norm == "linf":
        delta = jnp.clip(delta, -spread(levels, x), spread(levels, x))
    else:
        inside = spread(levels, x) * _INSIDE / jnp.maximum(length(delta), 1e-12)
        delta = delta * jnp.minimum(inside, 1.0)
    return jnp.clip(delta, -x, PIXEL_HIGH - x)


def ascent(gradient: jax.Array, norm: Norm) -> jax.Array:
    """Direction of length 1 in which a loss rises most; 0 where the gradient is 0."""
    if norm == "linf":
        return jnp.sign(gradient)
    # Scaled first: squares of large or small gradients leave float32.
    largest = jnp.max(jnp.abs(gradient), axis=_inner(gradient), keepdims=True)
    scaled = gradient / jnp.where(largest > 0, largest, 1.0)
    return scaled / jnp.maximum(length(scaled), 1e-12)


def somewhere(
    key: jax.Array, shape: tuple[int, ...], levels: jax.Array, norm: Norm
) -> jax.Array:
    """A perturbation of one image, uniform in the ball of `levels` (a scalar)."""
    if norm == "linf":
        return jax.random.uniform(key, shape, jnp.float32, -1.0, 1.0) * levels
    towards, out = jax.random.split(key)
    direction = ascent(jax.random.normal(towards, shape, jnp.float32)[None], "l2")[0]
    part = jax.random.uniform(out, (), jnp.float32) ** (1 / math.prod(shape))
    return direction * levels * part


def deployable(x: jax.Array, delta: jax.Array) -> jax.Array:
    """The image that a perturbation stands for: whole levels, float32."""
    return x + jnp.trunc(delta)


def spread(per_image: jax.Array, like: jax.Array) -> jax.Array:
    """(B,) as (B, 1, ..., 1) with the rank of `like`."""
    return per_image.reshape(-1, *(1,) * (like.ndim - 1))


def length(delta: jax.Array) -> jax.Array:
    """Euclidean length of each image's perturbation, (B, 1, ..., 1)."""
    return jnp.sqrt(jnp.sum(delta * delta, axis=_inner(delta), keepdims=True))


def distance(images: np.ndarray, adversarial: np.ndarray, norm: Norm) -> np.ndarray:
    """Distance of each pair of uint8 images, exactly: levels (N,), float64."""
    difference = adversarial.astype(np.int64) - images.astype(np.int64)
    flat = np.abs(difference).reshape(len(images), -1)
    if norm == "linf":
        return flat.max(-1, initial=0).astype(np.float64)
    return np.sqrt((flat**2).sum(-1).astype(np.float64))


def check(
    images: np.ndarray, adversarial: np.ndarray, levels: np.ndarray, norm: Norm
) -> None:
    """Refuses adversarial images that are not uint8 or farther away than `levels` (N,).

    Raises:
      BudgetError: an attack left its budget; nothing is clipped here.
    """
    if adversarial.dtype != np.uint8 or adversarial.shape != images.shape:
        raise BudgetError(
            f"adversarial images must be uint8 of shape {images.shape}, they are "
            f"{adversarial.dtype} of shape {adversarial.shape}"
        )
    found = distance(images, adversarial, norm)
    outside = np.flatnonzero(found > levels)
    if len(outside):
        first = outside[0]
        raise BudgetError(
            f"image {first} lies {found[first]:g} levels ({norm}) from its original, "
            f"more than its budget of {levels[first]:g}; {len(outside)} in all"
        )


def _inner(x: jax.Array) -> tuple[int, ...]:
    return tuple(range(1, x.ndim))
