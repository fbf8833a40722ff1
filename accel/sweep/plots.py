"""Pictures of a sweep: the front with its named designs, heat maps, a roofline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from accel.cost.energy_table import EnergyTable
from accel.sweep.refine import LayerCost, layers
from accel.sweep.space import Design, Space
from accel.workload.layer import LayerWorkload
from train.plots import BLUE, GRAY, GREEN, INK, ORANGE, canvas, dress, save, short

NAMES = ("front.png", "heat.png", "roofline.png")
_MARKS = "os^Dv"
_NAMED = (ORANGE, GREEN, "#cc79a7", "#e69f00", INK)


def draw(
    folder: Path,
    summary: Mapping[str, Any],
    works: Sequence[LayerWorkload],
    space: Space,
    preset: EnergyTable,
) -> list[Path]:
    """Writes `NAMES`; the roofline is that of the best energy-delay design."""
    folder.mkdir(parents=True, exist_ok=True)
    design = space.design(summary["named"]["best energy-delay"]["index"])
    roof = roofline(layers(works, design, preset), design)
    figures = (front(summary), heat(summary), roof)
    return [save(one, folder / name) for one, name in zip(figures, NAMES, strict=True)]


def _energy(summary: Mapping[str, Any]) -> tuple[float, str]:
    if summary["energy_unit"] == "fJ":
        return 1e-9, "energy, uJ"
    return 1e-9, "energy, million ALU operations"


def front(summary: Mapping[str, Any]) -> Figure:
    """Time against energy, coloured by area; the named designs stand out."""
    rows = summary["front"]
    scale, label = _energy(summary)
    time, energy, area = (np.array([r[n] for r in rows], float) for n in _AXES)
    note = (
        f"{summary['designs']:,} designs, {summary['legal']:,} legal; {len(rows):,} of "
        f"them on the front of {', '.join(summary['objectives'])}. Each dot is one."
    )
    figure, _ = canvas(8.5, 4.8, "Pareto front", note)
    axes = figure.add_subplot()
    dots = axes.scatter(
        time, scale * energy, c=np.log2(area), s=14, cmap="viridis", linewidths=0
    )
    bar = figure.colorbar(dots, ax=axes, pad=0.01)
    bar.set_label("area proxy: multipliers + bytes of buffers and shadow registers", size=8)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{2**v:,.0f}"))
    bar.ax.tick_params(labelsize=8)
    for (name, row), mark, color in zip(
        summary["named"].items(), _MARKS, _NAMED, strict=True
    ):
        array = f"{row['dataflow']} {row['rows']}x{row['cols']}"
        axes.plot(
            row["time_us"], scale * row["energy"], mark, ms=9, mfc="none", mec=color, mew=2,
            label=f"{name}: {array}",
        )  # fmt: skip
    _logarithmic(axes, "x", time)
    _logarithmic(axes, "y", scale * energy)
    dress(axes, "")
    axes.set_xlabel("time, us", size=9)
    axes.set_ylabel(label, size=9)
    axes.legend(fontsize=8, frameon=False)
    return figure


_AXES = ("time_us", "energy", "area")


def _logarithmic(axes, which: str, values: np.ndarray) -> None:
    """Plain numbers on a logarithmic axis."""
    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    plain = FuncFormatter(lambda v, _: f"{v:,.4g}")
    axis.set_major_formatter(plain)
    near = values.max() < 30 * values.min()
    axis.set_minor_formatter(plain if near else FuncFormatter(lambda v, _: ""))
    axes.tick_params(which="minor", labelsize=7)


def heat(summary: Mapping[str, Any]) -> Figure:
    """Best time and best energy of every array shape."""
    scale, label = _energy(summary)
    note = (
        "The best design with so many rows and columns, over all dataflows, buffers, "
        "bandwidths and clocks. The darker the better; a dash: none is legal."
    )
    rows, cols = (summary["space"][name] for name in ("rows", "cols"))
    wide = min(16.0, max(7.0, 3.2 + 0.95 * len(cols)))
    figure, _ = canvas(wide, 1.4 + 0.3 * min(len(rows), 40), "Array shapes", note)
    left, right = figure.subplots(1, 2)
    _map(left, _matrix(summary["heat"]["time_us"]), rows, cols, "best time, us")
    _map(right, scale * _matrix(summary["heat"]["energy"]), rows, cols, f"best {label}")
    return figure


def _matrix(lines: Sequence[Sequence[float | None]]) -> np.ndarray:
    return np.array([[np.nan if v is None else v for v in line] for line in lines])


def _map(axes, values: np.ndarray, rows, cols, title: str) -> None:
    axes.imshow(np.log(values), cmap="viridis", aspect="auto")
    dress(axes, title)
    axes.grid(False)
    for axis, sizes in ((axes.xaxis, cols), (axes.yaxis, rows)):
        every = max(1, len(sizes) // 16)
        axis.set_ticks(range(0, len(sizes), every), [str(s) for s in sizes[::every]])
    axes.set_xlabel("cols", size=9)
    axes.set_ylabel("rows", size=9)
    if values.size > 200:
        return
    middle = np.nanmean([np.nanmin(np.log(values)), np.nanmax(np.log(values))])
    for (row, col), value in np.ndenumerate(values):
        color = "white" if not value > np.exp(middle) else "black"
        text = (
            "-" if np.isnan(value) else f"{value:.3g}" if value < 1000 else f"{value:.0f}"
        )
        axes.text(col, row, text, ha="center", va="center", size=6, color=color)


def roofline(found: Sequence[LayerCost], design: Design) -> Figure:
    """MACs a cycle of each layer against MACs per byte of DRAM, under the roof."""
    peak = design.rows * design.cols
    words = design.dram_mb_per_s / design.clock_mhz
    note = (
        f"{design.dataflow} {design.rows} x {design.cols} at {design.clock_mhz:,} MHz, "
        f"DRAM {design.dram_mb_per_s:,} MB/s. A layer below the slope waits for DRAM, "
        f"one below the flat part for multipliers; what is missing is filling, "
        f"draining, ragged tiles and uneven traffic."
    )
    figure, _ = canvas(8.5, 4.6, "Roofline of the best energy-delay design", note)
    axes = figure.add_subplot()
    moving = [one for one in found if one.dram_bytes]
    x = np.array([one.macs / one.dram_bytes for one in moving])
    y = np.array([one.macs / one.cycles for one in moving])
    ends = [*x, peak / words]
    span = np.geomspace(min(ends) / 2, 4 * max(ends), 200)
    axes.plot(span, np.minimum(peak, words * span), color=GRAY, lw=1.5)
    axes.plot(x, y, "o", color=BLUE, ms=6)
    for one, at, reached in zip(moving, x, y, strict=True):
        axes.annotate(short(one.name, 18), (at, reached), (5, -9), size=7, color=INK,
                      textcoords="offset points")  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    for one in found:
        if not one.dram_bytes:
            axes.axhline(one.macs / one.cycles, color=BLUE, lw=0.8, ls=":")
    dress(axes, f"peak {peak:,} MACs a cycle; ridge at {peak / words:,.4g} MACs a byte")
    axes.set_xlabel("MACs per byte of DRAM", size=9)
    axes.set_ylabel("MACs per cycle", size=9)
    return figure
