"""Energy of a run from its traffic: whole femtojoules by level and by operand.

    E = macs * e_mac + sum over levels and operands of bytes * e_byte + cycles * e_static

`prices` rounds every factor once to whole thousandths of the preset's unit (fJ; of a
relative preset, thousandths of an ALU operation); all that follows is sums and products of
whole numbers, exact below 2^63 (9.2 kJ; `too_large` tells).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from accel.cost import sram
from accel.cost.energy_table import EnergyTable, thousandths
from accel.cost.traffic import OPERANDS, Traffic
from accel.cost.units import exact, half_up
from accel.machines.counters import Count

LEVELS = ("dram", "buffer", "register", "hop")


class Capacities(NamedTuple):
    """Bytes of the SRAM that each operand lies in; a shared one has its size twice."""

    inputs: Count
    weights: Count
    sums: Count
    outputs: Count


class Prices(NamedTuple):
    """Factors in whole thousandths of the preset's unit: fJ; ints or int64 arrays."""

    # Per multiply-accumulate.
    mac: Count
    # Per byte.
    register: Count
    hop: Count
    dram: Count
    buffer_inputs: Count
    buffer_weights: Count
    buffer_sums: Count
    buffer_outputs: Count
    # Per cycle.
    static: Count


class Energy(NamedTuple):
    """Thousandths of the preset's unit: fJ, by level and operand; a pytree.

    A buffer's share has both its sides, towards the DRAM and towards the array.
    """

    dram_inputs: Count
    dram_weights: Count
    dram_sums: Count
    dram_outputs: Count
    buffer_inputs: Count
    buffer_weights: Count
    buffer_sums: Count
    buffer_outputs: Count
    register_inputs: Count
    register_weights: Count
    register_sums: Count
    hop_inputs: Count
    hop_weights: Count
    hop_sums: Count
    mac: Count
    static: Count

    @property
    def total(self) -> Count:
        return sum(self)

    def by_level(self) -> dict[str, Count]:
        """dram, buffer, register, hop, mac, static; their sum is the total."""
        levels = {level: self._sum(f"{level}_", "") for level in LEVELS}
        return levels | {"mac": self.mac, "static": self.static}

    def by_operand(self) -> dict[str, Count]:
        """inputs, weights, sums, outputs: what moving each costs at all levels."""
        return {operand: self._sum("", f"_{operand}") for operand in OPERANDS}

    def to_dict(self, preset: EnergyTable) -> dict[str, Any]:
        """For JSON: the table, its sums, and their unit. Of one run, not of arrays."""
        return {
            "preset": preset.name,
            "unit": preset.small_unit,
            "total": int(self.total),
            "by_level": {key: int(value) for key, value in self.by_level().items()},
            "by_operand": {key: int(value) for key, value in self.by_operand().items()},
            "table": {key: int(value) for key, value in self._asdict().items()},
        }

    def _sum(self, start: str, end: str) -> Count:
        named = self._asdict().items()
        return sum(v for k, v in named if k.startswith(start) and k.endswith(end))


def prices(preset: EnergyTable, capacities: Capacities, *, clock_mhz: Count) -> Prices:
    """Every factor rounded once, half up; capacities and clock are ints or int64 arrays."""
    buffers = (sram.whole(size, preset.sram_points) for size in capacities)
    return Prices(
        thousandths(exact(preset.mac.value)),
        thousandths(exact(preset.register.value)),
        thousandths(exact(preset.hop.value)),
        thousandths(preset.dram_per_byte),
        *buffers,
        static=static_per_cycle(preset, clock_mhz),
    )


def static_per_cycle(preset: EnergyTable, clock_mhz: Count) -> Count:
    """Static energy of a cycle, fJ: nanowatts / MHz, rounded half up.

    28 W at 700 MHz are 40 nJ a cycle.
    """
    nanowatts = half_up(exact(preset.static.value) * 10**9)
    return (2 * nanowatts + clock_mhz) // (2 * clock_mhz)


def energy(traffic: Traffic, *, macs: Count, cycles: Count, prices: Prices) -> Energy:
    """Energy of a run, for whole numbers or int64 arrays that broadcast.

    Raises:
      TypeError: an array of whole numbers is narrower than int64, where fJ overflow.
    """
    for value in (*traffic, *prices, macs, cycles):
        kind = str(getattr(value, "dtype", "int64"))
        if "int" in kind and kind != "int64":
            raise TypeError(f"counts must be int or int64 arrays, not {kind}.")
    t, p = traffic, prices
    return Energy(
        dram_inputs=t.dram_inputs * p.dram,
        dram_weights=t.dram_weights * p.dram,
        dram_sums=(t.dram_sum_reads + t.dram_sum_writes) * p.dram,
        dram_outputs=t.dram_outputs * p.dram,
        buffer_inputs=(t.fill_inputs + t.buffer_inputs) * p.buffer_inputs,
        buffer_weights=(t.fill_weights + t.buffer_weights) * p.buffer_weights,
        buffer_sums=(t.fill_sums + t.drain_sums + t.buffer_sum_reads + t.buffer_sum_writes)
        * p.buffer_sums,
        buffer_outputs=(t.drain_outputs + t.buffer_outputs) * p.buffer_outputs,
        register_inputs=t.register_inputs * p.register,
        register_weights=t.register_weights * p.register,
        register_sums=t.register_sums * p.register,
        hop_inputs=t.hop_inputs * p.hop,
        hop_weights=t.hop_weights * p.hop,
        hop_sums=t.hop_sums * p.hop,
        mac=macs * p.mac,
        static=cycles * p.static,
    )


def too_large(traffic: Traffic, *, macs: Count, cycles: Count, prices: Prices) -> Any:
    """Whether the total may pass 2^62: the same sums in floating point do not wrap."""
    moved = Traffic(*(value / 1 for value in traffic))
    factors = Prices(*(value / 1 for value in prices))
    rough = energy(moved, macs=macs / 1, cycles=cycles / 1, prices=factors)
    return rough.total >= 2.0**62


def notes(preset: EnergyTable, capacities: Capacities) -> list[str]:
    """What a reader of these energies must know: clamped sizes, assumed numbers."""
    low, high = min(preset.sram_points), max(preset.sram_points)
    said = [
        f"The {operand} buffer of {size} bytes is outside the SRAM table ({low} to {high} "
        f"bytes); the nearest point's energy per byte stands for it."
        for operand, size in zip(Capacities._fields, capacities, strict=True)
        if sram.clamped(size, preset.sram_points)
    ]
    said += [
        f"{name} is {number.status}: {number.value} {number.unit} ({number.source})."
        for name, number in preset.numbers.items()
        if number.status in ("assumed", "recalled", "fitted") and name != "narrow_mac"
    ]
    return said
