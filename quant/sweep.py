"""Accuracy against bit width: every pair of widths untrained, equal widths trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from configs.tables import Figures
from quant import normative
from quant.fit import PACKAGES, calibration_values, quantise
from quant.measure import scores_of_integers
from quant.network import IntNetwork
from quant.settings import Quantization
from train import rundir
from train import stage as training
from train.dataset import Dataset
from train.plots import BLUE, GRAY, ORANGE, canvas, dress, save
from train.progress import Display
from train.versions import versions
from train.where import Where


def sweep(
    folder: Path,
    bits: Sequence[int],
    epochs: int,
    *,
    where: Where | None = None,
    display: Display | None = None,
) -> dict:
    """Quantises a trained run to each pair of widths; writes sweep.json and sweep.png.

    Returns:
      `points`: one record per network, with `weight_bits`, `activation_bits`, `epochs`
      and `test_accuracy_int8` (for regression `test_mse_int8`).
    """
    display = display or Display()
    trained = training.load(folder)
    dataset = training.load_data(trained, where)
    task = trained.experiment.task
    tried = [(w, a, 0) for w in bits for a in bits]
    tried += [(b, b, epochs) for b in bits] if epochs else []
    seen = calibration_values(trained, dataset, Quantization())
    points = []
    for weights, activations, passes in tried:
        settings = Quantization(
            weight_bits=weights, activation_bits=activations, epochs=passes
        )
        network = quantise(trained, dataset, settings, seen=seen).network
        point = {"weight_bits": weights, "activation_bits": activations, "epochs": passes}
        points.append(point | _score(network, dataset, task))
        value = list(points[-1].values())[-1]
        display.say(f"W{weights} A{activations}, {passes} epochs of training: {value:.4f}")
    score = "accuracy" if task == "classification" else "mse"
    result = {
        "name": trained.experiment.name,
        "score": score,
        f"test_{score}_float": trained.metrics[f"test_{score}"],
        "points": points,
        "images": len(dataset.test),
        "dataset": trained.metrics["dataset"],
        "parameters_sha256": trained.metrics["parameters_sha256"],
        "versions": versions(PACKAGES),
    }
    stage = folder / "quant"
    with rundir.writing(stage):
        stage.mkdir(parents=True, exist_ok=True)
        save(figure(result), stage / "sweep.png")
    rundir.write_json(stage / "sweep.json", result)
    return result


def _score(network: IntNetwork, dataset: Dataset, task: str) -> dict[str, float]:
    outputs = normative.run(network, dataset.test.images)
    found = scores_of_integers(outputs, network.output, dataset.test.labels, task)
    name = "accuracy" if task == "classification" else "mse"
    return {f"test_{name}_int8": found[name]}


def _value(result: dict, weights: int, activations: int, trained: bool) -> float | None:
    key = f"test_{result['score']}_int8"
    for point in result["points"]:
        same = (point["weight_bits"], point["activation_bits"]) == (weights, activations)
        if same and bool(point["epochs"]) == trained:
            return point[key]
    return None


def _bits(result: dict) -> list[int]:
    return sorted({point["weight_bits"] for point in result["points"]}, reverse=True)


def table(result: dict) -> Figures:
    """Rows weights, columns activations; the last column after training."""
    bits = _bits(result)
    show = (
        (lambda value: f"{100 * value:.2f}")
        if result["score"] == "accuracy"
        else (lambda value: f"{value:.2e}")
    )
    unit = "%" if result["score"] == "accuracy" else "squared error"
    trained = any(point["epochs"] for point in result["points"])
    more = ["W = A, trained"] if trained else []
    found = Figures(f"integers, {unit}", *(f"A{width}" for width in bits), *more)
    for weights in bits:
        row = [show(_value(result, weights, activations, False)) for activations in bits]
        row += [show(_value(result, weights, weights, True))] if trained else []
        found.add_row(f"W{weights}", *row)
    return found


def figure(result: dict) -> Figure:
    """Equal widths with and without training, and every pair without."""
    bits, score = _bits(result)[::-1], result["score"]
    percent = 100 if score == "accuracy" else 1
    unit = "accuracy, %" if score == "accuracy" else "mean squared error"
    floating = percent * result[f"test_{score}_float"]
    picture, _ = canvas(
        10.0, 3.9, f"{result['name']}: {score} against bit width",
        f"Integer networks on {result['images']:,} test images. Left: weights and "
        "activations of the same width, quantised after training or fine-tuned with fake "
        "quantisation. Right: every pair of widths, without fine-tuning.",
    )  # fmt: skip
    left, right = picture.subplots(1, 2)
    for trained, colour in ((False, BLUE), (True, ORANGE)):
        values = [_value(result, b, b, trained) for b in bits]
        if None not in values:
            label = "fine-tuned" if trained else "post-training"
            scaled = [percent * value for value in values]
            left.plot(bits, scaled, color=colour, marker="o", ms=4, label=label)
    left.axhline(floating, color=GRAY, ls=":", lw=1, label=f"float {floating:.4g}")
    dress(left, "Weights and activations alike")
    left.set_xlabel("bits")
    left.set_ylabel(unit)
    left.set_xticks(bits)
    left.legend(frameon=False, fontsize=9)
    grid = np.array([[percent * _value(result, w, a, False) for a in bits] for w in bits])
    right.imshow(grid, cmap="Blues", origin="lower", aspect="auto", alpha=0.6)
    for row, column in np.ndindex(grid.shape):
        text = f"{grid[row, column]:.4g}"
        right.text(column, row, text, ha="center", va="center", size=8)
    right.set_xticks(range(len(bits)), bits)
    right.set_yticks(range(len(bits)), bits)
    right.set_title("Every pair, post-training", loc="left", size=10)
    right.set_xlabel("bits of activations")
    right.set_ylabel("bits of weights")
    return picture
