"""The program of an integer network as an ONNX graph of quantised operators.

A sum or product is written as real arithmetic between DequantizeLinear and
QuantizeLinear, which runtimes turn into integer kernels; means, padding and tables are
integer operators, exact in any runtime. How integers stand in tensors: `onnx_builder`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from configs.program import (
    Activate,
    Add,
    Concat,
    Mul,
    Node,
    Pad,
    Pool,
    Product,
    Reshape,
    Slice,
    State,
    entry,
)
from quant import normative
from quant.exports.onnx_builder import (
    PIXELS_LAST,
    PLANES,
    Graph,
    axis_of,
    is_wide,
    zero_point,
)
from quant.network import Activated, Format, IntNetwork, IntStep

OPSET = 21
IR_VERSION = 10
INPUT = "image"
OUTPUT = "logits"
BATCH = "batch"
_DOER = "quant.exports.onnx"


def build(network: IntNetwork) -> onnx.ModelProto:
    """The whole model: "image" uint8 (B, *input_shape) -> "logits" (B, F)."""
    graph, program = Graph(), network.program
    x = INPUT
    if len(program.input.shape) == 3:
        x = graph.add("Transpose", [x], "image.planes", perm=PLANES)
    graph.values[program.input.name] = x
    for node in program.nodes:
        if isinstance(node, State):
            graph.values[node.name] = _state(graph, node)
    for layer in network.walk():
        _step(graph, layer)
    _logits(graph, network, graph.values[program.output.name])
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "lockstep",
            [_value(INPUT, TensorProto.UINT8, network.network.input_shape)],
            [_value(OUTPUT, _logits_type(network), network.network.output_shape)],
            list(graph.constants.values()),
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="lockstep",
    )


def value_type(kind: Format) -> int:
    """Type of the tensor that holds a value inside."""
    return TensorProto.FLOAT if is_wide(kind) else TensorProto.UINT8


def _value(name: str, kind: int, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [BATCH, *shape])


def _logits_type(network: IntNetwork) -> int:
    return helper.np_dtype_to_tensor_dtype(network.output.dtype)


def _logits(graph: Graph, network: IntNetwork, x: str) -> None:
    """The last step's values in our order and with zero point 0."""
    if len(network.network.output_shape) == 3:
        x = graph.add("Transpose", [x], "logits.pixels", perm=PIXELS_LAST)
    kind = network.output
    if is_wide(kind):
        steps = graph.constant("logits.steps", 1 / kind.scale, np.float32)
        values = graph.add("Mul", [x, steps], "logits.values")
        graph.add("Cast", [values], OUTPUT, to=_logits_type(network))
    elif kind.signed:
        # Not a second QuantizeLinear: runtimes merge it into the first and fuse no more.
        wide = graph.add("Cast", [x], "logits.bytes", to=TensorProto.INT32)
        centre = graph.constant("logits.zero_point", 128, np.int32)
        values = graph.add("Sub", [wide, centre], "logits.values")
        graph.add("Cast", [values], OUTPUT, to=TensorProto.INT8)
    else:
        graph.add("Identity", [x], OUTPUT)


def _state(graph: Graph, node: State) -> str:
    """Zeros, as many as there are images."""
    kind = Format.of(node.grid)
    batch = graph.add("Shape", [INPUT], "image.batch", start=0, end=1)
    rest = graph.whole(node.shape)
    sizes = graph.add("Concat", [batch, rest], f"{node.name}.sizes", axis=0)
    zero = 0.0 if is_wide(kind) else zero_point(kind)
    dtype = np.float32 if is_wide(kind) else np.uint8
    zeros = graph.constant(f"{node.name}.zero", zero, dtype)
    x = graph.add("Expand", [zeros, sizes], node.name)
    return _to_planes(graph, x, node)


def _step(graph: Graph, layer: IntStep) -> None:
    """All nodes of a step; the tensors they make are noted in `graph.values`."""
    whole = layer.whole_pool
    if whole:
        x = graph.values[whole.input]
        graph.values[layer.name] = _global_pool(graph, layer, whole, x)
        return
    for node in layer.step.nodes:
        rule = entry(OPERATORS, node, _DOER)
        xs = [graph.values[name] for name in node.inputs]
        graph.values[node.name] = rule(graph, layer, node, *xs)


def _padding(graph: Graph, layer: IntStep, node: Pad, x: str) -> str:
    """The input with something around it; zeros before a product are left to that."""
    last = node is layer.step.nodes[-1]
    output = node.name if last else f"{layer.name}.padded"
    if not any(map(any, node.pads)):
        return graph.add("Identity", [x], output) if last else x
    if node.kind == "zero":
        return _zeros(graph, layer, node, x, output) if last else x
    if node.kind == "edge":
        return graph.add("Pad", [x, _around(graph, layer, node)], output, mode="edge")
    around = _around(graph, layer, node)
    shape, (rows, columns) = layer.input_shape, node.pads
    inside = np.ones((1, 1, *shape[:2]), bool)
    inside = np.pad(inside, [(0, 0), (0, 0), rows, columns])
    mask = graph.constant(f"{layer.name}.inside", inside, np.bool_)
    zeros = graph.add("Pad", [x, around], f"{layer.name}.zeros")
    mean = _mean(graph, x, shape, keepdims=1, output=f"{layer.name}.mean")
    return graph.add("Where", [mask, zeros, mean], output)


