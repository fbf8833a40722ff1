"""All machines side by side: which, what is stepped, what is only predicted."""

from dataclasses import replace

import integers
import numpy as np
import pytest

from accel.machines.machine import Direct, Mac, Systolic
from accel.predict import timing
from accel.verify import compare
from accel.verify.quantised_run import QuantisedRun
from configs.errors import InputError
from configs.network import Dense, Network

NETWORK = integers.filled(Network(input_shape=(5,), layers=(Dense(features=3),) * 2))
SUBJECT = QuantisedRun(
    "small", NETWORK, "ab" * 32, integers.images(NETWORK.network, 3), None, {}
)


def compared(most_cycles, *, batch=2, size=(2, 3), say=lambda text: None):
    return compare.compare(
        SUBJECT, rows=size[0], cols=size[1], batch=batch, clock_mhz=100.0,
        most_cycles=most_cycles, say=say,
    )  # fmt: skip


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (16, 16), (7, 13)])
def test_all_but_the_first_two_have_as_many_multipliers_as_the_array(size):
    machines = [machine for machine, _ in compare.machines(*size)]
    assert isinstance(machines[0], Direct)
    assert machines[1] == Mac(dram=True)
    rest = [machine for machine in machines[2:] if machine != Mac()]
    assert {machine.multipliers for machine in rest} == {size[0] * size[1]}
    flows = {machine.dataflow for machine in rest if isinstance(machine, Systolic)}
    assert flows == {"ws", "os", "is"}
    assert len({description for _, description in compare.machines(*size)}) == 12
    if size != (1, 1):
        assert len({machine.name for machine in machines}) == 12


@pytest.mark.parametrize(("size", "name"), [((0, 4), "rows"), ((4, 1025), "cols")])
def test_a_size_that_no_array_has_is_refused_before_anything_is_stepped(size, name):
    told = []
    with pytest.raises(
        InputError, match=rf"`{name}` \(={max(size) if 0 not in size else 0}"
    ):
        compared(0, size=size, say=told.append)
    assert told == []


def test_every_row_is_what_the_closed_forms_say_whether_stepped_or_not():
    told = []
    found = compared(0, say=told.append)
    assert found["verified"] is None
    for (machine, _), row, line in zip(
        compare.machines(2, 3), found["machines"], told, strict=True
    ):
        layers = timing.layers(machine, NETWORK.network, 3, 2)
        cycles = sum(counters.cycles for _, counters in layers)
        assert (row["machine"], row["cycles"]) == (machine.name, cycles)
        assert (row["stepped"], row["verified"]) == (False, None)
        assert row["cycles_per_image"] == cycles / 3
        assert row["images_per_s"] == pytest.approx(100e6 * 3 / cycles)
        assert line == f"{machine.name}: {cycles:,} cycles, predicted"


def test_what_takes_no_more_than_the_limit_is_stepped_and_judged(monkeypatch):
    predicted = compared(0)
    seen, real = [], compare.verify

    def verify(network, images, setup):
        seen.append((setup.machine.name, setup.batch, len(images)))
        return real(network, images, setup)

    monkeypatch.setattr(compare, "verify", verify)
    limit = predicted["machines"][0]["cycles"]
    found = compared(limit)
    assert seen == [("direct", 2, 3)]
    assert found["verified"] is True
    assert found["machines"][0] == predicted["machines"][0] | {
        "stepped": True, "verified": True,
    }  # fmt: skip
    assert found["machines"][1:] == predicted["machines"][1:]
    assert compared(limit - 1)["verified"] is None


def test_a_huge_direct_network_is_predicted(monkeypatch):
    """Its few cycles are many multiplications each."""
    monkeypatch.setattr(compare, "_MOST_SLOTS", 10)
    assert compared(100)["machines"][0]["stepped"] is False


def test_one_wrong_machine_spoils_the_verdict():
    assert compare._verdict([True, None, True]) is True
    assert compare._verdict([True, False, None]) is False
    assert compare._verdict([None, None]) is None


def test_bytes_are_words_at_the_widths_of_the_run():
    """Narrow weights are fetched narrow, sums are 4 bytes; from the closed forms."""
    dense1, dense2 = NETWORK.weighted["dense1"], NETWORK.weighted["dense2"]
    narrow = replace(
        NETWORK, weighted={"dense1": replace(dense1, weights=np.clip(dense1.weights, -7, 7),
                                             weight_bits=4), "dense2": dense2}
    )  # fmt: skip
    subject = replace(SUBJECT, network=narrow)
    found = compare.compare(
        subject, rows=2, cols=3, batch=1, clock_mhz=100.0, most_cycles=0
    )
    wide = compared(0, batch=1)
    assert found["bits"]["dense1"] == [4, 8]
    for thin, thick, (machine, _) in zip(
        found["machines"], wide["machines"], compare.machines(2, 3), strict=True
    ):
        layers = timing.layers(machine, NETWORK.network, 3, 1)
        saved = sum(c.weight_fetches for gemm, c in layers if gemm.name == "dense1")
        words = thick["input_fetches"] + thick["weight_fetches"]
        sums = 4 * (thick["sum_reads"] + thick["sum_writes"])
        assert thick["fetched_bytes"] == words + sums
        assert thin["fetched_bytes"] == thick["fetched_bytes"] - saved // 2
        assert thin["cycles"] == thick["cycles"]
