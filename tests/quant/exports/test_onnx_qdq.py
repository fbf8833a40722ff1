"""The ONNX file computes the integers of `normative`, and no other file passes for it."""

import dataclasses
from fractions import Fraction

import numpy as np
import onnx
import onnxruntime
import pytest
from integers import SPECS, filled, images, spec
from onnx import TensorProto, numpy_helper

from configs.errors import InputError
from configs.network import Conv, Dense, Flatten, GlobalPool, Network, Pool
from configs.program import Add, Mul
from quant import normative
from quant.exports import onnx_qdq
from quant.float32_rounding import agrees_with_float32
from quant.network import Format, IntNetwork, Weighted

# (weight_bits, activation_bits)
WIDTHS = [(8, 8), (4, 5), (2, 2)]
# Networks whose ends or shapes are special.
ODD = {
    "vector": ((11,), (Dense(features=6), Dense(features=1))),
    "image out": ((5, 6, 2), (Conv(features=3, activation="identity"),)),
    "flat out": ((4, 5, 3), (Conv(features=2, kernel=(2, 2)), Flatten(), Flatten())),
    "pixels only": ((5, 4, 3), (Pool(kind="mean"), Flatten())),
    "one pixel": ((1, 1, 1), (Conv(features=1, padding="mean"), GlobalPool())),
    "gaps": (
        (9, 9, 2),
        (
            Pool(window=(1, 2), stride=(2, 3)),
            Conv(features=17, kernel=(1, 1), stride=(3, 2), padding="edge"),
            GlobalPool(kind="max"),
            Dense(features=18, activation="tanh"),
            Dense(features=4, activation="sigmoid"),
        ),
    ),
}


def odd(name: str) -> Network:
    shape, layers = ODD[name]
    return Network(input_shape=shape, layers=layers)


def small() -> IntNetwork:
    return filled(spec("signed", (6, 7, 2)))


def assert_equals_normative(network: IntNetwork, count: int = 20) -> None:
    """The file's layers and outputs against `normative`, values, types and shapes."""
    content = onnx_qdq.encode(network)
    pixels = images(network.network, count)
    pixels[0], pixels[1] = 0, 255
    found = onnx_qdq.layer_outputs(content, network, pixels)
    for step in normative.steps(network, pixels):
        has = found.pop(step.layer.name)
        assert has.dtype == step.output.dtype
        np.testing.assert_array_equal(
            has, step.output, err_msg=step.layer.name, strict=True
        )
        # A constant layer would agree with much; a state of zeros makes one.
        moving = any(len(np.unique(x)) > 1 for x in step.inputs)
        assert len(np.unique(step.output)) > 1 or not moving, step.layer.name
    assert not found
    outputs = onnx_qdq.open_session(content)(pixels)
    np.testing.assert_array_equal(outputs, step.output, strict=True)


@pytest.mark.parametrize(("weight_bits", "activation_bits"), WIDTHS)
@pytest.mark.parametrize("name", SPECS)
def test_every_layer_computes_the_integers_of_the_network(
    name, weight_bits, activation_bits
):
    network = filled(
        spec(name), weight_bits=weight_bits, activation_bits=activation_bits, seed=4
    )
    assert_equals_normative(network)


@pytest.mark.parametrize("name", ODD)
def test_special_ends_and_shapes_compute_the_same(name):
    network = odd(name)
    weighted = any(info.weights for info in network.walk())
    assert_equals_normative(
        filled(network) if weighted else IntNetwork(network=network, weighted={})
    )


def reshifted(network: IntNetwork, shift: int) -> IntNetwork:
    """The same network at another shift, with the nearest multipliers it may have."""

    def nearest(m: int, low: int, high: int) -> int:
        while not agrees_with_float32(m, shift, low, high):
            m -= 1
        return m

    weighted = {}
    for name, w in network.weighted.items():
        wide = np.clip(w.multiplier.astype(np.int64) << (shift - 16), 1, 65535)
        multiplier = np.array(
            [nearest(int(m), w.sum.low, w.sum.high) for m in wide], np.int32
        )
        weighted[name] = dataclasses.replace(w, shift=shift, multiplier=multiplier)
    return IntNetwork(network=network.network, weighted=weighted)


@pytest.mark.parametrize("shift", range(17, 22))
def test_every_shift_computes_the_same(shift):
    assert_equals_normative(reshifted(filled(spec("cnn")), shift))


def test_sums_at_the_ends_of_32_bits_do_not_wrap():
    """Biases as far out as the accumulator bound allows, in both directions."""
    network, weighted = small(), {}
    for layer in network.walk():
        if layer.weighted:
            w = layer.weighted
            sums = np.abs(w.matrix.astype(np.int64)).sum(0) * layer.input.largest
            bias = w.bias.copy()
            bias[0], bias[1] = 2**31 - 1 - sums[0], sums[1] - 2**31 + 1
            weighted[layer.name] = dataclasses.replace(w, bias=bias)
    assert_equals_normative(IntNetwork(network=network.network, weighted=weighted))


