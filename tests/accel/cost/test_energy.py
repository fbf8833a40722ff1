"""Energy: exact whole numbers, every byte paid once at its own price, sums that add up."""

import json
from dataclasses import replace
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from accel.cost.energy import (
    LEVELS,
    Capacities,
    Energy,
    Prices,
    energy,
    notes,
    prices,
    static_per_cycle,
    too_large,
)
from accel.cost.energy_table import with_dram, with_static
from accel.cost.energy_tables import TABLES, with_tpu_v1_idle
from accel.cost.traffic import OPERANDS, Traffic
from accel.machines.provenance import Provenance

HOROWITZ = TABLES["horowitz_45nm"]
SIZES = Capacities(inputs=8192, weights=32768, sums=16384, outputs=1 << 20)
# Distinct primes, so that no byte or price can stand for another.
PRICES = Prices(2, 3, 5, 7, 11, 13, 17, 19, static=23)
# Which price (a field of Prices) and which place of the table pays for each byte.
PAID = {
    "dram_inputs": ("dram", "dram_inputs"),
    "dram_weights": ("dram", "dram_weights"),
    "dram_sum_reads": ("dram", "dram_sums"),
    "dram_sum_writes": ("dram", "dram_sums"),
    "dram_outputs": ("dram", "dram_outputs"),
    "fill_inputs": ("buffer_inputs", "buffer_inputs"),
    "fill_weights": ("buffer_weights", "buffer_weights"),
    "fill_sums": ("buffer_sums", "buffer_sums"),
    "drain_sums": ("buffer_sums", "buffer_sums"),
    "drain_outputs": ("buffer_outputs", "buffer_outputs"),
    "buffer_inputs": ("buffer_inputs", "buffer_inputs"),
    "buffer_weights": ("buffer_weights", "buffer_weights"),
    "buffer_sum_reads": ("buffer_sums", "buffer_sums"),
    "buffer_sum_writes": ("buffer_sums", "buffer_sums"),
    "buffer_outputs": ("buffer_outputs", "buffer_outputs"),
    "register_inputs": ("register", "register_inputs"),
    "register_weights": ("register", "register_weights"),
    "register_sums": ("register", "register_sums"),
    "hop_inputs": ("hop", "hop_inputs"),
    "hop_weights": ("hop", "hop_weights"),
    "hop_sums": ("hop", "hop_sums"),
}


def drawn(seed: int) -> tuple[Traffic, int, int]:
    """Traffic of up to a terabyte a field, MACs and cycles."""
    rng = np.random.default_rng(seed)
    values = [int(value) for value in rng.integers(0, 10**12, len(Traffic._fields) + 2)]
    return Traffic(*values[2:]), *values[:2]


def test_every_byte_is_paid_once_at_its_own_price():
    assert set(PAID) == set(Traffic._fields)
    for name, (price, place) in PAID.items():
        found = energy(Traffic(**{name: 1}), macs=0, cycles=0, prices=PRICES)
        assert found == Energy(*[0] * 16)._replace(**{place: getattr(PRICES, price)}), name
    assert energy(Traffic(), macs=1, cycles=0, prices=PRICES).total == 2
    assert energy(Traffic(), macs=0, cycles=1, prices=PRICES).static == 23


@pytest.mark.parametrize("seed", range(5))
def test_is_exact_where_floating_point_is_not(seed):
    """Against a sum byte by byte of fractions, tolerance zero, beyond 2^53."""
    traffic, macs, cycles = drawn(seed)
    found = energy(traffic, macs=macs, cycles=cycles, prices=prices_of())
    p = prices_of()._asdict()
    expected = Fraction(macs * 300) + cycles * p["static"]
    for name, value in traffic._asdict().items():
        expected += Fraction(value) * p[PAID[name][0]]
    assert found.total == expected
    assert found.total > 2**53
    assert isinstance(found.total, int)


@pytest.mark.parametrize("seed", range(3))
def test_levels_and_operands_add_up(seed):
    traffic, macs, cycles = drawn(seed)
    found = energy(traffic, macs=macs, cycles=cycles, prices=PRICES)
    levels, operands = found.by_level(), found.by_operand()
    assert set(levels) == {*LEVELS, "mac", "static"}
    assert set(operands) == set(OPERANDS)
    assert sum(levels.values()) == found.total
    assert sum(operands.values()) + found.mac + found.static == found.total
    assert levels["dram"] == 7 * traffic.dram
    assert levels["hop"] == 5 * (
        traffic.hop_inputs + traffic.hop_weights + traffic.hop_sums
    )


def prices_of(preset=HOROWITZ, clock_mhz=700):
    return prices(preset, SIZES, clock_mhz=clock_mhz)


def test_prices_at_45_nm():
    """fJ: 0.3 pJ a MAC, 160 pJ a byte of DRAM, 1.25 to 12.5 pJ a byte of SRAM."""
    assert prices_of() == Prices(
        mac=300, register=79, hop=158, dram=160_000,
        buffer_inputs=1250, buffer_weights=2500, buffer_sums=1768, buffer_outputs=12_500,
        static=0,
    )  # fmt: skip


def test_prices_of_a_relative_preset():
    """Thousandths of an ALU operation: DRAM 200 a word of two bytes."""
    found = prices_of(TABLES["eyeriss_65nm_relative"])
    assert found == Prices(1000, 500, 1000, 100_000, 3000, 3000, 3000, 3000, static=0)


def test_prices_follow_the_overrides():
    preset = with_static(with_dram(HOROWITZ, 8), 1)
    found = prices_of(preset, clock_mhz=1000)
    assert found == prices_of()._replace(dram=64_000, static=1_000_000)


