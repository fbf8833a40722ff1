"""Which images no change within a budget can have misjudged, by the cheapest proof."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from train.certify import engine
from train.certify.engine import Graph, Known
from train.certify.forms import Interval

# From the cheapest to the closest.
METHODS = ("interval bounds", "CROWN-IBP", "CROWN")
# Images that are bounded together.
_CHUNK = 8
_THREADS = 2

# (known, labels, stop) -> whether the class is sure (B,); the way back ends at `stop`.
Decide = Callable[[Known, np.ndarray, tuple[str, ...]], np.ndarray]


def separated(known: Known, labels: np.ndarray, stop: tuple[str, ...]) -> np.ndarray:
    """Whether the label's output is above all others."""
    output = known.graph.program.output.name
    margins = engine.differences(known, output, labels, stop)
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
    last = graph.program.steps[-1].inputs
    known = engine.forward(graph, pixels)
    for number, method in enumerate(METHODS, 1):
        left = np.flatnonzero(found == 0)
        if method not in methods or not len(left):
            continue
        if method == "CROWN":
            some = Interval(pixels.low[left], pixels.high[left])
            mine = engine.refined(graph, some)
        else:
            mine = known.take(left)
        stop = last if method == "interval bounds" else ()
        found[left[decide(mine, labels[left], stop)]] = number
    return found
