"""The fast path gives the normative integers, and takes int32 where float32 cannot."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from integers import SPECS, filled, images, networks, spec

from configs.network import Conv, Dense, Flatten, GlobalPool, Network, Pool
from quant import execute, fast, normative
from quant.float32_rounding import nearest_agreeing
from quant.network import Format, IntNetwork, Weighted


def differing(network: IntNetwork, pixels: np.ndarray) -> dict[str, int]:
    """Number of values of each layer that differ from the normative ones."""
    outputs = fast.layers(network, pixels)
    counts = {}
    for step in normative.steps(network, pixels):
        y = outputs.pop(step.layer.name)
        assert y.dtype == step.output.dtype
        assert y.shape == step.output.shape
        counts[step.layer.name] = int((y != step.output).sum())
    assert not outputs
    return counts


def exact(network: IntNetwork, pixels: np.ndarray) -> None:
    """Layer by layer, and the outputs of the joined stages alone."""
    assert set(differing(network, pixels).values()) == {0}
    y = jax.jit(lambda x: fast.outputs_of(network, x))(pixels)
    np.testing.assert_array_equal(y, normative.run(network, pixels))


@pytest.fixture(params=["bfloat16", "float32"])
def number_format(request, monkeypatch) -> str:
    """Whatever this CPU prefers, both formats must give the integers."""
    monkeypatch.setattr(fast, "number_format", lambda: jnp.dtype(request.param))
    return request.param


@pytest.mark.parametrize("name", SPECS)
def test_every_kind_of_layer(name: str, number_format: str) -> None:
    network = filled(spec(name), shifts=(16, 19))
    assert set(differing(network, images(network.network, 6)).values()) == {0}


@settings(max_examples=10, derandomize=True, deadline=None)
@given(networks())
def test_any_network(network: IntNetwork) -> None:
    """Layer by layer, and compiled whole for all devices."""
    pixels = images(network.network, 3)
    assert set(differing(network, pixels).values()) == {0}
    y = fast.compile(network)(pixels)
    np.testing.assert_array_equal(y, normative.run(network, pixels))


def dense(inputs: int, bias: int, *, signed_first: bool = False) -> IntNetwork:
    """Sums of up to inputs * 255 * 127 + bias, scaled so that 8 bits show their ends."""
    grid = Format(signed=True, exponent=0)
    weights = np.stack([np.full(inputs, 127), np.full(inputs, -127)], axis=1)
    weights = weights.astype(np.int8)
    shift = 21
    multiplier = nearest_agreeing(shift, -128, 127)[16]
    layer = Weighted(
        weights=weights,
        bias=np.array([bias, -bias], np.int32),
        multiplier=np.full(2, multiplier, np.int32),
        shift=shift,
        sum=grid,
        output=grid,
    )
    layers = (Dense(features=2, activation="identity"),)
    return IntNetwork(
        network=Network(input_shape=(inputs,), layers=layers), weighted={"dense1": layer}
    )


def near_the_top(inputs: int) -> np.ndarray:
    """All pixels at 255, and one step below it in one place or the other; and at 0."""
    x = np.full((40, inputs), 255, np.uint8)
    for n in range(32):
        x[n, n % inputs] -= n
    x[32:] = np.arange(8)[:, None]
    return x


@pytest.mark.parametrize(
    ("inputs", "bound", "whole"),
    [(400, 2**24 - 1, False), (400, 2**24, True), (1024, 2**31 - 1, True)],
)
def test_sums_that_float32_cannot_hold_are_taken_in_int32(
    inputs: int, bound: int, whole: bool
) -> None:
    """On both sides of 2^24, and at the end of 32 bits, reached by an input."""
    network = dense(inputs, bound - inputs * 127 * 255)
    layer = next(network.walk())
    assert layer.accumulator_bound() == bound
    x = near_the_top(inputs)
    assert abs(next(normative.steps(network, x)).sums).max() == bound
    sums = fast._product(layer, layer.weighted.matrix.T, fast.batch_last(jnp.asarray(x)))
    assert sums.dtype == (jnp.int32 if whole else jnp.float32)
    exact(network, x)


def odd_sums(shift: int = 16) -> IntNetwork:
    """Sums around 2^24 + 1, odd, brought back with their last bit still to be seen."""
    inputs, grid = 519, Format(signed=False, exponent=0)
    weights = np.full((inputs, 1), 127, np.int8)
    layer = Weighted(
        weights=weights,
        bias=np.array([-(519 * 127 * 255) + 2], np.int32),
        multiplier=np.array([1 << 15], np.int32),
        shift=shift,
        sum=grid,
        output=grid,
    )
    network = Network(input_shape=(inputs,), layers=(Dense(features=1),))
    return IntNetwork(network=network, weighted={"dense1": layer})


def test_float32_beyond_2_24_would_be_seen(monkeypatch) -> None:
    """Sums above 2^24 whose last bits decide: int32 has them, float32 not."""
    network = odd_sums()
    x = near_the_top(519)
    assert next(normative.steps(network, x)).products.max() > 2**24
    exact(network, x)
    monkeypatch.setattr(fast, "_FLOAT32_INTEGERS", 2**31)
    assert sum(differing(network, x).values()) > 0


@pytest.mark.parametrize("signed", [False, True])
def test_convolutions_in_int32_with_padding_and_pooling(signed, monkeypatch) -> None:
    """The offset of bytes without sign must not reach what pads; the joint kernel too."""
    first = "identity" if signed else "relu"
    layers = (
        Conv(features=3, kernel=(1, 1), activation=first),
        Conv(features=4, padding="zero", activation="identity"),
        Pool(window=(2, 2), stride=(2, 2)),
        Conv(features=2, padding="mean", activation="identity"),
    )
    network = filled(Network(input_shape=(7, 6, 2), layers=layers))
    monkeypatch.setattr(fast, "_FLOAT32_INTEGERS", 0)
    pixels = images(network.network, 5)
    step = list(normative.steps(network, pixels))[1]
    assert len(np.unique(step.output)) > 5
    assert step.input.min() < 0 or not signed
    exact(network, pixels)


@pytest.mark.parametrize("bits", [2, 4, 7])
def test_every_width(bits: int) -> None:
    network = filled(spec("signed"), weight_bits=bits, activation_bits=9 - bits)
    assert set(differing(network, images(network.network, 4)).values()) == {0}


@pytest.mark.parametrize("name", ["cnn", "signed"])
def test_any_number_of_images(name: str, monkeypatch) -> None:
    """None, one, and around what a chunk, the devices and one call take."""
    monkeypatch.setattr(fast, "_LARGEST_CHUNK", 4)
    monkeypatch.setattr(fast, "_CHUNKS", 2)
    network = filled(spec(name))
    chunk, devices = fast.chunk_size(network), len(jax.devices())
    assert (chunk, devices) == (4, 2)
    run = fast.compile(network)
    pixels = images(network.network, 2 * chunk * devices * 2 + 1)
    wanted = normative.run(network, pixels)
    unit = chunk * devices
    for n in (0, 1, chunk - 1, chunk, chunk + 1, unit - 1, unit, unit + 1, 2 * unit + 1):
        outputs = run(pixels[:n])
        assert outputs.dtype == network.output.dtype
        assert outputs.shape == (n, 3)
        np.testing.assert_array_equal(outputs, wanted[:n])
    np.testing.assert_array_equal(run(pixels), wanted)


def test_chunks_are_powers_of_two_that_fit() -> None:
    """Small networks take the largest chunk; one that is wide takes one image."""
    assert fast.chunk_size(filled(spec("cnn"))) == 128
    wide = Network(input_shape=(120, 120, 8), layers=(Conv(features=1, kernel=(9, 9)),))
    assert fast.chunk_size(filled(wide)) == 1
    middle = Network(input_shape=(40, 40, 2), layers=(Conv(features=2),))
    chunk = fast.chunk_size(filled(middle))
    bytes_per_image = 2 * 38 * 38 * 9 * 2
    assert chunk * bytes_per_image <= 4 << 20 < 2 * chunk * bytes_per_image


JOINTS = [
    # window, pool stride, conv stride, kernel
    ((2, 2), (2, 2), (1, 1), (3, 3)),
    ((3, 3), (2, 2), (1, 1), (3, 3)),
    ((2, 3), (3, 1), (1, 2), (2, 3)),
    ((1, 2), (2, 2), (2, 1), (1, 1)),
    ((3, 2), (1, 2), (2, 3), (4, 2)),
]


@pytest.mark.parametrize(("window", "stride", "conv_stride", "kernel"), JOINTS)
def test_a_convolution_joined_with_its_pooling(
    window, stride, conv_stride, kernel, monkeypatch
) -> None:
    """Overlapping and gappy windows, odd sizes; joined whether it pays or not."""
    monkeypatch.setattr(fast, "_FUSED_PRODUCTS", np.inf)
    for shape, padding in itertools.product([(11, 9, 2), (8, 13, 1)], ["valid", "zero"]):
        conv = Conv(features=3, kernel=kernel, stride=conv_stride, padding=padding)
        layers = (conv, Pool(window=window, stride=stride))
        if any(n < w for n, w in zip(conv.output_shape(shape), window, strict=False)):
            continue
        network = filled(Network(input_shape=shape, layers=layers))
        (stage,) = fast.stages(network)
        assert stage.name == "pool1"
        pixels = images(network.network, 3)
        y = jax.jit(lambda x, n=network: fast.outputs_of(n, x))(pixels)
        np.testing.assert_array_equal(y, normative.run(network, pixels))


def test_joint_weights_repeat_the_kernel_at_every_place_of_the_window() -> None:
    """Each row times a patch of the input is one of the products of the window."""
    draw = np.random.default_rng(0)
    w = draw.integers(-127, 128, (2, 3, 4, 2)).astype(np.int8)
    patch = draw.integers(0, 256, (4, 5, 4))  # (2 + 2 * 1, 3 + 1 * 2) pixels
    joint = fast.joint_weights(w, (1, 2), (3, 2))
    assert joint.shape == (3 * 2 * 2, 4 * 5 * 4)
    sums = (joint.astype(np.int64) @ patch.ravel()).reshape(3, 2, 2)
    for i, j in itertools.product(range(3), range(2)):
        part = patch[i : i + 2, 2 * j : 2 * j + 3]
        wanted = (part[..., None] * w.astype(np.int64)).sum((0, 1, 2))
        np.testing.assert_array_equal(sums[i, j], wanted)


def names(*layers, shape=(12, 12, 1)) -> list[str]:
    network = filled(Network(input_shape=shape, layers=layers))
    return [stage.name for stage in fast.stages(network)]


def test_only_what_keeps_its_order_is_joined() -> None:
    """Not a table, not a mean, not another layer, not what costs more than it saves."""
    conv = Conv(features=1)
    assert names(conv, Pool()) == ["pool1"]
    assert names(conv, Pool(), Pool()) == ["pool1", "pool2"]
    assert names(conv, Pool(kind="mean")) == ["conv1", "pool1"]
    assert names(conv, GlobalPool(kind="max")) == ["conv1", "globalpool1"]
    assert names(Conv(features=1, activation="tanh"), Pool()) == ["conv1", "pool1"]
    assert names(Pool(), conv, Flatten()) == ["pool1", "conv1", "flatten1"]
    assert names(conv, Pool(window=(3, 3), stride=(1, 1))) == ["conv1", "pool1"]


def test_a_table_that_falls_is_looked_up_before_the_pooling() -> None:
    """Were it joined, the maximum of the sums would give the minimum."""
    network = filled(
        Network(input_shape=(6, 6, 1), layers=(Conv(features=2, activation="tanh"), Pool()))
    )
    falling = np.arange(127, -129, -1).astype(np.int8)
    w = dataclasses.replace(network.weighted["conv1"], table=falling)
    network = IntNetwork(network=network.network, weighted={"conv1": w})
    exact(network, images(network.network, 3))


def test_other_devices_run_the_plain_path(monkeypatch) -> None:
    """Nothing of the arrangement for a CPU is touched there."""
    monkeypatch.setattr(fast, "on_cpu", lambda: False)
    monkeypatch.setattr(fast, "stages", None)
    network = filled(spec("cnn"))
    pixels = images(network.network, 3)
    assert set(differing(network, pixels).values()) == {0}
    y = jax.jit(lambda x: fast.outputs_of(network, x))(pixels)
    np.testing.assert_array_equal(y, normative.run(network, pixels))


def test_number_format_is_one_that_holds_8_bits() -> None:
    assert fast.number_format() in (jnp.bfloat16, jnp.float32)
    whole = np.arange(-128, 256)
    held = jnp.asarray(whole, jnp.float32).astype(fast.number_format())
    np.testing.assert_array_equal(held.astype(jnp.int32), whole)


def test_batch_first_undoes_batch_last() -> None:
    for shape, wanted in (((3, 4, 5, 2), (2, 4, 5, 3)), ((6, 7), (7, 6))):
        x = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        turned = fast.batch_last(jnp.asarray(x))
        assert turned.shape == wanted
        np.testing.assert_array_equal(fast.batch_first(turned, np.dtype("uint8")), x)


def swapped(weights, conv, pool):
    """Rows for columns, as in a library that stores kernels the other way round."""
    turned = weights.transpose(1, 0, 2, 3)
    return original(turned, conv, pool)


original = fast.joint_weights
FAULTS = {
    "half up": (
        fast,
        "requantise_float32",
        lambda s, b, m, shift, low, high: jnp.clip(
            jnp.floor(
                (s + jnp.asarray(b, jnp.float32)) * (m / 2.0**shift).astype("f") + 0.5
            ),
            low,
            high,
        ),
    ),
    "transposed kernel": (fast, "joint_weights", swapped),
    "mean cut off": (execute, "divide_rne", lambda n, d: n // d),
    "pool one row late": (
        fast,
        "_pooled",
        lambda layer, x, pooled=fast._pooled: pooled(layer, jnp.roll(x, -1, 1)),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_sees_a_fault(fault: str, monkeypatch) -> None:
    layers = (
        Pool(kind="mean", window=(2, 2), stride=(1, 1)),
        Conv(features=3, padding="zero", activation="identity"),
        Pool(),
        Flatten(),
        Dense(features=4),
    )
    network = filled(Network(input_shape=(7, 7, 1), layers=layers))
    halves = dataclasses.replace(
        network.weighted["conv1"], multiplier=np.full(3, 1 << 8, np.int32)
    )
    network = IntNetwork(
        network=network.network, weighted={**network.weighted, "conv1": halves}
    )
    pixels = images(network.network, 20)
    assert set(differing(network, pixels).values()) == {0}
    module, name, wrong = FAULTS[fault]
    monkeypatch.setattr(module, name, wrong)
    assert sum(differing(network, pixels).values()) > 0
