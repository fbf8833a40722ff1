"""Pictures of what a network costs: the roofline, and where cycles and energy go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from accel.workload.workload import counted
from train.plots import BLUE, GRAY, GREEN, INK, ORANGE, canvas, dress, save, short

# By level of the energy report, bottom to top.
_COLOURS = {
    "mac": INK,
    "register": "#56b4e9",
    "hop": BLUE,
    "buffer": GREEN,
    "dram": ORANGE,
    "static": GRAY,
}


def draw(folder: Path, report: Mapping[str, Any]) -> list[Path]:
    """Writes roofline.png and energy.png."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {"roofline.png": roofline(report), "energy.png": energy(report)}
    return [save(figure, folder / name) for name, figure in pictures.items()]


def roofline(report: Mapping[str, Any]) -> Figure:
    """MACs a cycle of each layer against its MACs a DRAM byte, under the machine's roof.

    Reference: Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009, section 3.
    """
    chip = report["machine"]
    peak, bytes_a_cycle = chip["multipliers"], chip["dram_mb_per_s"] / chip["clock_mhz"]
    layers = [row for row in report["layers"] if row["macs_per_dram_byte"]]
    numbers = {row["name"]: number for number, row in enumerate(report["layers"], 1)}
    figure, _ = canvas(
        9.5,
        max(4.6, 0.6 + 0.145 * len(numbers)),
        f"{report['name']} on {chip['name']}",
        f"{chip['machine']} at {chip['clock_mhz']:,} MHz, DRAM {chip['dram_mb_per_s']:,} "
        f"MB/s: {peak:,} MACs a cycle from {peak / bytes_a_cycle:,.0f} MACs a byte on. "
        f"Left of the ridge DRAM is the roof, right of it the array. "
        f"Layers that need no DRAM are not shown.",
    )
    axes = figure.add_subplot()
    at = np.array([row["macs_per_dram_byte"] for row in layers] or [1.0])
    ridge = peak / bytes_a_cycle
    low, high = min(at.min(), ridge) / 3, max(at.max(), ridge) * 3
    line = np.geomspace(low, high, 200)
    axes.plot(line, np.minimum(peak, bytes_a_cycle * line), color=INK, lw=1.5)
    for (intensity, busy), rows in _together(layers).items():
        waits = rows[0]["roofline_side"] == "memory"
        colour = ORANGE if waits else BLUE
        axes.plot(intensity, busy, "o", ms=5, color=colour)
        # Above the slope there is room to the left, below the roof to the right.
        axes.annotate(
            _ranges([numbers[row["name"]] for row in rows]), (intensity, busy), size=8,
            xytext=(-6, 3) if waits else (0, -12), ha="right" if waits else "center",
            textcoords="offset points", color=colour,
        )  # fmt: skip
    key = "\n".join(f"{number}  {short(name, 26)}" for name, number in numbers.items())
    axes.text(1.02, 1, key, transform=axes.transAxes, size=7, va="top", color=INK)
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(_number))
    dress(axes, "left of the ridge orange, right of it blue")
    axes.set_xlabel("MACs a DRAM byte", size=9)
    axes.set_ylabel("MACs a cycle", size=9)
    return figure


def _together(layers: Sequence[Mapping[str, Any]]) -> dict[tuple, list]:
    """Layers by where they stand; those that would cover each other share a dot."""
    found: dict[tuple, list] = {}
    for row in layers:
        at = row["macs_per_dram_byte"], row["macs"] / row["cycles"]
        near = (
            k
            for k in found
            if all(abs(np.log(a / b)) < 0.08 for a, b in zip(k, at, strict=True))
        )
        found.setdefault(next(near, at), []).append(row)
    return found


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, with runs joined.

    >>> _ranges([1, 3, 4, 5])
    '1, 3-5'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in runs)


def _number(value: float, _: object = None) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:.2g}"


def energy(report: Mapping[str, Any]) -> Figure:
    """Cycles and energy of each layer, by what they are spent on."""
    rows = report["layers"]
    names = [short(row["name"], 22) for row in rows]
    runs = counted(report["images"], report["workload"]["unit"])
    figure, _ = canvas(
        10.0,
        1.2 + 0.24 * len(rows),
        f"{report['name']} on {report['machine']['name']}: where cycles and energy go",
        f"For {runs} together. Energies: {report['preset']}.",
    )
    left, right = figure.subplots(1, 2, sharey=True)
    place = np.arange(len(rows))
    computed = np.array([row["compute_cycles"] for row in rows], float)
    waited = np.array([row["stall_cycles"] for row in rows], float)
    left.barh(place, computed, color=BLUE, label="array at work")
    left.barh(place, waited, left=computed, color=ORANGE, label="waiting for DRAM")
    left.set_yticks(place, names)
    left.invert_yaxis()
    dress(left, f"cycles: {report['cycles']:,}")
    _bars(right, rows, place)
    total = report["energy"]["total"]
    scale, unit = _unit(report)
    dress(right, f"energy: {total / scale:,.4g} {unit}")
    right.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v / scale:,.5g}"))
    right.set_xlabel(unit, size=9)
    left.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
    left.xaxis.get_major_locator().set_params(nbins=4)
    for axes in (left, right):
        axes.legend(
            fontsize=7, frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=6,
            handlelength=1, columnspacing=1,
        )  # fmt: skip
    return figure


def _bars(axes, rows, place: np.ndarray) -> None:
    done = np.zeros(len(rows))
    for level, colour in _COLOURS.items():
        part = np.array([row["energy"]["by_level"].get(level, 0) for row in rows], float)
        if part.any():
            axes.barh(place, part, left=done, color=colour, label=level)
        done += part


def _unit(report: Mapping[str, Any]) -> tuple[float, str]:
    """How many thousandths of the table's unit are one of what is shown, and its name."""
    if report["energy"]["unit"] != "fJ":
        return 1e9, "million ALU ops"
    total = report["energy"]["total"]
    steps = ((1e15, "J"), (1e12, "mJ"), (1e9, "uJ"))
    return next((step for step in steps if total >= step[0]), (1e6, "nJ"))
