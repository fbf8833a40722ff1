"""Pictures of corruptions: what they look like, and the error that they cause."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from train.mosaics import Panel, Row, message_figure, panel_figure, picture, tiled
from train.plots import INK, canvas, dress, plain, short
from train.probe.curves import BARS, Style, counted, legend, reaches, styles

# The name that stands for no corruption.
CLEAN = "clean"


def corruption_sheet(images: Mapping[str, np.ndarray], *, name: str) -> Figure:
    """A contact sheet: some images uint8 (k, H, W, C) under each corruption."""
    title = f"{name}: corruptions"
    shown = {key: row for key, row in images.items() if len(row)}
    if not shown:
        return message_figure(title=title, note="Nothing to show.", message="No images")
    count = len(shown) - (CLEAN in shown)
    note = (
        f"Test images{' as they are and' if CLEAN in shown else ''} under {count} "
        "corruption" + "s" * (count != 1) + " of MNIST-C style: published severities, own "
        "random numbers."
    )
    panels = [
        Panel(image=_square(row), title=short(key.replace("_", " "), 24))
        for key, row in shown.items()
    ]
    return panel_figure([Row(label="", panels=panels)], title=title, note=note, columns=4)


def _square(images: np.ndarray) -> np.ndarray:
    """Images (k, H, W, C) in a raster that is about as high as wide."""
    count, height, width = images.shape[:3]
    columns = min(count, max(1, round(sqrt(count * height / width))))
    return tiled([picture(image) for image in images], columns)


def corruption_bars(
    errors: Mapping[str, Mapping[str, tuple[int, int]]], *, name: str
) -> Figure:
    """Error under each corruption, largest first, models side by side.

    Args:
      errors: by model and corruption (wrong, n); "clean" stands for no corruption.
    """
    order = _by_error(errors)
    counts = {
        model: [(0.0, *pair) for pair in row.values()] for model, row in errors.items()
    }
    note = (
        f"Share of test images given a wrong class ({counted(counts)}) after one "
        "corruption of MNIST-C style (published severities, own random numbers); the "
        f"largest mean error on top. In brackets: mean over the corruptions. {BARS}"
    )
    height_in = 1.0 + len(order) * (0.13 + 0.115 * len(errors))
    figure, _ = canvas(8.0, height_in, f"{name}: error under corruption", note)
    axes = figure.add_subplot()
    thick = 0.8 / len(errors)
    for number, (model, look) in enumerate(styles(errors).items()):
        rows = [row for row, key in enumerate(order) if key in errors[model]]
        places = np.array(rows) - 0.4 + thick * (number + 0.5)
        pairs = [errors[model][order[row]] for row in rows]
        _bars(axes, places, pairs, thick, look, _mean_error(model, errors[model]))
    axes.set_yticks(range(len(order)), [plain(key.replace("_", " ")) for key in order])
    for label in axes.get_yticklabels():
        label.set_weight("bold" if label.get_text() == CLEAN else "normal")
    axes.set_ylim(len(order) - 0.4, -0.6)
    dress(axes, "")
    axes.grid(False, axis="y")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlim(0, 1)
    axes.set_xlabel("error")
    legend([axes])
    return figure


def _by_error(errors: Mapping[str, Mapping[str, tuple[int, int]]]) -> list[str]:
    """Names of the corruptions by their mean error over the models, largest first."""
    names = dict.fromkeys(key for row in errors.values() for key in row)
    shares = {
        key: np.mean([row[key][0] / row[key][1] for row in errors.values() if key in row])
        for key in names
    }
    return sorted(names, key=lambda key: -shares[key])


def _mean_error(model: str, row: Mapping[str, tuple[int, int]]) -> str:
    shares = [wrong / n for key, (wrong, n) in row.items() if key != CLEAN]
    if not shares:
        return short(model, 24)
    return f"{short(model, 24)} ({np.mean(shares):.1%})"


def _bars(axes, places, counts, thick, look: Style, label: str) -> None:
    share = np.array([wrong / n for wrong, n in counts])
    reach = reaches(counts)
    axes.barh(
        places, share, thick * 0.92, color=look.colour, hatch=look.hatch,
        edgecolor="white", lw=0, label=plain(label),
    )  # fmt: skip
    axes.errorbar(share, places, xerr=reach, fmt="none", ecolor=INK, elinewidth=0.8)
    style = {"va": "center", "size": 6.5, "color": INK}
    for place, value, above in zip(places, share, reach[1], strict=True):
        axes.text(value + above + 0.008, place, f"{value:.1%}", **style)
