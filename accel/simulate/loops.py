"""The sequential machines of the lecture, which loop over a product: mac, dot, tile."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int8, Integer

from accel.machines.machine import Dot, Mac, Tile
from accel.simulate import mac, trees
from accel.simulate.simulation import Run
from configs.checks import require


def run(
    machine: Mac | Dot | Tile,
    x_GMK: Integer[np.ndarray, "g m k"],
    w_KN: Int8[np.ndarray, "k n"],
    *,
    edges: int | None = None,
) -> Run:
    """Steps G products side by side until their last result, or for `edges` edges.

    Raises:
      InputError: the storage of `machine` cannot hold the partial sums of a row.
      LostResultError: `edges` are too few.
    """
    if isinstance(machine, Mac):
        return mac.run(machine, x_GMK, w_KN, edges=edges)
    if isinstance(machine, Tile) and machine.loop == "inputs":
        columns, words = w_KN.shape[1], machine.sum_words
        sentence = f"must hold a row of {columns} partial sums; raise it or loop outputs."
        require(machine, words is None or words >= columns, "sum_words", sentence)
    return trees.run(machine, x_GMK, w_KN, edges=edges)
