"""Bars are as long as their numbers."""

import re

import pytest

from accel.show import bars


def rects(svg, kind: str = "") -> list[tuple[str, float, float]]:
    found = re.findall(
        r'<rect class="(\w+)" x="([\d.]+)%" y="0" width="([\d.]+)%"', str(svg)
    )
    return [(name, float(x), float(w)) for name, x, w in found if not kind or name == kind]


def test_bars_are_as_long_as_their_numbers():
    assert rects(bars.bar(0.125, "t"), "share") == [("share", 0, 12.5)]
    counts = [("load", 10), ("fill", 0), ("stream", 25), ("drain", 5), ("stall", 10)]
    drawn = [one for one in rects(bars.phases_bar(counts, "t")) if one[0] != "hatch"]
    assert drawn == [
        ("load", 0, 20),
        ("stream", 20, 50),
        ("drain", 70, 10),
        ("stall", 80, 20),
    ]
    assert rects(bars.signed_bar(-30, -60, 40, "t"), "negative") == [("negative", 30, 30)]
    assert rects(bars.signed_bar(40, -60, 40, "t"), "positive") == [("positive", 60, 40)]
    scale = bars.decades([50, 900_000])
    assert scale == (1, 6)
    assert scale.share(1000) == pytest.approx(0.4)
    assert 'x="40%"' in str(bars.axis(scale))
    with pytest.raises(ValueError, match="no hatch"):
        bars.key("load' onload='x")
