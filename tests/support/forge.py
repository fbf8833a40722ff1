"""A tiny quantised folder, changed on purpose with hashes that hide the change."""

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import integers
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from configs.errors import InputError
from configs.network import Conv, Dense, GlobalPool, Network
from quant import files, manifest, manifest_v1

# What stands beside the network in `saved`.
FURTHER = {"model.onnx": b"onnx", "golden/index.json": b"{}", "golden/a.mem": b"00\n"}


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_bytes())


def sign(folder: Path, manifest: dict[str, Any]) -> None:
    """Writes a manifest with the right hash of itself, whatever else it says."""
    rest = {name: value for name, value in manifest.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    text = json.dumps({**rest, "sha256": digest}, sort_keys=True, indent=2) + "\n"
    (folder / "manifest.json").write_bytes(text.encode())


def rehash(folder: Path) -> None:
    """Makes every hash and size in the manifest that of the files as they are now."""
    manifest = read(folder)
    for name, entry in manifest["files"].items():
        if (folder / name).is_file():
            content = (folder / name).read_bytes()
            entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    try:
        arrays = safetensors.numpy.load((folder / "model.safetensors").read_bytes())
    except safetensors.SafetensorError:
        arrays = {}
    for name, array in arrays.items():
        if name in manifest["tensors"]:
            manifest["tensors"][name]["sha256"] = hashlib.sha256(array).hexdigest()
    sign(folder, manifest)


def tiny():
    """Two small layers with weights, one with a table, one layer without."""
    layers = (
        Conv(features=2, kernel=(1, 2), activation="tanh"),
        GlobalPool(),
        Dense(features=2, activation="identity"),
    )
    network = Network(input_shape=(2, 3, 1), layers=layers)
    return integers.filled(network, classes=("one", "zwölf"))


def saved(folder: Path) -> Path:
    """The tiny network as files, in a folder below."""
    files.save(tiny(), folder / "quant", source={"run": "abc"}, files=FURTHER)
    return folder / "quant"


def saved_by_version_1(folder: Path) -> Path:
    """The same as files were before networks were programs."""
    folder = saved(folder)
    whole = read(folder)
    first = {name: one["first_byte"] for name, one in whole["tensors"].items()}
    kept = {name: whole[name] for name in ("files", "source", "versions")}
    sign(folder, {**manifest_v1.describe(tiny(), first), **kept})
    return folder


VERSIONS = {1: saved_by_version_1, 2: saved}


def refused(folder: Path, match: str | None = None) -> str:
    """Why a folder cannot be read; the test fails if it can."""
    with pytest.raises(InputError, match=match) as error:
        files.load(folder)
    return str(error.value)


def same(a, b) -> bool:
    """Equal in every setting and every bit."""
    pairs = itertools.zip_longest(manifest.tensors(a).items(), manifest.tensors(b).items())
    equal = all(
        one and other and one[0] == other[0]
        and one[1].dtype == other[1].dtype and np.array_equal(one[1], other[1])
        for one, other in pairs
    )  # fmt: skip
    return (
        equal
        and list(map(_settings, a.walk())) == list(map(_settings, b.walk()))
        and (a.network, a.classes) == (b.network, b.classes)
    )


def _settings(layer):
    w = layer.numbers
    names = ("sum", "output", "shift", "weight_bits")
    held = w and [getattr(w, name, None) for name in names]
    return layer.step, layer.inputs, layer.output, held
