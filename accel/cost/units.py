"""Units of energy and power, converted exactly: decimal text is a fraction, no float is."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

from accel.machines.provenance import Provenance

# In pJ, and in W.
_ENERGIES = {"fJ": Fraction(1, 1000), "pJ": Fraction(1), "nJ": Fraction(1000)}
_POWERS = {"uW": Fraction(1, 10**6), "mW": Fraction(1, 1000), "W": Fraction(1)}
_BYTES = {"B": 1, "KB": 1 << 10, "KiB": 1 << 10, "MB": 1 << 20, "MiB": 1 << 20}
_PER = re.compile(r"(fJ|pJ|nJ)/(?:([1-9][0-9]{0,5}) ?)?(bits?|bytes?|B)")
_CAPACITY = re.compile(r"([1-9][0-9]{0,11}) ?(B|KB|KiB|MB|MiB)")


def exact(value: float) -> Fraction:
    """A number as it is written: 0.3 is 3/10.

    >>> exact(0.1) + exact(0.2) == exact(0.3)
    True
    """
    return Fraction(str(value))


def half_up(value: Fraction) -> int:
    """The nearest whole number; a half goes up.

    >>> half_up(Fraction(5, 2)), half_up(Fraction(3, 2)), half_up(Fraction(1, 3))
    (3, 2, 0)
    """
    return int((value + Fraction(1, 2)).__floor__())


def pj(unit: str) -> Fraction | None:
    """How many pJ the unit is, or None if it is no energy."""
    return _ENERGIES.get(unit)


def pj_per_byte(unit: str) -> Fraction | None:
    """How many pJ a byte the unit is: "pJ/bit", "fJ/byte", "pJ/64 bit"; None if it is not.

    >>> pj_per_byte("pJ/bit"), pj_per_byte("pJ/64 bit"), pj_per_byte("pJ")
    (Fraction(8, 1), Fraction(1, 8), None)
    """
    match = _PER.fullmatch(unit)
    if not match:
        return None
    energy, count, per = match.groups()
    bits = int(count or 1) * (1 if per.startswith("bit") else 8)
    return _ENERGIES[energy] * 8 / bits


def pj_per_bit(unit: str) -> Fraction | None:
    """The same for a bit."""
    factor = pj_per_byte(unit)
    return None if factor is None else factor / 8


def watts(unit: str) -> Fraction | None:
    """How many watts the unit is, or None if it is no power."""
    return _POWERS.get(unit)


def capacity_bytes(text: str) -> int | None:
    """Bytes of "8 KB", "24 MiB" or "512 B" (K is 1024 here, as in memories), else None."""
    match = _CAPACITY.fullmatch(text)
    return int(match[1]) * _BYTES[match[2]] if match else None


def converted(number: Provenance, factor: Fraction, unit: str) -> Provenance:
    """The same number in another unit."""
    return replace(number, value=plain(exact(number.value) * factor), unit=unit)


def plain(value: Fraction) -> int | float:
    """A fraction as a number for people: whole where it is whole."""
    return int(value) if value.denominator == 1 else float(value)
