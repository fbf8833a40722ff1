"""Machines by name: their numbers, and where these stand."""

import pytest

from accel.cost.energy_tables import TABLES
from accel.machines.chip_file import find
from accel.machines.chips import CHIPS
from configs.errors import InputError


def test_tpu_v1_as_published() -> None:
    """Typed from the paper: peak 92 TOPS is 45.9 TMAC/s; ridge 1349 MAC a byte."""
    chip = find("tpu_v1")
    assert (chip.machine.rows, chip.machine.cols, chip.machine.weights) == (
        256,
        256,
        "shadow",
    )
    assert chip.memory.activation_bytes == 25_165_824
    assert chip.memory.sum_bytes == 4096 * 256 * 4
    assert chip.memory.weight_bytes == 4 * 256 * 256
    assert chip.macs_per_s == 65_536 * 700_000_000
    assert int(chip.ridge) == 1349


@pytest.mark.parametrize("name", sorted(CHIPS))
def test_every_number_has_a_source_and_is_the_one_used(name: str) -> None:
    """A changed field with an old source would be seen."""
    chip = find(name)
    fields = {**vars(chip.memory), **vars(chip.machine)}
    assert chip.energy in TABLES
    sides = {"rows", "cols", "inputs", "outputs", "multipliers"} & fields.keys()
    memory = {"activation_bytes", "weight_bytes", "sum_bytes", "dram_mb_per_s", "clock_mhz"}
    assert set(chip.sources) == sides | memory
    for field, number in chip.sources.items():
        assert number.value == fields[field]
        assert number.status in ("confirmed", "derived", "assumed")


def test_capacities_are_those_of_the_buffers() -> None:
    """What prices an access: outputs lie beside inputs."""
    memory = find("tpu_v1").memory
    assert find("tpu_v1").capacities._asdict() == {
        "inputs": memory.activation_bytes,
        "weights": memory.weight_bytes,
        "sums": memory.sum_bytes,
        "outputs": memory.activation_bytes,
    }


def test_an_unknown_machine_is_refused() -> None:
    """With the known ones."""
    with pytest.raises(InputError, match="must be one of tpu_v1, gemmini_16x16"):
        find("tpu_v9")
