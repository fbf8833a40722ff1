"""Every field of a manifest is looked at, also where its hashes are right."""

import copy
import json
import os
import tracemalloc

import forge
import integers
import numpy as np
import pytest
import version1

from configs import stored
from configs.errors import InputError
from configs.network import Lstm, Network
from quant import files, normative

WRONG = (None, True, -1, 0, 1, 17, 2**62, 0.5, 16.0, "", "x", [], [1], {}, {"a": 1})


@pytest.fixture(params=forge.VERSIONS)
def folder(request, tmp_path):
    return forge.VERSIONS[request.param](tmp_path)


def leaves(node, path=()):
    """Paths of everything in a tree, objects and lists included."""
    yield path
    if isinstance(node, list):
        node = dict(enumerate(node))
    for key, value in node.items() if isinstance(node, dict) else ():
        yield from leaves(value, (*path, key))


def at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def changed(tree, path, value):
    tree = copy.deepcopy(tree)
    at(tree, path[:-1])[path[-1]] = value
    return tree


def parts(manifest):
    free = [p for p in leaves(manifest) if p and p[0] not in ("sha256", "source")]
    return [p for p in free if not (p[0] == "versions" and len(p) == 2)]


# Of a layer with a table; without one the sum is the output, which stands elsewhere too.
SUM_EXPONENTS = (
    ("layers", 0, "weighted", "sum", "exponent"),
    ("numbers", "conv1", "sum", "exponent"),
)


def is_choice(path, value) -> bool:
    """Whether a value at a path is another network, or another file, and no fault."""
    size = path[0] == "files" and path[-1] == "bytes" and path[1] in forge.FURTHER
    return (
        (path == ("classes",) and value == [])
        or (path[0] == "classes" and len(path) == 2 and type(value) is str)
        or (size and type(value) is int and value >= 0)
        or (path[-1] == "shift" and type(value) is int and value in range(16, 22))
        or (path in SUM_EXPONENTS and type(value) is int and abs(value) <= 32)
        or (path == ("versions",) and value == {})
    )


@pytest.mark.parametrize("share", range(4))
def test_every_field_of_every_wrong_value_is_refused(folder, share):
    """Also with the right hash: every field is looked at, in type and in value."""
    right = forge.read(folder)
    places = parts(right)
    assert len(places) > 150
    choices = 0
    for path in places[share::4]:
        value = at(right, path)
        for wrong in WRONG:
            if type(wrong) is type(value) and wrong == value:
                continue
            forge.sign(folder, changed(right, path, wrong))
            if is_choice(path, wrong):
                choices += 1
                assert files.load(folder).manifest == forge.read(folder), path
            else:
                assert "quantise the run again" in forge.refused(folder, str(folder)), path
    assert choices < 60


def test_a_field_too_much_or_too_few_is_refused(folder):
    right = forge.read(folder)
    objects = 0
    for path in [(), *parts(right)]:
        node = at(right, path)
        if not isinstance(node, dict) or path == ("versions",):
            continue
        objects += 1
        forge.sign(folder, changed({"": right}, ("", *path, "surprise"), 1)[""])
        forge.refused(folder, "surprise")
        for key in sorted(node.keys() - {"sha256", *forge.FURTHER}):
            tree = copy.deepcopy(right)
            del at(tree, path)[key]
            forge.sign(folder, tree)
            forge.refused(folder, key)
    assert objects > 30


def test_another_version_is_refused(folder):
    tree = forge.read(folder)
    forge.sign(folder, {**tree, "version": 3})
    forge.refused(
        folder, r"manifest.json.version` \(=3\) must be 1 or 2; quantise the run again"
    )
    # Nor is one version read as the other.
    forge.sign(folder, {**tree, "version": 3 - tree["version"]})
    forge.refused(folder, r"manifest.json.(layers|nodes|numbers)` is missing")