def _around(graph: Graph, layer: IntStep, node: Pad | Pool) -> str:
    (top, bottom), (left, right) = node.pads
    sizes = [0, 0, top, left, 0, 0, bottom, right]
    return graph.constant(f"{layer.name}.pads", sizes, np.int64)


def _zeros(graph: Graph, layer: IntStep, node: Pad | Pool, x: str, output: str) -> str:
    """Zeros around planes."""
    zero = zero_point(layer.input)
    byte = graph.constant(f"{layer.name}.pads.value", zero, np.uint8)
    return graph.add("Pad", [x, _around(graph, layer, node), byte], output)


def _product(graph: Graph, layer: IntStep, node: Product, x: str) -> str:
    """Sums as real numbers, the bias added."""
    name = layer.name
    inputs = [graph.real(f"{name}.input", x, layer.input)]
    inputs += _parameters(graph, layer, node)
    if node.kernel is None:
        return graph.add("Gemm", inputs, f"{name}.real")
    pad = layer.step.find(Pad)
    zeros = pad is not None and pad.kind == "zero"
    (top, bottom), (left, right) = pad.pads if zeros else ((0, 0), (0, 0))
    further: dict[str, Any] = {}
    if node.groups > 1:
        further["group"] = node.groups
    if node.dilation != (1, 1):
        further["dilations"] = node.dilation
    return graph.add(
        "Conv",
        inputs,
        f"{name}.real",
        kernel_shape=node.kernel,
        strides=node.stride,
        pads=[top, left, bottom, right],
        **further,
    )


def _parameters(graph: Graph, layer: IntStep, node: Product) -> list[str]:
    """Real weights, (F, C, R, S) or (inputs, F), and biases (F,); shared ones once."""
    w, convolution = layer.weighted, node.kernel is not None
    prefix = graph.owned(node.weights, layer.name, layer.input)
    weights = w.weights.transpose(3, 2, 0, 1) if convolution else w.weights
    scale = layer.weight_scale()
    stored = {"weights": (weights, np.int8, scale, 0 if convolution else 1)}
    stored["bias"] = (w.bias, np.int32, scale * layer.input.scale, 0)
    names = []
    for kind, (values, dtype, steps, axis) in stored.items():
        tensor = graph.constant(f"{prefix}.{kind}", values, dtype)
        scales = graph.constant(f"{tensor}.scale", steps, np.float32)
        # Optional, but ONNX Runtime leaves a Gemm in float without it.
        zeros = graph.constant(f"{tensor}.zero_point", np.zeros_like(w.bias), dtype)
        inputs = [tensor, scales, zeros]
        names.append(graph.add("DequantizeLinear", inputs, f"{tensor}.real", axis=axis))
    return names


def _activate(graph: Graph, layer: IntStep, node: Activate, x: str) -> str:
    """Real sums or products, or a value, brought to a grid, through a table if any."""
    name, numbers = layer.name, layer.numbers
    alone = layer.step.nodes == (node,)
    if alone and not is_wide(layer.input):
        return _mapped(graph, layer, node, x)
    if numbers.table is None:
        return graph.brought_back(name, x, numbers.output)
    index = graph.quantised(f"{name}.sum", x, numbers.sum)
    owner = layer.product.weights if layer.weighted else node.owner
    prefix = graph.owned(f"{owner}.table", f"{name}.table", "bytes")
    values = numbers.table.astype(np.int64)
    return graph.looked_up(name, values, numbers.output, index, prefix)


def _mapped(graph: Graph, layer: IntStep, node: Activate, x: str) -> str:
    """A byte for each byte, looked up. Not QuantizeLinear of DequantizeLinear: runtimes
    merge such pairs with their neighbours and then round once where we round twice."""
    low, kind = -zero_point(layer.input), layer.input
    bytes_ = np.clip(np.arange(256) + low, kind.low, kind.high)
    values = mapped(bytes_, kind, layer.activated)
    prefix = graph.owned(f"{node.owner}.bytes", f"{layer.name}.bytes", kind)
    return graph.looked_up(layer.name, values, layer.output, x, prefix)


def mapped(values: np.ndarray, kind: Format, numbers: Activated) -> np.ndarray:
    """What integers of a format become on a grid of their own, int64."""
    shift = numbers.sum.exponent - kind.exponent
    y = normative.rescale(values.astype(np.int64), shift, numbers.sum)
    return y if numbers.table is None else numbers.table.astype(np.int64)[y + 128]


