"""The model with fake quantisation: on its grids, trainable, and equal to the integers."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from integers import SPECS, images, spec

from configs.network import Conv, Dense, Flatten, GlobalPool, Network, Pool
from configs.program import Program, State
from configs.schema import Optimizer
from quant import normative
from quant.calibrate import calibrate, observe
from quant.convert import convert, site_format
from quant.network import IntNetwork, rescaling, weight_high
from quant.qat import Place, Site, Steps, fake_model, make_plan
from quant.settings import Quantization
from train import optimizer
from train.model import Model, build, merge, split

SETTINGS = {
    "default": Quantization(),
    "narrow": Quantization(weight_bits=4, activation_bits=3),
    "layer": Quantization(calibration="minmax", weight_scales="layer"),
    "pact": Quantization(activation_steps="pact", calibration="percentile"),
}


def trained(network: Network, seed: int = 0) -> Model:
    """A float model whose biases are not 0."""
    model = build(network, key=jax.random.key(seed))
    draw = np.random.default_rng(seed)
    for layer in (la for la in model.layers.values() if la.bias is not None):
        layer.bias[...] = jnp.asarray(0.3 * draw.normal(size=layer.bias.shape), jnp.float32)
    return model


@cache
def seen_by(network: Network, seed: int) -> dict[str, np.ndarray]:
    return observe(network, trained(network, seed), images(network, 40))


@cache
def quantised(network: Network, settings: Quantization, seed: int = 0) -> Model:
    """The calibrated model with fake quantisation; no test changes it."""
    model = trained(network, seed)
    seen = seen_by(network, seed)
    steps = calibrate(make_plan(network, settings), model, seen, settings)
    return fake_model(network, model, steps)


def integers_of(model: Model) -> IntNetwork:
    return convert(model.network, model, model.activation_quantizer)


def moved(model: Model, size: float) -> Model:
    """Every parameter a little further, as training would leave it."""
    graph, params = split(model)
    draw = np.random.default_rng(1)
    push = lambda p: p + jnp.asarray(size * draw.normal(size=p.shape), jnp.float32)
    return merge(graph, jax.tree.map(push, params))


def compare(model: Model, pixels: np.ndarray) -> tuple[int, int, float]:
    """Layer by layer, fake-quantised outputs against the real values of the integers:
    values that differ, values in all, and the largest difference in output steps."""
    outputs = jax.jit(lambda x: model.values(x))(pixels)
    differ, count, largest = 0, 0, 0.0
    for step in normative.steps(integers_of(model), pixels):
        y = np.asarray(outputs[step.layer.name], np.float64) / step.layer.output.scale
        np.testing.assert_array_equal(y, np.rint(y))  # on the grid
        moving = any(len(np.unique(x)) > 1 for x in step.inputs)
        assert len(np.unique(y)) > 2 or not moving
        differ += int((y != step.output).sum())
        count += y.size
        largest = max(largest, float(np.abs(y - step.output).max()))
    return differ, count, largest


@pytest.mark.parametrize("name", SPECS)
def test_the_fake_network_is_the_integer_one(name: str) -> None:
    """All but a few values exactly: float32 sums need more bits than they have. As it
    is calibrated, and with every parameter where training might leave it."""
    model = quantised(spec(name), SETTINGS["default"])
    for changed in (model, moved(model, 0.05)):
        differ, count, largest = compare(changed, images(model.network, 20, seed=5))
        assert largest <= 1
        assert differ <= count / 500


@pytest.mark.parametrize(
    ("name", "kind"),
    [("signed", "narrow"), ("mean", "narrow"), ("cnn", "layer"), ("edge", "pact")],
)
def test_other_settings_keep_it_so(name: str, kind: str) -> None:
    model = moved(quantised(spec(name), SETTINGS[kind]), 0.02)
    differ, count, largest = compare(model, images(model.network, 20, seed=5))
    assert largest <= 1
    assert differ <= count / 500


def test_a_bias_off_its_grid_would_be_seen(monkeypatch) -> None:
    """The comparison above is not blind: without rounded sums more values differ, and
    with a step that is not the hardware's most do."""
    network = spec("cnn")
    model, pixels = quantised(network, SETTINGS["default"]), images(network, 20, seed=5)
    differ, count, _ = compare(model, pixels)
    wrong = lambda self, layer, kernel: kernel * jnp.float32(1.02)
    monkeypatch.setattr(Steps, "fake_weights", wrong)
    assert compare(model, pixels)[0] > max(10 * differ, count / 500)


DENSE = Network(
    input_shape=(6,),
    layers=(
        Dense(features=7, activation="tanh"),
        Dense(features=5),
        Dense(features=3, activation="identity"),
    ),
)


