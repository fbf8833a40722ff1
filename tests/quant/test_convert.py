"""What the fake quantisers stand for becomes integers, to the last one."""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from integers import images, spec

from configs.network import Conv, Dense, Flatten, Network
from quant import normative
from quant.calibrate import calibrate, observe
from quant.convert import convert, site_format, table
from quant.network import PIXELS, Format, IntNetwork
from quant.qat import fake_model, make_plan
from quant.settings import Quantization
from train.model import Model, build

NETWORK = Network(
    input_shape=(5, 6, 2),
    layers=(
        Conv(features=3, kernel=(2, 3), padding="edge", activation="tanh"),
        Conv(features=4, kernel=(2, 2)),
        Flatten(),
        Dense(features=3, activation="identity"),
    ),
)


@cache
def model_of(weight_bits: int = 8, activation_bits: int = 8, scales: str = "channel"):
    """A calibrated model with fake quantisation; tests that change it build their own."""
    return fresh(weight_bits, activation_bits, scales)


def fresh(weight_bits: int = 8, activation_bits: int = 8, scales="channel") -> Model:
    model = build(NETWORK, key=jax.random.key(0))
    draw = np.random.default_rng(0)
    for layer in (la for la in model.layers.values() if la.bias is not None):
        layer.bias[...] = jnp.asarray(0.2 * draw.normal(size=layer.bias.shape), jnp.float32)
    settings = Quantization(
        weight_bits=weight_bits, activation_bits=activation_bits, weight_scales=scales
    )
    seen = observe(NETWORK, model, images(NETWORK, 30))
    steps = calibrate(make_plan(NETWORK, settings), model, seen, settings)
    return fake_model(NETWORK, model, steps)


def integers_of(model: Model, classes: tuple[str, ...] = ()) -> IntNetwork:
    return convert(model.network, model, model.activation_quantizer, classes)


@pytest.mark.parametrize("bits", [2, 5, 8])
def test_weights_are_those_of_the_fake_quantiser(bits: int) -> None:
    """integer * scale = fake-quantised weight, exactly, for every weight."""
    model = model_of(weight_bits=bits)
    for layer in integers_of(model).walk():
        if layer.weighted is None:
            continue
        kernel = model.kernel(layer.name)
        fake = model.activation_quantizer.fake_weights(layer.name, kernel)
        real = layer.weighted.weights * layer.weight_scale()
        np.testing.assert_array_equal(real, np.asarray(fake, np.float64))
        step = np.asarray(model.activation_quantizer.weight(layer.name), np.float64)
        np.testing.assert_array_equal(layer.weight_scale(), step)
        assert layer.weighted.weight_bits == bits


def test_biases_are_rounded_to_the_scale_of_the_sum() -> None:
    """Half a step at most, at the scale input * weight."""
    model = model_of()
    for layer in integers_of(model).walk():
        if layer.weighted is None:
            continue
        step = layer.input.scale * layer.weight_scale()
        bias = np.asarray(model.layers[layer.name].bias[...], np.float64)
        error = np.abs(layer.weighted.bias * step - bias) / step
        assert error.max() <= 0.5 + 1e-6
        assert np.abs(layer.weighted.bias).max() > 100


def test_a_bias_beyond_32_bits_stops_at_their_end() -> None:
    """It saturates the output either way."""
    model = fresh()
    model.layers["dense1"].bias[...] = jnp.array([1e30, -1e30, 0.1], jnp.float32)
    model.layers["dense1"].kernel[...] = jnp.zeros((80, 3))
    w = integers_of(model).weighted["dense1"]
    assert w.bias[:2].tolist() == [2**31 - 1, -(2**31) + 1]


def test_weights_on_the_grid_come_back_unchanged() -> None:
    """A network of integers, written into the float model, is converted to itself."""
    model = fresh(weight_bits=6, activation_bits=5)
    first = integers_of(model)
    draw = np.random.default_rng(1)
    wanted = {}
    for layer in first.walk():
        w = layer.weighted
        if w is None:
            continue
        weights = draw.integers(-31, 32, w.weights.shape)
        bias = draw.integers(-999, 1000, w.bias.shape)
        scale = layer.weight_scale()
        wanted[layer.name] = (weights, bias)
        model.layers[layer.name].kernel[...] = jnp.asarray(weights * scale, jnp.float32)
        step = layer.input.scale * scale
        model.layers[layer.name].bias[...] = jnp.asarray(bias * step, jnp.float32)
    again = integers_of(model)
    for name, (weights, bias) in wanted.items():
        np.testing.assert_array_equal(again.weighted[name].weights, weights)
        np.testing.assert_array_equal(again.weighted[name].bias, bias)
        old = first.weighted[name].multiplier
        np.testing.assert_array_equal(again.weighted[name].multiplier, old)


def test_a_layers_scale_is_one_multiplier() -> None:
    network = integers_of(model_of(scales="layer"))
    for w in network.weighted.values():
        assert len(np.unique(w.multiplier)) == 1
    each = integers_of(model_of()).weighted.values()
    assert any(len(np.unique(w.multiplier)) > 1 for w in each)


