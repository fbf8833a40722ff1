"""Charts of a training run, and the frame that every picture of it shares.

Figures are made without pyplot: nothing global, no window, safe in any thread. Colours
are the Okabe-Ito ones, which colour-blind readers can tell apart.
"""

from __future__ import annotations

import os
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
    PercentFormatter,
)

INK, GRAY, PALE = "#222222", "#767676", "#e9edf2"
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"

_DPI = 120
_HEAD_IN, _LINE_IN = 0.46, 0.175


def canvas(
    width_in: float, height_in: float, title: str, note: str
) -> tuple[Figure, float]:
    """An empty figure with a title and an explanation above `height_in` of space.

    Returns:
      The figure, and the height (0..1) at which the space for the drawing ends.
    """
    lines = textwrap.wrap(note, int(width_in * 14.3))
    head_in = _HEAD_IN + _LINE_IN * len(lines)
    total_in = height_in + head_in
    figure = Figure((width_in, total_in), dpi=_DPI, facecolor="white")
    left = 0.12 / width_in
    figure.text(
        left, 1 - 0.1 / total_in, plain(title), va="top", size=13, weight="bold", color=INK
    )
    for number, line in enumerate(lines):
        y = 1 - (0.38 + _LINE_IN * number) / total_in
        figure.text(left, y, plain(line), va="top", size=9, color=GRAY)
    top = height_in / total_in
    figure.set_layout_engine("constrained", rect=(0, 0, 1, top), w_pad=0.1, h_pad=0.08)
    return figure, top


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG; a reader sees the old file or the whole new one."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with warnings.catch_warnings():
        # A class may be named in a script that the font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(unfinished, format="png", metadata={"Software": None})
    os.replace(unfinished, path)
    return path


def plain(text: str) -> str:
    """Text that is drawn as it stands: a dollar sign opens no formula."""
    return text.replace("$", r"\$")


def short(name: object, width: int = 12) -> str:
    text = str(name)
    return text if len(text) <= width else text[: width - 1] + "…"


def learning_curves(log: Sequence[dict], *, name: str, held_out: str) -> Figure:
    """Loss and accuracy (regression: squared error) against the epoch."""
    epochs = [row["epoch"] for row in log]
    scores = [score for score in ("accuracy", "mse") if f"eval_{score}" in log[-1]]
    panels = ["loss", "accuracy"] if "accuracy" in scores else scores or ["loss"]
    last = log[-1]
    figure, _ = canvas(
        10.0 if len(panels) > 1 else 7.0,
        3.6,
        f"{name}: learning curves",
        f"{last['epoch']} epochs, {last['step']:,} steps. Training values are averages "
        "over an epoch, of augmented examples if any; nothing is ever trained on the "
        f"{held_out} examples.",
    )
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        for kind, label, colour in (
            ("train", "training", BLUE),
            ("eval", held_out, ORANGE),
        ):
            values = [row[f"{kind}_{panel}"] for row in log]
            marker = "o" if len(log) <= 40 else None
            axes.plot(epochs, values, color=colour, marker=marker, ms=3.5, label=label)
        _dress_curve(axes, panel, last)
        if index == 0:
            _learning_rate(axes, epochs, log)
    return figure


def _dress_curve(axes: Axes, panel: str, last: dict) -> None:
    if panel == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        value = f"{last['eval_accuracy']:.2%}"
    else:
        log_scale(axes)
        value = f"{last[f'eval_{panel}']:.3g}"
    label = {"loss": "cross-entropy loss, nats", "mse": "mean squared error"}
    dress(
        axes, f"{panel.upper() if panel == 'mse' else panel.capitalize()}: {value} held out"
    )
    axes.set_ylabel(label.get(panel, "accuracy"))
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.legend(frameon=False, fontsize=9)


def _learning_rate(axes: Axes, epochs: Sequence[int], log: Sequence[dict]) -> None:
    rates = axes.twinx()
    rates.plot(epochs, [row["learning_rate"] for row in log], color=GRAY, lw=1, ls=":")
    rates.set_ylabel("learning rate (dotted)", color=GRAY, size=8)
    rates.tick_params(labelsize=7, colors=GRAY)
    rates.set_ylim(bottom=0)
    rates.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    rates.spines[:].set_visible(False)


def log_scale(axes: Axes) -> None:
    """Values upwards by powers of ten, unless they lie within a factor of four."""
    values = np.concatenate([line.get_ydata() for line in axes.lines])
    low, high = values.min(), values.max()
    if low <= 0 or high < 4 * low:
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def dress(axes: Axes, title: str) -> None:
    """The look of a chart: a title, a faint grid, no box."""
    axes.set_title(title, loc="left", size=10, color=INK)
    axes.grid(True, which="major", color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def confusion(counts: np.ndarray, *, name: str, classes: Sequence[str]) -> Figure:
    """Confusion matrix, rows true and columns predicted; only errors are coloured."""
    n = len(counts)
    total, right = int(counts.sum()), int(np.trace(counts))
    errors = counts * ~np.eye(n, dtype=bool)
    figure, _ = canvas(
        6.6,
        5.7,
        f"{name}: which class is taken for which",
        f"{right:,} of {total:,} test images are right ({right / total:.2%}); each number "
        "counts images. Gray diagonal: right. Orange: wrong, the darker the more often.",
    )
    axes = figure.add_subplot()
    colours = _tinted(errors / max(errors.max(), 1))
    colours[np.eye(n, dtype=bool)] = to_rgb(PALE)
    axes.imshow(colours)
    names = [plain(short(label)) for label in classes]
    size, turn = (9, 0) if max(map(len, names)) <= 3 else (8, 45)
    size = min(size, 160 / n)
    anchor = {
        "rotation": turn,
        "ha": "right" if turn else "center",
        "rotation_mode": "anchor",
    }
    axes.set_xticks(range(n), names, size=size, **anchor)
    axes.set_yticks(range(n), names, size=size)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if n <= 25:
        _write_counts(axes, counts, errors)
    return figure


def _tinted(amount: np.ndarray) -> np.ndarray:
    """White to orange; the root lets a single error be seen."""
    part = np.sqrt(amount)[..., None]
    return (1 - part) + part * np.array(to_rgb(ORANGE))


def _write_counts(axes: Axes, counts: np.ndarray, errors: np.ndarray) -> None:
    size = min(9, 110 / len(counts))
    for row, column in np.argwhere(counts > 0):
        wrong = row != column
        strong = wrong and errors[row, column] > 0.6 * errors.max()
        axes.text(
            column, row, f"{counts[row, column]:,}", ha="center", va="center", size=size,
            color="white" if strong else INK if wrong else GRAY,
            weight="bold" if wrong else "normal",
        )  # fmt: skip
