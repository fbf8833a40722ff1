"""What is chosen for the pictures of the inside of a network."""

import jax
import numpy as np
import pytest

from configs.network import Conv, Dense, Flatten, GlobalPool, Network, Pool
from train.features import EDGE_FILTERS, Peaks
from train.insight import feature_maps, filters, nearest, picked_units
from train.model import build


def test_the_learned_filter_nearest_to_an_edge_is_found():
    rng = np.random.default_rng(0)
    vertical, horizontal = EDGE_FILTERS.values()
    learned = [rng.normal(size=(3, 3, 1)) for _ in range(3)]
    learned.insert(1, 0.1 * horizontal[..., None])
    learned.append(-vertical[..., None])
    learned.append(7 * vertical[..., None])
    (first, likeness), (second, other) = nearest(learned)
    assert (first, second) == (5, 1)
    assert likeness == pytest.approx(1)
    assert other == pytest.approx(1)


def test_filters_of_another_size_are_chosen_by_their_weights():
    learned = [np.full((5, 5, 3), scale) for scale in (1.0, -3.0, 2.0)]
    assert nearest(learned) == [(1, None), (2, None)]
    assert nearest(learned[:1]) == [(0, None), (0, None)]


def peaks_of(network):
    rng = np.random.default_rng(0)
    return {
        info.name: Peaks(value=None, place=None, variance=rng.random(info.output_shape[-1]))
        for info in network.walk()
    }


def test_units_are_of_three_convolutions_and_all_classes():
    network = Network(
        input_shape=(16, 16, 1),
        layers=(*[Conv(features=8)] * 5, GlobalPool(), Dense(features=12)),
    )
    units = picked_units(network, peaks_of(network))
    layers = [unit.layer for unit in units]
    assert layers == ["conv1"] * 5 + ["conv3"] * 5 + ["conv5"] * 5 + ["dense1"] * 10
    assert [unit.channel for unit in units[-10:]] == list(range(10))


def test_units_of_a_dense_network_are_hidden_neurons_and_classes():
    network = Network(
        input_shape=(4, 4, 1),
        layers=(Flatten(), Dense(features=9), Dense(features=9), Dense(features=2)),
    )
    layers = [unit.layer for unit in picked_units(network, peaks_of(network))]
    assert layers == ["dense1"] * 5 + ["dense3"] * 2
    single = Network(input_shape=(4, 4, 1), layers=(Flatten(), Dense(features=3)))
    layers = [unit.layer for unit in picked_units(single, peaks_of(single))]
    assert layers == ["dense1"] * 3


def panels(figure):
    return [axes.get_title() for axes in figure.axes]


def test_filters_stand_beside_the_hand_set_ones():
    network = Network(input_shape=(8, 8, 3), layers=(Conv(features=40), GlobalPool()))
    model = build(network, key=jax.random.key(0))
    sample = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    figure = filters(model, sample, name="run")
    titles = panels(figure)
    assert titles[:32] == [str(f) for f in range(32)]
    assert titles[32:37] == [
        "a test image",
        "vertical edge",
        "gives",
        "horizontal edge",
        "gives",
    ]
    assert len(titles) == 41
    note = " ".join(text.get_text() for text in figure.texts)
    assert "The first 32 of 40 are shown" in note


def test_first_weights_of_a_dense_network_are_images():
    network = Network(input_shape=(8, 6, 1), layers=(Flatten(), Dense(features=7)))
    model = build(network, key=jax.random.key(0))
    figure = filters(model, np.zeros((8, 6, 1), np.uint8), name="run")
    assert len(figure.axes) == 7
    assert figure.axes[0].images[0].get_array().shape == (8, 6, 3)


def test_a_network_without_weights_on_the_image_has_no_filters():
    network = Network(input_shape=(8, 6, 2), layers=(GlobalPool(), Dense(features=7)))
    model = build(network, key=jax.random.key(0))
    assert filters(model, np.zeros((8, 6, 2), np.uint8), name="run") is None


@pytest.mark.parametrize("classes", [3, 13])
def test_feature_maps_show_every_layer_and_the_scores(classes):
    network = Network(
        input_shape=(8, 8, 1),
        layers=(
            Conv(features=20),
            Pool(),
            Flatten(),
            Dense(features=5),
            Dense(features=classes, activation="identity"),
        ),
    )
    model = build(network, key=jax.random.key(0))
    sample = np.random.default_rng(0).integers(0, 256, (8, 8, 1)).astype(np.uint8)
    names = [f"c{i}" for i in range(classes)]
    figure = feature_maps(model, sample, name="run", classes=names)
    assert len(figure.axes) == 1 + 16 + 16 + 1 + 1
    labels = [text.get_text() for text in figure.texts]
    assert labels[-5:] == [
        "input\n8 × 8 × 1",
        "conv1\n6 × 6 × 20",
        "pool1\n3 × 3 × 20",
        "dense1\n5",
        f"dense2\n{classes}",
    ]
    scores = [text.get_text() for text in figure.axes[-1].texts]
    expected = np.asarray(jax.jit(model)(sample[None]))[0]
    shown = [f"c{i}: {value:.1f}" for i, value in enumerate(expected)]
    assert scores == (shown if classes == 3 else [])
