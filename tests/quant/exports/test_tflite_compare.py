"""Whatever is not what `encode` writes is named, and no file can do harm."""

import dataclasses
import struct
import time

import flatbuffers
import integers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from quant.exports import tflite, tflite_builder, tflite_compare
from quant.exports.tflite_builder import pack, with_outputs
from quant.network import Format, IntNetwork

NETWORK = integers.filled(integers.spec("signed"), activation_bits=5, seed=2)
CONTENT = tflite.encode(NETWORK)


def changed(layer: str, **fields) -> IntNetwork:
    """NETWORK with other numbers in one layer."""
    weighted = dict(NETWORK.weighted)
    weighted[layer] = dataclasses.replace(weighted[layer], **fields)
    return IntNetwork(network=NETWORK.network, weighted=weighted)


def other(array: np.ndarray, at: int) -> np.ndarray:
    """The same with one element, which was not zero, halved."""
    array = array.copy()
    array.flat[at] = array.flat[at] // 2
    return array


def test_the_same_network_has_no_difference():
    assert tflite.differences(CONTENT, NETWORK) is None
    again = integers.filled(integers.spec("signed"), activation_bits=5, seed=2)
    assert tflite.differences(CONTENT, again) is None


@pytest.mark.parametrize("layer", ["conv1", "conv2", "dense1"])
@pytest.mark.parametrize("field", ["weights", "bias", "table"])
def test_an_element_is_named_as_the_network_numbers_it(layer, field):
    array = getattr(NETWORK.weighted[layer], field)
    if array is None:
        return
    for at in np.flatnonzero(array != array // 2)[[0, 1, -1]]:
        halved = other(array, at)
        found = tflite.differences(
            tflite.encode(changed(layer, **{field: halved})), NETWORK
        )
        assert found == (
            f"`{layer}.{field}` at index {at} is {halved.flat[at]}, not {array.flat[at]}"
        )


def test_multipliers_and_shifts_are_seen_in_the_scales():
    halved = other(NETWORK.weighted["conv3"].multiplier, 2)
    found = tflite.differences(tflite.encode(changed("conv3", multiplier=halved)), NETWORK)
    assert found.startswith("`conv3.weights`: scale 2 is ")


@pytest.mark.parametrize("bits", [4, 6])
def test_widths_and_formats_are_seen(bits):
    narrow = Format(signed=True, exponent=NETWORK.weighted["dense1"].output.exponent)
    wide = dataclasses.replace(narrow, exponent=narrow.exponent + 1)
    found = tflite.differences(
        tflite.encode(changed("dense1", sum=wide, output=wide)), NETWORK
    )
    assert "scale" in found
    first = integers.filled(integers.spec("signed"), activation_bits=bits, seed=2)
    weighted = dict(NETWORK.weighted)
    out = dataclasses.replace(weighted["conv1"].output, bits=bits)
    weighted["conv1"] = dataclasses.replace(weighted["conv1"], sum=out, output=out)
    network = IntNetwork(network=first.network, weighted=weighted)
    found = tflite.differences(tflite.encode(network), NETWORK)
    assert found == f"`conv1.low` at index 0 is {-(2 ** (bits - 1))}, not -16"


@pytest.mark.parametrize("name", ["cnn", "mean", "edge"])
def test_another_structure_is_seen(name):
    network = integers.filled(integers.spec(name), activation_bits=5, seed=2)
    assert tflite.differences(tflite.encode(network), NETWORK)
    assert tflite.differences(CONTENT, network)


def test_other_outputs_are_seen():
    found = tflite.differences(with_outputs(CONTENT, ["conv1"]), NETWORK)
    assert found.startswith("subgraphs.0.outputs.0 of the file is ")


def test_the_layout_of_the_flatbuffer_does_not_matter():
    """Another version of flatbuffers may place things elsewhere."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(CONTENT, 0))
    model.buffers = [aligned(buffer.data) for buffer in model.buffers]
    builder = flatbuffers.Builder(0)
    builder.CreateString("x" * 31)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    content = bytes(builder.Output())
    assert content != CONTENT
    assert tflite.differences(content, NETWORK) is None


def aligned(data):
    return tflite_builder._aligned(schema)(data=data)


def test_constants_at_odd_places_are_seen():
    """The generated classes align nothing: a runtime may read such a file badly."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(CONTENT, 0))
    found = tflite.differences(pack(model), NETWORK)
    assert "starts at byte" in found


def constants() -> np.ndarray:
    """Positions of all bytes of all constants in CONTENT."""
    model = schema.Model.GetRootAs(CONTENT, 0)
    places = []
    for index in range(1, model.BuffersLength()):
        buffer = model.Buffers(index)
        start = buffer._tab.Vector(buffer._tab.Offset(4))
        places.append(np.arange(start, start + buffer.DataLength()))
    return np.concatenate(places)


def flipped(position: int, bit: int) -> bytes:
    content = bytearray(CONTENT)
    content[position] ^= 1 << bit
    return bytes(content)


@pytest.fixture
def encoded_once(monkeypatch) -> None:
    """`differences` encodes the network anew at each call; thousands of calls need not."""
    monkeypatch.setattr(tflite_compare, "encode", lambda network: CONTENT)


@pytest.mark.usefixtures("encoded_once")
def test_bits_of_constants_matter():
    places = constants()
    assert len(places) > 800
    for turn, position in enumerate(places[::3]):
        found = tflite.differences(flipped(position, turn % 8), NETWORK)
        assert found.startswith("`"), position
        assert "at index" in found, position


@pytest.mark.usefixtures("encoded_once")
def test_a_flipped_byte_is_named_or_means_nothing():
    """Where nothing is said, the object interface reads the very same model."""
    untouched, silent = everything(CONTENT), 0
    draw = np.random.default_rng(0)
    for position in draw.permutation(len(CONTENT))[:1000]:
        content = flipped(position, draw.integers(8))
        if tflite.differences(content, NETWORK) is None:
            silent += 1
            assert everything(content) == untouched, position
    assert 0 < silent < 200


def everything(content: bytes) -> bytes:
    return pack(schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0)))


