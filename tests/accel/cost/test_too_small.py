"""What is too small is said of what the user typed, and the advice is enough."""

import re
from dataclasses import replace

import pytest

from accel.cost.cost import cost
from accel.cost.energy_tables import TABLES
from accel.cost.too_small import KEYS, TooSmall, option, require_room
from accel.machines.chip_file import example, find
from accel.machines.memory import Memory
from accel.workload.layer import LayerWorkload
from accel.workload.workload import Workload
from configs.errors import InputError

WORK = LayerWorkload(name="fc7", row_bytes=3000, K=3000, N=100)
PRESET = TABLES["horowitz_45nm"]


def test_the_option_in_its_unit_rounded_up() -> None:
    with pytest.raises(TooSmall) as said:
        require_room(Memory(sum_bytes=1536), {"sum_bytes": 2049}, "all of it", "less")
    assert str(said.value) == (
        "`--sum-kib` (=1.5) is too small for all of it, which take 2,049 bytes; use "
        "--sum-kib 3 or more, or less."
    )


@pytest.mark.parametrize("how", ["mapper", "fixed"])
@pytest.mark.parametrize("field", sorted(KEYS))
def test_the_advice_is_followed_until_all_fits(field: str, how: str) -> None:
    """Each buffer of 16 bytes in turn: what the message asks for is enough."""
    chip = find("small_16x16")
    small = chip._replace(memory=replace(chip.memory, **{field: 16}))
    with pytest.raises(TooSmall) as said:
        cost(Workload(works=(WORK,)), small, PRESET, mapping=how)
    asked = re.search(rf"use {option(field)} (\d+) or more", str(said.value))
    enough = replace(small.memory, **{field: 1024 * int(asked[1])})
    assert cost(Workload(works=(WORK,)), small._replace(memory=enough), PRESET, mapping=how)


def test_a_file_is_told_its_own_key(tmp_path) -> None:
    path = tmp_path / "chip.toml"
    example(path)
    path.write_text(path.read_text().replace('weights = "128 KiB"', 'weights = "16 B"'))
    with pytest.raises(InputError) as said:
        cost(Workload(works=(WORK,)), find(str(path)), PRESET)
    assert "`weights` (=0.015625 KiB) of chip.toml is too small for" in str(said.value)
    assert re.search(r'use weights = "\d+ KiB" or more', str(said.value))
    assert "--weight-kib" not in str(said.value)
