"""What each operator does to intervals and, going back, to the coefficients of rows.

A form stands for a node of a program whose values are real numbers: those of the float
network, or the integers of a deployed one, whose roundings are then bands of half a step.
`interval` goes forward; `back` takes rows over the node's value to rows over its inputs,

    a . y + d  >=  sum_i a_i . x_i + d + offset    for all x in the known intervals,

and `reach` says by how much float64 may be wrong on the way, for each unit of |a|.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from configs.program import Add, Concat, Mul, Node, Pad, Pool, Product, Reshape, Slice
from train.certify import lines
from train.certify.blocks import times
from train.certify.region import Region, narrow, seen, unpadded, whole
from train.certify.rounding import slack


class Interval(NamedTuple):
    """Smallest and largest value of every element, float64 (B, *shape)."""

    low: np.ndarray
    high: np.ndarray


class Back(NamedTuple):
    """Rows over the inputs of a node, in order, and what is added to them (n,)."""

    regions: tuple[Region, ...]
    offset: np.ndarray | float = 0.0


class Reach(NamedTuple):
    """Terms of the longest sum, and the largest magnitude of what a unit of a coefficient
    meets, (B,)."""

    terms: int
    size: np.ndarray


def magnitude(x: Interval) -> np.ndarray:
    """Largest magnitude of each image's values, (B,)."""
    flat = np.maximum(np.abs(x.low), np.abs(x.high)).reshape(len(x.low), -1)
    return flat.max(1)


def total(region: Region) -> np.ndarray:
    """Sum of |a| of each row, (n,)."""
    flat = region.values.reshape(len(region.values), -1)
    return np.abs(flat).sum(1)


