"""Figures about an integer network, against counts by hand."""

import dataclasses

import numpy as np
import pytest
from integers import filled, images, spec

from configs.network import Dense, Network
from quant import normative
from quant.measure import layer_data, saturation, scores_of_integers
from quant.network import Format, IntNetwork, Weighted


def one(activation: str, *, bits: int = 8, bias: int = 0, weight: int = 1) -> IntNetwork:
    """y = activation(weight * p + bias), for one pixel and shift 8 of 2^8."""
    grid = Format(signed=activation != "relu", exponent=0, bits=bits)
    whole = Format(signed=True, exponent=0)
    table = None
    if activation == "tanh":
        table = np.zeros(256, np.int8)
    w = Weighted(
        weights=np.array([[weight]], np.int8),
        bias=np.array([bias], np.int32),
        multiplier=np.array([256], np.int32),
        shift=8,
        sum=grid if table is None else whole,
        table=table,
        output=grid,
    )
    layers = (Dense(features=1, activation=activation),)
    network = Network(input_shape=(1,), layers=layers)
    return IntNetwork(network=network, weighted={"dense1": w})


ALL_PIXELS = np.arange(256, dtype=np.uint8)[:, None]


@pytest.mark.parametrize(
    ("network", "cut"),
    [
        (one("relu"), 0),  # 0..255
        (one("relu", bias=1), 1),  # 1..256
        (one("relu", bias=-300), 0),  # below 0 is what a ReLU does
        (one("relu", bits=4), 240),  # 16..255
        (one("identity"), 128),  # 128..255
        (one("identity", bias=-128), 0),  # -128..127
        (one("identity", bias=-129), 1),  # -129 alone
        (one("identity", weight=-1), 127),  # -129..-255
        (one("identity", bits=3, bias=-100), 96 + 152),  # below -4 and above 3
        (one("tanh"), 128),  # the sum, not what the table makes of it
        (one("tanh", bits=2, bias=-128), 0),
    ],
)
def test_saturation_counts_what_a_wider_format_would_hold(network, cut: int) -> None:
    assert saturation(network, ALL_PIXELS) == {"dense1": cut / 256}


def test_saturation_of_a_network_is_that_of_its_layers() -> None:
    """Where the output is at an end of its range, the sum is at it or beyond."""
    network = filled(spec("signed"), activation_bits=4)
    pixels = images(network.network, 12)
    cut = saturation(network, pixels)
    assert list(cut) == ["conv1", "conv2", "conv3", "dense1"]
    for step in normative.steps(network, pixels):
        w = step.layer.weighted
        if w is None:
            continue
        real = step.sums * w.multiplier / 2.0**w.shift
        outside = (real > w.sum.high + 0.5) | (real < w.sum.low - 0.5)
        assert cut[step.layer.name] == outside.mean()
    assert max(cut.values()) > 0.01


def test_layer_data() -> None:
    """One record a layer with weights; a bound of 2^n - 1 needs n + 1 bits."""
    network = filled(spec("cnn"), weight_bits=5, activation_bits=6, shifts=(17, 16))
    records = layer_data(network, images(network.network, 8))
    assert [r["name"] for r in records] == ["conv1", "conv2", "dense1", "dense2"]
    assert [r["activation_bits"] for r in records] == [6, 6, 6, 8]
    assert [r["shift"] for r in records] == [17, 16, 17, 16]
    cut = saturation(network, images(network.network, 8))
    for record in records:
        w = network.weighted[record["name"]]
        layer = next(la for la in network.walk() if la.name == record["name"])
        bound = layer.accumulator_bound()
        assert record["weight_bits"] == 5
        assert record["accumulator_bound"] == bound
        bits = record["accumulator_bits"]
        assert 2 ** (bits - 2) <= bound < 2 ** (bits - 1)
        assert record["multipliers"] == [w.multiplier.min(), w.multiplier.max()]
        assert record["saturation_rate"] == cut[record["name"]]
        assert record["size_bytes"] == w.weights.size + 8 * w.features
        kind = "uint8" if not w.output.signed else "int8"
        assert record["output"] == f"{kind} * 2^{w.output.exponent}"
    assert sum(r["size_bytes"] for r in records) == network.size_bytes()


def test_layer_data_looks_at_the_first_images_only(monkeypatch) -> None:
    """Saturation of a whole test set would take long and say the same."""
    network, pixels = one("relu", bits=4), np.repeat(ALL_PIXELS, 3, 0)
    (record,) = layer_data(network, pixels)
    assert record["saturation_rate"] == (pixels[:500] > 15).mean()
    assert record["saturation_rate"] != (pixels > 15).mean()


def test_scores_of_classification_read_integers_as_reals() -> None:
    """Two of three right; the loss depends on the scale."""
    outputs = np.array([[10, 3], [-5, 20], [7, 6]], np.int8)
    labels = np.array([0, 1, 1])
    for exponent in (-2, 1):
        kind = Format(signed=True, exponent=exponent)
        found = scores_of_integers(outputs, kind, labels, "classification")
        assert found["accuracy"] == pytest.approx(2 / 3)
        real = outputs * 2.0**exponent
        margin = real[np.arange(3), labels] - real[np.arange(3), 1 - labels]
        assert found["loss"] == pytest.approx(np.log1p(np.exp(-margin)).mean(), rel=1e-5)


def test_scores_of_regression_read_integers_as_reals() -> None:
    kind = Format(signed=True, exponent=-4)
    outputs = np.array([[16], [-8]], np.int8)
    labels = np.array([[0.5], [-0.5]], np.float32)
    assert scores_of_integers(outputs, kind, labels, "regression") == {"mse": 0.125}
    wide = dataclasses.replace(kind, exponent=0)
    assert scores_of_integers(outputs, wide, labels, "regression")["mse"] > 100
