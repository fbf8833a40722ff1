"""The .tflite file in LiteRT equals the normative arithmetic in every layer."""

import functools
import itertools
import sys

import integers
import numpy as np
import pytest
from ai_edge_litert import interpreter as litert

from configs.errors import InputError
from configs.network import Conv, Dense, Flatten, GlobalPool, Network, Pool
from quant import normative
from quant.exports import tflite, tflite_layers, tflite_windows
from quant.float32_rounding import agrees_with_float32
from quant.network import PIXELS, Format, IntNetwork, Weighted

BUILTIN = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


def compare(network: IntNetwork, images: np.ndarray) -> int:
    """Asserts equality of every layer; returns how many values were compared."""
    content = tflite.encode(network)
    found, count = tflite.layer_outputs(content, network, images), 0
    for step in normative.steps(network, images):
        name = step.layer.name
        assert found[name].dtype == step.output.dtype, name
        np.testing.assert_array_equal(found[name], step.output, err_msg=name)
        count += step.output.size
    logits = tflite.open_session(content)(images)
    assert logits.dtype == network.output.dtype
    np.testing.assert_array_equal(logits, step.output)
    assert list(found) == [layer.name for layer in network.walk()]
    return count


@pytest.mark.parametrize("bits", [(8, 8), (4, 4), (2, 3), (5, 2)], ids=str)
@pytest.mark.parametrize("name", integers.SPECS)
def test_every_layer_of_every_kind_agrees(name, bits):
    """All paddings, poolings, activations and widths; outputs differ among images."""
    weights, activations = bits
    network = integers.filled(
        integers.spec(name), weight_bits=weights, activation_bits=activations, seed=3
    )
    assert all(tflite.unsupported(layer) is None for layer in network.walk())
    images = integers.images(network.network, 23)
    assert compare(network, images) > 23 * 100
    first = next(normative.steps(network, images)).output
    assert len(np.unique(first, axis=0)) == 23
    if bits == (8, 8):
        assert len(np.unique(normative.run(network, images), axis=0)) > 5


