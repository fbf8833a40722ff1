"""Shapes for the six applications of the TPU paper, which publishes sums alone.

Its table 1 gives for each application the kinds and numbers of its layers, its weights
and its batch; shapes are given in two places only (matrices of 600 x 600 in LSTM1, a Go
board in CNN0). What is built here is assumed, by one rule: the published number of
layers, all equal, as large as the published weights allow. What differs from the table is
said in each file. Vector (element by element) layers are not modelled.

References:
  Jouppi et al., In-datacenter performance analysis of a tensor processing unit,
  ISCA 2017, arXiv:1704.04760, tables 1 and 3.
"""

from __future__ import annotations

import math
from typing import Literal

from configs.network import Conv, Dense, Flatten, Layer, LstmCell, Network, Pool


def square_mlp(layers: int, weights: int) -> Network:
    """Equal square matrices: side = round(sqrt(weights / layers))."""
    side = round(math.sqrt(weights / layers))
    return Network(input_shape=(side,), layers=(Dense(features=side),) * layers)


def lstm(cells: int, features: int, gates: Literal["joined", "separate"]) -> Network:
    """Equal cells, one after the other, the input as wide as the state."""
    cell = LstmCell(features=features, gates=gates)
    return Network(input_shape=(features,), layers=(cell,) * cells)


def pooled_cnn(weights: int, macs_per_weight: float) -> Network:
    """72 equal convolutions and 13 poolings on one map, then 4 equal square matrices.

    With C channels, maps of S x S, and q x q left by the last pooling,

        weights = (648 + 4 q^4) C^2        72 * 9 C^2 in 3 x 3, 4 * (q^2 C)^2 in dense
        macs    = (648 S^2 + 4 q^4) C^2

    The last pooling is 3 x 3 / 3, so q = floor(S / 3); S is the one whose macs / weights
    comes nearest to `macs_per_weight`, then C follows from the weights.
    """
    convolutions, dense = 72 * 9, 4

    def reuse(size: int) -> float:
        flat = dense * (size // 3) ** 4
        return (convolutions * size**2 + flat) / (convolutions + flat)

    size = min(range(3, 64), key=lambda size: abs(reuse(size) - macs_per_weight))
    left = size // 3
    features = round(math.sqrt(weights / (convolutions + dense * left**4)))
    layers: list[Layer] = []
    for _ in range(12):
        layers += [Conv(features=features, padding="zero")] * 6
        layers.append(Pool(window=(3, 3), stride=(1, 1), padding="zero"))
    layers += [Pool(window=(3, 3), stride=(3, 3)), Flatten()]
    layers += [Dense(features=left**2 * features)] * dense
    return Network(input_shape=(size, size, features), layers=tuple(layers))
