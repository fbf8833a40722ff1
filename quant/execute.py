"""The integer network in JAX, layer by layer, around a matrix product of your choice.

`run(network, images, matmul)` is where a machine plugs in: `matmul(x_MK, w_KN, layer)`
gives the int32 products of a layer and whatever it counted on the way. Everything else
(im2col, padding, requantisation, pooling, tables) happens here, in int32, and works
inside `jit` and on any device. `fast.py` is the same function rearranged for speed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, Integer, UInt8

from configs.errors import unknown
from configs.network import Conv, Dense, Flatten, GlobalPool, Pool
from quant.network import IntLayer, IntNetwork, Weighted
from train.products import shifted

# Known when the code is made, or data when it runs.
Number = int | Int32[Array, ""]
# (x_MK, w_KN, layer) -> int32 (M, N), and a pytree of counters.
Matmul = Callable[[jax.Array, jax.Array, IntLayer], tuple[jax.Array, Any]]


class Result(NamedTuple):
    """Output of every layer and what every matrix product counted, by layer name (JAX
    sorts the names of what leaves `jit`)."""

    outputs: dict[str, jax.Array]
    counters: dict[str, Any]


def dot(
    x_MK: Integer[Array, "m k"], w_KN: Integer[Array, "k n"], layer: IntLayer
) -> tuple[Int32[Array, "m n"], None]:
    """Exact int32 products by XLA; counts nothing."""
    if x_MK.dtype == jnp.uint8:
        # XLA multiplies bytes of one sign fast and of two signs slowly.
        shifted_MK = (x_MK ^ jnp.uint8(128)).astype(jnp.int8)
        missing_N = 128 * w_KN.astype(jnp.int32).sum(0)
        return _dot(shifted_MK, w_KN) + missing_N[None], None
    return _dot(x_MK, w_KN), None


def _dot(x_MK: jax.Array, w_KN: jax.Array) -> jax.Array:
    return jax.lax.dot_general(
        x_MK, w_KN, (((1,), (0,)), ((), ())), preferred_element_type=jnp.int32
    )


def run(network: IntNetwork, images: UInt8[Array, "b ..."], matmul: Matmul = dot) -> Result:
    """All layers on a batch of pixels, in order."""
    x, outputs, counters = images, {}, {}
    for layer in network.walk():
        if layer.weighted:
            x, counters[layer.name] = _weighted(layer, x, matmul)
        elif isinstance(layer.info.spec, Pool):
            x = pool(x, layer.info.spec)
        elif isinstance(layer.info.spec, GlobalPool):
            x = _reduced(x, layer.info.spec)
        elif isinstance(layer.info.spec, Flatten):
            x = x.reshape(x.shape[0], -1)
        else:
            raise unknown(layer.info.spec, "quant.execute")
        outputs[layer.name] = x
    return Result(outputs, counters)


def _weighted(layer: IntLayer, x: jax.Array, matmul: Matmul) -> tuple[jax.Array, Any]:
    spec, w = layer.info.spec, layer.weighted
    if not isinstance(spec, Conv | Dense):
        raise unknown(spec, "quant.execute")
    rows_MK = im2col(pad(x, spec), spec) if isinstance(spec, Conv) else x
    products_MN, counters = matmul(rows_MK, jnp.asarray(w.matrix), layer)
    sums_MN = products_MN + jnp.asarray(w.bias)[None]
    y_MN = activate(sums_MN, w)
    return y_MN.reshape(x.shape[0], *layer.info.output_shape), counters


def activate(sums_MN: Int32[Array, "m n"], w: Weighted) -> Integer[Array, "m n"]:
    """Sums with their bias brought back to 8 bits, through the table if there is one."""
    y_MN = requantise(sums_MN, w.multiplier[None], w.shift, w.sum.low, w.sum.high)
    if w.table is None:
        return y_MN.astype(w.output.dtype)
    return jnp.asarray(w.table)[y_MN + 128]


def requantise(
    acc: Int32[Array, "..."],
    multiplier: Integer[np.ndarray, "..."] | Int32[Array, "..."],
    shift: Number,
    low: Number,
    high: Number,
) -> Int32[Array, "..."]:
    """clip(RNE(acc * multiplier / 2^shift), low, high) in int32 alone.

    What is cut off first saturates anyway: |acc| * multiplier > 2^(shift + 9) gives an
    output beyond 511. The numbers are those of a layer, known when the code is made, or
    data of a program that is run.
    """
    limit = jnp.asarray((1 << (shift + 9)) // multiplier, jnp.int32)
    product = jnp.clip(acc, -limit, limit) * jnp.asarray(multiplier, jnp.int32)
    return jnp.clip(divide_rne(product, 1 << shift), low, high)


def divide_rne(numerator: Int32[Array, "..."], denominator: Number) -> Int32[Array, "..."]:
    """Quotient rounded to the nearest integer, halves to the even one."""
    quotient = numerator // denominator
    remainder = numerator - quotient * denominator
    # No doubling: that could leave 32 bits.
    twice = remainder - (denominator - remainder)
    up = (twice > 0) | ((twice == 0) & (quotient % 2 == 1))
    return quotient + up.astype(jnp.int32)


def pad(x_BHWC: Integer[Array, "b h w c"], spec: Conv) -> Integer[Array, "b y x c"]:
    """What stands outside the image, as `spec.padding` says."""
    widths = ((0, 0), *spec.pads(x_BHWC.shape[1:]), (0, 0))
    if spec.padding == "edge":
        return jnp.pad(x_BHWC, widths, mode="edge")
    padded = jnp.pad(x_BHWC, widths)
    if spec.padding != "mean":
        return padded
    height, width = x_BHWC.shape[1:3]
    total = x_BHWC.astype(jnp.int32).sum((1, 2), keepdims=True)
    mean = divide_rne(total, height * width).astype(x_BHWC.dtype)
    inside = jnp.pad(jnp.ones((1, height, width, 1), bool), widths)
    return jnp.where(inside, padded, mean)


def im2col(x_BHWC: Integer[Array, "b y x c"], spec: Conv) -> Integer[Array, "m k"]:
    """Every patch of a padded image as one row: M = (b, p, q), K = (r, s, c)."""
    (height, width), (down, right) = spec.kernel, spec.stride
    patches = jnp.stack(
        [
            view
            for row in shifted(x_BHWC, 1, height, down)
            for view in shifted(row, 2, width, right)
        ],
        axis=3,
    )
    b, p, q, _, channels = patches.shape
    return patches.reshape(b * p * q, height * width * channels)


def pool(x_BHWC: Integer[Array, "b h w c"], spec: Pool) -> Integer[Array, "b p q c"]:
    """Largest or mean value of each window; a mean is rounded half to even."""
    combine = jnp.maximum if spec.kind == "max" else jnp.add
    x = x_BHWC if spec.kind == "max" else x_BHWC.astype(jnp.int32)
    for axis, size, step in zip((1, 2), spec.window, spec.stride, strict=True):
        x = reduce(combine, shifted(x, axis, size, step))
    if spec.kind == "mean":
        x = divide_rne(x, spec.window[0] * spec.window[1])
    return x.astype(x_BHWC.dtype)


def _reduced(x_BHWC: jax.Array, spec: GlobalPool) -> jax.Array:
    """Largest or mean value of each channel: (B, C)."""
    if spec.kind == "max":
        return x_BHWC.max((1, 2))
    total = x_BHWC.astype(jnp.int32).sum((1, 2))
    count = x_BHWC.shape[1] * x_BHWC.shape[2]
    return divide_rne(total, count).astype(x_BHWC.dtype)