def _split(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    negative = np.minimum(values, 0)
    return values - negative, negative


def _rounded(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quotients of integers to the nearest integers, halves to the even one: float64 gives
    those of less than 2^40 by less than 2^10 a half only where they are one."""
    return np.rint(low), np.rint(high)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    n = len(a)
    return np.einsum("nk,nk->n", a.reshape(n, -1), b.reshape(n, -1))


@dataclass(frozen=True, eq=False)
class Form:
    """Base of all; most operators neither round nor multiply."""

    node: Node
    # Shapes of the inputs.
    shapes: tuple[tuple[int, ...], ...]

    def reach(self, y: Interval, *xs: Interval) -> Reach:
        return Reach(self.node.size, magnitude(y))

    def work(self, region: Region) -> int:
        """Multiplications that `back` makes."""
        return 3 * region.values.size


@dataclass(frozen=True, eq=False)
class ProductForm(Form):
    """W x + b, kernel (R, S, C / groups, F) or (K, F)."""

    node: Product
    kernel: np.ndarray
    bias: np.ndarray
    # Whether float64 makes no error in sums of the numbers that there can be.
    exact: bool = False

    def interval(self, x: Interval) -> Interval:
        positive, negative = np.maximum(self.kernel, 0), np.minimum(self.kernel, 0)
        low = self._apply(x.low, positive) + self._apply(x.high, negative) + self.bias
        high = self._apply(x.high, positive) + self._apply(x.low, negative) + self.bias
        if self.exact:
            return Interval(low, high)
        reach = self.reach(None, x)
        error = slack(2 * reach.terms, reach.size)
        error = error.reshape(-1, *(1,) * (low.ndim - 1))
        return Interval(low - error, high + error)

    def reach(self, y: Interval, x: Interval) -> Reach:
        columns = np.abs(self.kernel).reshape(-1, self.node.features).sum(0)
        size = columns.max() * magnitude(x) + np.abs(self.bias).max(initial=0)
        taps = math.prod(self.node.kernel or ())
        return Reach(self.node.K + self.node.features * taps + self.node.size, size)

    def _apply(self, x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        node = self.node
        if node.kernel is None:
            return times(x, kernel)
        groups, (p, q, features) = node.groups, node.shape
        each = features // groups
        out = np.zeros((len(x), p, q, groups, each))
        for i, j, rows, columns in self._taps(p, q):
            part = x[:, rows, columns].reshape(len(x), p, q, groups, -1)
            taps = kernel[i, j].reshape(-1, groups, each)
            if groups == 1:
                out[..., 0, :] += times(part[..., 0, :], taps[:, 0])
            else:
                out += np.einsum("bpqgc,cgf->bpqgf", part, taps)
        return out.reshape(len(x), *node.shape)

    def _taps(self, p: int, q: int):
        """Every tap and what it meets of a map, of p x q positions."""
        (r, s), (down, right) = self.node.kernel, self.node.stride
        for i in range(r):
            top = i * self.node.dilation[0]
            for j in range(s):
                left = j * self.node.dilation[1]
                rows = slice(top, top + (p - 1) * down + 1, down)
                yield i, j, rows, slice(left, left + (q - 1) * right + 1, right)

    def back(self, region: Region, image, xs) -> Back:
        node, a = self.node, region.values
        n = len(a)
        if node.kernel is None:
            offset = (a @ self.bias).reshape(n, -1).sum(1)
            return Back((Region(times(a, self.kernel.T)),), offset)
        _, p, q, features = a.shape
        offset = a.reshape(n, p * q, features).sum(1) @ self.bias
        (r, s), (down, right), groups = node.kernel, node.stride, node.groups
        each = features // groups
        if region.corner is None:
            height, width, channels = self.shapes[0]
            corner = None
        else:
            channels = self.shapes[0][2]
            height = (p - 1) * down + (r - 1) * node.dilation[0] + 1
            width = (q - 1) * right + (s - 1) * node.dilation[1] + 1
            corner = (region.corner[0] * down, region.corner[1] * right)
        out = np.zeros((n, height, width, channels))
        if groups == 1 and corner is None:
            self._by_position(a, out)
            return Back((Region(out),), offset)
        if groups == 1:
            met = times(a, self._rows).reshape(n, p, q, r, s, channels)
        else:
            parts = a.reshape(n * p * q, groups, each).transpose(1, 0, 2)
            kernel = self.kernel.reshape(r * s * (channels // groups), groups, each)
            met = np.matmul(parts, kernel.transpose(1, 2, 0))
            met = met.reshape(groups, n, p, q, r, s, channels // groups)
            met = met.transpose(1, 2, 3, 4, 5, 0, 6).reshape(n, p, q, r, s, channels)
        for i, j, rows, columns in self._taps(p, q):
            out[:, rows, columns] += met[:, :, :, i, j]
        return Back((narrow(Region(out, corner), self.shapes[0]),), offset)

    @cached_property
    def _rows(self) -> np.ndarray:
        """The kernel as (F, R * S * C)."""
        node = self.node
        return np.ascontiguousarray(self.kernel.reshape(node.K, node.features).T)

    def _by_position(self, a: np.ndarray, out: np.ndarray) -> None:
        """Adds to `out` what each position met, without the features that all rows have 0
        for: many, where the function behind gives 0 for the whole interval."""
        node, n = self.node, len(a)
        (r, s), (down, right), (tall, wide) = node.kernel, node.stride, node.dilation
        for p, q in np.argwhere(a.any((0, 3))):
            features = np.flatnonzero(a[:, p, q].any(0))
            met = times(a[:, p, q, features], self._rows[features])
            y, x = p * down, q * right
            rows = slice(y, y + (r - 1) * tall + 1, tall)
            columns = slice(x, x + (s - 1) * wide + 1, wide)
            out[:, rows, columns] += met.reshape(n, r, s, -1)

    def work(self, region: Region) -> int:
        return region.values.size * self.node.K


@dataclass(frozen=True, eq=False)
class PadForm(Form):
    node: Pad
    # Largest error of a mean that is rounded.
    half: float = 0.0

    def interval(self, x: Interval) -> Interval:
        low, high = (self._padded(end) for end in x)
        if self.half:
            # Whole numbers stay what they are.
            low, high = _rounded(low, high)
        elif self.node.kind == "mean":
            error = slack(math.prod(self.shapes[0][:2]), magnitude(x)).reshape(-1, 1, 1, 1)
            low, high = low - error, high + error
        return Interval(low, high)

    def _padded(self, x: np.ndarray) -> np.ndarray:
        widths = ((0, 0), *self.node.pads, (0, 0))
        if self.node.kind == "edge":
            return np.pad(x, widths, mode="edge")
        padded = np.pad(x, widths)
        if self.node.kind == "mean":
            inside = np.pad(np.ones(x.shape[1:3], bool), self.node.pads)[None, ..., None]
            padded = np.where(inside, padded, x.mean((1, 2), keepdims=True))
        return padded

    def back(self, region: Region, image, xs) -> Back:
        shape, node = self.shapes[0], self.node
        if node.kind == "zero":
            return Back((unpadded(region, node.pads, shape),))
        values = whole(region, node.shape).values
        inner = unpadded(Region(values), node.pads, shape).values.copy()
        if node.kind == "edge":
            return Back((Region(_folded(values, node.pads, shape)),))
        inside = np.pad(np.ones(shape[:2], bool), node.pads)
        outside = values[:, ~inside]
        inner += outside.sum(1)[:, None, None] / (shape[0] * shape[1])
        offset = -self.half * np.abs(outside).sum((1, 2)) if self.half else 0.0
        return Back((Region(inner),), offset)


def _folded(values: np.ndarray, pads, shape) -> np.ndarray:
    """Coefficients outside added to those of the nearest place inside."""
    for axis in (1, 2):
        before, _ = pads[axis - 1]
        moved = np.moveaxis(values, axis, 0)
        inside = moved[before : before + shape[axis - 1]].copy()
        inside[0] += moved[:before].sum(0)
        inside[-1] += moved[before + shape[axis - 1] :].sum(0)
        values = np.moveaxis(inside, 0, axis)
    return np.ascontiguousarray(values)


@dataclass(frozen=True, eq=False)
class PoolForm(Form):
    """The mean of each window, or its largest value.

    A maximum is at least the value with the largest lower bound, and at most the largest
    upper bound, or that value itself where no other can be larger.
    """

    node: Pool
    # Largest error of a mean that is rounded.
    half: float = 0.0

    def interval(self, x: Interval) -> Interval:
        if self.node.kind == "max":
            return Interval(*(self._views(end, -np.inf).max(0) for end in x))
        area = math.prod(self.node.window)
        low, high = (self._views(end, 0.0).sum(0) / area for end in x)
        if self.half:
            return Interval(*_rounded(low, high))
        error = slack(area, magnitude(x)).reshape(-1, 1, 1, 1)
        return Interval(low - error, high + error)

    def _views(self, x: np.ndarray, outside: float) -> np.ndarray:
        """What each place of the window meets: (taps, B, P, Q, C)."""
        padded = np.pad(x, ((0, 0), *self.node.pads, (0, 0)), constant_values=outside)
        p, q, _ = self.node.shape
        return np.stack([padded[:, y, x] for y, x in self._taps(p, q)])

    def _taps(self, p: int, q: int):
        (down, right) = self.node.stride
        for i in range(self.node.window[0]):
            for j in range(self.node.window[1]):
                rows = slice(i, i + (p - 1) * down + 1, down)
                yield rows, slice(j, j + (q - 1) * right + 1, right)

    def back(self, region: Region, image, xs) -> Back:
        a, node = region.values, self.node
        n, p, q, channels = a.shape
        padded = tuple(
            size + sum(ends)
            for size, ends in zip(self.shapes[0][:2], node.pads, strict=True)
        )
        if region.corner is None:
            (height, width), corner = padded, None
        else:
            (down, right), (r, s) = node.stride, node.window
            height, width = (p - 1) * down + r, (q - 1) * right + s
            corner = (region.corner[0] * down, region.corner[1] * right)
        out, offset = np.zeros((n, height, width, channels)), 0.0
        if node.kind == "mean":
            each = a / math.prod(node.window)
            for rows, columns in self._taps(p, q):
                out[:, rows, columns] += each
            offset = -self.half * total(region) if self.half else 0.0
        else:
            best, most, sure = self._largest(xs[0])
            positive, negative = _split(a)
            surely = seen(region, sure, image)
            offset = _dot(np.where(surely, 0, negative), seen(region, most, image))
            passed = positive + np.where(surely, negative, 0)
            chosen = seen(region, best, image)
            for tap, (rows, columns) in enumerate(self._taps(p, q)):
                out[:, rows, columns] += np.where(chosen == tap, passed, 0)
        return Back((unpadded(Region(out, corner), node.pads, self.shapes[0]),), offset)

    def _largest(self, x: Interval) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the largest lower bound is, the largest upper one, and whether no other
        value can be larger."""
        low, high = (self._views(end, -np.inf) for end in x)
        best = low.argmax(0)
        own = np.arange(len(low)).reshape(-1, 1, 1, 1, 1) == best[None]
        others = np.where(own, -np.inf, high).max(0)
        return best, high.max(0), low.max(0) >= others


@dataclass(frozen=True, eq=False)
class ReshapeForm(Form):
    node: Reshape

    def interval(self, x: Interval) -> Interval:
        return Interval(*(end.reshape(len(end), *self.node.shape) for end in x))

    def back(self, region: Region, image, xs) -> Back:
        values = whole(region, self.node.shape).values
        return Back((Region(values.reshape(len(values), *self.shapes[0])),))


@dataclass(frozen=True, eq=False)
class SliceForm(Form):
    node: Slice

    def interval(self, x: Interval) -> Interval:
        return Interval(*(end[self._cut(end.ndim)] for end in x))

    def _cut(self, axes: int) -> tuple[slice, ...]:
        cut = [slice(None)] * axes
        cut[1 + self.node.axis] = slice(self.node.start, self.node.stop)
        return tuple(cut)

    def back(self, region: Region, image, xs) -> Back:
        if self.node.axis < 2:
            region = whole(region, self.node.shape)
        size = self.shapes[0][self.node.axis]
        shape = list(region.values.shape)
        shape[1 + self.node.axis] = size
        out = np.zeros(shape)
        out[self._cut(out.ndim)] = region.values
        return Back((Region(out, region.corner),))


@dataclass(frozen=True, eq=False)
class ConcatForm(Form):
    node: Concat

    def interval(self, *xs: Interval) -> Interval:
        return Interval(
            *(np.concatenate(ends, 1 + self.node.axis) for ends in zip(*xs, strict=True))
        )

    def back(self, region: Region, image, xs) -> Back:
        if self.node.axis < 2:
            region = whole(region, self.node.shape)
        sizes = [shape[self.node.axis] for shape in self.shapes]
        parts = np.split(region.values, np.cumsum(sizes)[:-1], axis=1 + self.node.axis)
        return Back(tuple(Region(part, region.corner) for part in parts))


@dataclass(frozen=True, eq=False)
class AddForm(Form):
    """The sum of two values, each times a power of two."""

    node: Add
    scales: tuple[float, float] = (1.0, 1.0)
    exact: bool = False

    def interval(self, *xs: Interval) -> Interval:
        low, high = (
            sum(scale * end for scale, end in zip(self.scales, ends, strict=True))
            for ends in zip(*xs, strict=True)
        )
        if self.exact:
            return Interval(low, high)
        error = slack(2, self.reach(None, *xs).size).reshape(-1, *(1,) * (low.ndim - 1))
        return Interval(low - error, high + error)

    def reach(self, y: Interval, *xs: Interval) -> Reach:
        sizes = (s * magnitude(x) for s, x in zip(self.scales, xs, strict=True))
        return Reach(self.node.size, sum(sizes))

    def back(self, region: Region, image, xs) -> Back:
        return Back(
            tuple(Region(scale * region.values, region.corner) for scale in self.scales)
        )


@dataclass(frozen=True, eq=False)
class MulForm(Form):
    """The product of two values; a vector meets every position of a map.

    Between the planes through its corners (McCormick 1976): with a in [a0, a1] and b in
    [b0, b1], a b >= b0 a + a0 b - a0 b0 and a b <= b1 a + a0 b - a0 b1.
    """

    node: Mul
    exact: bool = False

    def interval(self, a: Interval, b: Interval) -> Interval:
        b = self._spread(b)
        corners = [x * y for x in a for y in b]
        low, high = np.minimum.reduce(corners), np.maximum.reduce(corners)
        if self.exact:
            return Interval(low, high)
        error = slack(1, np.maximum(np.abs(low), np.abs(high)))
        return Interval(low - error, high + error)

    def _spread(self, b: Interval) -> Interval:
        if len(self.shapes[1]) == len(self.shapes[0]):
            return b
        places = (1,) * (len(self.shapes[0]) - 1)
        wide = (len(b.low), *self.shapes[0])
        return Interval(*(np.broadcast_to(e.reshape(-1, *places, e.shape[-1]), wide)
                          for e in b))  # fmt: skip

    def reach(self, y: Interval, a: Interval, b: Interval) -> Reach:
        return Reach(self.node.size, 4 * magnitude(a) * magnitude(b))

    def back(self, region: Region, image, xs) -> Back:
        a, b = xs[0], self._spread(xs[1])
        positive, negative = _split(region.values)
        a_low, b_low, b_high = (seen(region, e, image) for e in (a.low, b.low, b.high))
        to_a = positive * b_low + negative * b_high
        to_b = region.values * a_low
        offset = -_dot(a_low, to_a)
        second = Region(to_b, region.corner)
        if len(self.shapes[1]) != len(self.shapes[0]):
            axes = tuple(range(1, to_b.ndim - 1))
            second = Region(to_b.sum(axes))
        return Back((Region(to_a, region.corner), second), offset)


@dataclass(frozen=True, eq=False)
class FunctionForm(Form):
    """f(scale x), element by element; several functions one after the other."""

    functions: tuple[lines.Function, ...] = ()
    scale: float = 1.0

    def ends(self, x: Interval) -> list[Interval]:
        """Intervals of the argument of each function, and of the value."""
        found = [Interval(x.low * self.scale, x.high * self.scale)]
        for function in self.functions:
            found.append(Interval(*function.range(*found[-1])))
        return found

    def interval(self, x: Interval) -> Interval:
        return self.ends(x)[-1]

    def bends(self, x: Interval) -> np.ndarray:
        """Where narrower intervals would help."""
        ends = self.ends(x)
        found = np.zeros(x.low.shape, bool)
        for function, end in zip(self.functions, ends, strict=False):
            found |= function.bends(*end)
        return found

    def lines(self, x: Interval) -> list[lines.Lines]:
        ends = self.ends(x)
        return [
            f.lines(*(e.copy() for e in end))
            for f, end in zip(self.functions, ends, strict=False)
        ]

    def reach(self, y: Interval, x: Interval) -> Reach:
        size = self.scale * magnitude(x)
        for one, end in zip(self.lines(x), self.ends(x), strict=False):
            slopes = np.maximum(np.abs(one.below_slope), np.abs(one.above_slope))
            places = np.maximum(np.abs(one.below), np.abs(one.above))
            met = slopes.reshape(len(slopes), -1).max(1) * magnitude(end)
            size = size + met + places.reshape(len(places), -1).max(1)
            # What a later function meets is scaled by the slope of those before.
            size = size * np.maximum(1, slopes.reshape(len(slopes), -1).max(1))
        return Reach(self.node.size, size)

    def back(self, region: Region, image, known: list[lines.Lines]) -> Back:
        """By lines: the lower one where a coefficient is positive, else the upper one."""
        values, offset = region.values, 0.0
        for one in reversed(known):
            positive, negative = _split(values)
            here = Region(values, region.corner)
            for part, place in ((positive, one.below), (negative, one.above)):
                if place.any():
                    offset = offset + _dot(part, seen(here, place, image))
            values = positive * seen(here, one.below_slope, image)
            values += negative * seen(here, one.above_slope, image)
        if self.scale != 1:
            values = values * self.scale
        return Back((Region(values, region.corner),), offset)
