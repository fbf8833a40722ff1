"""What the commands print: the figures of the metrics, paths whole, mismatches named."""

import copy
import json

import pytest

from quant import summary


@pytest.fixture
def metrics(quantised_run):
    return json.loads((quantised_run / "quant/metrics.json").read_text())


def printed(capsys, show, *arguments) -> list[str]:
    show(*arguments)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_the_summary_shows_the_figures(metrics, quantised_run, capsys):
    lines = printed(capsys, summary.print_summary, metrics, quantised_run)
    shown = [
        f"{100 * metrics[f'test_accuracy_{what}']:.2f} %"
        for what in ("float", "qat", "int8")
    ]
    assert lines[0] == (
        "test accuracy float {}, fake-quantised {}, integers {}".format(*shown)
    )
    assert f"(one step is {metrics['logit_step']:g})" in lines[1]
    assert lines[2] == "size 834 bytes, 3.6x less than float32"
    for one in metrics["layers"]:
        low, high = one["multipliers"]
        row = f"{one['name']} 8/8 {one['output']} {low}..{high} 16 "
        assert any(line.startswith(row) for line in lines)
    for name in ("numpy", "jax", "onnxruntime", "litert", "stablehlo"):
        assert f"{name} 256 2,560 0" in lines
    assert lines[-2] == f"next python -m accel verify --run {quantised_run}"
    assert lines[-1] == f"python -m quant predict --run {quantised_run} IMAGE.png"
    (written,) = (line for line in lines if line.startswith("written "))
    names = (
        "metrics.json, manifest.json, model.safetensors, model.onnx, model.stablehlo, "
        "model.tflite, golden/"
    )
    start, _, rest = written.removeprefix("written ").partition("/quant/")
    assert start == str(quantised_run)
    assert sorted(rest.split(", ")) == sorted(names.split(", "))


def test_a_mismatch_is_counted_and_located(metrics, quantised_run, capsys):
    wrong = copy.deepcopy(metrics)
    sentence = "image 3: `conv1` at (0, 1, 2) is 7, not [8]"
    wrong["runtimes"]["litert"] |= {"mismatches": 12345, "first_mismatch": sentence}
    lines = printed(capsys, summary.print_summary, wrong, quantised_run)
    assert "litert 256 2,560 12,345" in lines
    # No markup: brackets come out as they are.
    assert f"litert: {sentence}" in lines


def test_a_regression_shows_squared_errors(metrics, quantised_run, capsys):
    other = {**metrics, "task": "regression"}
    other |= {"test_mse_float": 0.25, "test_mse_qat": 0.5, "test_mse_int8": 1e-3}
    lines = printed(capsys, summary.print_summary, other, quantised_run)
    assert lines[0] == (
        "test squared error float 2.500e-01, fake-quantised 5.000e-01, integers 1.000e-03"
    )


def test_checks_are_ok_or_a_sentence(tmp_path, capsys):
    folder = tmp_path / ("long" * 40)
    good = {"model.onnx": "", "jax": ""}
    assert printed(capsys, summary.print_checks, good, folder) == [
        "model.onnx ok", "jax ok", "", f"{folder}/quant: everything agrees",
    ]  # fmt: skip
    bad = {**good, "hashes": "`a [b]` is missing"}
    assert printed(capsys, summary.print_checks, bad, folder) == [
        "model.onnx ok", "jax ok", "hashes `a [b]` is missing", "",
        f"{folder}/quant: 1 of 3 checks failed",
    ]  # fmt: skip


def test_predictions_are_ranked(capsys):
    one = {
        "picture": "a[1].png", "note": "", "class": "7", "probability": 0.918,
        "then": [{"class": "1", "probability": 0.05}, {"class": "9", "probability": 0.03}],
        "outputs": [1, 2], "hint": "",
    }  # fmt: skip
    hint = "looks inverted: try `--invert`"
    numbers = {"picture": "b.png", "note": "", "outputs": [0.5, 1.5], "hint": hint}
    assert printed(capsys, summary.print_predictions, [one, numbers]) == [
        "picture class probability then",
        "a[1].png 7 91.8 % 1 5.0 %, 9 3.0 %",
        "b.png [0.5, 1.5]",
        "hint b.png: looks inverted: try `--invert`",
    ]
