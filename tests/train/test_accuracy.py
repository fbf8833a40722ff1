"""The networks learn what they are said to learn, from the command line a user types."""

import json

import pytest
import runs


def trained(config, folder, *arguments):
    """Metrics of `python -m train --config ...`, drawings left out."""
    status, out, err = runs.train(
        "--config", config, "--run", folder / "run", "--json", *arguments
    )
    assert status == 0, err
    return json.loads(out)


@pytest.mark.slow
def test_mnist_cnn_reads_the_embedded_digits(tmp_path):
    metrics = trained("mnist_cnn", tmp_path, "--data.source", "embedded")
    assert metrics["dataset"]["train"] == 4_000
    assert metrics["dataset"]["test"] == 1_000
    assert metrics["test_accuracy"] >= 0.97


@pytest.mark.slow
def test_sine_mlp_fits_its_function(tmp_path):
    """The target's variance is 0.625: the fit explains all but a thousandth of it."""
    metrics = trained("sine_mlp", tmp_path, "--widths", "2")
    assert metrics["test_accuracy"] is None
    assert metrics["test_mse"] < 6e-4


@pytest.mark.slow
@pytest.mark.full_data
def test_mnist_cnn_fast_reads_mnist(tmp_path):
    metrics = trained("mnist_cnn_fast", tmp_path, "--data.source", "tfds")
    assert metrics["dataset"]["train"] == 60_000
    assert metrics["test_accuracy"] >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize(
    "config", ["mnist_mlp", "mnist_cnn_gap", "sine_mlp", "ripple_mlp", "mnist_cnn_fast"]
)
def test_every_config_runs_in_smoke_mode(config, tmp_path):
    arguments = () if config.endswith("e_mlp") else ("--data.source", "embedded")
    metrics = trained(config, tmp_path, "--smoke", *arguments)
    assert metrics["epochs"] == 1
