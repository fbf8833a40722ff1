"""The integer network's arithmetic, written out: slow, obvious, and the one that judges.

Plain numpy in 64-bit integers, sharing no code with what it judges. Whatever deploys the
network must equal this with tolerance zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, Integer, UInt8

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

Matmul = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Step:
    """All that one step of the program did: what a test bench of it needs."""

    layer: IntStep
    # Inputs and output, in the containers of their formats.
    inputs: tuple[np.ndarray, ...]
    output: np.ndarray
    # Of a Product, int64 (B, P, Q, F) or (B, F): the sum of products, the same with the
    # bias, and after requantisation.
    products: np.ndarray | None = None
    sums: np.ndarray | None = None
    requantised: np.ndarray | None = None

    @property
    def input(self) -> np.ndarray:
        return self.inputs[0]


def requantise(
    acc: Int64[np.ndarray, "..."],
    multiplier: Integer[np.ndarray, "..."],
    shift: int,
    low: int,
    high: int,
) -> Int64[np.ndarray, "..."]:
    """clip(RNE(acc * multiplier / 2^shift), low, high)

    >>> requantise(np.array([1, 2, 3, 5, -3]), np.array([2**15]), 16, -128, 127).tolist()
    [0, 1, 2, 2, -2]
    """
    product = acc * multiplier.astype(np.int64)
    return np.clip(divide_rne(product, 1 << shift), low, high)


def divide_rne(
    numerator: Int64[np.ndarray, "..."], denominator: int
) -> Int64[np.ndarray, "..."]:
    """Quotient rounded to the nearest integer, halves to the even one."""
    quotient = numerator // denominator
    remainder = numerator - quotient * denominator
    above = 2 * remainder > denominator
    half = 2 * remainder == denominator
    return quotient + (above | (half & (quotient % 2 == 1)))


def matmul(
    x_MK: Int64[np.ndarray, "m k"], w_KN: Int64[np.ndarray, "k n"]
) -> Int64[np.ndarray, "m n"]:
    """The product in 64-bit integers."""
    return x_MK @ w_KN


def matmul_blas(
    x_MK: Int64[np.ndarray, "m k"], w_KN: Int64[np.ndarray, "k n"]
) -> Int64[np.ndarray, "m n"]:
    """The same through float64, for whole test sets; exact, since no sum of a checked
    network reaches 2^31 and float64 holds every integer up to 2^53."""
    return (x_MK.astype(np.float64) @ w_KN.astype(np.float64)).astype(np.int64)


def pad(
    x_BHWC: Int64[np.ndarray, "b h w c"], kind: str, pads: tuple[Ends, Ends]
) -> Int64[np.ndarray, "b y x c"]:
    """What stands outside the image: zeros, the channel's mean, or the nearest value."""
    (top, bottom), (left, right) = pads
    batch, height, width, channels = x_BHWC.shape
    padded = np.zeros(
        (batch, top + height + bottom, left + width + right, channels), np.int64
    )
    if kind == "mean":
        total = x_BHWC.sum((1, 2), keepdims=True)
        padded[:] = divide_rne(total, height * width)
    if kind == "edge":
        rows = np.clip(np.arange(padded.shape[1]) - top, 0, height - 1)
        columns = np.clip(np.arange(padded.shape[2]) - left, 0, width - 1)
        return x_BHWC[:, rows][:, :, columns]
    padded[:, top : top + height, left : left + width] = x_BHWC
    return padded


