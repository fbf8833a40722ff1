"""The pictures of a finished training run: what it learned, and how well.

Classification: learning_curves, confusion, mistakes; for images also filters,
feature_maps, strongest_patches and maximised. Regression: learning_curves and fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from configs.schema import Experiment
from train.dataset import Dataset
from train.features import Ascent, maximise, peaks
from train.fits import fit_figure, widths_figure
from train.functions import FUNCTIONS
from train.insight import feature_maps, filters, maximised, picked_units, strongest
from train.mosaics import Panel, Row, message_figure, panel_figure, picture
from train.plots import confusion, learning_curves, save, short

Figures = Iterator[tuple[str, Figure]]

# Test images that pictures of activations look at, and mistakes that are shown.
_LOOKED_AT = 2000
_MISTAKES = 60
# Multiplications that one such picture may cost; larger networks are looked at less.
_MACS = 10**12


def write_pictures(
    folder: Path,
    *,
    model,
    experiment: Experiment,
    dataset: Dataset,
    log: Sequence[dict],
    predictions: np.ndarray,
    key: jax.Array,
) -> list[Path]:
    """Draw every picture that suits the experiment into `folder`.

    Args:
      log: one row per epoch, with the losses and scores.
      predictions: (N, F) outputs of the network for the whole test set, in order.
      key: start of the activation maximisation.

    Raises:
      ValueError: predictions and test set differ in number.
    """
    if len(predictions) != len(dataset.test.labels):
        raise ValueError(
            f"`predictions` (={len(predictions)} rows) must hold one row for each of the "
            f"{len(dataset.test.labels)} test examples; predict the whole test set."
        )
    draw = _regression if experiment.task == "regression" else _classification
    figures = draw(model, experiment, dataset, log, np.asarray(predictions), key)
    folder.mkdir(parents=True, exist_ok=True)
    return [save(figure, folder / f"{name}.png") for name, figure in figures]


def write_widths(folder: Path, *, function_name: str, fits: Sequence[dict]) -> Path:
    """Draw a function and its fits at several hidden widths into `widths.png`.

    Args:
      fits: dicts with `width`, `test_mse` and `outputs`, (N, 1) over the whole grid
        (one variable: p = 0..255; two: p = 0, 4, ..., 252, the first slowest).
    """
    axis, points = grid(function_name)
    target = FUNCTIONS[function_name](points / 256)
    shape = (len(axis),) * points.shape[1]
    shaped = [fit | {"outputs": np.reshape(fit["outputs"], shape)} for fit in fits]
    figure = widths_figure(axis, target.reshape(shape), shaped, name=function_name)
    folder.mkdir(parents=True, exist_ok=True)
    return save(figure, folder / "widths.png")


def grid(function_name: str) -> tuple[np.ndarray, np.ndarray]:
    """Values x = p / 256 of one axis (n,), and all points of the domain (N, dims) uint8."""
    dims = FUNCTIONS[function_name].dims
    axis = np.arange(0, 256, 1 if dims == 1 else 4, dtype=np.uint8)
    points = np.stack(np.meshgrid(*[axis] * dims, indexing="ij"), axis=-1)
    return axis / 256, points.reshape(-1, dims)


def confusion_counts(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Images of each true class (rows) that are taken for each class (columns)."""
    flat = np.bincount(labels * classes + predicted, minlength=classes**2)
    return flat.reshape(classes, classes)


