"""User files: the example loads, units convert exactly, each mistake names its line."""

import os
import re
from pathlib import Path

import pytest

from accel.cost import energy_file
from accel.cost.energy_tables import TABLES
from accel.machines import toml_lines
from configs.errors import InputError

ENTRY = '{ value = %s, unit = "%s", source = "%s", status = "%s" }'
MAC = "mac = " + ENTRY % (0.3, "pJ", "here", "assumed")
# Lines 1 to 10.
LINES = [
    'name = "my_chip"',
    'title = "a chip"',
    MAC,
    "register = " + ENTRY % (79, "fJ/byte", "here", "assumed"),
    "hop = " + ENTRY % (0, "pJ/B", "here", "assumed"),
    "dram = " + ENTRY % (1.28, "nJ/64 bit", "datasheet", "confirmed"),
    "static = " + ENTRY % (250, "mW", "here", "recalled"),
    "[sram]",
    '"1 MB" = ' + ENTRY % (12.5, "pJ/byte", "here", "derived"),
    '"8 KB" = ' + ENTRY % (156.25, "fJ/bit", "here", "derived"),
]


@pytest.fixture
def write(tmp_path):
    def written(text: str | bytes) -> Path:
        path = tmp_path / "chip.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return written


def with_line(number: int, text: str) -> str:
    """The file with one line, from 1, replaced."""
    return "\n".join([*LINES[: number - 1], text, *LINES[number:]])


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as error:
        energy_file.load(path)
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def test_example_loads_and_is_the_45_nm_preset(tmp_path):
    path = tmp_path / "example.toml"
    energy_file.example(path)
    found, preset = energy_file.load(path), TABLES["horowitz_45nm"]
    assert found.name == "my_chip"
    for field in ("unit", "mac", "register", "hop", "sram", "dram", "static", "title"):
        assert getattr(found, field) == getattr(preset, field), field


@pytest.mark.parametrize("name", ["horowitz_45nm", "tpuv4i_7nm", "zigzag_tpu_like"])
def test_what_is_written_loads_as_it_was(name, write):
    found = energy_file.load(write(energy_file.dumps(TABLES[name], "other")))
    numbers = dict(TABLES[name].numbers)
    numbers.pop("narrow_mac", None)
    assert found.numbers == numbers


def test_units_are_converted_exactly(write):
    found = energy_file.load(write("\n".join(LINES)))
    assert (found.mac.value, found.mac.unit) == (0.3, "pJ")
    assert (found.register.value, found.register.unit) == (0.079, "pJ/byte")
    assert found.hop.value == 0
    assert (found.dram.value, found.dram.unit) == (20, "pJ/bit")
    assert (found.dram.source, found.dram.status) == ("datasheet", "confirmed")
    assert (found.static.value, found.static.unit) == (0.25, "W")
    # By rising capacity, whatever their order.
    assert [(size, one.value) for size, one in found.sram] == [
        (8192, 1.25),
        (1 << 20, 12.5),
    ]


def test_tables_and_windows_line_ends_are_toml_too(write):
    lines = [line for line in LINES if not line.startswith("mac")]
    table = ["[mac]", "value = 0.3", 'unit = "pJ"', 'source = "x"', 'status = "assumed"']
    text = "\r\n".join(lines + table)
    assert energy_file.load(write(text)).mac.value == 0.3
    assert "line 10: `mac.value` (=-1)" in refusal(write(text.replace("= 0.3", "= -1")))


