"""A network as works: the same products, the inputs' shapes, what is chained."""

import pytest

from accel.cost.works import works
from accel.gemm import gemms
from configs.network import Conv, Dense, Flatten, LstmCell, Network, Pool, Residual
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


@pytest.mark.parametrize(("gates", "count"), [("joined", 1), ("separate", 2)])
def test_a_cell_is_chained_to_nothing(gates: str, count: int) -> None:
    """Its products are gates, not its output."""
    cell, dense = LstmCell(features=4, gates=gates), Dense(features=4)
    found = _chained(dense, cell, dense, dense, shape=(4,))
    assert found == [False, *[False] * count, False, True]