def test_a_run_of_version_1_is_read_as_it_was_written(tmp_path):
    """Byte for byte, by a writer that is no part of the program any more."""
    folder = version1.write(tmp_path / "old")
    held = files.load(folder)
    assert held.manifest["version"] == 1
    assert held.manifest == forge.read(folder)
    pixels = (np.arange(24).reshape(4, 2, 3, 1) * 37 % 256).astype(np.uint8)
    assert normative.run(held.network, pixels).tolist() == version1.OUTPUTS
    again = tmp_path / "new"
    files.save(held.network, again, source=held.manifest["source"], files={})
    assert forge.read(again)["version"] == 2
    tensors = [(f / "model.safetensors").read_bytes() for f in (folder, again)]
    assert tensors[0] == tensors[1]
    described = [forge.read(f)["tensors"] for f in (folder, again)]
    assert described[0] == described[1]


@pytest.mark.parametrize("name", ["residual", "branches", "lstm", "cells"])
def test_version_1_holds_layers_in_a_row_alone(name, folder):
    """A network that forks or keeps a state is refused under that version, whatever else
    the manifest says."""
    tree = forge.read(folder)
    tree["network"] = stored.to_dict(integers.spec(name))
    forge.sign(folder, tree)
    says = "must be 2 for a network" if tree["version"] == 1 else "numbers"
    forge.refused(folder, says)


@pytest.mark.parametrize("name", integers.SPECS)
def test_every_program_is_stored_and_read(name, tmp_path):
    network = integers.filled(integers.spec(name), weight_bits=6, activation_bits=7)
    files.save(network, tmp_path, source={}, files={})
    assert forge.same(files.load(tmp_path).network, network)
    tree = forge.read(tmp_path)
    nodes = {node["name"]: node for node in tree["nodes"]}
    assert list(nodes) == [node.name for node in network.program.nodes]
    for node in network.program.nodes:
        said = nodes[node.name]
        assert said["operator"] == type(node).__name__
        assert said["inputs"] == list(node.inputs)
        assert said["shape"] == list(node.shape)
        for field, value in said["attributes"].items():
            assert stored.canonical(stored.to_dict(getattr(node, field))) == (
                stored.canonical(value)
            )
    # What is right follows from the graph that the manifest draws, numbers included.
    for step in normative.steps(network, integers.images(network.network, 2)):
        kind = nodes[step.layer.name]["format"]
        assert (kind["signed"], kind["bits"]) == (
            step.layer.output.signed, step.layer.output.bits
        )  # fmt: skip
        assert step.output.min() >= step.layer.output.low


def test_a_sequence_without_end_is_refused(folder):
    """Whatever its length, before a node of it is made for each step."""
    tree = forge.read(folder)
    tree["network"] = stored.to_dict(
        Network(input_shape=(4, 2, 1), layers=(Lstm(features=2),))
    )
    for steps in (10**5, 10**9, 10**18):
        tree["network"]["input_shape"][0] = steps
        forge.sign(folder, tree)
        forge.refused(folder, "at most 65536 operators")


def test_another_way_to_write_the_same_manifest_is_refused(folder):
    tree = forge.read(folder)
    (folder / "manifest.json").write_text(json.dumps(tree, sort_keys=True))
    forge.refused(folder, "is not written as Lockstep writes it")


def with_header(folder, change) -> None:
    """Replaces the header of the tensors' file and hides it."""
    path = folder / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header = json.dumps(change(header) or header).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    forge.rehash(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda h: h["dense1.bias"].update(dtype="F32"), r"dense1.bias.dtype` \(='F32'\)"),
        (lambda h: h["dense1.bias"].update(shape=[10**12]), r"dense1.bias.shape"),
        (lambda h: h["dense1.bias"].update(shape=[2.0]), r"dense1.bias.shape"),
        (lambda h: h["dense1.bias"].update(data_offsets=[0, 10**12]), r"data_offsets"),
        (lambda h: h["dense1.bias"].update(data_offsets=[0, 8]), r"data_offsets"),
        (lambda h: h["dense1.bias"].update(data_offsets=[-8, 0]), r"data_offsets"),
        (lambda h: h["dense1.bias"].update(data_offsets=[False, 8]), r"data_offsets"),
        (lambda h: h["dense1.bias"].update(data_offsets=None), r"data_offsets"),
        (lambda h: h.update({"dense1.bias": 3}), r"must be an object"),
        (lambda h: h.update(__metadata__={"a": "b"}), r"__metadata__"),
        (lambda h: {k: v for k, v in h.items() if k != "dense1.bias"}, r"dense1.bias"),
        (lambda h: [1], r"must be a JSON object"),
    ],
)
def test_a_header_that_lies_is_refused(folder, change, says):
    with_header(folder, change)
    forge.refused(folder, says)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 10**6, 0])
