"""Pictures made of many small images: filters, feature maps, patches, mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from train.plots import BLUE, GRAY, INK, PALE, canvas, plain

# Lines between patches, seen beside black and beside white.
_LINE = "#8fb3d9"
# Free space between panels, inches.
_GAP_IN = 0.14


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One small image (H, W, 3), values 0..1, with a title and a line below it."""

    image: np.ndarray
    title: str = ""
    note: str = ""
    # Written into the cells of the image, (H, W).
    numbers: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """Panels that belong together, with their common name at the left.

    A panel that is None leaves its place free. A strip is one panel stretched over the
    whole width, for a vector (1, F, 3).
    """

    label: str
    panels: Sequence[Panel | None]
    strip: bool = False


def picture(image: np.ndarray) -> np.ndarray:
    """Pixels (H, W, C) in 0..255 as red, green and blue in 0..1; C = 1 is gray.

    Any other number of channels is shown by its mean.
    """
    image = np.asarray(image, np.float32) / 255
    return (
        image if image.shape[-1] == 3 else np.repeat(image.mean(-1, keepdims=True), 3, -1)
    )


def coloured(values: np.ndarray, low: float, high: float, cmap: str) -> np.ndarray:
    """Values (H, W) through a colour map whose ends are `low` and `high`."""
    part = (values - low) / (high - low if high > low else 1.0)
    return colormaps[cmap](np.clip(part, 0, 1))[..., :3]


def signed(weights: np.ndarray) -> np.ndarray:
    """A filter (R, S, C) as colours centred on 0: blue below, red above.

    Three channels are shown as red, green and blue around a middle gray of 0.
    """
    limit = float(np.abs(weights).max()) or 1.0
    if weights.shape[-1] == 3:
        return 0.5 + 0.5 * weights / limit
    return coloured(weights.mean(-1), -limit, limit, "RdBu_r")


def tiled(images: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Images (h, w, 3) of up to the same size in a raster with lines between them.

    A patch cut by the border of its image is smaller; pale colour fills its cell.
    """
    zoom = max(1, 24 // max(max(image.shape[:2]) for image in images))
    images = [image.repeat(zoom, axis=0).repeat(zoom, axis=1) for image in images]
    height = max(image.shape[0] for image in images)
    width = max(image.shape[1] for image in images)
    line = max(1, round(max(height, width) / 14))
    rows = -(-len(images) // columns)
    size = (rows * (height + line) - line, columns * (width + line) - line, 3)
    raster = np.full(size, to_rgb(_LINE), np.float32)
    for index, image in enumerate(images):
        top = index // columns * (height + line)
        left = index % columns * (width + line)
        raster[top : top + height, left : left + width] = to_rgb(PALE)
        top += (height - image.shape[0]) // 2
        left += (width - image.shape[1]) // 2
        raster[top : top + image.shape[0], left : left + image.shape[1]] = image
    return raster


def panel_figure(
    rows: Sequence[Row], *, title: str, note: str, columns: int, width_in: float = 9.5
) -> Figure:
    """Rows of panels, each row broken after `columns` of them."""
    margin_in = 1.25 if any(row.label for row in rows) else 0.15
    cell_in = (width_in - margin_in - 0.1) / columns
    lines = [line for row in rows for line in _broken(row, columns)]
    heights_in = [_height_in(line, cell_in) for line in lines]
    figure, top = canvas(width_in, sum(heights_in), title, note)
    figure.set_layout_engine("none")
    page_in = np.array([width_in, sum(heights_in) / top])
    bottom_in = sum(heights_in)
    for line, height_in in zip(lines, heights_in, strict=True):
        bottom_in -= height_in
        below_in, side_in, _ = _parts_in(line, cell_in)
        middle = (bottom_in + below_in + side_in / 2) / page_in[1]
        style = {"va": "center", "size": 9, "color": INK, "linespacing": 1.4}
        figure.text(0.12 / width_in, middle, plain(line.label), **style)
        for column, panel in enumerate(line.panels):
            if panel is None:
                continue
            corner = np.array([margin_in + column * cell_in, bottom_in + below_in])
            wide_in = columns * cell_in - _GAP_IN if line.strip else side_in
            size = np.array([wide_in, side_in])
            axes = figure.add_axes((*(corner / page_in), *(size / page_in)))
            _show(axes, panel, "auto" if line.strip else "equal")
    return figure


def message_figure(*, title: str, note: str, message: str) -> Figure:
    """A picture that only says something."""
    figure, top = canvas(7.0, 1.2, title, note)
    figure.set_layout_engine("none")
    figure.text(0.5, top / 2, plain(message), ha="center", va="center", size=14, color=BLUE)
    return figure


def _broken(row: Row, columns: int) -> list[Row]:
    starts = range(0, len(row.panels), columns)
    return [
        replace(
            row,
            label="" if start else row.label,
            panels=row.panels[start : start + columns],
        )
        for start in starts
    ]


def _parts_in(line: Row, cell_in: float) -> tuple[float, float, float]:
    """Inches below the panels of a line, of the panels, and above them."""
    panels = [panel for panel in line.panels if panel]
    below = 0.19 if any(panel.note for panel in panels) else 0.05
    above = 0.19 if any(panel.title for panel in panels) else 0.05
    return below, 0.36 if line.strip else cell_in - _GAP_IN, above


def _height_in(line: Row, cell_in: float) -> float:
    return sum(_parts_in(line, cell_in))


def _show(axes: Axes, panel: Panel, aspect: str) -> None:
    axes.imshow(panel.image, interpolation="nearest", aspect=aspect)
    axes.set_title(plain(panel.title), size=8, color=INK, pad=3)
    axes.set_xlabel(plain(panel.note), size=7, color=GRAY, labelpad=2)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(color="#bbbbbb", lw=0.5)
    if panel.numbers is None:
        return
    for (row, column), value in np.ndenumerate(panel.numbers):
        dark = panel.image[row, column].mean() < 0.45
        style = {"size": 8 if aspect == "equal" else 7, "color": "white" if dark else INK}
        axes.text(column, row, plain(str(value)), ha="center", va="center", **style)