def mistakes(predictions: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images taken for a wrong class, most confident first.

    Returns:
      Indices, and the probability that the network gave to each wrong class.
    """
    predicted = predictions.argmax(axis=-1)
    exponents = np.exp(predictions - predictions.max(axis=-1, keepdims=True))
    confidence = 1 / exponents.sum(axis=-1)
    wrong = np.flatnonzero(predicted != labels)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")]
    return order, confidence[order]


def _curves(name: str, dataset: Dataset, log: Sequence[dict]) -> Figures:
    held_out = "test" if dataset.validation is None else "validation"
    if log:
        yield "learning_curves", learning_curves(log, name=name, held_out=held_out)


def _regression(model, experiment, dataset, log, predictions, key) -> Figures:
    name = experiment.name
    yield from _curves(name, dataset, log)
    if experiment.data.name not in FUNCTIONS:
        return
    axis, points = grid(experiment.data.name)
    shape = (len(axis),) * points.shape[1]
    target = FUNCTIONS[experiment.data.name](points / 256).reshape(shape)
    fit = np.asarray(jax.jit(model)(points)).reshape(shape)
    mse = float(np.mean(np.square(predictions - dataset.test.labels)))
    tests = dataset.test.images[:, 0] / 256, dataset.test.labels[:, 0]
    yield "fit", fit_figure(axis, target, fit, tests, name=name, mse=mse)


def _classification(model, experiment, dataset, log, predictions, key) -> Figures:
    name, labels = experiment.name, dataset.test.labels
    classes = [str(label) for label in dataset.classes]
    # Outputs beyond the classes of the set have only their numbers.
    classes += map(str, range(len(classes), predictions.shape[1]))
    predicted = predictions.argmax(axis=-1)
    yield from _curves(name, dataset, log)
    counts = confusion_counts(labels, predicted, len(classes))
    yield "confusion", confusion(counts, name=name, classes=classes)
    if len(experiment.network.input_shape) != 3:
        return
    yield "mistakes", _mistakes_figure(name, dataset, predictions, classes)
    yield from _inside(model, dataset, predicted, key, name, classes)


def _inside(model, dataset, predicted, key, name, classes) -> Figures:
    """What an image network looks for, layer by layer."""
    network, labels = model.network, dataset.test.labels
    images = dataset.test.images[: _affordable(_LOOKED_AT, 100, network.macs)]
    right = np.flatnonzero(predicted[: len(images)] == labels[: len(images)])
    sample = images[right[0] if len(right) else 0]
    drawn = filters(model, sample, name=name)
    if drawn:
        yield "filters", drawn
    yield "feature_maps", feature_maps(model, sample, name=name, classes=classes)
    found = peaks(model, images)
    units = picked_units(network, found)
    some = "first " if len(images) < len(labels) else ""
    context = {
        "name": name,
        "classes": classes,
        "looked": f"the {some}{len(images):,} test images",
    }
    yield "strongest_patches", strongest(network, units, found, images, **context)
    best = np.array([found[unit.layer].value[:, unit.channel].max() for unit in units])
    steps = _affordable(Ascent.steps, 30, 3 * len(units) * network.macs)
    ascent = Ascent(steps=steps, rest=float(np.median(images)))
    searched = maximise(model, units, best, ascent, key=key)
    yield "maximised", maximised(network, units, searched, best, ascent, **context)


def _affordable(most: int, fewest: int, macs: int) -> int:
    """How often work of `macs` multiplications fits into about half a minute of CPU."""
    return max(fewest, min(most, _MACS // macs))


def _mistakes_figure(name, dataset, predictions, classes) -> Figure:
    test = dataset.test
    wrong, confidence = mistakes(predictions, test.labels)
    title = f"{name}: mistakes, most confident first"
    if not len(wrong):
        text = f"All {len(test.labels):,} test images are right."
        return message_figure(title=title, note=text, message="No mistakes")
    predicted = predictions.argmax(axis=-1)
    names = [short(label, 7) for label in classes]
    panels = []
    for index, chance in zip(wrong[:_MISTAKES], confidence, strict=False):
        true, taken = names[test.labels[index]], names[predicted[index]]
        texts = {"title": f"{true} → {taken}", "note": f"{chance:.0%}"}
        if max(map(len, names)) > 3:
            texts = {"title": true, "note": f"→ {taken} {chance:.0%}"}
        panels.append(Panel(image=picture(test.images[index]), **texts))
    some = "all" if len(panels) == len(wrong) else f"the first {len(panels)} of"
    note = (
        f"Test images taken for a wrong class, {some} {len(wrong):,}: true class → "
        "predicted class, and the probability that the network gives to its wrong answer."
    )
    return panel_figure([Row(label="", panels=panels)], title=title, note=note, columns=10)
