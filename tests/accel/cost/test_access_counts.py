"""What moves on the chip: every multiplication takes each operand from one place."""

import random

import pytest
from cost_cases import case, memory

from accel.cost.access_counts import accumulations, held, moved
from accel.cost.mapping import Mapping
from accel.cost.reference import walk
from accel.machines.machine import Direct, Dot, Mac, Systolic, Tile
from accel.machines.memory import Memory
from accel.workload.layer import LayerWorkload


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_every_operand_comes_from_one_place(dataflow: str) -> None:
    """Register, neighbour and buffer together serve each multiplication once."""
    draw = random.Random(1)
    array = Systolic(rows=2, cols=3, dataflow=dataflow)
    for _ in range(40):
        one = case(draw)
        got = walk(array, one.work, memory(draw), one.mapping, one.places)
        sums = one.work.M * one.work.N * one.work.repeats
        t, macs = moved(got.counters, got, sums=sums, held=held(array)), one.work.macs
        inputs = 0 if held(array) == "inputs" else t.buffer_inputs
        weights = 0 if held(array) == "weights" else t.buffer_weights
        assert t.register_inputs + t.hop_inputs + inputs == macs
        assert t.register_weights + t.hop_weights + weights == macs
        assert min(t) >= 0
        # What is written to the sum buffer is read again, once.
        assert t.buffer_sum_writes == t.buffer_sum_reads


def test_by_hand_a_tile_of_weights() -> None:
    """[3, 2] x [2, 2] on 2 x 2: 12 multiplications, half of them beside the edges."""
    array, work = (
        Systolic(rows=2, cols=2),
        LayerWorkload(name="l", images=3, row_bytes=2, K=2, N=2),
    )
    got = walk(array, work, Memory(), Mapping(images=3, strip=1, K=2, N=2))
    t = moved(got.counters, got, sums=6, held="weights")
    assert (t.register_weights, t.hop_inputs, t.hop_sums) == (12, 6, 4 * 6)
    assert (t.buffer_inputs, t.buffer_weights, t.buffer_sum_writes) == (6, 4, 24)
    assert (t.dram_inputs, t.fill_inputs, t.dram_outputs, t.buffer_outputs) == (6, 6, 6, 0)


def test_a_slice_of_k_begins_with_sums() -> None:
    """K in two blocks on one multiplier: 6 sums are written twice and read twice."""
    work = LayerWorkload(name="l", images=3, row_bytes=2, K=2, N=2)
    got = walk(Mac(), work, Memory(), Mapping(images=3, strip=1, K=1, N=2))
    t = moved(got.counters, got, sums=6, held=held(Mac()))
    assert (t.buffer_sum_writes, t.buffer_sum_reads) == (48, 48)
    assert held(Direct()) == "weights"


@pytest.mark.parametrize("machine", [Dot(multipliers=4), Tile(inputs=4, outputs=3)])
@pytest.mark.parametrize(("K", "block"), [(10, 10), (10, 4), (9, 8), (3, 2), (8, 8)])
def test_a_tree_adds_to_its_sum_once_a_slice(machine, K, block) -> None:
    """Counted slice by slice; a block of K that is no multiple of the tree has a ragged
    slice of its own."""
    slices = sum(-(-min(block, K - at) // 4) for at in range(0, K, block))
    blocks = -(-K // block)
    cut = (blocks, block, K - (blocks - 1) * block)
    assert accumulations(machine, macs=6 * K, sums=6, K=cut) == 6 * slices


def test_who_holds_sums_and_who_does_not() -> None:
    """One multiplier and an output-stationary array add at every multiplication; a tile
    machine that uses up its inputs keeps its sums in the buffer."""
    for machine, expected in (
        (Mac(), 60),
        (Systolic(dataflow="os"), 60),
        (Tile(loop="inputs"), 0),
    ):
        assert accumulations(machine, macs=60, sums=6, K=(1, 10, 10)) == expected
    work = LayerWorkload(name="l", images=3, row_bytes=10, K=10, N=2)
    got = walk(Mac(), work, Memory(), Mapping(images=3, strip=1, K=10, N=2))
    moving = [moved(got.counters, got, sums=6, held="sums", added=n) for n in (None, 18)]
    assert [t.register_sums for t in moving] == [8 * 60, 8 * 18]