def im2col(
    x_BHWC: Int64[np.ndarray, "b y x c"],
    kernel: Pair,
    stride: Pair,
    dilation: Pair = (1, 1),
) -> Int64[np.ndarray, "m k"]:
    """Every patch of a padded image as one row: M = (b, p, q), K = (r, s, c)."""
    (height, width), (down, right) = kernel, stride
    batch, rows, columns, channels = x_BHWC.shape
    tall, wide = (height - 1) * dilation[0] + 1, (width - 1) * dilation[1] + 1
    p_count, q_count = (rows - tall) // down + 1, (columns - wide) // right + 1
    patches = np.empty((batch, p_count, q_count, height, width, channels), np.int64)
    for p in range(p_count):
        for q in range(q_count):
            top, left = p * down, q * right
            patches[:, p, q] = x_BHWC[
                :, top : top + tall : dilation[0], left : left + wide : dilation[1]
            ]
    return patches.reshape(batch * p_count * q_count, height * width * channels)


def rows_of(x: Int64[np.ndarray, "b ..."], node: Product) -> list[Int64[np.ndarray, "m k"]]:
    """Left factors of a product, one for each group of channels; `x` is padded."""
    parts = np.split(x, node.groups, axis=-1)
    if node.kernel is None:
        return parts
    return [im2col(part, node.kernel, node.stride, node.dilation) for part in parts]


def pool(x_BHWC: Int64[np.ndarray, "b h w c"], node: Pool) -> Int64[np.ndarray, "b p q c"]:
    """Largest or mean value of each window; a mean is rounded half to even.

    Where zeros stand outside, a mean counts them and a maximum does not.
    """
    batch, _, _, channels = x_BHWC.shape
    (top, _), (left, _) = node.pads
    (height, width), (down, right) = node.window, node.stride
    p_count, q_count, _ = node.shape
    out = np.empty((batch, p_count, q_count, channels), np.int64)
    for p in range(p_count):
        for q in range(q_count):
            y, x = p * down - top, q * right - left
            window = x_BHWC[:, max(y, 0) : y + height, max(x, 0) : x + width]
            if node.kind == "max":
                out[:, p, q] = window.max((1, 2))
            else:
                out[:, p, q] = divide_rne(window.sum((1, 2)), height * width)
    return out


class _Value:
    """Integers, and the exponent of the power of two that they are multiples of."""

    def __init__(self, integers: np.ndarray, exponent: int):
        self.integers, self.exponent = integers.astype(np.int64), exponent


def _add(node: Add, a: _Value, b: _Value) -> _Value:
    low = min(a.exponent, b.exponent)
    both = (x.integers * 2 ** (x.exponent - low) for x in (a, b))
    return _Value(sum(both), low)


def _mul(node: Mul, a: _Value, b: _Value) -> _Value:
    factor = b.integers
    if a.integers.ndim != factor.ndim:
        factor = factor.reshape(len(factor), *(1,) * (a.integers.ndim - 2), -1)
    return _Value(a.integers * factor, a.exponent + b.exponent)


def _slice(node: Slice, x: _Value) -> _Value:
    cut = np.take(x.integers, range(node.start, node.stop), axis=1 + node.axis)
    return _Value(cut, x.exponent)


def _concat(node: Concat, *xs: _Value) -> _Value:
    joined = np.concatenate([x.integers for x in xs], axis=1 + node.axis)
    return _Value(joined, xs[0].exponent)


# What each operator does that neither multiplies by weights nor brings a value back.
_MOVES: dict[type[Node], Callable[..., _Value]] = {
    Pad: lambda node, x: _Value(pad(x.integers, node.kind, node.pads), x.exponent),
    Pool: lambda node, x: _Value(pool(x.integers, node), x.exponent),
    Reshape: lambda node, x: _Value(
        x.integers.reshape(len(x.integers), *node.shape), x.exponent
    ),
    Slice: _slice,
    Concat: _concat,
    Add: _add,
    Mul: _mul,
}


def rescale(x: Int64[np.ndarray, "..."], shift: int, kind: Format) -> np.ndarray:
    """clip(RNE(x / 2^shift)); a negative shift multiplies."""
    y = divide_rne(x, 2**shift) if shift > 0 else x * 2**-shift
    return np.clip(y, kind.low, kind.high)


