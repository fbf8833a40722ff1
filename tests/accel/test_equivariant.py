"""A rotation-equivariant network goes through all three stages like any other."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import quantised

from accel.machines.machine import Systolic
from accel.verify import stage
from accel.verify.run import Setup
from configs import registry, schema, stored
from configs.network import Conv, Dense, GlobalPool, Network, Pool
from quant import fast, files
from train import data
from train import stage as training

# mnist_p4cnn with fewer layers and maps, on few images; sizes 28, 14, 12, 6, 4, 1.
WHOLE = schema.smoke(registry.load_experiment("mnist_p4cnn"))
NETWORK = Network(
    input_shape=(28, 28, 1),
    layers=(
        Pool(kind="mean"),
        Conv(features=8, symmetry="lift"),
        Pool(),
        Conv(features=12, symmetry="p4"),
        GlobalPool(),
        Dense(features=10, activation="identity", symmetry="p4"),
    ),
)
EXPERIMENT = dataclasses.replace(
    WHOLE,
    network=NETWORK,
    data=dataclasses.replace(WHOLE.data, source="embedded", limit=128),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Trained, quantised without fine-tuning and exported; with what pictures got."""
    folder, drawn = tmp_path_factory.mktemp("equivariant") / "run", []
    with pytest.MonkeyPatch.context() as patch:
        draw = lambda folder, **keywords: drawn.append(keywords["model"])
        patch.setattr(training, "write_pictures", draw)
        metrics = training.run(EXPERIMENT, folder, display=quantised.QUIET)
    return folder, metrics, drawn, quantised.quantise(folder)


def test_training_counts_what_is_learned_and_keeps_the_config(run):
    folder, metrics, _, _ = run
    assert metrics["parameters"] == EXPERIMENT.network.parameters
    assert metrics["macs"] == EXPERIMENT.network.macs
    kept = json.loads((folder / "config.json").read_text())
    assert stored.from_dict(kept) == EXPERIMENT
    assert metrics["dataset"]["name"] == "mnist_rotated"


def test_what_follows_gets_ordinary_layers_with_the_same_outputs(run):
    folder, metrics, [drawn], _ = run
    trained = training.load(folder)
    assert trained.experiment.network == EXPERIMENT.network.lowered()
    assert trained.model.network == drawn.network == trained.experiment.network
    test = data.load(trained.experiment.data).test
    predicted = np.argmax(jax.jit(trained.model)(test.images), -1)
    assert np.mean(predicted == test.labels) == metrics["test_accuracy"]


def test_every_runtime_agrees_to_the_bit(run):
    *_, metrics = run
    assert {"numpy", "jax", "onnxruntime", "litert", "stablehlo"} <= set(
        metrics["runtimes"]
    )
    assert all(found["mismatches"] == 0 for found in metrics["runtimes"].values())


def test_the_array_computes_the_same_bits(run):
    folder = run[0]
    machine = Systolic(rows=16, cols=16)
    report = stage.run_verify(folder, Setup(machine=machine), images=1)
    assert report["verified"] is True
    products = {layer["name"]: layer for layer in report["layers"]}
    macs = {info.name: info.macs for info in EXPERIMENT.network.walk() if info.weights}
    assert {name: layer["macs"] for name, layer in products.items()} == macs


def test_the_integer_network_is_invariant_to_the_bit(run):
    """Orientations have equal scales and sums in whole numbers, so that a turn of the
    image by 90 degrees changes no logit (without fine-tuning, which would not keep it)."""
    network = files.load(run[0] / "quant").network
    images = data.load(EXPERIMENT.data).test.images
    logits = fast.compile(network)
    upright = np.asarray(logits(images))
    assert len(np.unique(upright, axis=0)) > 100
    for k in (1, 2, 3):
        turned = np.ascontiguousarray(np.rot90(images, k, (1, 2)))
        np.testing.assert_array_equal(np.asarray(logits(turned)), upright)