def _pool(graph: Graph, layer: IntStep, node: Pool, x: str) -> str:
    name = layer.name if node is layer.step.nodes[-1] else node.name
    window, strides = list(node.window), list(node.stride)
    padded = any(map(any, node.pads))
    if node.kind == "max":
        (top, bottom), (left, right) = node.pads
        # Nothing that is padded here wins.
        further = {"pads": [top, left, bottom, right]} if padded else {}
        return graph.add(
            "MaxPool", [x], name, kernel_shape=window, strides=strides, **further
        )
    if padded:
        x = _zeros(graph, layer, node, x, f"{name}.padded")
    channels = node.shape[2]
    ones = graph.constant(f"{name}.ones", np.ones((channels, 1, *window)), np.uint8)
    # A depthwise convolution with ones is the one integer window sum that ONNX has.
    sums = graph.add(
        "ConvInteger",
        [x, ones],
        f"{name}.sums",
        kernel_shape=window,
        strides=strides,
        group=channels,
    )
    return graph.divided(name, sums, math.prod(window))


def _global_pool(graph: Graph, layer: IntStep, node: Pool, x: str) -> str:
    if node.kind == "mean":
        return _mean(graph, x, node.window, keepdims=0, output=layer.name)
    axes = graph.constant("plane_axes", [2, 3], np.int64)
    return graph.add("ReduceMax", [x, axes], layer.name, keepdims=0)


def _mean(graph: Graph, x: str, shape: tuple, *, keepdims: int, output: str) -> str:
    """Mean byte of each plane."""
    axes = graph.constant("plane_axes", [2, 3], np.int64)
    wide = graph.add("Cast", [x], f"{output}.wide", to=TensorProto.INT32)
    sums = graph.add("ReduceSum", [wide, axes], f"{output}.sums", keepdims=keepdims)
    return graph.divided(output, sums, math.prod(shape[:2]))


def _reshape(graph: Graph, layer: IntStep, node: Reshape, x: str) -> str:
    rank = len(layer.input_shape)
    before = next((n for n in layer.step.nodes if n.name == node.input), None)
    rank = len(before.shape) if before else rank
    if rank == 3:
        x = graph.add("Transpose", [x], f"{layer.name}.pixels", perm=PIXELS_LAST)
    if len(node.shape) == 1:
        return graph.add("Flatten", [x], layer.name, axis=1)
    planes = len(node.shape) == 3
    name = f"{layer.name}.rows" if planes else layer.name
    x = graph.add("Reshape", [x, graph.whole((-1, *node.shape))], name)
    return graph.add("Transpose", [x], layer.name, perm=PLANES) if planes else x


def _to_planes(graph: Graph, x: str, node: Node) -> str:
    if len(node.shape) != 3:
        return x
    return graph.add("Transpose", [x], f"{node.name}.planes", perm=PLANES)


def _slice(graph: Graph, layer: IntStep, node: Slice, x: str) -> str:
    axis = axis_of(node.axis, len(layer.input_shape))
    ends = [graph.whole((at,)) for at in (node.start, node.stop, axis)]
    return graph.add("Slice", [x, *ends], node.name)


def _concat(graph: Graph, layer: IntStep, node: Concat, *xs: str) -> str:
    axis = axis_of(node.axis, len(node.shape))
    return graph.add("Concat", list(xs), node.name, axis=axis)


def _combined(operator: str) -> Callable[..., str]:
    """The real arithmetic of two values."""

    def combine(graph: Graph, layer: IntStep, node: Add | Mul, *xs: str) -> str:
        known = dict(zip(layer.step.inputs, layer.inputs, strict=True))
        shapes = dict(zip(layer.step.inputs, layer.input_shapes, strict=True))
        reals = []
        for index, (name, x) in enumerate(zip(node.inputs, xs, strict=True)):
            # A vector meets every position of a map: its channels are the planes.
            missing = len(node.shape) - len(shapes.get(name, node.shape))
            if missing:
                first = 2 if len(node.shape) == 3 else 1
                axes = graph.whole(tuple(range(first, first + missing)))
                x = graph.add("Unsqueeze", [x, axes], f"{node.name}.factor{index}")
            if name in known:
                x = graph.real(f"{node.name}.input{index}", x, known[name])
            reals.append(x)
        return graph.add(operator, reals, f"{node.name}.real")

    return combine


# What each operator is in the graph: (graph, step, node, tensors it takes) -> its tensor.
OPERATORS: dict[type[Node], Callable[..., str]] = {
    Pad: _padding,
    Product: _product,
    Activate: _activate,
    Pool: _pool,
    Reshape: _reshape,
    Slice: _slice,
    Concat: _concat,
    Add: _combined("Add"),
    Mul: _combined("Mul"),
}
