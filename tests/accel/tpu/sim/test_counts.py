"""Every cycle belongs to one row of table 3."""

import dataclasses

import pytest
import tpu_machine
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.tpu.sim import clock
from accel.tpu.sim import table as kinds
from accel.tpu.sim.counts import count
from accel.tpu.sim.table import Row, table


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(1, 4))
def test_rows_add_up_to_all_cycles(data, fifo):
    """Active, weight stall, weight shift and non-matrix: nothing is left, nothing twice."""
    rows = table(data.draw(tpu_machine.programs(fifo)))
    found = count(rows, clock.run(rows, fifo=fifo), side=4)
    parts = (found.active, found.weight_stall, found.weight_shift, found.non_matrix)
    assert sum(parts) == found.cycles
    assert min(dataclasses.astuple(found)) >= 0
    assert found.useful_slots + found.unused_slots == 16 * found.active


def _by_hand():
    """Two tiles of 4 x 4, 12 and 16 weights: fetch 10, shift 4, 3 rows at half speed."""
    fetch = Row(kind=kinds.READ_WEIGHTS, duration=10)
    product = Row(
        kind=kinds.MATMUL, duration=6, rows=3, new_tile=1, shift=4, drain=6, used=12
    )
    second = product._replace(accumulate=1, used=16)
    activate = Row(kind=kinds.ACTIVATE, duration=3)
    return table([fetch, product, fetch, second, activate])


def test_a_program_by_hand():
    """0..10 fetch, ..14 shift, ..20 product; stall none, 20..24 shift, ..30; out 36, 39."""
    rows = _by_hand()
    found = count(rows, clock.run(rows, fifo=4), side=4)
    assert (found.cycles, found.active, found.drain) == (39, 12, 9)
    assert (found.weight_stall, found.weight_shift) == (10, 8)
    assert (found.useful_slots, found.unused_slots) == (6 * 28, 6 * 4)
    assert found.macs == 3 * 28
    assert found.share("active") == 12 / 39
    # 84 MACs are 168 operations in 39 cycles of a nanosecond.
    assert found.tops(10**9) == pytest.approx(168 / 39e-9 / 1e12)


def test_a_cycle_counted_twice_is_noticed(monkeypatch):
    """A clock whose weight stall reaches into the shift breaks the sum."""
    rows = _by_hand()
    times = clock.run(rows, fifo=4)
    wrong = times._replace(weight_stall=times.weight_stall + (rows.new_tile > 0))
    found = count(rows, wrong, side=4)
    parts = (found.active, found.weight_stall, found.weight_shift, found.non_matrix)
    assert sum(parts) != found.cycles


def test_nothing_takes_no_cycles():
    rows = table([Row(kind=kinds.IDLE)])
    assert count(rows, clock.run(rows, fifo=4), side=4).cycles == 0
