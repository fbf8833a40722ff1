"""Machines as data: names, sizes, and what is no machine."""

import itertools
import re

import pytest

from accel.machines.machine import Direct, Dot, Mac, Systolic, Tile
from accel.predict import timing
from accel.workload.gemm import Gemm
from configs.errors import InputError


def several():
    """Machines of every kind, over all that a setting can be."""
    sides = (1, 2, 16)
    for rows, cols, flow in itertools.product(sides, sides, ("ws", "os", "is")):
        size = {"rows": rows, "cols": cols, "dataflow": flow}
        yield Systolic(**size)
        if flow != "os":
            for load in ("skewed", "global"):
                yield Systolic(**size, weights="shadow", load=load)
        yield Tile(inputs=rows, outputs=cols)
        yield Tile(inputs=rows, outputs=cols, loop="inputs")
    for count in (1, 2, 16):
        yield Dot(multipliers=count)
        yield Mac(dram=True, access_cycles=count)
    yield from (Mac(), Direct())


def test_names_are_unique_and_safe_folder_names():
    machines = set(several())
    assert len({machine.name for machine in machines}) == len(machines)
    for machine in machines:
        assert re.fullmatch("[a-z][a-z0-9_]*", machine.name)
    assert Systolic().name == "systolic_ws_16x16"


def test_machines_of_one_name_count_the_same():
    """What a name leaves out bounds memory, or is not used."""
    gemm = Gemm("conv1", 2, 9, 21, 5)
    for one, other in (
        (Systolic(), Systolic(accumulators=100)),
        (Systolic(), Systolic(load="global")),
        (Tile(loop="inputs"), Tile(loop="inputs", sum_words=100)),
    ):
        assert one != other
        assert one.name == other.name
        assert timing.predict(one, gemm) == timing.predict(other, gemm)


def test_multipliers():
    assert Systolic(rows=3, cols=5).multipliers == 15
    assert Tile(inputs=3, outputs=5).multipliers == 15
    assert Dot(multipliers=7).multipliers == 7
    assert Mac().multipliers == Mac(dram=True).multipliers == 1


REFUSALS = [
    (Systolic, {"rows": 0}, r"`rows` \(=0\) of Systolic must be in 1\.\.1024"),
    (Systolic, {"cols": 1025}, r"`cols` \(=1025\)"),
    (Systolic, {"rows": 4.0}, r"`rows` \(=4\.0\) of Systolic must be a whole number"),
    (Systolic, {"rows": True}, r"`rows` \(=True\)"),
    (Systolic, {"dataflow": "xs"}, r"`dataflow` \(='xs'\) .* one of ws, os, is"),
    (Systolic, {"weights": "two"}, r"`weights` \(='two'\)"),
    (Systolic, {"load": "slow"}, r"`load` \(='slow'\)"),
    (Systolic, {"weights": "shadow", "dataflow": "os"}, "must be single for os"),
    (Systolic, {"accumulators": 0}, r"`accumulators` \(=0\)"),
    (Mac, {"access_cycles": 0}, r"`access_cycles` \(=0\)"),
    (Mac, {"access_cycles": 2}, r"`access_cycles` \(=2\) .* `dram` only"),
    (Mac, {"dram": 1}, r"`dram` \(=1\)"),
    (Dot, {"multipliers": 0}, r"`multipliers` \(=0\)"),
    (Dot, {"multipliers": (1 << 20) + 1}, r"`multipliers` \(=1048577\)"),
    (Tile, {"inputs": 0}, r"`inputs` \(=0\)"),
    (Tile, {"outputs": -1}, r"`outputs` \(=-1\)"),
    (Tile, {"inputs": 1 << 11, "outputs": 1 << 10}, r"`inputs` \(=2048\) of .*1048576"),
    (Tile, {"loop": "rows"}, r"`loop` \(='rows'\)"),
    (Tile, {"sum_words": 15}, r"`sum_words` \(=15\) of Tile must hold a tile of 16 sums"),
]


@pytest.mark.parametrize(("kind", "given", "message"), REFUSALS)
def test_what_is_no_machine_is_refused(kind, given, message):
    with pytest.raises(InputError, match=message):
        kind(**given)


def test_the_largest_machines_are_machines():
    assert Systolic(rows=1024, cols=1024).multipliers == 1 << 20
    assert Dot(multipliers=1 << 20).multipliers == 1 << 20
