"""Our own int8 ONNX files come back as the network they were written from, to the bit."""

import dataclasses

import integers
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from onnx import helper, numpy_helper

from accel.workload import lockstep_onnx
from configs.errors import InputError
from configs.network import Conv, Dense, Flatten, GlobalPool, Network, Pool
from quant import normative
from quant.convert import table
from quant.exports import onnx_qdq
from quant.network import IntNetwork

LINEAR = ("cnn", "mean", "edge", "signed", "depthwise")
KINDS = ("Conv", "Dense", "Pool", "GlobalPool", "Flatten")


def with_real_tables(network: IntNetwork) -> IntNetwork:
    """The same network, whose random tables are those of its activations."""
    weighted = dict(network.weighted)
    for layer in network.walk():
        w = layer.weighted
        if w and w.table is not None:
            real = table(layer.step.activate.function, w.sum, w.output)
            weighted[layer.name] = dataclasses.replace(w, table=real)
    return IntNetwork(network=network.network, weighted=weighted)


def filled(name: str, shape=(9, 8, 2), **more) -> IntNetwork:
    return with_real_tables(integers.filled(integers.spec(name, shape), **more))


@pytest.fixture
def read(tmp_path):
    def load(content: bytes | onnx.ModelProto) -> IntNetwork:
        path = tmp_path / "model.onnx"
        if not isinstance(content, bytes):
            content = content.SerializeToString(deterministic=True)
        path.write_bytes(content)
        return lockstep_onnx.load(path)

    return load


def require_equal(found: IntNetwork, network: IntNetwork) -> None:
    """Every layer puts out the same, and every number that the file holds is the same."""
    images = integers.images(network.network, 3)
    images[0] = 255
    pairs = zip(
        normative.steps(found, images), normative.steps(network, images), strict=True
    )
    for has, must in pairs:
        assert has.layer.name == must.layer.name
        assert has.output.dtype == must.output.dtype
        np.testing.assert_array_equal(has.output, must.output, has.layer.name)
        a, b = has.layer.weighted, must.layer.weighted
        assert (a is None) == (b is None)
        if b:
            np.testing.assert_array_equal(a.weights, b.weights)
            np.testing.assert_array_equal(a.bias, b.bias)
            # Multipliers and shifts, as fractions in integers.
            np.testing.assert_array_equal(
                a.multiplier.astype(object) << b.shift,
                b.multiplier.astype(object) << a.shift,
            )
            ends = lambda kind: (kind.low, kind.high, kind.exponent)
            assert ends(a.sum) == ends(b.sum)
            assert (a.output.exponent, a.output.signed) == (
                b.output.exponent,
                b.output.signed,
            )
            assert a.weight_bits <= b.weight_bits
            kinds = [one.layer.step.activate.function for one in (has, must)]
            # Two functions can have one table, if it is coarse.
            alike = [["sigmoid", "softplus"], ["relu", "relu6"]]
            assert kinds[0] == kinds[1] or kinds in alike
    assert onnx_qdq.encode(found) == onnx_qdq.encode(network)


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_every_layer_padding_pooling_and_activation_comes_back(read, name, bits):
    for seed, shifts in enumerate([(16,), (8, 13, 21), (17, 20)]):
        network = filled(
            name, seed=seed, weight_bits=bits, activation_bits=bits, shifts=shifts
        )
        found = read(onnx_qdq.encode(network))
        require_equal(found, network)
        if bits == 8 and shifts == (16,) and name != "depthwise":
            assert found.network == network.network
            for layer, w in network.weighted.items():
                assert found.weighted[layer].shift == 16
                np.testing.assert_array_equal(
                    found.weighted[layer].multiplier, w.multiplier
                )


@pytest.mark.parametrize("name", sorted({*integers.SPECS} - {*LINEAR}))
def test_a_network_that_forks_or_recurs_is_refused_by_its_layer(read, name):
    network = integers.filled(integers.spec(name))
    message = refusal(read, onnx_qdq.encode(network))
    first = next(i.name for i in network.network.walk() if i.kind not in KINDS)
    assert f"the layer `{first}` forks, joins or keeps a state" in message


