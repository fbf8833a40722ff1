"""Interval bounds of the integer network, written out: numpy, 64-bit integers, loops."""

import numpy as np

from configs.network import Conv, GlobalPool, Pool
from quant import normative
from quant.network import IntNetwork

Ends = tuple[np.ndarray, np.ndarray]


def bounds(network: IntNetwork, low: np.ndarray, high: np.ndarray) -> dict[str, Ends]:
    """Smallest and largest integer of every layer's output for pixels in low..high."""
    x, found = (low.astype(np.int64), high.astype(np.int64)), {}
    for layer in network.walk():
        spec = layer.info.spec
        if layer.weighted:
            x = _weighted(layer, *x)
        elif isinstance(spec, Pool):
            x = tuple(normative.pool(end, spec) for end in x)
        elif isinstance(spec, GlobalPool):
            x = tuple(_whole(end, spec.kind) for end in x)
        else:
            x = tuple(end.reshape(len(end), -1) for end in x)
        found[layer.name] = x
    return found


def sums(w, low_MK: np.ndarray, high_MK: np.ndarray) -> Ends:
    """For each product the end that makes the sum smallest, or largest."""
    weights = w.matrix.astype(np.int64)[None]
    at_low, at_high = low_MK[:, :, None] * weights, high_MK[:, :, None] * weights
    bias = w.bias.astype(np.int64)[None]
    return (
        np.minimum(at_low, at_high).sum(1) + bias,
        np.maximum(at_low, at_high).sum(1) + bias,
    )


def _weighted(layer, low: np.ndarray, high: np.ndarray) -> Ends:
    spec, w, batch = layer.info.spec, layer.weighted, len(low)
    if isinstance(spec, Conv):
        low, high = (
            normative.im2col(normative.pad(end, spec), spec) for end in (low, high)
        )
    ends = [
        normative.requantise(end, w.multiplier[None], w.shift, w.sum.low, w.sum.high)
        for end in sums(w, low, high)
    ]
    if w.table is not None:
        ends = _through_table(w.table, *ends)
    return tuple(end.reshape(batch, *layer.info.output_shape) for end in ends)


def _through_table(table: np.ndarray, low: np.ndarray, high: np.ndarray) -> list:
    """Every entry that can be reached, looked at."""
    reached = [
        table[a + 128 : b + 129] for a, b in zip(low.ravel(), high.ravel(), strict=True)
    ]
    wide = [[int(f(values)) for values in reached] for f in (min, max)]
    return [np.array(values).reshape(low.shape) for values in wide]


def _whole(x: np.ndarray, kind: str) -> np.ndarray:
    if kind == "max":
        return x.max((1, 2))
    return normative.divide_rne(x.sum((1, 2)), x.shape[1] * x.shape[2])
