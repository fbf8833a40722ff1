"""Functions of one and two variables, as regression sets on a grid of uint8 inputs.

An input p stands for x = p * 2^-8, like a pixel. `sine` takes all 256 points, `ripple`
64 x 64 of them (p = 0, 4, ..., 252).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from train.dataset import SEED, Examples, Split, balanced_order


@dataclass(frozen=True, kw_only=True)
class Function:
    """A smooth function of variables in [0, 1); a call maps [N, dims] to [N, 1]."""

    name: str
    formula: str
    # Number of variables.
    dims: int
    # Float array [N, dims] to float array [N, 1].
    evaluate: Callable[[np.ndarray], np.ndarray]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.evaluate(x)


def _sine(x: np.ndarray) -> np.ndarray:
    # The third harmonic gives six bends: a ReLU layer needs a kink for each at least.
    return np.sin(2 * np.pi * x) + 0.5 * np.sin(6 * np.pi * x)


def _ripple(x: np.ndarray) -> np.ndarray:
    squared = np.sum((x - 0.5) ** 2, axis=1, keepdims=True)
    return np.exp(-4 * squared) * np.cos(4 * np.pi * np.sqrt(squared))


FUNCTIONS = {
    function.name: function
    for function in (
        Function(
            name="sine",
            formula="f(x) = sin(2 pi x) + 0.5 sin(6 pi x)",
            dims=1,
            evaluate=_sine,
        ),
        Function(
            name="ripple",
            formula="f(x, y) = exp(-4 r^2) cos(4 pi r), r^2 = (x - 0.5)^2 + (y - 0.5)^2",
            dims=2,
            evaluate=_ripple,
        ),
    )
}


def examples(name: str) -> Examples:
    """Grid points and targets; even points of `sine` train, 3/4 of `ripple` drawn."""
    function = FUNCTIONS[name]
    if function.dims == 1:
        points = np.arange(256, dtype=np.uint8)[:, None]
    else:
        axis = np.arange(0, 256, 4, dtype=np.uint8)
        grid = np.meshgrid(axis, axis, indexing="ij")
        points = np.stack([part.ravel() for part in grid], axis=1)
    targets = function(points * 2.0**-8).astype(np.float32)
    whole = Split(images=points, labels=targets)
    if function.dims == 1:
        train, test = np.arange(0, 256, 2), np.arange(1, 256, 2)
    else:
        order = balanced_order(targets, seed=SEED)
        test, train = np.sort(order[: len(order) // 4]), np.sort(order[len(order) // 4 :])
    return Examples(train=whole.take(train), test=whole.take(test), classes=())
