"""A network as matrix products: sizes against a convolution written out, and batches."""

import doctest

import integers
import pytest

from accel import gemm
from accel.gemm import Gemm, batches, gemms


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
