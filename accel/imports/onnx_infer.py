"""The shape of every value in an ONNX model, as far as it is known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from onnx import (
    GraphProto,
    ModelProto,
    TensorShapeProto,
    ValueInfoProto,
    helper,
    shape_inference,
)

from configs.checks import brief
from configs.errors import InputError

Dim = int | None
Shapes = Mapping[str, tuple[Dim, ...]]

# Constants that shapes are computed from (of Reshape, Slice) are short.
_SHAPE_NUMBERS = 1024
_RECURRENT = ("LSTM", "GRU", "RNN")


def infer(path: Path, model: ModelProto, images: int) -> Shapes:
    """Shapes by name of a value; None for a dimension that is not known.

    The batch is the first dimension of each input, of what a recurrent layer reads
    directly the second one; wherever it is open, it becomes `images`.

    Raises:
      InputError: the batch is fixed at another number, or the model contradicts itself.
    """
    light = _without_constants(model)
    _set_batch(path, light, images)
    _add_constants(light.graph, model.graph)
    try:
        found = shape_inference.infer_shapes(light, data_prop=True)
    except (shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise InputError(
            f"`{path}` has shapes that contradict each other ({brief(str(error))}); "
            f"check it with `onnx.checker.check_model`."
        ) from None
    graph = found.graph
    values = (*graph.value_info, *graph.output, *graph.input)
    shapes = {value.name: _sizes(value) for value in values if _is_shaped(value)}
    return shapes | {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}


def _without_constants(model: ModelProto) -> ModelProto:
    """Operators, inputs and outputs."""
    light = ModelProto(ir_version=max(model.ir_version, 4))
    light.opset_import.extend(model.opset_import)
    graph, given = light.graph, model.graph
    graph.name = "shapes"
    graph.node.extend(given.node)
    graph.output.extend(given.output)
    graph.value_info.extend(given.value_info)
    constants = {tensor.name for tensor in given.initializer}
    graph.input.extend(value for value in given.input if value.name not in constants)
    return light


def _add_constants(light: GraphProto, given: GraphProto) -> None:
    """Short constants as they are, the others as inputs: their shapes are enough."""
    for tensor in given.initializer:
        if math.prod(tensor.dims) <= _SHAPE_NUMBERS:
            light.initializer.append(tensor)
        else:
            kind, dims = tensor.data_type, list(tensor.dims)
            light.input.append(helper.make_tensor_value_info(tensor.name, kind, dims))


def _set_batch(path: Path, model: ModelProto, images: int) -> None:
    """Puts `images` where the batch is open."""
    first = _batch_dimensions(model)
    symbols = {dim.dim_param for _, dim in first if dim.dim_param}
    opened = [dim for _, dim in first if not dim.HasField("dim_value")]
    fixed = [(name, dim.dim_value) for name, dim in first if dim.HasField("dim_value")]
    if not opened and images != 1 and all(size != images for _, size in fixed):
        given = ", ".join(f"`{name}` {size}" for name, size in fixed[:3]) or "no input"
        raise InputError(
            f"`{path}` leaves no batch open for `images` (={images}): the first sizes of "
            f"its inputs are {given}; use images=1, which takes the file as it is."
        )
    for dim in opened:
        dim.dim_value = images
    for dim in _all_dimensions(model):
        if dim.dim_param in symbols:
            dim.dim_value = images


def _batch_dimensions(model: ModelProto) -> list[tuple[str, TensorShapeProto.Dimension]]:
    """Name and first dimension of each input."""
    axes = {}
    for node in model.graph.node:
        layout = next((a.i for a in node.attribute if a.name == "layout"), 0)
        if node.op_type in _RECURRENT and not layout:
            # Input, states and cells have the batch second; the lengths have it first.
            axes |= {name: 1 for at, name in enumerate(node.input) if at in (0, 5, 6)}
    found = []
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        axis = axes.get(value.name, 0)
        if axis < len(dims):
            found.append((value.name, dims[axis]))
    return found


def _all_dimensions(model: ModelProto) -> Iterator[TensorShapeProto.Dimension]:
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield from value.type.tensor_type.shape.dim


def _is_shaped(value: ValueInfoProto) -> bool:
    kind = value.type
    return kind.HasField("tensor_type") and kind.tensor_type.HasField("shape")


def _sizes(value: ValueInfoProto) -> tuple[Dim, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