def test_a_header_of_any_length_is_refused(folder, length):
    path = folder / "model.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])
    forge.rehash(folder)
    forge.refused(folder, "model.safetensors")


def huge(folder, features):
    """A manifest whose every field agrees on a layer of very many features."""
    tree = forge.read(folder)
    tree["network"]["layers"][2]["features"] = features
    for name in ("weights", "bias", "multiplier"):
        tensor = tree["tensors"][f"dense1.{name}"]
        tensor["shape"][-1] = features
    if tree["version"] == 1:
        tree["layers"][2]["output_shape"] = [features]
    else:
        for node in tree["nodes"][-2:]:
            node["shape"] = [features]
    return tree


@pytest.mark.parametrize("features", [10**9, 10**12, 10**18])
@pytest.mark.parametrize("sparse", [False, True])
def test_huge_shapes_take_no_memory(folder, features, sparse):
    """Neither a large number, nor a file as large as it says, is believed."""
    tree = huge(folder, features)
    path = folder / "model.safetensors"
    if sparse:
        os.truncate(path, 1 << 40)
    tree["files"]["model.safetensors"]["bytes"] = path.stat().st_size
    forge.sign(folder, tree)
    refused_in_little_memory(folder)


@pytest.mark.parametrize("header", [False, True])
def test_a_large_file_is_not_read_to_be_refused(folder, header):
    """Neither where it is longer than its tensors, nor where its header is."""
    path = folder / "model.safetensors"
    content = path.read_bytes()
    length, extra = int.from_bytes(content[:8], "little"), 64 << 20
    if header:
        path.write_bytes((length + extra).to_bytes(8, "little") + content[8:])
    os.truncate(path, len(content) + extra)
    forge.rehash(folder)
    refused_in_little_memory(folder)


def refused_in_little_memory(folder):
    tracemalloc.start()
    try:
        forge.refused(folder, "model.safetensors")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_more_tensors_than_can_be_meant_are_refused(folder, monkeypatch):
    monkeypatch.setattr(files, "TENSORS_LIMIT_BYTES", 100)
    forge.refused(folder, "beyond all measure")
    with pytest.raises(InputError, match=r"model.safetensors` .* must be at most 100"):
        files.save(forge.tiny(), folder, source={}, files={})


def test_the_hash_of_the_file_counts_too(folder):
    """Where every tensor's own hash is right."""
    tree = forge.read(folder)
    tree["files"]["model.safetensors"]["sha256"] = "0" * 64
    forge.sign(folder, tree)
    forge.refused(folder, r"model.safetensors` .* must be SHA-256 0000")


@pytest.mark.parametrize(
    "name",
    [
        "../model.onnx", "/etc/passwd", "golden/../../x", "golden\\x", "golden/.x",
        "golden/", "golden//x", "golden/a/b", "model.onnx\0", "", ".", "metrics.json",
        "golden/" + "x" * 200, "manifest.json", "golden/\n", "model.onnx\n",
    ],
)  # fmt: skip
def test_no_file_outside_is_listed(folder, name):
    tree = forge.read(folder)
    tree["files"][name] = dict(tree["files"]["model.onnx"])
    forge.sign(folder, tree)
    forge.refused(folder, "manifest.json.files")
    with pytest.raises(InputError):
        files.save(forge.tiny(), folder, source={}, files={name: b""})
