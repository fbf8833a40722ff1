"""Presets: the published numbers, typed here again, with their marks; what is refused."""

import math
from dataclasses import replace

import pytest

from accel.cost import published_energies as published
from accel.cost.energy_table import EnergyTable, thousandths, with_dram, with_static
from accel.cost.energy_tables import TABLES, find, with_tpu_v1_idle
from accel.cost.units import exact
from accel.machines.provenance import Provenance
from configs.errors import InputError

C, D, R, A = "confirmed", "derived", "recalled", "assumed"

# pJ at 45 nm and at 7 nm, with their marks.
OPERATIONS = {
    "int8_add": (0.03, C, 0.007, R),
    "int32_add": (0.1, C, 0.03, C),
    "int8_multiply": (0.2, C, 0.07, C),
    "int32_multiply": (3.1, C, 1.48, R),
    "fp16_add": (0.4, C, 0.16, R),
    "fp16_multiply": (1.1, C, 0.34, C),
    "fp32_add": (0.9, C, 0.38, R),
    "fp32_multiply": (3.7, C, 1.31, C),
}

# Of each preset: mac, register, hop, SRAM points, DRAM; per byte where it is data.
NUMBERS = {
    "horowitz_45nm": (
        (0.3, D), (0.07875, A), (0.1575, A),
        {8192: 1.25, 32768: 2.5, 1048576: 12.5}, (160, D),
    ),
    "tpuv4i_7nm": (
        (0.1, D), (0.02625, A), (0.0525, A),
        {8192: 0.9375, 32768: 1.0625, 1048576: 1.75}, (162.5, D),
    ),
    "eyeriss_65nm_relative": ((1, C), (0.5, D), (1, D), {102400: 3}, (100, D)),
    "zigzag_tpu_like": ((0.04, C), (0.0105, D), (0.021, A), {2097152: 1.625}, (87.5, D)),
}  # fmt: skip


def every_table() -> list[Provenance]:
    """All numbers of `tables`, however deep."""
    public = {name: value for name, value in vars(published).items() if name[0].isupper()}
    del public["Provenance"], public["Status"]
    found, left = [], list(public.values())
    while left:
        one = left.pop()
        if isinstance(one, Provenance):
            found.append(one)
        elif isinstance(one, dict):
            left += one.values()
        elif isinstance(one, tuple):
            left += one
        else:
            assert one in (published.KB, published.MB), "a number without a source"
    return found


def test_operations_are_the_published_ones():
    for name, (nm45, mark45, nm7, mark7) in OPERATIONS.items():
        for table, value, mark in (
            (published.OPERATIONS_45NM, nm45, mark45),
            (published.OPERATIONS_7NM, nm7, mark7),
        ):
            assert (table[name].value, table[name].status) == (value, mark), name
            assert table[name].unit == "pJ"
    bf16 = {"bf16_add": 0.11, "bf16_multiply": 0.21}
    assert set(published.OPERATIONS_7NM) - set(OPERATIONS) == set(bf16)
    assert set(published.OPERATIONS_45NM) == set(OPERATIONS)
    for name, value in bf16.items():
        number = published.OPERATIONS_7NM[name]
        assert (number.value, number.status) == (value, R)


def test_memories_are_the_published_ones():
    sram = {8192: (10, 7.5), 32768: (20, 8.5), 1048576: (100, 14)}
    assert {k: v.value for k, v in published.SRAM_45NM.items()} == {
        size: pair[0] for size, pair in sram.items()
    }
    assert {k: v.value for k, v in published.SRAM_7NM.items()} == {
        size: pair[1] for size, pair in sram.items()
    }
    assert published.DRAM_45NM.value == 640
    kinds = {"DDR3/4": (1300, 1300), "HBM2": (250, 450), "GDDR6": (350, 480)}
    for kind, pair in kinds.items():
        assert tuple(number.value for number in published.DRAM_7NM[kind]) == pair
    assert (published.TPU_V1_IDLE.value, published.TPU_V1_BUSY.value) == (28, 40)
    eyeriss = {name: number.value for name, number in published.EYERISS_65NM.items()}
    assert eyeriss == {"alu": 1, "register": 1, "neighbour": 2, "buffer": 6, "dram": 200}
    zigzag = {name: number.value for name, number in published.ZIGZAG_TPU_LIKE.items()}
    assert zigzag == {"mac": 0.04, "register": 0.021, "sram_2mb": 416, "dram": 700}


def test_every_constant_has_unit_source_and_status():
    numbers = every_table()
    assert len(numbers) > 40
    for preset in TABLES.values():
        numbers += preset.numbers.values()
    for number in numbers:
        assert number.source.strip()
        assert number.status in (C, D, R, A)
        assert number.unit in (
            "pJ", "W", "pJ/byte", "pJ/bit", "ALU ops", "ALU ops/byte", "ALU ops/bit",
        )  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_presets_hold_these_numbers(name):
    mac, register, hop, sram, dram = NUMBERS[name]
    preset = TABLES[name]
    for number, (value, mark) in (
        (preset.mac, mac), (preset.register, register), (preset.hop, hop),
    ):  # fmt: skip
        assert (number.value, number.status) == (value, mark)
    assert {size: number.value for size, number in preset.sram} == sram
    assert {number.status for _, number in preset.sram} == {D}
    assert (preset.dram_per_byte, preset.dram.status) == (dram[0], dram[1])
    assert (preset.static.value, preset.static.status) == (0, A)


def test_all_presets_are_tested_and_named():
    assert set(TABLES) == set(NUMBERS)
    assert all(find(name).name == name for name in TABLES)
    units = {preset.small_unit for preset in TABLES.values()}
    assert units == {"fJ", "0.001 ALU ops"}


