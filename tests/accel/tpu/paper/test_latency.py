"""Response time against batch."""

import pytest

from accel.tpu import explain
from accel.tpu.machine import TpuMachine
from accel.tpu.paper import calibration, latency, paper
from accel.tpu.paper.waiting import quantile
from accel.tpu.sim import maxplus
from configs.errors import InputError
from configs.registry import load_network


@pytest.fixture(scope="module")
def machine():
    return calibration.fitted_machine()


@pytest.fixture(scope="module")
def mlp0(machine):
    return explain.workload(paper.app("MLP0"), machine)


def test_parts(mlp0, machine):
    """Service: 310 fetches. Run: one batch alone. Wait: M/D/1. Fill: the other 199."""
    found = latency.response(mlp0, 200, machine)
    assert found.service_ms == pytest.approx(1e3 * 310 * machine.fetch_cycles / 7e8)
    alone = maxplus.predict(mlp0(200, 1), machine) / 7e8
    assert found.run_ms == pytest.approx(1e3 * alone)
    assert found.wait_ms == pytest.approx(found.service_ms * quantile(0.99, 0.8))
    assert found.per_second == pytest.approx(0.8 * 200 / (found.service_ms / 1e3))
    assert found.fill_ms == pytest.approx(1e3 * 199 / found.per_second)
    parts = found.fill_ms + found.wait_ms + found.run_ms
    assert found.response_ms == parts


def test_table_4(mlp0, machine):
    """225,000 a second in batches of 200: 7.0 ms published, 6.3 ms here."""
    row = next(r for r in paper.TABLE_4 if (r.die, r.batch) == ("TPU", 200))
    rate = row.per_second.value
    found = latency.response_at_rate(mlp0, 200, machine, per_second=rate)
    assert found.per_second == pytest.approx(rate)
    assert 0.7 < found.load < 0.75
    assert found.response_ms == pytest.approx(row.response_ms.value, rel=0.15)


def test_largest_batch_keeps_the_limit_and_one_more_does_not():
    """CNN0, whose time grows with the batch."""
    machine, limit = TpuMachine(), 7.0
    todo = explain.workload(load_network("tpu_cnn0"), machine)
    best = latency.largest_batch(todo, machine, limit)
    more = latency.response(todo, best.batch + 1, machine)
    assert best.response_ms <= limit < more.response_ms
    assert latency.largest_batch(todo, machine, limit, most=3).batch == 3


def test_no_batch_keeps_a_limit_that_is_too_short(mlp0, machine):
    """At 80 % of its throughput MLP0 waits for 6.7 ms whatever its batch."""
    assert latency.largest_batch(mlp0, machine, 7.0) is None


def test_response_never_shrinks_with_the_batch(machine):
    todo = explain.workload(load_network("mnist_cnn"), machine)
    found = [latency.response(todo, batch, machine).response_ms for batch in range(1, 40)]
    assert found == sorted(found)


def test_a_rate_beyond_the_machine_is_refused(mlp0, machine):
    with pytest.raises(InputError, match=r"`per_second` .=400000.*batches of 200 reach"):
        latency.response_at_rate(mlp0, 200, machine, per_second=400_000)


@pytest.mark.parametrize("load", [0, 1])
def test_a_load_without_a_steady_state_is_refused(mlp0, machine, load):
    with pytest.raises(InputError, match=r"`load`"):
        latency.response(mlp0, 200, machine, load=load)
