"""Golden vectors: what every step does to a few images, for test benches.

Each array stands in two files with one meaning. `.npy` is numpy's format, little-endian.
`.mem` is text that Verilog's `$readmemh` reads: after a `//` comment one value a line,
row-major, two's complement, as many hexadecimal digits as its width needs. `index.json`
lists them all. Every number comes from the normative arithmetic.

A step has the name of the layer or value that it ends in. What steps share (weights of a
recurrence, tables) stands there once, under the name of its owner. Steps that only cut a
value or put values side by side make no number and write none.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from configs.checks import brief
from configs.errors import InputError
from configs.program import Concat, Slice
from quant import untrusted
from quant.network import Activated, IntNetwork, IntStep, Weighted
from quant.normative import Step, steps

FOLDER = "golden"
INDEX = f"{FOLDER}/index.json"
LIMIT_BYTES = 64 << 20
VERSION = 1
# What a file counts for beside its values: very many small ones are no use either.
_FILE_BYTES = 16 << 10


@dataclass(frozen=True, kw_only=True)
class Vector:
    """One golden array of a step."""

    # Name of the step, or of the owner of what is the same for all images.
    layer: str
    tensor: str
    # Number of the image; None for what is the same for all.
    image: int | None
    array: np.ndarray

    @property
    def stem(self) -> str:
        where = "" if self.image is None else f"image{self.image}."
        return f"{where}{self.layer}.{self.tensor}"

    @property
    def bits(self) -> int:
        return 8 * self.array.dtype.itemsize

    @property
    def signed(self) -> bool:
        return self.array.dtype.kind == "i"


def write(
    network: IntNetwork,
    images: UInt8[np.ndarray, "n ..."],
    labels: Sequence[int] | None = None,
) -> dict[str, bytes]:
    """Content of every file by its path; none for no images.

    Raises:
      InputError: the files would take more than LIMIT_BYTES.
    """
    _require_small(network, len(images))
    if not len(images):
        return {}
    files, entries = {}, []
    for vector in vectors(network, images):
        for kind, encode in (("mem", mem), ("npy", npy)):
            name, content = f"{vector.stem}.{kind}", encode(vector)
            files[f"{FOLDER}/{name}"] = content
            entries.append(_entry(vector, name, kind, content))
    labels = None if labels is None else [int(label) for label in labels]
    index = {"version": VERSION, "images": len(images), "labels": labels, "files": entries}
    text = json.dumps(index, sort_keys=True, indent=1) + "\n"
    return {INDEX: text.encode(), **files}


def vectors(network: IntNetwork, images: UInt8[np.ndarray, "n ..."]) -> Iterator[Vector]:
    """Every golden array: what a step holds once, then what it does to each image."""
    written = set()
    for step in steps(network, images):
        owner = step.layer.owner
        if owner is not None and owner not in written:
            written.add(owner)
            for tensor, array in step.layer.numbers.tensors().items():
                yield Vector(layer=owner, tensor=tensor, image=None, array=array)
        if not _is_written(step.layer, network):
            continue
        for tensor, batch in _traced(step).items():
            for image, array in enumerate(batch):
                yield Vector(layer=step.layer.name, tensor=tensor, image=image, array=array)


def _is_written(layer: IntStep, network: IntNetwork) -> bool:
    """Whether a step makes numbers, or takes the images."""
    moves = any(layer.step.find(kind) for kind in (Slice, Concat))
    return not moves or network.program.input.name in layer.step.inputs


def _input_names(layer: IntStep) -> list[str]:
    """What the values are called that a step takes, in its order."""
    several = len(layer.inputs) > 1
    return [f"input{i if several else ''}" for i in range(len(layer.inputs))]


def _traced(step: Step) -> dict[str, np.ndarray]:
    """Arrays (n, ...) of a step in the registers that hold them."""
    arrays = dict(zip(_input_names(step.layer), step.inputs, strict=True))
    if step.layer.weighted:
        # No sum of a checked network leaves 32 bits.
        arrays["products"] = step.products.astype(np.int32)
        arrays["sums"] = step.sums.astype(np.int32)
        arrays["requantised"] = step.requantised.astype(step.layer.weighted.sum.dtype)
    return {**arrays, "output": step.output}


def image_name(network: IntNetwork, image: int | str) -> str:
    """The file of an image: what the first step that takes the network's input takes."""
    pixels = network.program.input.name
    layer = next(step for step in network.walk() if pixels in step.step.inputs)
    tensor = _input_names(layer)[layer.step.inputs.index(pixels)]
    return f"{FOLDER}/image{image}.{layer.name}.{tensor}.npy"


def npy(vector: Vector) -> bytes:
    """The array in numpy's format."""
    array = np.ascontiguousarray(vector.array, vector.array.dtype.newbyteorder("<"))
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=(1, 0), allow_pickle=False)
    return file.getvalue()


def mem(vector: Vector) -> bytes:
    """The array as text for `$readmemh`."""
    size = vector.array.dtype.itemsize
    values = vector.array.astype(f">{vector.array.dtype.kind}{size}")
    sort = "two's complement" if vector.signed else "unsigned"
    head = (
        f"// {vector.layer} {vector.tensor}, shape {_shape(vector)}, row-major, "
        f"{vector.bits}-bit {sort}\n"
    )
    return (head + values.tobytes().hex("\n", size) + "\n").encode()


def _shape(vector: Vector) -> str:
    """Sizes with the names of the axes, slowest first."""
    array = vector.array
    rows = "K" if vector.image is None else "T"
    axes = {1: "F", 2: f"{rows}F", 3: "HWC", 4: "RSCF"}[array.ndim]
    return " ".join(f"{a}={n}" for a, n in zip(axes, array.shape, strict=True))


