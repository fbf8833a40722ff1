"""Group convolutions turn with the image, and their kernels are those of the definition."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import registry
from configs.network import Conv, Dense, Flatten, GlobalPool, Network, Pool
from train import equivariant, model
from train.equivariant import expanded_bias, expanded_kernel
from train.lowering import lowered
from train.model import Model, build, float_operators

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
LOGITS = Dense(features=5, activation="identity", symmetry="p4")
LIFT = Conv(features=8, kernel=(3, 3), symmetry="lift")
# 14, 12, 6, 4: every window and stride fits; padding is alike on all sides.
NETWORK = Network(
    input_shape=(14, 14, 2),
    layers=(
        LIFT,
        Pool(),
        Conv(features=12, padding="mean", activation="softplus", symmetry="p4"),
        Conv(
            features=8, kernel=(2, 2), stride=(2, 2), activation="identity", symmetry="p4"
        ),
        Pool(kind="mean", window=(2, 2), stride=(1, 1)),
        GlobalPool(kind="max"),
        LOGITS,
    ),
)


def images(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def made(network: Network, **operators) -> Model:
    """A model whose biases are not 0."""
    net = build(network, key=KEY, **operators)
    for index, layer in enumerate(net.layers.values()):
        key = jax.random.key(index)
        layer.bias[...] = 0.3 * jax.random.normal(key, layer.bias.shape, jnp.float32)
    return net


def turn(x: np.ndarray) -> np.ndarray:
    """Images (B, H, W, C) by 90 degrees, counter-clockwise."""
    return np.rot90(x, 1, (1, 2)).copy()


def moved_on(x: np.ndarray) -> np.ndarray:
    """Channels (..., F), every map at its next orientation."""
    *shape, f = x.shape
    by_orientation = x.reshape(*shape, 4, f // 4)
    return by_orientation[..., [3, 0, 1, 2], :].reshape(x.shape)


def misfits(net: Model, pixels: np.ndarray) -> dict[str, float]:
    """How far each layer's outputs for the turned image are from what they should be,
    relative to the largest of them."""
    graph, state = nnx.split(net)
    # Not `jit(net.outputs)`: a planted fault must be traced anew.
    outputs = jax.jit(lambda state, x: nnx.merge(graph, state).outputs(x))
    before, after = outputs(state, pixels), outputs(state, turn(pixels))
    found = {}
    for name in (info.name for info in net.network.walk()):
        y, turned = np.asarray(before[name]), np.asarray(after[name])
        wanted = turn(y) if y.ndim == 4 else y
        if not name.startswith("dense"):
            wanted = moved_on(wanted)
        found[name] = float(np.abs(turned - wanted).max() / np.abs(y).max())
    return found


@pytest.mark.parametrize("convolution", ["im2col", "lax"])
def test_a_turned_image_gives_turned_maps_and_the_same_logits(convolution) -> None:
    """Every layer's, up to rounding; the maps do differ from those before."""
    net = made(NETWORK, operators=float_operators(convolution))
    pixels = images(3, 14, 14, 2)
    found = misfits(net, pixels)
    assert max(found.values()) < 1e-5
    y, turned = net.outputs(pixels), net.outputs(turn(pixels))
    assert np.abs(np.asarray(y["conv3"]) - np.asarray(turned["conv3"])).max() > 0.1
    assert np.asarray(y["dense1"]).std(0).min() > 1e-3, "logits depend on the image"


def test_the_known_network_is_exact_at_its_sizes() -> None:
    net = made(registry.load_network("mnist_p4cnn"))
    assert max(misfits(net, images(4, 28, 28, 1)).values()) < 1e-5


def test_windows_that_leave_a_row_out_are_not_exact() -> None:
    """So the tests above can fail, and sizes matter as the module says."""
    layers = (LIFT, Pool(), GlobalPool(), LOGITS)
    odd, even = (Network(input_shape=(n, n, 1), layers=layers) for n in (13, 14))
    assert misfits(made(odd), images(2, 13, 13, 1))["dense1"] > 1e-3
    assert misfits(made(even), images(2, 14, 14, 1))["dense1"] < 1e-5


def wrong_direction(spec, base):
    if spec.kernel is None:
        return expanded_kernel(spec, base)
    maps = base.shape[2] // 4 if spec.symmetry == "p4" else 0
    turned = [jnp.roll(jnp.rot90(base, -r), r * maps, 2) for r in range(4)]
    return jnp.concatenate(turned, axis=-1)


