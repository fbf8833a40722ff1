"""A figure is printed whole, or its column is named: at every width."""

import io
import re

import pytest
from rich.console import Console

from configs.tables import Figures, count

TITLES = ("layer", "cycles", "busy %", "DRAM", "energy")
ROWS = [
    ("dense1_with_a_long_name", "3,078,112", "99.3", "121.4 MB", "2.615 mJ"),
    ("dense2_with_a_long_name", "9,412,589", "4.1", "7 B", "670.1 uJ"),
]


def shown(width: int, least=()) -> str:
    table = Figures(*TITLES, least=least)
    for row in ROWS:
        table.add_row(*row)
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    return out.getvalue()


@pytest.mark.parametrize("width", range(24, 100))
@pytest.mark.parametrize("least", [(), ("cycles", "energy"), ("busy %",)])
def test_figures_are_whole_or_their_column_is_named(width, least) -> None:
    text = shown(width, least)
    body, _, left = text.partition("Left out in this width:")
    said = re.sub(r"\s+", " ", left)
    for at, title in enumerate(TITLES[1:], 1):
        if title in said:
            continue
        for row in ROWS:
            assert row[at] in body, (width, title)
    assert "…" not in text
    folded = re.sub(r"\s", "", body)
    assert "dense1" in folded
    assert "dense2" in folded
    assert all(len(line) <= width for line in body.splitlines())


def test_nothing_is_left_out_where_there_is_room() -> None:
    assert "Left out" not in shown(100)
    for row in ROWS:
        assert all(cell in shown(100) for cell in row)


def test_the_least_goes_first() -> None:
    """Then the others from the right."""
    assert "Left out in this width: busy %." in shown(50, ("busy %",))
    assert "Left out in this width: energy." in shown(50)


def test_counts_in_words() -> None:
    assert count(1, "epoch") == "1 epoch"
    assert count(1_234, "design") == "1,234 designs"
