"""The lowered network is ordinary layers that compute the same bits."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import registry
from configs.network import Conv, Dense, GlobalPool, Network, Residual
from train.lowering import lowered
from train.model import Model, build

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def made(network: Network) -> Model:
    net = build(network, key=KEY)
    for layer in net.layers.values():
        layer.bias[...] = jax.random.normal(KEY, layer.bias.shape, jnp.float32)
    return net


def logits(net: Model, pixels: np.ndarray) -> np.ndarray:
    """Compiled, as every stage runs it."""
    graph, state = nnx.split(net)
    return np.asarray(jax.jit(lambda state, x: nnx.merge(graph, state)(x))(state, pixels))


def test_the_lowered_network_gives_the_same_bits() -> None:
    """On digits of the embedded test set, compiled and not; no parameter is shared."""
    from configs.schema import Data
    from train import data

    network = registry.load_network("mnist_p4cnn")
    net = made(network)
    plain = lowered(net)
    assert type(plain.layers["conv2"]) is nnx.Conv
    assert plain.network == network.lowered()
    pixels = data.load(Data(source="embedded", limit=32)).test.images
    np.testing.assert_array_equal(logits(net, pixels), logits(plain, pixels))
    np.testing.assert_array_equal(net(pixels[:2]), plain(pixels[:2]))
    leaves = jax.tree.leaves(nnx.state(plain, nnx.Param))
    assert sum(leaf.size for leaf in leaves) == plain.network.parameters
    assert plain.network.parameters > 3.9 * network.parameters
    for name in plain.layers:
        np.testing.assert_array_equal(net.kernel(name), plain.kernel(name))


def test_a_changed_weight_is_a_difference() -> None:
    """The comparison above can fail: one step of one weight shows in the logits."""
    net = made(registry.load_network("mnist_p4cnn"))
    plain, pixels = lowered(net), RNG.integers(0, 256, (8, 28, 28, 1), dtype=np.uint8)
    kernel = plain.layers["conv2"].kernel
    kernel[...] = kernel[...].at[1, 1, 0, 0].mul(1 + 2.0**-10)
    assert np.any(logits(net, pixels) != logits(plain, pixels))


def test_an_ordinary_network_is_given_back_as_it_is() -> None:
    net = made(registry.load_network("mnist_mlp"))
    assert lowered(net) is net


@pytest.mark.parametrize("name", ["mnist_p4cnn", "resnet18", "mnist_cnn"])
def test_the_lowered_spec_differs_in_its_symmetries_alone(name) -> None:
    """Shapes and multiplications stay; only weights and parameters grow."""
    network = registry.load_network(name)
    plain = network.lowered()
    assert plain.lowered() == plain
    assert (plain == network) is (name != "mnist_p4cnn")
    pairs = zip(network.walk(), plain.walk(), strict=True)
    for before, after in pairs:
        assert (before.name, before.output_shape) == (after.name, after.output_shape)
        assert before.macs == after.macs
        factor = 1 if getattr(before.spec, "symmetry", "none") == "none" else 4
        assert after.weights == factor * before.weights
        if isinstance(before.spec, Dense):
            assert after.parameters - after.weights == before.parameters - before.weights
        else:
            assert after.parameters == factor * before.parameters


def test_a_layer_may_stay_ordinary_beside_symmetric_ones() -> None:
    """Its kernel is taken over unchanged."""
    network = registry.load_network("mnist_p4cnn")
    last = dataclasses.replace(network.layers[-1], symmetry="none")
    network = dataclasses.replace(network, layers=(*network.layers[:-1], last))
    net = made(network)
    plain, pixels = lowered(net), RNG.integers(0, 256, (8, 28, 28, 1), dtype=np.uint8)
    np.testing.assert_array_equal(logits(net, pixels), logits(plain, pixels))


NORMED = Network(
    input_shape=(7, 6, 2),
    layers=(
        Conv(features=4, padding="zero", norm="batch"),
        Residual(body=(Conv(features=4, groups=4, padding="zero", norm="batch"),)),
        GlobalPool(),
        Dense(features=3, activation="identity"),
    ),
)


def normed() -> Model:
    """With averages, scales and shifts that matter."""
    net, draw = build(NORMED, key=KEY), np.random.default_rng(1)
    for name in ("conv1", "residual1.conv1"):
        norm = net.layers[name].norm
        for field in ("mean", "bias"):
            values = draw.normal(size=4).astype(np.float32)
            getattr(norm, field)[...] = jnp.asarray(values)
        for field in ("var", "scale"):
            values = draw.uniform(0.3, 3, 4).astype(np.float32)
            getattr(norm, field)[...] = jnp.asarray(values)
    return net


def test_a_folded_normalisation_gives_the_same_logits() -> None:
    net, pixels = normed(), RNG.integers(0, 256, (8, 7, 6, 2), dtype=np.uint8)
    plain = lowered(net)
    assert all(node.norm == "none" for node in plain.network.program.products)
    assert type(plain.layers["conv1"]) is nnx.Conv
    np.testing.assert_allclose(logits(net, pixels), logits(plain, pixels), atol=1e-5)


@pytest.mark.parametrize("field", ["mean", "var", "scale", "bias"])
def test_a_fold_with_a_wrong_number_is_found(field) -> None:
    """The comparison above sees every one of the four."""
    net, pixels = normed(), RNG.integers(0, 256, (8, 7, 6, 2), dtype=np.uint8)
    right = logits(net, pixels)
    held = getattr(net.layers["residual1.conv1"].norm, field)
    held[...] = held[...] * 1.05 + 0.01
    assert np.abs(logits(lowered(net), pixels) - right).max() > 1e-4
