"""The pictures of a quantised network: where its values lie, and the chosen ranges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from quant.calibrate import observe
from quant.fit import Fitted
from quant.measure import saturation
from quant.network import Format, IntNetwork, IntStep
from train.dataset import Dataset
from train.plots import BLUE, GRAY, ORANGE, canvas, dress, save
from train.stage import Trained

_COLUMNS = 4
_BINS = 101
# Test images whose activations are drawn, and on which saturation is counted.
_LOOKED_AT = 256


def write_pictures(
    folder: Path, *, trained: Trained, fitted: Fitted, dataset: Dataset
) -> None:
    """Draws weights.png and activations.png into `folder`."""
    name, network = trained.experiment.name, fitted.network
    images = dataset.test.images[:_LOOKED_AT]
    kernels = {
        layer.owner: np.asarray(fitted.model.kernel(layer.owner))
        for layer in _weighted(network)
    }
    save(weights_figure(network, kernels, name=name), folder / "weights.png")
    seen = observe(trained.experiment.network, trained.model, images)
    cut = saturation(network, images)
    save(activations_figure(network, seen, cut, name=name), folder / "activations.png")


def _weighted(network: IntNetwork) -> list[IntStep]:
    """For each set of weights the first step that uses it."""
    found: dict[str, IntStep] = {}
    for layer in network.walk():
        if layer.weighted:
            found.setdefault(layer.owner, layer)
    return list(found.values())


def weights_figure(
    network: IntNetwork, kernels: dict[str, np.ndarray], *, name: str
) -> Figure:
    """Histogram of every set of weights, each channel in units of its own step.

    Args:
      kernels: float weights by the name of the weights.
    """
    figure, panels = _panels(
        _weighted(network),
        f"{name}: weights on their grid",
        "Weights after training, divided by the step of their channel: the integer that a "
        "weight rounds to is the nearest one. Orange lines: the largest integers the width "
        "allows; what lies beyond is clipped to them.",
    )
    for axes, layer in panels:
        high = layer.weighted.weight_high
        steps = kernels[layer.owner] / layer.weight_scale()
        clipped = float(np.mean(np.abs(steps) > high + 0.5))
        _histogram(axes, steps.ravel(), -high, high)
        dress(axes, f"{layer.owner}: {layer.weighted.weight_bits} bits")
        axes.set_xlabel(f"weight / step, {100 * clipped:.2f} % clipped", size=8)
    return figure


def activations_figure(
    network: IntNetwork,
    seen: dict[str, np.ndarray],
    cut: dict[str, float],
    *,
    name: str,
) -> Figure:
    """Histogram of the float output of each layer with weights, with the range that its
    integers reach.

    Args:
      seen: float outputs by the name of the step.
      cut: parts that saturate by the name of the weights.
    """
    figure, panels = _panels(
        _weighted(network),
        f"{name}: activations and their ranges",
        f"Outputs of the float network for {_LOOKED_AT} test images, on a log scale. "
        "Orange lines: the least and the largest value that a layer's integers stand for.",
    )
    for axes, layer in panels:
        kind: Format = layer.output
        _histogram(axes, seen[layer.name], kind.low * kind.scale, kind.high * kind.scale)
        axes.set_yscale("log")
        sign = "int" if kind.signed else "uint"
        dress(axes, f"{layer.owner}: {sign}{kind.bits}, step 2^{kind.exponent}")
        axes.set_xlabel(f"value, {100 * cut[layer.owner]:.3f} % saturated", size=8)
    return figure


def _panels(
    layers: Sequence[IntStep], title: str, note: str
) -> tuple[Figure, list[tuple[Axes, IntStep]]]:
    columns = min(_COLUMNS, len(layers))
    rows = math.ceil(len(layers) / columns)
    figure, _ = canvas(max(2.6 * columns, 6.0), 2.3 * rows, title, note)
    return figure, [
        (figure.add_subplot(rows, columns, index + 1), layer)
        for index, layer in enumerate(layers)
    ]


def _histogram(axes: Axes, values: np.ndarray, low: float, high: float) -> None:
    ends = min(values.min(), low), max(values.max(), high)
    counts, edges = np.histogram(values, _BINS, ends)
    axes.stairs(counts / len(values), edges, fill=True, color=BLUE, alpha=0.85)
    for end in {low, high} - {0}:
        axes.axvline(end, color=ORANGE, lw=1.2)
    axes.tick_params(labelsize=7, colors=GRAY)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
