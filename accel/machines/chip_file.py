"""A user's machine as a file of TOML: array, buffers, DRAM and clock, with units."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from accel.cost import energy_tables, units
from accel.cost.too_small import given_in
from accel.machines.chips import CHIPS, SIDES, Chip
from accel.machines.machine import Dot, Mac, Systolic, Tile
from accel.machines.memory import Memory
from accel.machines.provenance import Provenance
from accel.machines.toml_lines import TomlLines
from configs.checks import brief
from configs.errors import InputError
from train import rundir

_QUANTITY = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?) ?([A-Za-z/]{1,8})")
# Decimal, as rates are; in MB/s and in MHz.
_RATES = {"MB/s": Fraction(1), "GB/s": Fraction(1000), "TB/s": Fraction(10**6)}
_CLOCKS = {"kHz": Fraction(1, 1000), "MHz": Fraction(1), "GHz": Fraction(1000)}
_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,59}")


class _Field(NamedTuple):
    """An entry: the field it sets, how its text is read, what a right one looks like."""

    name: str
    read: Callable[[str], int | None]
    sample: str
    unit: str


def _decimal(factors: dict[str, Fraction]) -> Callable[[str], int | None]:
    """Reader of "34 GB/s" and the like into a whole number of the first unit."""

    def read(text: str) -> int | None:
        match = _QUANTITY.fullmatch(text)
        if not match or match[2] not in factors:
            return None
        value = Fraction(match[1]) * factors[match[2]]
        return int(value) if value.denominator == 1 and value > 0 else None

    return read


_RATE, _CLOCK = _decimal(_RATES), _decimal(_CLOCKS)
_FIELDS = {
    "activations": _Field("activation_bytes", units.capacity_bytes, "256 KiB", "bytes"),
    "weights": _Field("weight_bytes", units.capacity_bytes, "128 KiB", "bytes"),
    "sums": _Field("sum_bytes", units.capacity_bytes, "64 KiB", "bytes"),
    "dram": _Field("dram_mb_per_s", _RATE, "34 GB/s", "MB/s"),
    "clock": _Field("clock_mhz", _CLOCK, "700 MHz", "MHz"),
}
_PORTS = {
    f"{name}_port": _Field(f"{field}_port", units.capacity_bytes, "16 B", "bytes a cycle")
    for name, field in (
        ("activations", "activation"),
        ("weights", "weight"),
        ("sums", "sum"),
    )
}


class _Kind(NamedTuple):
    """A kind of machine: its entries with right ones, and those that may be left out."""

    made: type
    # Entry: the field it sets, and a sample.
    sides: dict[str, tuple[str, str]]
    chosen: dict[str, str]


_KINDS = {
    "systolic": _Kind(
        Systolic,
        {"rows": ("rows", "16"), "cols": ("cols", "16"), "dataflow": ("dataflow", '"ws"')},
        {"registers": "weights", "load": "load"},
    ),
    "tile": _Kind(
        Tile,
        {"inputs": ("inputs", "16"), "outputs": ("outputs", "16")},
        {"loop": "loop"},
    ),
    "dot": _Kind(Dot, {"multipliers": ("multipliers", "256")}, {}),
    "mac": _Kind(Mac, {}, {}),
}
_CHOSEN = ("machine", "double_buffered", "energy", *_PORTS)


def _samples(kind: _Kind) -> dict[str, str]:
    """Entries that must be there, each with a right one."""
    return {
        "name": '"my_chip"',
        **{key: sample for key, (_, sample) in kind.sides.items()},
        **{key: f'"{field.sample}"' for key, field in _FIELDS.items()},
    }


def load(path: Path) -> Chip:
    """The machine that a file holds; `example` writes one to start from.

    Raises:
      InputError: the file cannot be read, or an entry is missing, unknown, negative, or in
        a unit that is none; the message names file and line.
    """
    file = TomlLines(path)
    content = file.content
    kind = _kind(file, content.get("machine", "systolic"))
    known = (*_samples(kind), *kind.chosen, *_CHOSEN)
    for key in content:
        if key not in known:
            raise file.wrong(f"`{key}` is unknown; there are {', '.join(known)}", key)
    for key, sample in _samples(kind).items():
        if key not in content:
            raise file.wrong(f"`{key}` is missing; add the line {key} = {sample}")
    name = _name(file, content["name"])
    machine = _machine(file, content, kind)
    memory, sources = _memory(file, content)
    for side in SIDES:
        if side in vars(machine):
            sources[side] = _given(path, getattr(machine, side), "")
    energy = content.get("energy", "horowitz_45nm")
    if not isinstance(energy, str) or energy not in energy_tables.TABLES:
        known = ", ".join(energy_tables.TABLES)
        raise file.wrong(f"`energy` (={brief(energy)}) must be one of {known}", "energy")
    return Chip(name, machine, memory, energy, sources)


def example(path: Path) -> None:
    """Writes a file that `load` takes, to be changed."""
    lines = [
        "# A machine: sides of its array, dataflow ws, os or is; buffers, DRAM and clock.",
        *(f"{key} = {sample}" for key, sample in _samples(_KINDS["systolic"]).items()),
        "# What may be left out:",
        'machine = "systolic"  # or tile (inputs, outputs, loop), dot (multipliers), mac',
        'registers = "single"  # or "shadow"; then load = "skewed" or "global"',
        "double_buffered = true",
        'energy = "horowitz_45nm"',
        '# activations_port = "16 B"  # a cycle; likewise weights_port, sums_port',
    ]
    rundir.write_bytes(path, ("\n".join(lines) + "\n").encode())


def _name(file: TomlLines, value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        rule = f"`name` (={brief(value)}) must be small letters, digits and _; try my_chip"
        raise file.wrong(rule, "name")
    if value in CHIPS:
        rule = f"`name` (={value}) must not be that of a known machine; try my_chip"
        raise file.wrong(rule, "name")
    return value


def _kind(file: TomlLines, value: Any) -> _Kind:
    if not isinstance(value, str) or value not in _KINDS:
        rule = f"`machine` (={brief(value)}) must be one of {', '.join(_KINDS)}"
        raise file.wrong(rule, "machine")
    return _KINDS[value]


def _machine(file: TomlLines, content: dict[str, Any], kind: _Kind):
    given = {key: field for key, (field, _) in kind.sides.items()} | kind.chosen
    made: dict[str, Any] = {}
    for key, field in given.items():
        if key in content:
            made[field] = content[key]
            _checked(file, key, kind.made, made)
    return kind.made(**made)


def _memory(
    file: TomlLines, content: dict[str, Any]
) -> tuple[Memory, dict[str, Provenance]]:
    made: dict[str, Any] = {}
    sources: dict[str, Provenance] = {}
    for key, field in (_FIELDS | _PORTS).items():
        if key not in content:
            continue
        text = content[key]
        value = field.read(text) if isinstance(text, str) else None
        if value is None:
            rule = "must be a positive whole quantity with its unit, such as"
            raise file.wrong(f'`{key}` (={brief(text)}) {rule} "{field.sample}"', key)
        made[field.name] = value
        _checked(file, key, Memory, made)
        sources[field.name] = _given(file.path, value, field.unit)
    if "double_buffered" in content:
        made["double_buffered"] = content["double_buffered"]
        _checked(file, "double_buffered", Memory, made)
    return Memory(**made), sources


def _checked(file: TomlLines, key: str, kind: type, made: dict[str, Any]) -> None:
    """Refuses at its line an entry that the data's own checks refuse."""
    try:
        kind(**made)
    except InputError as error:
        raise file.wrong(str(error).removesuffix("."), key) from error


def _given(path: Path, value: int, unit: str) -> Provenance:
    return Provenance(value=value, unit=unit, source=given_in(path), status="assumed")


def find(text: str) -> Chip:
    """The machine of that name, or of the file if the text ends in .toml.

    Raises:
      InputError: there is no such machine, or the file holds none.
    """
    if text.endswith(".toml"):
        return load(Path(text))
    if text not in CHIPS:
        raise InputError(
            f"`machine` (={text!r}) must be one of {', '.join(CHIPS)}, or a file that ends "
            f"in .toml."
        )
    return CHIPS[text]
