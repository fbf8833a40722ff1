"""Every array of every kind: bits of numpy, counters of the closed forms."""

import numpy as np
import pytest
from arrays import MACHINES, SHAPES, exact, factors, machines, noticed, products
from hypothesis import given, settings

from accel.machines.machine import Systolic
from accel.simulate import batched_tiles, register_level, systolic
from accel.simulate.faults import Fault, masks


@pytest.fixture(scope="module", autouse=True)
def small_programs():
    """One array at a time and short pieces: few programs, and pieces are met everywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(register_level, "_PIECE", 32)
        patch.setattr(register_level, "_PLANE", 1)
        patch.setattr(batched_tiles, "_EDGES", 8)
        patch.setattr(batched_tiles, "_MOST_LANES", 2)
        yield


@given(machine=MACHINES, product=products())
@settings(max_examples=120, deadline=None)
def test_register_by_register_every_bit_and_every_counter(machine, product):
    run = lambda *given: systolic.run(*given, literal=True)
    assert noticed(run, machine, *product) == set()


@given(machine=MACHINES, product=products())
@settings(max_examples=120, deadline=None)
def test_whatever_form_is_chosen(machine, product):
    assert noticed(systolic.run, machine, *product) == set()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_ends_of_the_ranges_on_every_array(shape, dtype):
    product = factors(2, 4, 2 * shape[0] + 1, 2 * shape[1] + 1, dtype=dtype, extreme=True)
    for machine in machines(*shape):
        assert noticed(systolic.run, machine, *product) == set()


def test_faults_are_stepped_register_by_register():
    machine, product = Systolic(rows=3, cols=2), factors(1, 3, 4, 5)
    signed = {"weight": True, "input": False, "sum": True}
    fault = Fault(register="sum", row=1, col=1, bit=4, kind="flip")
    broken = masks([fault], machine, signed)
    found = systolic.run(machine, *product, broken)
    assert np.array_equal(found.sums, register_level.run(machine, *product, broken).sums)
    # Column 1 of each tile of outputs.
    wrong = (found.sums != exact(*product)).any((0, 1))
    assert wrong.tolist() == [False, True, False, True, False]


@pytest.mark.parametrize("dataflow", ["ws", "is"])
def test_the_fast_form_is_taken_where_there_is_one(dataflow, monkeypatch):
    def refused(*given):
        raise RuntimeError("stepped register by register")

    monkeypatch.setattr(register_level, "run", refused)
    machine, product = Systolic(rows=3, cols=2, dataflow=dataflow), factors(1, 3, 4, 5)
    assert noticed(systolic.run, machine, *product) == set()
    with pytest.raises(RuntimeError, match="register by register"):
        systolic.run(machine, *product, literal=True)
