"""The JAX path equals the normative arithmetic, and takes any matrix product."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from integers import SPECS, filled, images, networks, spec

from configs.network import Conv, Dense, Network, Pool
from quant import execute, normative
from quant.float32_rounding import nearest_agreeing
from quant.network import Format, IntNetwork, Weighted


def differing(network: IntNetwork, pixels: np.ndarray) -> dict[str, int]:
    """Number of values of each layer that differ from the normative ones."""
    outputs = jax.jit(lambda x: execute.run(network, x).outputs)(pixels)
    counts = {}
    for step in normative.steps(network, pixels):
        y = outputs[step.layer.name]
        assert y.dtype == step.output.dtype
        assert y.shape == step.output.shape
        counts[step.layer.name] = int((np.asarray(y) != step.output).sum())
    return counts


def exact(network: IntNetwork, pixels: np.ndarray) -> None:
    assert set(differing(network, pixels).values()) == {0}


@pytest.mark.parametrize("name", SPECS)
def test_every_kind_of_layer(name: str) -> None:
    """All paddings, poolings and activations; odd sizes and uneven strides."""
    network = filled(spec(name), shifts=(16, 19))
    exact(network, images(network.network, 6))


@settings(max_examples=20, derandomize=True, deadline=None)
@given(networks())
def test_any_network(network: IntNetwork) -> None:
    exact(network, images(network.network, 3))


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_every_width(bits: int) -> None:
    network = filled(spec("signed"), weight_bits=bits, activation_bits=10 - bits)
    exact(network, images(network.network, 4))


def dense(
    weights: np.ndarray, bias: int, *, multiplier: int, shift: int, signed: bool = True
) -> IntNetwork:
    """One layer: weights (K, F), the same bias and multiplier for every feature."""
    inputs, features = weights.shape
    activation = "identity" if signed else "relu"
    layer = Dense(features=features, activation=activation)
    grid = Format(signed=signed, exponent=0)
    numbers = Weighted(
        weights=weights.astype(np.int8),
        bias=np.full(features, bias, np.int32),
        multiplier=np.full(features, multiplier, np.int32),
        shift=shift,
        sum=grid,
        output=grid,
    )
    return IntNetwork(
        network=Network(input_shape=(inputs,), layers=(layer,)),
        weighted={"dense1": numbers},
    )


@pytest.mark.parametrize("shift", [8, 16, 21])
@pytest.mark.parametrize("multiplier", [1, 65535])
def test_sums_up_to_the_ends_of_32_bits(shift: int, multiplier: int) -> None:
    """Weights and bias that bring the sums within 2^9 of +-2^31."""
    inputs = 1024
    weights = np.stack([np.full(inputs, 127), np.full(inputs, -127)], axis=1)
    largest = inputs * 127 * 255
    multiplier = int(nearest_agreeing(shift, -128, 127)[multiplier])
    bias = 2**31 - 1 - largest
    network = dense(weights, bias, multiplier=multiplier, shift=shift)
    bound = next(network.walk()).accumulator_bound()
    assert bound == 2**31 - 1
    levels = [255, 254, 1, 0]
    pixels = np.stack([np.full(inputs, level, np.uint8) for level in levels])
    sums = next(normative.steps(network, pixels)).sums
    assert sums.max() == 2**31 - 1
    exact(network, pixels)
    mirrored = dense(weights, -bias, multiplier=multiplier, shift=shift)
    assert next(normative.steps(mirrored, pixels)).sums.min() == -(2**31) + 1
    exact(mirrored, pixels)


def test_halves_are_met_and_rounded_to_even() -> None:
    """Odd sums times 2^15: every output is a half before it is rounded."""
    weights = np.ones((1, 2))
    network = dense(weights, 1, multiplier=1 << 15, shift=16, signed=False)
    pixels = np.arange(0, 256, 2, dtype=np.uint8)[:, None]
    y = execute.run(network, jnp.asarray(pixels)).outputs["dense1"]
    np.testing.assert_array_equal(y[:, 0], [round((p + 1) / 2) for p in range(0, 256, 2)])
    exact(network, pixels)


@pytest.mark.parametrize("signed", [False, True])
def test_dot_is_exact_for_bytes_of_both_signs(signed: bool) -> None:
    """Against 64-bit integers, with all extremes of both factors."""
    layer = next(filled(spec("cnn")).walk())
    low, high, dtype = (-128, 128, np.int8) if signed else (0, 256, np.uint8)
    draw = np.random.default_rng(0)
    x = draw.integers(low, high, (9, 70)).astype(dtype)
    w = draw.integers(-127, 128, (70, 5)).astype(np.int8)
    x[0], x[1], w[:, 0], w[:, 1] = low, high - 1, 127, -127
    y, counters = execute.dot(jnp.asarray(x), jnp.asarray(w), layer)
    assert y.dtype == jnp.int32
    assert counters is None
    np.testing.assert_array_equal(y, x.astype(np.int64) @ w.astype(np.int64))


def test_a_machine_gets_every_product_and_hands_out_its_counters() -> None:
    """(x_MK, w_KN, layer) -> products and any pytree, inside jit."""
    network = filled(spec("cnn"))
    x = images(network.network, 2)
    seen = {}

    def machine(x_MK, w_KN, layer):
        seen[layer.name] = (x_MK.shape, w_KN.shape, str(x_MK.dtype), str(w_KN.dtype))
        products, _ = execute.dot(x_MK, w_KN, layer)
        return products, {"macs": jnp.int32(x_MK.size * w_KN.shape[1])}

    result = jax.jit(lambda x: execute.run(network, x, machine))(x)
    assert seen == {
        "conv1": ((2 * 42, 18), (18, 4), "uint8", "int8"),
        "conv2": ((2 * 9, 36), (36, 5), "uint8", "int8"),
        "dense1": ((2, 45), (45, 8), "uint8", "int8"),
        "dense2": ((2, 8), (8, 3), "uint8", "int8"),
    }
    weighted = [i for i in network.network.walk() if i.weights]
    assert {n: int(c["macs"]) for n, c in result.counters.items()} == {
        info.name: 2 * info.macs for info in weighted
    }
    last = normative.run(network, x)
    np.testing.assert_array_equal(result.outputs["dense2"], last)


def test_one_wrong_product_changes_the_outputs() -> None:
    """A machine that forgets one input row cannot pass for right."""
    network = filled(spec("cnn"))
    x = images(network.network, 4)

    def forgetful(x_MK, w_KN, layer):
        return execute.dot(x_MK.at[:, -1].set(0), w_KN, layer)

    right = normative.run(network, x)
    wrong = jax.jit(lambda x: execute.run(network, x, forgetful).outputs["dense2"])(x)
    assert not np.array_equal(wrong, right)


def turned(x: jax.Array, *window) -> jax.Array:
    """Patches of the image on its side: the kernel's rows meet the columns."""
    return original["im2col"](x.transpose(0, 2, 1, 3), *window)


original = {name: getattr(execute, name) for name in ("im2col", "pad", "pool")}
FAULTS = {
    "half up": ("divide_rne", lambda n, d: (n + d // 2) // d),
    "transposed kernel": ("im2col", turned),
    "padding one row early": (
        "pad",
        lambda x, *how: jnp.roll(original["pad"](x, *how), 1, 1),
    ),
    "pool one row late": (
        "pool",
        lambda x, spec: original["pool"](jnp.roll(x, -1, 1), spec),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_sees_a_fault(fault: str, monkeypatch) -> None:
    layers = (
        Pool(kind="mean", window=(2, 2), stride=(1, 1)),
        Conv(features=3, padding="zero", activation="identity"),
        Pool(window=(3, 3), stride=(1, 1)),
    )
    network = filled(Network(input_shape=(7, 7, 1), layers=layers))
    pixels = images(network.network, 5)
    exact(network, pixels)
    name, wrong = FAULTS[fault]
    monkeypatch.setattr(execute, name, wrong)
    assert sum(differing(network, pixels).values()) > 0
