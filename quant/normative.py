"""The integer network's arithmetic, written out: slow, obvious, and the one that judges.

Plain numpy in 64-bit integers, sharing no code with what it judges. Whatever deploys the
network must equal this with tolerance zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, Integer, UInt8

from configs.errors import unknown
from configs.network import Conv, Dense, Flatten, GlobalPool, Pool
from quant.network import Format, IntLayer, IntNetwork

Matmul = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Step:
    """All that one layer did: what a test bench of the layer needs."""

    layer: IntLayer
    # Input and output, in the containers of their formats.
    input: np.ndarray
    output: np.ndarray
    # For layers with weights, int64 (B, P, Q, F) or (B, F): the sum of products, the same
    # with the bias, and after requantisation.
    products: np.ndarray | None = None
    sums: np.ndarray | None = None
    requantised: np.ndarray | None = None


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


def pad(x_BHWC: Int64[np.ndarray, "b h w c"], spec: Conv) -> Int64[np.ndarray, "b y x c"]:
    """What stands outside the image, as `spec.padding` says."""
    (top, bottom), (left, right) = spec.pads(x_BHWC.shape[1:])
    batch, height, width, channels = x_BHWC.shape
    padded = np.zeros(
        (batch, top + height + bottom, left + width + right, channels), np.int64
    )
    if spec.padding == "mean":
        total = x_BHWC.sum((1, 2), keepdims=True)
        padded[:] = divide_rne(total, height * width)
    if spec.padding == "edge":
        rows = np.clip(np.arange(padded.shape[1]) - top, 0, height - 1)
        columns = np.clip(np.arange(padded.shape[2]) - left, 0, width - 1)
        return x_BHWC[:, rows][:, :, columns]
    padded[:, top : top + height, left : left + width] = x_BHWC
    return padded


def im2col(x_BHWC: Int64[np.ndarray, "b y x c"], spec: Conv) -> Int64[np.ndarray, "m k"]:
    """Every patch of a padded image as one row: M = (b, p, q), K = (r, s, c)."""
    (height, width), (down, right) = spec.kernel, spec.stride
    batch, rows, columns, channels = x_BHWC.shape
    p_count, q_count = (rows - height) // down + 1, (columns - width) // right + 1
    patches = np.empty((batch, p_count, q_count, height, width, channels), np.int64)
    for p in range(p_count):
        for q in range(q_count):
            top, left = p * down, q * right
            patches[:, p, q] = x_BHWC[:, top : top + height, left : left + width]
    return patches.reshape(batch * p_count * q_count, height * width * channels)


def pool(x_BHWC: Int64[np.ndarray, "b h w c"], spec: Pool) -> Int64[np.ndarray, "b p q c"]:
    """Largest or mean value of each window; a mean is rounded half to even."""
    (height, width), (down, right) = spec.window, spec.stride
    p_count, q_count, _ = spec.output_shape(x_BHWC.shape[1:])
    out = np.empty((len(x_BHWC), p_count, q_count, x_BHWC.shape[3]), np.int64)
    for p in range(p_count):
        for q in range(q_count):
            top, left = p * down, q * right
            window = x_BHWC[:, top : top + height, left : left + width]
            out[:, p, q] = _reduce(window, spec.kind)
    return out


def _reduce(window: np.ndarray, kind: str) -> np.ndarray:
    if kind == "max":
        return window.max((1, 2))
    return divide_rne(window.sum((1, 2)), window.shape[1] * window.shape[2])


def apply(
    layer: IntLayer, x: Integer[np.ndarray, "b ..."], matmul: Matmul = matmul
) -> Step:
    """One layer on a batch."""
    spec, wide = layer.info.spec, x.astype(np.int64)
    if layer.weighted:
        return _weighted(layer, x, wide, matmul)
    if isinstance(spec, Pool):
        out = pool(wide, spec)
    elif isinstance(spec, GlobalPool):
        out = _reduce(wide, spec.kind)
    elif isinstance(spec, Flatten):
        out = wide.reshape(len(wide), -1)
    else:
        raise unknown(spec, "quant.normative")
    return Step(layer=layer, input=x, output=_stored(out, layer.output))


def _weighted(layer: IntLayer, x: np.ndarray, wide: np.ndarray, matmul: Matmul) -> Step:
    spec, w = layer.info.spec, layer.weighted
    if not isinstance(spec, Conv | Dense):
        raise unknown(spec, "quant.normative")
    rows_MK = im2col(pad(wide, spec), spec) if isinstance(spec, Conv) else wide
    products_MN = matmul(rows_MK, w.matrix.astype(np.int64))
    products = products_MN.reshape(len(x), *layer.info.output_shape)
    sums = products + w.bias
    requantised = requantise(sums, w.multiplier, w.shift, w.sum.low, w.sum.high)
    out = requantised if w.table is None else w.table.astype(np.int64)[requantised + 128]
    return Step(
        layer=layer,
        input=x,
        products=products,
        sums=sums,
        requantised=requantised,
        output=_stored(out, layer.output),
    )


def _stored(values: np.ndarray, kind: Format) -> np.ndarray:
    """The values in their container; a value that does not fit is a fault of this file."""
    if values.size and not (kind.low <= values.min() and values.max() <= kind.high):
        raise AssertionError(f"a value left {kind}")
    return values.astype(kind.dtype)


def steps(
    network: IntNetwork, images: UInt8[np.ndarray, "b ..."], matmul: Matmul = matmul
) -> Iterator[Step]:
    """Every layer in order, on a batch of pixels."""
    x = images
    for layer in network.walk():
        step = apply(layer, x, matmul)
        yield step
        x = step.output


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
