"""No file but the one that the network gives passes for it, and none does harm."""

import dataclasses

import numpy as np
import onnx
import pytest
from integers import filled, spec
from onnx import TensorProto, helper

from quant.exports import onnx_qdq
from quant.network import IntNetwork


def small() -> IntNetwork:
    return filled(spec("signed", (6, 7, 2)))


def changed(network: IntNetwork, layer: str, tensor: str, index: int) -> IntNetwork:
    """The same network with one number of one tensor one step nearer to zero, or 1."""
    array = getattr(network.weighted[layer], tensor).copy()
    array.flat[index] -= np.sign(array.flat[index]) or -1
    weighted = dataclasses.replace(network.weighted[layer], **{tensor: array})
    return IntNetwork(
        network=network.network, weighted={**network.weighted, layer: weighted}
    )


def test_the_file_of_the_network_itself_has_no_difference():
    assert onnx_qdq.differences(onnx_qdq.encode(small()), small()) is None


@pytest.mark.parametrize("layer", ["conv1", "dense1"])
def test_a_changed_number_is_named_as_the_network_names_it(layer):
    network = small()
    for tensor in ("weights", "bias"):
        for index in (0, 2, getattr(network.weighted[layer], tensor).size - 1):
            other = changed(network, layer, tensor, index)
            has, must = (
                getattr(n.weighted[layer], tensor).flat[index] for n in (other, network)
            )
            assert has != must
            assert onnx_qdq.differences(onnx_qdq.encode(other), network) == (
                f"`{layer}.{tensor}` at index {index} is {has}, not {must}"
            )


def test_every_bit_of_every_constant_matters():
    """One flipped bit anywhere in a constant is found, and the constant is named."""
    network = filled(spec("signed", (6, 7, 2)), activation_bits=5)
    content = onnx_qdq.encode(network)
    model = onnx.ModelProto.FromString(content)
    names = {t.name for t in model.graph.initializer}
    assert {"conv2.table", "conv2.inside", "conv3.pads", "conv1.high", "two"} <= names
    for index, tensor in enumerate(model.graph.initializer):
        size = len(tensor.raw_data)
        for byte in {0, size // 2, size - 1}:
            for bit in (1, 128):
                flipped = onnx.ModelProto.FromString(content)
                raw = bytearray(tensor.raw_data)
                raw[byte] ^= bit
                flipped.graph.initializer[index].raw_data = bytes(raw)
                found = onnx_qdq.differences(flipped.SerializeToString(), network)
                assert found.startswith(f"`{tensor.name}` at index"), found


def test_only_the_name_of_the_writer_does_not_matter():
    network = small()
    model = onnx.ModelProto.FromString(onnx_qdq.encode(network))
    model.producer_name, model.producer_version = "another", "9.9"
    assert onnx_qdq.differences(model.SerializeToString(), network) is None


def _external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")


def _huge(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [2**40, 2**20]


# What is done to the model, and what the sentence says.
HOSTILE = {
    "external data": (_external, "bytes, not"),
    "huge shape": (_huge, "another type or shape"),
    "negative shape": (
        lambda m: next(
            t for t in m.graph.initializer if t.name == "conv1.weights"
        ).dims.__setitem__(0, -1),
        "another type or shape",
    ),
    "another type": (
        lambda m: setattr(m.graph.initializer[0], "data_type", 9999),
        "another type or shape",
    ),
    "renamed": (
        lambda m: setattr(m.graph.initializer[0], "name", "x"),
        "another name or is stored in another way",
    ),
    "typed storage": (
        lambda m: m.graph.initializer[0].float_data.append(1.0),
        "stored in another way",
    ),
    "constant gone": (lambda m: m.graph.initializer.pop(), "is missing"),
    "constant more": (
        lambda m: m.graph.initializer.add(name="x"), "constants, not"
    ),
    "operator gone": (lambda m: m.graph.node.pop(), "`logits` (Cast) is missing"),
    "operator more": (lambda m: m.graph.node.add(op_type="Loop"), "operators, not"),
    "other operator": (
        lambda m: setattr(m.graph.node[-1], "op_type", "Abs"),
        "`logits` (Cast) is another",
    ),
    "other strides": (
        lambda m: next(
            a for n in m.graph.node if n.op_type == "Conv"
            for a in n.attribute if a.name == "strides"
        ).ints.__setitem__(0, 2),
        "`conv1.real` (Conv)",
    ),
    "other opset": (lambda m: setattr(m.opset_import[0], "version", 20), "versions"),
    "custom operators": (
        lambda m: m.opset_import.append(helper.make_opsetid("evil", 1)), "versions"
    ),
    "other format": (lambda m: setattr(m, "ir_version", 9), "versions"),
    "function": (lambda m: m.functions.add(name="Conv"), "versions"),
    "metadata": (lambda m: m.metadata_props.add(key="a", value="b"), "notes"),
    "output more": (
        lambda m: m.graph.output.add(name="conv1"), "outputs"
    ),
    "input renamed": (lambda m: setattr(m.graph.input[0], "name", "x"), "inputs"),
    "much of it": (lambda m: setattr(m, "doc_string", "x" * 10**6), "bytes, not"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_another_structure_is_a_sentence(name):
    network = small()
    model = onnx.ModelProto.FromString(onnx_qdq.encode(network))
    change, says = HOSTILE[name]
    change(model)
    found = onnx_qdq.differences(model.SerializeToString(), network)
    assert says in found


def test_damage_of_any_kind_is_a_sentence():
    """Truncation at many places, 600 flipped bits, and files that are no models."""
    network = filled(spec("cnn", (6, 6, 1)))
    content = onnx_qdq.encode(network)
    draw = np.random.default_rng(0)
    cases = [content[: len(content) * k // 40] for k in range(40)]
    cases += [b"", b"\xff" * 99, b"PK\x03\x04", content + content, content + b"\x00"]
    # Messages in messages: a field of ModelProto, GraphProto, NodeProto, ... 1000 deep.
    cases += [b"\x3a\x80\x01" * 1000, b"\x3a\x02\x0a\x00" * 500]
    producer = content.index(b"lockstep")
    for at in draw.integers(0, len(content), 600):
        if not producer <= at < producer + len(b"lockstep"):
            flipped = bytearray(content)
            flipped[at] ^= 1 << int(draw.integers(8))
            cases.append(bytes(flipped))
    for case in cases:
        found = onnx_qdq.differences(case, network)
        assert isinstance(found, str), case[:80]
        assert found


def test_odd_encodings_of_the_same_model_do_not_pass():
    """A field written twice, where the last one counts, leaves room for two readings."""
    network = small()
    content = onnx_qdq.encode(network)
    twice = b"\x08\x09" + content
    assert onnx.ModelProto.FromString(twice) == onnx.ModelProto.FromString(content)
    assert "encoded" in onnx_qdq.differences(twice, network)
