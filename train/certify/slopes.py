"""Slopes of the lower lines that make a bound larger (alpha-CROWN).

Xu et al. 2021, arXiv:2011.13824, section 3.1. Where a function is cut off below, its lower
line may have any slope from 0 to 1; each row chooses its own. The bound is the value of the
relaxed network at one corner of the pixels, so that its slope with respect to one of the
choices is what the row's coefficient is worth there: the bound is climbed by that. Any
choice is sound; the best bound of all is kept.
"""

from __future__ import annotations

import numpy as np

from configs.program import Input, Product, State
from train.certify import engine
from train.certify.engine import Known
from train.certify.forms import FunctionForm, Interval
from train.certify.lines import Lines
from train.certify.region import Region, whole

# Largest change of a slope in the first round, halved towards the last.
_STEP = 0.4


# Rows that are climbed together, and how large a bound is not climbed any more.
_ROWS, _ENOUGH = 64, 1.0
# Rounds of climbing, at the end and for values on the way; images are left alone whose
# bounds miss by more than this part of what the middle of the box has.
ROUNDS, _ON_THE_WAY, _HOPELESS = 10, 3, 0.6


def sharpened(known: Known, rounds: int = _ON_THE_WAY) -> Known:
    """Narrower intervals of vectors whose functions bend; of maps those that there are."""
    graph, mine = known.graph, Known(known.graph)
    for node in graph.program.nodes:
        box = known.intervals[node.name]
        if node.inputs:
            xs = (mine.intervals[name] for name in node.inputs)
            low, high = graph.forms[node.name].interval(*xs)
            box = Interval(np.maximum(low, box.low), np.minimum(high, box.high))
        mine.intervals[node.name] = box
        function = graph.function(node.name) if isinstance(node, Product) else None
        if function and len(node.shape) == 1:
            _sharpen(mine, node.name, function, rounds)
    return mine


def _sharpen(known: Known, name: str, function: FunctionForm, rounds: int) -> None:
    low, high = (end.copy() for end in known.intervals[name])
    images, places = np.nonzero(function.bends(Interval(low, high)))
    for first in range(0, len(images), _ROWS):
        at = images[first : first + _ROWS], places[first : first + _ROWS]
        rows = np.zeros((len(at[0]), low.shape[1]))
        rows[np.arange(len(rows)), at[1]] = 1
        low[at] = np.maximum(low[at], climbed(known, name, rows, at[0], rounds))
        high[at] = np.minimum(high[at], -climbed(known, name, -rows, at[0], rounds))
    known.intervals[name] = Interval(low, high)


def hopeful(known: Known, labels: np.ndarray) -> np.ndarray:
    """Images (B,) worth the time: what is missing is no large part of what there is."""
    graph, output = known.graph, known.graph.program.output.name
    box = known.intervals[graph.program.input.name]
    middle = np.rint((box.low + box.high) / 2 * 256) / 256
    there = engine.forward(graph, Interval(middle, middle)).intervals[output].low
    own = np.arange(there.shape[1])[None] == labels[:, None]
    there = np.take_along_axis(there, labels[:, None], 1) - there
    missing = -engine.differences(known, output, labels)
    return (own | (missing <= _HOPELESS * there)).all(1)


def differences(known: Known, start: str, labels: np.ndarray) -> np.ndarray:
    """`engine.differences`, each that is not enough by slopes of its own."""
    found = engine.differences(known, start, labels)
    own = np.arange(found.shape[1])[None] == labels[:, None]
    images, others = np.nonzero((found <= _ENOUGH) & ~own)
    for first in range(0, len(images), _ROWS):
        at = images[first : first + _ROWS], others[first : first + _ROWS]
        rows = np.zeros((len(at[0]), found.shape[1]))
        rows[np.arange(len(rows)), labels[at[0]]] = 1
        rows[np.arange(len(rows)), at[1]] -= 1
        found[at] = climbed(known, start, rows, at[0], ROUNDS)
    return found


def climbed(
    known: Known, start: str, rows: np.ndarray, image: np.ndarray, rounds: int
) -> np.ndarray:
    """Lower bounds (n,) of rows (n, F) over a vector, at least those of `engine.lowest`."""
    mine = known.take(image)
    own = np.arange(len(rows))
    best = np.full(len(rows), -np.inf)
    for number in range(rounds + 1):
        met: dict[str, Region] = {}
        bound, _ = engine.lowest(mine, start, Region(rows), own, met=met)
        best = np.maximum(best, bound)
        if number < rounds:
            _turn(mine, met, _STEP * (1 - number / rounds))
    return best


def _turn(known: Known, met: dict[str, Region], step: float) -> None:
    """Changes the lower lines of every function on the way back."""
    graph, values = known.graph, {}
    for node in graph.program.nodes:
        if node.name not in known.intervals:
            break
        xs = [values[name] for name in node.inputs]
        box = known.intervals[node.name]
        if isinstance(node, Input | State):
            values[node.name] = _corner(met, node, box)
            continue
        form = graph.forms[node.name]
        if not isinstance(form, FunctionForm) or node.name not in met:
            values[node.name] = form.interval(*(Interval(x, x) for x in xs)).low
            continue
        positive = whole(met[node.name], node.shape).values > 0
        z, changed = form.scale * xs[0], []
        for function, one in zip(form.functions, known.lines[node.name], strict=True):
            below = one.below_slope * z + one.below
            above = one.above_slope * z + one.above
            changed.append((function, z, one))
            z = np.where(positive, below, above)
        values[node.name] = z
        if changed:
            weight = np.maximum(whole(met[node.name], node.shape).values, 0)
            ends = form.ends(known.intervals[node.input])[0]
            function, at, one = changed[0]
            known.lines[node.name][0] = _better(function, ends, weight, at, one, step)


def _corner(met: dict[str, Region], node, box: Interval) -> np.ndarray:
    """Where the rows are smallest."""
    if node.name not in met:
        return box.low
    return np.where(whole(met[node.name], node.shape).values > 0, box.low, box.high)


def _better(function, ends: Interval, weight, at, one: Lines, step: float) -> Lines:
    """Lower lines turned to where they are higher at a point."""
    if function.lower is None:
        return one
    free, pivot = function.pivot(*ends)
    slope = np.where(free, weight * (at - pivot), 0)
    flat = np.abs(slope).reshape(len(slope), -1)
    size = flat.sum(1) / np.maximum((flat > 0).sum(1), 1)
    size = np.maximum(size, 1e-30).reshape(-1, *(1,) * (slope.ndim - 1))
    turned = one.below_slope + step * np.clip(slope / size, -1, 1)
    chosen = np.where(free, np.clip(turned, 0, 1), one.below_slope)
    below = np.where(free, function.lower(*ends, chosen), one.below)
    return one._replace(below_slope=chosen, below=below)
