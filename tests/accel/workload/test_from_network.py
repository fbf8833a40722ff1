"""A network as works: the same products, the inputs' shapes, what is chained."""

import pytest

from accel.workload.from_network import works
from accel.workload.gemm import gemms
from configs.network import (
    Concat,
    Conv,
    Dense,
    Flatten,
    Lstm,
    LstmCell,
    Network,
    Pool,
    Residual,
)
from configs.registry import load_network


@pytest.mark.parametrize(
    "name", ["vgg16", "alexnet", "mobilenet_v1", "resnet18", "tpu_lstm1"]
)
def test_the_products_are_those_of_gemms(name: str) -> None:
    """Names, sizes, repeats and multiplications, for three images."""
    found, wanted = works(load_network(name), 3), gemms(load_network(name), 3)
    fields = ("name", "images", "M", "K", "N", "repeats", "macs")
    rows = [[tuple(getattr(one, f) for f in fields) for one in a] for a in (found, wanted)]
    assert rows[0] == rows[1]


def test_rows_of_a_grouped_strided_convolution() -> None:
    """By hand: 11 x 9 x 4 in two groups, kernel 5 x 3, stride 2 x 3."""
    conv = Conv(features=6, kernel=(5, 3), stride=(2, 3), groups=2)
    (work,) = works(Network(input_shape=(11, 9, 4), layers=(conv,)))
    assert (work.out_rows, work.out_cols, work.kernel_rows, work.stride) == (4, 3, 5, 2)
    assert work.row_bytes == ((3 - 1) * 3 + 3) * 2
    assert work.input_bytes == 11 * 9 * 4
    assert (work.repeats, work.K, work.N) == (2, 30, 3)


def test_rows_of_a_dilated_convolution() -> None:
    """By hand: taps 2 and 3 apart reach over 5 rows and 4 columns."""
    conv = Conv(features=6, kernel=(3, 2), dilation=(2, 3))
    (work,) = works(Network(input_shape=(9, 8, 2), layers=(conv,)))
    assert (work.out_rows, work.out_cols, work.kernel_rows) == (5, 5, 5)
    assert work.row_bytes == 8 * 2
    assert work.input_bytes == 9 * 8 * 2


def test_steps_of_a_recurrence_share_their_weights() -> None:
    """28 products of one weight matrix: multiplied 28 times, held once."""
    layers = (Lstm(features=16), Dense(features=10))
    network = Network(input_shape=(28, 28, 1), layers=layers)
    steps, last = works(network, 3)
    assert (steps.name, steps.repeats, steps.weight_sets) == ("lstm1", 28, 1)
    assert (steps.M, steps.K, steps.N) == (3, 28 + 16, 4 * 16)
    assert steps.macs == 3 * 28 * 44 * 64
    assert steps.weight_bytes + last.weight_bytes == network.weights
    assert not steps.chained
    assert not last.chained
    assert sum(gemm.macs for gemm in gemms(network, 3)) == steps.macs + last.macs


def test_branches_chain_inside_themselves_only() -> None:
    """Their input is used by all of them, and what follows reads all of them."""
    conv = Conv(features=4, padding="zero")
    block = Concat(branches=((conv, conv), (conv,)))
    assert _chained(conv, block, conv) == [False, False, True, False, False]


def _chained(*layers, shape=(8, 8, 4)) -> list[bool]:
    return [work.chained for work in works(Network(input_shape=shape, layers=layers))]


def test_a_sequence_is_chained_through_pooling() -> None:
    """All but the first layer."""
    conv = Conv(features=4, padding="zero")
    assert _chained(conv, Pool(), conv, Flatten(), Dense(features=3)) == [False, True, True]


def test_a_residual_block_chains_inside_its_paths_only() -> None:
    """Its input is used twice, its output is a sum; neither belongs to a neighbour."""
    conv = Conv(features=4, padding="zero")
    block = Residual(body=(conv, conv), shortcut=(conv, conv))
    assert _chained(conv, block, conv, conv) == [False] + [False, True] * 2 + [False, True]


def test_a_block_without_weights_breaks_the_chain() -> None:
    """What comes after it reads a sum all the same."""
    conv = Conv(features=4, padding="zero")
    block = Residual(body=(Pool(window=(1, 1), stride=(1, 1)),))
    assert _chained(conv, block, conv) == [False, False]


@pytest.mark.parametrize(
    ("gates", "cells"), [("joined", [False]), ("separate", [True, False])]
)
def test_what_a_cell_is_chained_to(gates: str, cells: list[bool]) -> None:
    """Its products are gates, not its output; they take the state too, but where the
    product of the input alone takes what the layer before puts out."""
    cell, dense = LstmCell(features=4, gates=gates), Dense(features=4)
    found = _chained(dense, cell, dense, dense, shape=(4,))
    assert found == [False, *cells, False, True]
