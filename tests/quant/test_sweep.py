"""The sweep over bit widths: its records, its table, its picture."""

import json

import numpy as np
import pytest
import quantised
from PIL import Image
from rich.console import Console

from configs.errors import InputError
from quant import fit, normative, sweep
from quant.settings import Quantization
from train import stage as training

pytestmark = pytest.mark.slow

TRIED = [(8, 8, 0), (8, 3, 0), (3, 8, 0), (3, 3, 0), (8, 8, 1), (3, 3, 1)]


@pytest.fixture(scope="module")
def swept(trained_run, tmp_path_factory):
    """Two widths, with and without training; nobody writes into the folder."""
    folder = quantised.copied(trained_run, tmp_path_factory.mktemp("swept") / "run")
    return folder, sweep.sweep(folder, (8, 3), 1, display=quantised.QUIET)


def keys(points):
    return [(p["weight_bits"], p["activation_bits"], p["epochs"]) for p in points]


def test_every_pair_is_tried_and_equal_widths_are_trained(swept):
    folder, result = swept
    assert json.loads((folder / "quant/sweep.json").read_text()) == result
    assert keys(result["points"]) == TRIED
    assert all(0 <= p["test_accuracy_int8"] <= 1 for p in result["points"])
    trained = training.load(folder).metrics
    assert result["test_accuracy_float"] == trained["test_accuracy"]
    assert result["images"] == 256
    assert result["parameters_sha256"] == trained["parameters_sha256"]
    assert "jax" in result["versions"]


def test_each_record_is_what_the_integers_of_these_widths_score(swept):
    folder, result = swept
    trained = training.load(folder)
    dataset = training.load_data(trained)
    for weights, activations in ((8, 8), (3, 3)):
        settings = Quantization(weight_bits=weights, activation_bits=activations, epochs=0)
        network = fit.quantise(trained, dataset, settings).network
        logits = normative.run(network, dataset.test.images)
        right = np.mean(np.argmax(logits, 1) == dataset.test.labels)
        (point,) = (p for p in result["points"] if keys([p]) == [(weights, activations, 0)])
        assert point["test_accuracy_int8"] == pytest.approx(right)


def printed(result) -> list[str]:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(sweep.table(result))
    return [" ".join(line.split()) for line in capture.get().splitlines()]


def test_the_table_has_a_row_for_each_width_of_the_weights():
    points = [
        {"weight_bits": w, "activation_bits": a, "epochs": e, "test_accuracy_int8": v / 100}
        for (w, a, e), v in zip(TRIED, (95, 91, 93, 42, 96, 88), strict=True)
    ]
    assert printed({"points": points, "score": "accuracy"}) == [
        "integers, % A8 A3 W = A, trained",
        "W8 95.00 91.00 96.00",
        "W3 93.00 42.00 88.00",
    ]
    untrained = {"points": points[:4], "score": "accuracy"}
    assert printed(untrained)[0] == "integers, % A8 A3"
    for point in points:
        point["test_mse_int8"] = point.pop("test_accuracy_int8")
    assert printed({"points": points, "score": "mse"})[1] == "W8 9.50e-01 9.10e-01 9.60e-01"


def test_the_picture_shows_every_pair_and_both_lines(swept):
    folder, result = swept
    with Image.open(folder / "quant/sweep.png") as picture:
        assert np.ptp(np.asarray(picture.convert("L"))) > 100
    left, right = sweep.figure(result).axes[:2]
    assert [line.get_label() for line in left.get_lines()][:2] == [
        "post-training", "fine-tuned",
    ]  # fmt: skip
    wanted = [100 * result["points"][i]["test_accuracy_int8"] for i in (3, 0)]
    assert left.get_lines()[0].get_ydata() == pytest.approx(wanted)
    shown = right.images[0].get_array()
    pairs = {k[:2]: p for k, p in zip(TRIED[:4], result["points"][:4], strict=True)}
    assert shown[0, 1] == pytest.approx(100 * pairs[3, 8]["test_accuracy_int8"])
    assert len(right.texts) == 4


def test_the_command_prints_the_table_and_where_it_is(run, capsys):
    arguments = ("sweep", "--run", run, "--bits", "4", "--epochs", "0")
    assert quantised.main(*arguments) == 0
    out, err = capsys.readouterr()
    assert "A4" in out
    assert f"{run}/quant/sweep.json, sweep.png" in out
    assert "W4 A4, 0 epochs of training" in err
    result = json.loads((run / "quant/sweep.json").read_text())
    assert keys(result["points"]) == [(4, 4, 0)]
    # A sweep is no quantised network: one can still be made.
    assert quantised.quantise(run, formats=(), golden_images=0)["runtimes"]


def test_a_sweep_of_other_data_is_refused(run):
    path = run / "train/metrics.json"
    metrics = json.loads(path.read_text())
    metrics["dataset"]["sha256"] = "1" * 64
    path.write_text(json.dumps(metrics))
    with pytest.raises(InputError, match="was trained on"):
        sweep.sweep(run, (8,), 0, display=quantised.QUIET)
    assert not (run / "quant").exists()
