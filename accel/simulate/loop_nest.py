"""The controller of the sequential machines: counters that walk through a product.

for m:  for n by n_step:  for k by k_step        or k outside n
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32

from accel.machines.machine import Loop


class Product(NamedTuple):
    """Sizes of [M, K] x [K, N], registers that are set before the run."""

    M: Int32[Array, ""]
    K: Int32[Array, ""]
    N: Int32[Array, ""]


class Place(NamedTuple):
    """What the controller presents: the slice at row m, from input k and output n on."""

    m: Int32[Array, ""]
    k: Int32[Array, ""]
    n: Int32[Array, ""]
    # Whether there is one; false for good after the last.
    present: Bool[Array, ""]


def product(m: int, k: int, n: int) -> Product:
    return Product(jnp.int32(m), jnp.int32(k), jnp.int32(n))


def start(size: Product) -> Place:
    """The first slice; none of a product without rows."""
    zero = jnp.int32(0)
    return Place(zero, zero, zero, size.M > 0)


def following(
    at: Place, size: Product, *, k_step: int = 1, n_step: int = 1, loop: Loop = "outputs"
) -> Place:
    """The next slice. `outputs` has k in the inner loop, `inputs` has n."""
    if loop == "outputs":
        k, n, done = _nested(at.k + k_step, size.K, at.n, n_step, size.N)
    else:
        n, k, done = _nested(at.n + n_step, size.N, at.k, k_step, size.K)
    m = at.m + done.astype(jnp.int32)
    moved = Place(m, k, n, m < size.M)
    return Place(
        *(jnp.where(at.present, new, old) for new, old in zip(moved, at, strict=True))
    )


def _nested(inner: Array, inner_end: Array, outer: Array, step: int, outer_end: Array):
    """Two counters, the inner one counted up already; and whether both came round."""
    wraps = inner >= inner_end
    onward = outer + wraps.astype(jnp.int32) * step
    done = onward >= outer_end
    return jnp.where(wraps, 0, inner), jnp.where(done, 0, onward), done