@pytest.mark.parametrize(
    ("multiplier", "signed"), [(32768, False), (32768, True), (16384, True), (21845, False)]
)
def test_requantisation_rounds_every_sum_as_integers_do(multiplier, signed):
    """Every sum that does not saturate, and some beyond: halves go to the even number."""
    reach = 300 * 65536 // multiplier
    features = np.arange(-reach, reach + 1)
    output = Format(signed=signed, exponent=0)
    weighted = Weighted(
        weights=np.ones((1, len(features)), np.int8),
        bias=features.astype(np.int32),
        multiplier=np.full(len(features), multiplier, np.int32),
        sum=output,
        output=output,
    )
    layer = Dense(features=len(features), activation="identity" if signed else "relu")
    network = Network(input_shape=(1,), layers=(layer,))
    assert_equals_normative(IntNetwork(network=network, weighted={"dense1": weighted}), 3)


@pytest.mark.parametrize("pixels", [2, 3, 4, 6, 9, 12])
@pytest.mark.parametrize("kind", ["pool", "global", "padding"])
def test_means_are_exact_for_every_sum(pixels, kind):
    """All 255 * k + 1 sums of k pixels through each of the three means."""
    sums = np.arange(255 * pixels + 1)[:, None]
    columns = np.clip(sums - 255 * np.arange(pixels), 0, 255)
    stack = columns.astype(np.uint8).reshape(-1, 1, pixels, 1)
    assert np.array_equal(stack.sum((1, 2, 3), dtype=np.int64), sums[:, 0])
    identity = Conv(features=1, kernel=(3, 1), padding="mean", activation="relu")
    layers = {
        "pool": (Pool(kind="mean", window=(1, pixels)), Flatten()),
        "global": (GlobalPool(),),
        "padding": (identity, GlobalPool(kind="max")),
    }[kind]
    network = IntNetwork(
        network=Network(input_shape=(1, pixels, 1), layers=layers),
        weighted={"conv1": _upper_neighbour()} if kind == "padding" else {},
    )
    found = onnx_qdq.open_session(onnx_qdq.encode(network))(stack)
    wanted = np.array([round_half_even(int(s), pixels) for s in sums[:, 0]])
    np.testing.assert_array_equal(found[:, 0], wanted)


def _upper_neighbour() -> Weighted:
    """A 3 x 1 convolution that passes on the pixel above: here the padding."""
    output = Format(signed=False, exponent=-8)
    return Weighted(
        weights=np.array([2, 0, 0], np.int8).reshape(3, 1, 1, 1),
        bias=np.zeros(1, np.int32),
        multiplier=np.array([32768], np.int32),
        sum=output,
        output=output,
    )


def round_half_even(total: int, count: int) -> int:
    """Python's own rounding of an exact fraction."""
    return round(Fraction(total, count))


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize(("weight_bits", "activation_bits"), WIDTHS)
def test_no_layer_is_left_in_float(name, weight_bits, activation_bits, tmp_path):
    """After the optimisations of a session every product is one of integers."""
    network = filled(spec(name), weight_bits=weight_bits, activation_bits=activation_bits)
    options = onnx_qdq.options(threads=1)
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(
        onnx_qdq.encode(network), options, providers=["CPUExecutionProvider"]
    )
    graph = onnx.load(tmp_path / "optimised.onnx").graph
    operators = [node.op_type for node in graph.node]
    products = network.program.products
    convolutions = sum(node.kernel is not None for node in products)
    assert operators.count("QLinearConv") == convolutions
    assert operators.count("QGemm") == len(products) - convolutions
    left = {"Conv", "Gemm", "MatMul", "FusedConv"}
    steps = [layer for layer in network.walk() if layer.step.find((Add, Mul))]
    bytes_ = [layer for layer in steps if max(kind.bits for kind in layer.inputs) <= 8]
    joined = sum(operators.count(name) for name in ("QLinearAdd", "QLinearMul"))
    assert joined == len(bytes_)
    if bytes_ == steps:
        left |= {"DequantizeLinear", "QuantizeLinear"}
    assert not left & set(operators)


def test_the_file_is_valid_and_says_what_the_network_is():
    network = small()
    model = onnx.ModelProto.FromString(onnx_qdq.encode(network))
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, model.opset_import[0].version) == (10, 21)
    (image,), (logits,) = model.graph.input, model.graph.output
    for value, name, kind, shape in (
        (image, "image", TensorProto.UINT8, (6, 7, 2)),
        (logits, "logits", TensorProto.INT8, (3,)),
    ):
        dims = value.type.tensor_type.shape.dim
        assert (value.name, value.type.tensor_type.elem_type) == (name, kind)
        assert dims[0].dim_param == "batch"
        assert tuple(d.dim_value for d in dims[1:]) == shape


