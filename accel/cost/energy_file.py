"""A user's energies as a file of TOML: one entry a line, each with its unit and source."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, get_args

from accel.cost import energy_tables, units
from accel.cost.energy_table import EnergyTable, check_energy, check_static
from accel.machines.provenance import Provenance, Status
from accel.machines.toml_lines import TomlLines
from configs.checks import brief
from configs.errors import InputError
from train import rundir


class _Kind(NamedTuple):
    """What an entry measures: how units are read, what they become, examples of them."""

    factor: Callable[[str], Fraction | None]
    unit: str
    examples: str


_ENERGY = _Kind(units.pj, "pJ", "pJ, fJ or nJ")
_PER_BYTE = _Kind(units.pj_per_byte, "pJ/byte", "pJ/byte, fJ/bit or pJ/64 bit")
_PER_BIT = _Kind(units.pj_per_bit, "pJ/bit", "pJ/bit, pJ/byte or pJ/64 bit")
_POWER = _Kind(units.watts, "W", "W, mW or uW")
_KINDS = {
    "mac": _ENERGY, "register": _PER_BYTE, "hop": _PER_BYTE, "dram": _PER_BIT,
    "static": _POWER,
}  # fmt: skip
_TEXTS = ("name", "title")
_KNOWN = (*_TEXTS, *_KINDS, "sram")
_FIELDS = ("value", "unit", "source", "status")
_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,59}")


def resolve(text: str) -> EnergyTable:
    """The preset of that name, or of the file if the text ends in .toml.

    Raises:
      InputError: there is no such preset, or the file holds none.
    """
    return load(Path(text)) if text.endswith(".toml") else energy_tables.find(text)


def load(path: Path) -> EnergyTable:
    """The preset that a file holds; `example` writes one to start from.

    Raises:
      InputError: the file cannot be read or is too large, or an entry is missing, unknown,
        negative, or in a unit that is none; the message names file and line.
    """
    file = TomlLines(path)
    content = file.content
    for key in content:
        if key not in _KNOWN:
            raise file.wrong(f"`{key}` is unknown; there are {', '.join(_KNOWN)}", key)
    for key in _KNOWN:
        if key not in content:
            raise file.wrong(f"`{key}` is missing; add the line {_sample(key)}")
    texts = {key: _text(file, key, content[key]) for key in _TEXTS}
    if not _NAME.fullmatch(texts["name"]):
        value = brief(texts["name"])
        rule = f"`name` (={value}) must be small letters, digits and _; try my_chip"
        raise file.wrong(rule, "name")
    if texts["name"] in energy_tables.TABLES:
        rule = f"`name` (={texts['name']}) must not be that of a preset; try my_chip"
        raise file.wrong(rule, "name")
    numbers = {key: _number(file, key, content[key], kind) for key, kind in _KINDS.items()}
    return EnergyTable(**texts, **numbers, sram=_sram(file, content["sram"]))


def dumps(preset: EnergyTable, name: str) -> str:
    """The file that holds a preset under a name of its own.

    Raises:
      InputError: it is a relative preset; files are in pJ.
    """
    if preset.unit != "pJ":
        raise InputError(
            f"`energy` (={preset.name}) must be a preset in pJ to be written as a file."
        )
    points = [(f'"{size} B"', number) for size, number in preset.sram]
    lines = [
        "# Energies of one technology, in fJ, pJ or nJ: per bit, per byte, per 64 bit.",
        f"# A status is {', '.join(get_args(Status))}.",
        f"name = {_quoted(name)}",
        f"title = {_quoted(preset.title)}",
        "# int8 multiply with int32 add; its register; the step into the next register;",
        "# DRAM; what the chip draws in every cycle, in W or mW.",
        *(_row(key, getattr(preset, key)) for key in _KINDS),
        "# SRAM by capacity, in B, KB or MB (1024 and 1024^2 bytes).",
        "[sram]",
        *(_row(key, number) for key, number in points),
    ]
    return "\n".join(lines) + "\n"


def example(path: Path) -> None:
    """Writes a file that `load` takes: the 45 nm preset, to be changed."""
    rundir.write_bytes(path, dumps(energy_tables.HOROWITZ_45NM, "my_chip").encode())


def _text(file: TomlLines, key: str, value: Any, table: str = "", of: str = "") -> str:
    if type(value) is not str or not value.isprintable() or not 1 <= len(value) <= 200:
        where = f"`{of}.{key}`" if of else f"`{key}`"
        rule = "must be printable text of 1 to 200 characters, in quotes"
        raise file.wrong(f"{where} (={brief(value)}) {rule}", of or key, table)
    return value


def _sram(file: TomlLines, points: Any) -> tuple[tuple[int, Provenance], ...]:
    if not isinstance(points, dict) or not points:
        rule = f"`sram` (={brief(points)}) must be a table of capacities"
        raise file.wrong(f"{rule}; add {_sample('8 KB')}", "sram")
    found: dict[int, Provenance] = {}
    for key, entry in points.items():
        size = units.capacity_bytes(key)
        if size is None:
            rule = f"`sram` (={brief(key)}) must be by capacity, such as 32 KB or 1 MB"
            raise file.wrong(rule, key, "sram")
        if size in found:
            raise file.wrong(f"`{key}` stands twice; leave one out", key, "sram")
        found[size] = _number(file, key, entry, _PER_BYTE, "sram")
    return tuple(sorted(found.items()))


def _number(
    file: TomlLines, key: str, entry: Any, kind: _Kind, table: str = ""
) -> Provenance:
    """One entry, checked field by field and converted."""
    if not isinstance(entry, dict) or set(entry) != set(_FIELDS):
        rule = f"`{key}` must have {', '.join(_FIELDS)} and nothing else"
        raise file.wrong(f"{rule}; write {_sample(key, kind)}", key, table)
    value, unit, status = entry["value"], entry["unit"], entry["status"]
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # Written so that NaN fails too.
    if not (number and 0 <= value <= 10**15):
        rule = f"`{key}.value` (={brief(value)}) must be a number from 0 to 1e15"
        raise file.wrong(rule, key, table)
    factor = kind.factor(unit) if isinstance(unit, str) else None
    if factor is None:
        rule = f"`{key}.unit` (={brief(unit)}) must be one such as {kind.examples}"
        raise file.wrong(rule, key, table)
    if status not in get_args(Status):
        names = ", ".join(get_args(Status))
        raise file.wrong(
            f"`{key}.status` (={brief(status)}) must be of {names}", key, table
        )
    source = _text(file, "source", entry["source"], table, of=key)
    given = Provenance(value=value, unit=unit, source=source, status=status)
    found = units.converted(given, factor, kind.unit)
    try:
        _check(key, found, kind)
    except InputError as error:
        raise file.wrong(str(error).removesuffix("."), key, table) from error
    return found


def _check(key: str, number: Provenance, kind: _Kind) -> None:
    if kind is _POWER:
        check_static(number, "pJ")
    else:
        check_energy(key, number, kind.unit, 8 if kind is _PER_BIT else 1)


def _sample(key: str, kind: _Kind = _PER_BYTE) -> str:
    """A line that would be right."""
    if key in _TEXTS:
        return f'{key} = "my_chip"'
    if key == "sram":
        return f"[sram] and below it {_sample('8 KB')}"
    unit = _KINDS.get(key, kind).unit
    entry = f'{{ value = 1.0, unit = "{unit}", source = "...", status = "assumed" }}'
    return f"{key} = {entry}" if key in _KINDS else f'"{key}" = {entry}'


def _row(key: str, number: Provenance) -> str:
    fields = (f"{field} = {_quoted(getattr(number, field))}" for field in _FIELDS)
    return f"{key} = {{ {', '.join(fields)} }}"


def _quoted(value: str | int | float) -> str:
    """A string or number of TOML, whose escapes are those of JSON but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def energy_table_of(
    name: str, dram_pj_per_bit: float | None, static_w: float | None = None
) -> Any:
    """The energy table of that name or file, with the user's DRAM and static power if they
    are given."""
    from accel.cost.energy_table import with_dram, with_static

    preset = resolve(name)
    if dram_pj_per_bit is not None:
        preset = with_dram(preset, dram_pj_per_bit)
    return preset if static_w is None else with_static(preset, static_w)
