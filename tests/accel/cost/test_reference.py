"""The walk on a layer small enough to be done by hand."""

import pytest

from accel.cost.mapping import Mapping
from accel.cost.reference import Residency, blocks, periods, port_cycles, walk
from accel.machines.counters import Counters
from accel.machines.machine import Mac
from accel.machines.memory import Memory
from accel.workload.layer import LayerWorkload
from configs.errors import InputError

# Two rows of one number each, [2, 3] x [3, 2].
WORK = LayerWorkload(name="l", images=2, row_bytes=3, K=3, N=2)
# One byte a cycle.
SLOW = Memory(dram_mb_per_s=100, clock_mhz=100)


def test_two_blocks_by_hand() -> None:
    """One image a block, weights stay: 9 bytes in, then 6 cycles beside 3 bytes in, then
    6 cycles beside 2 out, then 2 out."""
    mapping = Mapping(strip=1, K=3, N=2)
    found = list(blocks(Mac(), WORK, SLOW, mapping, Residency()))
    assert [(b.inputs, b.weights, b.outputs, b.cycles) for b in found] == [
        (3, 6, 2, 6), (3, 0, 2, 6)
    ]  # fmt: skip
    assert periods(found, SLOW) == 9 + 6 + 6 + 2
    single = Memory(dram_mb_per_s=100, clock_mhz=100, double_buffered=False)
    assert periods(found, single) == (9 + 6 + 2) + (3 + 6 + 2)


def test_partial_sums_go_out_and_come_back() -> None:
    """K outermost, in two slices: 4 sums of 4 bytes go and return; weights come once."""
    got = walk(Mac(), WORK, SLOW, Mapping(strip=1, K=2, N=2, order="KMN"))
    assert (got.dram_sums_written, got.dram_sums_read) == (16, 16)
    assert (got.dram_weights, got.dram_inputs, got.dram_outputs) == (6, 12, 4)
    inner = walk(Mac(), WORK, SLOW, Mapping(strip=1, K=2, N=2, order="MNK"))
    assert inner.dram_sums_written == inner.dram_sums_read == 0
    assert inner.dram_weights == 12


def test_maps_that_are_kept_do_not_move() -> None:
    """Nothing but weights at the pins."""
    places = Residency(inputs_kept=True, outputs_kept=True)
    got = walk(Mac(), WORK, SLOW, Mapping(strip=1, K=3, N=2), places)
    assert got.dram == got.dram_weights == 6


def test_the_slowest_port_holds_up_a_block() -> None:
    """12 sums of 4 bytes through 3 bytes a cycle; 4 begun sums come on top."""
    counters = Counters(stream=5, sum_reads=4, sum_writes=4, output_writes=4)
    memory = Memory(sum_port=3)
    assert port_cycles(counters, memory) == 16
    assert port_cycles(counters, memory, 4) == 22
    assert port_cycles(counters, Memory()) == 5


def test_repeats_do_everything_again() -> None:
    """Groups: one after the other."""
    mapping = Mapping(strip=1, K=3, N=2)
    one = walk(Mac(), WORK, SLOW, mapping)
    work = LayerWorkload(name="l", images=2, row_bytes=3, K=3, N=2, repeats=3)
    three = walk(Mac(), work, SLOW, mapping)
    assert (three.cycles, three.dram) == (3 * one.cycles, 3 * one.dram)
    assert three.counters.macs == 3 * one.counters.macs


def test_blocks_that_do_not_fit_are_refused() -> None:
    """With the buffer, its size, the layer and the bytes."""
    with pytest.raises(
        InputError, match=r"`--weight-kib` .* the blocks of l, which take 6 bytes"
    ):
        walk(Mac(), WORK, Memory(weight_bytes=5), Mapping(strip=1, K=3, N=2))
