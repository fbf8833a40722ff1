"""The quantisation stage: what it writes, what it refuses, how it goes on."""

import dataclasses
import json

import numpy as np
import pytest
import quantised
from PIL import Image

from configs.errors import InputError
from quant import exports, files, golden, normative, stage
from quant.exports import onnx_qdq
from quant.settings import Quantization
from train import data
from train import stage as training

# The contract with scripts.
KEYS = {
    "test_accuracy_float", "test_accuracy_qat", "test_accuracy_int8", "runtimes",
    "size_bytes", "fake_quant_logit_max_diff",
}  # fmt: skip


def tensors(folder) -> bytes:
    return (folder / "quant" / files.TENSORS).read_bytes()


def test_the_metrics_hold_what_the_contract_says(fine_tuned_run):
    folder, metrics = fine_tuned_run
    assert json.loads((folder / "quant/metrics.json").read_text()) == metrics
    assert metrics.keys() >= KEYS
    assert list(metrics["runtimes"]) == [
        "numpy", "jax", "onnxruntime", "litert", "stablehlo",
    ]  # fmt: skip
    for name, found in metrics["runtimes"].items():
        assert (found["images"], found["logits"], found["mismatches"]) == (256, 2560, 0), (
            name
        )
    network = files.load(folder / "quant").network
    assert metrics["size_bytes"] == network.size_bytes() == 834
    assert metrics["float_size_bytes"] == 3000
    for name, size in metrics["files"].items():
        assert (folder / "quant" / name).stat().st_size == size
    assert metrics["settings"]["epochs"] == 2
    assert metrics["training_s"] > 0


def test_the_accuracies_are_those_of_the_three_networks(fine_tuned_run):
    folder, metrics = fine_tuned_run
    trained = training.load(folder)
    test = data.load(trained.experiment.data).test
    assert metrics["test_accuracy_float"] == trained.metrics["test_accuracy"]
    network = files.load(folder / "quant").network
    logits = normative.run(network, test.images)
    right = np.mean(np.argmax(logits, 1) == test.labels)
    assert metrics["test_accuracy_int8"] == pytest.approx(right)
    step = metrics["logit_step"]
    assert step == network.output.scale
    assert metrics["fake_quant_logit_max_diff"] % step == 0
    assert (metrics["fake_quant_logit_max_diff"] > 0) == (
        metrics["fake_quant_logits_different"] > 0
    )
    assert abs(metrics["test_accuracy_qat"] - right) < 0.05


def test_the_folder_holds_the_fine_tuned_run_network(fine_tuned_run):
    folder, metrics = fine_tuned_run
    held = {path.name for path in (folder / "quant").iterdir()}
    assert held == {
        ".lock", "activations.png", "checkpoint", "golden", "manifest.json", "metrics.json",
        "model.onnx", "model.safetensors", "model.stablehlo", "model.tflite",
        "settings.json", "weights.png",
    }  # fmt: skip
    manifest = files.load(folder / "quant").manifest
    assert files.verify_files(folder / "quant", manifest) == []
    assert manifest["files"].keys() == {files.TENSORS, *metrics["files"]}
    trained = training.load(folder).metrics
    for name in ("config_sha256", "parameters_sha256"):
        assert manifest["source"][name] == trained[name]
    assert manifest["source"]["dataset_sha256"] == trained["dataset"]["sha256"]
    for name in ("weights.png", "activations.png"):
        with Image.open(folder / "quant" / name) as picture:
            assert np.ptp(np.asarray(picture.convert("L"))) > 100


def test_training_is_left_as_it_was(fine_tuned_run, trained_run):
    folder, _ = fine_tuned_run
    outside = lambda path: {
        name: content
        for name, content in quantised.listing(path).items()
        if not name.startswith("quant/")
    }
    assert outside(folder) == outside(trained_run)
    assert len(outside(folder)) > 5


def test_fine_tuning_changes_the_weights(fine_tuned_run, quantised_run):
    assert tensors(fine_tuned_run[0]) != tensors(quantised_run)
    assert not (quantised_run / "quant/checkpoint").exists()


