"""Which images no change within a budget can have misjudged, by the cheapest proof."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from train.certify import engine, slopes
from train.certify.engine import Graph, Known
from train.certify.forms import Interval

# From the cheapest to the closest.
METHODS = ("interval bounds", "CROWN-IBP", "CROWN", "alpha-CROWN")
# Images that are bounded together.
_CHUNK = 8
_THREADS = 2

# (known, value, labels) -> lower bounds (B, F) of value[label] - value[f].
Differences = Callable[[Known, str, np.ndarray], np.ndarray]
# Whether the class is sure (B,), given how differences are bounded.
Decide = Callable[[Known, np.ndarray, Differences], np.ndarray]


def separated(known: Known, labels: np.ndarray, bound: Differences) -> np.ndarray:
    """Whether the label's output is above all others."""
    output = known.graph.program.output.name
    margins = bound(known, output, labels)
    own = np.arange(margins.shape[1])[None] == labels[:, None]
    return (margins > 0)[~own].reshape(len(labels), -1).all(1)


def proved(
    graph: Graph,
    pixels: Interval,
    labels: np.ndarray,
    decide: Decide = separated,
    methods: Sequence[str] = METHODS,
) -> np.ndarray:
    """The first of METHODS that proves each image, as its place from 1; 0 where none does.

    Args:
      pixels: what the network can be given, (n, *shape).
      methods: which of them may be tried.
    """
    parts = [
        slice(first, first + _CHUNK) for first in range(0, max(len(labels), 1), _CHUNK)
    ]

    def each(part: slice) -> np.ndarray:
        box = Interval(pixels.low[part], pixels.high[part])
        return _chunk(graph, box, labels[part], decide, methods)

    with ThreadPoolExecutor(_THREADS) as pool:
        return np.concatenate(list(pool.map(each, parts)))


def _chunk(graph, pixels: Interval, labels, decide: Decide, methods) -> np.ndarray:
    found = np.zeros(len(labels), np.int64)
    if not len(labels):
        return found
    known = engine.forward(graph, pixels)
    linear = None
    for number, method in enumerate(METHODS, 1):
        left = np.flatnonzero(found == 0)
        if method not in methods or not len(left):
            continue
        bound: Differences = engine.differences
        mine = known.take(left)
        if method == "interval bounds":
            bound = partial(engine.differences, stop=graph.program.steps[-1].inputs)
        if method in METHODS[2:]:
            if linear is None:
                rest, linear = left, engine.refined(graph, _some(pixels, left))
            mine = linear.take(np.searchsorted(rest, left))
        if method == "alpha-CROWN":
            near = slopes.hopeful(mine, labels[left])
            found[left[near]] = number * _climbed(
                mine.take(np.flatnonzero(near)), labels[left[near]], decide
            )
            continue
        found[left[decide(mine, labels[left], bound)]] = number
    return found


def _some(pixels: Interval, images: np.ndarray) -> Interval:
    return Interval(pixels.low[images], pixels.high[images])


def _climbed(known: Known, labels: np.ndarray, decide: Decide) -> np.ndarray:
    """Whether slopes of their own prove images: at the end alone, then everywhere."""
    if not len(labels):
        return np.zeros(0, bool)
    sure = decide(known, labels, slopes.differences)
    left = np.flatnonzero(~sure)
    if len(left):
        closer = slopes.sharpened(known.take(left))
        sure[left] = decide(closer, labels[left], slopes.differences)
    return sure
