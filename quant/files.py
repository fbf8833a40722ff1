"""The integer network as files: model.safetensors, manifest.json and what goes with them.

The manifest is written last and holds the SHA-256 of everything, of itself included: a
folder with a manifest is complete. Reading needs no JAX and believes nothing: every
size is compared with what the network's spec asks for before memory is spent on it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
import safetensors.numpy

from configs import stored
from configs.checks import brief
from configs.errors import InputError
from quant import manifest as described
from quant import manifest_v1, untrusted
from quant.manifest import Skeleton, Tensor, require_equal, require_fields
from quant.network import IntNetwork
from quant.untrusted import refusal, wrong
from train import rundir
from train.versions import versions

MANIFEST = "manifest.json"
TENSORS = "model.safetensors"
TENSORS_LIMIT_BYTES = 2 << 30
# Fields that do not follow from the network.
_FURTHER = ("files", "sha256", "source", "versions")
# What reads each version; the newest is written.
_VERSIONS: dict[int, ModuleType] = {one.VERSION: one for one in (manifest_v1, described)}
# Files that a manifest may list beside the tensors.
_KNOWN = re.compile(r"model\.(onnx|tflite|stablehlo)|golden/[^/]+")
_PACKAGES = (
    "numpy", "safetensors", "jax", "jaxlib", "onnx", "onnxruntime", "ai-edge-litert",
    "flatbuffers",
)  # fmt: skip
# As the format of safetensors writes them.
_DTYPES = {
    "int8": "I8", "uint8": "U8", "int16": "I16", "uint16": "U16", "int32": "I32",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A network that was read, and the manifest that came with it."""

    network: IntNetwork
    manifest: Mapping[str, Any]


def save(
    network: IntNetwork, folder: Path, *, source: dict, files: Mapping[str, bytes]
) -> None:
    """Writes the network and further files, all of them listed in the manifest.

    Args:
      source: what the network was made from; any JSON.
      files: content by path in the folder, "model.onnx" or "golden/index.json".

    Raises:
      InputError: a file has a name the manifest may not list, the network is too large,
        or the folder cannot be written.
    """
    for name in files:
        _require_known(name, folder / name)
    content = safetensors.numpy.save(described.tensors(network))
    files = {TENSORS: content, **files}
    manifest = {
        **described.describe(network, _first_bytes(content)),
        "files": {name: _entry(files[name]) for name in sorted(files)},
        "source": source,
        "versions": versions(_PACKAGES),
    }
    text = _text({**manifest, "sha256": own_sha256(manifest)})
    for what, size, limit in (
        (MANIFEST, len(text), untrusted.JSON_LIMIT_BYTES),
        (TENSORS, len(content), TENSORS_LIMIT_BYTES),
    ):
        if size > limit:
            raise InputError(
                f"`{folder / what}` (={size} bytes) must be at most {limit}; use a "
                f"smaller network."
            )
    with rundir.writing(folder / MANIFEST):
        (folder / MANIFEST).unlink(missing_ok=True)
    for name in sorted(files):
        rundir.write_bytes(folder / name, files[name])
    rundir.write_bytes(folder / MANIFEST, text)