# A result that is there.


def test_a_result_is_refused_replaced_or_kept(finished):
    before = quantised.listing(finished)
    with pytest.raises(InputError, match="already holds a quantised network"):
        quantised.quantise(finished)
    with pytest.raises(InputError, match="exclude each other"):
        quantised.quantise(finished, resume=True, overwrite=True)
    assert quantised.listing(finished) == before
    (finished / "quant/golden/left.mem").write_text("from before\n")
    metrics = quantised.quantise(finished, formats=("onnx",), overwrite=True)
    assert list(metrics["runtimes"]) == ["numpy", "jax", "onnxruntime"]
    held = {path.name for path in (finished / "quant").rglob("*")}
    assert not held & {"model.tflite", "model.stablehlo", "left.mem"}
    assert tensors(finished) == before["quant/model.safetensors"]


def test_overwriting_keeps_what_a_sweep_found(finished):
    (finished / "quant" / "sweep.json").write_text("{}")
    (finished / "quant" / "left_over.txt").write_text("")
    quantised.quantise(finished, overwrite=True)
    assert (finished / "quant" / "sweep.json").read_text() == "{}"
    assert not (finished / "quant" / "left_over.txt").exists()


def test_golden_vectors_know_the_class_of_their_image(finished):
    index = json.loads((finished / "quant" / golden.INDEX).read_text())
    dataset = training.load_data(training.load(finished))
    assert index["labels"] == dataset.test.labels[: index["images"]].tolist()


def test_a_refused_overwrite_keeps_the_old_result(finished):
    before = quantised.listing(finished)
    with pytest.raises(InputError, match="golden"):
        quantised.quantise(finished, golden_images=200, overwrite=True)
    assert quantised.listing(finished) == before


def test_two_processes_cannot_write_into_one_folder(run):
    from train import rundir

    with rundir.lock(run / "quant"), pytest.raises(InputError, match="in use by another"):
        quantised.quantise(run, formats=())
    assert quantised.listing(run / "quant") == {}


# Refusals that leave nothing behind.


def damage_config(run, monkeypatch):
    path = run / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "seed": config["seed"] + 1}))
    return {}


def damage_data(run, monkeypatch):
    path = run / "train/metrics.json"
    metrics = json.loads(path.read_text())
    metrics["dataset"]["sha256"] = "0" * 64
    path.write_text(json.dumps(metrics))
    return {}


def damage_parameters(run, monkeypatch):
    for path in (run / "train/checkpoint").rglob("*"):
        if path.is_file():
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
    return {}


def no_layer_fits(run, monkeypatch):
    reason = "a shape of tomorrow"
    monkeypatch.setattr(
        onnx_qdq, "unsupported", lambda layer: reason if layer.name == "pool2" else None
    )
    return {}


def too_many_images(run, monkeypatch):
    return {"golden_images": 200}


def unknown_layer(run, monkeypatch):
    return {"settings": Quantization(epochs=0, layers=("conv9=w4",))}


REFUSALS = [
    (damage_config, "is not the one this run was trained with"),
    (damage_data, r"was trained on mnist \(embedded\) with SHA-256 000000000000, but"),
    (damage_parameters, "does not hold the parameters of this run"),
    (
        no_layer_fits,
        "`pool2` cannot be exported to model.onnx: it has a shape of tomorrow; leave the "
        r"format out with --formats tflite stablehlo\.$",
    ),
    (too_many_images, r"`--golden-images` \(=200\) must be at most"),
    (unknown_layer, r"`layers` \(=conv9=w4\) must name a layer with weights"),
]


@pytest.mark.parametrize(("prepare", "message"), REFUSALS)
def test_what_does_not_go_together_is_refused_before_anything_is_written(
    run, monkeypatch, prepare, message
):
    keywords = prepare(run, monkeypatch)
    before = quantised.listing(run)
    with pytest.raises(InputError, match=message):
        quantised.quantise(run, **keywords)
    assert quantised.listing(run) == before
    assert not (run / "quant").exists()


