"""What an energy preset holds, and the same in whole numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Literal

from accel.cost.units import exact, half_up
from accel.machines.provenance import Provenance
from configs.checks import check_types, require
from configs.errors import InputError

# Beyond any chip; they keep a whole network's energy in thousandths far below 2^63.
_MOST = 10**6
_MOST_WATTS = 1000
_LEAST_WATTS = 0.001
_GIVEN = "given by the user"
# What may cost nothing; all else divides something somewhere.
_FREE = ("register", "hop", "dram", "dram_pj_per_bit")


@dataclass(frozen=True, kw_only=True)
class EnergyTable:
    """Energies of one technology; each number with its unit, source and status.

    `unit` is that of an energy: pJ, or for a relative table "ALU ops", the energy of one
    multiply-accumulate there.

    Invariant: every energy is at least half a thousandth of the unit (per byte, where it is
    for data), so that no cost is rounded away; register, hop and DRAM may also be 0.
    """

    name: str
    # One line: process, and where the numbers come from.
    title: str
    unit: Literal["pJ", "ALU ops"] = "pJ"
    # int8 multiply and int32 add: `unit`.
    mac: Provenance
    # The same with an add of 8 bits, for comparison only.
    narrow_mac: Provenance | None = None
    # Register beside a multiplier, and the step into that of the neighbour: `unit`/byte.
    register: Provenance
    hop: Provenance
    # Capacity in bytes, and `unit`/byte of an SRAM of that capacity.
    sram: tuple[tuple[int, Provenance], ...]
    # `unit`/bit.
    dram: Provenance
    # Drawn in every cycle, busy or not: W.
    static: Provenance

    def __post_init__(self) -> None:
        check_types(self)
        require(self, bool(self.sram), "sram", "must have a point; add a capacity.")
        sizes = [capacity for capacity, _ in self.sram]
        rule = min(sizes) >= 1 and len(set(sizes)) == len(sizes)
        require(self, rule, "sram", "must have positive capacities, each once.")
        for field, number, per in self._numbers():
            bytes_per = 8 if per == "/bit" else 1
            check_energy(field, number, f"{self.unit}{per}", bytes_per)
        check_static(self.static, self.unit)

    def _numbers(self) -> Iterator[tuple[str, Provenance, str]]:
        yield "mac", self.mac, ""
        if self.narrow_mac:
            yield "narrow_mac", self.narrow_mac, ""
        yield "register", self.register, "/byte"
        yield "hop", self.hop, "/byte"
        for capacity, number in self.sram:
            yield f"sram {capacity} B", number, "/byte"
        yield "dram", self.dram, "/bit"

    @property
    def numbers(self) -> dict[str, Provenance]:
        """Every number by name."""
        named = {field: number for field, number, _ in self._numbers()}
        return named | {"static": self.static}

    @property
    def small_unit(self) -> str:
        """Unit of the whole numbers: a thousandth of `unit`."""
        return "fJ" if self.unit == "pJ" else f"0.001 {self.unit}"

    @cached_property
    def sram_points(self) -> dict[int, float]:
        """Thousandths a byte by capacity, unrounded: what `sram.interpolate` takes."""
        return {size: float(exact(one.value) * 1000) for size, one in self.sram}

    @property
    def dram_per_byte(self) -> Fraction:
        return exact(self.dram.value) * 8

    def to_dict(self) -> dict:
        """For reports: every number with its unit, source and status."""
        numbers = {name: number.to_dict() for name, number in self.numbers.items()}
        return {"name": self.name, "title": self.title, "numbers": numbers}


def thousandths(value: Fraction) -> int:
    """Whole thousandths of an energy, rounded once, half up: pJ to fJ."""
    return half_up(value * 1000)


def with_dram(preset: EnergyTable, dram_pj_per_bit: float) -> EnergyTable:
    """The preset with a DRAM of the user's: from 4 (HBM2) over 8 and 20 to 45 pJ/bit.

    Raises:
      InputError: the preset is a relative one, or the energy is not one.
    """
    if preset.unit != "pJ":
        raise InputError(
            f"`dram_pj_per_bit` (={dram_pj_per_bit}) must be left out with the relative "
            f"preset {preset.name}; choose one in pJ."
        )
    _require_number("dram_pj_per_bit", dram_pj_per_bit, "20")
    number = Provenance(
        value=dram_pj_per_bit, unit="pJ/bit", source=_GIVEN, status="assumed"
    )
    check_energy("dram_pj_per_bit", number, "pJ/bit", 8)
    return replace(preset, dram=number)


def with_static(preset: EnergyTable, static_w: float, source: str = _GIVEN) -> EnergyTable:
    """The preset with a static power, such as the 28 W that an idle TPU v1 draws.

    Raises:
      InputError: the preset is a relative one, or the power is not one.
    """
    _require_number("static_w", static_w, "28")
    number = Provenance(value=static_w, unit="W", source=source, status="assumed")
    check_static(number, preset.unit, "static_w")
    return replace(preset, static=number)


def _require_number(field: str, value: float, example: str) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # Written so that NaN fails too.
    if not (number and 0 <= value < float("inf")):
        raise InputError(
            f"`{field}` (={value}) must be a finite number, 0 or more; try {example}."
        )


def check_energy(field: str, number: Provenance, unit: str, bytes_per: int = 1) -> None:
    """Refuses an energy with another unit, a negative one, a huge one, a vanishing one."""
    if number.unit != unit:
        raise InputError(f"`{field}` (in {number.unit!r}) must be in {unit!r}.")
    value = exact(number.value) * bytes_per
    zero = "0, or " if field in _FREE else ""
    if not ((zero and value == 0) or (value <= _MOST and thousandths(value) >= 1)):
        least = 0.0005 / bytes_per
        raise InputError(
            f"`{field}` (={number.value} {unit}) must be {zero}from {least:g} to "
            f"{_MOST // bytes_per} {unit}; check the value and its unit."
        )


def check_static(number: Provenance, unit: str, field: str = "static") -> None:
    """Refuses a power that is not in W, of a relative preset, or no chip's."""
    if number.unit != "W":
        raise InputError(f"`{field}` (in {number.unit!r}) must be in 'W'.")
    if unit != "pJ" and number.value != 0:
        raise InputError(
            f"`{field}` (={number.value} W) must be 0 in a relative preset, which knows no "
            f"watt; choose a preset in pJ."
        )
    if not (number.value == 0 or _LEAST_WATTS <= number.value <= _MOST_WATTS):
        raise InputError(
            f"`{field}` (={number.value} W) must be 0, or from {_LEAST_WATTS} to "
            f"{_MOST_WATTS} W; check the value and its unit."
        )
