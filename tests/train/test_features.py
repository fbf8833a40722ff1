"""Receptive fields, strongest patches, edge filters and ascent on the pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from configs.errors import InputError
from configs.network import Conv, Dense, Flatten, GlobalPool, Network, Pool
from train.features import (
    EDGE_FILTERS,
    Ascent,
    Unit,
    centre,
    liveliest,
    maximise,
    peaks,
    receptive_field,
    rectified_correlation,
    strongest_patches,
)
from train.model import build

SMALL = Network(
    input_shape=(9, 9, 1),
    layers=(
        Conv(features=4, padding="zero"),
        Pool(),
        Conv(features=3, kernel=(2, 2)),
        Flatten(),
        Dense(features=2, activation="identity"),
    ),
)


@pytest.fixture(scope="module")
def model():
    return build(SMALL, key=jax.random.key(3))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (23, 9, 9, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def outputs_of(model):
    compiled = jax.jit(model.outputs)
    return lambda pixels: jax.tree.map(np.asarray, compiled(pixels))


@pytest.fixture(scope="module")
def found(model, images):
    return peaks(model, images, chunk=10)


def pixels_that_matter(seen: np.ndarray) -> np.ndarray:
    """Rows and columns of the smallest rectangle around what is true."""
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def spread(seen: np.ndarray, spec) -> np.ndarray:
    """Which inputs (H, W, ...) each unit (P, Q, ...) depends on, one layer further.

    `seen` is (H, W, pixels): the pixels on which each input of the layer depends.
    """
    if isinstance(spec, Conv):
        pads = (*spec.pads(seen.shape[:2]), (0, 0))
        if spec.padding == "mean":
            outside = ~np.pad(np.ones(seen.shape[:2], bool), pads[:2])
            everything = seen.any(axis=(0, 1))
            seen = np.pad(seen, pads) | (outside[..., None] & everything)
        else:
            seen = np.pad(seen, pads, mode="edge" if spec.padding == "edge" else "constant")
    window = spec.kernel if isinstance(spec, Conv) else spec.window
    views = np.lib.stride_tricks.sliding_window_view(seen, window, axis=(0, 1))
    return views[:: spec.stride[0], :: spec.stride[1]].any(axis=(-2, -1))


sizes = st.tuples(st.integers(1, 4), st.integers(1, 4))
strides = st.tuples(st.integers(1, 3), st.integers(1, 3))
convs = st.builds(
    Conv,
    features=st.just(1),
    kernel=sizes,
    stride=strides,
    padding=st.sampled_from(["valid", "zero", "mean", "edge"]),
)
pools = st.builds(Pool, window=sizes, stride=strides)


@settings(max_examples=200, deadline=None)
@given(
    shape=st.tuples(st.integers(5, 12), st.integers(5, 12)),
    layers=st.lists(convs | pools, min_size=1, max_size=4),
    data=st.data(),
)
def test_receptive_field_is_exact(shape, layers, data):
    try:
        network = Network(input_shape=(*shape, 1), layers=tuple(layers))
    except InputError:
        assume(False)
    seen = np.eye(shape[0] * shape[1], dtype=bool).reshape(*shape, -1)
    for spec in layers:
        seen = spread(seen, spec)
    place = tuple(data.draw(st.integers(0, n - 1)) for n in seen.shape[:2])
    rows, columns = receptive_field(network, list(network.walk())[-1].name, place)
    expected = pixels_that_matter(seen[place].reshape(shape))
    assert (rows.start, rows.stop, columns.start, columns.stop) == expected


@pytest.mark.parametrize("padding", ["valid", "zero", "mean", "edge"])
def test_changing_a_pixel_changes_a_unit_exactly_inside_its_field(padding):
    network = Network(
        input_shape=(11, 11, 1),
        layers=(
            Conv(features=1, kernel=(3, 2), padding=padding),
            Pool(),
            Conv(features=1, kernel=(2, 2), padding=padding),
            GlobalPool(),
            Dense(features=1),
        ),
    )
    positive = build(network, key=jax.random.key(0))
    for name in ("conv1", "conv2", "dense1"):
        positive.layers[name].kernel[...] = jnp.ones_like(positive.kernel(name))
    one_pixel_each = 200 * np.eye(121, dtype=np.uint8).reshape(121, 11, 11, 1)
    outputs = jax.tree.map(np.asarray, jax.jit(positive.outputs)(one_pixel_each))
    for info in network.walk():
        # Rows and columns that pooling drops belong to no field, not even of dense1.
        for place in np.ndindex(info.output_shape[:-1]):
            unit = outputs[info.name][(slice(None), *place, 0)].reshape(11, 11)
            inside = np.zeros((11, 11), bool)
            inside[receptive_field(network, info.name, place)] = True
            np.testing.assert_array_equal(unit > 0, inside)


def test_a_neuron_of_a_dense_network_sees_the_whole_image():
    network = Network(input_shape=(4, 6, 1), layers=(Flatten(), Dense(features=2)))
    assert receptive_field(network, "dense1", ()) == (slice(0, 4), slice(0, 6))


def test_rectified_correlation_is_the_sum_it_says():
    rng = np.random.default_rng(1)
    image, kernel = rng.normal(size=(6, 5, 2)), rng.normal(size=(3, 2, 2))
    expected = [
        [max(0, np.sum(kernel * image[p : p + 3, q : q + 2])) for q in range(4)]
        for p in range(4)
    ]
    np.testing.assert_allclose(rectified_correlation(image, kernel), expected)


@pytest.mark.parametrize("name", EDGE_FILTERS)
def test_a_hand_set_filter_finds_its_edge_and_no_other(name):
    step = np.zeros((6, 6, 1))
    step[:, 3:] = 1
    lying = step.transpose(1, 0, 2)
    hit, miss = (step, lying) if name == "vertical edge" else (lying, step)
    kernel = EDGE_FILTERS[name][..., None]
    assert rectified_correlation(hit, kernel).max() == 4
    assert rectified_correlation(miss, kernel).max() == 0


def test_peaks_are_those_of_all_outputs_at_once(outputs_of, images, found):
    for name, y in outputs_of(images).items():
        y = y.reshape(len(images), -1, y.shape[-1])
        np.testing.assert_allclose(found[name].value, y.max(axis=1), rtol=1e-5, atol=1e-6)
        chosen = np.take_along_axis(y, found[name].place[:, None], axis=1)[:, 0]
        np.testing.assert_allclose(chosen, y.max(axis=1), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found[name].variance, y.var(axis=(0, 1)), atol=1e-5)


def test_liveliest_channels_vary_most(found):
    variance = found["conv1"].variance
    two = [unit.channel for unit in liveliest("conv1", found["conv1"], 2)]
    others = [channel for channel in range(4) if channel not in two]
    assert variance[two].min() >= variance[others].max()
    assert two == sorted(two)


@pytest.mark.parametrize("layer", ["conv1", "pool1", "conv2", "dense1"])
def test_strongest_patches_are_those_of_a_search_by_hand(outputs_of, images, found, layer):
    unit = Unit(layer=layer, channel=1)
    y = outputs_of(images)[layer][..., 1]
    best = []
    for image, maps in zip(images, y, strict=True):
        place = max(np.ndindex(maps.shape), key=lambda place, maps=maps: maps[place])
        best.append((maps[place], image[receptive_field(SMALL, layer, place)]))
    best.sort(key=lambda entry: -entry[0])
    patches = strongest_patches(SMALL, unit, found[layer], images, 5)
    assert len(patches) == 5
    for (patch, value), (expected_value, expected) in zip(patches, best[:5], strict=True):
        assert value == pytest.approx(expected_value, rel=1e-5)
        np.testing.assert_array_equal(patch, expected)


UNITS = [
    Unit(layer="conv1", channel=0),
    Unit(layer="conv2", channel=0),
    Unit(layer="dense1", channel=0),
    Unit(layer="dense1", channel=1),
]


@pytest.fixture(scope="module")
def searched(model):
    ascent = Ascent(starts=5, steps=60, smooth=0.1, calm=0.1, jitter_px=1)
    return maximise(model, UNITS, np.ones(4), ascent, key=jax.random.key(0))


def test_ascent_excites_more_than_any_of_many_noise_images(outputs_of, searched):
    noise = np.random.default_rng(0).integers(0, 256, (200, 9, 9, 1)).astype(np.uint8)
    outputs = outputs_of(noise)
    for unit, reached in zip(UNITS, searched[1], strict=True):
        index = (slice(None), *centre(SMALL, unit))
        assert reached > outputs[unit.layer][index].max()


def test_ascent_returns_images_and_what_they_reach(outputs_of, searched):
    found_images, reached = searched
    assert found_images.shape == (4, 9, 9, 1)
    assert found_images.dtype == np.uint8
    outputs = outputs_of(found_images)
    for i, unit in enumerate(UNITS):
        y = outputs[unit.layer][(i, *centre(SMALL, unit))]
        assert reached[i] == pytest.approx(float(y), rel=1e-5)


@pytest.fixture(scope="module")
def neurons():
    network = Network(
        input_shape=(5, 4, 3), layers=(Flatten(), Dense(features=2, activation="identity"))
    )
    return build(network, key=jax.random.key(0))


# Not in the order of the outputs: what belongs to whom must not depend on it.
PAIR = [Unit(layer="dense1", channel=1), Unit(layer="dense1", channel=0)]


def test_every_step_stays_in_the_range_of_pixels(neurons):
    # A wild rate: without the clip pixels would leave 0..255 and wrap around as uint8.
    ascent = Ascent(starts=1, steps=4, rate=1e6, smooth=0, calm=0, jitter_px=0)
    found_images, reached = maximise(
        neurons, PAIR, np.ones(2), ascent, key=jax.random.key(1)
    )
    kernel = np.asarray(neurons.kernel("dense1"))
    for image, unit, value in zip(found_images, PAIR, reached, strict=True):
        weights = kernel[:, unit.channel].reshape(5, 4, 3)
        np.testing.assert_array_equal(image, 255 * (weights > 0))
        assert value == pytest.approx(255 / 256 * weights[weights > 0].sum(), rel=1e-5)


def test_ascent_repeats_with_its_key_and_bears_silent_neurons(neurons):
    ascent = Ascent(starts=2, steps=3)
    one, two = (
        maximise(neurons, PAIR, np.zeros(2), ascent, key=jax.random.key(0))[0] for _ in "12"
    )
    np.testing.assert_array_equal(one, two)


def test_regularisation_makes_images_smooth_and_calm(neurons):
    rough, smooth, calm = (
        maximise(neurons, PAIR, np.ones(2), ascent, key=jax.random.key(0))[0] / 255
        for ascent in (
            Ascent(starts=1, smooth=0, calm=0),
            Ascent(starts=1, smooth=100, calm=0),
            Ascent(starts=1, smooth=0, calm=100, rest=51),
        )
    )
    steps = lambda x: np.abs(np.diff(x, axis=1)).mean() + np.abs(np.diff(x, axis=2)).mean()
    assert steps(smooth) < 0.2 * steps(rough)
    assert np.abs(calm - 0.2).mean() < 0.2 * np.abs(rough - 0.2).mean()