MISTAKES = [
    (3, "mac = 0.3", "`mac` must have value, unit, source, status and nothing else; write"),
    (3, MAC.replace("source", "from"), "`mac` must have value, unit, source, status and"),
    (3, MAC.replace(', status = "assumed"', ""), "`mac` must have value, unit, source"),
    (3, MAC.replace(" }", ", year = 3 }"), "`mac` must have value, unit, source, status"),
    (3, MAC.replace("0.3", "-0.3"), "`mac.value` (=-0.3) must be a number from 0 to 1e15"),
    (3, MAC.replace("0.3", "true"), "`mac.value` (=True) must be a number"),
    (3, MAC.replace("0.3", '"0.3"'), "`mac.value` (='0.3') must be a number"),
    (3, MAC.replace("0.3", "nan"), "`mac.value` (=nan) must be a number"),
    (3, MAC.replace("0.3", "inf"), "`mac.value` (=inf) must be a number"),
    (3, MAC.replace("0.3", "9" * 400), "`mac.value` (=9999"),
    (3, MAC.replace("0.3", "9" * 5000), "must be TOML, such as key = 1.5: a number has"),
    (3, MAC.replace("0.3", "0"), "`mac` (=0 pJ) must be from 0.0005 to 1000000 pJ; check"),
    (3, MAC.replace("0.3", "1e-9"), "`mac` (=1e-09 pJ) must be from 0.0005"),
    (3, MAC.replace("pJ", "pJoule"), "`mac.unit` (='pJoule') must be one such as pJ, fJ"),
    (3, MAC.replace("pJ", "pJ/byte"), "`mac.unit` (='pJ/byte') must be one such as pJ, fJ"),
    (3, MAC.replace('"pJ"', "3"), "`mac.unit` (=3) must be one such as"),
    (3, MAC.replace("here", ""), "`mac.source` (='') must be printable text of 1 to 200"),
    (
        3,
        MAC.replace("here", "\\u001b[31m"),
        "`mac.source` (='\\x1b[31m') must be printable",
    ),
    (3, MAC.replace("assumed", "sure"), "`mac.status` (='sure') must be of confirmed, de"),
    (3, MAC.replace('"assumed"', "[1]"), "`mac.status` (=[1]) must be of confirmed"),
    (3, MAC.replace("mac", "mach"), "`mach` is unknown; there are name, title, mac"),
    (3, "mac = {", "must be TOML, such as key = 1.5: Invalid"),
    (2, "title = 3", "`title` (=3) must be printable text of 1 to 200 characters"),
    (1, 'name = "My chip"', "`name` (='My chip') must be small letters, digits and _"),
    (1, 'name = "tpuv4i_7nm"', "`name` (=tpuv4i_7nm) must not be that of a preset"),
    (6, LINES[5].replace("nJ/64 bit", "pJ"), "`dram.unit` (='pJ') must be one such as pJ/"),
    (7, LINES[6].replace("mW", "V"), "`static.unit` (='V') must be one such as W, mW"),
    (7, LINES[6].replace("mW", "uW"), "`static` (=0.00025 W) must be 0, or from 0.001 to"),
    (9, LINES[8].replace("1 MB", "1 mb"), "`sram` (='1 mb') must be by capacity, such as"),
    (9, LINES[8].replace("12.5", "-1"), "`1 MB.value` (=-1) must be a number from 0"),
    (9, LINES[8].replace("12.5", "0"), "`1 MB` (=0 pJ/byte) must be from 0.0005"),
    (10, LINES[9].replace("8 KB", "1024 KB"), "`1024 KB` stands twice; leave one out"),
]


@pytest.mark.parametrize(("line", "text", "message"), MISTAKES)
def test_a_mistake_names_its_line(line, text, message, write):
    path = write(with_line(line, text))
    found = refusal(path)
    # Python's own limit on digits does not say where.
    at = 10 if "a number has" in message else line
    assert found.startswith(f"{path}, line {at}: {message}")


@pytest.mark.parametrize("line", range(1, 8))
def test_a_missing_entry_is_named_at_the_end(line, write):
    key = LINES[line - 1].split(" = ")[0]
    found = refusal(write("\n".join([*LINES[: line - 1], *LINES[line:]])))
    assert re.search(rf", line 9: `{key}` is missing; add the line {key} = ", found)


def test_a_missing_or_empty_sram_table(write):
    assert "line 7: `sram` is missing; add the line [sram] and" in refusal(
        write("\n".join(LINES[:7]))
    )
    assert "line 8: `sram` (={}) must be a table of capacities; add" in refusal(
        write("\n".join(LINES[:8]))
    )


def test_a_key_that_stands_twice(write):
    assert "line 4: must be TOML" in refusal(write(with_line(4, MAC)))


def test_files_that_are_none(write, tmp_path):
    assert "line 1: must be UTF-8 text" in refusal(write(b"\xff"))
    assert "line 3: must be UTF-8 text" in refusal(write(b"# a\n# b\n\xff"))
    assert "must be nested less deeply" in refusal(write("a = " + "[" * 30_000))
    assert "cannot be read: No such file" in refusal(tmp_path / "none.toml")
    assert "must be a regular file" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe.toml")
    assert "must be a regular file" in refusal(tmp_path / "pipe.toml")


def test_the_size_limit(write):
    """The last byte that fits is read, one more is refused."""
    text = "\n".join(LINES) + "\n#"
    full = text + " " * (toml_lines.LARGEST_BYTES - len(text))
    assert energy_file.load(write(full)).name == "my_chip"
    assert "must have at most 65536 bytes" in refusal(write(full + " "))


def test_resolve_takes_names_and_files(write):
    assert energy_file.resolve("tpuv4i_7nm") is TABLES["tpuv4i_7nm"]
    assert energy_file.resolve(str(write("\n".join(LINES)))).title == "a chip"
    with pytest.raises(InputError, match=r"`energy` .* or a file that ends in \.toml"):
        energy_file.resolve("chip.json")


def test_a_relative_preset_is_no_file():
    with pytest.raises(InputError, match=r"`energy` \(=eyeriss.*must be a preset in pJ"):
        energy_file.dumps(TABLES["eyeriss_65nm_relative"], "mine")