def test_published_ratios():
    """Eyeriss Table IV per 16-bit word: 1, 1, 2, 6, 200."""
    eyeriss = TABLES["eyeriss_65nm_relative"]
    words = [2 * number.value for number in (eyeriss.register, eyeriss.hop)]
    assert words == [1, 2]
    assert 2 * eyeriss.sram[0][1].value == 6
    assert 2 * eyeriss.dram_per_byte == 200
    for name in ("horowitz_45nm", "tpuv4i_7nm"):
        assert TABLES[name].hop.value == 2 * TABLES[name].register.value


def test_a_recalled_part_makes_the_whole_recalled():
    assert TABLES["tpuv4i_7nm"].narrow_mac.status == R
    assert TABLES["tpuv4i_7nm"].narrow_mac.value == 0.077
    assert TABLES["horowitz_45nm"].narrow_mac.status == D
    assert TABLES["horowitz_45nm"].narrow_mac.value == 0.23


def test_overrides_say_who_gave_them():
    preset = with_static(with_dram(TABLES["horowitz_45nm"], 8), 2.5)
    assert (preset.dram.value, preset.dram.unit, preset.dram.status) == (8, "pJ/bit", A)
    assert preset.dram.source == preset.static.source == "given by the user"
    assert preset.static.value == 2.5
    assert preset.mac == TABLES["horowitz_45nm"].mac
    assert with_tpu_v1_idle(preset).static == published.TPU_V1_IDLE
    assert with_dram(preset, 0).dram_per_byte == 0


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, True, "20", 1e9, 1e-9])
def test_overrides_that_are_no_energies(value):
    with pytest.raises(InputError, match=r"`dram_pj_per_bit` \(=.*\) must be") as dram:
        with_dram(TABLES["horowitz_45nm"], value)
    with pytest.raises(InputError, match=r"`static_w` \(=.*\) must be") as static:
        with_static(TABLES["horowitz_45nm"], value)
    for refused in (dram, static):
        assert "\n" not in str(refused.value)


def test_a_relative_preset_takes_no_pj_and_no_watt():
    relative = TABLES["eyeriss_65nm_relative"]
    with pytest.raises(InputError, match=r"`dram_pj_per_bit` \(=20\) must be left out"):
        with_dram(relative, 20)
    with pytest.raises(InputError, match=r"`static_w` \(=28 W\) must be 0 in a relative"):
        with_static(relative, 28)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match=r"`energy` \(='45nm'\) must be one of horowitz"):
        find("45nm")


def changed(field: str, **changes) -> EnergyTable:
    """The 45 nm preset with one number planted."""
    preset = TABLES["horowitz_45nm"]
    return replace(preset, **{field: replace(getattr(preset, field), **changes)})


PLANTED = [
    ("mac", {"unit": "pJ/byte"}, r"`mac` \(in 'pJ/byte'\) must be in 'pJ'"),
    ("dram", {"unit": "pJ/byte"}, r"`dram` \(in 'pJ/byte'\) must be in 'pJ/bit'"),
    ("mac", {"value": -0.3}, r"`mac` \(=-0\.3 pJ\) must be from 0\.0005 to 1000000 pJ"),
    ("mac", {"value": 0}, r"`mac` \(=0 pJ\) must be from"),
    ("hop", {"value": -1}, r"`hop` \(=-1 pJ/byte\) must be 0, or from"),
    ("hop", {"value": 0.0001}, r"`hop` \(=0\.0001 pJ/byte\) must be 0, or from 0\.0005"),
    ("register", {"value": 1e9}, r"`register` \(=1000000000\.0 pJ/byte\) must be 0, or"),
    ("static", {"unit": "mW"}, r"`static` \(in 'mW'\) must be in 'W'"),
    ("static", {"value": -1}, r"`static` \(=-1 W\) must be 0, or from 0\.001 to 1000 W"),
    ("static", {"value": 1e-6}, r"`static` \(=1e-06 W\) must be 0, or"),
]


@pytest.mark.parametrize(("field", "changes", "message"), PLANTED)
def test_planted_numbers_are_refused(field, changes, message):
    with pytest.raises(InputError, match=message):
        changed(field, **changes)


def test_planted_sram_tables_are_refused():
    preset = TABLES["horowitz_45nm"]
    point = preset.sram[0]
    with pytest.raises(InputError, match=r"`sram` .* must have a point"):
        replace(preset, sram=())
    with pytest.raises(InputError, match=r"`sram` .* must have positive capacities, each"):
        replace(preset, sram=(point, point))
    with pytest.raises(InputError, match=r"`sram` .* must have positive capacities"):
        replace(preset, sram=((0, point[1]),))
    with pytest.raises(InputError, match=r"`sram 8192 B` \(=0 pJ/byte\) must be from"):
        replace(preset, sram=((8192, replace(point[1], value=0)),))


def test_thousandths_round_once_and_half_up():
    for name, mac, dram in (("horowitz_45nm", 300, 160_000), ("tpuv4i_7nm", 100, 162_500)):
        preset = TABLES[name]
        assert thousandths(exact(preset.mac.value)) == mac
        assert thousandths(preset.dram_per_byte) == dram


def test_to_dict_keeps_every_mark():
    found = TABLES["tpuv4i_7nm"].to_dict()
    assert found["name"] == "tpuv4i_7nm"
    assert found["numbers"]["mac"] == TABLES["tpuv4i_7nm"].mac.to_dict()
    assert set(found["numbers"]) == {
        "mac", "narrow_mac", "register", "hop", "dram", "static",
        "sram 8192 B", "sram 32768 B", "sram 1048576 B",
    }  # fmt: skip
