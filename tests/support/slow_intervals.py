"""Interval bounds of the integer network, written out: numpy, 64-bit integers, loops."""

import numpy as np

from configs.program import Activate, Add, Concat, Mul, Pad, Pool, Product, Slice
from quant import normative
from quant.network import IntNetwork, IntStep, Weighted

Ends = tuple[np.ndarray, np.ndarray]


def bounds(network: IntNetwork, low: np.ndarray, high: np.ndarray) -> dict[str, Ends]:
    """Smallest and largest integer of every step's output for pixels in low..high."""
    starts = [normative.starts(network, end) for end in (low, high)]
    values = {
        name: tuple(start[name].astype(np.int64) for start in starts) for name in starts[0]
    }
    found = {}
    for step in network.walk():
        inside = {name: values[name] for name in step.step.inputs}
        for node in step.step.nodes:
            inside[node.name] = _ends(step, node, *(inside[name] for name in node.inputs))
        values[step.name] = found[step.name] = inside[step.name]
    return found


def _ends(step: IntStep, node, *xs: Ends) -> Ends:
    if isinstance(node, Product):
        return _product(step.weighted, node, *xs[0])
    if isinstance(node, Activate):
        return _activated(step, node, *xs[0])
    if isinstance(node, Mul):
        return _corners(*xs)
    return tuple(_moved(step, node, *ends) for ends in zip(*xs, strict=True))


def sums(w, low_MK: np.ndarray, high_MK: np.ndarray) -> Ends:
    """For each product the end that makes the sum smallest, or largest."""
    return _sums(w.matrix.astype(np.int64), w.bias.astype(np.int64), low_MK, high_MK)


def _sums(weights_KN, bias_N, low_MK: np.ndarray, high_MK: np.ndarray) -> Ends:
    at_low, at_high = (end[:, :, None] * weights_KN[None] for end in (low_MK, high_MK))
    return (
        np.minimum(at_low, at_high).sum(1) + bias_N[None],
        np.maximum(at_low, at_high).sum(1) + bias_N[None],
    )


def _product(w: Weighted, node: Product, low: np.ndarray, high: np.ndarray) -> Ends:
    if node.groups == 1:
        (low_MK,), (high_MK,) = (normative.rows_of(end, node) for end in (low, high))
        found = sums(w, low_MK, high_MK)
    else:
        rows = zip(*(normative.rows_of(end, node) for end in (low, high)), strict=True)
        weights = np.split(w.matrix.astype(np.int64), node.groups, axis=1)
        biases = np.split(w.bias.astype(np.int64), node.groups)
        parts = [
            _sums(w_KN, b_N, *both)
            for w_KN, b_N, both in zip(weights, biases, rows, strict=True)
        ]
        found = [np.concatenate(ends, axis=1) for ends in zip(*parts, strict=True)]
    return tuple(end.reshape(len(low), *node.shape) for end in found)


def _activated(step: IntStep, node: Activate, low: np.ndarray, high: np.ndarray) -> Ends:
    numbers = step.numbers
    if isinstance(numbers, Weighted):
        ends = [
            normative.requantise(
                end, numbers.multiplier, numbers.shift, numbers.sum.low, numbers.sum.high
            )
            for end in (low, high)
        ]
    else:
        exponent, _ = step.wide()[node.input]
        shift = numbers.sum.exponent - exponent
        ends = [normative.rescale(end, shift, numbers.sum) for end in (low, high)]
    return tuple(ends if numbers.table is None else _through_table(numbers.table, *ends))


def _through_table(table: np.ndarray, low: np.ndarray, high: np.ndarray) -> list:
    """Every entry that can be reached, looked at."""
    reached = [
        table[a + 128 : b + 129] for a, b in zip(low.ravel(), high.ravel(), strict=True)
    ]
    wide = [[int(f(values)) for values in reached] for f in (min, max)]
    return [np.array(values).reshape(low.shape) for values in wide]


def _corners(a: Ends, b: Ends) -> Ends:
    if a[0].ndim != b[0].ndim:
        ones = (1,) * (a[0].ndim - 2)
        b = tuple(end.reshape(len(end), *ones, -1) for end in b)
    corners = [x * y for x in a for y in b]
    return np.minimum.reduce(corners), np.maximum.reduce(corners)


def _moved(step: IntStep, node, *xs: np.ndarray) -> np.ndarray:
    """What never falls when an input rises."""
    axis = 1 + getattr(node, "axis", 0)
    if isinstance(node, Pad):
        return normative.pad(xs[0], node.kind, node.pads)
    if isinstance(node, Pool):
        return normative.pool(xs[0], node)
    if isinstance(node, Slice):
        return np.take(xs[0], range(node.start, node.stop), axis=axis)
    if isinstance(node, Concat):
        return np.concatenate(xs, axis=axis)
    if isinstance(node, Add):
        exponents = [step.wide()[name][0] for name in node.inputs]
        return sum(
            x * 2 ** (one - min(exponents)) for x, one in zip(xs, exponents, strict=True)
        )
    return xs[0].reshape(len(xs[0]), *node.shape)