def own_sha256(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of all fields but `sha256` itself."""
    rest = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(stored.canonical(rest).encode()).hexdigest()


def _text(manifest: Mapping[str, Any]) -> bytes:
    return (json.dumps(manifest, sort_keys=True, indent=2, allow_nan=False) + "\n").encode()


def _entry(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _first_bytes(content: bytes) -> dict[str, int]:
    """Where each tensor starts in a file that safetensors wrote."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return {name: 8 + length + one["data_offsets"][0] for name, one in header.items()}


def load(folder: Path) -> Stored:
    """The network of a folder, after everything about it was checked.

    The further files are not read; see `verify_files`.

    Raises:
      InputError: something is missing, damaged, of another version, or not what the
        network's spec asks for.
    """
    path = folder / MANIFEST
    manifest = _manifest(folder)
    version = _VERSIONS[manifest["version"]]
    skeleton = version.skeleton(manifest, str(path))
    arrays, first_bytes = _tensors(folder, manifest, skeleton)
    try:
        network = skeleton.filled(arrays)
    except InputError as error:
        raise refusal(folder / TENSORS, f"cannot be used: {error}") from None
    derived = {name: manifest[name] for name in version.DERIVED}
    require_equal(derived, version.describe(network, first_bytes), str(path))
    return Stored(network=network, manifest=manifest)


def _manifest(folder: Path) -> dict[str, Any]:
    """The manifest, every field checked that does not follow from the network."""
    path = folder / MANIFEST
    text, manifest = untrusted.read_json(folder, MANIFEST)
    if manifest.get("sha256") != own_sha256(manifest):
        rule = "the SHA-256 of the rest: the file was changed"
        raise wrong(f"{path}.sha256", manifest.get("sha256"), rule)
    if text != _text(manifest):
        raise refusal(path, "is not written as Lockstep writes it: the file was changed")
    require_equal(manifest.get("format"), described.FORMAT, f"{path}.format")
    version = manifest.get("version")
    if type(version) is not int or version not in _VERSIONS:
        raise wrong(f"{path}.version", version, " or ".join(map(str, _VERSIONS)))
    require_fields(manifest, (*_VERSIONS[version].DERIVED, *_FURTHER), str(path))
    if not isinstance(manifest["source"], dict):
        raise wrong(f"{path}.source", manifest["source"], "an object")
    versions = manifest["versions"]
    texts = isinstance(versions, dict) and all(
        isinstance(v, str) for v in versions.values()
    )
    if not texts:
        raise wrong(f"{path}.versions", versions, "texts by name of the package")
    _check_files(manifest["files"], f"{path}.files")
    return manifest


def _check_files(files: Any, where: str) -> None:
    if not isinstance(files, dict) or TENSORS not in files:
        raise wrong(where, files, f"an object with {TENSORS}")
    for name, entry in files.items():
        if name != TENSORS:
            _require_known(name, where)
        at = f"{where}[{brief(name)}]"
        require_fields(entry, ("bytes", "sha256"), at)
        size, digest = entry["bytes"], entry["sha256"]
        if type(size) is not int or size < 0:
            raise wrong(f"{at}.bytes", size, "a whole number, 0 or more")
        if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
            raise wrong(f"{at}.sha256", digest, "64 hexadecimal digits")


def _require_known(name: str, where: object) -> None:
    if not (_KNOWN.fullmatch(name) and untrusted.is_inside(name)):
        rule = "model.onnx, model.tflite, model.stablehlo or golden/NAME"
        raise wrong(where, name, rule)


def _tensors(
    folder: Path, manifest: Mapping[str, Any], skeleton: Skeleton
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Every tensor, and where it starts in the file.

    No data is read before the sizes in the manifest, in the spec, in the file's own
    header and on the disk were found to be the same.
    """
    path, entry = folder / TENSORS, manifest["files"][TENSORS]
    with untrusted.open_inside(folder, TENSORS) as file:
        size = untrusted.size_bytes(file)
        require_equal(entry["bytes"], size, f"{folder / MANIFEST}.files.{TENSORS}.bytes")
        start = file.read(8)
        header = _header(file, start, size, skeleton, path)
        content = start + header + file.read(size)
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry["sha256"]:
        raise wrong(path, digest, f"SHA-256 {entry['sha256']}: the file was changed")
    try:
        return safetensors.numpy.load(content), _first_bytes(content)
    except safetensors.SafetensorError as error:
        raise refusal(path, f"is no safetensors file: {error}") from None


def _header(
    file: BinaryIO, start: bytes, size: int, skeleton: Skeleton, path: Path
) -> bytes:
    """The header, found to describe exactly the tensors of the spec."""
    expected = skeleton.tensors()
    length = int.from_bytes(start, "little")
    total = sum(tensor.bytes for tensor in expected.values())
    if length > untrusted.JSON_LIMIT_BYTES or total > TENSORS_LIMIT_BYTES:
        raise wrong(path, size, f"a header and {total} bytes, neither beyond all measure")
    if size != 8 + length + total:
        raise wrong(f"{path}: size", size, f"8 + {length} + {total} bytes, by the spec")
    text = file.read(length)
    header = untrusted.parse_json(text, path)
    require_fields(header, tuple(expected), str(path))
    spans = []
    for name, entry in header.items():
        require_fields(entry, ("data_offsets", "dtype", "shape"), f"{path}.{name}")
        spans.append((_span(entry, expected[name], f"{path}.{name}"), name))
    at = 0
    for (first, last), name in sorted(spans):
        require_equal(first, at, f"{path}.{name}.data_offsets[0]")
        at = last
    return text


def _span(entry: Mapping[str, Any], tensor: Tensor, where: str) -> tuple[int, int]:
    """First byte of a tensor and the one after its last."""
    require_equal(entry["dtype"], _DTYPES[tensor.dtype.name], f"{where}.dtype")
    require_equal(entry["shape"], list(tensor.shape), f"{where}.shape")
    offsets = entry["data_offsets"]
    numbers = isinstance(offsets, list) and [type(one) for one in offsets] == [int, int]
    if not numbers or offsets[1] - offsets[0] != tensor.bytes or offsets[0] < 0:
        raise wrong(f"{where}.data_offsets", offsets, f"{tensor.bytes} bytes")
    return offsets[0], offsets[1]


def verify_files(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """One sentence for each file that is missing or not the one a manifest lists.

    Args:
      manifest: of `load`, which has checked the names.
    """
    found = (
        _verify(folder, name, entry) for name, entry in sorted(manifest["files"].items())
    )
    return [sentence for sentence in found if sentence]


def _verify(folder: Path, name: str, entry: Mapping[str, Any]) -> str | None:
    path = folder / name
    try:
        with untrusted.open_inside(folder, name) as file:
            size = untrusted.size_bytes(file)
            if size != entry["bytes"]:
                return f"`{path}` has {size} bytes, not {entry['bytes']}."
            digest = untrusted.sha256(file)
    except InputError as error:
        return str(error)
    if digest != entry["sha256"]:
        return f"`{path}` has SHA-256 {digest}, not {entry['sha256']}."
    return None
