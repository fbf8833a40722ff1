"""Linear bounds of every value of a program, and proofs that no class can change.

Intervals go forward. Where a function bends within its interval, the value that it meets is
followed backward as a linear bound, node by node to the pixels (CROWN: Zhang et al. 2018,
arXiv:1811.00866), which gives narrower intervals, with which the later ones are found; at
the end the differences of the outputs are followed likewise. All rows of all images of a
chunk go back together; rows of a convolution hold the window that they meet alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from configs.program import WIDE, Input, Node, Pad, Program, Reshape, Slice, State
from train.certify.forms import Form, FunctionForm, Interval, Reach, magnitude, total
from train.certify.region import Region, plus, seen
from train.certify.rounding import slack

# Coefficients that are held at once.
_HELD = 1 << 21
# Rows of a first part, which shows how large the others may be.
_FIRST = 32
# Multiplications for one image and budget of pixels, beyond which values keep the intervals
# that they have: seconds of one core.
WORK = 20_000_000_000


@dataclass(frozen=True, eq=False)
class Graph:
    """A program with what each of its nodes does to real numbers."""

    program: Program
    forms: Mapping[str, Form]

    def function(self, name: str) -> FunctionForm | None:
        """The function that alone reads a wide value."""
        readers = self.program.readers[name]
        form = self.forms.get(readers[0].name) if len(readers) == 1 else None
        return form if isinstance(form, FunctionForm) else None


@dataclass(eq=False)
class Known:
    """What is known of one chunk of images."""

    graph: Graph
    intervals: dict[str, Interval] = field(default_factory=dict)
    reaches: dict[str, Reach] = field(default_factory=dict)
    lines: dict[str, list] = field(default_factory=dict)
    # Values whose bends were too many to follow back.
    skipped: list[str] = field(default_factory=list)
    work: int = 0

    @property
    def count(self) -> int:
        return len(self.intervals[self.graph.program.input.name].low)

    def take(self, images: np.ndarray) -> Known:
        """The same of some of the images, intervals alone."""
        some = {n: Interval(x.low[images], x.high[images])
                for n, x in self.intervals.items()}  # fmt: skip
        return Known(self.graph, some)

    def reach(self, node: Node) -> Reach:
        if node.name not in self.reaches:
            xs = [self.intervals[name] for name in node.inputs]
            form = self.graph.forms[node.name]
            self.reaches[node.name] = form.reach(self.intervals[node.name], *xs)
        return self.reaches[node.name]


def forward(graph: Graph, pixels: Interval) -> Known:
    """Intervals of every value from those of its inputs alone."""
    known = Known(graph)
    for node in graph.program.nodes:
        known.intervals[node.name] = _interval(known, node, pixels)
    return known


def refined(graph: Graph, pixels: Interval, limit: int = WORK) -> Known:
    """Intervals of every value, those before a bend by linear bounds as well."""
    known = Known(graph)
    for node in graph.program.nodes:
        known.intervals[node.name] = _interval(known, node, pixels)
        function = graph.function(node.name) if isinstance(node, WIDE) else None
        if function and not _exact(graph.program, node):
            _refine(known, node, function, limit)
    return known


def _interval(known: Known, node: Node, pixels: Interval) -> Interval:
    if isinstance(node, Input):
        return pixels
    if isinstance(node, State):
        zeros = np.zeros((known.count, *node.shape))
        return Interval(zeros, zeros)
    xs = (known.intervals[name] for name in node.inputs)
    return known.graph.forms[node.name].interval(*xs)


def _exact(program: Program, node: Node) -> bool:
    """Whether a value is one sum of pixels, of which intervals are all there is to know."""
    if len(node.inputs) != 1:
        return False
    node = program.by_name[node.input]
    while isinstance(node, Reshape | Slice) or (
        isinstance(node, Pad) and node.kind == "zero"
    ):
        node = program.by_name[node.input]
    return isinstance(node, Input)


def _refine(known: Known, node: Node, function: FunctionForm, limit: int) -> None:
    """Narrows the intervals of a value where its function bends.

    First the end that is nearer to 0, which is often past the bend then; the other one
    where it is not.
    """
    low, high = (end.copy() for end in known.intervals[node.name])
    bends = lambda: function.bends(Interval(low, high))
    upper = low + high < 0
    for turn in (False, True):
        wanted = np.argwhere(bends())
        signs = np.where(upper[tuple(wanted.T)] ^ turn, -1.0, 1.0)
        if not _follow(known, node, Interval(low, high), wanted, signs, limit):
            known.skipped.append(node.name)
            break
    known.intervals[node.name] = Interval(low, high)


def _follow(
    known: Known, node: Node, ends: Interval, wanted: np.ndarray, signs: np.ndarray,
    limit: int,
) -> bool:  # fmt: skip
    """Narrows ends in place: upper ones at places (n, axes) whose sign is -1. False where
    this would take more work than is allowed."""
    done, size, allowed = 0, _FIRST, limit * known.count
    while done < len(wanted):
        rows, sign = wanted[done : done + size], signs[done : done + size]
        before, start = known.work, _units(node, rows[:, 1:])
        values = start.values * sign.reshape(-1, *(1,) * (start.values.ndim - 1))
        region = Region(values, start.corner)
        found, held = lowest(known, node.name, region, rows[:, 0])
        above, below = (tuple(rows[sign == s].T) for s in (-1, 1))
        ends.high[above] = np.minimum(ends.high[above], -found[sign == -1])
        ends.low[below] = np.maximum(ends.low[below], found[sign == 1])
        if not done and (known.work - before) * len(wanted) > allowed * len(rows):
            return False
        done += len(rows)
        size = max(_FIRST, int(_HELD / held))
    return True


def _units(node: Node, places: np.ndarray) -> Region:
    """One row for each place (n, axes) of a value: 1 there."""
    n = np.arange(len(places))
    if len(node.shape) != 3:
        values = np.zeros((len(places), *node.shape))
        values[(n, *places.T)] = 1
        return Region(values)
    values = np.zeros((len(places), 1, 1, node.shape[2]))
    values[n, 0, 0, places[:, 2]] = 1
    return Region(values, (places[:, 0], places[:, 1]))


def lowest(
    known: Known, start: str, region: Region, image: np.ndarray, stop: tuple[str, ...] = (),
    met: dict[str, Region] | None = None,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """Lower bounds (n,) of rows over the value `start`, and coefficients held for a row.

    Args:
      region: coefficients of the rows.
      image: which image each row belongs to (n,).
      stop: values at which the way back ends, with their intervals.
      met: filled with the coefficients of every value that was met.
    """
    graph = known.graph
    pending, held = {start: region}, 1.0
    bound, error = np.zeros(len(image)), np.zeros(len(image))
    for node in reversed(graph.program.nodes):
        here = pending.pop(node.name, None)
        if here is None or isinstance(node, State):
            continue
        if met is not None:
            met[node.name] = here
        values = here.values.reshape(len(image), -1)
        held = max(held, values.shape[1])
        if isinstance(node, Input) or node.name in stop:
            whole = known.intervals[node.name]
            bound += _smallest(here, whole, image)
            error += slack(values.shape[1], total(here) * magnitude(whole)[image])
            continue
        form, reach = graph.forms[node.name], known.reach(node)
        error += slack(reach.terms + values.shape[1], total(here) * reach.size[image])
        known.work += form.work(here)
        if not isinstance(form, FunctionForm):
            given = [known.intervals[name] for name in node.inputs]
        elif node.name in known.lines:
            given = known.lines[node.name]
        else:
            given = known.lines[node.name] = form.lines(known.intervals[node.input])
        back = form.back(here, image, given)
        bound = bound + back.offset
        for name, part in zip(node.inputs, back.regions, strict=True):
            if name in pending:
                shape = graph.program.by_name[name].shape
                part = plus(pending[name], part, shape)
            pending[name] = part
    return bound - 2 * error, held


def _smallest(region: Region, x: Interval, image: np.ndarray) -> np.ndarray:
    """Smallest values (n,) of rows over an interval."""
    n = len(image)
    negative = np.minimum(region.values, 0)
    positive = region.values - negative
    dot = lambda a, end: np.einsum(
        "nk,nk->n", a.reshape(n, -1), seen(region, end, image).reshape(n, -1)
    )
    return dot(positive, x.low) + dot(negative, x.high)


def differences(
    known: Known, start: str, labels: np.ndarray, stop: tuple[str, ...] = ()
) -> np.ndarray:
    """Lower bounds (B, F) of value[label] - value[f] of a vector, 0 for the label."""
    features = known.graph.program.by_name[start].shape[-1]
    images, others = np.nonzero(np.arange(features)[None] != labels[:, None])
    values = np.zeros((len(images), features))
    values[np.arange(len(images)), labels[images]] = 1
    values[np.arange(len(images)), others] -= 1
    found = np.zeros((len(labels), features))
    size, done = _FIRST, 0
    while done < len(images):
        part = slice(done, done + size)
        found[images[part], others[part]], held = lowest(
            known, start, Region(values[part]), images[part], stop
        )
        done += size
        size = max(_FIRST, int(_HELD / held))
    return found
