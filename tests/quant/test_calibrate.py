"""First steps: what each way of choosing them promises."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from integers import SPECS, images, spec

from configs.network import Conv, Dense, Network
from quant import normative
from quant.calibrate import activation_exponent, calibrate, observe, weight_steps
from quant.convert import convert
from quant.network import SHIFTS, weight_high
from quant.qat import Site, fake_model, make_plan
from quant.settings import Quantization
from train.model import Model, build

MINMAX = Quantization(calibration="minmax")
MSE = Quantization(calibration="mse")
UNSIGNED = Site(name="a", grid="a", signed=False, bits=8)
SIGNED = Site(name="a", grid="a", signed=True, bits=8)
DENSE = Network(
    input_shape=(4,),
    layers=(
        Dense(features=5),
        Dense(features=6, activation="tanh"),
        Dense(features=3, activation="identity"),
    ),
)


def percentile(share: float) -> Quantization:
    return Quantization(calibration="percentile", percentile=share)


def values(scale: float, signed: bool, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=20_000).astype(np.float32) * scale
    return drawn if signed else np.maximum(drawn, 0)


SITES = [
    Site(name="a", grid="a", signed=s, bits=b) for s in (False, True) for b in (2, 4, 8)
]


@pytest.mark.parametrize("site", SITES, ids=str)
@pytest.mark.parametrize("scale", [1e-4, 0.3, 1.0, 777.0])
def test_minmax_cuts_nothing_off_and_wastes_no_bit(site: Site, scale: float) -> None:
    x = values(scale, site.signed)
    step = 2.0 ** activation_exponent(x, site, MINMAX)
    assert site.low * step <= x.min()
    assert x.max() <= site.high * step
    assert np.abs(x).max() > site.high * step / 2


def test_minmax_at_a_power_of_two() -> None:
    """255 steps of 1 reach 255 exactly; 255.1 needs steps of 2."""
    exponent = lambda x: activation_exponent(np.float32([0, x]), UNSIGNED, MINMAX)
    assert exponent(255) == 0
    assert exponent(255.1) == 1
    assert exponent(127.5) == -1


@pytest.mark.parametrize("share", [51, 90, 99, 99.9, 100])
@pytest.mark.parametrize("site", [UNSIGNED, SIGNED], ids=str)
def test_percentile_cuts_off_the_stated_share_at_most(share: float, site: Site) -> None:
    """And half the range would cut off more."""
    x = values(3.0, site.signed)
    settings = percentile(share)
    step = 2.0 ** activation_exponent(x, site, settings)
    cut = lambda step: (np.abs(x) > site.high * step).mean()
    assert cut(step) <= 1 - share / 100 + 1e-4
    assert cut(step / 2) > 1 - share / 100 - 1e-4
    if share == 100:
        assert step == 2.0 ** activation_exponent(x, site, MINMAX)


@pytest.mark.parametrize("site", SITES, ids=str)
def test_mse_has_the_least_error_of_all_exponents_tried(site: Site) -> None:
    x = values(0.7, site.signed)
    x[0] = 40.0  # far out: worth cutting off at few bits

    def error(exponent: int) -> float:
        step = 2.0**exponent
        return float(
            np.mean((x - step * np.clip(np.rint(x / step), site.low, site.high)) ** 2)
        )

    whole = activation_exponent(x, site, MINMAX)
    found = activation_exponent(x, site, MSE)
    tried = range(whole - 5, whole + 1)
    assert found in tried
    assert error(found) == min(map(error, tried))
    if site.bits == 2:
        assert found < whole


@pytest.mark.parametrize("settings", [MINMAX, MSE, percentile(99)], ids=str)
@pytest.mark.parametrize("site", SITES, ids=str)
def test_a_dead_activation_has_a_step_that_a_format_holds(settings, site) -> None:
    exponent = activation_exponent(np.zeros(100, np.float32), site, settings)
    assert -32 <= exponent <= 0


def kernel_of(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_minmax_weight_steps_reach_the_largest_weight_of_each_channel(bits: int) -> None:
    high = (1 << (bits - 1)) - 1
    kernel = kernel_of(3, 3, 2, 5) * np.float32([1, 2, 0.01, 7, 1])
    steps = weight_steps(kernel, high, MINMAX)
    largest = np.abs(kernel).max((0, 1, 2))
    np.testing.assert_allclose(steps * high, largest, rtol=1e-6)


def test_percentile_weight_steps() -> None:
    """A quarter of each channel lies beyond the 75th percentile."""
    kernel = kernel_of(400, 3)
    steps = weight_steps(kernel, 127, percentile(75))
    beyond = (np.abs(kernel) > steps * 127).mean(0)
    np.testing.assert_allclose(beyond, 0.25, atol=0.003)


@pytest.mark.parametrize("bits", [2, 3, 8])
@pytest.mark.parametrize("scales", ["channel", "layer"])
def test_mse_weight_steps_are_the_best_of_those_tried(bits: int, scales: str) -> None:
    """No part of the full range, from 0.3 to 1, has a smaller error, channel by channel
    or over the layer; at few bits it pays to cut off."""
    high = (1 << (bits - 1)) - 1
    kernel = kernel_of(60, 4) * np.float32([1, 1, 0.1, 5])
    settings = Quantization(calibration="mse", weight_scales=scales)
    steps = weight_steps(kernel, high, settings)
    columns = kernel.astype(np.float64)
    whole = np.abs(columns).max(0 if scales == "channel" else None) / high

    def error(step) -> np.ndarray:
        rounded = step * np.clip(np.rint(columns / step), -high, high)
        squares = (columns - rounded) ** 2
        return squares.mean(0) if scales == "channel" else squares.mean()

    for part in np.linspace(0.3, 1.0, 71):
        assert np.all(error(steps) <= error(whole * part) + 1e-12)
    assert np.all(steps <= whole)
    if bits == 2:
        assert np.all(steps < whole)


@pytest.mark.parametrize("calibration", ["mse", "minmax", "percentile"])
def test_one_scale_a_layer_is_the_same_for_all_channels(calibration: str) -> None:
    kernel = kernel_of(3, 3, 2, 4) * np.float32([1, 3, 0.1, 2])
    settings = Quantization(calibration=calibration, weight_scales="layer")
    steps = weight_steps(kernel, 127, settings)
    assert steps.shape == (4,)
    assert len(np.unique(steps)) == 1
    each = weight_steps(kernel, 127, Quantization(calibration=calibration))
    assert len(np.unique(each)) == 4


@pytest.mark.parametrize("calibration", ["mse", "minmax", "percentile"])
def test_a_channel_of_zeros_has_a_step(calibration: str) -> None:
    """A finite one above 0, that leaves the others as they are."""
    kernel = kernel_of(20, 3)
    settings = Quantization(calibration=calibration)
    plain = weight_steps(kernel, 7, settings)
    kernel[:, 1] = 0
    steps = weight_steps(kernel, 7, settings)
    assert 0 < steps[1] < 1e-6
    np.testing.assert_array_equal(steps[[0, 2]], plain[[0, 2]])


@cache
def trained(network: Network) -> Model:
    """A float model with biases; no test changes it."""
    model = build(network, key=jax.random.key(0))
    for layer in (la for la in model.layers.values() if la.bias is not None):
        layer.bias[...] = jnp.linspace(-0.3, 0.3, layer.bias.size, dtype=jnp.float32)
    return model


def test_observe_sees_what_the_seam_sees() -> None:
    """All tensors by name, all values of small ones, in pieces of any size."""
    network = spec("edge")
    model, pixels = trained(network), images(network, 70)
    seen = observe(network, model, pixels)
    assert {"input", "conv1.padding", "conv1.sum", "conv1", "pool1", "conv2"} <= set(seen)
    np.testing.assert_array_equal(seen["input"], pixels.ravel() / np.float32(256))
    outputs = jax.jit(lambda x: model.outputs(x))(pixels)
    for name, y in outputs.items():
        np.testing.assert_allclose(seen[name], np.ravel(y), rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.tanh(seen["conv1.sum"]), seen["conv1"], atol=1e-5)


def test_observe_keeps_a_part_of_large_tensors_and_their_extremes(monkeypatch) -> None:
    import quant.calibrate as module

    network = Network(input_shape=(9, 9, 1), layers=(Conv(features=2),))
    model, pixels = trained(network), images(network, 100)
    whole = observe(network, model, pixels)
    monkeypatch.setattr(module, "_KEPT", 1000)
    part = observe(network, model, pixels)
    again = observe(network, model, pixels)
    assert 500 < part["conv1"].size < 1500 < whole["conv1"].size
    assert np.isin(part["conv1"], whole["conv1"]).all()
    for name in whole:
        assert part[name].max() == whole[name].max()
        assert part[name].min() == whole[name].min()
        np.testing.assert_array_equal(part[name], again[name])


def test_steps_start_where_calibration_puts_them() -> None:
    """And learn as the settings say."""
    model, settings = trained(DENSE), Quantization(activation_steps="pact")
    seen = observe(DENSE, model, images(DENSE, 40))
    plan = make_plan(DENSE, settings)
    steps = calibrate(plan, model, seen, settings)
    for site in plan.sites:
        exponent = activation_exponent(seen[site.name], site, settings)
        assert float(steps.activation(site.name)) == 2.0**exponent
    for place in plan.places:
        kernel = np.asarray(model.kernel(place.name))
        wanted = weight_steps(kernel, weight_high(place.weight_bits), settings)
        learnt = np.exp2(np.asarray(steps.weights[place.name][...]))
        np.testing.assert_allclose(learnt, wanted, rtol=1e-5)
    assert steps.methods == ("pact", "lsq")


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("widths", [(8, 8), (2, 8), (8, 2), (3, 3)])
def test_shifts_keep_multipliers_in_16_bits_and_fine(name: str, widths) -> None:
    """All below 2^16 with room to grow, and steps of 1/64 or finer unless the largest
    shift cannot give them."""
    network = spec(name)
    settings = Quantization(weight_bits=widths[0], activation_bits=widths[1])
    steps = calibrate(
        make_plan(network, settings), trained(network), seen_by(name), settings
    )
    for place in steps.plan.places:
        assert place.shift in SHIFTS
        before, total = steps.activation(place.input), steps.activation(place.sum)
        unit = float(total) / float(before) * 2.0**-place.shift
        wanted = np.exp2(np.asarray(steps.weights[place.name][...], np.float64)) / unit
        assert wanted.max() <= 2**15 * 1.001
        assert np.median(wanted) >= 64 or place.shift == SHIFTS[-1]
        np.testing.assert_allclose(steps.weight(place.name) / unit, wanted, rtol=0.02)


@cache
def seen_by(name: str) -> dict[str, np.ndarray]:
    return observe(spec(name), trained(spec(name)), images(spec(name), 20))


@pytest.mark.parametrize("calibration", ["mse", "minmax", "percentile"])
def test_dead_channels_and_layers_go_through_to_integers(calibration: str) -> None:
    """A pruned channel, a layer of zeros, a ReLU that is shut: finite steps, a network
    that runs, and zeros where the float network has zeros."""
    model = build(DENSE, key=jax.random.key(0))
    settings = Quantization(calibration=calibration)
    one, two, three = (model.layers[f"dense{n}"] for n in (1, 2, 3))
    one.kernel[...] = one.kernel[...].at[:, 2].set(0)
    one.bias[...] = jnp.array([0.1, 0.1, 0.0, -50.0, 0.2], jnp.float32)
    two.kernel[...] = jnp.zeros((5, 6))
    pixels = images(DENSE, 30)
    steps = calibrate(
        make_plan(DENSE, settings), model, observe(DENSE, model, pixels), settings
    )
    network = convert(DENSE, fake_model(DENSE, model, steps), steps)
    made = {step.layer.name: step.output for step in normative.steps(network, pixels)}
    assert not made["dense1"][:, [2, 3]].any()
    assert made["dense1"][:, [0, 4]].any()
    assert not made["dense2"].any()
    assert not made["dense3"].any()
    three.bias[...] = jnp.array([0.5, -0.5, 0.25], jnp.float32)
    steps = calibrate(
        make_plan(DENSE, settings), model, observe(DENSE, model, pixels), settings
    )
    network = convert(DENSE, fake_model(DENSE, model, steps), steps)
    real = normative.run(network, pixels) * network.output.scale
    np.testing.assert_allclose(real, np.tile([0.5, -0.5, 0.25], (30, 1)), atol=0.01)
