"""Float, fake-quantised and integer networks under one probe, from a real run."""

import dataclasses
import json

import masked
import numpy as np
import probes
import pytest
import quantised

from configs.errors import InputError
from quant import cli, files, normative, probe, twin
from train import stage as training
from train.attack.target import Target
from train.judge import Classifier
from train.probe import gates, show, stage
from train.probe.rows import Contender
from train.probe.table import select

SETTINGS = dataclasses.replace(
    probes.TINY,
    sections=("attacks", "certificates", "fgsm"),
    images=8,
    eps=(0.1,),
    eps_l2=(),
)


@pytest.fixture(scope="module")
def probed(quantised_run, tmp_path_factory):
    """A run with its probe, and what the probe returned; nobody writes into it."""
    folder = quantised.copied(quantised_run, tmp_path_factory.mktemp("probe") / "run")
    return folder, probe.probe(folder, SETTINGS)


def test_one_table_has_the_three_networks(probed) -> None:
    _, found = probed
    assert list(found["models"]) == ["float", "qat", "int8"]
    for name in ("clean", "fgsm", "certificate", "attack", "headline"):
        assert {one["model"] for one in select(found["rows"], probe=name)} == {
            "float", "qat", "int8",
        }  # fmt: skip
    assert set(found["headline"]) == {"eps", "norm", "n", "float", "qat", "int8"}


def test_clean_accuracies_are_those_of_the_stages(probed) -> None:
    folder, found = probed
    metrics = json.loads((folder / "quant" / "metrics.json").read_text())
    for one in select(found["rows"], probe="clean"):
        assert one["accuracy"] == metrics[f"test_accuracy_{one['model']}"]


def test_worst_inputs_score_again_as_reported(probed) -> None:
    """By the normative integers, from the file alone."""
    folder, found = probed
    network = files.load(folder / "quant").network
    with np.load(folder / "quant" / "worst_inputs.npz") as worst:
        images = worst["adversarial_int8"]
        clean, labels, broken = worst["images"], worst["labels"], worst["broken_int8"]
    classes = normative.run(network, images).argmax(-1)
    np.testing.assert_array_equal(classes != labels, broken)
    assert np.abs(images.astype(int) - clean).max() <= 25
    (head,) = select(found["rows"], probe="headline", model="int8")
    assert head["correct"] == (~broken).sum()


def test_differences_are_listed_image_by_image(probed) -> None:
    folder, found = probed
    with np.load(folder / "quant" / "worst_inputs.npz") as worst:
        expected = np.flatnonzero(worst["broken_float"] != worst["broken_int8"])
    assert [one["image"] for one in found["differences"]] == expected.tolist()


def test_pictures_and_files_are_there_and_parts_are_gone(probed) -> None:
    folder, _ = probed
    names = {path.name for path in (folder / "quant").iterdir()}
    assert {"probes.json", "worst_inputs.npz", "robust_curve.png", "adversarial.png"} <= (
        names
    )
    assert "probes.parts" not in names


def test_a_probe_is_not_replaced_unasked(probed) -> None:
    folder, _ = probed
    with pytest.raises(InputError, match="--overwrite"):
        probe.probe(folder, SETTINGS)


def test_a_run_trained_again_is_refused(quantised_run, tmp_path) -> None:
    folder = quantised.copied(quantised_run, tmp_path / "run")
    manifest = files.load(folder / "quant").manifest
    other = {**manifest["source"], "parameters_sha256": "0" * 64}
    content = {k: v for k, v in manifest.items() if k != "sha256"} | {"source": other}
    content["sha256"] = files.own_sha256(content)
    (folder / "quant" / "manifest.json").write_bytes(files._text(content))
    with pytest.raises(InputError, match="trained again"):
        probe.probe(folder, SETTINGS)


def test_a_probe_of_a_masked_network_is_refused(quantised_run, tmp_path) -> None:
    """The fault this suite is there for: plain rounding has no gradient, so attacks on
    the rounded network itself would call it robust. No number is printed or written."""
    folder = quantised.copied(quantised_run, tmp_path / "run")
    trained = training.load(folder)
    network = files.load(folder / "quant").network
    hidden = masked.masked(network)
    subject = Target(name="int8", predict=hidden, surrogate=hidden)
    blind = Contender(subject=subject, judge=Classifier(hidden), sha256="0" * 64)
    dataset = training.load_data(trained)
    with pytest.raises(gates.RefusedError, match="gradients reach the pixels"):
        stage.run([blind], folder / "quant", trained, dataset, SETTINGS)
    assert not (folder / "quant" / "probes.json").exists()
    sound = Contender(
        subject=twin.subject(network),
        judge=Classifier(twin.subject(network).predict),
        sha256="0" * 64,
    )
    assert gates.before(sound, stage.exam_of(dataset).first(8), SETTINGS)


def test_the_command_refuses_in_one_line(quantised_run, tmp_path, capsys) -> None:
    """Before it is quantised there is nothing to probe."""
    folder = quantised.copied(quantised_run, tmp_path / "run")
    (folder / "quant" / "manifest.json").unlink()
    assert quantised.main("probe", "--run", folder, "--quick") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_the_command_prints_the_table(quantised_run, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(show, "write_pictures", lambda folder, **keywords: [])
    monkeypatch.setenv("COLUMNS", "200")
    folder = quantised.copied(quantised_run, tmp_path / "run")
    given = (
        "probe", "--run", folder, "--quick", "--sections", "fgsm", "--cheap-images", "20",
    )  # fmt: skip
    assert quantised.main(*given) == 0
    out = capsys.readouterr().out
    assert "FGSM eps 0.3" in out
    assert "float %" in out
    assert "int8 %" in out
    assert f"next     python -m accel verify --run {folder}" in out
    assert cli.main(["probe", "--run", str(folder), "--images", "0"]) == 2
