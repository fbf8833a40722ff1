"""Exact integer interval bounds: all that the integer network can give within a budget.

For pixels in low..high each layer maps an interval of integers to one of integers
(interval bound propagation, Gowal et al. 2018, arXiv:1810.12715, section 3, in integers).
A product with weights has, with d = high - low, W+ = max(W, 0) and W- = min(W, 0),

    acc_low = W low + b + W- d,    acc_high = W low + b + W+ d,

each the sum of one corner of the box, so that the accumulator's proven bound holds for
it: int32 keeps it even where a part of it leaves 32 bits, for sums are taken modulo 2^32.
Requantisation, pooling, padding and sums of values never fall when an input rises and are
applied to both ends; a table need not, so its smallest and largest entry between the ends
is taken, and a product of two values is extreme at a corner.
No float is rounded anywhere: what is certified holds for every image, without exception.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import shard_map
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Integer, UInt8

from configs.checks import brief
from configs.errors import InputError
from configs.program import (
    Activate,
    Add,
    Concat,
    Mul,
    Node,
    Pad,
    Pool,
    Product,
    Reshape,
    Slice,
    entry,
)
from quant import execute
from quant.execute import Wide
from quant.network import IntNetwork, IntStep, Weighted
from train.mesh import AXIS, all_devices

# Images per device and step, and steps per call.
_CHUNK = 32
_CHUNKS = 16


class Interval(NamedTuple):
    """Smallest and largest integer of every element, in the container of its format."""

    low: Integer[Array, "b ..."]
    high: Integer[Array, "b ..."]


def pixels_within(images: UInt8[np.ndarray, "n ..."], levels: int) -> Interval:
    """Pixels at most `levels` from those of `images`, within 0..255."""
    wide = images.astype(np.int32)
    ends = (np.clip(wide + step, 0, 255) for step in (-levels, levels))
    return Interval(*(end.astype(np.uint8) for end in ends))


def propagate(network: IntNetwork, pixels: Interval) -> dict[str, Interval]:
    """Bounds of every step's output by name, inside `jit`."""
    starts = (execute.starts(network, end) for end in pixels)
    values = {name: Interval(*ends) for name, ends in _paired(*starts).items()}
    found = {}
    for layer in network.walk():
        xs = (values[name] for name in layer.step.inputs)
        values[layer.name] = found[layer.name] = _bounded(layer, *xs)
    return found


def _paired(low: dict, high: dict) -> dict:
    return {name: (low[name], high[name]) for name in low}


class _Ends(NamedTuple):
    """Both ends of a value inside a step, with the exponent of what they are multiples
    of."""

    low: Wide
    high: Wide


def _bounded(layer: IntStep, *xs: Interval) -> Interval:
    """Bounds of one step's output."""
    named = zip(layer.step.inputs, xs, layer.inputs, strict=True)
    values = {
        name: _Ends(*(Wide(end, kind.exponent) for end in x)) for name, x, kind in named
    }
    for node in layer.step.nodes:
        rule = entry(_RULES, node, "quant.intervals")
        values[node.name] = rule(layer, node, *(values[name] for name in node.inputs))
    return Interval(
        *(end.integers.astype(layer.output.dtype) for end in values[layer.name])
    )


def _rising(layer: IntStep, node: Node, *xs: _Ends) -> _Ends:
    """An operator that never falls when an input rises."""
    move = execute.MOVES[type(node)]
    return _Ends(*(move(node, *ends) for ends in zip(*xs, strict=True)))


def _multiplied(layer: IntStep, node: Mul, a: _Ends, b: _Ends) -> _Ends:
    """The extremes of a product of two values lie at the corners."""
    move = execute.MOVES[Mul]
    corners = [move(node, x, y) for x in a for y in b]
    pick = lambda ufunc: Wide(
        reduce(ufunc, [corner.integers for corner in corners]), corners[0].exponent
    )
    return _Ends(pick(jnp.minimum), pick(jnp.maximum))


