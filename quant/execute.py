"""The integer network in JAX, layer by layer, around a matrix product of your choice.

`run(network, images, matmul)` is where a machine plugs in: `matmul(x_MK, w_KN, layer)`
gives the int32 products of a layer and whatever it counted on the way. Everything else
(im2col, padding, requantisation, pooling, tables) happens here, in int32, and works
inside `jit` and on any device. `fast.py` is the same function rearranged for speed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, Integer, UInt8

from configs.program import (
    Activate,
    Add,
    Concat,
    Ends,
    Input,
    Mul,
    Node,
    Pad,
    Pair,
    Pool,
    Product,
    Reshape,
    Slice,
    State,
    entry,
)
from quant.network import Activated, Format, IntNetwork, IntStep, Weighted
from train.conv_impl import shifted

# Known when the code is made, or data when it runs.
Number = int | Int32[Array, ""]
# (x_MK, w_KN, step) -> int32 (M, N), and a pytree of counters. Of a product in groups x
# has the columns of all groups side by side, (M, G * K), and w those of each, (K, G * N).
Matmul = Callable[[jax.Array, jax.Array, IntStep], tuple[jax.Array, Any]]


class Result(NamedTuple):
    """Output of every step and what every matrix product counted, by name (JAX sorts the
    names of what leaves `jit`)."""

    outputs: dict[str, jax.Array]
    counters: dict[str, Any]


def dot(
    x_MK: Integer[Array, "m gk"], w_KN: Integer[Array, "k n"], layer: IntStep
) -> tuple[Int32[Array, "m n"], None]:
    """Exact int32 products by XLA; counts nothing."""
    if layer.product and layer.product.groups > 1:
        return _in_groups(x_MK, w_KN, layer.product.groups), None
    return product(x_MK, w_KN), None


def product(
    x_MK: Integer[Array, "m k"], w_KN: Integer[Array, "k n"]
) -> Int32[Array, "m n"]:
    """Exact int32 products by XLA, of bytes of any sign."""
    if x_MK.dtype == jnp.uint8:
        # XLA multiplies bytes of one sign fast and of two signs slowly.
        shifted_MK = (x_MK ^ jnp.uint8(128)).astype(jnp.int8)
        missing_N = 128 * w_KN.astype(jnp.int32).sum(0)
        return _dot(shifted_MK, w_KN) + missing_N[None]
    return _dot(x_MK, w_KN)


def _in_groups(x_MK: jax.Array, w_KN: jax.Array, groups: int) -> jax.Array:
    (m, _), (k, n) = x_MK.shape, w_KN.shape
    x_MGK = x_MK.astype(jnp.int32).reshape(m, groups, k)
    w_KGN = w_KN.astype(jnp.int32).reshape(k, groups, n // groups)
    return jnp.einsum("mgk,kgn->mgn", x_MGK, w_KGN).reshape(m, n)


def _dot(x_MK: jax.Array, w_KN: jax.Array) -> jax.Array:
    return jax.lax.dot_general(
        x_MK, w_KN, (((1,), (0,)), ((), ())), preferred_element_type=jnp.int32
    )


def run(network: IntNetwork, images: UInt8[Array, "b ..."], matmul: Matmul = dot) -> Result:
    """All steps on a batch of pixels, in order."""
    values, outputs, counters = starts(network, images), {}, {}
    for layer in network.walk():
        xs = [values[name] for name in layer.step.inputs]
        y, counted = apply(layer, *xs, matmul=matmul)
        values[layer.name] = outputs[layer.name] = y
        if layer.weighted:
            counters[layer.name] = counted
    return Result(outputs, counters)


def starts(network: IntNetwork, images: UInt8[Array, "b ..."]) -> dict[str, jax.Array]:
    """What no step makes: the pixels, and states of zeros."""
    return {
        node.name: images
        if isinstance(node, Input)
        else jnp.zeros((images.shape[0], *node.shape), Format.of(node.grid).dtype)
        for node in network.program.nodes
        if isinstance(node, Input | State)
    }


class Wide(NamedTuple):
    """Integers, and the exponent of the power of two that they are multiples of."""

    integers: jax.Array
    exponent: int


def apply(
    layer: IntStep, *inputs: Integer[Array, "b ..."], matmul: Matmul = dot
) -> tuple[Integer[Array, "b ..."], Any]:
    """One step of the program, and what its product counted."""
    named = zip(layer.step.inputs, inputs, layer.inputs, strict=True)
    values = {name: Wide(x, kind.exponent) for name, x, kind in named}
    counted = None
    if layer.whole_pool:
        return _reduced(inputs[0], layer.whole_pool), None
    for node in layer.step.nodes:
        xs = [values[name] for name in node.inputs]
        if isinstance(node, Product):
            sums_MN, counted = _products(layer, node, xs[0].integers, matmul)
            values[node.name] = Wide(sums_MN, 0)
        elif isinstance(node, Activate) and layer.weighted:
            y_MN = activate(xs[0].integers, layer.weighted)
            y = y_MN.reshape(inputs[0].shape[0], *node.shape)
            values[node.name] = Wide(y, layer.output.exponent)
        elif isinstance(node, Activate):
            y = rescaled(xs[0], layer.activated)
            values[node.name] = Wide(y, layer.output.exponent)
        else:
            values[node.name] = entry(MOVES, node, "quant.execute")(node, *xs)
    return kept(layer, values[layer.name].integers.astype(layer.output.dtype)), counted


def kept(layer: IntStep, y: jax.Array) -> jax.Array:
    """The output of a step, which its readers must not compute again: XLA on CPU copies
    what is cheap into every reader, and what a recurrence keeps is made from itself alone,
    step after step, so that copies would double with each of them."""
    return jax.lax.optimization_barrier(y) if layer.output.bits > 8 else y


def _products(
    layer: IntStep, node: Product, x: jax.Array, matmul: Matmul
) -> tuple[Int32[Array, "m n"], Any]:
    w = layer.weighted
    if node.kernel and layer.step.find(Pad) is None:
        # Nothing; XLA leaves it out, but exported files have always had it.
        x = pad(x, "zero", ((0, 0), (0, 0)))
    products_MN, counted = matmul(rows_of(x, node), jnp.asarray(w.matrix), layer)
    return products_MN + jnp.asarray(w.bias)[None], counted


def rows_of(x: Integer[Array, "b ..."], node: Product) -> Integer[Array, "m gk"]:
    """Left factor of a product, the columns of its groups side by side; `x` is padded."""
    if node.kernel is None:
        return x
    rows_MK = im2col(x, node.kernel, node.stride, node.dilation)
    if node.groups == 1:
        return rows_MK
    by_group = rows_MK.reshape(rows_MK.shape[0], math.prod(node.kernel), node.groups, -1)
    return by_group.swapaxes(1, 2).reshape(rows_MK.shape[0], -1)


def rescaled(x: Wide, numbers: Activated) -> Integer[Array, "b ..."]:
    """A sum or product of values, or a value, on a grid of its own."""
    kind, wide = numbers.sum, x.integers.astype(jnp.int32)
    shift = kind.exponent - x.exponent
    if shift > 0:
        # Anything has so few bits that a larger shift leaves 0.
        y = divide_rne(wide, 1 << min(shift, 30))
    elif shift < 0:
        # What a shift to the left would push out of 32 bits is cut off either way.
        y = jnp.clip(wide, -(1 << 14), 1 << 14) << min(-shift, 16)
    else:
        y = wide
    y = jnp.clip(y, kind.low, kind.high)
    if numbers.table is None:
        return y.astype(numbers.output.dtype)
    return jnp.asarray(numbers.table)[y + 128]


def _add(node: Add, a: Wide, b: Wide) -> Wide:
    low = min(a.exponent, b.exponent)
    first, second = (x.integers.astype(jnp.int32) << (x.exponent - low) for x in (a, b))
    return Wide(first + second, low)


def _mul(node: Mul, a: Wide, b: Wide) -> Wide:
    x, factor = a.integers.astype(jnp.int32), b.integers.astype(jnp.int32)
    if x.ndim != factor.ndim:
        factor = factor.reshape(factor.shape[0], *(1,) * (x.ndim - 2), -1)
    return Wide(x * factor, a.exponent + b.exponent)


def _slice(node: Slice, x: Wide) -> Wide:
    cut = jax.lax.slice_in_dim(x.integers, node.start, node.stop, axis=1 + node.axis)
    return Wide(cut, x.exponent)


def _concat(node: Concat, *xs: Wide) -> Wide:
    joined = jnp.concatenate([x.integers for x in xs], axis=1 + node.axis)
    return Wide(joined, xs[0].exponent)


# What each operator does that neither multiplies by weights nor brings a value back.
MOVES: dict[type[Node], Callable[..., Wide]] = {
    Pad: lambda node, x: Wide(pad(x.integers, node.kind, node.pads), x.exponent),
    Pool: lambda node, x: Wide(pool(x.integers, node), x.exponent),
    Reshape: lambda node, x: Wide(
        x.integers.reshape(x.integers.shape[0], *node.shape), x.exponent
    ),
    Slice: _slice,
    Concat: _concat,
    Add: _add,
    Mul: _mul,
}


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


def pad(
    x_BHWC: Integer[Array, "b h w c"], kind: str, pads: tuple[Ends, Ends]
) -> Integer[Array, "b y x c"]:
    """What stands outside the image: zeros, the channel's mean, or the nearest value."""
    widths = ((0, 0), *pads, (0, 0))
    if kind == "edge":
        return jnp.pad(x_BHWC, widths, mode="edge")
    padded = jnp.pad(x_BHWC, widths)
    if kind != "mean":
        return padded
    height, width = x_BHWC.shape[1:3]
    total = x_BHWC.astype(jnp.int32).sum((1, 2), keepdims=True)
    mean = divide_rne(total, height * width).astype(x_BHWC.dtype)
    inside = jnp.pad(jnp.ones((1, height, width, 1), bool), widths)
    return jnp.where(inside, padded, mean)


