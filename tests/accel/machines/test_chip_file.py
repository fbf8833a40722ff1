"""A user's machine file: what it gives, and one error with file and line."""

import pytest

from accel.machines import chip_file
from accel.machines.chip_file import find
from accel.machines.machine import Dot, Mac, Systolic, Tile
from configs.errors import InputError

# What every kind of machine states.
MEMORY = """name = "mine"
activations = "256 KiB"
weights = "128 KiB"
sums = "64 KiB"
dram = "34 GB/s"
clock = "700 MHz"
"""


@pytest.fixture
def text(tmp_path):
    """The example, as text."""
    chip_file.example(tmp_path / "chip.toml")
    return (tmp_path / "chip.toml").read_text()


def test_the_example_loads(tmp_path) -> None:
    """Through the name of the file, with its units converted."""
    chip_file.example(tmp_path / "chip.toml")
    chip = find(str(tmp_path / "chip.toml"))
    memory = chip.memory
    assert (chip.name, chip.machine.rows, chip.machine.dataflow) == ("my_chip", 16, "ws")
    assert (memory.activation_bytes, memory.dram_mb_per_s) == (256 * 1024, 34_000)
    assert chip.sources["clock_mhz"].value == memory.clock_mhz == 700
    assert chip.sources["clock_mhz"].source == "given in chip.toml"


def test_ports_and_fractions(tmp_path, text) -> None:
    """1.5 GHz is 1500 MHz; a port is bytes a cycle."""
    path = tmp_path / "chip.toml"
    more = text.replace("700 MHz", "1.5 GHz") + 'sums_port = "64 B"\n'
    path.write_text(more)
    memory = chip_file.load(path).memory
    assert (memory.clock_mhz, memory.sum_port) == (1500, 64)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"34 GB/s"', '"-34 GB/s"', "`dram`"),
        ('"34 GB/s"', '"34 GB"', 'such as "34 GB/s"'),
        ('"34 GB/s"', '"34.0001 MB/s"', "`dram`"),
        ('"34 GB/s"', "34", "`dram`"),
        ('"700 MHz"', '"0 MHz"', "`clock`"),
        ('"256 KiB"', '"256 Kib"', "`activations`"),
        ('"256 KiB"', '"99999999 MiB"', "at most 1 TiB"),
        ("rows = 16", "rows = -16", "`rows`"),
        ("rows = 16", 'rows = "16"', "`rows`"),
        ('dataflow = "ws"', 'dataflow = "xs"', "`dataflow`"),
        ("rows = 16", "rows = 16\nspeed = 1", "`speed` is unknown"),
        ('"horowitz_45nm"', '"none"', "`energy`"),
        ('"my_chip"', '"tpu_v1"', "known machine"),
        ("double_buffered = true", "double_buffered = 1", "`double_buffered`"),
        ("rows = 16", "rows = = 16", "must be TOML"),
    ],
)
def test_one_error_with_file_and_line(tmp_path, text, old, new, said) -> None:
    """Negative, unknown, not parsing, out of range: at the line where it stands."""
    assert old in text
    changed = text.replace(old, new)
    path = tmp_path / "chip.toml"
    path.write_text(changed)
    with pytest.raises(InputError) as caught:
        chip_file.load(path)
    message = str(caught.value)
    before = text[: text.index(old)].count("\n") + 1
    line = before + ("speed" in new)
    assert message.startswith(f"{path}, line {line}: ")
    assert said in message
    assert "\n" not in message


def test_a_missing_entry_is_named(tmp_path, text) -> None:
    """With the line to add."""
    path = tmp_path / "chip.toml"
    path.write_text(text.replace('clock = "700 MHz"\n', ""))
    with pytest.raises(
        InputError, match='`clock` is missing; add the line clock = "700 MHz"'
    ):
        chip_file.load(path)


@pytest.mark.parametrize(
    ("kind", "machine"),
    [
        (
            'machine = "tile"\ninputs = 8\noutputs = 4\nloop = "inputs"',
            Tile(inputs=8, outputs=4, loop="inputs"),
        ),
        ('machine = "dot"\nmultipliers = 32', Dot(multipliers=32)),
        ('machine = "mac"', Mac()),
        ("rows = 4\ncols = 8\ndataflow = 'os'", Systolic(rows=4, cols=8, dataflow="os")),
    ],
)
def test_every_kind_of_machine(tmp_path, kind, machine) -> None:
    """Each with the entries that it has, and a source for each number."""
    path = tmp_path / "chip.toml"
    path.write_text(f"{MEMORY}{kind}\n")
    chip = chip_file.load(path)
    assert chip.machine == machine
    numbers = {name for name, value in vars(machine).items() if type(value) is int}
    assert numbers - {"access_cycles"} <= chip.sources.keys()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ('machine = "gpu"', "`machine` (='gpu') must be one of systolic, tile, dot, mac"),
        ('machine = "mac"\nrows = 4', "`rows` is unknown"),
        ('machine = "dot"', "`multipliers` is missing; add the line multipliers = 256"),
        ('machine = "dot"\nmultipliers = 0', "`multipliers` (=0)"),
        ('machine = "tile"\ninputs = 4\noutputs = 4\nloop = "x"', "`loop` (='x')"),
    ],
)
def test_entries_of_another_kind_are_refused(tmp_path, kind, said) -> None:
    path = tmp_path / "chip.toml"
    path.write_text(f"{MEMORY}{kind}\n")
    with pytest.raises(InputError) as refused:
        chip_file.load(path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)
