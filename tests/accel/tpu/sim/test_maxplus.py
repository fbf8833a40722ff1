"""The closed form's total is the clock's, from shapes alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tpu_machine import Machine

from accel.tpu.machine import TpuMachine
from accel.tpu.sim import clock, maxplus, work
from accel.tpu.sim.counts import count
from accel.tpu.sim.table import table
from configs.errors import InputError


def scanned(steps, machine):
    rows = table(work.rows(steps, machine))
    return count(rows, clock.run(rows, fifo=machine.fifo_tiles), side=machine.side)


def tiny(**changes):
    """4 x 4, chunks of 8 rows, weights that take 7 cycles."""
    fields = {"side": 4, "clock_hz": 7, "weight_bandwidth": 16, "host_bandwidth": 10}
    fields |= {"accumulator_rows": 16, "unified_buffer_bytes": 4096}
    fields |= {"weight_memory_bytes": 4096} | changes
    return TpuMachine(**fields)


_GROUPS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=2)
_PRODUCTS = st.builds(
    work.Product,
    name=st.just("p"),
    rows=st.integers(1, 40),
    groups=_GROUPS.map(tuple),
    weights=st.just(16),
    speed=st.sampled_from([1, 2, 4]),
)
_STEPS = st.one_of(
    _PRODUCTS,
    _PRODUCTS,
    st.builds(work.Read, bytes=st.integers(1, 300)),
    st.builds(work.Write, bytes=st.integers(1, 300)),
    st.builds(work.Vector, rows=st.integers(1, 60)),
    st.just(work.Barrier()),
)


@pytest.mark.parametrize("rows", [8, 9, 16, 17, 24, 31, 32, 34, 40])
@pytest.mark.parametrize("k_tiles", [1, 2, 5])
@pytest.mark.parametrize("fifo", [1, 2, 3, 4])
def test_chunks_and_tiles(rows, k_tiles, fifo):
    """One to five chunks of 8 rows; tiles of 3 columns; weights slow and fast."""
    for bandwidth in (2, 16, 60):
        machine = tiny(fifo_tiles=fifo, weight_bandwidth=bandwidth)
        groups = ((k_tiles, 3), (2, 1))
        layer = work.Product(name="p", rows=rows, groups=groups, weights=16)
        assert maxplus.predict([layer], machine) == scanned([layer], machine).cycles


@pytest.mark.parametrize("rows", [2, 3, 4, 5, 6, 7, 8, 9, 10])
@pytest.mark.parametrize("k_tiles", [1, 2, 5])
def test_equals_the_machine_stepped_by_cycles(rows, k_tiles):
    """One to five chunks of 2 rows, through units that know no formula."""
    for fifo in (1, 2, 4):
        machine = tiny(accumulator_rows=4, fifo_tiles=fifo, side=2)
        layer = work.Product(name="p", rows=rows, groups=((k_tiles, 2),), weights=16)
        judge = Machine(list(work.rows([layer], machine)), fifo)
        assert maxplus.predict([layer], machine) == judge.run()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(_STEPS, min_size=1, max_size=9),
    st.integers(1, 5),
    st.integers(1, 60),
    st.sampled_from([2, 8, 16]),
)
def test_equals_the_scan(steps, fifo, bandwidth, accumulators):
    """Any order of steps; weights slow or fast, FIFO deep or not, chunks long or short."""
    machine = tiny(
        fifo_tiles=fifo, weight_bandwidth=bandwidth, accumulator_rows=accumulators
    )
    # Halves start anew in every product, so nothing of the one before may be left.
    steps = [s for step in steps for s in (work.Barrier(), step)]
    assert maxplus.predict(steps, machine) == scanned(steps, machine).cycles


def test_a_long_layer_takes_logarithms():
    """10^12 tiles, answered at once and exactly: fetches one after the other."""
    machine = tiny()
    layer = work.Product(name="p", rows=1, groups=((10**6, 10**6),), weights=1)
    last = machine.side + 1 + 2 * machine.side - 2 + 1
    assert maxplus.predict([layer], machine) == 10**12 * machine.fetch_cycles + last


@pytest.mark.parametrize("fifo", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("bandwidth", [5, 16, 400])
@pytest.mark.parametrize(
    ("rows", "speed"), [(1, 1), (3, 1), (8, 1), (8, 4), (3, 2), (9, 1), (16, 1), (13, 2)]
)
def test_steady_period(fifo, bandwidth, rows, speed):
    """100 more tiles of a long sum take 100 periods, not one cycle more or less, for one
    chunk of up to 8 rows or for the two of a pair."""
    machine = tiny(fifo_tiles=fifo, weight_bandwidth=bandwidth)

    def cycles(k):
        layer = work.Product(name="p", rows=rows, groups=((k, 1),), weights=1, speed=speed)
        return maxplus.predict([layer], machine)

    period = maxplus.tile_period(rows, machine, speed)
    assert cycles(300) - cycles(200) == 100 * period


def test_steady_period_of_many_sums_and_where_it_ends():
    """From sum to sum it holds if accumulators are read out in time; else it is longer."""
    machine = tiny(weight_bandwidth=10**6)

    def cycles(k, n):
        layer = work.Product(name="p", rows=8, groups=((k, n),), weights=1)
        return maxplus.predict([layer], machine)

    period = maxplus.tile_period(8, machine)
    assert cycles(2, 300) - cycles(2, 200) == 200 * period
    # 8 rows out of the array 6 cycles later, and read out for 8: two halves, 22 cycles.
    assert cycles(1, 300) - cycles(1, 200) == 50 * 22 > 100 * period


def test_a_total_that_might_not_be_exact_is_refused():
    layer = work.Product(name="p", rows=1, groups=((1 << 30, 1 << 30),), weights=1)
    with pytest.raises(InputError, match=r"`cycles`.*smaller batch"):
        maxplus.predict([layer], tiny())


@pytest.mark.parametrize("fault", ["side", "half_rows", "fetch_cycles"])
def test_a_wrong_constant_is_noticed(monkeypatch, fault):
    """The closed form of a machine that is off by one is not the clock's total."""
    machine = tiny()
    # With one row more in each half 17 rows need a chunk less.
    layer = work.Product(name="p", rows=17, groups=((3, 2),), weights=1)
    found = scanned([layer], machine).cycles
    assert maxplus.predict([layer], machine) == found

    class Off:
        def __getattr__(self, name):
            return getattr(machine, name) + (name == fault)

    assert maxplus.predict([layer], Off()) != found
