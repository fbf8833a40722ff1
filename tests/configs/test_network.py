"""Shapes and counts equal a brute-force walk over windows; misfits are refused."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import registry
from configs.errors import InputError
from configs.network import (
    Conv,
    Dense,
    Flatten,
    GlobalPool,
    Network,
    Pool,
    same_padding,
)

SIZES, SMALL = st.integers(1, 12), st.integers(1, 5)


def positions(size: int, window: int, stride: int, pad: tuple[int, int] = (0, 0)) -> list:
    """Starts of all windows that lie within the padded axis, one by one."""
    last = size + pad[1] - window
    return [start for start in range(-pad[0], last + 1) if (start + pad[0]) % stride == 0]


images = st.tuples(SIZES, SIZES, SMALL)
convolutions = st.builds(
    Conv,
    features=SMALL,
    kernel=st.tuples(SMALL, SMALL),
    stride=st.tuples(SMALL, SMALL),
    padding=st.sampled_from(["valid", "zero", "mean", "edge"]),
)
pools = st.builds(Pool, window=st.tuples(SMALL, SMALL), stride=st.tuples(SMALL, SMALL))


@given(spec=convolutions, shape=images)
def test_convolution_equals_the_brute_force_count(spec, shape):
    rows, columns = (
        positions(*axis)
        for axis in zip(shape[:2], spec.kernel, spec.stride, spec.pads(shape), strict=True)
    )
    if not rows or not columns:
        with pytest.raises(InputError, match=r"`kernel` .* of Conv must fit into its"):
            spec.output_shape(shape)
        return
    assert spec.output_shape(shape) == (len(rows), len(columns), spec.features)
    taps = itertools.product(
        rows, columns, *(range(n) for n in (*spec.kernel, shape[2], spec.features))
    )
    assert spec.macs(shape) == sum(1 for _ in taps)
    assert spec.weights(shape) == math.prod((*spec.kernel, shape[2], spec.features))
    assert spec.biases(shape) == spec.features
    if spec.padding != "valid":
        assert len(rows) == math.ceil(shape[0] / spec.stride[0])
        assert len(columns) == math.ceil(shape[1] / spec.stride[1])


@given(spec=pools, shape=images)
def test_pooling_equals_the_brute_force_count(spec, shape):
    rows, columns = (
        positions(*axis) for axis in zip(shape[:2], spec.window, spec.stride, strict=True)
    )
    if not rows or not columns:
        with pytest.raises(InputError, match=r"`window` .* of Pool must fit into its"):
            spec.output_shape(shape)
        return
    assert spec.output_shape(shape) == (len(rows), len(columns), shape[2])
    assert (spec.weights(shape), spec.biases(shape), spec.macs(shape)) == (0, 0, 0)


@given(size=st.integers(1, 10**4), kernel=st.integers(1, 20), stride=st.integers(1, 20))
def test_same_padding_is_the_least_that_gives_the_ceiling(size, kernel, stride):
    before, after = same_padding(size, kernel, stride)
    out = math.ceil(size / stride)
    assert len(positions(size, kernel, stride, (before, after))) == out
    assert 0 <= before <= after <= before + 1
    if before + after:
        assert len(positions(size, kernel, stride, (0, before + after - 1))) < out


def test_same_padding_is_exact_for_large_sizes():
    assert same_padding(10**30 + 1, 3, 2) == (1, 1)


@given(inputs=st.integers(1, 9), features=st.integers(1, 9))
def test_dense_equals_the_brute_force_count(inputs, features):
    spec = Dense(features=features)
    pairs = sum(1 for _ in itertools.product(range(inputs), range(features)))
    assert spec.macs((inputs,)) == spec.weights((inputs,)) == pairs
    assert spec.output_shape((inputs,)) == (features,)


def test_flatten_and_global_pool():
    assert Flatten().output_shape((3, 4, 5)) == (60,)
    assert Flatten().output_shape((7,)) == (7,)
    assert GlobalPool().output_shape((3, 4, 5)) == (5,)


@pytest.mark.parametrize("value", [0, -1])
def test_sizes_below_one_are_refused(value):
    for make, field in (
        (lambda: Conv(features=value), "features"),
        (lambda: Conv(features=1, kernel=(3, value)), "kernel"),
        (lambda: Conv(features=1, stride=(value, 1)), "stride"),
        (lambda: Dense(features=value), "features"),
        (lambda: Pool(window=(value, 2)), "window"),
        (lambda: Pool(stride=(2, value)), "stride"),
        (lambda: Network(input_shape=(4, value, 1), layers=(Flatten(),)), "input_shape"),
    ):
        rule = rf"`{field}` \(=.*\) of \w+ must be positive whole numbers; use 1 or more"
        with pytest.raises(InputError, match=rule):
            make()


@pytest.mark.parametrize("shape", [(), (28, 28), (1, 28, 28, 1)])
def test_an_input_that_is_no_image_and_no_vector_is_refused(shape):
    with pytest.raises(InputError, match=r"`input_shape` .* of Network must be"):
        Network(input_shape=shape, layers=(Flatten(),))


def test_a_network_without_layers_is_refused():
    rule = r"`layers` \(=\(\)\) of Network must not be empty; add a Dense."
    with pytest.raises(InputError, match=rule):
        Network(input_shape=(4,), layers=())


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            (Conv(features=2), Dense(features=2)),
            r"`layers\[1\]` \(dense1\): Dense takes a vector, got `shape` \(=\(6, 6, 2\)\)",
        ),
        (
            (Flatten(), Conv(features=2)),
            r"`layers\[1\]` \(conv1\): Conv takes an image of shape \(H, W, C\), got",
        ),
        ((Flatten(), Pool()), r"`layers\[1\]` \(pool1\): Pool takes an image"),
        ((GlobalPool(), GlobalPool()), r"`layers\[1\]` \(globalpool2\): GlobalPool takes"),
        (
            (Conv(features=2, kernel=(9, 1)),),
            r"`layers\[0\]` \(conv1\): `kernel` \(=\(9, 1\)\) of Conv must fit",
        ),
        (
            (Pool(), Pool(), Pool(), Pool()),
            r"`layers\[3\]` \(pool4\): `window` \(=\(2, 2\)\) of Pool must fit",
        ),
    ],
)
def test_layers_that_do_not_fit_are_refused_with_index_and_name(layers, message):
    with pytest.raises(InputError, match=message):
        Network(input_shape=(8, 8, 1), layers=layers)


def test_walk_chains_shapes_and_the_network_sums_them():
    network = registry.load_network("mnist_cnn")
    rows = list(network.walk())
    names = "conv1 pool1 conv2 pool2 flatten1 dense1 dense2"
    assert " ".join(info.name for info in rows) == names
    assert [info.input_shape for info in rows[1:]] == [i.output_shape for i in rows[:-1]]
    assert rows[0].input_shape == network.input_shape
    assert network.output_shape == rows[-1].output_shape == (10,)
    assert network.parameters - network.weights == 16 + 32 + 64 + 10
    assert network.activations == 784 + sum(info.activations for info in rows)
    assert [info.reuse for info in rows] == [26 * 26, 0, 11 * 11, 0, 0, 1, 1]


def test_vgg16_has_the_published_counts():
    """138,357,544 parameters and 15.47 GMAC; the dense layers hold 89.4 % of them."""
    network = registry.load_network("vgg16")
    dense = [info for info in network.walk() if info.kind == "Dense"]
    assert network.parameters == 138_357_544
    assert sum(info.parameters for info in dense) == 123_642_856
    assert network.macs == 15_470_264_320
    assert sum(info.macs for info in dense) == 123_633_664
    assert f"{sum(i.parameters for i in dense) / network.parameters:.1%}" == "89.4%"
    assert network.output_shape == (1000,)