def test_a_format_that_a_layer_does_not_fit_may_be_left_out(run, monkeypatch):
    """The refusal's own way out."""
    no_layer_fits(run, monkeypatch)
    message = r"leave the format out with --formats \(and nothing after it\)\.$"
    with pytest.raises(InputError, match=message):
        quantised.quantise(run, formats=("onnx",))
    metrics = quantised.quantise(run, formats=("tflite",), golden_images=0)
    assert list(metrics["runtimes"]) == ["numpy", "jax", "litert"]
    assert list(metrics["files"]) == ["model.tflite"]
    assert not (run / "quant/golden").exists()


def test_a_folder_without_a_trained_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"there is no .*train first"):
        quantised.quantise(tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


# Widths.


def test_widths_and_overrides_reach_the_network(run):
    settings = Quantization(
        epochs=0, calibration_images=64, weight_bits=4, activation_bits=4,
        layers=("conv1=w5a6", "last=w3"),
    )  # fmt: skip
    metrics = quantised.quantise(run, settings, formats=("onnx", "tflite"))
    layers = {layer["name"]: layer for layer in metrics["layers"]}
    widths = {n: (w["weight_bits"], w["activation_bits"]) for n, w in layers.items()}
    # The output keeps eight bits.
    assert widths == {"conv1": (5, 6), "dense1": (3, 8)}
    network = files.load(run / "quant").network
    assert np.abs(network.weighted["conv1"].weights).max() == 15
    assert np.abs(network.weighted["dense1"].weights).max() == 3
    assert network.weighted["conv1"].output.high == 63


def test_four_bits_everywhere(run):
    settings = Quantization(
        epochs=0, calibration_images=64, weight_bits=4, activation_bits=4
    )
    metrics = quantised.quantise(run, settings, formats=("onnx", "tflite"))
    assert all(found["mismatches"] == 0 for found in metrics["runtimes"].values())
    network = files.load(run / "quant").network
    test = data.load(training.load(run).experiment.data).test
    for step in normative.steps(network, test.images[:50]):
        if step.layer.name == "conv1":
            assert step.output.max() <= 15
    for w in network.weighted.values():
        assert np.abs(w.weights).max() == 7


# Regression, vectors.


@pytest.fixture(scope="module")
def regression(tmp_path_factory):
    """A run of sine_mlp with few examples and steps."""
    from configs import registry, schema

    folder = tmp_path_factory.mktemp("regression") / "run"
    experiment = schema.smoke(registry.load_experiment("sine_mlp"))
    experiment = dataclasses.replace(experiment, widths=())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "write_pictures", lambda folder, **keywords: [])
        training.run(experiment, folder, display=quantised.QUIET)
    return folder


def test_a_regression_on_vectors_is_quantised_and_exported(regression, tmp_path):
    folder = quantised.copied(regression, tmp_path / "run")
    metrics = quantised.quantise(folder)
    for what in ("float", "qat", "int8"):
        assert metrics[f"test_accuracy_{what}"] is None
        assert metrics[f"test_mse_{what}"] > 0
    assert metrics["task"] == "regression"
    assert set(metrics["runtimes"]) >= {"onnxruntime", "litert", "stablehlo"}
    assert all(found["mismatches"] == 0 for found in metrics["runtimes"].values())
    assert len(files.load(folder / "quant").network.network.input_shape) == 1
    test = data.load(training.load(folder).experiment.data).test
    network = files.load(folder / "quant").network
    real = normative.run(network, test.images) * np.float64(network.output.scale)
    wanted = np.mean((real - test.labels) ** 2)
    assert metrics["test_mse_int8"] == pytest.approx(wanted, rel=1e-5)


def test_every_format_is_judged_by_its_own_file(run, monkeypatch):
    """The proof reads back what was written, not what is in memory."""
    seen = {}
    real = stage.equivalence.prove

    def prove(network, contents, images, **keywords):
        seen.update(contents)
        return real(network, {}, images, **keywords)

    monkeypatch.setattr(stage.equivalence, "prove", prove)
    quantised.quantise(run)
    for name in exports.FORMATS:
        assert seen[name] == (run / "quant" / exports.module(name).FILE).read_bytes()
