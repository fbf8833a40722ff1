"""The networks of MNIST on the 16x16 array, real digits, every register of every cycle."""

import integers
import pytest

from accel.machines.machine import Systolic
from accel.verify.run import Setup
from accel.verify.verify import verify
from configs.registry import load_experiment
from configs.schema import Data
from train import data


@pytest.fixture(scope="module")
def digits():
    """The 1,000 test images that come with the installation."""
    return data.load(Data(source="embedded")).test.images


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "batch", "cycles"),
    [
        ("mnist_cnn", 100, 10 * (67_646 + 18 * 12_146 + 200 * 146 + 4 * 146)),
        ("mnist_cnn", 1, 1000 * (722 + 18 * 167 + 200 * 47 + 4 * 47)),
        ("mnist_mlp", 100, None),
    ],
)
def test_every_bit_and_every_cycle(digits, config, batch, cycles):
    network = integers.filled(load_experiment(config).network)
    found = verify(network, digits, Setup(machine=Systolic(), batch=batch))
    assert found.holds, found.mismatch and found.mismatch.sentence()
    assert found.wrong == 0
    assert found.compared > 1000 * 10
    # Tiles of 2 * 16 + M + 16 - 2 cycles, counted by hand.
    assert cycles is None or found.total.cycles == cycles