@pytest.mark.parametrize("bits", [(2, 8), (3, 5), (4, 2), (5, 6), (6, 4), (7, 3), (8, 7)])
def test_every_width_holds_its_integers(bits: tuple[int, int]) -> None:
    """Weights and activations within their bits, both ends of which some reach."""
    settings = Quantization(
        weight_bits=bits[0], activation_bits=bits[1], calibration="minmax"
    )
    model = quantised(DENSE, settings)
    network = integers_of(model)
    pixels = images(DENSE, 60)
    for layer in network.walk():
        w = layer.weighted
        assert w.weight_bits == bits[0]
        assert np.abs(w.weights).max() in (w.weight_high, w.weight_high - 1)
    widths = [layer.output.bits for layer in network.walk()]
    assert widths == [bits[1], bits[1], 8]
    differ, count, largest = compare_ends(model, network, pixels)
    assert largest <= 1
    assert differ <= count / 100


def compare_ends(model: Model, network: IntNetwork, pixels) -> tuple[int, int, float]:
    y = np.asarray(jax.jit(model)(pixels), np.float64) / network.output.scale
    wanted = normative.run(network, pixels)
    return int((y != wanted).sum()), y.size, float(np.abs(y - wanted).max())


def gradients(model: Model, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Of a random linear function of the outputs, by parameter."""
    graph, params = split(model)
    outputs = model.network.output_shape[-1]
    weights = np.random.default_rng(0).normal(size=(len(pixels), outputs))

    @jax.jit
    def grads(params):
        total = lambda p: jnp.sum(merge(graph, p)(pixels) * jnp.asarray(weights, "f"))
        return jax.grad(total)(params)

    flat, _ = jax.tree.flatten_with_path(grads(params))
    return {jax.tree_util.keystr(path): np.asarray(g) for path, g in flat}


def idle(program: Program) -> set[str]:
    """Parameters that may have no gradient: steps of what is not a product's, since a sum
    may lie on a grid on which nothing is rounded or cut off, and all that meets a state
    alone, which is zero."""
    joins = {f"{name}{part}" for name in rescaling(program) for part in ("", ".argument")}
    still = {
        node.weights
        for node in program.products
        if isinstance(program.root(node.input), State)
    }
    owners = {program.readers[program.weighted[name].name][0].owner for name in still}
    return {name.replace(".", "_") for name in joins | owners} | still


@pytest.mark.parametrize("name", SPECS)
def test_gradients_reach_every_parameter(name: str) -> None:
    """Kernels, biases, and the step of every site and of every weight channel."""
    model = quantised(spec(name), SETTINGS["default"])
    found = gradients(model, images(model.network, 30))
    plan = model.activation_quantizer.plan
    steps = [p for p in found if "'activations'" in p or "'weights'" in p]
    kernels = [p for p in found if p.endswith("['kernel']") or p.endswith("['bias']")]
    assert len(steps) == len(plan.free()) + len(plan.places)
    unbiased = [n for n in model.network.program.weighted.values() if not n.biased]
    assert len(kernels) == 2 * len(plan.places) - len(unbiased)
    assert len(found) == len(steps) + len(kernels)
    for path, gradient in found.items():
        assert np.isfinite(gradient).all(), path
        if any(repr(name) in path for name in idle(model.network.program)):
            continue
        # Behind a ReLU that is shut for all images there is none; "edge" has no ReLU.
        reached = (gradient != 0).mean()
        assert reached > (0.9 if name == "edge" else 0.2), path


@pytest.mark.parametrize(
    ("fixed", "held"),
    [
        ({"weight_steps": "fixed"}, "'weights'"),
        ({"activation_steps": "fixed"}, "'activations'"),
    ],
)
def test_fixed_steps_stay_to_the_bit(fixed: dict, held: str) -> None:
    """After updates that move all other parameters, weight decay and all."""
    model = quantised(DENSE, Quantization(**fixed, weight_bits=5, activation_bits=4))
    graph, params = split(model)
    pixels = images(model.network, 16)
    tx = optimizer.make(Optimizer(learning_rate=0.01, schedule="constant"), 4)

    @jax.jit
    def update(params, state):
        loss = lambda p: jnp.mean(merge(graph, p)(pixels) ** 2)
        return optimizer.update(tx, jax.grad(loss)(params), state, params)

    after, state = params, tx.init(params)
    for _ in range(3):
        after, state = update(after, state)
    before, _ = jax.tree.flatten_with_path(params)
    for (path, old), new in zip(before, jax.tree.leaves(after), strict=True):
        same = bool((old == new).all())
        assert same == (held in jax.tree_util.keystr(path)), path


def test_steps_are_what_their_logarithms_round_to() -> None:
    """Activations: powers of two. Weights: m * 2^-shift * sum / input, m whole."""
    model = quantised(spec("edge"), SETTINGS["default"])
    model = moved(model, 0.2)
    steps = model.activation_quantizer
    assert float(steps.activation("")) == 2.0**-8
    for site in steps.plan.free():
        log2 = float(steps.activations[site.name.replace(".", "_")][...])
        assert float(steps.activation(site.name)) == 2.0 ** round(log2)
    for place in steps.plan.places:
        before, total = steps.activation(place.input), steps.activation(place.sum)
        unit = float(total) / float(before) * 2.0**-place.shift
        m = np.asarray(steps.weight(place.name), np.float64) / unit
        np.testing.assert_array_equal(m, np.rint(m))
        learnt = np.exp2(np.asarray(steps.weights[place.name][...], np.float64))
        assert np.all(np.abs(m * unit - learnt) <= unit)
        kernel = np.asarray(model.kernel(place.name))
        q = np.asarray(steps.fake_weights(place.name, kernel), np.float64) / (m * unit)
        np.testing.assert_allclose(q, np.rint(q), atol=1e-5)
        assert np.abs(q).max() <= weight_high(place.weight_bits)


def site(name: str, *, signed: bool, bits: int) -> Site:
    return Site(name=name, grid=name, signed=signed, bits=bits)


def place(name: str, before: str, total: str, bits: int = 6) -> Place:
    return Place(
        name=name, input=before, sum=total, output=name, weight_bits=bits, shift=16
    )


def test_the_plan_names_every_tensor_with_a_grid() -> None:
    """Tables need one for their sum; means are rounded to the grid of their input."""
    plan = make_plan(spec("signed"), Quantization(activation_bits=5, weight_bits=6))
    assert plan.sites == (
        site("conv1", signed=True, bits=5),
        site("conv2.sum", signed=True, bits=8),
        site("conv2", signed=False, bits=5),
        site("conv3", signed=True, bits=5),
        site("dense1", signed=True, bits=8),
    )
    assert plan.places[:2] == (
        place("conv1", "", "conv1"),
        place("conv2", "conv1", "conv2.sum"),
    )
    assert plan.means == (("conv2.padding", "conv1"), ("pool2", "conv3"))
    first = make_plan(spec("mean"), Quantization())
    assert first.means == (
        ("conv1.padding", ""),
        ("pool1", "conv1"),
        ("globalpool1.pooled", "conv1"),
    )
    assert (site("a", signed=True, bits=3).low, plan.sites[0].high) == (-4, 15)
    assert plan.sites[2].high == 31
    assert weight_high(plan.places[0].weight_bits) == 31


def test_means_are_rounded_half_to_even_on_the_pixels_grid() -> None:
    """1 and 4 have the mean 2.5, which pads as 2; a pooling of 3 and 4 gives 4."""
    layers = (Pool(kind="mean", window=(1, 2)), Conv(features=1, padding="mean"))
    network = Network(input_shape=(1, 4, 1), layers=layers)
    steps = Steps(
        make_plan(network, Quantization()),
        {"conv1": -8.0},
        {"conv1": np.array([-7.0])},
    )
    seen = {}
    look = lambda name, y: seen.setdefault(name, steps(name, y))
    model = fake_model(network, trained(network), steps)
    model.activation_quantizer = look
    model(np.array([1, 0, 3, 4], np.uint8).reshape(1, 1, 4, 1))
    # (1 + 0) / 2 = 0.5 and (3 + 4) / 2 = 3.5; the mean of 0 and 4 is 2.
    assert (np.ravel(seen["pool1"]) * 256).tolist() == [0, 4]
    padded = np.asarray(seen["conv1.padding"])[0, :, :, 0] * 256
    assert padded.tolist() == [[2, 2, 2, 2], [2, 0, 4, 2], [2, 2, 2, 2]]


def test_fake_model_keeps_the_trained_parameters() -> None:
    """It starts from them, in tensors of its own."""
    model = trained(DENSE)
    seen = observe(DENSE, model, images(DENSE, 8))
    steps = calibrate(make_plan(DENSE, Quantization()), model, seen, Quantization())
    fake = fake_model(DENSE, model, steps)
    for name, layer in model.layers.items():
        np.testing.assert_array_equal(fake.layers[name].kernel[...], layer.kernel[...])
        np.testing.assert_array_equal(fake.layers[name].bias[...], layer.bias[...])
    fake.layers["dense1"].bias[...] = jnp.zeros(7)
    assert np.any(np.asarray(model.layers["dense1"].bias[...]))
    assert isinstance(fake, nnx.Module)


@pytest.mark.parametrize("kind", ["max", "mean"])
def test_a_network_that_starts_with_pooling_and_ends_without_weights(kind: str) -> None:
    """Layers without weights have no sites, on either side."""
    network = Network(
        input_shape=(7, 6, 2),
        layers=(
            Pool(kind=kind),
            Conv(features=4, padding="edge", activation="softplus"),
            GlobalPool(kind=kind),
            Flatten(),
        ),
    )
    model = quantised(network, Quantization(activation_bits=6))
    differ, count, largest = compare(model, images(network, 20))
    assert largest <= 1
    assert differ <= count / 100
    # The only layer with weights is the last one.
    assert site_format(model.activation_quantizer, "conv1").bits == 8