def test_truncated_and_foreign_files_are_named():
    for size in range(0, len(CONTENT) - 16, 61):
        assert isinstance(tflite.differences(CONTENT[:size], NETWORK), str), size
    draw = np.random.default_rng(0)
    for size in (0, 1, 4, 8, 9, 100, 5000):
        noise = draw.integers(0, 256, size, dtype=np.uint8).tobytes()
        assert "not a .tflite file" in tflite.differences(noise, NETWORK)
        named = noise[:4] + b"TFL3" + noise[8:]
        assert isinstance(tflite.differences(named, NETWORK), str)


def test_a_string_cut_off_by_the_end_of_the_file_is_seen():
    """Python would read the part that is there; a runtime would read on."""
    table = schema.Model.GetRootAs(CONTENT, 0)._tab
    field = table.Pos + table.Offset(10)
    text = schema.Model.GetRootAs(CONTENT, 0).Description()
    content = bytearray(CONTENT)
    content[field : field + 4] = struct.pack("<I", len(content) - field)
    whole = bytes(content) + struct.pack("<I", len(text)) + text + b"\0"
    cut = bytes(content) + struct.pack("<I", 1000) + text
    assert tflite.differences(whole, NETWORK) is None
    assert tflite.differences(cut, NETWORK).startswith("description of the file is ")


def test_a_hostile_file_costs_no_time():
    """A million graphs that are all the same one: 4 MB that would unpack to far more."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(CONTENT, 0))
    graph = model.subgraphs[0]
    builder = flatbuffers.Builder(1 << 24)
    whole = graph.Pack(builder)
    builder.StartVector(4, 1_000_000, 4)
    for _ in range(1_000_000):
        builder.PrependUOffsetTRelative(whole)
    subgraphs = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddSubgraphs(builder, subgraphs)
    builder.Finish(schema.ModelEnd(builder), file_identifier=b"TFL3")
    content = bytes(builder.Output())
    began = time.process_time()
    assert isinstance(tflite.differences(content, NETWORK), str)
    assert time.process_time() - began < 1