def wrong_cycle(spec, base):
    if spec.kernel is None:
        return expanded_kernel(spec, base)
    maps = base.shape[2] // 4 if spec.symmetry == "p4" else 0
    turned = [jnp.roll(jnp.rot90(base, r), -r * maps, 2) for r in range(4)]
    return jnp.concatenate(turned, axis=-1)


def no_cycle(spec, base):
    if spec.kernel is None:
        return expanded_kernel(spec, base)
    return jnp.concatenate([jnp.rot90(base, r) for r in range(4)], axis=-1)


def orientations_weighed(spec, base):
    """A Dense that does not share its weights."""
    kernel = expanded_kernel(spec, base)
    if spec.kernel:
        return kernel
    return kernel * jnp.linspace(0.5, 1.5, len(kernel), dtype=jnp.float32)[:, None]


@pytest.mark.parametrize(
    ("fault", "wrong"),
    [
        # Wrong the same way everywhere: orientations go round the other way, and the
        # mean over them does not see it.
        (wrong_direction, ("conv1", "conv2", "conv3")),
        (wrong_cycle, ("conv2", "conv3", "dense1")),
        (no_cycle, ("conv2", "conv3", "dense1")),
        (orientations_weighed, ("dense1",)),
    ],
)
def test_a_wrong_expansion_is_found(fault, wrong, monkeypatch) -> None:
    """Planted faults; layers before the faulty one stay right."""
    net, pixels = made(NETWORK), images(3, 14, 14, 2)
    monkeypatch.setattr(equivariant, "expanded_kernel", fault)
    found = misfits(net, pixels)
    layers = [name for name in found if name.startswith(("conv", "dense"))]
    assert tuple(name for name in layers if found[name] > 1e-3) == wrong
    assert all(found[name] < 1e-5 for name in layers if name not in wrong)


def test_a_bias_for_each_orientation_is_found(monkeypatch) -> None:
    net, pixels = made(NETWORK), images(3, 14, 14, 2)
    own = lambda spec, base: (
        expanded_bias(spec, base) + jnp.linspace(0, 1, spec.features, dtype=jnp.float32)
    )
    monkeypatch.setattr(equivariant, "expanded_bias", own)
    assert misfits(net, pixels)["conv1"] > 1e-2


def back(i: int, j: int, size: int, r: int) -> tuple[int, int]:
    """The place that r turns counter-clockwise bring to (i, j): row i, column j."""
    for _ in range(r):
        i, j = j, size - 1 - i
    return i, j


