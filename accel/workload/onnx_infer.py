"""The shape of every value in an ONNX model, as far as it is known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorShapeProto,
    ValueInfoProto,
    defs,
    helper,
    shape_inference,
)

from accel.workload import onnx_file, onnx_known
from accel.workload.bounds import printable
from configs.checks import brief
from configs.errors import InputError

Dim = int | None
Shapes = Mapping[str, tuple[Dim, ...]]
Sizes = Mapping[str, int]

# Constants that shapes are computed from (of Reshape, Slice) are short.
_SHAPE_NUMBERS = 1024
_RECURRENT = ("LSTM", "GRU", "RNN")
# Of an operator that ONNX does not know; inference passes it over.
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Inferred:
    """Shapes by name of a value; None for a dimension that is not known."""

    shapes: Shapes
    # Sizes that are open and were not given, as they are named.
    open_sizes: tuple[str, ...]
    # Inferences, and whether one is of a picture.
    inferences: int
    pictures: bool
    remarks: tuple[str, ...]


def infer(path: Path, model: ModelProto, images: int, sizes: Sizes) -> Inferred:
    """Shapes of a model whose open sizes become what `sizes` says, its batch `images`.

    The batch is the first dimension of each input, of what a recurrent layer reads
    directly the second one. An open size is called by its symbol, or `input.axis`.

    Raises:
      InputError: a size is not the model's, the batch is fixed at another number, or the
        model contradicts itself.
    """
    light = _without_constants(model)
    open_before = _open_sizes(light)
    _set_sizes(path, light, sizes, open_before)
    remarks = [f"The size `{name}` is {size}." for name, size in sizes.items()]
    opened, fixed = _set_batch(path, light, images)
    remarks += [f"The open batch `{name}` is {images}." for name in opened]
    pictures = any(
        len(value.type.tensor_type.shape.dim) == 4 for value in light.graph.input
    )
    inferences = images
    if pictures and not opened and images == 1 and fixed > 1:
        inferences = fixed
        remarks.append(f"The file fixes its batch: {fixed} images.")
    _add_constants(light.graph, model.graph)
    shapes = _inferred(path, light)
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    left = tuple(_open_sizes(light, model.graph))
    return Inferred(shapes, left, inferences, pictures, tuple(remarks))


def _inferred(path: Path, light: ModelProto) -> dict[str, tuple[Dim, ...]]:
    try:
        found = shape_inference.infer_shapes(light, data_prop=True)
    except (shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise InputError(
            f"`{path}` has shapes that contradict each other ({brief(str(error))}); "
            f"check it with `onnx.checker.check_model`."
        ) from None
    graph = found.graph
    values = (*graph.value_info, *graph.output, *graph.input)
    return {value.name: _sizes(value) for value in values if _is_shaped(value)}


def _without_constants(model: ModelProto) -> ModelProto:
    """Operators, inputs and outputs; operators that ONNX does not know stand aside."""
    light = ModelProto(ir_version=max(model.ir_version, 4))
    light.opset_import.extend(model.opset_import)
    graph, given = light.graph, model.graph
    graph.name = "shapes"
    graph.output.extend(given.output)
    graph.value_info.extend(given.value_info)
    constants = {tensor.name for tensor in given.initializer}
    graph.input.extend(value for value in given.input if value.name not in constants)
    for value in graph.input:
        for dim in value.type.tensor_type.shape.dim:
            # Some tools write 0 or -1 for what is open.
            if dim.HasField("dim_value") and dim.dim_value < 0:
                dim.ClearField("dim_value")
    batches = (dim for _, dim in _batch_dimensions(light, given))
    for dim in batches:
        if dim.HasField("dim_value") and dim.dim_value == 0:
            dim.ClearField("dim_value")
    for node in given.node:
        graph.node.append(_inferable(node, graph))
    known = {one.domain for one in light.opset_import}
    if not known & set(onnx_known.STANDARD):
        light.opset_import.append(helper.make_opsetid("", defs.onnx_opset_version()))
    for domain in {n.domain for n in graph.node} - known - set(onnx_known.STANDARD):
        light.opset_import.append(helper.make_opsetid(domain, 1))
    return light


def _inferable(node: NodeProto, graph: GraphProto) -> NodeProto:
    """The node, or one of the same shapes in its place."""
    if node.op_type == "Constant" and any(
        onnx_file.is_external(a.t) for a in node.attribute
    ):
        tensor = next(a.t for a in node.attribute if a.HasField("t"))
        dims = list(tensor.dims)
        name = f"{node.output[0]}.stored"
        graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, dims))
        return helper.make_node("Identity", [name], [node.output[0]])
    if onnx_known.is_standard(node):
        return node
    stand = onnx_known.stand(node)
    if stand is None or max(stand.inputs) >= len(node.input):
        aside = NodeProto()
        aside.CopyFrom(node)
        aside.domain = f"{_UNKNOWN}.{node.domain}"
        return aside
    inputs = [node.input[at] for at in stand.inputs]
    other = helper.make_node(stand.operator, inputs, list(node.output[:1]), name=node.name)
    other.attribute.extend(a for a in node.attribute if a.name in stand.attributes)
    return other


def _add_constants(light: GraphProto, given: GraphProto) -> None:
    """Short constants as they are, the others as inputs: their shapes are enough."""
    for tensor in given.initializer:
        short = math.prod(tensor.dims) <= _SHAPE_NUMBERS
        if short and not onnx_file.is_external(tensor):
            light.initializer.append(tensor)
        else:
            kind, dims = tensor.data_type, list(tensor.dims)
            light.input.append(helper.make_tensor_value_info(tensor.name, kind, dims))


def _open_sizes(
    model: ModelProto, given: GraphProto | None = None
) -> dict[str, list[TensorShapeProto.Dimension]]:
    """Dimensions of the inputs that are open, by what they are called."""
    found: dict[str, list] = {}
    constants = {tensor.name for tensor in given.initializer} if given else set()
    for value in model.graph.input:
        if value.name in constants:
            continue
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value"):
                name = dim.dim_param or f"{value.name}.{axis}"
                found.setdefault(printable(name), []).append(dim)
    return found


def _set_sizes(path: Path, model: ModelProto, sizes: Sizes, known: Mapping) -> None:
    """Puts the sizes that were given where the model names them."""
    for name, size in sizes.items():
        if name not in known:
            there = ", ".join(f"`{one}`" for one in known) or "none"
            raise InputError(
                f"`--size {name}={size}` names no open size of `{path}`; it has {there}."
            )
        symbols = {dim.dim_param for dim in known[name] if dim.dim_param}
        for dim in known[name]:
            dim.dim_value = size
        for dim in _all_dimensions(model):
            if dim.dim_param in symbols:
                dim.dim_value = size


def _set_batch(path: Path, model: ModelProto, images: int) -> tuple[list[str], int]:
    """Puts `images` where the batch is open; says where, and where it is fixed at what."""
    first = _batch_dimensions(model, model.graph)
    symbols = {dim.dim_param for _, dim in first if dim.dim_param}
    opened = [(name, dim) for name, dim in first if not dim.HasField("dim_value")]
    fixed = [(name, dim.dim_value) for name, dim in first if dim.HasField("dim_value")]
    if not opened and images != 1 and all(size != images for _, size in fixed):
        given = ", ".join(f"`{name}` {size}" for name, size in fixed[:3]) or "no input"
        raise InputError(
            f"`{path}` leaves no batch open for `images` (={images}): the first sizes of "
            f"its inputs are {given}; use images=1, which takes the file as it is."
        )
    names = [dim.dim_param or f"{name}.0" for name, dim in opened]
    for _, dim in opened:
        dim.dim_value = images
    for dim in _all_dimensions(model):
        if dim.dim_param in symbols:
            dim.dim_value = images
    return list(dict.fromkeys(map(printable, names))), fixed[0][1] if fixed else 1


def _batch_dimensions(
    model: ModelProto, given: GraphProto
) -> list[tuple[str, TensorShapeProto.Dimension]]:
    """Name and first dimension of each input."""
    axes = {}
    for node in given.node:
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