def _looked_up(numbers: Weighted | Activated, y: np.ndarray) -> np.ndarray:
    return y if numbers.table is None else numbers.table.astype(np.int64)[y + 128]


def apply(
    layer: IntStep, *inputs: Integer[np.ndarray, "b ..."], matmul: Matmul = matmul
) -> Step:
    """One step of the program on a batch."""
    named = zip(layer.step.inputs, inputs, layer.inputs, strict=True)
    values = {name: _Value(x, kind.exponent) for name, x, kind in named}
    seen: dict[str, np.ndarray] = {}
    for node in layer.step.nodes:
        xs = [values[name] for name in node.inputs]
        if isinstance(node, Product):
            w = layer.weighted
            seen["products"] = _products(node, xs[0].integers, w, matmul)
            seen["sums"] = seen["products"] + w.bias
            values[node.name] = _Value(seen["sums"], 0)
        elif isinstance(node, Activate) and layer.weighted:
            w = layer.weighted
            seen["requantised"] = requantise(
                xs[0].integers, w.multiplier, w.shift, w.sum.low, w.sum.high
            )
            out = _looked_up(w, seen["requantised"])
            values[node.name] = _Value(out, w.output.exponent)
        elif isinstance(node, Activate):
            numbers = layer.activated
            shift = numbers.sum.exponent - xs[0].exponent
            y = rescale(xs[0].integers, shift, numbers.sum)
            values[node.name] = _Value(_looked_up(numbers, y), numbers.output.exponent)
        else:
            rule = entry(_MOVES, node, "quant.normative")
            values[node.name] = rule(node, *xs)
    output = _stored(values[layer.name].integers, layer.output)
    return Step(layer=layer, inputs=inputs, output=output, **seen)


def _products(
    node: Product, x: np.ndarray, w: Weighted, matmul: Matmul
) -> Int64[np.ndarray, "b ..."]:
    """Sums of products (B, P, Q, F) or (B, F), each group with its own weights."""
    weights = np.split(w.matrix.astype(np.int64), node.groups, axis=1)
    parts = [
        matmul(rows_MK, w_KN)
        for rows_MK, w_KN in zip(rows_of(x, node), weights, strict=True)
    ]
    return np.concatenate(parts, axis=1).reshape(len(x), *node.shape)


def _stored(values: np.ndarray, kind: Format) -> np.ndarray:
    """The values in their container; a value that does not fit is a fault of this file."""
    if values.size and not (kind.low <= values.min() and values.max() <= kind.high):
        raise AssertionError(f"a value left {kind}")
    return values.astype(kind.dtype)


def starts(
    network: IntNetwork, images: UInt8[np.ndarray, "b ..."]
) -> dict[str, np.ndarray]:
    """What no step makes: the pixels, and states of zeros."""
    return {
        node.name: images
        if isinstance(node, Input)
        else np.zeros((len(images), *node.shape), Format.of(node.grid).dtype)
        for node in network.program.nodes
        if isinstance(node, Input | State)
    }


def steps(
    network: IntNetwork, images: UInt8[np.ndarray, "b ..."], matmul: Matmul = matmul
) -> Iterator[Step]:
    """Every step of the program in order, on a batch of pixels."""
    values = starts(network, images)
    for layer in network.walk():
        done = apply(layer, *(values[n] for n in layer.step.inputs), matmul=matmul)
        values[layer.name] = done.output
        yield done


def run(
    network: IntNetwork,
    images: UInt8[np.ndarray, "n ..."],
    *,
    matmul: Matmul = matmul_blas,
    chunk: int = 250,
) -> Integer[np.ndarray, "n ..."]:
    """Outputs of the network for any number of images, `chunk` at a time."""
    outputs = []
    for first in range(0, len(images), chunk):
        for step in steps(network, images[first : first + chunk], matmul):
            last = step.output
        outputs.append(last)
    empty = np.empty((0, *network.network.output_shape), network.output.dtype)
    return np.concatenate([empty, *outputs])
