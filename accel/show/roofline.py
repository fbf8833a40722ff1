"""The roofline: which layers wait for words, and which for multipliers.

    MACs per cycle <= min(multipliers, words per cycle * MACs per word)

Reference: Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10
from typing import Any, NamedTuple

from markupsafe import Markup

from accel.machines.counters import FETCHES

_WIDTH, _HEIGHT = 560, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 540, 22, 326
_CHARACTER = 7.4
_LINE = 16


class Roof(NamedTuple):
    """What bounds a machine."""

    multipliers: int
    # Words that can cross its edges in one cycle.
    words: float
    # How they add up, in words.
    meaning: str

    def bound(self, intensity: float) -> float:
        """The most MACs per cycle at some MACs per word."""
        return min(self.multipliers, self.words * intensity)


class Point(NamedTuple):
    """One layer."""

    name: str
    # MACs per word moved, inputs, weights and sums together.
    intensity: float
    macs_per_cycle: float


def roof(settings: Mapping[str, Any], multipliers: int) -> Roof | None:
    """The roof of a machine from its settings; None where no one roof is above all layers.

    That is the network mapped straight to hardware: each layer has its own multipliers.
    """
    ports = _ports(settings)
    return None if ports is None else Roof(multipliers, *ports)


def point(layer: Mapping[str, Any]) -> Point:
    words = sum(layer[name] for name in FETCHES)
    return Point(
        layer["name"],
        layer["macs"] / words,
        layer["macs"] / layer["cycles_simulated"],
    )


def _ports(settings: Mapping[str, Any]) -> tuple[float, str] | None:
    if "rows" in settings:
        return _array_ports(settings)
    if settings.get("dram"):
        cycles = settings["access_cycles"]
        each = "a cycle" if cycles == 1 else f"{cycles} cycles"
        return 1 / cycles, f"one word at a time, {each} each"
    if "dram" in settings:
        return 3, "one input, one weight, one finished sum"
    if "loop" in settings:
        inputs, outputs = settings["inputs"], settings["outputs"]
        if settings["loop"] == "outputs":
            sums, ways = outputs, "finished sums"
        else:
            sums, ways = 2 * outputs, "sums read and written"
        meaning = f"{inputs} inputs, {inputs * outputs} weights, {sums} {ways}"
        return inputs + inputs * outputs + sums, meaning
    if "multipliers" in settings:
        lanes = settings["multipliers"]
        return 2 * lanes + 1, f"{lanes} inputs, {lanes} weights, one finished sum"
    return None


def _array_ports(settings: Mapping[str, Any]) -> tuple[float, str]:
    rows, cols = settings["rows"], settings["cols"]
    if settings["dataflow"] == "os":
        return rows + cols, f"{rows} inputs at the left edge, {cols} weights at the top"
    words = {"ws": "inputs", "is": "weights"}[settings["dataflow"]]
    ports = f"{rows} {words} at the left edge, {cols} sums read and {cols} written below"
    if settings["weights"] == "single":
        return rows + 2 * cols, ports
    held = {"ws": "weights", "is": "inputs"}[settings["dataflow"]]
    return rows + 3 * cols, f"{ports}, {cols} {held} loading at the top"


class _Axis(NamedTuple):
    """A logarithmic axis between two places of the drawing."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = log10(value / self.low) / log10(self.high / self.low)
        return round(self.start + share * (self.end - self.start), 1)

    @property
    def ticks(self) -> list[float]:
        """1, 2, 5 of every decade, or 1 only where those would crowd."""
        powers = range(round(log10(self.low)) - 1, round(log10(self.high)) + 2)
        for steps in ((1, 2, 5), (1,)):
            ticks = [step * 10.0**power for power in powers for step in steps]
            inside = [tick for tick in ticks if self.low <= tick <= self.high]
            if len(inside) <= 7:
                return inside
        return inside[:: -(-len(inside) // 7)]


def draw(roof: Roof, dots: Sequence[Point]) -> Markup:
    """The figure: both axes logarithmic, the roof, a labelled dot for every layer."""
    ridge = roof.multipliers / roof.words
    intensities = [ridge, *(one.intensity for one in dots)]
    rates = [roof.multipliers, *(one.macs_per_cycle for one in dots)]
    x = _Axis(min(intensities) / 2, max(intensities) * 3, _LEFT, _RIGHT)
    # Where the slope meets the left side is not below the drawing.
    lowest = min(min(rates), roof.bound(x.low))
    y = _Axis(lowest / 1.6, roof.multipliers * 2.2, _BOTTOM, _TOP)
    described = "; ".join(
        f"{one.name}: {one.intensity:.3g} MACs per word, {one.macs_per_cycle:.3g} MACs per "
        f"cycle of at most {roof.bound(one.intensity):.3g}"
        for one in dots
    )
    head = Markup(
        '<svg class="roofline" role="img" viewBox="0 0 {} {}" '
        'aria-labelledby="roofline-title roofline-desc">'
        '<title id="roofline-title">Roofline of the machine</title>'
        '<desc id="roofline-desc">{}</desc>'
    ).format(_WIDTH, _HEIGHT, described)
    return head + _grid(x, y) + _roof(x, y, roof) + _dots(x, y, dots) + Markup("</svg>")


def _grid(x: _Axis, y: _Axis) -> Markup:
    line = Markup('<line class="grid" x1="{}" y1="{}" x2="{}" y2="{}"></line>')
    text = Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>')
    svg = Markup("")
    for tick in x.ticks:
        svg += line.format(x.at(tick), _TOP, x.at(tick), _BOTTOM)
        svg += text.format("tick", x.at(tick), _BOTTOM + 18, "middle", f"{tick:,g}")
    for tick in y.ticks:
        svg += line.format(_LEFT, y.at(tick), _RIGHT, y.at(tick))
        svg += text.format("tick", _LEFT - 8, y.at(tick) + 4, "end", f"{tick:,g}")
    middle = (_LEFT + _RIGHT) / 2
    svg += text.format("name", middle, _HEIGHT - 12, "middle", "MACs per word moved →")
    return svg + text.format("name", 4, 14, "start", "↑ MACs per cycle")


def _roof(x: _Axis, y: _Axis, roof: Roof) -> Markup:
    ridge = roof.multipliers / roof.words
    corner = f"{x.at(ridge)},{y.at(roof.multipliers)}"
    start = f"{x.at(x.low)},{y.at(roof.bound(x.low))}"
    end = f"{x.at(x.high)},{y.at(roof.multipliers)}"
    svg = Markup('<polyline class="roof" points="{} {} {}"></polyline>').format(
        start, corner, end
    )
    text = Markup('<text class="roof-name" x="{}" y="{}" text-anchor="end">{}</text>')
    name = f"{roof.multipliers:,} multipliers"
    return svg + text.format(_RIGHT - 4, y.at(roof.multipliers) - 13, name)


def _dots(x: _Axis, y: _Axis, dots: Sequence[Point]) -> Markup:
    """Dots from the top down; a label that would cover another moves below it."""
    svg, taken = Markup(""), []
    for one in sorted(dots, key=lambda one: -one.macs_per_cycle):
        at_x, at_y = x.at(one.intensity), y.at(one.macs_per_cycle)
        name = one.name if len(one.name) <= 18 else f"{one.name[:17]}…"
        width = _CHARACTER * len(name)
        left = at_x + 11 + width > _RIGHT
        start = at_x - 11 - width if left else at_x + 11
        middle = at_y
        for other_start, other_end, other in taken:
            if start < other_end and other_start < start + width:
                middle = max(middle, other + _LINE) if other > middle - _LINE else middle
        taken.append((start, start + width, middle))
        svg += Markup(
            '<g><title>{}</title><circle class="dot" cx="{}" cy="{}" r="5.5"></circle>'
            '<text class="label" x="{}" y="{}" text-anchor="{}">{}</text></g>'
        ).format(
            f"{one.name}: {one.intensity:.3g} MACs per word, {one.macs_per_cycle:.3g} MACs "
            f"per cycle",
            at_x,
            at_y,
            at_x - 11 if left else at_x + 11,
            round(middle + 4.5, 1),
            "end" if left else "start",
            name,
        )
    return svg