def im2col(
    x_BHWC: Integer[Array, "b y x c"], kernel: Pair, stride: Pair, dilation: Pair = (1, 1)
) -> Integer[Array, "m k"]:
    """Every patch of a padded image as one row: M = (b, p, q), K = (r, s, c)."""
    (height, width), (down, right) = kernel, stride
    patches = jnp.stack(
        [
            view
            for row in shifted(x_BHWC, 1, height, down, dilation[0])
            for view in shifted(row, 2, width, right, dilation[1])
        ],
        axis=3,
    )
    b, p, q, _, channels = patches.shape
    return patches.reshape(b * p * q, height * width * channels)


def pool(x_BHWC: Integer[Array, "b h w c"], node: Pool) -> Integer[Array, "b p q c"]:
    """Largest or mean value of each window; a mean is rounded half to even."""
    widths = ((0, 0), *node.pads, (0, 0))
    maximum = node.kind == "max"
    x = x_BHWC if maximum else x_BHWC.astype(jnp.int32)
    if any(map(any, node.pads)):
        # Zeros outside count in a mean and never win.
        least = jnp.iinfo(x.dtype).min if maximum else 0
        x = jnp.pad(x, widths, constant_values=least)
    combine = jnp.maximum if maximum else jnp.add
    for axis, size, step in zip((1, 2), node.window, node.stride, strict=True):
        x = reduce(combine, shifted(x, axis, size, step))
    if not maximum:
        x = divide_rne(x, node.window[0] * node.window[1])
    return x.astype(x_BHWC.dtype)


def _reduced(x_BHWC: Integer[Array, "b h w c"], node: Pool) -> Integer[Array, "b c"]:
    """Largest or mean value of each whole plane."""
    if node.kind == "max":
        return x_BHWC.max((1, 2))
    total = x_BHWC.astype(jnp.int32).sum((1, 2))
    return divide_rne(total, math.prod(node.window)).astype(x_BHWC.dtype)
