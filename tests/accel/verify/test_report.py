"""The record of a verification: totals are sums, figures follow from the counts."""

import dataclasses
import json

import integers
import numpy as np
import pytest

from accel.machines.counters import FETCHES, PHASES, Counters
from accel.machines.machine import Direct, Systolic, Tile
from accel.predict import timing
from accel.show import perfetto
from accel.verify.quantised_run import QuantisedRun
from accel.verify.report import NOT_COUNTED, report
from accel.verify.run import Setup
from accel.verify.verify import LayerResult, Verified

IMAGES, CLOCK_MHZ = 5, 250.0
NETWORK = integers.filled(integers.spec("cnn"), classes=("zero", "one", "two"))


def subject(labels=True) -> QuantisedRun:
    return QuantisedRun(
        "small", NETWORK, "ab" * 32, integers.images(NETWORK.network, IMAGES),
        np.array([0, 1, 2, 0, 1]) if labels else None, {"name": "none"},
    )  # fmt: skip


def verified(machine, *, wrong=(0, 0), counted=None) -> Verified:
    """What a machine would have made of the network, without running it."""
    layers = [
        LayerResult(gemm, predicted, predicted, 2 * gemm.M * gemm.N, 0, 0)
        for gemm, predicted in timing.layers(machine, NETWORK.network, IMAGES, 2)
    ]
    sums, outputs = wrong
    layers[1] = dataclasses.replace(layers[1], wrong_sums=sums, wrong_outputs=outputs)
    if counted:
        layers[0] = dataclasses.replace(layers[0], counted=counted(layers[0].counted))
    # Classes 0, 1, 2, 1, 1: four of five are right; of the integers all.
    outputs = np.eye(3, dtype=np.int8)[[0, 1, 2, 1, 1]]
    expected = np.eye(3, dtype=np.int8)[[0, 1, 2, 0, 1]]
    return Verified(
        Setup(machine=machine, batch=2), IMAGES, tuple(layers), {"pool1": (60, 0)},
        outputs, expected, None,
    )  # fmt: skip


def made(machine=None, **changes):
    labels = changes.pop("labels", True)
    what = verified(machine or Systolic(rows=4, cols=4), **changes)
    return report(subject(labels), what, clock_mhz=CLOCK_MHZ, wall_s=2.0)


@pytest.mark.parametrize("machine", [Systolic(rows=4, cols=2), Tile(), Direct()])
def test_totals_are_the_sums_of_the_layers(machine):
    found = made(machine)
    layers = found["layers"]
    assert json.loads(json.dumps(found)) == found
    assert found["total_cycles"] == sum(one["cycles_simulated"] for one in layers)
    for phase in PHASES:
        assert found["phases"][phase] == sum(one["phases"][phase] for one in layers)
    for name in ("macs", "idle", *FETCHES):
        assert found[name] == sum(one[name] for one in layers)
    assert sum(found["phases"].values()) == found["total_cycles"]
    for one in layers:
        assert sum(one["phases"].values()) == one["cycles_simulated"] == one["stepped"]
        slots = one["macs"] + one["idle"]
        assert one["utilization"] == one["macs"] / slots
    # The timeline accepts it, which checks more sums.
    perfetto.encode(found)


def test_figures_follow_from_the_counts():
    found = made()
    assert found["cycles_per_image"] == found["total_cycles"] / 5
    assert found["images_per_s"] == pytest.approx(250e6 * 5 / found["total_cycles"])
    assert found["simulated_cycles_per_s"] == found["total_cycles"] / 2
    assert found["utilization"] == found["macs"] / (16 * found["total_cycles"])
    assert found["multipliers"] == 16
    assert found["accuracy"] == {"machine": 0.8, "integers": 1.0}
    assert found["not_counted"] == list(NOT_COUNTED)
    assert found["settings"]["dataflow"] == "ws"


def test_direct_has_the_multipliers_of_all_layers():
    macs = sum(info.macs for info in NETWORK.network.walk())
    assert made(Direct())["multipliers"] == macs


def test_a_regression_has_no_accuracy():
    assert made(labels=False)["accuracy"] is None


def test_verified_means_every_value_and_every_count():
    assert made()["verified"] is True
    assert made(wrong=(1, 0))["verified"] is False
    found = made(wrong=(1, 2))
    assert (found["verified"], found["mismatches"]) == (False, 3)
    assert [one["mismatches"] for one in found["layers"]] == [0, 3, 0, 0]
    # Not only a cycle: any count.
    for name in Counters._fields:
        one_more = lambda c, name=name: c._replace(**{name: getattr(c, name) + 1})
        found = made(counted=one_more)
        assert (found["verified"], found["miscounted"]) == (False, ["conv1"])
        assert [layer["counters_equal"] for layer in found["layers"]][:2] == [False, True]