def _entry(vector: Vector, name: str, kind: str, content: bytes) -> dict[str, Any]:
    return {
        "path": name,
        "layer": vector.layer,
        "tensor": vector.tensor,
        "image": vector.image,
        "shape": list(vector.array.shape),
        "signed": vector.signed,
        "bits": vector.bits,
        "packing": {
            "mem": "hexadecimal text, one value per line, row-major",
            "npy": "numpy array, row-major",
        }[kind],
        "byte_order": {"mem": "most significant digit first", "npy": "little"}[kind],
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _require_small(network: IntNetwork, count: int) -> None:
    """Refuses more images than fit, before anything is computed."""
    own = sum(_own_bytes(numbers) for numbers in network.numbers().values())
    written = (layer for layer in network.walk() if _is_written(layer, network))
    each = sum(_image_bytes(layer) for layer in written)
    if count and own + count * each > LIMIT_BYTES:
        most = max((LIMIT_BYTES - own) // each, 0)
        raise InputError(
            f"`--golden-images` (={count}) must be at most {most}: golden vectors may take "
            f"{LIMIT_BYTES >> 20} MiB; use --golden-images {most}."
        )


def _own_bytes(numbers: Weighted | Activated) -> int:
    arrays = numbers.tensors().values()
    return sum(_both_bytes(array.size, array.itemsize) for array in arrays)


def _image_bytes(layer: IntStep) -> int:
    outputs = math.prod(layer.shape)
    taken = _both_bytes(outputs, layer.output.dtype.itemsize)
    for shape, kind in zip(layer.input_shapes, layer.inputs, strict=True):
        taken += _both_bytes(math.prod(shape), kind.dtype.itemsize)
    if layer.weighted:
        taken += 2 * _both_bytes(outputs, 4) + _both_bytes(outputs, 1)
    return taken


def _both_bytes(values: int, size: int) -> int:
    """Size of an array in both formats."""
    return values * (size + 2 * size + 1) + 2 * _FILE_BYTES


def differences(files: Mapping[str, bytes] | Path, network: IntNetwork) -> str | None:
    """One sentence on the first file that is not what the network does, or None.

    Args:
      files: what `write` gave, or the folder that `golden/` is in.
    """
    try:
        held = _read(files) if isinstance(files, Path) else files
        if not held:
            return None
        index, images = _inputs(held, network)
        expected = write(network, images, index["labels"])
    except InputError as error:
        return str(error)
    for name in sorted(expected.keys() ^ held.keys()):
        return f"`{brief(name)}` is {'missing' if name in expected else 'not expected'}."
    for vector in vectors(network, images):
        for kind in ("npy", "mem"):
            name = f"{FOLDER}/{vector.stem}.{kind}"
            if held[name] != expected[name]:
                return _difference(name, vector, held[name], expected[name])
    if held[INDEX] != expected[INDEX]:
        return f"`{INDEX}` does not describe the files that stand beside it."
    return None


def _read(folder: Path) -> dict[str, bytes]:
    """Every file of `golden/`; none if there is no such folder."""
    try:
        names = sorted(os.listdir(folder / FOLDER))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise untrusted.refusal(
            folder / FOLDER, f"cannot be read: {error.strerror}"
        ) from None
    held, room = {}, LIMIT_BYTES
    for name in (f"{FOLDER}/{name}" for name in names):
        with untrusted.open_inside(folder, name) as file:
            size = untrusted.size_bytes(file)
            if size > room:
                rule = f"at most {LIMIT_BYTES} bytes together with the others"
                raise untrusted.wrong(f"{folder / name}: size", size, rule)
            held[name] = file.read(size)
        room -= size
    return held


def _inputs(
    held: Mapping[str, bytes], network: IntNetwork
) -> tuple[dict[str, Any], np.ndarray]:
    """The index and the images, which the first step's inputs are."""
    index = untrusted.parse_json(held.get(INDEX, b""), INDEX)
    count, labels = index.get("images"), index.get("labels")
    if type(count) is not int or count < 1:
        raise untrusted.wrong(f"{INDEX}: images", count, "a whole number, 1 or more")
    _require_small(network, count)
    listed = isinstance(labels, list) and all(type(label) is int for label in labels)
    if labels is not None and not (listed and len(labels) == count):
        raise untrusted.wrong(f"{INDEX}: labels", labels, f"null or {count} whole numbers")
    shape = network.network.input_shape
    images = np.empty((count, *shape), np.uint8)
    for image in range(count):
        name = image_name(network, image)
        content = held.get(name, b"")
        if len(content) < images[image].size:
            size = images[image].size
            raise untrusted.wrong(f"{name}: size", len(content), f"at least {size}")
        # The header before it is compared with the expected one later.
        data = content[len(content) - images[image].size :]
        images[image] = np.frombuffer(data, np.uint8).reshape(shape)
    return {"labels": labels}, images


def _difference(name: str, vector: Vector, found: bytes, expected: bytes) -> str:
    """The first value that differs, or what else does."""
    where = f"`{vector.layer}.{vector.tensor}`"
    where += "" if vector.image is None else f" of image {vector.image}"
    if name.endswith(".mem"):
        pairs = zip(found.split(b"\n"), expected.split(b"\n"), strict=False)
        line = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
        at = "at its end" if line is None else f"in line {line + 1}"
        return f"{where} differs {at} of {name}."
    size = vector.array.nbytes
    if len(found) != len(expected) or found[:-size] != expected[:-size]:
        return f"{where}: {name} is damaged, its header or size is wrong."
    dtype = vector.array.dtype.newbyteorder("<")
    a, b = (np.frombuffer(content[-size:], dtype) for content in (found, expected))
    index = int(np.argmax(a != b))
    return f"{where} at index {index} is {a[index]}, not {b[index]} ({name})."
