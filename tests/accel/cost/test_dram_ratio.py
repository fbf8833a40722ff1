"""The lecture's ratio comes out of the presets, and follows them."""

import pytest

from accel.cost.dram_ratio import dram_ratio, explain, memories_7nm
from accel.cost.energy_table import with_dram
from accel.cost.energy_tables import TABLES


def test_the_lecture_at_45_nm():
    """640 pJ / 5 pJ = 128 a word; 160 pJ / 1.25 pJ a byte; 533 or 696 MACs a byte."""
    found = dram_ratio(TABLES["horowitz_45nm"])
    assert (found.dram_word, found.sram_word, found.ratio) == (640, 5, 128)
    assert (found.dram_byte, found.sram_byte, found.sram_bytes) == (160, 1.25, 8192)
    assert found.mac == 0.3
    assert found.macs_per_byte == pytest.approx(160 / 0.3)
    assert found.narrow_macs_per_byte == pytest.approx(160 / 0.23)


def test_seven_nm():
    found = dram_ratio(TABLES["tpuv4i_7nm"])
    assert (found.dram_word, found.sram_word) == (650, 3.75)
    assert found.ratio == pytest.approx(1300 / 7.5)
    assert found.macs_per_byte == 1625
    kinds = memories_7nm()
    assert kinds["HBM2"] == (pytest.approx(250 / 7.5), 60)
    assert kinds["GDDR6"] == (pytest.approx(350 / 7.5), 64)
    assert kinds["DDR3/4"] == (found.ratio, found.ratio)


def test_it_comes_from_the_preset():
    """LPDDR4 of 8 pJ/bit, as Accelergy has it: 256 pJ a word, 51.2 times."""
    found = dram_ratio(with_dram(TABLES["horowitz_45nm"], 8))
    assert (found.dram_word, found.ratio) == (256, 51.2)


def test_in_words():
    text = explain(TABLES["horowitz_45nm"])
    for part in ("640 pJ", "5 pJ", "8 KB", "128 times", "1.25 pJ", "533", "696"):
        assert part in text
    # No MAC with an 8-bit add is known there.
    relative = explain(TABLES["eyeriss_65nm_relative"])
    assert "ALU ops" in relative
    assert "8 bits" not in relative