def _summed(layer: IntStep, node: Product, x: _Ends) -> _Ends:
    rows = Interval(*(execute.rows_of(end.integers, node) for end in x))
    return _Ends(*(Wide(end, 0) for end in sums_of(layer, rows)))


def sums_of(layer: IntStep, x_MK: Interval) -> Interval:
    """Smallest and largest accumulator, int32 (M, N), bias included."""
    w_KN = layer.weighted.matrix
    spread_MK = x_MK.high.astype(jnp.int32) - x_MK.low.astype(jnp.int32)
    dot = lambda x_MK, w_KN: execute.dot(x_MK, jnp.asarray(w_KN), layer)[0]
    falls_MN, rises_MN = (
        dot(spread_MK.astype(jnp.uint8), part_KN)
        for part_KN in (np.minimum(w_KN, 0), np.maximum(w_KN, 0))
    )
    first_MN = dot(x_MK.low, w_KN) + jnp.asarray(layer.weighted.bias)[None]
    return Interval(first_MN + falls_MN, first_MN + rises_MN)


def _activated(layer: IntStep, node: Activate, x: _Ends) -> _Ends:
    """Both ends brought back, and through the table if there is one."""
    numbers = layer.numbers
    if isinstance(numbers, Weighted):
        w, shape = numbers, (-1, *node.shape)
        low, high = (
            execute.requantise(
                end.integers, w.multiplier[None], w.shift, w.sum.low, w.sum.high
            ).reshape(shape)
            for end in x
        )
    else:
        plain = replace(numbers, table=None, output=numbers.sum)
        low, high = (execute.rescaled(end, plain).astype(jnp.int32) for end in x)
    if numbers.table is not None:
        smallest, largest = (jnp.asarray(r) for r in table_ranges(numbers.table))
        low, high = smallest[low + 128, high + 128], largest[low + 128, high + 128]
    return _Ends(*(Wide(end, layer.output.exponent) for end in (low, high)))


# What each operator does to both ends.
_RULES: dict[type[Node], Callable[..., _Ends]] = {
    Product: _summed,
    Activate: _activated,
    Mul: _multiplied,
    **dict.fromkeys((Pad, Pool, Reshape, Slice, Concat, Add), _rising),
}


