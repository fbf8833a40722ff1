"""Bars inside table cells, as SVG: no script, no style attribute, as wide as the cell.

Lengths are percentages, so that a bar fits a phone and a sheet of paper alike. The number
stands in a cell beside it; the bar repeats it, and its title names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, log10
from typing import NamedTuple

from markupsafe import Markup

from accel.machines.counters import PHASES

_BAR = Markup('<svg class="bar {}" role="img" width="100%" height="14"><title>{}</title>')
_RECT = Markup('<rect class="{}" x="{}%" y="{}" width="{}%" height="{}"{}></rect>')
_END = Markup("</svg>")


class Decades(NamedTuple):
    """A logarithmic axis from 10^low to 10^high."""

    low: int
    high: int

    def share(self, value: float) -> float:
        """Where the value stands: 0 at the low end, 1 at the high."""
        return (log10(value) - self.low) / (self.high - self.low)

    @property
    def ticks(self) -> list[float]:
        """At most five of its powers of ten."""
        step = ceil((self.high - self.low + 1) / 5)
        return [10.0**power for power in range(self.low, self.high + 1, step)]


def decades(values: Iterable[float]) -> Decades:
    """Powers of ten around positive values; the smallest keeps a bar that can be seen.

    >>> decades([20, 30_000])
    Decades(low=1, high=5)
    >>> decades([100])
    Decades(low=1, high=2)
    """
    logs = [log10(value) for value in values]
    low = ceil(min(logs)) - 1
    return Decades(low, max(ceil(max(logs)), low + 1))


def bar(fraction: float, title: str, kind: str = "share") -> Markup:
    """One bar of a fraction 0..1 of the cell."""
    width = _percent(fraction)
    ground = _RECT.format("ground", 0, 0, 100, 14, "")
    return (
        _BAR.format(kind, title) + ground + _RECT.format(kind, 0, 0, width, 14, "") + _END
    )


def phases_bar(counts: Sequence[tuple[str, int]], title: str) -> Markup:
    """The phases of a layer one after the other, each with a hatch of its own."""
    whole = sum(count for _, count in counts)
    svg, start = _BAR.format("phases", title), 0
    for phase, count in counts:
        if count:
            x, width = _percent(start / whole), _percent(count / whole)
            svg += _RECT.format(phase, x, 0, width, 14, "")
            svg += _RECT.format("hatch", x, 0, width, 14, _hatched(phase))
        start += count
    return svg + _END


def signed_bar(value: float, low: float, high: float, title: str) -> Markup:
    """A bar from zero to the value, in a cell that spans low..high (which hold zero)."""
    span = (high - low) or 1
    zero, end = (-low) / span, (value - low) / span
    left, width = _percent(min(zero, end)), _percent(abs(end - zero))
    kind = "positive" if value >= 0 else "negative"
    svg = _BAR.format("signed", title) + _RECT.format("ground", 0, 0, 100, 14, "")
    svg += _RECT.format(kind, left, 0, width, 14, "")
    line = Markup('<line class="zero" x1="{0}%" x2="{0}%" y1="0" y2="14"></line>')
    return svg + line.format(_percent(zero)) + _END


def axis(scale: Decades) -> Markup:
    """The ticks of a logarithmic axis, for the head of a column of bars."""
    svg = Markup('<svg class="axis" role="img" width="100%" height="16">')
    svg += Markup("<title>{}</title>").format(
        f"Logarithmic scale from {_power(10.0**scale.low)} to {_power(10.0**scale.high)}"
    )
    text = Markup('<text x="{}%" y="12" text-anchor="{}">{}</text>')
    for tick in scale.ticks:
        at = scale.share(tick)
        anchor = "start" if at < 0.05 else "end" if at > 0.95 else "middle"
        svg += text.format(_percent(at), anchor, _power(tick))
    return svg + _END


def hatches() -> Markup:
    """The patterns that tell phases apart without colour; once a page."""
    lines = {
        "load": "M0 6 L6 0",
        "fill": "M0 0 L6 6",
        "drain": "M0 3 L6 3",
        "stall": "M0 0 L6 6 M0 6 L6 0",
    }
    pattern = Markup(
        '<pattern id="hatch-{0}" width="6" height="6" patternUnits="userSpaceOnUse">'
        '<path class="ink-{0}" d="{1}"></path></pattern>'
    )
    drawn = [pattern.format(phase, path) for phase, path in lines.items()]
    return Markup(
        '<svg class="defs" aria-hidden="true" width="0" height="0"><defs>{}</defs></svg>'
    ).format(Markup("").join(drawn))


def key(phase: str) -> Markup:
    """The sample of a phase in a legend."""
    svg = Markup('<svg class="key" aria-hidden="true" width="26" height="14">')
    svg += _RECT.format(phase, 0, 0, 100, 14, "")
    return svg + _RECT.format("hatch", 0, 0, 100, 14, _hatched(phase)) + _END


def _hatched(phase: str) -> Markup:
    if phase not in PHASES:
        raise ValueError(f"no hatch for phase {phase!r}")
    # Streaming is what a machine is for: plain, and everything else hatched.
    name = "none" if phase == "stream" else Markup("url(#hatch-{})").format(phase)
    return Markup(' fill="{}"').format(name)


def _percent(fraction: float) -> str:
    return f"{100 * min(max(fraction, 0), 1):.3f}".rstrip("0").rstrip(".")


def _power(value: float) -> str:
    """A power of ten, short enough for a tick.

    >>> [_power(value) for value in (0.1, 100.0, 10_000.0, 1e9)]
    ['0.1', '100', '10 k', '1,000 M']
    """
    for unit, name in ((1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:,.0f}{name}"
    return f"{value:g}"
