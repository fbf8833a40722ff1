"""Command-line options become the machine they say, or one refusal."""

import dataclasses

import pytest

from accel.cli import machine_options
from accel.cli.machine_options import MachineOptions
from accel.machines.machine import Direct, Dot, Mac, Systolic, Tile
from configs.errors import InputError

BUILT = [
    ({}, Systolic()),
    (
        {"rows": 3, "cols": 5, "dataflow": "is", "weights": "shadow", "load": "global",
         "accumulators": 7},
        Systolic(rows=3, cols=5, dataflow="is", weights="shadow", load="global",
                 accumulators=7),
    ),
    (
        {"depthwise": "vector", "vector_width": 8},
        Systolic(depthwise="vector", vector_width=8),
    ),
    ({"machine": "mac"}, Mac()),
    ({"machine": "mac_dram"}, Mac(dram=True)),
    ({"machine": "mac_dram", "access_cycles": 9}, Mac(dram=True, access_cycles=9)),
    ({"machine": "dot", "multipliers": 12}, Dot(multipliers=12)),
    (
        {"machine": "tile", "tile_inputs": 2, "tile_outputs": 3, "loop": "inputs",
         "sum_words": 30},
        Tile(inputs=2, outputs=3, loop="inputs", sum_words=30),
    ),
    ({"machine": "direct"}, Direct()),
]  # fmt: skip


@pytest.mark.parametrize(("given", "machine"), BUILT)
def test_options_become_a_machine(given, machine):
    assert MachineOptions(**given).build() == machine


def test_every_option_reaches_a_machine():
    """No option is left over, and none is known to no machine."""
    used = {name for fields in machine_options._FIELDS.values() for name in fields}
    assert used == {f.name for f in dataclasses.fields(MachineOptions)} - {"machine"}
    assert machine_options._FIELDS.keys() == machine_options._KINDS.keys()
    assert set().union(*(given for given, _ in BUILT)) == used | {"machine"}


@pytest.mark.parametrize("name", sorted(machine_options._FIELDS["tile"]))
def test_an_option_of_another_machine_is_refused(name):
    value = "inputs" if name == "loop" else 8
    flag = name.replace("_", "-")
    message = (
        rf"`--{flag}` \(={value}\) belongs to --machine tile, not to dot; leave it out"
    )
    with pytest.raises(InputError, match=message):
        MachineOptions(machine="dot", **{name: value}).build()


def test_an_option_without_a_meaning_is_refused():
    for given, message in (
        ({"load": "global"}, r"`--load` \(=global\) has a meaning with --weights shadow"),
        ({"load": "skewed", "weights": "single"}, r"`--load` \(=skewed\)"),
        ({"dataflow": "os", "accumulators": 9}, r"`--accumulators` \(=9\)"),
    ):
        with pytest.raises(InputError, match=message):
            MachineOptions(**given).build()