def test_formats_are_those_of_the_sites() -> None:
    model = model_of(activation_bits=5)
    network, steps = integers_of(model), model.activation_quantizer
    conv1, conv2, dense1 = network.weighted.values()
    assert site_format(steps, "") is PIXELS
    assert conv1.sum == site_format(steps, "conv1.sum")
    assert (conv1.sum.signed, conv1.sum.bits) == (True, 8)
    assert conv1.output == site_format(steps, "conv1")
    assert (conv1.output.signed, conv1.output.bits) == (True, 5)
    assert conv2.sum == conv2.output == site_format(steps, "conv2")
    assert (conv2.output.signed, conv2.output.bits) == (False, 5)
    assert (dense1.output.signed, dense1.output.bits) == (True, 8)
    for name in ("conv1", "conv2", "dense1"):
        assert site_format(steps, name).scale == float(steps.activation(name))
    shifts = [place.shift for place in steps.plan.places]
    assert [w.shift for w in network.weighted.values()] == shifts


def test_site_format_finds_every_exponent() -> None:
    """From the ends of what a format may have, and wherever between two it learns."""
    steps = fresh().activation_quantizer
    for exponent in (-32, -9, -1, 0, 7, 32):
        for off in (-0.4, 0, 0.4):
            steps.activations["conv2"][...] = jnp.float32(exponent + off)
            assert site_format(steps, "conv2").exponent == exponent


REAL = {
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": math.tanh,
    "softplus": lambda x: math.log1p(math.exp(x)) if x < 30 else x,
}


@pytest.mark.parametrize("activation", REAL)
@pytest.mark.parametrize(
    ("before", "after", "bits"), [(-4, -7, 8), (0, -3, 5), (-6, -2, 2)]
)
def test_tables_hold_the_nearest_value(activation, before, after, bits) -> None:
    """At most half a step from the function wherever it is in range; it never falls."""
    total = Format(signed=True, exponent=before)
    kind = Format(signed=activation == "tanh", exponent=after, bits=bits)
    found = table(activation, total, kind)
    assert found.shape == (256,)
    assert found.dtype == kind.dtype
    real = np.array([REAL[activation](q * total.scale) for q in range(-128, 128)])
    within = np.clip(real, kind.low * kind.scale, kind.high * kind.scale)
    assert np.abs(found * kind.scale - within).max() <= kind.scale / 2 + 1e-12
    assert np.all(np.diff(found.astype(int)) >= 0)
    assert len(np.unique(found)) > 1


def test_tables_by_hand() -> None:
    """tanh 0 = 0 at index 128; sigmoid 0 = 1/2, which is 128 of 256; its half is even."""
    signed, unsigned = Format(signed=True, exponent=-4), Format(signed=False, exponent=-8)
    assert table("tanh", signed, Format(signed=True, exponent=-7))[128] == 0
    assert table("tanh", signed, Format(signed=True, exponent=-7))[0] == -128
    assert table("tanh", signed, Format(signed=True, exponent=-7))[255] == 127
    assert table("sigmoid", signed, unsigned)[128] == 128
    assert table("sigmoid", signed, Format(signed=False, exponent=0))[128] == 0
    assert table("softplus", signed, unsigned)[128] == round(math.log(2) * 256)


def test_softplus_of_large_sums_does_not_overflow() -> None:
    """exp(127 * 2^20) has no float."""
    kind = Format(signed=False, exponent=20)
    found = table("softplus", Format(signed=True, exponent=20), kind)
    assert found[128:].tolist() == list(range(128))
    assert not found[:128].any()


def test_classes_and_outputs_of_what_was_converted() -> None:
    """Real outputs of the integers are those of the float model, up to a few steps."""
    model = model_of()
    network = integers_of(model, ("a", "b", "c"))
    assert network.classes == ("a", "b", "c")
    assert network.network is model.network
    pixels = images(NETWORK, 50, seed=9)
    real = normative.run(network, pixels) * network.output.scale
    plain = build(NETWORK, key=jax.random.key(0))
    for name, layer in model.layers.items():
        plain.layers[name].kernel[...] = layer.kernel[...]
        plain.layers[name].bias[...] = layer.bias[...]
    wanted = np.asarray(jax.jit(lambda x: plain(x))(pixels))
    assert np.ptp(wanted) > 20 * network.output.scale
    assert np.abs(real - wanted).max() < 8 * network.output.scale


def test_every_spec_converts() -> None:
    """Every weighted layer of each kind is there, whatever stands between them."""
    network = spec("signed")
    model = build(network, key=jax.random.key(1))
    settings = Quantization(calibration="minmax")
    steps = calibrate(
        make_plan(network, settings),
        model,
        observe(network, model, images(network, 8)),
        settings,
    )
    fake = fake_model(network, model, steps)
    weighted = convert(network, fake, steps).weighted
    assert list(weighted) == ["conv1", "conv2", "conv3", "dense1"]
    assert [w.table is not None for w in weighted.values()] == [False, True, False, False]
