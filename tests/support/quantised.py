"""Tiny quantised networks: of a trained run, and of random integers with every export."""

import json
import shutil
from pathlib import Path

import integers
import numpy as np
import pytest
import runs

from configs import registry
from configs.network import Conv, Dense, Flatten, Network, Pool
from quant import cli, exports, files, golden, stage
from quant.network import IntNetwork
from quant.settings import Quantization
from train import data
from train import stage as training
from train.probe import command
from train.progress import Display

QUIET = Display(quiet=True)
# What most tests ask for: calibration alone, on few images.
AS_IT_IS = Quantization(epochs=0, calibration_images=64)
FINE_TUNED = Quantization(epochs=2, calibration_images=64)
# Without its pictures and without JAX devices of its own, in this process.
QUICK = """
import sys
from quant import cli, stage
stage.write_pictures = lambda folder, **keywords: None
"""
MAIN = """
sys.exit(cli.main(sys.argv[1:]))
"""


def train(folder: Path, config: str = runs.CONFIG) -> Path:
    """A run directory with a finished training, made in this process."""
    folder.mkdir(parents=True)
    path = folder / "config.py"
    path.write_text(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "write_pictures", lambda folder, **keywords: [])
        training.run(registry.load_experiment(str(path)), folder / "run", display=QUIET)
    return folder / "run"


def quantise(folder: Path, settings: Quantization = AS_IT_IS, **keywords) -> dict:
    """The stage in this process, without pictures; its metrics."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "write_pictures", lambda folder, **keywords: None)
        return stage.run(folder, settings, display=QUIET, **keywords)


def main(*arguments) -> int:
    """`python -m quant ARGUMENTS` in this process, whose JAX devices are chosen already.

    A refusal of the parser is its exit status too.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "write_pictures", lambda folder, **keywords: None)
        patch.setattr(cli, "all_cores", lambda: 1)
        patch.setattr(command, "all_cores", lambda: 1)
        try:
            return cli.main([str(argument) for argument in arguments])
        except SystemExit as end:
            return end.code


def small(activation: str = "relu") -> IntNetwork:
    """Two features of a convolution, a pooling and a dense layer, of random integers."""
    layers = (
        Conv(features=2, activation=activation),
        Pool(),
        Flatten(),
        Dense(features=3, activation="identity"),
    )
    network = Network(input_shape=(5, 5, 1), layers=layers)
    return integers.filled(network, classes=("zero", "one", "two"))


def contents(network: IntNetwork, formats=exports.FORMATS) -> dict[str, bytes]:
    """Every file but manifest and tensors, by name."""
    found = {exports.module(n).FILE: exports.module(n).encode(network) for n in formats}
    return found | golden.write(network, integers.images(network.network, 1))


def write(network: IntNetwork, folder: Path, further: dict[str, bytes]) -> Path:
    """The stage folder of a network with these files."""
    files.save(network, folder / "quant", source={"name": "small"}, files=further)
    return folder / "quant"


def copied(source: Path, target: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(source, target)
    return target


def listing(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but for the lock that says who writes there."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in paths
        if path.name != ".lock"
    }


def with_moved_data(run: Path, folder: Path) -> tuple[Path, Path]:
    """Makes a run one on a file that is gone; where its data is now, and other data."""
    path = run / "config.json"
    config = json.loads(path.read_text())
    held = data.load(training.load(run).experiment.data)
    config["data"]["path"] = str(folder / "gone.npz")
    path.write_text(json.dumps(config))
    for name, first in (("elsewhere", 0), ("other", 1)):
        np.savez(
            folder / f"{name}.npz",
            x_train=held.train.images ^ np.uint8(first),
            y_train=held.train.labels,
            x_test=held.test.images,
            y_test=held.test.labels,
        )
    return folder / "elsewhere.npz", folder / "other.npz"
