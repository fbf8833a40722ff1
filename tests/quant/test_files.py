"""A stored network comes back the same, or reading it is refused; nothing in between."""

import dataclasses
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import forge
import integers
import numpy as np
import pytest
import safetensors.numpy

from configs.errors import InputError
from configs.network import Flatten, Network
from quant import files, manifest
from quant.network import IntNetwork

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    return forge.saved(tmp_path)


@pytest.mark.parametrize("name", integers.SPECS)
@pytest.mark.parametrize("bits", [8, 3])
def test_what_was_saved_comes_back(tmp_path, name, bits):
    network = integers.filled(
        integers.spec(name), seed=bits, weight_bits=bits, activation_bits=bits
    )
    files.save(network, tmp_path, source={"a": [1, 0.5, None]}, files={})
    stored = files.load(tmp_path)
    assert forge.same(stored.network, network)
    assert stored.manifest["source"] == {"a": [1, 0.5, None]}
    other = integers.filled(integers.spec(name), seed=9)
    assert not forge.same(stored.network, other), "or the comparison would prove nothing"


def test_arrays_of_another_order_in_memory_are_saved_right(tmp_path):
    network = forge.tiny()
    swapped = {
        name: dataclasses.replace(w, weights=np.asfortranarray(w.weights))
        for name, w in network.weighted.items()
    }
    assert not swapped["dense1"].weights.flags.c_contiguous
    swapped = dataclasses.replace(network, weighted=swapped)
    files.save(swapped, tmp_path, source={}, files={})
    assert forge.same(files.load(tmp_path).network, network)


def test_equal_networks_have_equal_bytes(folder, tmp_path):
    files.save(forge.tiny(), tmp_path / "again", source={"run": "abc"}, files=forge.FURTHER)
    names = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    assert len(names) == 2 + len(forge.FURTHER), "and no temporary file is left"
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_network_without_weights_comes_back(tmp_path):
    network = IntNetwork(
        network=Network(input_shape=(2, 2, 1), layers=(Flatten(),)), weighted={}
    )
    files.save(network, tmp_path, source={}, files={})
    assert forge.same(files.load(tmp_path).network, network)


def test_a_tensor_is_found_with_the_manifest_alone(folder):
    """What a C programmer does: seek, read, compare the hash."""
    network = forge.tiny()
    content = (folder / "model.safetensors").read_bytes()
    for name, entry in forge.read(folder)["tensors"].items():
        first, size = entry["first_byte"], entry["bytes"]
        data = content[first : first + size]
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
        array = np.frombuffer(data, entry["dtype"]).reshape(entry["shape"])
        assert np.array_equal(array, manifest.tensors(network)[name])


def test_reading_needs_no_jax(folder):
    code = (
        "import sys; sys.modules.update(jax=None, jaxlib=None, flax=None)\n"
        "from pathlib import Path; from quant import files\n"
        f"print(files.load(Path({str(folder)!r})).network.size_bytes())\n"
    )
    run = lambda code: subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    done = run(code)
    assert done.stdout.split() == [str(forge.tiny().size_bytes())], done.stderr
    assert run(code + "import jax").returncode == 1, "or importing JAX would not fail"


def test_the_manifest_is_written_last(folder, monkeypatch):
    """A write that stops leaves no manifest, not even the one of before."""

    def stop(path, content):
        if path.name == "model.onnx":
            raise InputError("the disk is full")
        write(path, content)

    write = files.rundir.write_bytes
    monkeypatch.setattr(files.rundir, "write_bytes", stop)
    with pytest.raises(InputError, match="the disk is full"):
        files.save(forge.tiny(), folder, source={}, files=forge.FURTHER)
    forge.refused(folder, r"manifest.json` cannot be read: No such file")


@pytest.mark.parametrize(
    ("name", "step"), [("manifest.json", 37), ("model.safetensors", 3)]
)
def test_any_flipped_bit_is_refused(folder, name, step):
    """A sample that meets every bit position: steps are odd."""
    path = folder / name
    content = path.read_bytes()
    for bit in range(0, 8 * len(content), step):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        message = forge.refused(folder)
        assert "quantise the run again" in message
        assert len(message) < 600
    path.write_bytes(content)
    assert forge.same(files.load(folder).network, forge.tiny())


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors"])
@pytest.mark.parametrize("signed", [False, True])
def test_every_truncation_is_refused(folder, name, signed):
    path = folder / name
    content = path.read_bytes()
    for length in {*range(0, len(content), 13), len(content) - 1}:
        path.write_bytes(content[:length])
        if signed and name != "manifest.json":
            forge.rehash(folder)
        forge.refused(folder, name)
    path.write_bytes(content + b" ")
    forge.refused(folder, name)


@pytest.mark.parametrize(
    ("tensor", "index", "value", "says"),
    [
        ("dense1.weights", 0, -128, r"dense1.weights` \(=-128\)"),
        ("dense1.multiplier", 1, 0, r"dense1.multiplier` \(=0\)"),
        ("dense1.multiplier", 1, 65536, r"dense1.multiplier` \(=65536\)"),
        ("dense1.bias", 0, 2**31 - 1, r"dense1.accumulator"),
        ("dense1.bias", 0, -(2**31), r"dense1.bias"),
        ("conv1.table", 0, 1, r"manifest.json.tensors.conv1.table.sha256"),
    ],
)
def test_numbers_out_of_range_are_refused_whatever_the_hashes(
    folder, tensor, index, value, says
):
    path = folder / "model.safetensors"
    arrays = {k: a.copy() for k, a in safetensors.numpy.load(path.read_bytes()).items()}
    arrays[tensor].flat[index] = value
    path.write_bytes(safetensors.numpy.save(arrays))
    tree = forge.read(folder)
    forge.rehash(folder)
    if "sha256" in says:
        # The file's hash is right, only the tensor's is the old one.
        hidden = forge.read(folder)
        hidden["tensors"] = tree["tensors"]
        forge.sign(folder, hidden)
    forge.refused(folder, says)


def test_a_deliberate_change_with_all_hashes_is_read(folder):
    """The forger of these tests forges: what it makes fails for the reason planted."""
    path = folder / "model.safetensors"
    arrays = {k: a.copy() for k, a in safetensors.numpy.load(path.read_bytes()).items()}
    arrays["conv1.table"][5] ^= 1
    path.write_bytes(safetensors.numpy.save(arrays))
    forge.refused(folder)
    forge.rehash(folder)
    assert not forge.same(files.load(folder).network, forge.tiny())


def test_there_is_no_folder(tmp_path):
    forge.refused(tmp_path / "none", r"none/manifest.json` cannot be read: No such file")


@pytest.mark.parametrize(
    ("content", "says"), [(b"onnY", "has SHA-256"), (b"onnx ", "has 5 bytes, not 4")]
)
def test_a_changed_further_file_is_reported(folder, content, says):
    (folder / "model.onnx").write_bytes(content)
    [sentence] = files.verify_files(folder, files.load(folder).manifest)
    assert says in sentence
    assert "model.onnx" in sentence


def test_a_folder_that_leads_outside_is_reported(folder, tmp_path):
    shutil.move(folder / "golden", tmp_path / "elsewhere")
    (folder / "golden").symlink_to(tmp_path / "elsewhere")
    found = files.verify_files(folder, files.load(folder).manifest)
    assert len(found) == 2
    assert all("golden/" in sentence for sentence in found)
