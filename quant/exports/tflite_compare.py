"""What a .tflite file holds against what `encode` writes, without running the file.

Two flatbuffers of the same content may be laid out differently, so values are compared,
not bytes. The walk follows the expected content and never the file's: it is as long as
that, whatever the file says. Offsets are unsigned and every read checks its bounds, so a
damaged file ends the walk with an error, which becomes the answer.
"""

from __future__ import annotations

import struct
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from configs.checks import brief
from quant.exports.tflite_builder import ALIGNMENT, IDENTIFIER, schema
from quant.exports.tflite_layers import encode
from quant.network import IntNetwork

# What reading beyond the end of a buffer raises, in struct, numpy and flatbuffers.
_DAMAGE = (struct.error, ValueError, TypeError, IndexError, OverflowError)


class Difference(NamedTuple):
    """Where two files first differ: attribute names and indices from the root, and what
    stands there; for a vector of numbers the whole of it, the path ending in the index."""

    path: tuple[str | int, ...]
    found: Any
    wanted: Any


def differences(content: bytes, network: IntNetwork) -> str | None:
    """None if the file is what `encode(network)` writes, else the first difference."""
    expected = encode(network)
    if content == expected:
        return None
    size = f"(={len(content)} bytes)"
    if content[4:8] != IDENTIFIER:
        return f"the file {size} is not a .tflite file"
    s = schema()
    model = s.ModelT.InitFromObj(s.Model.GetRootAs(expected, 0))
    try:
        # Cutting a string short at the end of the file is no error in flatbuffers; with
        # one more byte it is at least another string.
        reader = s.Model.GetRootAs(bytes(content) + b"\0", 0)
        first = _table(s, model, reader, ())
    except _DAMAGE as error:
        return f"the file {size} is damaged: {error}"
    return _sentence(model, first) if first else None


def _table(s: ModuleType, wanted: Any, found: Any, path: tuple) -> Difference | None:
    """First difference between an object and a table of the file."""
    for attribute, value in vars(wanted).items():
        accessor = attribute[0].upper() + attribute[1:]
        first = _field(s, value, found, accessor, (*path, attribute))
        if first:
            return first
    return None


def _field(s: ModuleType, wanted: Any, found: Any, accessor: str, path: tuple):
    length = getattr(found, f"{accessor}Length", None)
    if length:
        there = 0 if getattr(found, f"{accessor}IsNone")() else length()
        size = 0 if wanted is None else len(wanted)
        if there != size:
            return Difference((*path, "length"), there, size)
        return _vector(s, wanted, found, accessor, path) if size else None
    value = getattr(found, accessor)()
    if not hasattr(wanted, "Pack"):
        return Difference(path, value, wanted) if value != wanted else None
    if value is None:
        return Difference(path, None, type(wanted).__name__)
    kind = getattr(s, type(wanted).__name__.removesuffix("T"))
    if not isinstance(value, kind):
        # The options of an operator: a union, whose class its type field has settled.
        table, value = value, kind()
        value.Init(table.Bytes, table.Pos)
    return _table(s, wanted, value, path)


def _vector(s: ModuleType, wanted: Any, found: Any, accessor: str, path: tuple):
    """First difference between two vectors of the same length."""
    if path[-1] == "data" and (position := _position(found)) % ALIGNMENT:
        return Difference((*path, "position"), position, f"a multiple of {ALIGNMENT}")
    if isinstance(wanted, np.ndarray):
        return _numbers(wanted, getattr(found, f"{accessor}AsNumpy")(), path)
    for index, item in enumerate(wanted):
        value = getattr(found, accessor)(index)
        first = _table(s, item, value, (*path, index))
        if first:
            return first
    return None


def _position(buffer: Any) -> int:
    """Where in the file the bytes of a Buffer start; its first field, at 4, is `data`."""
    table = buffer._tab
    return table.Vector(table.Offset(4))


def _numbers(wanted: np.ndarray, found: np.ndarray, path: tuple) -> Difference | None:
    # As bits, so that a NaN equals itself and no zero equals another.
    bits = f"u{wanted.itemsize}"
    unequal = np.flatnonzero(found.view(bits) != wanted.view(bits))
    return Difference((*path, int(unequal[0])), found, wanted) if len(unequal) else None


def _sentence(model: Any, first: Difference) -> str:
    """The difference in the network's terms where it lies in a tensor."""
    path, found, wanted = first
    tensors = model.subgraphs[0].tensors
    if path[0] == "buffers" and path[2:3] == ("data",):
        named = [tensor for tensor in tensors if tensor.buffer == path[1]]
        return _constant(named[0], first)
    if isinstance(wanted, np.ndarray):
        found, wanted = found[path[-1]], wanted[path[-1]]
    found, wanted = brief(_plain(found)), brief(_plain(wanted))
    if path[:3] == ("subgraphs", 0, "tensors") and len(path) > 4:
        name = _plain(tensors[path[3]].name)
        what = " ".join(str(part) for part in path[4:] if part != "quantization")
        return f"`{name}`: {what} is {found}, not {wanted}"
    return f"{'.'.join(map(str, path))} of the file is {found}, not {wanted}"


def _plain(value: Any) -> Any:
    """A value as Python prints it: text for bytes, a number for a numpy scalar."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value.item() if isinstance(value, np.generic) else value


def _constant(tensor: Any, first: Difference) -> str:
    """The element of a constant in which its bytes differ, as the network holds it."""
    path, found, wanted = first
    name = _plain(tensor.name)
    if path[3] == "length":
        return f"`{name}` has {found} bytes, not {wanted}"
    if path[3] == "position":
        return f"`{name}` starts at byte {found} of the file, not {wanted}"
    types = schema().TensorType
    dtype = {types.INT8: "i1", types.INT32: "<i4", types.FLOAT32: "<f4"}[tensor.type]
    at = path[3] // np.dtype(dtype).itemsize
    # Unsigned values are stored shifted.
    zero = 0 if tensor.quantization is None else int(tensor.quantization.zeroPoint[0])
    there, ours = (array.view(dtype)[at].item() - zero for array in (found, wanted))
    return f"`{name}` at index {_place(tensor, at)} is {there}, not {ours}"


def _place(tensor: Any, at: int) -> int:
    """The index in the network's order: weights have their output features last there."""
    shape = tuple(int(size) for size in tensor.shape)
    by_feature = (
        tensor.quantization is not None and tensor.quantization.quantizedDimension == 0
    )
    if len(shape) < 2 or not by_feature:
        return at
    feature, *rest = np.unravel_index(at, shape)
    return int(np.ravel_multi_index((*rest, feature), (*shape[1:], shape[0])))
