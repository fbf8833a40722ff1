"""The proof can fail: one changed bit of the network is caught, all hashes right or not.

Every flip is tried twice: as it is, where a hash tells, and with all hashes made anew,
where the exports tell. What was flipped in the exports is in test_forged_exports.py.
"""

import dataclasses
import json

import flips
import forge
import numpy as np
import pytest
import quantised
import safetensors.numpy

from configs.errors import InputError
from quant import files, golden
from quant.check import check
from quant.exports import onnx_qdq, stablehlo, tflite
from quant.network import IntNetwork

# What may be changed in the manifest unnoticed, with its hash made anew. None of it
# reaches an output: names of the classes, where the network comes from, who wrote it.
MANIFEST_FREE = ("classes", "source", "versions")


@pytest.fixture
def copy(cases, tmp_path):
    return quantised.copied(cases["relu"].folder, tmp_path / "quant")


def test_the_untouched_folders_pass(cases):
    """Nothing below is caught because something else is wrong."""
    for case in cases.values():
        assert set(check(case.folder).values()) == {""}


# As it is: a hash tells.


@pytest.mark.parametrize("kind", flips.KINDS)
def test_every_bit_of_the_tensors_file_is_covered_by_a_hash(cases, tmp_path, kind):
    """Header, weights, biases, multipliers, table: `load` refuses each changed bit."""
    folder = quantised.copied(cases[kind].folder, tmp_path / "quant")
    path, content = folder / files.TENSORS, cases[kind].folder / files.TENSORS
    content = content.read_bytes()
    length = 8 + int.from_bytes(content[:8], "little")
    tensors = [(byte, bit) for byte, bit in flips.every_bit(content) if byte >= length]
    assert len(tensors) == 8 * sum(
        array.nbytes
        for w in cases[kind].network.weighted.values()
        for array in w.tensors().values()
    )
    if kind == "tanh":
        tensors = tensors[::3]
    for byte, bit in [*tensors, *flips.a_bit_of_every_byte(content[:length])]:
        path.write_bytes(flips.flipped(content, byte, bit))
        with pytest.raises(InputError):
            files.load(folder)
    path.write_bytes(content)
    files.load(folder)


def test_every_byte_of_the_manifest_is_covered_by_its_own_hash(cases, copy):
    content = (copy / files.MANIFEST).read_bytes()
    for byte, bit in flips.a_bit_of_every_byte(content, step=3):
        (copy / files.MANIFEST).write_bytes(flips.flipped(content, byte, bit))
        with pytest.raises(InputError):
            files.load(copy)


# With all hashes made anew: the comparison tells.


def changed(network: IntNetwork, layer: str, **changes) -> IntNetwork:
    weighted = dict(network.weighted)
    weighted[layer] = dataclasses.replace(weighted[layer], **changes)
    return dataclasses.replace(network, weighted=weighted)


def flipped_networks(network: IntNetwork):
    """For each bit of each tensor: a label, the bit, and what the network becomes; None
    if no network may hold such a value."""
    for layer, w in network.weighted.items():
        for name, array in w.tensors().items():
            for byte, bit in flips.every_bit(array.tobytes()):
                data = flips.flipped(array.tobytes(), byte, bit)
                values = np.frombuffer(data, array.dtype).reshape(array.shape)
                try:
                    found = changed(network, layer, **{name: values})
                except InputError:
                    found = None
                yield f"{layer}.{name}", byte, bit, found


@pytest.mark.parametrize("kind", flips.KINDS)
def test_every_changed_bit_of_the_network_differs_from_every_export(cases, kind):
    """As if model.safetensors and its hashes were forged: all exports speak against it."""
    case, valid, tensors = cases[kind], 0, set()
    for tensor, byte, bit, network in flipped_networks(case.network):
        # The second network is for its table alone.
        if network is None or (kind == "tanh" and "table" not in tensor):
            continue
        tensors.add(tensor)
        valid += 1
        assert onnx_qdq.differences(case.contents["model.onnx"], network), (tensor, byte)
        if "table" not in tensor or bit == byte % 8:
            assert golden.differences(case.golden, network), (tensor, byte, bit)
            content = case.contents["model.tflite"]
            assert tflite.differences(content, network), (tensor, byte, bit)
    assert valid > 400, valid
    names = safetensors.numpy.load_file(case.folder / files.TENSORS).keys()
    assert tensors == ({"conv1.table"} if kind == "tanh" else set(names))