def test_dequantised_constants_are_the_real_numbers():
    """Scales in the file are exact: weights, biases and activations mean what they do."""
    network = small()
    model = onnx.ModelProto.FromString(onnx_qdq.encode(network))
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert constants["conv1.input.scale"] == 2.0**-8
    for layer in network.walk():
        if not layer.weighted:
            continue
        name, scale = layer.name, layer.weight_scale()
        weights = constants[f"{name}.weights"]
        if weights.ndim == 4:
            weights = weights.transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(weights, layer.weighted.weights, strict=True)
        np.testing.assert_array_equal(constants[f"{name}.bias"], layer.weighted.bias)
        np.testing.assert_array_equal(constants[f"{name}.weights.scale"], scale)
        np.testing.assert_array_equal(
            constants[f"{name}.bias.scale"], scale * layer.input.scale
        )
        last = f"{name}.sum" if layer.weighted.table is not None else name
        assert constants[f"{last}.scale"] == layer.weighted.sum.scale


@pytest.mark.parametrize("count", [0, 1, 199, 200, 201, 401])
def test_any_number_of_images_runs(count):
    network = filled(spec("mean", (5, 6, 1)))
    pixels = images(network.network, count)
    run = onnx_qdq.open_session(onnx_qdq.encode(network), threads=2)
    np.testing.assert_array_equal(run(pixels), normative.run(network, pixels), strict=True)


@pytest.mark.parametrize(("shape", "layers"), [
    ((4096, 2048, 1), (GlobalPool(),)),
    ((4096, 2048, 1), (Pool(kind="mean", window=(4096, 2048)), Flatten())),
])  # fmt: skip
def test_a_mean_that_leaves_32_bits_is_refused_by_name(shape, layers):
    def network(width):
        fitted = tuple(
            dataclasses.replace(layer, window=(shape[0], width))
            if isinstance(layer, Pool)
            else layer
            for layer in layers
        )
        spec = Network(input_shape=(shape[0], width, 1), layers=fitted)
        return IntNetwork(network=spec, weighted={})

    with pytest.raises(InputError, match=r"pool1.*model\.onnx.*8388608 pixels.*--formats"):
        onnx_qdq.encode(network(shape[1]))
    assert all(onnx_qdq.unsupported(layer) is None for layer in network(2047).walk())


@pytest.mark.parametrize("name", SPECS)
def test_every_kind_of_layer_is_supported(name):
    assert all(onnx_qdq.unsupported(layer) is None for layer in filled(spec(name)).walk())


def saturating(x_MK: np.ndarray, w_KN: np.ndarray) -> np.ndarray:
    """Products as x86 adds them without VNNI: pairs along K in saturated int16."""
    pairs = x_MK[:, :, None] * w_KN
    pairs = pairs.reshape(len(x_MK), -1, 2, w_KN.shape[1]).sum(2)
    return np.clip(pairs, -(2**15), 2**15 - 1).sum(1)


@pytest.mark.parametrize("guilty", ["Conv", "Dense"])
def test_a_machine_that_saturates_is_refused(guilty, monkeypatch):
    """The self-test sees saturated pairs in either kind of layer, and only then refuses."""
    run, judge = onnx_qdq._run, normative.run
    faulty = False

    def broken(opened, pixels):
        exact = run(opened, pixels)
        kind = "Conv" if pixels.ndim == 4 else "Dense"
        if faulty and kind == guilty:
            layer = {"Conv": Conv(features=32), "Dense": Dense(features=32)}[kind]
            network = onnx_qdq._largest_products(layer, pixels.shape[1:])
            exact["logits"] = judge(network, pixels, matmul=saturating)
        return exact

    monkeypatch.setattr(onnx_qdq, "_run", broken)
    onnx_qdq.self_test.__wrapped__()
    faulty = True
    with pytest.raises(InputError, match=rf"`onnxruntime`.*{guilty}"):
        onnx_qdq.self_test.__wrapped__()


def test_every_session_tests_its_machine_first(monkeypatch):
    def refuse():
        raise InputError("this machine")

    content = onnx_qdq.encode(small())
    monkeypatch.setattr(onnx_qdq, "self_test", refuse)
    with pytest.raises(InputError, match="this machine"):
        onnx_qdq.open_session(content)


def test_the_first_layer_that_differs_can_be_located():
    """Outputs of the layers come from the file, not from the network it is held against."""
    network = small()
    table = network.weighted["conv2"].table.copy()
    table[128] ^= 1
    weighted = dataclasses.replace(network.weighted["conv2"], table=table)
    other = IntNetwork(
        network=network.network, weighted={**network.weighted, "conv2": weighted}
    )
    pixels = images(network.network, 50)
    found = onnx_qdq.layer_outputs(onnx_qdq.encode(other), network, pixels)
    steps = normative.steps(network, pixels)
    differing = [
        s.layer.name for s in steps if not np.array_equal(found[s.layer.name], s.output)
    ]
    assert differing[0] == "conv2"


def test_the_same_network_gives_the_same_bytes():
    assert onnx_qdq.encode(small()) == onnx_qdq.encode(small())