def test_static_energy():
    """28 W at 700 MHz: 40 nJ a cycle, 28 J a second."""
    preset = with_tpu_v1_idle(TABLES["tpuv4i_7nm"])
    assert static_per_cycle(preset, 700) == 40_000_000
    found = energy(Traffic(), macs=0, cycles=700_000_000, prices=prices_of(preset))
    assert found.total == found.static == 28 * 10**15
    clocks = np.array([700, 1400, 3], dtype=np.int64)
    assert static_per_cycle(preset, clocks).tolist() == [
        40_000_000, 20_000_000, 9_333_333_333
    ]  # fmt: skip
    assert static_per_cycle(with_static(HOROWITZ, 0.001), 3) == 333_333
    assert static_per_cycle(with_static(HOROWITZ, 0.001), 400_000) == 3


def test_arrays_equal_one_by_one():
    """numpy, and JAX compiled, over designs that differ in everything."""
    rng = np.random.default_rng(1)
    count = 50
    sizes = Capacities(*rng.integers(1, 1 << 22, (4, count)))
    clock = rng.integers(100, 2000, count)
    fields = rng.integers(0, 10**9, (len(Traffic._fields) + 2, count))
    preset = with_static(HOROWITZ, 28)

    def all_of(sizes, clock, fields):
        paid = prices(preset, sizes, clock_mhz=clock)
        moved = Traffic(*fields[2:])
        return energy(moved, macs=fields[0], cycles=fields[1], prices=paid)

    found = all_of(sizes, clock, fields)
    for i in range(count):
        one = all_of(
            Capacities(*(int(size[i]) for size in sizes)),
            int(clock[i]),
            [int(value) for value in fields[:, i]],
        )
        assert one.total == int(found.total[i])
        assert one == Energy(*(int(value[i]) for value in found))
    with jax.enable_x64(True):
        arrays = jax.tree.map(jnp.asarray, (sizes, clock, fields))
        compiled = jax.jit(all_of)(*arrays)
        for ours, theirs in zip(found, compiled, strict=True):
            np.testing.assert_array_equal(ours, np.asarray(theirs))


def test_energy_is_linear_in_the_traffic():
    """What is done twice, or in two parts, costs the sum."""
    traffic, macs, cycles = drawn(7)
    other, _, _ = drawn(8)
    cost = lambda moved: energy(moved, macs=macs, cycles=cycles, prices=PRICES).total
    fixed = energy(Traffic(), macs=macs, cycles=cycles, prices=PRICES).total
    assert cost(traffic + other) == cost(traffic) + cost(other) - fixed
    assert cost(3 * traffic) - fixed == 3 * (cost(traffic) - fixed)


def test_relaxed_energy_has_derivatives():
    """d(total)/d(bytes of DRAM) is the price of a byte."""
    floats = Traffic(*(jnp.float32(1) for _ in Traffic._fields))
    paid = Prices(*(jnp.float32(price) for price in PRICES))
    total = lambda moved: energy(moved, macs=0.0, cycles=0.0, prices=paid).total
    assert float(jax.grad(total)(floats).dram_sum_reads) == PRICES.dram


def test_narrow_arrays_are_refused():
    with pytest.raises(TypeError, match="must be int or int64 arrays, not int32"):
        energy(Traffic(dram_inputs=np.int32(3)), macs=0, cycles=0, prices=PRICES)


def test_what_would_wrap_is_told():
    """Under 2^62 fJ it is exact; where int64 wraps, the guard has said so."""
    paid = prices_of()
    bytes_moved = np.array([10**12, 2**62 // 160_000 + 1, 10**14], dtype=np.int64)
    traffic = Traffic(dram_weights=bytes_moved)
    found = energy(traffic, macs=0, cycles=0, prices=paid).total
    told = too_large(traffic, macs=0, cycles=0, prices=paid)
    assert told.tolist() == [False, True, True]
    exact = [int(moved) * 160_000 for moved in bytes_moved]
    assert found.tolist()[:2] == exact[:2]
    assert found[2] != exact[2]
    with jax.enable_x64(True):
        moved = Traffic(dram_weights=jnp.asarray(bytes_moved))
        arrays = Prices(*(jnp.int64(price) for price in paid))
        assert too_large(moved, macs=0, cycles=0, prices=arrays).tolist() == told.tolist()


def test_json_has_unit_table_and_sums():
    traffic, macs, cycles = drawn(3)
    found = energy(traffic, macs=macs, cycles=cycles, prices=prices_of())
    text = json.loads(json.dumps(found.to_dict(HOROWITZ)))
    assert (text["preset"], text["unit"]) == ("horowitz_45nm", "fJ")
    assert text["total"] == found.total == sum(text["table"].values())
    assert text["by_level"]["mac"] == macs * 300
    assert text["by_operand"] == found.by_operand()
    relative = TABLES["eyeriss_65nm_relative"]
    assert found.to_dict(relative)["unit"] == "0.001 ALU ops"


def test_notes_say_what_is_clamped_and_assumed():
    said = notes(HOROWITZ, SIZES._replace(sums=4096, outputs=24 << 20))
    assert [line.split(" of ")[0] for line in said[:2]] == [
        "The sums buffer", "The outputs buffer"
    ]  # fmt: skip
    assert "4096 bytes is outside the SRAM table (8192 to 1048576 bytes)" in said[0]
    assert [line.split()[0] for line in said[2:]] == ["register", "hop", "static"]
    assert not any("outside" in line for line in notes(HOROWITZ, SIZES))
    static = Provenance(value=1, unit="W", source="a table", status="confirmed")
    confirmed = replace(HOROWITZ, static=static)
    assert [line.split()[0] for line in notes(confirmed, SIZES)] == ["register", "hop"]
