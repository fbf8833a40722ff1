"""The lowered network is ordinary layers that compute the same bits."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import registry
from configs.network import Dense, Network
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
