"""The products of an array together are the product in groups."""

import numpy as np
import pytest

from accel.predict.grouped import Plan
from accel.verify.pieces import pieces
from configs.network import Conv, LstmCell, Network


def product(*layers, shape):
    return Network(input_shape=shape, layers=layers).program.products[0]


@pytest.mark.parametrize("together", [1, 2, 3, 4, 6])
def test_blocks_on_the_diagonal(together):
    conv = Conv(features=12, groups=6, kernel=(2, 1))
    node = product(conv, shape=(4, 3, 6))
    draw = np.random.default_rng(0)
    x = draw.integers(0, 256, (node.positions, 6 * node.K))
    w = draw.integers(1, 128, (node.K, node.features))
    found = np.zeros((len(x), node.features), int)
    sizes = []
    for piece in pieces(node, Plan("diagonal", together), w):
        sizes.append(len(piece.repeats))
        assert piece.w_KN.shape == (sizes[-1] * node.K, sizes[-1] * node.N)
        assert np.count_nonzero(piece.w_KN) == sizes[-1] * node.K * node.N
        found[:, piece.columns] += x[:, piece.inputs] @ piece.w_KN
    assert sum(sizes) == 6
    assert max(sizes) == together
    for group in range(6):
        right = x[:, 2 * group : 2 * group + 2] @ w[:, 2 * group : 2 * group + 2]
        np.testing.assert_array_equal(found[:, 2 * group : 2 * group + 2], right)


def test_gates_take_the_same_inputs():
    node = product(LstmCell(features=3, gates="separate"), shape=(5,))
    w = np.arange(5 * 12).reshape(5, 12)
    found = list(pieces(node, Plan(), w))
    assert [piece.inputs for piece in found] == [slice(0, 5)] * 4
    assert [piece.columns.start for piece in found] == [0, 3, 6, 9]
    assert [piece.name for piece in found] == [f"group {gate}" for gate in range(4)]
