"""The proof can fail: one changed bit of an exported file is caught, hashes right or not.

Every flip is tried twice: as it is, where a hash tells, and with all hashes made anew,
where the comparison with the integer network tells.
"""

import random

import flips
import forge
import integers
import numpy as np
import pytest
import quantised

from quant import exports, files, golden
from quant.check import check
from quant.exports import onnx_check, onnx_qdq, stablehlo, tflite, tflite_compare


@pytest.fixture
def copy(cases, tmp_path):
    return quantised.copied(cases["relu"].folder, tmp_path / "quant")


@pytest.mark.parametrize("name", ["model.onnx", "model.tflite", "model.stablehlo"])
@pytest.mark.parametrize("kind", flips.KINDS)
def test_every_bit_of_an_export_is_covered_by_a_hash(cases, tmp_path, kind, name):
    """Every bit of the small file; of the others a bit of every byte, or every fifth."""
    content, entry = cases[kind].contents[name], cases[kind].manifest["files"][name]
    few = kind == "relu" and name == "model.onnx"
    step = 5 if name == "model.stablehlo" else 1
    bits = flips.every_bit(content) if few else flips.a_bit_of_every_byte(content, step)
    path, tried = tmp_path / name, 0
    for byte, bit in bits:
        path.write_bytes(flips.flipped(content, byte, bit))
        (sentence,) = files.verify_files(tmp_path, {"files": {name: entry}})
        assert name in sentence
        tried += 1
    assert tried >= len(content) * (8 if few else 1) // step