@pytest.mark.parametrize("kind", flips.KINDS)
def test_a_changed_bit_of_each_tensor_differs_from_the_stablehlo(cases, kind):
    case, seen = cases[kind], set()
    for tensor, _, bit, network in flipped_networks(case.network):
        if network is None or bit or tensor in seen:
            continue
        seen.add(tensor)
        found = stablehlo.differences(case.contents["model.stablehlo"], network)
        assert found
        assert tensor in found
    assert len(seen) == len(safetensors.numpy.load_file(case.folder / files.TENSORS))


@pytest.mark.parametrize("tensor", ["weights", "bias", "multiplier"])
@pytest.mark.parametrize("layer", ["conv1", "dense1"])
def test_a_forged_tensor_in_the_folder_is_found_by_check(cases, copy, layer, tensor):
    """The whole way: tensors changed, all hashes and the bound made anew."""
    case = cases["relu"]
    array = getattr(case.network.weighted[layer], tensor)
    values = np.frombuffer(flips.flipped(array.tobytes(), 0, 1), array.dtype).reshape(
        array.shape
    )
    forged = changed(case.network, layer, **{tensor: values})
    files.save(forged, copy, source={}, files=case.contents)
    assert files.verify_files(copy, files.load(copy).manifest) == []
    found = check(copy)
    assert {name for name, sentence in found.items() if sentence} == {
        "model.onnx", "model.tflite", "model.stablehlo", "golden/",
    }  # fmt: skip
    assert all(f"{layer}.{tensor}" in found[n] for n in ("model.stablehlo", "golden/"))


def rescaled(network: IntNetwork, layer: str, part: str, step: int) -> IntNetwork:
    w = network.weighted[layer]
    other = lambda kind: dataclasses.replace(kind, exponent=kind.exponent + step)
    if part == "shift":
        return changed(network, layer, shift=w.shift + step)
    if part == "sum" and w.table is not None:
        return changed(network, layer, sum=other(w.sum))
    total = w.sum if w.table is not None else other(w.output)
    return changed(network, layer, output=other(w.output), sum=total)


@pytest.mark.parametrize("kind", flips.KINDS)
@pytest.mark.parametrize("step", [-1, 1, 2])
@pytest.mark.parametrize("part", ["output", "sum", "shift"])
@pytest.mark.parametrize("layer", ["conv1", "dense1"])
def test_scales_and_shifts_that_are_another_network_differ_from_the_exports(
    cases, kind, layer, part, step
):
    """A manifest that is consistent in itself, all hashes right: ONNX and LiteRT hold the
    scales too."""
    case = cases[kind]
    if part == "shift" and step > 0:
        step = -step
    network = rescaled(case.network, layer, part, step)
    assert onnx_qdq.differences(case.contents["model.onnx"], network)
    assert tflite.differences(case.contents["model.tflite"], network)
    if part == "shift":
        assert golden.differences(case.golden, network)


def integers_of(node, path=()):
    """Paths of all whole numbers in a manifest."""
    node = dict(enumerate(node)) if isinstance(node, list) else node
    if type(node) is int:
        yield path
    for key, value in node.items() if isinstance(node, dict) else ():
        yield from integers_of(value, (*path, key))


def test_every_number_of_the_manifest_is_checked(cases, copy):
    """One bit of one number with the hash made anew: refused, or another network."""
    case = cases["relu"]
    original = json.loads((copy / files.MANIFEST).read_bytes())
    paths = [p for p in integers_of(original) if p[0] not in MANIFEST_FREE]
    sizes = [p for p in paths if p[0] == "files" and p[1] != files.TENSORS]
    assert len(paths) - len(sizes) > 60
    for path in paths:
        for bit in range(6):
            manifest = json.loads(json.dumps(original))
            *parents, last = path
            node = manifest
            for key in parents:
                node = node[key]
            node[last] ^= 1 << bit
            forge.sign(copy, manifest)
            assert flips.caught(copy, case), (path, bit)


def test_any_byte_of_the_manifest_with_its_hash_made_anew(cases, copy):
    """Caught, or the manifest says the same but for what reaches no output."""
    case = cases["relu"]
    content = (copy / files.MANIFEST).read_bytes()
    original, free = json.loads(content), 0
    for byte, bit in flips.a_bit_of_every_byte(content, step=5):
        try:
            manifest = json.loads(flips.flipped(content, byte, bit))
        except ValueError:
            continue
        forge.sign(copy, manifest)
        if flips.caught(copy, case):
            continue
        free += 1
        rest = lambda held: {
            name: value
            for name, value in held.items()
            if name not in (*MANIFEST_FREE, "sha256")
        }
        assert rest(manifest) == rest(original), byte
        assert forge.same(
            dataclasses.replace(files.load(copy).network, classes=()),
            dataclasses.replace(case.network, classes=()),
        )
    assert free
