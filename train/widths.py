"""Universal approximation, shown: the same network at several hidden widths."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from configs.schema import Experiment
from train.dataset import Dataset
from train.evaluate import scores
from train.fit import prepare
from train.mesh import place
from train.pictures import grid, write_widths
from train.progress import Display
from train.session import Trainer


def with_width(experiment: Experiment, width: int) -> Experiment:
    """The experiment with `width` neurons in every hidden layer."""
    *hidden, last = experiment.network.layers
    narrowed = tuple(
        dataclasses.replace(layer, features=width) if hasattr(layer, "features") else layer
        for layer in hidden
    )
    network = dataclasses.replace(experiment.network, layers=(*narrowed, last))
    return dataclasses.replace(experiment, network=network, widths=())


def write_fits(
    folder: Path, experiment: Experiment, dataset: Dataset, display: Display
) -> Path:
    """Trains the network at each of `experiment.widths`; draws target against fit."""
    _, points = grid(experiment.data.name)
    fits = []
    for width in experiment.widths:
        fit = prepare(with_width(experiment, width), dataset)
        outcome = Trainer(
            fit, folder=None, display=Display(quiet=True), identity={}
        ).finish()
        found = scores(outcome.outputs, dataset.test.labels, "regression")
        display.say(f"width {width}: test squared error {found['mse']:.2e}")
        outputs = fit.predict(place(outcome.params, fit.mesh), points)
        fits.append({"width": width, "test_mse": found["mse"], "outputs": outputs})
    return write_widths(folder, function_name=experiment.data.name, fits=fits)
