"""Quantised networks stay what they were, from the command line a user types."""

import json
import subprocess
import sys

import pytest
import runs

RUNTIMES = {"numpy", "jax", "onnxruntime", "litert", "stablehlo"}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """mnist_cnn, trained shortly on the embedded digits."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    status, _, err = runs.train(
        "--config", "mnist_cnn_fast", "--run", folder, "--data.source", "embedded",
        "--train.epochs", "20",
    )  # fmt: skip
    assert status == 0, err
    return folder


def quantised(folder, *arguments):
    """Metrics of `python -m quant`."""
    done = subprocess.run(
        [sys.executable, "-m", "quant", "--run", str(folder), "--overwrite", "--json",
         *arguments],
        capture_output=True, text=True, env=runs.environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "lost"),
    [
        ((), 0.005),
        (("--epochs", "0"), 0.005),
        (("--weight-bits", "4", "--activation-bits", "4"), 0.01),
        (
            (
                "--weight-bits", "2", "--activation-bits", "2", "--epochs", "10",
                "--learning-rate", "1e-3",
            ),
            0.05,
        ),
    ],
    ids=["w8a8", "untrained", "w4a4", "w2a2"],
)  # fmt: skip
def test_all_runtimes_read_the_embedded_digits_alike(digits, arguments, lost):
    """All logits of 1,000 images, tolerance zero; accuracy within `lost` of float."""
    metrics = quantised(digits, *arguments)
    assert set(metrics["runtimes"]) == RUNTIMES
    for name, found in metrics["runtimes"].items():
        counts = (found["images"], found["logits"], found["mismatches"])
        assert counts == (1_000, 10_000, 0), name
    assert metrics["test_accuracy_float"] >= 0.97
    assert metrics["test_accuracy_int8"] >= metrics["test_accuracy_float"] - lost


@pytest.mark.slow
@pytest.mark.full_data
def test_all_runtimes_read_the_full_mnist_alike(tmp_path):
    """All logits of 10,000 images, and accuracy within 0.1 point of float."""
    status, _, err = runs.train(
        "--config", "mnist_cnn_fast", "--run", tmp_path / "run", "--data.source", "tfds"
    )
    assert status == 0, err
    metrics = quantised(tmp_path / "run", "--epochs", "1")
    assert {found["logits"] for found in metrics["runtimes"].values()} == {100_000}
    assert not any(found["mismatches"] for found in metrics["runtimes"].values())
    assert metrics["test_accuracy_int8"] >= metrics["test_accuracy_float"] - 0.001
