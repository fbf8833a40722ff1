"""What `python -m accel tpu` says."""

import json

import pytest

from accel.tpu import explain
from accel.tpu.machine import TpuMachine
from accel.tpu.paper import calibration, paper
from accel.tpu.sim import maxplus
from accel.workload.gemm import Gemm
from configs.errors import InputError
from configs.registry import load_network


@pytest.fixture(scope="module")
def mlp0():
    return explain.explain(paper.app("MLP0"), 200, calibration.fitted_machine())


def test_mlp0(mlp0):
    """The figures of the fit, layer by layer, bound by fetches; declared inputs beside."""
    predicted = calibration.predict(paper.app("MLP0"), calibration.fitted_machine())
    assert mlp0["agrees"]
    assert mlp0["cycles"] == mlp0["cycles_closed_form"] == predicted.counts.cycles
    assert mlp0["roofline"]["tops"] == pytest.approx(predicted.tops)
    assert 100 * mlp0["shares"]["active"] == pytest.approx(predicted.active)
    assert [layer["bound"] for layer in mlp0["layers"]] == ["fetch"] * 5
    assert sum(layer["tiles"] for layer in mlp0["layers"]) == 310
    assert mlp0["published"]["tops"]["status"] == "confirmed"
    assert mlp0["published"]["speed"]["value"] == 1


def test_shares_add_up(mlp0):
    """Rows 1, 4, 5 and 6 are everything; layers and the drain are everything too."""
    shares = mlp0["shares"]
    rows = ("active", "weight_stall", "weight_shift", "non_matrix")
    assert sum(shares[row] for row in rows) == pytest.approx(1)
    assert shares["useful"] + shares["unused"] == pytest.approx(shares["active"])
    layers = sum(layer["share"] for layer in mlp0["layers"])
    assert layers + shares["drain"] == pytest.approx(1)


def test_it_is_json(mlp0):
    assert json.loads(json.dumps(mlp0, allow_nan=False)) == mlp0


def test_vgg16_balance():
    """4.07 ms of weights at 34 GB/s, 0.337 ms of MACs an image at peak: batch 12."""
    found = explain.explain(load_network("vgg16"), 1, TpuMachine(), batches=1)
    balance = found["balance"]
    assert balance["weights_ms"] == pytest.approx(4.07, abs=0.005)
    assert balance["macs_ms_per_image"] == pytest.approx(0.337, abs=0.0005)
    assert round(balance["batch"]) == 12
    assert found["roofline"]["bound"] == "weights"
    layers = {layer["name"]: layer["bound"] for layer in found["layers"]}
    assert (layers["conv2"], layers["dense1"]) == ("rows", "fetch")


@pytest.mark.parametrize(("batch", "bound"), [(12, "weights"), (13, "MACs")])
def test_vgg16_passes_the_ridge_at_batch_12(batch, bound):
    network = load_network("vgg16")
    found = explain._roofline(batch * network.macs, network.weights, 1.0, TpuMachine())
    assert found["bound"] == bound
    assert found["ridge"] == pytest.approx(1349.27, abs=0.01)


def test_unified_buffer():
    """VGG-16 fits with one image, not with 12; maps that are not placed are not judged."""
    one, dozen = (
        explain._buffer(load_network("vgg16"), n, TpuMachine(), 1) for n in (1, 12)
    )
    assert one["fits"]
    assert not dozen["fits"]
    lstm = load_network("tpu_lstm0")
    assert explain._buffer(lstm, 64, TpuMachine(), 2) is None


def test_any_network_and_bare_products():
    """Layers with poolings between; and products without a network around."""
    machine = TpuMachine()
    found = explain.explain(load_network("mnist_cnn"), 10, machine, batches=2)
    names = [layer["name"] for layer in found["layers"]]
    assert names == [i.name for i in load_network("mnist_cnn").walk() if i.weights]
    assert found["agrees"]
    assert "published" not in found
    bare = explain.explain([Gemm("a", 4, 9, 300, 10)], 4, machine, batches=1)
    assert bare["macs_per_batch"] == 4 * 9 * 300 * 10
    assert bare["layers"][0]["k_tiles"] == 2


def test_fetched_tiles():
    """A tile is fetched once for two chunks of 2048 rows; for all if K has one tile."""
    rows = {1: 1, 2048: 1, 2049: 1, 4096: 1, 4097: 2, 10000: 3}
    for positions, pairs in rows.items():
        found = explain.explain(
            [Gemm("a", 1, positions, 600, 300), Gemm("b", 1, positions, 256, 300)],
            1, TpuMachine(), batches=1,
        )  # fmt: skip
        several, one = found["layers"]
        assert (several["tiles"], several["fetched_tiles"]) == (6, 6 * pairs)
        assert (one["tiles"], one["fetched_tiles"]) == (2, 2)


def test_a_disagreement_is_said(monkeypatch):
    """A closed form that is off by one is reported, not hidden."""
    honest = maxplus.predict
    monkeypatch.setattr(maxplus, "predict", lambda *given: honest(*given) + 1)
    found = explain.explain(load_network("mnist_mlp"), 2, TpuMachine(), batches=1)
    assert not found["agrees"]
    assert found["cycles_closed_form"] == found["cycles"] + 1


def test_respond():
    """MLP0 has table 4 beside it, another network the largest batch that keeps 7 ms."""
    machine = calibration.fitted_machine()
    mlp0 = explain.respond(paper.app("MLP0"), 200, machine)
    assert [row["batch"] for row in mlp0["table_4"]] == [200, 250]
    assert mlp0["largest_batch"] is None
    cnn0 = explain.respond(load_network("tpu_cnn0"), 8, machine)
    assert cnn0["largest_batch"]["response_ms"] <= cnn0["limit_ms"] == 7
    assert cnn0["largest_batch_that_fits"] > cnn0["largest_batch"]["batch"]
    json.dumps([mlp0, cnn0], allow_nan=False)


def test_no_batch_fits_a_buffer_that_is_too_small():
    machine = TpuMachine(unified_buffer_bytes=256)
    found = explain.respond(load_network("mnist_cnn"), 1, machine)
    assert found["largest_batch_that_fits"] == 0
    assert found["largest_batch"] is None


def test_nothing_to_do_is_refused():
    with pytest.raises(InputError, match=r"`images` .=0. must be 1 or more"):
        explain.explain(load_network("mnist_mlp"), 0, TpuMachine())
