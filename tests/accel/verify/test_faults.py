"""Faults, one at a time: what is counted is what happened, and none is one too few."""

import dataclasses

import integers
import numpy as np
import pytest

from accel.machines.machine import Systolic
from accel.simulate.faults import REGISTERS, WIDTHS, Fault
from accel.verify import faults as campaign
from accel.verify.quantised_run import QuantisedRun
from accel.verify.run import Setup
from configs.errors import InputError
from quant import normative

ARRAY = Systolic(rows=3, cols=2)


@pytest.fixture(scope="module")
def subject() -> QuantisedRun:
    spec = integers.spec("cnn", (7, 6, 1))
    network = integers.filled(spec, seed=2, classes=("a", "b", "c"))
    images = integers.images(spec, 4)
    labels = normative.run(network, images).argmax(-1)
    return QuantisedRun("small", network, "0" * 64, images, labels, {})


def outcome(subject: QuantisedRun, fault: Fault, machine: Systolic = ARRAY) -> dict:
    return campaign.run(subject, Setup(machine=machine, batch=2), [fault])["faults"][0]


def test_a_fault_that_nothing_meets_changes_nothing(subject):
    fault = Fault(register="input", row=0, col=1, bit=3, kind="flip")
    found = outcome(subject, fault)
    assert found["effect"] == "none", "the last column's input goes to no other PE"
    assert found["accuracy"] == found["accuracy_without"] == 1.0
    assert all(layer["wrong_sums"] == 0 for layer in found["layers"])


def test_a_broken_sum_spoils_its_column_and_the_classes(subject):
    fault = Fault(register="sum", row=2, col=0, bit=29, kind="flip")
    found = outcome(subject, fault)
    assert found["effect"] == "classes"
    assert found["changed_classes"] == round(4 * (1 - found["accuracy"])) > 0
    # conv1 has 4 features on 2 columns: every second sum is made in column 0.
    first = found["layers"][0]
    assert first["wrong_sums"] == first["values"] // 2
    assert 0 < first["wrong_outputs"] <= first["wrong_sums"]
    assert found["wrong_logits"] <= found["logits"] == 4 * 3


def test_what_rounding_absorbs_is_told_from_nothing_at_all(subject):
    fault = Fault(register="sum", row=0, col=0, bit=0, kind="flip")
    found = outcome(subject, fault)
    sums = sum(layer["wrong_sums"] for layer in found["layers"])
    assert sums > 0
    assert found["effect"] == ("absorbed" if not found["wrong_logits"] else "logits")
    assert campaign.sentence(found).startswith("flip of bit 0 in sum of PE (0, 0) spoils")


def test_each_fault_is_alone(subject):
    faults = [
        Fault(register="sum", row=2, col=0, bit=29, kind="flip"),
        Fault(register="input", row=0, col=1, bit=3, kind="flip"),
    ]
    found = campaign.run(subject, Setup(machine=ARRAY, batch=2), faults)
    alone = [outcome(subject, fault) for fault in faults]
    assert found["faults"] == alone
    assert found["effects"] == {"none": 1, "absorbed": 0, "logits": 0, "classes": 1}


def test_without_classes_only_outputs_are_judged(subject):
    plain = dataclasses.replace(subject, labels=None)
    found = outcome(plain, Fault(register="sum", row=2, col=0, bit=29, kind="flip"))
    assert found["effect"] == "logits"
    assert found["accuracy"] is None
    assert found["changed_classes"] is None


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_every_dataflow_can_be_broken(subject, dataflow):
    machine = dataclasses.replace(ARRAY, dataflow=dataflow)
    fault = Fault(register="weight", row=0, col=0, bit=6, kind="flip")
    assert outcome(subject, fault, machine)["effect"] != "none"


def test_drawn_faults_are_in_the_array_and_follow_the_seed():
    faults = campaign.drawn(ARRAY, 200, seed=3)
    assert faults == campaign.drawn(ARRAY, 200, seed=3)
    assert faults != campaign.drawn(ARRAY, 200, seed=4)
    assert {fault.register for fault in faults} == set(REGISTERS)
    assert {fault.row for fault in faults} == {0, 1, 2}
    assert {fault.col for fault in faults} == {0, 1}
    for name in REGISTERS:
        bits = {fault.bit for fault in faults if fault.register == name}
        assert bits <= set(range(WIDTHS[name]))
        assert max(bits) == WIDTHS[name] - 1 or name == "sum"
    only = campaign.drawn(ARRAY, 20, seed=0, registers=["weight"])
    assert {fault.register for fault in only} == {"weight"}


def test_a_fault_outside_the_array_is_refused(subject):
    fault = Fault(register="sum", row=3, col=0, bit=0, kind="flip")
    with pytest.raises(
        InputError, match=r"`row` \(=3\) of Fault must be in 0..2 on systolic"
    ):
        outcome(subject, fault)


def test_labels_are_what_accuracy_is_against(subject):
    wrong = dataclasses.replace(subject, labels=(subject.labels + 1) % 3)
    found = outcome(wrong, Fault(register="input", row=0, col=1, bit=3, kind="flip"))
    assert found["accuracy"] == found["accuracy_without"] == 0.0
    assert np.all(wrong.labels != subject.labels)
