"""Quantisation, sweep and both probes take the place of data that was moved."""

import json
import re

import pytest
import quantised

from train import cli as training_cli
from train.probe import command
from train.probe import stage as probing


@pytest.fixture
def moved(finished, tmp_path):
    """A quantised run, where its data is now, and other data."""
    return finished, *quantised.with_moved_data(finished, tmp_path)


def test_every_command_takes_the_place_of_the_data(moved, monkeypatch, capsys):
    run, elsewhere, other = moved
    probed = []

    def probe(contenders, folder, trained, dataset, *rest, **how):
        probed.append(dataset.sha256)
        raise training_cli.InputError("`stop` here.")

    def train(*words):
        return training_cli.main([str(word) for word in words])

    monkeypatch.setattr(probing, "run", probe)
    # Of this process, whose JAX devices are chosen already.
    monkeypatch.setattr(command, "all_cores", lambda: 1)
    calibration = ("--epochs", "0", "--calibration-images", "16", "--golden-images", "0")
    commands = [
        (quantised.main, ("probe", "--run", run), 2),
        (train, ("probe", "--run", run), 2),
        (quantised.main, ("sweep", "--run", run, "--bits", "8", "--epochs", "0"), 0),
        (
            quantised.main,
            ("--run", run, "--overwrite", *calibration, "--formats", "onnx"),
            0,
        ),
    ]
    for start, words, status in commands:
        assert start(*words) == 2
        assert "error: `--data.path` (=" in capsys.readouterr().err

        assert start(*words, "--data.path", other) == 2
        assert len(set(re.findall(r"\b[0-9a-f]{12}\b", capsys.readouterr().err))) == 2
        assert start(*words, "--data.path", elsewhere) == status
        capsys.readouterr()
    trained = json.loads((run / "train/metrics.json").read_text())
    assert probed == [trained["dataset"]["sha256"]] * 2
