"""The products that an array does for one product of a network: its groups, as planned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int8, Integer

from accel.predict.grouped import Plan
from configs.program import Product


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One product of the array, and where it stands in that of the layer."""

    # Repeats of the layer's product that it does.
    repeats: range
    # Columns of the left factor that it takes, and of the product that it gives.
    inputs: slice
    columns: slice
    # Its right factor; of several repeats the blocks on its diagonal.
    w_KN: Int8[np.ndarray, "k n"]

    @property
    def name(self) -> str:
        """
        >>> Piece(repeats=range(4, 6), inputs=slice(0), columns=slice(0), w_KN=None).name
        'groups 4..5'
        """
        first, last = self.repeats[0], self.repeats[-1]
        return f"group {first}" if first == last else f"groups {first}..{last}"


def pieces(node: Product, plan: Plan, w_KN: Integer[np.ndarray, "k rn"]) -> Iterator[Piece]:
    """In the order done; the vector unit is not asked."""
    K, N = node.K, node.N
    for first in range(0, node.repeats, plan.together):
        repeats = range(first, min(first + plan.together, node.repeats))
        columns = slice(first * N, repeats.stop * N)
        # Parts of one group take the same inputs.
        group = first // node.parts
        yield Piece(
            repeats=repeats,
            inputs=slice(group * K, (group + len(repeats)) * K),
            columns=columns,
            w_KN=_diagonal(w_KN[:, columns], len(repeats)),
        )


def _diagonal(w_KN: np.ndarray, blocks: int) -> np.ndarray:
    """Blocks that stand side by side, on the diagonal."""
    if blocks == 1:
        return w_KN
    K, N = w_KN.shape[0], w_KN.shape[1] // blocks
    full = np.zeros((blocks * K, blocks * N), w_KN.dtype)
    for index in range(blocks):
        columns = slice(index * N, (index + 1) * N)
        full[index * K : (index + 1) * K, columns] = w_KN[:, columns]
    return full
