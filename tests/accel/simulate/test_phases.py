"""Phases are read from valid bits alone, up to the last result."""

import numpy as np
import pytest

from accel.machines.counters import PHASES
from accel.simulate.phases import Bits, labels, phase_counts
from accel.simulate.simulation import LostResultError


def bits(drawing: str) -> tuple[Bits, str]:
    """What is drawn, and what must be found."""
    lines = [line.split() for line in drawing.strip().splitlines()]
    rows = [np.array([sign == "x" for sign in row]) for _, row in lines[:4]]
    return Bits(*rows), lines[4][0]


def letters(found: np.ndarray) -> str:
    return "".join("LFSD."[label] for label in found)


# Time runs to the right; a cross is a set bit, and the letters say what must be found:
# Load, Fill, Stream, Drain, a point for a stall.
CASES = {
    # 2 x 2 PEs, three items, two tiles: load 2, fill 1, stream 3, drain 1.
    "single": (
        """
        loading    xx.....xx.........
        active     ..xxxxx..xxxxx....
        streaming  ...xxx....xxx.....
        captured   ...xxxx...xxxx....
                   LLFSSSDLLFSSSD
        """,
        False,
    ),
    # One PE: nothing to fill, nothing to drain.
    "one PE": (
        """
        loading    x..x.....
        active     .xx.xx...
        streaming  .xx.xx...
        captured   .xx.xx...
                   LSSLSS
        """,
        False,
    ),
    # The second tile loads under the first; the array waits for it.
    "shadow": (
        """
        loading    xx..xx.......
        active     ..xxx.xxx....
        streaming  ...xx..xx....
        captured   ...xxx.xxx...
                   LLFSS..SSD
        """,
        True,
    ),
    # The second tile loads while the first is on its way to the first result.
    "shadow, early": (
        """
        loading    xxxxxx......
        active     ...xxxxxx...
        streaming  .....x.x....
        captured   .....xxxx...
                   LLLFFS.SD
        """,
        True,
    ),
    # Nothing is loaded: a tile begins with its first operand. 2 x 2 PEs, one operand.
    "os": (
        """
        loading    ............
        active     xxx..xxx....
        streaming  ..x....x....
        captured   ...xx...xx..
                   FFSDDFFSDD
        """,
        False,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_cycle_has_the_phase_drawn_by_hand(name):
    drawing, overlapped = CASES[name]
    seen, expected = bits(drawing)
    assert letters(labels(seen, overlapped=overlapped)) == expected


@pytest.mark.parametrize("name", CASES)
def test_counts_are_those_of_the_labels(name):
    drawing, overlapped = CASES[name]
    seen, expected = bits(drawing)
    found = phase_counts(seen, overlapped=overlapped)
    counted = {phase: getattr(found, phase) for phase in PHASES}
    assert counted == {
        phase: expected.count(letter) for phase, letter in zip(PHASES, "LFSD.", strict=True)
    }
    assert found.cycles == len(expected)
    assert all(type(count) is int for count in found)


@pytest.mark.parametrize("name", CASES)
def test_surplus_edges_change_nothing_and_missing_ones_do(name):
    drawing, overlapped = CASES[name]
    seen, expected = bits(drawing)
    cut = lambda edges: Bits(*(row[:edges] for row in seen))
    found = labels(cut(len(expected)), overlapped=overlapped)
    assert letters(found) == expected
    short = labels(cut(len(expected) - 1), overlapped=overlapped)
    assert letters(short) == expected[:-1]


@pytest.mark.parametrize("row", ["streaming", "captured"])
def test_no_result_is_lost(row):
    seen, _ = bits(CASES["single"][0])
    with pytest.raises(LostResultError, match="no result came out"):
        phase_counts(seen._replace(**{row: np.zeros_like(seen.captured)}))
    # Those of the second tile alone.
    second = getattr(seen, row) & (np.arange(len(seen.captured)) < 7)
    with pytest.raises(LostResultError, match="no result came out"):
        phase_counts(seen._replace(**{row: second}))


def test_nothing_seen_is_lost():
    with pytest.raises(LostResultError, match="run more clock edges"):
        labels(Bits(*np.zeros((4, 5), bool)))


def test_pieces_are_joined_in_order():
    seen, _ = bits(CASES["shadow"][0])
    cuts = ((0, 3), (3, 4), (4, 13))
    pieces = [Bits(*(row[first:last] for row in seen)) for first, last in cuts]
    joined = Bits.joined(pieces)
    assert all(np.array_equal(a, b) for a, b in zip(joined, seen, strict=True))
