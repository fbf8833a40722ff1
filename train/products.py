"""How the multiplications of a layer are computed: the functions injected into Flax.

Two convolutions with one meaning. `lax` is XLA's own, the one for accelerators. `im2col`
copies every patch into a column and makes one matrix product of it:

    y[f, (p, q, b)] = sum_k w[k, f] * patches[k, (p, q, b)],   k = (r, s, c)

On CPU it is the fast one inside `scan` and `while`, where XLA runs `lax.conv` on one
thread without blocking. What matters there is the order in memory: with the batch as
the fastest axis every copy, pooling and sum runs over long contiguous rows whatever the
number of channels. Arrays keep their (B, H, W, C) meaning; only the layout is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

Product = Callable[..., jax.Array]

# Axes of (B, H, W, C) from slowest to fastest: channels, rows, columns, batch.
_SWAPPED = (3, 1, 2, 0)


def on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def batch_fastest(x: jax.Array) -> jax.Array:
    """The same (B, H, W, C) array, on CPU laid out with the batch contiguous."""
    if not on_cpu() or not isinstance(x, jax.core.Tracer):
        return x
    # Between pairs of transpositions that cancel: JAX gives a layout that is asked for
    # last to the result of `jit`, and whatever takes that result misreads it.
    unchanged = lambda x: x.transpose(_SWAPPED).transpose(_SWAPPED)
    return unchanged(with_layout_constraint(unchanged(x), Layout(_SWAPPED)))


def shifted(x: jax.Array, axis: int, size: int, step: int) -> Iterator[jax.Array]:
    """For each of the `size` positions of a window along `axis`, what it meets there."""
    windows = (x.shape[axis] - size) // step + 1
    for first in range(size):
        stop = first + (windows - 1) * step + 1
        yield jax.lax.slice_in_dim(x, first, stop, step, axis)


def conv_im2col(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: tuple[int, int],
    padding: object,
    *,
    dot: Product = jax.lax.dot_general,
    feature_group_count: int = 1,
    lhs_dilation: tuple[int, ...] = (1, 1),
    rhs_dilation: tuple[int, ...] = (1, 1),
    **_: object,
) -> jax.Array:
    """Convolution (B, H, W, C) * (R, S, C, F) -> (B, P, Q, F) as one matrix product.

    Takes what Flax hands to `conv_general_dilated`; the input is padded already.

    Raises:
      ValueError: for padding other than VALID, grouped channels or dilation.
    """
    dilated = any(step != 1 for step in (*lhs_dilation, *rhs_dilation))
    if padding != "VALID" or feature_group_count != 1 or dilated:
        raise ValueError(
            f"`padding` (={padding!r}) must be 'VALID', `feature_group_count` "
            f"(={feature_group_count}) 1 and nothing dilated; pad the input before, or "
            f"use 'lax'."
        )
    r, s, c, f = rhs.shape
    down, right = window_strides
    x_CHWB = batch_fastest(lhs).transpose(_SWAPPED)
    rows = shifted(x_CHWB, 1, r, down)
    patches = jnp.stack([view for row in rows for view in shifted(row, 2, s, right)])
    _, _, p, q, b = patches.shape
    y = dot(
        rhs.reshape(r * s * c, f),
        patches.reshape(r * s * c, p * q * b),
        (((0,), (0,)), ((), ())),
    )
    return batch_fastest(y.reshape(f, p, q, b).transpose(_SWAPPED))


def dot_in(precision: Literal["float32", "bfloat16"]) -> Product:
    """`lax.dot_general` that multiplies in `precision` and sums in float32."""

    def dot(lhs, rhs, dimension_numbers, **_: object) -> jax.Array:
        dtype = jnp.dtype(precision)
        return jax.lax.dot_general(
            lhs.astype(dtype),
            rhs.astype(dtype),
            dimension_numbers,
            preferred_element_type=jnp.float32,
        )

    return dot


def conv_in(
    convolution: Literal["auto", "im2col", "lax"],
    precision: Literal["float32", "bfloat16"],
) -> Product:
    """The convolution for this device, multiplying in `precision`."""
    if convolution == "im2col" or (convolution == "auto" and on_cpu()):
        dot = dot_in(precision)
        return lambda *args, **keywords: conv_im2col(*args, dot=dot, **keywords)

    def conv(lhs, rhs, *args: object, **keywords: object) -> jax.Array:
        # Operands of one format: the transposed convolution refuses mixed ones.
        dtype = jnp.dtype(precision)
        y = jax.lax.conv_general_dilated(
            lhs.astype(dtype), rhs.astype(dtype), *args, **keywords
        )
        return y.astype(jnp.float32)

    return conv
