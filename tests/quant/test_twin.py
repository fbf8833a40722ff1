"""The twin goes forward as the integers and back as if nothing had been rounded."""

import dataclasses
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from integers import SPECS, filled, images, networks, spec
from jax import shard_map
from jax.sharding import PartitionSpec as P
from masked import masked

from configs.network import Conv, Dense, Flatten, GlobalPool, Network, Pool
from quant import normative
from quant.calibrate import calibrate, observe
from quant.convert import convert, table
from quant.network import IntNetwork
from quant.qat import fake_model, make_plan
from quant.settings import Quantization
from quant.twin import STESurrogate, fake_subject, plan, subject, twin
from train.mesh import AXIS, all_devices
from train.model import Model, build

# Widths of weights and outputs, and shifts, taken in turn.
GRIDS = [(8, 8, (16,)), (4, 3, (12, 21)), (2, 5, (9, 16, 18)), (8, 2, (8,))]


def differing(network: IntNetwork, pixels: np.ndarray) -> tuple[int, int, float]:
    """Values of all layers that are not the integers', values in all, largest error."""
    model = twin(network)
    outputs = jax.jit(lambda x: model.values(x))(pixels.astype(np.float32))
    differ, count, largest = 0, 0, 0.0
    for step in normative.steps(network, pixels):
        y = np.asarray(outputs[step.layer.name], np.float64) / step.layer.output.scale
        np.testing.assert_array_equal(y, np.rint(y))
        differ += int((y != step.output).sum())
        count += y.size
        largest = max(largest, float(np.abs(y - step.output).max()))
    return differ, count, largest


@pytest.mark.parametrize("name", SPECS)
def test_it_is_the_integer_network(name: str) -> None:
    """Every layer, all but one value in 5,000, whatever the widths, shifts and tables."""
    total = np.zeros(2)
    for seed, (weight_bits, bits, shifts) in enumerate(GRIDS):
        network = filled(
            spec(name),
            seed=seed,
            weight_bits=weight_bits,
            activation_bits=bits,
            shifts=shifts,
        )
        differ, count, _ = differing(network, images(network.network, 25, seed=seed))
        total += (differ, count)
    assert total[1] > 10_000
    assert total[0] <= total[1] / 5000


def test_any_network_has_a_twin() -> None:
    """All but one value in 200 over random networks, whose random tables carry what
    float32 rounds to another side into everything behind."""
    seen = []

    @settings(max_examples=8, derandomize=True, deadline=None, database=None)
    @given(networks())
    def compare(network: IntNetwork) -> None:
        seen.append(differing(network, images(network.network, 10))[:2])

    compare()
    differ, count = np.sum(seen, 0)
    assert count > 1000
    assert differ <= count / 200


def test_an_error_of_one_part_in_a_thousand_would_be_seen() -> None:
    """The comparison is not blind: multipliers a thousandth larger make another one."""
    network = filled(spec("cnn"))
    w = network.weighted["conv2"]
    other = dataclasses.replace(w, multiplier=(w.multiplier * 1.001 + 1).astype(np.int32))
    changed = dataclasses.replace(network, weighted={**network.weighted, "conv2": other})
    pixels = images(network.network, 25)
    y = np.asarray(jax.jit(twin(changed))(pixels.astype(np.float32)))
    assert np.any(y / network.output.scale != normative.run(network, pixels))


@pytest.mark.parametrize("name", SPECS)
def test_its_steps_are_the_network_s_to_the_bit(name: str) -> None:
    for weight_bits, bits, shifts in GRIDS:
        network = filled(
            spec(name), weight_bits=weight_bits, activation_bits=bits, shifts=shifts
        )
        steps = twin(network).activation_quantizer
        for layer in network.walk():
            if layer.weighted:
                step = np.asarray(steps.weight(layer.product.weights), np.float64)
                np.testing.assert_array_equal(step, layer.weight_scale())
            if layer.numbers:
                owner = layer.step.activate.owner
                assert steps.activation(owner) == layer.output.scale


@cache
def calibrated(network: Network, settings: Quantization) -> tuple[Model, IntNetwork]:
    """A network with fake quantisation that was not trained, and its integers."""
    model = build(network, key=jax.random.key(3))
    draw = np.random.default_rng(3)
    for layer in (la for la in model.layers.values() if la.bias is not None):
        layer.bias[...] = jnp.asarray(0.3 * draw.normal(size=layer.bias.shape), jnp.float32)
    seen = observe(network, model, images(network, 40))
    fake = fake_model(
        network, model, calibrate(make_plan(network, settings), model, seen, settings)
    )
    return fake, convert(network, fake, fake.activation_quantizer)


@pytest.mark.parametrize(("name", "bits"), [("cnn", 8), ("mean", 4), ("edge", 8)])
def test_it_is_the_model_that_became_the_integers(name: str, bits: int) -> None:
    """Forward to the bit in all but one output in 500, and so are its gradients by the
    pixels, whose rest differ where a tie or an end of a range fell elsewhere."""
    settings = Quantization(weight_bits=bits, activation_bits=bits)
    fake, network = calibrated(spec(name), settings)
    assert plan(network) == fake.activation_quantizer.plan
    pixels = images(network.network, 40, seed=7).astype(np.float32)
    model = twin(network)
    mine, theirs = jax.jit(model)(pixels), jax.jit(fake)(pixels)
    assert np.unique(theirs).size > 5
    assert np.mean(np.asarray(mine) != np.asarray(theirs)) <= 1 / 500
    slopes = np.stack([slope(model, pixels), slope(fake, pixels)])
    far = np.abs(slopes[0] - slopes[1]).max((1, 2, 3)) > 1e-4 * np.abs(slopes).max()
    assert slopes.any((0, 2, 3, 4)).mean() > 0.9
    assert far.mean() <= 0.1


