"""Groups on an array: each way counted as if written out, and the fewest cycles taken."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from walks import walk

from accel.machines.counters import Counters
from accel.machines.machine import Direct, Dot, Mac, Systolic, Tile
from accel.predict import grouped, timing
from accel.predict.grouped import Plan
from accel.workload.gemm import Gemm
from configs.errors import InputError

ARRAYS = st.builds(
    Systolic,
    rows=st.sampled_from([1, 4, 8, 20]),
    cols=st.sampled_from([1, 3, 8]),
    dataflow=st.sampled_from(["ws", "is", "os"]),
)
GROUPS = st.builds(
    Gemm, st.just("conv1"), st.integers(1, 2), st.integers(1, 6),
    st.sampled_from([1, 4, 9]), st.integers(1, 2), st.integers(2, 9),
)  # fmt: skip


def plus(*counters):
    return Counters(*map(sum, zip(*counters, strict=True)))


@given(machine=ARRAYS, gemm=GROUPS, together=st.integers(1, 9))
def test_a_diagonal_is_its_products_one_by_one(machine, gemm, together):
    """But that zeros are no useful multiplications."""
    together = min(together, gemm.repeats)
    plan = Plan("diagonal", together) if together > 1 else Plan()
    found = timing.repeated(machine, gemm, plan)
    each, left = [], gemm.repeats
    while left:
        size = min(together, left)
        block = Gemm("", gemm.images, gemm.positions, size * gemm.K, size * gemm.N)
        each.append(walk(machine, block)._replace(macs=size * gemm.M * gemm.K * gemm.N))
        left -= size
    assert found._asdict() == plus(*each)._asdict()
    assert found.macs == gemm.macs


@given(machine=ARRAYS, gemm=GROUPS, width=st.sampled_from([None, 1, 4, 16]))
def test_auto_is_the_fastest_of_all_ways(machine, gemm, width):
    cycles = {}
    for way in ("channels", "diagonal", *(("vector",) if width else ())):
        unit = width if way == "vector" else None
        other = dataclasses.replace(machine, depthwise=way, vector_width=unit)
        plan = timing.plan(other, gemm)
        assert plan.way in (way, "channels")
        cycles[way] = timing.repeated(other, gemm, plan).cycles
    auto = dataclasses.replace(machine, vector_width=width)
    plan = timing.plan(auto, gemm)
    assert timing.repeated(auto, gemm, plan).cycles == min(cycles.values())


def test_the_tile_is_filled_by_hand():
    """16 rows take 1 group of K = 9, so that 16 columns pay for 9 tiles of rows: 16 groups
    in 9 tiles instead of 16."""
    gemm = Gemm("dw", 1, 196, 9, 1, 64)
    machine = Systolic()
    assert timing.plan(machine, gemm) == Plan("diagonal", 16)
    tile = 2 * 16 + 196 + 16 - 2
    assert timing.repeated(machine, gemm, Plan()).cycles == 64 * tile
    assert timing.repeated(machine, gemm, Plan("diagonal", 16)).cycles == 4 * 9 * tile
    beside = dataclasses.replace(machine, vector_width=16)
    assert timing.plan(beside, gemm) == Plan("vector")
    assert timing.repeated(beside, gemm, Plan("vector")).cycles == 4 * 9 * 196


def test_a_diagonal_that_the_accumulators_do_not_hold_is_not_taken():
    gemm = Gemm("dw", 1, 4, 2, 3, 8)
    free = Systolic(rows=16, cols=4, dataflow="is")
    assert timing.plan(free, gemm).together > 2
    tight = dataclasses.replace(free, accumulators=6)
    assert timing.plan(tight, gemm).together == 2
    least = dataclasses.replace(free, accumulators=3, depthwise="diagonal")
    assert timing.plan(least, gemm) == Plan()


@pytest.mark.parametrize(
    "machine", [Mac(), Dot(), Tile(), Direct(), Systolic(depthwise="channels")]
)
def test_all_machines_do_one_group_after_the_other(machine):
    assert timing.plan(machine, Gemm("dw", 1, 4, 9, 1, 64)) == Plan()


def test_nothing_is_planned_without_groups():
    machine = Systolic(vector_width=16)
    assert timing.plan(machine, Gemm("conv1", 1, 4, 9, 64)) == Plan()
    # Gates take the same inputs: no diagonal.
    assert timing.plan(machine, Gemm("cell", 1, 1, 9, 4, 4, sharing=4)) == Plan()


def test_names():
    assert [Plan().name, Plan("vector").name] == ["channels", "vector"]
    assert grouped.Plan("diagonal", 3).name == "diagonal 3"
    ways = {"depthwise": "vector", "vector_width": 8}
    assert Systolic(**ways).name == "systolic_ws_16x16_vector_v8"
    assert Systolic(vector_width=8).name == "systolic_ws_16x16_v8"
    assert Systolic(depthwise="diagonal").name == "systolic_ws_16x16_diagonal"
    assert Systolic().name == "systolic_ws_16x16"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depthwise": "vector"}, "`depthwise` .*needs a vector unit"),
        ({"depthwise": "channels", "vector_width": 4}, "`vector_width` .*no use"),
        ({"vector_width": 0}, r"`vector_width` .*1\.\.1024"),
        ({"vector_width": 2000}, r"`vector_width` .*1\.\.1024"),
        ({"depthwise": "rows"}, "`depthwise`"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Systolic(**fields)
