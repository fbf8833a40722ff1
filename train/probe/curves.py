"""Charts of robustness: accuracy by budget, by angle, by shift, and by corruption.

Points are counts, (parameter, correct, n), and carry the exact 95 % binomial interval.
A model keeps its colour, line and marker in every chart. Lines often coincide: earlier
ones are broad, later ones narrow, so that each is seen beside or upon the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from train.plots import BLUE, GRAY, GREEN, INK, ORANGE, canvas, dress, plain, short
from train.probe.binomial import interval

# By name of model or network: (parameter, correct, n) of every point.
Points = Mapping[str, Sequence[tuple[float, int, int]]]

NORMS = {"linf": "L-infinity", "l2": "L2"}
BARS = "Error bars: 95% binomial intervals (Clopper-Pearson)."

_NAMED_DEG = (0, 15, -15, 30, -30, 45, -45, 90, -90, 180)


@dataclass(frozen=True, kw_only=True)
class Style:
    """How one model is drawn: `width` and `size` in points."""

    colour: str
    line: str | tuple
    marker: str
    width: float
    size: float
    hatch: str = ""


_MODELS = {
    "float": Style(colour=BLUE, line="-", marker="o", width=4.2, size=8.5),
    "qat": Style(colour=GREEN, line="--", marker="s", width=2.6, size=6.0, hatch="////"),
    "int8": Style(colour=ORANGE, line="-", marker="D", width=1.1, size=3.2, hatch="...."),
}
_SPARE = (
    Style(colour=INK, line="-", marker="o", width=3.4, size=7.5),
    Style(colour="#cc79a7", line="--", marker="s", width=2.4, size=6.0, hatch="////"),
    Style(colour="#e69f00", line="-.", marker="D", width=1.8, size=4.8, hatch="...."),
    Style(colour="#56b4e9", line="-", marker="^", width=1.4, size=4.6, hatch="xxxx"),
    Style(colour=GRAY, line=":", marker="v", width=1.2, size=4.0, hatch="++++"),
)


def styles(names: Iterable[str]) -> dict[str, Style]:
    """The look of each name: that of its model, or the next spare one.

    What is alone covers nothing, and is drawn finer.
    """
    names = list(dict.fromkeys(names))
    others = [name for name in names if name not in _MODELS]
    spare = {name: _SPARE[i % len(_SPARE)] for i, name in enumerate(others)}
    looks = {name: _MODELS.get(name) or spare[name] for name in names}
    if len(looks) > 1:
        return looks
    return {name: replace(look, width=1.8, size=5.0) for name, look in looks.items()}


def eps_curve(
    fgsm: Points,
    headline: Points,
    certified: Points,
    *,
    name: str,
    attack: str,
    certificate: str,
    norm: str = "linf",
) -> Figure:
    """Accuracy against the budget, one panel for each kind of answer that has points.

    Args:
      fgsm, headline, certified: (eps, correct, n) by model; `headline` is the worst of
        all attacks, `certified` the proved lower bound. A kind may be empty.
      attack: what the headline is the worst of, with steps and restarts.
      certificate: what proves, such as "interval bounds".
      norm: "linf" or "l2".

    Raises:
      ValueError: no kind has a point.
    """
    kinds = {"FGSM": fgsm, "Worst of all attacks": headline, "Certified": certified}
    shown = {
        kind: ordered(points) for kind, points in kinds.items() if any(points.values())
    }
    if not shown:
        raise ValueError(
            "`fgsm`, `headline` and `certified` hold no point; give at least one."
        )
    note = _eps_note(shown, attack, certificate, norm)
    width_in = 10.0 if len(shown) > 1 else 7.0
    figure, _ = canvas(width_in, 3.5, f"{name}: accuracy under attack", note)
    looks = styles(model for points in shown.values() for model in points)
    panels = np.atleast_1d(figure.subplots(1, len(shown), sharex=True, sharey=True))
    for axes, (kind, points) in zip(panels, shown.items(), strict=True):
        _draw(axes, points, looks)
        _accuracy_axis(axes, kind)
        axes.set_xlabel(f"eps ({NORMS[norm]})")
    largest = max(row[-1][0] for points in shown.values() for row in points.values()) or 1
    panels[0].set_xlim(-0.03 * largest, 1.05 * largest)
    panels[0].set_ylabel("accuracy")
    legend(panels)
    return figure


def _eps_note(shown: Mapping[str, Points], attack: str, certificate: str, norm: str) -> str:
    said = {
        "FGSM": "FGSM: 1 step",
        "Worst of all attacks": f"Worst of all attacks, per image: {attack}",
        "Certified": f"Certified: proved by {certificate}, no attack of this norm and "
        "budget can go below",
    }
    units = ", pixels 0 to 1"
    if norm == "linf":
        units = " (eps x 255 rounded down is the budget in pixel levels)"
    kinds = " ".join(f"{said[kind]}; {counted(points)}." for kind, points in shown.items())
    return (
        f"Accuracy when every image may be changed by at most eps in {NORMS[norm]} norm"
        f"{units}. {kinds} {BARS}"
    )


def lines(translation: Points, rotation: Points, *, name: str, direction: str) -> Figure:
    """Several networks under translation and under rotation, in two panels.

    Args:
      translation: (pixels, correct, n) by network.
      rotation: (degrees counter-clockwise, correct, n) by network.
      direction: where positive shifts move the image, such as "right".
    """
    translation, rotation = ordered(translation), ordered(rotation)
    note = (
        f"Accuracy on test images that are shifted ({counted(translation)}) "
        f"or turned about their centre ({counted(rotation)}); bilinear interpolation, "
        f"what comes in from outside is 0. {BARS}"
    )
    figure, _ = canvas(10.0, 3.6, f"{name}: accuracy by shift and by angle", note)
    looks = styles([*translation, *rotation])
    panels = figure.subplots(1, 2, sharey=True)
    for axes, points in zip(panels, (translation, rotation), strict=True):
        _draw(axes, points, looks)
    _accuracy_axis(panels[0], "Translation")
    _accuracy_axis(panels[1], "Rotation")
    panels[0].set_xlabel(f"shift {direction}, pixels")
    panels[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[1].set_xlabel("angle, degrees counter-clockwise")
    panels[1].xaxis.set_major_locator(MaxNLocator(9, steps=[1, 1.5, 3, 4.5, 6, 9, 10]))
    panels[0].set_ylabel("accuracy")
    legend(panels)
    return figure


def polar(points: Points, *, name: str) -> Figure:
    """Accuracy by rotation angle: 0 degrees at the top, positive counter-clockwise.

    Args:
      points: (degrees, correct, n) by model. Well-known angles also stand in a table.
    """
    points = ordered(points)
    note = (
        f"Distance from the centre: accuracy on test images turned by that angle about "
        f"their centre ({counted(points)}; bilinear interpolation, what comes in from "
        f"outside is 0). Upright is at the top, positive angles are counter-clockwise. "
        f"{BARS}"
    )
    figure, _ = canvas(9.0, 4.9, f"{name}: accuracy by rotation angle", note)
    looks = styles(points)
    grid = figure.add_gridspec(1, 2, width_ratios=(3, 2))
    axes = figure.add_subplot(grid[0], projection="polar")
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(1)
    turned = {
        model: [(np.deg2rad(angle), correct, n) for angle, correct, n in row]
        for model, row in points.items()
    }
    _draw(axes, turned, looks)
    ticks = np.arange(-150, 181, 30)
    axes.set_thetagrids(ticks % 360, [*map(_signed_deg, ticks[:-1]), "±180°"], size=9)
    # A little beyond 100%: markers there are whole.
    axes.set_rlim(0, 1.04)
    rings = {0.25: "", 0.5: "50%", 0.75: "75%", 1.0: "100%"}
    axes.set_rgrids(tuple(rings), tuple(rings.values()), angle=97, size=7, color=GRAY)
    axes.grid(color="#dddddd", lw=0.6)
    axes.spines["polar"].set_color("#bbbbbb")
    legend([axes])
    _angle_table(figure.add_subplot(grid[1]), points, looks)
    return figure


def ordered(points: Points) -> dict[str, list[tuple[float, int, int]]]:
    return {model: sorted(row) for model, row in points.items() if row}


def counted(points: Points) -> str:
    """n, or its range, over all points."""
    sizes = sorted({n for row in points.values() for _, _, n in row}) or [0]
    return f"n = {sizes[0]:,}" + (f" to {sizes[-1]:,}" if len(sizes) > 1 else "")


def reaches(counts: Sequence[tuple[int, int]]) -> np.ndarray:
    """How far the intervals reach below and above the shares: (k, n) each -> (2, N)."""
    share = np.array([k / n for k, n in counts])
    low, high = np.array([interval(k, n) for k, n in counts]).reshape(-1, 2).T
    # A share lies within its interval up to the last bit.
    return np.maximum(0, np.stack([share - low, high - share]))


def _draw(axes: Axes, points: Points, looks: Mapping[str, Style]) -> None:
    for model, row in points.items():
        look = looks[model]
        x, correct, n = (np.array(column) for column in zip(*row, strict=True))
        share, reach = correct / n, reaches([(k, m) for _, k, m in row])
        axes.errorbar(
            x, share, yerr=reach, color=look.colour, ls=look.line, lw=look.width,
            marker=look.marker, ms=look.size, mfc="white", mec=look.colour, mew=1.2,
            elinewidth=max(0.8, look.width / 3), capsize=look.size / 2,
            label=plain(model),
        )  # fmt: skip


def _accuracy_axis(axes: Axes, title: str) -> None:
    dress(axes, title)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(-0.02, 1.02)


def legend(panels: Sequence[Axes]) -> None:
    """One legend for all panels, below them, as many names side by side as there fit."""
    found = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    figure = panels[0].figure
    names = [short(name, 24) for name in found]
    name_in = 1.0 + 0.08 * max(map(len, names))
    columns = max(1, min(len(found), int(figure.get_figwidth() / name_in)))
    figure.legend(
        found.values(), names, loc="outside lower center", ncols=columns,
        frameon=False, fontsize=9, handlelength=4,
    )  # fmt: skip


def _signed_deg(angle: float) -> str:
    return f"{angle:+g}°".replace("-", "−") if angle else "0°"


def _angle_table(axes: Axes, points: Points, looks: Mapping[str, Style]) -> None:
    """Accuracy at well-known angles, a column for each model."""
    axes.set_axis_off()
    found = {model: {x: k / n for x, k, n in row} for model, row in points.items()}
    angles = [a for a in _NAMED_DEG if any(a in row for row in found.values())]
    axes.set_xlim(-0.8, max(3, len(found)) - 0.2)
    axes.set_ylim(max(8, len(angles)) + 0.5, -1.5)
    style = {"ha": "right", "va": "center", "size": 9}
    for column, (model, row) in enumerate(found.items()):
        head = {"color": looks[model].colour, "weight": "bold"}
        axes.text(column + 0.7, -1, plain(short(model, 9)), **style, **head)
        for line, angle in enumerate(angles):
            text = f"{row[angle]:.1%}" if angle in row else "–"
            axes.text(column + 0.7, line, text, color=INK, **style)
    for line, angle in enumerate(angles):
        axes.text(-0.25, line, _signed_deg(angle), color=GRAY, **style)