def slope(model: Model, pixels: np.ndarray) -> np.ndarray:
    """Gradient by the pixels of a random linear function of the outputs."""
    shape = jax.eval_shape(model, pixels).shape
    weights = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    return np.asarray(jax.jit(jax.grad(lambda x: jnp.sum(model(x) * weights)))(pixels))


@pytest.mark.parametrize("name", ["cnn", "edge"])
def test_a_masked_network_has_no_gradient_where_the_twin_has_one(name: str) -> None:
    """The same values from plain rounding, and nothing to climb; no image of the twin's
    is flat in these networks."""
    _, network = calibrated(spec(name), Quantization(weight_bits=8, activation_bits=8))
    pixels = images(network.network, 20, seed=2).astype(np.float32)
    flat, climbed = masked(network), twin(network)
    np.testing.assert_array_equal(jax.jit(flat)(pixels), jax.jit(climbed)(pixels))
    assert not slope(flat, pixels).any()
    assert slope(climbed, pixels).any((1, 2, 3)).all()


def one_layer(activation: str) -> IntNetwork:
    layer = Dense(features=1, activation=activation)
    network = filled(Network(input_shape=(1,), layers=(layer,)), seed=1)
    w = network.weighted["dense1"]
    grid = table(activation, w.sum, w.output) if w.table is not None else None
    changed = dataclasses.replace(
        w,
        weights=np.array([[100]], np.int8),
        bias=np.array([-9000], np.int32),
        multiplier=np.array([800], np.int32),
        table=grid,
    )
    return dataclasses.replace(network, weighted={"dense1": changed})


@pytest.mark.parametrize("activation", ["identity", "relu", "softplus", "sigmoid", "tanh"])
def test_the_slope_is_the_activation_s_inside_the_range_and_nothing_outside(
    activation: str,
) -> None:
    """d logit / d pixel = activation'(sum) * weight / 256, unless an end is cut off."""
    network = one_layer(activation)
    w = network.weighted["dense1"]
    layer = next(network.walk())
    pixels = np.arange(256, dtype=np.float32)[:, None]
    sums = (pixels[:, 0] * 100 - 9000) * 800 / 2**16
    s = np.clip(np.rint(sums), w.sum.low, w.sum.high) * w.sum.scale
    real, slopes = {
        "identity": (s, np.ones(256)),
        # JAX takes 0 for the slope at 0.
        "relu": (s, np.sign(np.clip(sums, 0, None))),
        "softplus": (np.log1p(np.exp(s)), 1 / (1 + np.exp(-s))),
        "sigmoid": (1 / (1 + np.exp(-s)), np.exp(-s) / (1 + np.exp(-s)) ** 2),
        "tanh": (np.tanh(s), 1 - np.tanh(s) ** 2),
    }[activation]
    cut = (sums < w.sum.low) | (sums > w.sum.high)
    cut |= (real / w.output.scale > w.output.high) | (real / w.output.scale < w.output.low)
    assert 0 < cut.sum() < 256
    wanted = np.where(cut, 0, slopes * 100 * layer.weight_scale()[0] / 256)
    found = jax.jit(jax.grad(lambda x: jnp.sum(twin(network)(x))))(pixels)[:, 0]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("chunk", [1, 32, 50])
def test_the_deployed_network_decides(chunk: int) -> None:
    """In compiled code of any chunk, over all devices, its own integers come out."""
    network = filled(spec("cnn"), shifts=(16, 19))
    attacked = subject(network)
    assert attacked.name == "int8"
    assert isinstance(attacked.surrogate, STESurrogate)
    pixels = images(network.network, 2 * chunk)
    mesh = all_devices()
    run = partial(shard_map, mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS))
    y = jax.jit(run(attacked.predict, check_vma=False))(pixels)
    assert y.dtype == jnp.float32
    wanted = normative.run(network, pixels)
    np.testing.assert_array_equal(np.asarray(y), wanted * network.output.scale)


def test_equal_integers_are_equal_logits_and_the_first_counts() -> None:
    """Two classes of the same weights: a tie on both sides, to the bit."""
    network = filled(
        Network(input_shape=(5,), layers=(Dense(features=4, activation="identity"),))
    )
    w = network.weighted["dense1"]
    twice = {n: getattr(w, n)[..., [2, 1, 2, 1]] for n in ("weights", "bias", "multiplier")}
    changed = dataclasses.replace(w, **twice)
    tied = dataclasses.replace(network, weighted={"dense1": changed})
    pixels = images(network.network, 64)
    chosen = normative.run(tied, pixels).argmax(-1)
    assert set(chosen) == {0, 1}
    for logits in (subject(tied).predict, subject(tied).surrogate):
        y = np.asarray(jax.jit(logits)(pixels))
        np.testing.assert_array_equal(y[:, :2], y[:, 2:])
        np.testing.assert_array_equal(y.argmax(-1), chosen)


def test_the_fake_quantised_column_is_the_twin_itself() -> None:
    network = filled(spec("mean"))
    attacked = fake_subject(network)
    assert attacked.name == "qat"
    pixels = images(network.network, 8)
    y = jax.jit(attacked.predict)(pixels)
    np.testing.assert_array_equal(y, jax.jit(attacked.surrogate)(pixels.astype("f")))


def test_layers_without_weights_on_either_side() -> None:
    """Pooling meets the pixels first, and pooling and flattening end it."""
    network = Network(
        input_shape=(7, 6, 2),
        layers=(
            Pool(kind="mean"),
            Conv(features=4, padding="mean", activation="tanh"),
            GlobalPool(kind="mean"),
            Flatten(),
        ),
    )
    differ, count, _ = differing(filled(network, shifts=(18,)), images(network, 40))
    assert differ <= count / 1000
