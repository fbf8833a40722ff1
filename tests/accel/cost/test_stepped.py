"""Stepped cycle by cycle, walked and closed form agree, tolerance zero."""

import random

import pytest
from cost_cases import case, machine, memory

from accel.cost import stepped
from accel.cost.mapper import evaluate
from accel.cost.reference import Block, blocks, periods, walk
from accel.machines.counters import Counters
from accel.machines.memory import Memory
from configs.errors import InputError


def _three(*, double: bool, cases: int, seed: int):
    """Cycles and array cycles: stepped, walked, closed form; DMA cycles where they stop."""
    draw = random.Random(seed)
    array, around = machine(draw), memory(draw, double_buffered=double)
    drawn = [case(draw, 5) for _ in range(cases)]
    cut = [list(blocks(array, c.work, around, c.mapping, c.places)) for c in drawn]
    seen = [(one.cycles, one.array) for one in stepped.step(cut, around)]
    walked = [(periods(found, around), sum(b.cycles for b in found)) for found in cut]
    forms = [evaluate(c.work, array, around, c.mapping, c.places).totals for c in drawn]
    return seen, walked, [(form.cycles, form.compute) for form in forms]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("double", [True, False])
def test_three_ways_to_the_same_cycles(double: bool, seed: int) -> None:
    """Sixteen random layers side by side on a random machine."""
    seen, walked, forms = _three(double=double, cases=16, seed=seed)
    assert seen == walked == forms


@pytest.mark.parametrize("name", ["_take_job", "_take_block", "_work"])
def test_planted_faults_are_seen(name: str, monkeypatch) -> None:
    """A DMA that does not wait for its slot, an array that starts without its operands,
    one that lets go of nothing: other cycles, or no end, which is said."""
    real = getattr(stepped, name)

    def faulty(state, *rest):
        if name == "_take_job":
            got = real(state._replace(operands=state.operands & False), *rest)
            return got._replace(operands=state.operands)
        if name == "_take_block":
            got = real(state._replace(operands=state.operands | True), *rest)
            return got._replace(operands=state.operands)
        return real(state, *rest)._replace(operands=state.operands)

    monkeypatch.setattr(stepped, name, faulty)
    monkeypatch.setattr(stepped, "_machine", stepped._machine.__wrapped__)
    if name != "_take_block":
        with pytest.raises(RuntimeError, match="did not end"):
            _three(double=True, cases=4, seed=0)
        return
    seen, walked, _ = _three(double=True, cases=16, seed=0)
    assert seen != walked


def _block(cycles: int, read: int, written: int) -> Block:
    return Block(read, 0, 0, 0, written, cycles, Counters())


def test_by_hand_what_is_left_of_a_cycle_is_lost() -> None:
    """3 bytes a cycle: 4 bytes in are 2 cycles; 5 of work beside 4 in; then 4 + 1 bytes
    out and none in beside 5; then 1 out."""
    memory = Memory(dram_mb_per_s=300, clock_mhz=100)
    found = [_block(5, 4, 4), _block(5, 4, 1)]
    got = stepped.step([found], memory)[0]
    assert got == stepped.Stepped(cycles=2 + 5 + 5 + 1, array=10, dma=2 + 2 + 2 + 1)


def test_it_stands_in_for_the_periods_of_a_walk() -> None:
    """`walk` takes it as the judge of its cycles."""
    draw = random.Random(3)
    one, array, around = case(draw, 4), machine(draw), memory(draw)
    given = (array, one.work, around, one.mapping, one.places)
    assert walk(*given, wait=stepped.cycles) == walk(*given)


def test_too_long_a_layer_is_refused() -> None:
    """Before it is stepped."""
    with pytest.raises(InputError, match="use the closed form"):
        stepped.step([[_block(60_000_000, 1, 1)]], Memory())
