"""Units: exact conversions, and what is no unit."""

from fractions import Fraction

import pytest

from accel.cost import units
from accel.machines.provenance import Provenance


def test_conversions_are_exact():
    assert units.pj("nJ") == 1000
    assert units.pj("fJ") == Fraction(1, 1000)
    assert units.pj_per_byte("pJ/bit") == 8 * units.pj_per_bit("pJ/bit") == 8
    for unit in ("pJ/byte", "pJ/B", "pJ/8 bit", "pJ/8 bits", "pJ/1 byte"):
        assert units.pj_per_byte(unit) == 1
    assert units.pj_per_byte("nJ/64 bit") == 125
    assert units.watts("mW") * 1000 == units.watts("W") == 1


@pytest.mark.parametrize(
    "unit", ["", "pj", "PJ", "pJ/", "pJ/0 bit", "pJ/word", "J/bit", "pJ/bit/s", "pJ/-8 bit"]
)
def test_what_is_no_unit(unit):
    assert units.pj(unit) is None
    assert units.pj_per_byte(unit) is None
    assert units.pj_per_bit(unit) is None
    assert units.watts(unit) is None


def test_capacities():
    assert units.capacity_bytes("8 KB") == units.capacity_bytes("8KiB") == 8192
    assert units.capacity_bytes("1 MB") == 1 << 20
    assert units.capacity_bytes("512 B") == 512
    for text in ("", "8", "8 kb", "0 B", "-1 KB", "1.5 MB", "8 KB "):
        assert units.capacity_bytes(text) is None


def test_decimal_text_is_exact_and_halves_go_up():
    assert units.exact(0.1) + units.exact(0.2) == Fraction(3, 10)
    assert [units.half_up(Fraction(n, 2)) for n in (1, 2, 3, 5)] == [1, 1, 2, 3]
    assert units.half_up(Fraction(1499, 1000)) == 1


def test_converted_keeps_source_and_status():
    given = Provenance(value=0.1, unit="nJ", source="a table", status="confirmed")
    found = units.converted(given, Fraction(1000), "pJ")
    assert found == Provenance(value=100, unit="pJ", source="a table", status="confirmed")