def test_any_network_comes_back(read):
    """Random layers, sizes, strides, widths and shifts. What may be refused is a table at
    the end whose scale cannot be told."""
    accepted = refused = 0

    @settings(
        max_examples=40, deadline=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(integers.networks())
    def round_trip(drawn):
        nonlocal accepted, refused
        network = with_real_tables(drawn)
        try:
            found = read(onnx_qdq.encode(network))
        except InputError as error:
            message = str(error)
            if "table` can be that of" not in message:
                raise
            refused += 1
            return
        require_equal(found, network)
        accepted += 1

    round_trip()
    assert accepted >= 35


def test_a_table_that_ends_the_network_gives_its_scale(read):
    for kind, last in (("tanh", True), ("sigmoid", False), ("softplus", False)):
        layers = (Flatten(), Dense(features=3, activation=kind))
        drawn = integers.filled(Network(input_shape=(3, 3, 1), layers=layers), seed=3)
        network = with_real_tables(drawn)
        found = read(onnx_qdq.encode(network))
        require_equal(found, network)
        assert found.output.signed is last
        assert found.network == network.network


def test_names_of_layers_vectors_and_global_pools(read):
    layers = (Flatten(), Dense(features=4), Dense(features=2, activation="identity"))
    require_vector = integers.filled(Network(input_shape=(5,), layers=layers))
    require_equal(read(onnx_qdq.encode(require_vector)), require_vector)
    layers = (Conv(features=3), Pool(kind="mean"), GlobalPool(kind="max"))
    pooled = integers.filled(Network(input_shape=(7, 8, 2), layers=layers))
    assert read(onnx_qdq.encode(pooled)).network == pooled.network


def small() -> IntNetwork:
    return filled("signed", (6, 7, 2), activation_bits=5)


def changed(edit) -> onnx.ModelProto:
    model = onnx.ModelProto.FromString(onnx_qdq.encode(small()))
    edit(model.graph, {t.name: t for t in model.graph.initializer})
    return model


def refusal(read, content) -> str:
    with pytest.raises(InputError) as error:
        read(content)
    message = str(error.value)
    assert "model.onnx`" in message
    assert message.isprintable()
    return message


def number(name, at, value):
    """An edit that puts one number of one constant."""

    def edit(graph, constants):
        array = numpy_helper.to_array(constants[name]).copy()
        array.flat[at] = value
        constants[name].CopyFrom(numpy_helper.from_array(array, name))

    return edit


def attribute(node, name, value):
    def edit(graph, constants):
        (found,) = (n for n in graph.node if n.name == node)
        (old,) = (a for a in found.attribute if a.name == name)
        old.CopyFrom(helper.make_attribute(name, value))

    return edit


def doubled_scales(graph, constants):
    array = numpy_helper.to_array(constants["conv1.weights.scale"]) * np.float32(1.0001)
    constants["conv1.weights.scale"].CopyFrom(
        numpy_helper.from_array(array, "conv1.weights.scale")
    )


def no_data(graph, constants):
    constants["conv1.weights"].raw_data = b""


def huge(graph, constants):
    constants["conv1.weights"].dims[:] = [1 << 20, 1 << 20, 3, 3]


def huge_window(graph, constants):
    for dim in graph.input[0].type.tensor_type.shape.dim[1:3]:
        dim.dim_value = 1 << 20
    attribute("pool2.sums", "kernel_shape", [1 << 18, 1 << 18])(graph, constants)


EDITS = {
    "scale": (number("conv1.weights.scale", 1, 0.3), "no whole multiplier in 1..65535"),
    "negative scale": (number("conv1.weights.scale", 1, -1), "that are not positive"),
    "nan": (number("conv1.weights.scale", 1, np.nan), "that are not positive"),
    "all scales": (doubled_scales, "no whole multiplier in 1..65535"),
    "bias scale": (number("conv3.bias.scale", 2, 0.5), "`conv3.bias.scale` at index 2 is"),
    "input scale": (number("conv1.input.scale", 0, 0.5), "conv1.input.scale` at index 0"),
    "odd scale": (number("conv2.sum.scale", 0, 0.3), "`conv2.sum.scale` (=0.3"),
    "zero point": (number("dense1.zero_point", 0, 7), "zero_point` at index 0 is 7"),
    "weights' zero": (number("conv1.weights.zero_point", 0, 1), "weights.zero_point`"),
    "table": (number("conv2.table", 17, 255), "`conv2.table` is no table of sigmoid or"),
    "mask": (number("conv2.inside", 3, False), "`conv2.inside` at index 3"),
    "high": (number("conv1.high", 0, 129), "`conv1.low` at index 0 is 112, not 126"),
    "weight -128": (number("conv1.weights", 5, -128), "weights` (=-128)"),
    "strides": (attribute("conv1.real", "strides", [1, 1, 1]), "no two numbers in"),
    "pads": (attribute("conv1.real", "pads", [1, 0, 0, 0]), "must be a model.onnx as"),
    "group": (attribute("pool2.sums", "group", 1), "`pool2.sums` (ConvInteger)"),
    "axis": (attribute("flatten1", "axis", 2), "the operator `flatten1` (Flatten)"),
    "no data": (no_data, "`conv1.weights` has 0 bytes"),
    "huge": (huge, "`conv1.weights` has"),
    "huge window": (huge_window, "needs "),
    "batch": (lambda g, c: setattr(g.input[0].type.tensor_type.shape.dim[0],
                                   "dim_param", "N"), "the inputs"),
    "note": (lambda g, c: setattr(g, "doc_string", "note"), "the notes of the file"),
    "one operator more": (lambda g, c: g.node.append(helper.make_node(
        "Identity", ["logits"], ["more"], name="more")), "operators, not"),
    "one constant more": (lambda g, c: g.initializer.append(numpy_helper.from_array(
        np.zeros(3, np.int8), "more")), "constants, not"),
    "missing": (lambda g, c: g.initializer.remove(c["conv3.bias"]), "`conv3.bias`"),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_a_changed_file_is_refused_with_the_first_difference(read, name):
    edit, wanted = EDITS[name]
    assert wanted in refusal(read, changed(edit))


def test_a_model_of_others_is_refused(read):
    node = helper.make_node("Relu", ["x"], ["y"], name="r")
    ends = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in "xy"]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:])
    assert "must be a model.onnx as Lockstep writes it" in refusal(
        read, helper.make_model(graph)
    )
    assert "holds no ONNX model" in refusal(read, b"nothing of this kind" * 9)


def test_no_changed_bit_gives_another_network_than_the_file_says(read):
    """A bit anywhere is either refused, or in a number and then read as that number."""
    network = integers.filled(integers.spec("cnn", (7, 6, 1)))
    content = onnx_qdq.encode(network)
    accepted = refused = 0
    for at in range(0, len(content), 7):
        bad = bytearray(content)
        bad[at] ^= 1 << at % 8
        try:
            found = read(bytes(bad))
        except InputError:
            refused += 1
        else:
            accepted += 1
            rewritten = onnx.ModelProto.FromString(onnx_qdq.encode(found))
            given = onnx.ModelProto.FromString(bytes(bad))
            given.producer_name = rewritten.producer_name
            assert given == rewritten
    assert accepted > 20
    assert refused > 100
