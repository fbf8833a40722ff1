"""The model computes what its spec says, and lets in what is injected."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import registry
from configs.network import Conv, Dense, Flatten, GlobalPool, Network, Pool
from train import conv_impl, model
from train.model import Model, Operators, build, float_operators

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ACTIVATIONS = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "softplus": lambda x: np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": lambda x: np.tanh(x),
}
# One of each kind, with padding before a convolution twice.
NETWORK = Network(
    input_shape=(6, 9, 2),
    layers=(
        Conv(features=3, stride=(1, 2), padding="edge", activation="relu"),
        Pool(kind="max", window=(2, 2), stride=(2, 1)),
        Conv(features=2, kernel=(2, 2), activation="tanh"),
        Conv(features=4, kernel=(2, 3), padding="mean", activation="sigmoid"),
        GlobalPool(kind="max"),
        Dense(features=5, activation="softplus"),
        Dense(features=3, activation="identity"),
    ),
)
NAMES = ["conv1", "pool1", "conv2", "conv3", "globalpool1", "dense1", "dense2"]
# What the quantiser meets: also padded inputs, and what goes into an activation.
SEEN = [
    "input", "conv1.padding", "conv1.sum", "conv1", "pool1", "conv2.sum", "conv2",
    "conv3.padding", "conv3.sum", "conv3", "globalpool1.pooled", "globalpool1",
    "dense1.sum", "dense1", "dense2.sum", "dense2",
]  # fmt: skip


def images(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def with_biases(net: Model) -> Model:
    """The same model, its biases no longer 0."""
    for layer in net.layers.values():
        layer.bias[...] = jnp.linspace(-0.5, 0.5, layer.bias.size, dtype=jnp.float32)
    return net


def pad_brute_force(x: np.ndarray, spec: Conv) -> np.ndarray:
    """Every pixel of the padded images by itself."""
    _, height, width, _ = x.shape
    before, size = [], []
    for n, k, s in zip((height, width), spec.kernel, spec.stride, strict=True):
        total = max((math.ceil(n / s) - 1) * s + k - n, 0)
        before.append(total // 2)
        size.append(n + total)
    out = np.zeros((len(x), *size, x.shape[3]))
    for i in range(size[0]):
        for j in range(size[1]):
            row, column = i - before[0], j - before[1]
            inside = 0 <= row < height and 0 <= column < width
            if inside or spec.padding == "edge":
                row, column = np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)
                out[:, i, j] = x[:, row, column]
            elif spec.padding == "mean":
                out[:, i, j] = x.reshape(len(x), -1, x.shape[3]).mean(1)
    return out


def windows(x: np.ndarray, size, stride, value: Callable) -> np.ndarray:
    """`value` of every window (B, R, S, C) of images that fits."""
    rows = range(0, x.shape[1] - size[0] + 1, stride[0])
    columns = range(0, x.shape[2] - size[1] + 1, stride[1])
    line = lambda i: [value(x[:, i : i + size[0], j : j + size[1]]) for j in columns]
    return np.stack([np.stack(line(i), 1) for i in rows], 1)


def forward_brute_force(net: Model, pixels: np.ndarray, quantize) -> dict:
    """All outputs in float64, one window after the other."""
    x, outputs = quantize("input", pixels.astype(np.float64) / 256), {}
    for info in net.network.walk():
        spec, name = info.spec, info.name
        if isinstance(spec, Conv | Dense):
            layer = net.layers[name]
            kernel, bias = (
                np.asarray(p[...], np.float64) for p in (layer.kernel, layer.bias)
            )
        match spec:
            case Conv():
                if spec.padding != "valid":
                    x = quantize(f"{name}.padding", pad_brute_force(x, spec))
                dot = lambda patch, w=kernel: np.tensordot(patch, w, 3)
                x = windows(x, spec.kernel, spec.stride, dot) + bias
            case Dense():
                x = x @ kernel + bias
            case Pool():
                value = np.max if spec.kind == "max" else np.mean
                x = windows(x, spec.window, spec.stride, lambda w, v=value: v(w, (1, 2)))
            case GlobalPool():
                x = (np.max if spec.kind == "max" else np.mean)(x, (1, 2))
                x = quantize(f"{name}.pooled", x)
            case Flatten():
                x = x.reshape(len(x), -1)
        if isinstance(spec, Conv | Dense):
            x = ACTIVATIONS[spec.activation](quantize(f"{name}.sum", x))
        x = outputs[name] = quantize(name, x)
    return outputs


@pytest.mark.parametrize("name", registry.known_names())
def test_every_known_network_has_the_shapes_and_parameters_of_its_spec(name) -> None:
    network = registry.load_network(name)
    net = nnx.eval_shape(lambda: build(network, key=KEY))
    pixels = jax.ShapeDtypeStruct((2, *network.input_shape), jnp.uint8)
    order = []

    def run(net, pixels):
        outputs = net.outputs(pixels)
        order.extend(outputs)
        return outputs

    outputs = nnx.eval_shape(run, net, pixels)
    infos = {info.name: info for info in (*network.walk(), *network.leaves())}
    assert {*order} == {*infos}
    assert order[-1] == network.program.output.name
    for name, info in infos.items():
        assert outputs[name].shape == (2, *info.output_shape)
        assert outputs[name].dtype == jnp.float32
    leaves = jax.tree.leaves(nnx.state(net, nnx.Param))
    assert sum(leaf.size for leaf in leaves) == network.parameters
    averages = jax.tree.leaves(nnx.state(net, nnx.BatchStat))
    assert len(jax.tree.leaves(nnx.state(net))) == len(leaves) + len(averages)
    for name, node in network.program.weighted.items():
        kernel = nnx.eval_shape(lambda net, name=name: net.kernel(name), net)
        assert kernel.shape == node.weight_shape


@pytest.mark.parametrize("convolution", ["im2col", "lax"])
def test_outputs_equal_a_brute_force_network(convolution: str) -> None:
    """All layers, compiled, within 1e-5."""
    net = with_biases(build(NETWORK, operators=float_operators(convolution), key=KEY))
    pixels = images(3, 6, 9, 2)
    expected = forward_brute_force(net, pixels, lambda _, y: y)
    graph, state = nnx.split(net)
    compiled = jax.jit(lambda state, x: nnx.merge(graph, state).outputs(x))
    outputs = compiled(state, pixels)
    assert {*outputs} == {*NAMES}
    for name, wanted in expected.items():
        # One more operation: a layout that leaves `jit` must not be misread.
        np.testing.assert_allclose(outputs[name] + 1, wanted + 1, rtol=0, atol=1e-5)


def test_bytes_and_floats_give_the_same_logits() -> None:
    net = build(NETWORK, key=KEY)
    pixels = images(2, 6, 9, 2)
    np.testing.assert_array_equal(net(pixels), net(pixels.astype(np.float32)))
    np.testing.assert_array_equal(net(pixels), net.outputs(pixels)["dense2"])


def test_the_first_act_is_p_over_256() -> None:
    """All 256 levels, exactly."""
    seen = {}
    operators = Operators(
        conv=float_operators().conv,
        dot=float_operators().dot,
        activation_quantizer=lambda layer, y: seen.setdefault(layer, y),
    )
    network = Network(input_shape=(256,), layers=(Dense(features=1),))
    pixels = np.arange(256, dtype=np.uint8)[None]
    build(network, operators=operators, key=KEY)(pixels)
    np.testing.assert_array_equal(seen["input"], np.arange(256)[None] / 256)
    assert seen["input"].dtype == jnp.float32


@pytest.mark.parametrize("padding", ["zero", "mean", "edge"])
@pytest.mark.parametrize(
    ("kernel", "stride"),
    [((3, 3), (1, 1)), ((2, 5), (1, 2)), ((4, 1), (3, 3)), ((5, 4), (2, 1))],
)
def test_padding_equals_a_brute_force_loop(padding, kernel, stride) -> None:
    """Odd totals put the extra row and column after the image."""
    spec = Conv(features=1, kernel=kernel, stride=stride, padding=padding)
    x = images(2, 5, 4, 3).astype(np.float32)
    pads = spec.pads((5, 4, 3))
    padded = jax.jit(lambda x: model.pad(x, padding, pads))(x)
    assert padded.shape[1:3] == tuple(n + sum(p) for n, p in zip((5, 4), pads, strict=True))
    np.testing.assert_allclose(padded, pad_brute_force(x, spec), rtol=1e-6)


@pytest.mark.parametrize("kind", ["max", "mean"])
@pytest.mark.parametrize(
    ("window", "stride"),
    [((2, 2), (2, 2)), ((3, 2), (1, 1)), ((2, 3), (3, 2)), ((7, 6), (1, 1))],
)
def test_pooling_equals_a_brute_force_loop(kind, window, stride) -> None:
    """Windows that overlap, leave gaps or leave a rest; sums of bytes are exact."""
    node = Pool(kind=kind, window=window, stride=stride).program((7, 6, 3)).output
    x = images(2, 7, 6, 3).astype(np.float32) - 128
    value = np.max if kind == "max" else np.mean
    expected = windows(x, window, stride, lambda w: value(w, (1, 2)))
    for compute in (model.pool, jax.jit(model.pool, static_argnums=1)):
        np.testing.assert_allclose(compute(x, node) * 1, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["max", "mean"])
def test_global_pooling_is_over_the_whole_channel(kind: str) -> None:
    x = images(2, 3, 5, 4).astype(np.float32) - 128
    flat = x.reshape(2, 15, 4)
    expected = flat.max(1) if kind == "max" else flat.mean(1)
    node = GlobalPool(kind=kind).program((3, 5, 4)).nodes[1]
    np.testing.assert_allclose(model.pool(x, node)[:, 0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", ["conv", "dense"])
def test_activations_follow_their_formulas(activation: str, kind: str) -> None:
    """Of pre-activations from -8 to 8, in both layers that have one."""
    if kind == "conv":
        spec = Conv(features=1, kernel=(1, 1), activation=activation)
        network = Network(input_shape=(1, 129, 1), layers=(spec, Flatten()))
    else:
        spec = Dense(features=129, activation=activation)
        network = Network(input_shape=(1,), layers=(spec,))
    net = build(network, key=KEY)
    layer, z = net.layers[f"{kind}1"], np.linspace(-8, 8, 129, dtype=np.float32)
    if kind == "conv":
        layer.kernel[...], layer.bias[...] = jnp.full((1, 1, 1, 1), 32.0), jnp.array([-8.0])
        pixels = np.arange(129, dtype=np.uint8).reshape(1, 1, 129, 1)
    else:
        layer.kernel[...], layer.bias[...] = jnp.zeros((1, 129)), jnp.asarray(z)
        pixels = np.zeros((1, 1), np.uint8)
    y = net.outputs(pixels)[f"{kind}1"].reshape(-1)
    expected = ACTIVATIONS[activation](z.astype(np.float64))
    np.testing.assert_allclose(y, expected, rtol=2e-5, atol=1e-7)


def test_the_quantizer_sees_every_output_in_order_and_its_result_goes_on() -> None:
    """It adds a number of its own to each tensor; so does the brute force network."""
    shift = {name: 0.125 * (i + 1) for i, name in enumerate(SEEN)}
    seen: list[tuple[str, np.ndarray]] = []

    def quantize(layer, y):
        seen.append((layer, np.asarray(y)))
        return y + shift[layer]

    plain = float_operators()
    operators = Operators(conv=plain.conv, dot=plain.dot, activation_quantizer=quantize)
    net = with_biases(build(NETWORK, operators=operators, key=KEY))
    pixels = images(2, 6, 9, 2)
    outputs = net.outputs(pixels)
    assert [*outputs] == NAMES
    ours, seen = seen.copy(), seen.clear() or seen
    expected = forward_brute_force(net, pixels, quantize)
    assert [name for name, _ in ours] == [name for name, _ in seen] == SEEN
    for (_, got), (_, wanted) in zip(ours, seen, strict=True):
        np.testing.assert_allclose(got.reshape(wanted.shape), wanted, rtol=0, atol=1e-5)
    for name, wanted in expected.items():
        np.testing.assert_allclose(outputs[name], wanted, rtol=0, atol=1e-5)


def test_no_padding_is_reported_for_convolutions_without() -> None:
    """An identity quantizer is the default; "valid" is no padding."""
    names = []
    plain = float_operators()
    quantize = lambda layer, y: names.append(layer) or y
    operators = Operators(conv=plain.conv, dot=plain.dot, activation_quantizer=quantize)
    layers = (Conv(features=2), Flatten())
    network = Network(input_shape=(4, 4, 1), layers=layers)
    pixels = images(1, 4, 4, 1)
    y = build(network, operators=operators, key=KEY)(pixels)
    assert names == ["input", "conv1.sum", "conv1", "flatten1"]
    np.testing.assert_array_equal(y, build(network, key=KEY)(pixels))


class Scaled(nnx.Module):
    """A convolution whose kernel is multiplied by a number that trains."""

    def __init__(self) -> None:
        self.scale = nnx.Param(jnp.float32(1.5))

    def __call__(self, lhs, rhs, *args, **keywords):
        return conv_impl.conv_im2col(lhs, rhs * self.scale[...], *args, **keywords)


class Shift(nnx.Module):
    """Adds a number that trains to the output of one layer."""

    def __init__(self) -> None:
        self.shift = nnx.Param(jnp.float32(0.25))

    def __call__(self, layer, y):
        return y + self.shift[...] if layer == "conv1" else y


def test_parameters_of_injected_modules_get_gradients() -> None:
    """d/ds sum(s x * w + b + t) = sum(x * w), d/dt = the number of outputs."""
    made: list[str] = []
    operators = Operators(
        conv=lambda layer: made.append(layer) or Scaled(),
        dot=float_operators().dot,
        activation_quantizer=Shift(),
    )
    spec = Conv(features=3, activation="identity")
    network = Network(input_shape=(5, 4, 2), layers=(spec, Flatten()))
    net = build(network, operators=operators, key=KEY)
    assert made == ["conv1"]
    pixels = images(2, 5, 4, 2)
    grads = nnx.grad(lambda net: jnp.sum(net(pixels)))(net)
    plain = build(network, key=KEY)
    plain.layers["conv1"].kernel[...] = net.kernel("conv1")
    conv = grads["layers"]["conv1"]
    of_scale = conv["conv_general_dilated"]["scale"][...]
    np.testing.assert_allclose(of_scale, jnp.sum(plain(pixels)), rtol=1e-4)
    assert grads["activation_quantizer"]["shift"][...] == 2 * 3 * 2 * 3
    assert np.all(np.asarray(conv["kernel"][...]) != 0)
    np.testing.assert_allclose(conv["bias"][...], 2 * 3 * 2)


def test_operators_are_asked_for_each_layer_by_name() -> None:
    asked: list[tuple[str, str]] = []
    plain = float_operators()
    operators = Operators(
        conv=lambda layer: asked.append(("conv", layer)) or plain.conv(layer),
        dot=lambda layer: asked.append(("dot", layer)) or plain.dot(layer),
    )
    build(NETWORK, operators=operators, key=KEY)
    convolutions = [("conv", f"conv{n}") for n in (1, 2, 3)]
    assert asked == [*convolutions, ("dot", "dense1"), ("dot", "dense2")]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_float_operators_multiply_in_their_precision(precision: str) -> None:
    """An input of 255 * 2^-8 times a kernel of 1 + 2^-9, which bfloat16 takes for 1."""
    for spec, shape in (
        (Conv(features=1, kernel=(1, 1), activation="identity"), (1, 1, 1)),
        (Dense(features=1, activation="identity"), (1,)),
    ):
        network = Network(input_shape=shape, layers=(spec,))
        net = build(network, operators=float_operators("auto", precision), key=KEY)
        layer = next(iter(net.layers.values()))
        layer.kernel[...] = jnp.full(layer.kernel.shape, 1 + 2.0**-9)
        layer.bias[...] = jnp.zeros_like(layer.bias[...])
        kernel = 1 + 2.0**-9 if precision == "float32" else 1.0
        y = net(np.full((1, *shape), 255, np.uint8))
        assert float(y.reshape(())) == 255 / 256 * kernel


def test_initial_weights_depend_on_the_key_and_have_the_stated_spread() -> None:
    """He: variance 2 / inputs before ReLU; Glorot: 2 / (inputs + outputs) elsewhere."""
    network = Network(
        input_shape=(200,),
        layers=(Dense(features=300), Dense(features=100, activation="tanh")),
    )
    net, same = build(network, key=KEY), build(network, key=KEY)
    other = build(network, key=jax.random.key(1))
    variances = {"dense1": 2 / 200, "dense2": 2 / 400}
    for name, variance in variances.items():
        kernel = np.asarray(net.kernel(name))
        np.testing.assert_array_equal(kernel, same.kernel(name))
        assert np.all(kernel != other.kernel(name))
        np.testing.assert_allclose(kernel.var(), variance, rtol=0.05)
    assert not np.any(net.layers["dense2"].bias[...])


def test_only_the_first_layer_on_a_vector_starts_with_spread_biases() -> None:
    """With all biases 0 the ReLUs of one variable bend at one place."""
    layers = (Dense(features=32), Dense(features=32), Dense(features=2))
    vector = build(Network(input_shape=(1,), layers=layers), key=jax.random.key(0))
    biases = [np.asarray(vector.layers[f"dense{n}"].bias[...]) for n in (1, 2, 3)]
    assert np.unique(biases[0]).size == 32
    assert -1 <= biases[0].min() < -0.5
    assert 0.5 < biases[0].max() < 1
    assert not biases[1].any()
    assert not biases[2].any()
    image = Network(input_shape=(2, 2, 1), layers=(Flatten(), *layers))
    assert not np.any(build(image, key=jax.random.key(0)).layers["dense1"].bias[...])
