"""What registers should hold is what they hold; any one that does not is found."""

import dataclasses
from functools import cache

import numpy as np
import pytest
from arrays import MACHINES, drawn, exact, factors, machines, products
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.machines.machine import Systolic
from accel.simulate import ideal, trace

name = lambda machine: machine.name


@cache
def of_several_tiles(machine: Systolic) -> trace.Trace:
    x_GMK, w_KN = factors(1, 4, 5, 3, dtype=np.int8)
    return trace.record(machine, x_GMK[0], w_KN)


@given(machine=MACHINES, product=products())
@settings(max_examples=25, deadline=None)
def test_registers_hold_what_they_should(machine, product):
    """Any number of tiles, ragged ones too, and every register of which it matters."""
    x_GMK, w_KN = product
    recorded = trace.record(machine, x_GMK[0], w_KN)
    assert ideal.first_difference(recorded) is None
    expected = ideal.registers(recorded)
    assert set(expected) == set(recorded.registers)
    for register, (values, matters) in expected.items():
        shape = recorded.registers[register].shape
        assert values.shape == matters.shape == shape
        assert matters.any()


@pytest.mark.parametrize("machine", machines(3, 2), ids=name)
def test_what_matters_is_not_little(machine):
    """Each operand meets each: the products in the sums are all there are."""
    expected = ideal.registers(of_several_tiles(machine))
    valid = expected["valid"][0].astype(bool)
    assert expected["valid"][1].all()
    each = {"ws": 4, "is": 3, "os": 5}[machine.dataflow]
    # Four tiles; padding works too.
    assert valid.sum() == 4 * each * machine.multipliers
    for register in ("weight", "input", "sum"):
        assert (expected[register][1] | ~valid).all()


# 2 x 2 PEs, rows between slashes: x = (1 2 / 3 4), w = (5 6 / 7 8).
STAY = """
input     | weight    | valid     | sum
1 . / . . | 5 . / . . | 1 . / . . |  5  . /  .  .
2 1 / 3 . | 7 6 / 5 . | 1 1 / 1 . | 19  6 / 15  .
. 2 / 4 3 | . 8 / 7 6 | . 1 / 1 1 | 19 22 / 43 18
. . / . 4 | . . / . 8 | . . / . 1 | 19 22 / 43 50
. . / . . | . . / . . | . . / . . |  .  . / 19 22
. . / . . | . . / . . | . . / . . |  .  . /  .  .
"""
HELD = """
weight    | input     | valid     | sum
7 8 / . . | . . / . . | . . / . . |  .  . /  .  .
5 6 / 7 8 | . . / . . | . . / . . |  .  . /  .  .
5 6 / 7 8 | 1 . / . . | 1 . / . . |  5  . /  .  .
5 6 / 7 8 | 3 1 / 2 . | 1 1 / 1 . | 15  6 / 19  .
5 6 / 7 8 | . 3 / 4 2 | . 1 / 1 1 |  . 18 / 43 22
5 6 / 7 8 | . . / . 4 | . . / . 1 |  .  . /  . 50
"""


@pytest.mark.parametrize(("dataflow", "table"), [("os", STAY), ("ws", HELD)])
def test_by_hand(dataflow, table):
    x, w = np.array([[1, 2], [3, 4]], np.uint8), np.array([[5, 6], [7, 8]], np.int8)
    machine, edges = Systolic(rows=2, cols=2, dataflow=dataflow), drawn(table)
    recorded = trace.record(machine, x, w)
    assert recorded.cycles == len(edges)
    for register, (values, matters) in ideal.registers(recorded).items():
        by_hand = np.stack([edge[register] for edge in edges])
        assert np.array_equal(values[matters], by_hand[matters])


def changed(recorded, register: str, at: tuple, value: int):
    """The trace with one value of one register replaced."""
    plane = recorded.registers[register].copy()
    plane[at] = value
    return dataclasses.replace(recorded, registers={**recorded.registers, register: plane})


@given(
    machine=st.sampled_from(machines(3, 2) + machines(1, 3)),
    bit=st.integers(0, 30),
    draw=st.data(),
)
@settings(max_examples=200, deadline=None)
def test_any_one_wrong_value_is_found(machine, bit, draw):
    recorded = of_several_tiles(machine)
    register = draw.draw(st.sampled_from(sorted(recorded.registers)))
    values, matters = ideal.registers(recorded)[register]
    at = tuple(int(i) for i in draw.draw(st.sampled_from(list(np.argwhere(matters)))))
    wrong = int(values[at]) ^ (1 if register == "valid" else 1 << bit)
    found = ideal.first_difference(changed(recorded, register, at, wrong))
    assert found == (at[0] + 1, at[1], at[2], register, wrong, values[at])
    silent = np.argwhere(~matters)
    if len(silent):
        elsewhere = changed(recorded, register, tuple(silent[0]), 99)
        assert ideal.first_difference(elsewhere) is None


def test_causes_come_before_what_follows_from_them():
    """On one edge the operands first, whatever their place; else the earlier edge."""
    x_GMK, w_KN = factors(1, 4, 3, 2)
    recorded = trace.record(Systolic(rows=3, cols=2), x_GMK[0], w_KN)
    both = changed(recorded, "sum", (5, 0, 0), 1)
    both = changed(both, "input", (5, 1, 1), 300)
    assert ideal.first_difference(both)[:4] == (6, 1, 1, "input")
    assert ideal.first_difference(changed(both, "sum", (4, 1, 0), 1))[:4] == (
        5,
        1,
        0,
        "sum",
    )


def test_an_array_that_does_not_come_to_rest():
    """Surplus operands are wrong too, and so is a trace that goes on."""
    x_GMK, w_KN = factors(1, 4, 3, 2)
    recorded = trace.record(Systolic(rows=3, cols=2), x_GMK[0], w_KN)
    grown = {n: np.concatenate([a, a[-1:]]) for n, a in recorded.registers.items()}
    longer = dataclasses.replace(
        recorded, registers=grown, phases=(*recorded.phases, "drain")
    )
    found = ideal.first_difference(longer)
    assert found == (recorded.cycles + 1, 2, 1, "valid", 1, 0)


@pytest.mark.parametrize("machine", machines(3, 2), ids=name)
def test_the_first_wrong_result_of_a_tile(machine):
    """On the edge on which the PE finishes the sum, as the trace shows it."""
    M, K, N = {"ws": (5, 3, 2), "is": (2, 3, 5), "os": (3, 5, 2)}[machine.dataflow]
    x_GMK, w_KN = factors(1, M, K, N)
    right = exact(x_GMK, w_KN)[0]
    assert ideal.first_result(machine, right, right, K) is None
    recorded = trace.record(machine, x_GMK[0], w_KN)
    for m, n in np.ndindex(M, N):
        wrong = right.copy()
        wrong[m, n] += 1
        # Another, which comes out later.
        wrong[-1, -1] += 1
        place = ideal.first_result(machine, wrong, right, K)
        at = place.cycle - 1, place.row, place.col
        assert recorded.registers["sum"][at] == right[m, n] == place.expected
        assert recorded.registers["valid"][at]
        assert place.found == wrong[m, n]
        assert place.register == "sum"
