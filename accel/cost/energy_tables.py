"""The presets: what the tables say, and said aloud what was chosen where they say nothing.

No table gives a register of one processing element or the step to its neighbour at 45 or
7 nm. Both are taken relative to the MAC: the register as the 2-byte register of ZigZag's
tpu_like file to its MAC, the step as the neighbour to the register file of Eyeriss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from accel.cost import published_energies as published
from accel.cost.energy_table import EnergyTable
from accel.cost.units import exact, plain
from accel.machines.provenance import Provenance, Status
from configs.errors import InputError


def _number(value: Fraction, unit: str, source: str, status: Status) -> Provenance:
    return Provenance(value=plain(value), unit=unit, source=source, status=status)


def _per_byte(number: Provenance, bits: int, *, unit: str = "pJ/byte") -> Provenance:
    source = f"{number.source}: {number.value} {number.unit} per {bits} bits"
    return _number(exact(number.value) * 8 / bits, unit, source, "derived")


def _per_bit(number: Provenance, bits: int, *, unit: str = "pJ/bit") -> Provenance:
    source = f"{number.source}: {number.value} {number.unit} per {bits} bits"
    return _number(exact(number.value) / bits, unit, source, "derived")


def _mac(operations: Mapping[str, Provenance], add: str) -> Provenance:
    parts = operations["int8_multiply"], operations[add]
    recalled = any(part.status == "recalled" for part in parts)
    kind = add.replace("_", " ")
    source = f"{parts[1].source}: int8 multiply {parts[0].value} + {kind} {parts[1].value}"
    value = exact(parts[0].value) + exact(parts[1].value)
    return _number(value, "pJ", source, "recalled" if recalled else "derived")


_ZIGZAG_MAC = published.ZIGZAG_TPU_LIKE["mac"]
_ZIGZAG_REGISTER = _per_byte(published.ZIGZAG_TPU_LIKE["register"], 16)
_REGISTER_TO_MAC = exact(_ZIGZAG_REGISTER.value) / exact(_ZIGZAG_MAC.value)
_HOP_TO_REGISTER = exact(published.EYERISS_65NM["neighbour"].value) / exact(
    published.EYERISS_65NM["register"].value
)


def _register(mac: Provenance) -> Provenance:
    value = _REGISTER_TO_MAC * exact(mac.value)
    source = (
        f"{float(_REGISTER_TO_MAC):g} of a MAC a byte, as the 2-byte register of "
        f"{_ZIGZAG_MAC.source}"
    )
    return _number(value, "pJ/byte", source, "assumed")


def _hop(register: Provenance) -> Provenance:
    value = _HOP_TO_REGISTER * exact(register.value)
    source = (
        f"{_HOP_TO_REGISTER} of a register, as in {published.EYERISS_65NM['alu'].source}"
    )
    return _number(value, "pJ/byte", source, "assumed")


def _static_none() -> Provenance:
    source = "no static power in the table: 0, give your chip's"
    return Provenance(value=0, unit="W", source=source, status="assumed")


def _sram(points: Mapping[int, Provenance]) -> tuple[tuple[int, Provenance], ...]:
    return tuple((size, _per_byte(access, 64)) for size, access in points.items())


def _from_tables(
    name: str,
    title: str,
    operations: Mapping[str, Provenance],
    sram: Mapping[int, Provenance],
    dram: Provenance,
) -> EnergyTable:
    mac = _mac(operations, "int32_add")
    return EnergyTable(
        name=name,
        title=title,
        mac=mac,
        narrow_mac=_mac(operations, "int8_add"),
        register=_register(mac),
        hop=_hop(_register(mac)),
        sram=_sram(sram),
        dram=dram,
        static=_static_none(),
    )


HOROWITZ_45NM = _from_tables(
    "horowitz_45nm",
    "45 nm, Horowitz, ISSCC 2014; DRAM 20 pJ/bit",
    published.OPERATIONS_45NM,
    published.SRAM_45NM,
    _per_bit(published.DRAM_45NM, 32),
)
TPUV4I_7NM = _from_tables(
    "tpuv4i_7nm",
    "7 nm, TPUv4i paper, ISCA 2021; DRAM DDR3/4, 20.3 pJ/bit",
    published.OPERATIONS_7NM,
    published.SRAM_7NM,
    _per_bit(published.DRAM_7NM["DDR3/4"][0], 64),
)


def _eyeriss() -> EnergyTable:
    """Words of 16 bits there, bytes here: moving a byte costs half of a word's."""
    costs, unit = published.EYERISS_65NM, "ALU ops/byte"
    buffer = _per_byte(costs["buffer"], 16, unit=unit)
    return EnergyTable(
        name="eyeriss_65nm_relative",
        title="65 nm, Eyeriss, ISCA 2016, relative to one 16-bit multiply-accumulate",
        unit="ALU ops",
        mac=costs["alu"],
        register=_per_byte(costs["register"], 16, unit=unit),
        hop=_per_byte(costs["neighbour"], 16, unit=unit),
        sram=((100 * published.KB, buffer),),
        dram=_per_bit(costs["dram"], 16, unit="ALU ops/bit"),
        static=_static_none(),
    )


def _zigzag() -> EnergyTable:
    """One SRAM size; neighbours, which the tool leaves out, as everywhere here."""
    costs = published.ZIGZAG_TPU_LIKE
    return EnergyTable(
        name="zigzag_tpu_like",
        title="ZigZag's shipped hardware file tpu_like",
        mac=costs["mac"],
        register=_ZIGZAG_REGISTER,
        hop=_hop(_ZIGZAG_REGISTER),
        sram=((2 * published.MB, _per_byte(costs["sram_2mb"], 2048)),),
        dram=_per_bit(costs["dram"], 64),
        static=_static_none(),
    )


TABLES = {
    preset.name: preset for preset in (HOROWITZ_45NM, TPUV4I_7NM, _eyeriss(), _zigzag())
}


def find(name: str) -> EnergyTable:
    """The preset of that name.

    Raises:
      InputError: there is none; the known ones are listed.
    """
    if name not in TABLES:
        raise InputError(
            f"`energy` (={name!r}) must be one of {', '.join(TABLES)}, or a file that "
            f"ends in .toml."
        )
    return TABLES[name]


def with_tpu_v1_idle(preset: EnergyTable) -> EnergyTable:
    """The preset with the idle power of a TPU v1 die, of a process of its own (28 nm)."""
    return replace(preset, static=published.TPU_V1_IDLE)
