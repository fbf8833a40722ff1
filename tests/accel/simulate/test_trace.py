"""A trace shows what a few lines say that every PE holds after every edge."""

import numpy as np
import pytest
from arrays import SHAPES, exact, factors, machines

from accel.machines.machine import Systolic
from accel.predict.timing import predict
from accel.simulate import control, trace
from accel.simulate.faults import Fault, masks
from accel.workload.gemm import Gemm
from configs.errors import InputError

TRACED = [machine for shape in ((3, 2), (1, 3)) for machine in machines(*shape)]
name = lambda machine: machine.name
M, K, N = 4, 5, 3


def held_work(machine: Systolic, left: np.ndarray, right: np.ndarray):
    """(cycle, row, col, operand, held, sum) of all useful and padded multiplications."""
    rows, cols = machine.rows, machine.cols
    P = control.period(machine, len(left))
    left = control.padded(left.astype(int), 1, rows)
    right = control.padded(control.padded(right.astype(int), 0, rows), 1, cols)
    deep = left.shape[1] // rows
    for t in range(deep * (right.shape[1] // cols)):
        for m, r, c in np.ndindex(len(left), rows, cols):
            ks = t % deep * rows + np.arange(r + 1)
            operands, column = left[m, ks], right[ks, t // deep * cols + c]
            cycle = t * P + rows + m + r + c
            yield cycle, r, c, operands[-1], column[-1], operands @ column


def sum_work(machine: Systolic, x: np.ndarray, w: np.ndarray):
    """The same of an array that keeps its sums, up to each multiplication."""
    rows, cols = machine.rows, machine.cols
    P = control.period(machine, len(w))
    x = control.padded(x.astype(int), 0, rows)
    w = control.padded(w.astype(int), 1, cols)
    tall = len(x) // rows
    for t in range(tall * (w.shape[1] // cols)):
        for k, r, c in np.ndindex(len(w), rows, cols):
            xs, ws = x[t % tall * rows + r, : k + 1], w[: k + 1, t // tall * cols + c]
            yield t * P + k + r + c, r, c, xs[-1], ws[-1], xs @ ws


@pytest.mark.parametrize("machine", TRACED, ids=name)
def test_every_pe_at_work(machine):
    (x,), w = factors(1, M, K, N)
    found = trace.record(machine, x, w)
    names = ("input", "weight", "sum")
    if machine.dataflow == "os":
        work = sum_work(machine, x, w)
    elif machine.dataflow == "ws":
        work = held_work(machine, x, w)
    else:
        # What is held are inputs.
        work, names = held_work(machine, w.T, x.T), ("weight", "input", "sum")
    valid = np.zeros_like(found.registers["valid"])
    for cycle, r, c, *values in work:
        valid[cycle, r, c] = True
        for register, value in zip(names, values, strict=True):
            # Weights that come with the data replace those that the edge multiplies by.
            before = register == names[1] and control.scheme(machine) == "skewed"
            assert found.registers[register][cycle - before, r, c] == value
    assert np.array_equal(found.registers["valid"], valid)


@pytest.mark.parametrize("machine", TRACED, ids=name)
def test_cycles_phases_and_results(machine):
    (x,), w = factors(1, M, K, N)
    found, expected = trace.record(machine, x, w), predict(machine, Gemm("", 1, M, K, N))
    assert found.cycles == expected.cycles
    for phase in set(found.phases) | {"load", "fill", "stream", "drain", "stall"}:
        assert found.phases.count(phase) == getattr(expected, phase)
    assert {len(plane) for plane in found.registers.values()} == {found.cycles}
    assert len(found.captured) == len(found.captured_valid) == found.cycles
    assert found.captured_valid[-1].any()
    assert not found.captured[~found.captured_valid].any()
    # Whatever the order of tiles, each result of each tile was seen: their total is that
    # of the product, since padding adds nothing.
    assert found.captured.sum() == exact(x, w).sum()
    assert (found.machine, found.x is x, found.w is w) == (machine, True, True)


@pytest.mark.parametrize("machine", machines(3, 2)[::3][:2], ids=name)
def test_operands_are_seen_while_they_load(machine):
    """One tile in one register a PE: rows enter from above, the last one first."""
    (x,), w = factors(1, 3, 3, 2)
    x = x[:2] if machine.dataflow == "is" else x
    held = x.T if machine.dataflow == "is" else w
    planes = trace.record(machine, x, w).registers
    plane = planes["input" if machine.dataflow == "is" else "weight"]
    for edge in range(3):
        expected = np.zeros((3, 2), int)
        expected[: edge + 1] = held[2 - edge :]
        assert np.array_equal(plane[edge], expected)


def test_faults_are_traced():
    machine, ((x,), w) = Systolic(rows=3, cols=2), factors(1, M, K, N)
    fault = Fault(register="sum", row=2, col=1, bit=0, kind="stuck_1")
    broken = masks([fault], machine, {"sum": True})
    found = trace.record(machine, x, w, broken).registers["sum"]
    assert (found[:, 2, 1] & 1).all()
    assert not (trace.record(machine, x, w).registers["sum"][:, 2, 1] & 1).all()


@pytest.mark.parametrize("machine", machines(3, 2), ids=name)
def test_a_trace_that_is_too_large_is_refused(machine, monkeypatch):
    (x,), w = factors(1, M, K, N)
    found = trace.record(machine, x, w)
    shown = sum(plane.size for plane in found.registers.values())
    monkeypatch.setattr(trace, "_MOST_VALUES", shown)
    with pytest.raises(
        InputError, match=rf"`{machine.name}` for \d+ cycles .* smaller array"
    ):
        trace.record(machine, x, w)


def test_delay_lines_count(monkeypatch):
    """A tall array holds more in front of its PEs than in them."""
    (x,), w = factors(1, 2, 1, 1)
    tall, flat = Systolic(rows=64, cols=1), Systolic(rows=8, cols=8)
    monkeypatch.setattr(trace, "_MOST_VALUES", 100_000)
    assert trace.record(flat, x, w).cycles == 2 * 8 + 2 + 8 - 2
    with pytest.raises(InputError, match="must have at most 100000"):
        trace.record(tall, x, w)


@pytest.mark.parametrize("shape", SHAPES)
def test_tiles_are_those_of_the_dataflow(shape):
    (x,), w = factors(1, M, K, N)
    cd = control.tile_count
    for machine in machines(*shape):
        sides = {"ws": (K, N), "is": (K, M), "os": (M, N)}[machine.dataflow]
        expected = cd(sides[0], shape[0]) * cd(sides[1], shape[1])
        assert trace.cut(machine, x, w).count == expected
