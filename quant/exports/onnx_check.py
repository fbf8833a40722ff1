"""What an ONNX file holds against what it should hold; nothing of it is executed.

Only the protocol buffer is parsed: no reference to another file is followed, and no
shape that a file claims is allocated.
"""

from __future__ import annotations

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import helper

from configs.errors import InputError

# Parsing needs memory in proportion to the bytes, so their number is limited first.
_SLACK_BYTES = 4096


def parse(content: bytes) -> onnx.ModelProto:
    """The model in the bytes of a file; InputError if they hold none."""
    try:
        return onnx.ModelProto.FromString(content)
    except DecodeError as error:
        raise InputError(
            f"`model.onnx` (={len(content)} bytes) must be an ONNX model ({error}); "
            f"export the network again."
        ) from None


def difference(content: bytes, expected: bytes) -> str | None:
    """The first thing in which a file is not the expected one, as a sentence.

    Name and version of the program that wrote the file may differ, nothing else may.
    """
    if len(content) > len(expected) + _SLACK_BYTES:
        return f"the file has {len(content)} bytes, not {len(expected)}"
    try:
        found = parse(content)
    except InputError:
        return f"the file ({len(content)} bytes) is damaged or no ONNX model"
    # Two parsers can read one odd encoding in two ways.
    if found.SerializeToString(deterministic=True) != content:
        return "the file is not encoded as ONNX models are"
    wanted = onnx.ModelProto.FromString(expected)
    for model in (found, wanted):
        model.ClearField("producer_name")
        model.ClearField("producer_version")
    if _same(found, wanted):
        return None
    return (
        _constants(found.graph.initializer, wanted.graph.initializer)
        or _operators(found.graph.node, wanted.graph.node)
        or "the versions, the inputs, the outputs or the notes of the file are others"
    )


def _same(found, wanted) -> bool:
    """Whether two messages hold the same, fields that this program does not know too."""
    pair = (message.SerializeToString(deterministic=True) for message in (found, wanted))
    return next(pair) == next(pair)


def _constants(found, wanted) -> str | None:
    """First difference among the constants; strings of the file are never shown."""
    for index, tensor in enumerate(wanted):
        if index >= len(found):
            return f"`{tensor.name}` is missing"
        if not _same(found[index], tensor):
            return _constant(found[index], tensor)
    if len(found) > len(wanted):
        return f"the file has {len(found)} constants, not {len(wanted)}"
    return None


def _constant(found: onnx.TensorProto, wanted: onnx.TensorProto) -> str:
    name = f"`{wanted.name}`"
    if found.data_type != wanted.data_type or list(found.dims) != list(wanted.dims):
        return f"{name} has another type or shape"
    if len(found.raw_data) != len(wanted.raw_data):
        return f"{name} has {len(found.raw_data)} bytes, not {len(wanted.raw_data)}"
    if found.raw_data == wanted.raw_data:
        return f"{name} has another name or is stored in another way"
    dtype = helper.tensor_dtype_to_np_dtype(wanted.data_type).newbyteorder("<")
    # A damaged truth value may be a byte beyond 1.
    dtype = np.dtype(np.uint8) if dtype == np.bool_ else dtype
    has, must = (np.frombuffer(t.raw_data, dtype) for t in (found, wanted))
    # Bits, since zeros have two signs and no NaN is itself.
    bits_has, bits_must = (v.view(f"u{dtype.itemsize}") for v in (has, must))
    at = int(np.flatnonzero(bits_has != bits_must)[0])
    return f"{name} at index {_our_index(at, wanted)} is {has[at]}, not {must[at]}"


def _our_index(at: int, wanted: onnx.TensorProto) -> int:
    """Where the network has the value at a flat index of the file: its convolutions are
    (R, S, C, F), those of ONNX (F, C, R, S)."""
    shape = tuple(wanted.dims)
    if len(shape) != 4 or not wanted.name.endswith(".weights"):
        return at
    f, c, r, s = np.unravel_index(at, shape)
    ours = tuple(shape[axis] for axis in (2, 3, 1, 0))
    return int(np.ravel_multi_index((r, s, c, f), ours))


def _operators(found, wanted) -> str | None:
    for index, node in enumerate(wanted):
        if index >= len(found):
            return f"the operator `{node.name}` ({node.op_type}) is missing"
        if not _same(found[index], node):
            return (
                f"the operator `{node.name}` ({node.op_type}) is another or set otherwise"
            )
    if len(found) > len(wanted):
        return f"the file has {len(found)} operators, not {len(wanted)}"
    return None
