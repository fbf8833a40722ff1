"""The assumed shapes hold the published sums of the TPU paper's table 1."""

from collections import Counter

import pytest

from configs import registry, tpu_apps

# Millions of weights as published; how far the assumed shapes may be off, in percent,
# which is what half of the last digit can be and, where a file says so, its own figure.
WEIGHTS = {
    "tpu_mlp0": (20, 0.1),
    "tpu_mlp1": (5, 0.1),
    "tpu_lstm0": (52, 3.3),
    "tpu_lstm1": (34, 1.7),
    "tpu_cnn0": (8, 0.4),
    "tpu_cnn1": (100, 0.2),
}
# Kinds of layers; CNN0 has two convolutions fewer than published, as its file says.
LAYERS = {
    "tpu_mlp0": {"Dense": 5},
    "tpu_mlp1": {"Dense": 4},
    "tpu_lstm0": {"LstmCell": 24 // 4},
    "tpu_lstm1": {"LstmCell": 12},
    "tpu_cnn0": {"Conv": 16 - 2},
    "tpu_cnn1": {"Conv": 72, "Pool": 13, "Flatten": 1, "Dense": 4},
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_are_the_published_ones(name):
    millions, percent = WEIGHTS[name]
    network = registry.load_network(name)
    assert network.weights / 1e6 == pytest.approx(millions, rel=percent / 100)


@pytest.mark.parametrize("name", LAYERS)
def test_numbers_of_layers_are_the_published_ones(name):
    kinds = Counter(info.kind for info in registry.load_network(name).walk())
    assert kinds == LAYERS[name]


def test_every_app_is_there():
    found = [name for name in registry.known_names() if name.startswith("tpu_")]
    assert sorted(WEIGHTS) == found


def test_layers_are_equal_squares():
    for name, side in (("tpu_mlp0", 2000), ("tpu_mlp1", 1118)):
        rows = list(registry.load_network(name).walk())
        assert {(*row.input_shape, *row.output_shape) for row in rows} == {(side, side)}


def test_cells_are_equal():
    joined, separate = map(registry.load_network, ("tpu_lstm0", "tpu_lstm1"))
    assert {row.weights for row in joined.walk()} == {2048 * 4096}
    assert {row.weights for row in separate.walk()} == {8 * 600 * 600}
    assert {spec.gates for spec in joined.layers} == {"joined"}
    assert {spec.gates for spec in separate.layers} == {"separate"}


def test_cnn0_meets_every_point_of_a_go_board():
    network = registry.load_network("tpu_cnn0")
    assert network.macs == 19 * 19 * network.weights
    assert 8 * network.macs / network.weights == 2888
    assert network.weights == 5 * 5 * 48 * 256 + 13 * 3 * 3 * 256 * 256


def test_cnn1_has_both_published_sums():
    network = registry.load_network("tpu_cnn1")
    assert 32 * network.macs / network.weights == pytest.approx(1750, rel=0.03)
    assert network.macs == pytest.approx(1750 / 32 * 100e6, rel=0.03)
    counts = {
        kind: {row.weights for row in network.walk() if row.kind == kind}
        for kind in ("Conv", "Dense")
    }
    assert counts == {"Conv": {9 * 321**2}, "Dense": {2889**2}}


@pytest.mark.parametrize(
    ("weights", "reuse"), [(10**7, 20.0), (10**8, 67.0), (10**9, 58.0)]
)
def test_the_rule_finds_other_sums_too(weights, reuse):
    network = tpu_apps.pooled_cnn(weights, reuse)
    assert network.weights == pytest.approx(weights, rel=0.03)
    assert network.macs / network.weights == pytest.approx(reuse, rel=0.03)
