"""Pictures of regression: a function, and what the network makes of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from train.plots import BLUE, GRAY, INK, ORANGE, canvas, dress, log_scale


def fit_figure(
    grid: np.ndarray, target: np.ndarray, fit: np.ndarray, points, *, name: str, mse: float
) -> Figure:
    """Target and fit over the whole domain.

    Args:
      grid: (n,) values of x; a function of two variables has target and fit (n, n),
        the first variable along the rows.
      points: inputs (N,) and targets (N,) of the test set, drawn in one dimension.
      mse: mean squared error of the test set.
    """
    text = f"Mean squared error on the test points: {mse:.3g}. "
    if target.ndim == 1:
        note = "The thick gray line is the function to fit."
        figure, _ = canvas(7.5, 4.2, f"{name}: target and fit", text + note)
        axes = figure.add_subplot()
        _lines(axes, grid, target, fit)
        axes.plot(*points, ".", color=BLUE, ms=5, label="test points")
        dress(axes, "")
        axes.legend(frameon=False, fontsize=9)
        return figure
    note = "Target and network share their colours; the difference is white where it is 0."
    figure, _ = canvas(11.5, 3.6, f"{name}: target, fit and difference", text + note)
    scale = {"vmin": float(target.min()), "vmax": float(target.max()), "cmap": "viridis"}
    worst = float(np.abs(fit - target).max()) or 1.0
    difference = {"vmin": -worst, "vmax": worst, "cmap": "RdBu_r"}
    panels = [
        ("Target", target, scale),
        ("Network", fit, scale),
        ("Network minus target", fit - target, difference),
    ]
    for index, (title, values, colours) in enumerate(panels):
        axes = figure.add_subplot(1, 3, index + 1)
        image = _surface(axes, values, colours)
        axes.set_title(title, loc="left", size=10, color=INK)
        figure.colorbar(image, ax=axes, shrink=0.85).ax.tick_params(labelsize=7)
    return figure


def widths_figure(
    grid: np.ndarray, target: np.ndarray, fits: Sequence[dict], *, name: str
) -> Figure:
    """The same network at several hidden widths: its fits, and error against width.

    Args:
      fits: each with `width`, `test_mse` and `outputs` of the shape of `target`.
    """
    fits = sorted(fits, key=lambda fit: fit["width"])
    panels = [(_neurons(fit["width"]), fit["outputs"]) for fit in fits]
    if target.ndim == 2:
        panels.insert(0, ("target", target))
    columns = (
        min((4, 3), key=lambda n: (-len(panels) % n, -n))
        if len(panels) > 4
        else len(panels)
    )
    rows = -(-len(panels) // columns)
    left_in = max(2.3 * columns, 4.6)
    figure, _ = canvas(
        left_in + 4.2,
        max(2.1 * rows + 0.3, 3.4),
        f"{name}: how wide must the network be?",
        "The same network with more and more neurons in its hidden layers"
        + (", fitted to the gray line." if target.ndim == 1 else ", beside its target."),
    )
    left, right = figure.subfigures(1, 2, width_ratios=[left_in, 4.2])
    for index, (title, outputs) in enumerate(panels):
        axes = left.add_subplot(rows, columns, index + 1)
        if target.ndim == 1:
            _lines(axes, grid, target, outputs)
            dress(axes, title)
        else:
            scale = {"vmin": float(target.min()), "vmax": float(target.max())}
            _surface(axes, outputs, scale | {"cmap": "viridis"})
            axes.set_title(title, loc="left", size=10, color=INK)
        if index % columns:
            axes.set_ylabel("")
            axes.tick_params(labelleft=False)
        if index + columns < len(panels):
            axes.set_xlabel("")
            axes.tick_params(labelbottom=False)
    _errors(right.add_subplot(), fits)
    return figure


def _neurons(width: int) -> str:
    return f"{width} neuron" + "s" * (width != 1)


def _errors(axes: Axes, fits: Sequence[dict]) -> None:
    widths = [fit["width"] for fit in fits]
    axes.plot(widths, [fit["test_mse"] for fit in fits], "o-", color=BLUE, ms=5)
    axes.set_xscale("log")
    log_scale(axes)
    axes.xaxis.set_major_locator(FixedLocator(widths))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("neurons in each hidden layer")
    axes.set_ylabel("mean squared error, test points")
    dress(axes, "Error against width")


def _lines(axes: Axes, x: np.ndarray, target: np.ndarray, fit: np.ndarray) -> None:
    axes.plot(x, target, color=GRAY, lw=3.5, alpha=0.45, label="target")
    axes.plot(x, fit, color=ORANGE, lw=1.5, label="network")
    margin = 0.2 * float(np.ptp(target))
    axes.set_ylim(target.min() - margin, target.max() + margin)
    axes.set_xlim(0, 1)
    axes.set_xlabel("x")
    axes.set_ylabel("y")


def _surface(axes: Axes, values: np.ndarray, colours: dict):
    axes.set_xlabel("second variable", size=8)
    axes.set_ylabel("first variable", size=8)
    axes.tick_params(labelsize=7)
    return axes.imshow(values, origin="lower", extent=(0, 1, 0, 1), **colours)