GEOMETRIES = [
    (kernel, stride, padding)
    for kernel, stride in [((1, 1), (2, 3)), ((4, 2), (1, 2)), ((2, 5), (3, 1))]
    for padding in ("valid", "zero", "mean", "edge")
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_every_padding_with_every_kernel_and_stride(geometry):
    """Odd kernels and strides beyond the kernel, on unsigned and on signed values."""
    kernel, stride, padding = geometry
    conv = functools.partial(Conv, kernel=kernel, padding=padding)
    layers = (
        conv(features=3, activation="tanh"),
        conv(features=1, stride=stride, activation="identity"),
        Flatten(),
    )
    network = Network(input_shape=(11, 9, 2), layers=layers)
    assert compare(integers.filled(network), integers.images(network, 5))


@pytest.mark.parametrize("kind", ["max", "mean"])
@pytest.mark.parametrize("window", [(1, 1), (2, 3), (7, 2), (11, 9)], ids=str)
def test_every_pooling(kind, window):
    """Windows of one pixel, of the whole image, and strides beyond the window."""
    for signed, stride in itertools.product((False, True), [(1, 1), (2, 4)]):
        activation = "identity" if signed else "relu"
        layers = (
            Conv(features=2, kernel=(1, 1), activation=activation),
            Pool(kind=kind, window=window, stride=stride),
        )
        network = Network(input_shape=(11, 9, 3), layers=layers)
        compare(integers.filled(network), integers.images(network, 8))


def ties(dense: bool) -> IntNetwork:
    """Every output is half a sum of few products: every other one is a tie."""
    spec = Dense(features=6) if dense else Conv(features=6, kernel=(3, 2), padding="zero")
    network = Network(input_shape=(30,) if dense else (6, 5, 1), layers=(spec,))
    draw = np.random.default_rng(5)
    shape = (30, 6) if dense else (3, 2, 1, 6)
    out = Format(signed=False, exponent=-4)
    weighted = Weighted(
        weights=draw.integers(-1, 2, shape).astype(np.int8),
        bias=draw.integers(0, 200, 6).astype(np.int32),
        multiplier=np.full(6, 32768, np.int32),
        sum=out,
        output=out,
    )
    name = next(network.walk()).name
    return IntNetwork(network=network, weighted={name: weighted})


@pytest.mark.parametrize("dense", [False, True], ids=["conv", "dense"])
def test_halves_go_to_the_even_number(dense):
    """XNNPACK rounds as we do; LiteRT's other kernels differ on the same file, so this
    would see it if they ran."""
    network = ties(dense)
    images = integers.images(network.network, 60) // 4
    compare(network, images)
    content = tflite.encode(network)
    other = litert.Interpreter(model_content=content, experimental_op_resolver_type=BUILTIN)
    other.resize_tensor_input(0, images.shape)
    other.allocate_tensors()
    other.set_tensor(0, images)
    other.invoke()
    found = other.get_tensor(other.get_output_details()[0]["index"])
    assert (found != normative.run(network, images)).sum() > 20


def test_every_rounding_operator_runs_in_xnnpack():
    """Seen in LiteRT's own list of operators, before and after a change of batch."""
    network = integers.filled(integers.spec("signed"))
    loaded = tflite.interpreter(tflite.encode(network))
    for batch in (1, 5):
        loaded.resize_tensor_input(0, (batch, *network.network.input_shape))
        loaded.allocate_tensors()
        codes = [operator["op_name"] for operator in loaded._get_ops_details()]
        assert sum(code in tflite_layers.ROUNDING for code in codes) == 6
        assert tflite.not_delegated(loaded) == []


def test_a_runtime_without_xnnpack_is_refused(monkeypatch):
    """The other kernels would give other bits in silence."""
    content = tflite.encode(integers.filled(integers.spec("cnn")))
    other = functools.partial(litert.Interpreter, experimental_op_resolver_type=BUILTIN)
    monkeypatch.setattr(litert, "Interpreter", other)
    with pytest.raises(InputError, match=r"`conv1\.weights` in XNNPACK.*--formats"):
        tflite.open_session(content)


@pytest.mark.parametrize("count", [14, 15, 16])
def test_means_of_every_possible_sum(count):
    """14 pixels need weights other than 1: with 1, float32 misses ties."""
    network = Network(input_shape=(count, 1, 1), layers=(GlobalPool(),))
    network = IntNetwork(network=network, weighted={})
    sums = np.arange(count * 255 + 1)[:, None]
    images = np.clip(sums - 255 * np.arange(count), 0, 255).astype(np.uint8)
    assert (images.sum(1, dtype=np.int64) == sums[:, 0]).all()
    assert compare(network, images.reshape(-1, count, 1, 1)) == len(sums)


def test_means_with_the_wrong_weights_are_seen(monkeypatch):
    """The fault that the factor is for."""
    monkeypatch.setattr(tflite_windows, "mean_factor", lambda *_: 1)
    with pytest.raises(AssertionError, match="globalpool1"):
        test_means_of_every_possible_sum(14)


def extreme(shift: int, exponent: int) -> IntNetwork:
    """Smallest and largest multipliers, scales and biases that a network may have."""
    layers = (Conv(features=6, kernel=(2, 2), activation="identity"), Flatten())
    network = Network(input_shape=(9, 7, 2), layers=layers)
    draw = np.random.default_rng(shift)
    out = Format(signed=True, exponent=exponent)
    certified = [
        m
        for m in (1, 2, 3, *draw.integers(4, 65535, 400).tolist(), 32768, 65535)
        if agrees_with_float32(m, shift, out.low, out.high)
    ]
    multiplier = np.asarray(certified[:3] + certified[-3:], np.int32)
    middle = np.minimum((100 << shift) // multiplier, 2**31 - 300_000)
    weighted = Weighted(
        weights=draw.integers(-127, 128, (2, 2, 2, 6)).astype(np.int8),
        bias=(middle * np.asarray([1, -1, 1, 0, 0, 0])).astype(np.int32),
        multiplier=multiplier,
        shift=shift,
        sum=out,
        output=out,
    )
    return IntNetwork(network=network, weighted={"conv1": weighted})


@pytest.mark.parametrize("exponent", [-32, 32])
@pytest.mark.parametrize("shift", [16, 17, 19, 21])
def test_extreme_multipliers_shifts_and_scales(shift, exponent):
    network = extreme(shift, exponent)
    images = integers.images(network.network, 40)
    compare(network, images)
    values = normative.run(network, images)
    assert len(np.unique(values)) > 30


def test_any_number_of_images():
    """None, fewer and more than a chunk, a last part, not contiguous, two threads."""
    network = integers.filled(integers.spec("cnn"))
    images = integers.images(network.network, 2 * 411)[::2]
    expected = normative.run(network, images)
    session = tflite.open_session(tflite.encode(network), threads=2)
    for count in (411, 0, 1, 200, 3):
        found = session(images[:count])
        assert found.shape == (count, 3)
        np.testing.assert_array_equal(found, expected[:count])


def test_layer_outputs_come_from_the_file():
    """One bias changed in the file shows in the layer that holds it, not before."""
    network = integers.filled(integers.spec("cnn"))
    changed = integers.filled(integers.spec("cnn"))
    changed.weighted["conv2"].bias[:] += 100_000
    images = integers.images(network.network, 4)
    found = tflite.layer_outputs(tflite.encode(changed), network, images)
    differ = [
        step.layer.name
        for step in normative.steps(network, images)
        if (found[step.layer.name] != step.output).any()
    ]
    assert differ[0] == "conv2"


def test_the_file_names_our_layers_and_holds_real_scales():
    """Someone who opens the file recognises the network."""
    network = integers.filled(integers.spec("edge"))
    content = tflite.encode(network)
    assert content == tflite.encode(network)
    details = {d["name"]: d for d in tflite.interpreter(content).get_tensor_details()}
    for layer in network.walk():
        if layer.weighted:
            scale = layer.weight_scale()
            held = details[f"{layer.name}.weights"]["quantization_parameters"]["scales"]
            np.testing.assert_array_equal(held, scale)
            held = details[f"{layer.name}.bias"]["quantization_parameters"]["scales"]
            np.testing.assert_array_equal(held, scale * layer.input.scale)
    assert details["image"]["quantization"] == (PIXELS.scale, 0)
    assert details["image"]["shape_signature"].tolist() == [-1, 9, 8, 2]
    assert details["logits"]["quantization"] == (network.output.scale, 0)
    assert {"conv1", "conv1.table", "pool1", "conv2", "globalpool1"} <= set(details)


def test_what_cannot_be_exact_is_refused_by_name():
    """A mean whose sum may leave 32 bits."""
    network = Network(
        input_shape=(3000, 3000, 1), layers=(Pool(window=(2, 1)), GlobalPool())
    )
    network = IntNetwork(network=network, weighted={})
    first, second = network.walk()
    assert tflite.unsupported(first) is None
    assert tflite.unsupported(second).startswith("global mean pooling of 2250000")


def test_without_the_package_everything_says_what_to_install(monkeypatch):
    network = integers.filled(integers.spec("cnn"))
    content = tflite.encode(network)
    for module in [m for m in sys.modules if m.startswith("ai_edge_litert")]:
        monkeypatch.setitem(sys.modules, module, None)
    for use in (tflite.encode, tflite.open_session):
        with pytest.raises(InputError, match=r"needs ai-edge-litert.*--formats"):
            use(network if use is tflite.encode else content)