def test_each_golden_file_is_covered_by_a_hash(cases, copy):
    for name, content in cases["relu"].golden.items():
        (copy / name).write_bytes(flips.flipped(content, len(content) // 2, 0))
        (sentence,) = files.verify_files(copy, cases["relu"].manifest)
        assert name in sentence
        (copy / name).write_bytes(content)


# With all hashes made anew: the comparison tells.


@pytest.mark.parametrize("kind", flips.KINDS)
def test_every_bit_of_the_onnx_file(cases, kind):
    """Caught, or the file holds the same but for the name of its writer."""
    content = cases[kind].contents["model.onnx"]
    assert onnx_qdq.differences(content, cases[kind].network) is None
    free = 0
    for byte, bit in flips.every_bit(content):
        found = flips.flipped(content, byte, bit)
        if onnx_check.difference(found, content) is None:
            free += 1
            assert flips.without_writer(found) == flips.without_writer(content), (byte, bit)
    # Its eight letters, and the number of the field they stand in.
    assert 0 < free <= 8 * 8 + 1


@pytest.mark.parametrize("kind", flips.KINDS)
def test_every_byte_of_the_tflite_file(cases, kind, monkeypatch):
    """Every bit of its constants and scales, a bit of every other byte: caught, or the
    decoded file is the same in everything (padding, unused bytes of the layout)."""
    content, network = cases[kind].contents["model.tflite"], cases[kind].network
    assert tflite.differences(content, network) is None
    monkeypatch.setattr(tflite_compare, "encode", lambda network: content)
    wanted, important, free = flips.decoded(content), flips.constants(content), 0
    bits = [(byte, bit) for byte, bit in flips.every_bit(content) if byte in important]
    # The second file is for its table alone: some bit of each entry.
    few, step = (1, 1) if kind == "relu" else (7, 3)
    bits = bits[::few]
    rest = [
        one for one in flips.a_bit_of_every_byte(content, step) if one[0] not in important
    ]
    for byte, bit in [*bits, *rest]:
        found = flips.flipped(content, byte, bit)
        if tflite.differences(found, network) is None:
            free += 1
            assert byte not in important, (byte, bit)
            assert flips.decoded(found) == wanted, (byte, bit)
    assert free < len(content) // 4


@pytest.mark.parametrize("name", ["residual", "depthwise", "cells"])
def test_bits_all_over_the_files_of_a_program(name, monkeypatch):
    """Joins, channels of their own, states of 16 bits: caught, or the same is held."""
    network = integers.filled(integers.spec(name))
    onnx_, tflite_ = onnx_qdq.encode(network), tflite.encode(network)
    monkeypatch.setattr(tflite_compare, "encode", lambda network: tflite_)
    for byte, bit in flips.a_bit_of_every_byte(onnx_, 61):
        found = flips.flipped(onnx_, byte, bit)
        if onnx_check.difference(found, onnx_) is None:
            assert flips.without_writer(found) == flips.without_writer(onnx_), (byte, bit)
    wanted, important = flips.decoded(tflite_), sorted(flips.constants(tflite_))
    for place, byte in enumerate(important[::41]):
        found = flips.flipped(tflite_, byte, place % 8)
        assert tflite.differences(found, network), (byte, place % 8)
    for byte, bit in flips.a_bit_of_every_byte(tflite_, 131):
        found = flips.flipped(tflite_, byte, bit)
        if tflite.differences(found, network) is None:
            assert flips.decoded(found) == wanted, (byte, bit)


def test_a_real_number_of_a_tflite_file_is_named(monkeypatch):
    """The bound of a cell is a float32 constant."""
    network = integers.filled(integers.spec("cells"))
    content = tflite.encode(network)
    bound = np.float32(32767).tobytes()
    assert content.count(bound) == 1
    forged = content.replace(bound, np.float32(32766).tobytes())
    assert tflite.differences(forged, network) == (
        "`number.32767` at index 0 is 32766.0, not 32767.0"
    )


@pytest.mark.parametrize("kind", flips.KINDS)
def test_every_byte_of_the_stablehlo_file(cases, kind, monkeypatch):
    """No byte may differ: such a file is never parsed."""
    content, network = cases[kind].contents["model.stablehlo"], cases[kind].network
    assert stablehlo.differences(content, network) is None
    monkeypatch.setattr(stablehlo, "encode", lambda network: content)
    monkeypatch.setattr(stablehlo.export, "deserialize", None)
    for byte, bit in flips.a_bit_of_every_byte(content, 1 if kind == "relu" else 7):
        assert stablehlo.differences(flips.flipped(content, byte, bit), network), (
            byte,
            bit,
        )


@pytest.mark.parametrize("kind", flips.KINDS)
def test_every_golden_file(cases, kind):
    """All bits of each tensor of a layer, and bits all over every other file."""
    case, tried = cases[kind], 0
    for name, content in case.golden.items():
        own = "image" not in name and name.endswith(".npy") and "table" not in name
        bits = (
            flips.every_bit(content[128:])
            if own
            else flips.a_bit_of_every_byte(content, step=13)
        )
        for byte, bit in bits:
            place = byte + 128 if own else byte
            files_ = {**case.golden, name: flips.flipped(content, place, bit)}
            assert golden.differences(files_, case.network), (name, byte, bit)
            tried += 1
    assert tried > 1500


@pytest.mark.parametrize("name", ["model.onnx", "model.tflite", "model.stablehlo"])
def test_a_forged_export_in_the_folder_is_found_by_check(cases, copy, name):
    """The last weight's lowest bit, file and manifest with right hashes: named, not run."""
    case = cases["relu"]
    data = case.network.weighted["dense1"].weights
    # As LiteRT stores them, features first.
    stored = data.T if name == "model.tflite" else data
    at = case.contents[name].find(stored.tobytes())
    assert at > 0
    forged = {
        **case.contents,
        name: flips.flipped(case.contents[name], at + stored.size - 1, 0),
    }
    files.save(case.network, copy, source={}, files=forged)
    found = check(copy)
    assert {n for n, sentence in found.items() if sentence} == {name}
    was = int(data[-1, -1])
    assert (
        f"dense1.weights` at index {data.size - 1} is {was ^ 1}, not {was}" in found[name]
    )
    runtime = next(
        exports.module(n).RUNTIME for n in exports.FORMATS if name == exports.module(n).FILE
    )
    assert runtime not in found


def test_random_bytes_of_every_file(cases, copy):
    """Whole bytes anywhere, hashes made anew: caught, or what is held is the same."""
    case, draw = cases["relu"], random.Random(1)
    names = sorted(set(case.contents) - {"model.stablehlo"} | {files.TENSORS})
    for name in names * 3:
        content = (copy / name).read_bytes()
        damaged = bytearray(content)
        for _ in range(draw.randint(1, 3)):
            damaged[draw.randrange(len(content))] = draw.randrange(256)
        (copy / name).write_bytes(damaged)
        forge.rehash(copy)
        if not caught_in(copy, name, case):
            assert holds_the_same(name, bytes(damaged), content), name
        (copy / name).write_bytes(content)
    forge.rehash(copy)
    assert not flips.caught(copy, case)


def caught_in(folder, name: str, case: flips.Case) -> bool:
    if name == files.TENSORS:
        return flips.caught(folder, case)
    if name.startswith("golden/"):
        return bool(golden.differences(folder, case.network))
    form = next(f for f in map(exports.module, exports.FORMATS) if name == f.FILE)
    return bool(form.differences((folder / name).read_bytes(), case.network))


def holds_the_same(name: str, found: bytes, content: bytes) -> bool:
    if name == "model.onnx":
        return flips.without_writer(found) == flips.without_writer(content)
    if name == "model.tflite":
        return flips.decoded(found) == flips.decoded(content)
    return found == content
