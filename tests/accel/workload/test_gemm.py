"""A network as matrix products: sizes against a convolution written out, and batches."""

import doctest
import itertools

import integers
import numpy as np
import pytest

from accel.workload import gemm
from accel.workload.gemm import Gemm, batches, gemms
from configs import registry
from configs.network import Conv, LstmCell, Network


def test_the_products_of_a_small_cnn():
    """Sizes counted by hand: 9x8x2 images, 3x3 windows, pooling by two."""
    found = gemms(integers.spec("cnn"), 5)
    assert found == [
        Gemm("conv1", 5, 7 * 6, 3 * 3 * 2, 4),
        Gemm("conv2", 5, 3 * 3, 3 * 3 * 4, 5),
        Gemm("dense1", 5, 1, 3 * 3 * 5, 8),
        Gemm("dense2", 5, 1, 8, 3),
    ]
    assert [one.M for one in found] == [210, 45, 5, 5]


@pytest.mark.parametrize("name", integers.SPECS)
def test_products_hold_every_multiplication_of_the_network(name):
    network = integers.spec(name)
    macs = sum(one.macs for one in gemms(network))
    assert macs == sum(info.macs for info in network.walk())
    assert sum(one.macs for one in gemms(network, 7)) == 7 * macs


@pytest.mark.parametrize("images", range(1, 12))
@pytest.mark.parametrize("batch", range(1, 13))
def test_batches_hold_every_image_once(images, batch):
    found = batches(images, batch)
    assert sum(size * count for size, count in found) == images
    assert all(1 <= size <= batch and count >= 1 for size, count in found)
    # One size for whole batches, one more for what is left.
    assert len(found) == (images >= batch) + (images % batch > 0)
    assert [size for size, _ in found][:1] == [min(images, batch)]


def test_examples():
    assert doctest.testmod(gemm) == (0, 1)


# --- Groups, cells, blocks. ---


def test_groups_are_repeats_of_a_smaller_product():
    layers = (Conv(features=6, kernel=(3, 2), groups=2), Conv(features=6, groups=6))
    network = Network(input_shape=(7, 6, 4), layers=layers)
    grouped, depthwise = gemms(network, 3)
    assert grouped == Gemm("conv1", 3, 5 * 5, 3 * 2 * 2, 3, 2)
    assert depthwise == Gemm("conv2", 3, 3 * 3, 3 * 3, 1, 6)
    assert grouped.M == 75, "rows of one of the products"
    assert grouped.macs == 2 * 75 * 12 * 3


def test_repeats_compute_a_grouped_convolution():
    """The products of a convolution in groups, done one by one, are its outputs."""
    draw = np.random.default_rng(0)
    groups, C, F, R = 3, 6, 9, 2
    x = draw.integers(-9, 9, (4, 5, C))
    w = draw.integers(-9, 9, (R, R, C // groups, F))
    spec = Conv(features=F, kernel=(R, R), groups=groups)
    [gemm] = gemms(Network(input_shape=x.shape, layers=(spec,)))
    expected = np.zeros((3, 4, F), int)
    for p, q, f, r, s, c in itertools.product(*map(range, (3, 4, F, R, R, C // groups))):
        channel = f // (F // groups) * (C // groups) + c
        expected[p, q, f] += x[p + r, q + s, channel] * w[r, s, c, f]
    found = []
    for g in range(gemm.repeats):
        mine = x[..., g * C // groups : (g + 1) * C // groups]
        x_MK = np.array(
            [mine[p : p + R, q : q + R].ravel() for p in range(3) for q in range(4)]
        )
        w_KN = w[..., g * gemm.N : (g + 1) * gemm.N].reshape(gemm.K, gemm.N)
        assert x_MK.shape == (gemm.M, gemm.K)
        found.append(x_MK @ w_KN)
    np.testing.assert_array_equal(np.hstack(found).reshape(expected.shape), expected)


def test_gates_are_one_product_or_eight():
    network = Network(input_shape=(5,), layers=(LstmCell(features=3),))
    assert gemms(network, 7) == [Gemm("lstmcell1", 7, 1, 5 + 3, 4 * 3)]
    layers = (LstmCell(features=3, gates="separate"),)
    network = Network(input_shape=(5,), layers=layers)
    assert gemms(network, 7) == [
        Gemm("lstmcell1.input", 7, 1, 5, 3, 4, sharing=4),
        Gemm("lstmcell1.hidden", 7, 1, 3, 3, 4, sharing=4),
    ]


def test_blocks_are_taken_apart():
    found = gemms(registry.load_network("resnet18"))
    assert len(found) == 1 + 16 + 3 + 1
    shortcut = next(one for one in found if "shortcut" in one.name)
    assert shortcut == Gemm("residual3.shortcut.conv1", 1, 28 * 28, 64, 128)
    assert found[0] == Gemm("conv1", 1, 112 * 112, 7 * 7 * 3, 64)


@pytest.mark.parametrize("name", registry.known_names())
def test_products_hold_every_weight_and_multiplication_of_every_workload(name):
    network = registry.load_network(name)
    found = gemms(network, 3)
    assert sum(one.macs for one in found) == 3 * network.macs
    # Those of the ordinary layers that are deployed; of shared ones once.
    deployed = network.lowered().program
    pairs = zip(deployed.products, found, strict=True)
    held = {node.weights: one.repeats * one.K * one.N for node, one in pairs}
    assert sum(held.values()) == deployed.weights
    assert len({one.name for one in found}) == len(found)