def table_ranges(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest entry between any two places i <= j: two (256, 256) arrays.

    >>> low, high = table_ranges(np.array([*[5] * 254, 7, 6], np.uint8))
    >>> int(low[254, 255]), int(high[253, 255])
    (6, 7)
    """
    rows = range(len(table))
    fill = lambda i, ufunc: [*table[:i], *ufunc.accumulate(table[i:])]
    smallest = np.array([fill(i, np.minimum) for i in rows], table.dtype)
    largest = np.array([fill(i, np.maximum) for i in rows], table.dtype)
    return smallest, largest


def certified(
    network: IntNetwork,
    images: UInt8[np.ndarray, "n ..."],
    labels: Integer[np.ndarray, " n"],
    levels: int,
) -> Bool[np.ndarray, " n"]:
    """Whether no uint8 image within `levels` is given another class by the integers."""
    return make_certify(network)(images, labels, levels)


def make_certify(
    network: IntNetwork,
) -> Callable[[np.ndarray, np.ndarray, int], np.ndarray]:
    """certify(images uint8 (n, ...), labels (n,), levels) -> bool (n,); any n.

    The class is the first of the largest outputs. Compiles once for all levels.
    """
    outputs = network.network.output_shape
    if len(outputs) != 1:
        raise InputError(
            f"`network` (outputs {list(outputs)}) must end in a vector of classes to be "
            f"certified; add a Flatten or GlobalPool."
        )
    bounds = compile(network)

    def certify(images, labels, levels):
        _check(images, labels, levels, outputs[0])
        before, after = bounds(pixels_within(images, levels))
        return decided(list(network.walk())[-1], before, after, labels)

    return certify


def _check(images: np.ndarray, labels: np.ndarray, levels: int, classes: int) -> None:
    if not 0 <= levels <= 255:
        raise InputError(f"`levels` (={levels}) must be in 0..255; 76 are eps 0.3.")
    fits = labels.shape == images.shape[:1] and np.issubdtype(labels.dtype, np.integer)
    if not fits or (labels.size and not 0 <= labels.min() <= labels.max() < classes):
        raise InputError(
            f"`labels` (={brief(labels)}) must be one whole number in 0..{classes - 1} "
            f"for each of {len(images)} images; certify a network of classes."
        )


def compile(network: IntNetwork) -> Callable[[Interval], tuple[Interval, Interval]]:
    """run(pixels (n, *shape)) -> bounds before and after the last step, numpy; any n."""
    mesh = all_devices()
    last = list(network.walk())[-1]

    def ends(pixels):
        found = {network.program.input.name: pixels, **propagate(network, pixels)}
        return found.get(last.step.inputs[0]), found[last.name]

    def share(pixels):
        cut = lambda x: x.reshape(-1, _CHUNK, *x.shape[1:])
        join = lambda x: x.reshape(-1, *x.shape[2:])
        return jax.tree.map(join, jax.lax.map(ends, jax.tree.map(cut, pixels)))

    compiled = jax.jit(
        shard_map(share, mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS), check_vma=False)
    )
    sharding = NamedSharding(mesh, P(AXIS))
    unit = mesh.size * _CHUNK

    def run(pixels: Interval) -> tuple[Interval, Interval]:
        count, parts = len(pixels.low), []
        size = unit * min(_CHUNKS, max(1, -(-count // unit)))
        for first in range(0, max(count, 1), size):
            part = (_filled(end[first : first + size], size) for end in pixels)
            placed = jax.device_put(Interval(*part), sharding)
            parts.append(jax.device_get(compiled(placed)))
        return jax.tree.map(lambda *x: np.concatenate(x)[:count], *parts)

    return run


def _filled(x: np.ndarray, size: int) -> np.ndarray:
    return np.pad(x, ((0, size - len(x)), *((0, 0),) * (x.ndim - 1)))


def decided(
    last: IntStep, before: Interval, after: Interval, labels: np.ndarray
) -> Bool[np.ndarray, " n"]:
    """Whether the label's output beats all others, for all that enters the last step."""
    chosen = labels[:, None]
    low = np.take_along_axis(after.low.astype(np.int32), chosen, 1)
    high = after.high.astype(np.int32)
    others = np.arange(high.shape[1])[None]
    earlier = others < chosen
    beaten = np.where(earlier, low > high, low >= high) | (others == chosen)
    if last.product and last.product.kernel is None and last.weighted.table is None:
        least = least_difference(last, before, labels)
        # Above one whole step apart the two cannot round to the same integer, and never
        # the wrong way round from 0 on; but what is cut off at the same end is equal.
        apart = (low > last.output.low) & (high < last.output.high)
        strictly = (least > 1 << last.weighted.shift) & apart
        beaten |= np.where(earlier, strictly, least >= 0)
    return beaten.all(1)


def least_difference(last: IntStep, before: Interval, labels: np.ndarray) -> np.ndarray:
    """Least multiplier[y] acc[y] - multiplier[j] acc[j] over the box: float64 (N, F).

    One linear function of the layer's input (the elision of Gowal et al., section 3.1),
    with y the label. No sum or part of one reaches 2^50 (multipliers are below 2^16 and
    accumulators below 2^31), so that float64 makes no error.
    """
    w = last.weighted
    rows_KF = w.matrix.astype(np.float64) * w.multiplier
    bias_F = w.bias.astype(np.float64) * w.multiplier
    low, high = (end.astype(np.float64) for end in before)
    least = np.empty((len(labels), w.features))
    for label in np.unique(labels):
        mine = labels == label
        c_KF = rows_KF[:, [label]] - rows_KF
        falls = (high[mine] - low[mine]) @ np.minimum(c_KF, 0)
        least[mine] = low[mine] @ c_KF + falls + (bias_F[label] - bias_F)[None]
    return least
