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

import functools
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


def shifted(
    x: jax.Array, axis: int, size: int, step: int, apart: int = 1
) -> Iterator[jax.Array]:
    """For each of the `size` positions of a window along `axis`, what it meets there;
    neighbours in the window stand `apart` entries from each other."""
    windows = (x.shape[axis] - (size - 1) * apart - 1) // step + 1
    for first in range(0, size * apart, apart):
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
    """Convolution (B, H, W, C) * (R, S, C / groups, F) -> (B, P, Q, F) as one matrix
    product, or one for each group.

    Takes what Flax hands to `conv_general_dilated`; the input is padded already. With as
    many groups as channels nothing is copied: every tap is a scaled view that is added.

    Raises:
      ValueError: for padding other than VALID, or a dilated input.
    """
    if padding != "VALID" or any(step != 1 for step in lhs_dilation):
        raise ValueError(
            f"`padding` (={padding!r}) must be 'VALID' and `lhs_dilation` "
            f"(={lhs_dilation}) 1; pad the input before, or use 'lax'."
        )
    r, s, c, f = rhs.shape
    down, right = window_strides
    x_CHWB = batch_fastest(lhs).transpose(_SWAPPED)
    views = [
        view
        for row in shifted(x_CHWB, 1, r, down, rhs_dilation[0])
        for view in shifted(row, 2, s, right, rhs_dilation[1])
    ]
    _, p, q, b = views[0].shape
    if feature_group_count > 1 and c == 1:
        return _depthwise(views, rhs.reshape(r * s, f), feature_group_count)
    patches = jnp.stack(views)
    if feature_group_count > 1:
        groups = feature_group_count
        columns = patches.reshape(r * s, groups, c, p * q * b).swapaxes(0, 1)
        kernels = rhs.reshape(r * s * c, groups, f // groups).swapaxes(0, 1)
        y = dot(
            kernels,
            columns.reshape(groups, r * s * c, p * q * b),
            (((1,), (1,)), ((0,), (0,))),
        )
        return batch_fastest(y.reshape(f, p, q, b).transpose(_SWAPPED))
    y = dot(
        rhs.reshape(r * s * c, f),
        patches.reshape(r * s * c, p * q * b),
        (((0,), (0,)), ((), ())),
    )
    return batch_fastest(y.reshape(f, p, q, b).transpose(_SWAPPED))


def _depthwise(views: list[jax.Array], taps: jax.Array, channels: int) -> jax.Array:
    """sum_t taps[t, f] * views[t][f // multiplier]: (C, P, Q, B) views -> (B, P, Q, F)."""
    f = taps.shape[1]
    kernels = taps.reshape(len(views), channels, f // channels, 1, 1, 1)
    terms = (view[:, None] * kernel for view, kernel in zip(views, kernels, strict=True))
    y = functools.reduce(jnp.add, terms)
    return batch_fastest(y.reshape(f, *views[0].shape[1:]).transpose(_SWAPPED))


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
