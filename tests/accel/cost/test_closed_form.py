"""The closed form equals the walk, field by field."""

import random

import pytest
from cost_cases import case, machine, memory

from accel.cost import closed_form
from accel.cost.mapper import evaluate
from accel.cost.reference import walk


def mismatches(cases: int) -> int:
    """Random cases in which any field differs."""
    draw, wrong = random.Random(7), 0
    for _ in range(cases):
        one, array, around = case(draw), machine(draw), memory(draw)
        want = walk(array, one.work, around, one.mapping, one.places)
        got = evaluate(one.work, array, around, one.mapping, one.places)
        repeats = one.work.repeats
        same = tuple(repeats * n for n in got.totals) == want[:-1]
        counted = tuple(repeats * n for n in got.counters) == tuple(want.counters)
        wrong += not (same and counted)
    return wrong


def test_it_equals_the_walk_on_random_cases() -> None:
    """Cycles, array cycles, bytes by operand and counters; ports, both bufferings."""
    assert mismatches(400) == 0


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("_positions", lambda T: [(0, 1), (T - 1, int(T >= 2)), (1, max(T - 2, 0))]),
        ("SUM_BYTES", 2),
        ("_after", lambda form, order, here: (here, 0)),
    ],
)
def test_planted_faults_are_seen(name, fault, monkeypatch) -> None:
    """Too few kinds of blocks, narrow sums, a next block that is this one."""
    monkeypatch.setattr(closed_form, name, fault)
    assert mismatches(60) > 0
