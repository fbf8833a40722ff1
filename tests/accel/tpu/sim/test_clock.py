"""The clock's times are those of units that are stepped cycle by cycle."""

import numpy as np
import pytest
import tpu_machine
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.tpu.sim import clock
from accel.tpu.sim import table as kinds
from accel.tpu.sim.counts import count
from accel.tpu.sim.table import Row, table
from configs.errors import InputError


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(1, 4))
def test_every_time_is_that_of_the_stepped_machine(data, fifo):
    """Starts and ends of all instructions and shifts, and the reason of every gap."""
    _check(data.draw(tpu_machine.programs(fifo)), fifo)


def _check(program, fifo):
    judge = tpu_machine.Machine(program, fifo)
    cycles = judge.run()
    rows = table(program)
    times = clock.run(rows, fifo=fifo)
    for found, wanted in (
        (times.start, judge.starts),
        (times.end, judge.ends),
        (times.shift_start, judge.shift_starts),
        (times.shift_end, judge.shift_ends),
    ):
        assert {i: int(found[i]) for i in wanted} == wanted
    counts = count(rows, times, side=4)
    assert counts.cycles == cycles
    for reason in (*clock.Times._fields[4:], "drain"):
        assert getattr(counts, reason) == judge.idle[reason], reason


def _late_weights(tiles=8, fetch=9):
    """Weight-bound: fetches take longer than anything else."""
    rows = []
    for tile in range(tiles):
        rows.append(Row(kind=kinds.READ_WEIGHTS, duration=fetch))
        bits = {"new_tile": 1, "accumulate": int(tile > 0)}
        rows.append(Row(kind=kinds.MATMUL, duration=2, rows=2, shift=4, drain=6, **bits))
    return rows


@pytest.mark.parametrize(("fetch", "rows"), [(9, 2), (3, 2), (3, 30)])
def test_steady_programs(fetch, rows):
    """Bound by fetches, by shifts, by rows: the whole FIFO comes into play."""
    program = [
        row._replace(duration=rows) if row.kind == kinds.MATMUL else row
        for row in _late_weights(fetch=fetch)
    ]
    _check(program, 4)


@pytest.mark.parametrize(
    "fault",
    [
        "slot_free",
        "live_since",
        "acc_free",
        "ready_act",
        "ready_host",
        "read_end",
        "act_free",
    ],
)
def test_a_forgotten_wait_is_noticed(monkeypatch, fault):
    """A clock that forgets one part of its state gives other times somewhere."""
    honest = clock.tick

    def forgetful(state, row):
        state, times = honest(state, row)
        zero = getattr(state, fault) * 0
        return state._replace(**{fault: zero}), times

    monkeypatch.setattr(clock, "tick", forgetful)
    monkeypatch.setattr(clock, "_scan", clock._scan.__wrapped__)
    with pytest.raises(AssertionError):
        _check(_everything(), 2)


def _everything():
    """Every kind of row, each wait taking effect somewhere."""
    fetch = Row(kind=kinds.READ_WEIGHTS, duration=2)
    product = Row(kind=kinds.MATMUL, duration=9, rows=9, new_tile=1, shift=4, drain=6)
    activate = Row(kind=kinds.ACTIVATE, duration=9)
    read = Row(kind=kinds.READ_HOST, duration=50)
    write = Row(kind=kinds.WRITE_HOST, duration=5)
    sync, pool = Row(kind=kinds.SYNC), Row(kind=kinds.POOL, duration=3)
    layer = [fetch, product, activate] * 4
    return [read, sync, pool, *layer, sync, *layer, read, sync, *layer, write]


def test_sums_pass_thirty_two_bits():
    """Ten fetches of 10^9 cycles end at 10^10, exactly."""
    fetch = Row(kind=kinds.READ_WEIGHTS, duration=10**9)
    times = clock.run(table([fetch] * 10), fifo=16)
    np.testing.assert_array_equal(times.end, np.arange(1, 11) * 10**9)


def test_times_too_long_for_exact_counts_are_refused():
    fetch = Row(kind=kinds.READ_WEIGHTS, duration=1 << 45)
    with pytest.raises(InputError, match=r"`cycles`.*use a smaller batch"):
        clock.run(table([fetch] * 2), fifo=4)