@pytest.mark.parametrize("symmetry", ["lift", "p4"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_kernels_equal_the_definition_weight_by_weight(symmetry, size) -> None:
    channels, maps = 8, 3
    layer = Conv(features=4 * maps, kernel=(size, size), symmetry=symmetry)
    (spec,) = layer.program((size, size, channels)).products
    base = RNG.normal(size=(size, size, channels, maps)).astype(np.float32)
    kernel = np.asarray(expanded_kernel(spec, jnp.asarray(base)))
    assert kernel.shape == (size, size, channels, 4 * maps)
    c_maps = channels // 4
    places = itertools.product(
        range(size), range(size), range(channels), range(4), range(maps)
    )
    for i, j, channel, r, m in places:
        s, c = divmod(channel, c_maps)
        from_channel = (s - r) % 4 * c_maps + c if symmetry == "p4" else channel
        wanted = base[(*back(i, j, size, r), from_channel, m)]
        assert kernel[i, j, channel, r * maps + m] == wanted


def test_a_dense_layer_weighs_the_mean_over_the_orientations() -> None:
    base = RNG.normal(size=(3, 5)).astype(np.float32)
    (spec,) = LOGITS.program((12,)).products
    kernel = np.asarray(expanded_kernel(spec, jnp.asarray(base)))
    x = RNG.normal(size=(7, 12))
    np.testing.assert_allclose(x @ kernel, x.reshape(7, 4, 3).mean(1) @ base, atol=1e-6)
    np.testing.assert_array_equal(expanded_bias(spec, jnp.arange(5)), np.arange(5))


def test_layers_without_symmetry_are_left_alone() -> None:
    base = jnp.ones((3, 3, 4, 8))
    layers = (Conv(features=8).program((3, 3, 4)), Dense(features=8).program((4,)))
    for spec in (program.products[0] for program in layers):
        assert expanded_kernel(spec, base) is base
        assert expanded_bias(spec, base) is base


def test_only_the_base_is_learned_and_gradients_reach_it() -> None:
    """Each base weight gets the sum of the gradients of its copies, found in the
    ordinary network and carried back turn by turn."""
    net, pixels = made(NETWORK), images(2, 14, 14, 2)
    leaves = jax.tree.leaves(nnx.state(net, nnx.Param))
    assert sum(leaf.size for leaf in leaves) == NETWORK.parameters
    grad = nnx.jit(nnx.grad(lambda net: jnp.sum(jnp.sin(net(pixels)))))
    ours, theirs = (grad(each)["layers"] for each in (net, lowered(net)))
    for info in NETWORK.walk():
        if not info.weights:
            continue
        kernel = np.asarray(theirs[info.name]["kernel"][...])
        bias = np.asarray(theirs[info.name]["bias"][...])
        if isinstance(info.spec, Conv):
            got = ours[info.name]["conv"]["kernel"][...]
            parts = np.split(kernel, 4, axis=-1)
            cycle = kernel.shape[2] // 4 if info.spec.symmetry == "p4" else 0
            wanted = sum(
                np.rot90(np.roll(part, -r * cycle, 2), -r) for r, part in enumerate(parts)
            )
            bias = bias.reshape(4, -1).sum(0)
        else:
            got = ours[info.name]["kernel"][...]
            wanted = kernel.reshape(4, -1, kernel.shape[-1]).mean(0)
        scale = np.abs(wanted).max()
        assert scale > 1e-3
        np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-5 * scale)
        np.testing.assert_allclose(
            ours[info.name]["bias"][...], bias, rtol=0, atol=2e-5 * np.abs(bias).max()
        )


def test_kernels_start_with_the_spread_of_the_ordinary_layer() -> None:
    """He: variance 2 / (R * S * C), whatever is shared."""
    layers = (
        Conv(features=256, symmetry="lift"),
        Conv(features=256, symmetry="p4"),
        Flatten(),
        Dense(features=2),
    )
    net = build(Network(input_shape=(5, 5, 3), layers=layers), key=KEY)
    for name, inputs in (("conv1", 27), ("conv2", 9 * 256)):
        kernel = np.asarray(net.kernel(name))
        assert kernel.shape[-1] == 256
        np.testing.assert_allclose(kernel.var(), 2 / inputs, rtol=0.1)
        assert not np.any(net.layers[name].bias[...])


class Scaled(nnx.Module):
    """A product whose kernel is multiplied by a number that trains."""

    def __init__(self, product) -> None:
        self.product, self.scale = product, nnx.Param(jnp.float32(1.5))

    def __call__(self, lhs, rhs, *args, **keywords):
        return self.product(lhs, rhs * self.scale[...], *args, **keywords)


def test_injected_products_see_the_whole_kernel_and_train() -> None:
    plain, asked = float_operators(), []
    operators = model.Operators(
        conv=lambda layer: asked.append(layer) or Scaled(plain.conv(layer)),
        dot=lambda layer: asked.append(layer) or Scaled(plain.dot(layer)),
    )
    layers = (Conv(features=4, activation="identity", symmetry="lift"), GlobalPool(),
              LOGITS)  # fmt: skip
    network = Network(input_shape=(4, 4, 1), layers=layers)
    net, pixels = build(network, operators=operators, key=KEY), images(2, 4, 4, 1)
    assert asked == ["conv1", "dense1"]
    np.testing.assert_allclose(
        net(pixels), 1.5**2 * np.asarray(build(network, key=KEY)(pixels)), rtol=1e-5
    )
    grad = nnx.jit(nnx.grad(lambda net: jnp.sum(jnp.square(net(pixels)))))
    grads = grad(net)["layers"]
    of_conv = grads["conv1"]["conv"]["conv_general_dilated"]["product"]["scale"][...]
    of_dense = grads["dense1"]["dot_general"]["product"]["scale"][...]
    assert float(of_conv) == pytest.approx(float(of_dense), rel=1e-4)
    assert float(of_conv) > 0
