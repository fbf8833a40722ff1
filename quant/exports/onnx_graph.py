"""The integer network as an ONNX graph of quantised operators.

Every activation is a uint8 tensor: an unsigned format has zero point 0, a signed one
128, since ONNX Runtime multiplies bytes of two signs fast and fuses a layer only if its
input and output have one type. A layer with weights is written as real arithmetic
between DequantizeLinear and QuantizeLinear, which runtimes turn into integer kernels;
means, padding and tables are integer operators, exact in any runtime.

Images come as (B, H, W, C), planes inside are (B, C, H, W), and flattening goes back.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from configs.errors import unknown
from configs.network import Conv, Dense, Flatten, GlobalPool, Pool
from quant.network import Format, IntLayer, IntNetwork

OPSET = 21
IR_VERSION = 10
INPUT = "image"
OUTPUT = "logits"
BATCH = "batch"
_PLANES = (0, 3, 1, 2)
_PIXELS_LAST = (0, 2, 3, 1)


def zero_point(kind: Format) -> int:
    """The byte that stands for zero."""
    return 128 if kind.signed else 0


class _Graph:
    """Nodes and constants in the order in which they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, values: object, dtype: type) -> str:
        """Adds a constant, once for each name."""
        if name not in self.constants:
            array = np.asarray(values, dtype)
            self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes) -> str:
        """Adds a node named after its one output."""
        node = helper.make_node(operator, inputs, [output], name=output, **attributes)
        self.nodes.append(node)
        return output

    def real(self, name: str, x: str, kind: Format) -> str:
        """The real numbers that an activation stands for."""
        return self.add("DequantizeLinear", [x, *self._format(name, kind)], f"{name}.real")

    def quantised(self, name: str, real: str, kind: Format) -> str:
        """clip(RNE(real / scale) + zero point, 0, 255)"""
        return self.add("QuantizeLinear", [real, *self._format(name, kind)], name)

    def _format(self, name: str, kind: Format) -> list[str]:
        return [
            self.constant(f"{name}.scale", kind.scale, np.float32),
            self.constant(f"{name}.zero_point", zero_point(kind), np.uint8),
        ]


def build(network: IntNetwork) -> onnx.ModelProto:
    """The whole model: "image" uint8 (B, *input_shape) -> "logits" (B, F)."""
    graph = _Graph()
    x = INPUT
    if len(network.network.input_shape) == 3:
        x = graph.add("Transpose", [x], "image.planes", perm=_PLANES)
    for layer in network.walk():
        x = _layer(graph, layer, x)
    _logits(graph, network, x)
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


def _value(name: str, kind: int, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [BATCH, *shape])


def _logits_type(network: IntNetwork) -> int:
    return TensorProto.INT8 if network.output.signed else TensorProto.UINT8


def _logits(graph: _Graph, network: IntNetwork, x: str) -> None:
    """The last layer's values in our order and with zero point 0."""
    if len(network.network.output_shape) == 3:
        x = graph.add("Transpose", [x], "logits.pixels", perm=_PIXELS_LAST)
    if not network.output.signed:
        graph.add("Identity", [x], OUTPUT)
        return
    # Not a second QuantizeLinear: runtimes merge it into the first and fuse no more.
    wide = graph.add("Cast", [x], "logits.bytes", to=TensorProto.INT32)
    centre = graph.constant("logits.zero_point", 128, np.int32)
    values = graph.add("Sub", [wide, centre], "logits.values")
    graph.add("Cast", [values], OUTPUT, to=TensorProto.INT8)


def _layer(graph: _Graph, layer: IntLayer, x: str) -> str:
    spec = layer.info.spec
    if layer.weighted:
        return _weighted(graph, layer, x)
    if isinstance(spec, Pool):
        return _pool(graph, layer, x)
    if isinstance(spec, GlobalPool):
        return _global_pool(graph, layer, x)
    if not isinstance(spec, Flatten):
        raise unknown(spec, "quant.exports.onnx_graph")
    if len(layer.info.input_shape) == 3:
        x = graph.add("Transpose", [x], f"{layer.name}.pixels", perm=_PIXELS_LAST)
    return graph.add("Flatten", [x], layer.name, axis=1)


def _weighted(graph: _Graph, layer: IntLayer, x: str) -> str:
    name, spec, w = layer.name, layer.info.spec, layer.weighted
    if isinstance(spec, Conv):
        x, pads = _padded(graph, layer, x)
    inputs = [graph.real(f"{name}.input", x, layer.input), *_parameters(graph, layer)]
    if isinstance(spec, Conv):
        real = graph.add(
            "Conv",
            inputs,
            f"{name}.real",
            kernel_shape=spec.kernel,
            strides=spec.stride,
            pads=pads,
        )
    elif isinstance(spec, Dense):
        real = graph.add("Gemm", inputs, f"{name}.real")
    else:
        raise unknown(spec, "quant.exports.onnx_graph")
    if w.table is not None:
        index = graph.quantised(f"{name}.sum", real, w.sum)
        return _looked_up(graph, layer, index)
    if w.output.bits == 8:
        return graph.quantised(name, real, w.output)
    saturated = graph.quantised(f"{name}.saturated", real, w.output)
    limits = [
        graph.constant(f"{name}.{end}", value + zero_point(w.output), np.uint8)
        for end, value in (("low", w.output.low), ("high", w.output.high))
    ]
    return graph.add("Clip", [saturated, *limits], name)


def _parameters(graph: _Graph, layer: IntLayer) -> list[str]:
    """Real weights, (F, C, R, S) or (inputs, F), and biases (F,)."""
    name, w = layer.name, layer.weighted
    convolution = w.weights.ndim == 4
    weights = w.weights.transpose(3, 2, 0, 1) if convolution else w.weights
    scale = layer.weight_scale()
    stored = {"weights": (weights, np.int8, scale, 0 if convolution else 1)}
    stored["bias"] = (w.bias, np.int32, scale * layer.input.scale, 0)
    names = []
    for kind, (values, dtype, steps, axis) in stored.items():
        tensor = graph.constant(f"{name}.{kind}", values, dtype)
        scales = graph.constant(f"{tensor}.scale", steps, np.float32)
        # Optional, but ONNX Runtime leaves a Gemm in float without it.
        zeros = graph.constant(f"{tensor}.zero_point", np.zeros_like(w.bias), dtype)
        inputs = [tensor, scales, zeros]
        names.append(graph.add("DequantizeLinear", inputs, f"{tensor}.real", axis=axis))
    return names


def _looked_up(graph: _Graph, layer: IntLayer, index: str) -> str:
    """The table's entry for each requantised sum, whose byte is s + 128."""
    name, w = layer.name, layer.weighted
    entries = w.table.astype(np.int32) + zero_point(w.output)
    table = graph.constant(f"{name}.table", entries, np.uint8)
    wide = graph.add("Cast", [index], f"{name}.index", to=TensorProto.INT32)
    return graph.add("Gather", [table, wide], name, axis=0)


def _padded(graph: _Graph, layer: IntLayer, x: str) -> tuple[str, list[int]]:
    """Input with its mean or edge around it, and the zeros that are left to Conv."""
    name, spec, shape = layer.name, layer.info.spec, layer.info.input_shape
    (top, bottom), (left, right) = spec.pads(shape)
    pads = [top, left, bottom, right]
    if spec.padding in ("valid", "zero") or not any(pads):
        return x, pads
    around = graph.constant(
        f"{name}.pads", [0, 0, top, left, 0, 0, bottom, right], np.int64
    )
    if spec.padding == "edge":
        return graph.add("Pad", [x, around], f"{name}.padded", mode="edge"), [0] * 4
    inside = np.pad(np.ones((1, 1, *shape[:2]), bool), [(0, 0), (0, 0), *spec.pads(shape)])
    mask = graph.constant(f"{name}.inside", inside, np.bool_)
    zeros = graph.add("Pad", [x, around], f"{name}.zeros")
    mean = _mean(graph, layer, x, keepdims=1, output=f"{name}.mean")
    return graph.add("Where", [mask, zeros, mean], f"{name}.padded"), [0] * 4


def _pool(graph: _Graph, layer: IntLayer, x: str) -> str:
    name, spec = layer.name, layer.info.spec
    window, strides = list(spec.window), list(spec.stride)
    if spec.kind == "max":
        return graph.add("MaxPool", [x], name, kernel_shape=window, strides=strides)
    channels = layer.info.input_shape[2]
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
    return _rounded(graph, name, sums, math.prod(window))


def _global_pool(graph: _Graph, layer: IntLayer, x: str) -> str:
    if layer.info.spec.kind == "mean":
        return _mean(graph, layer, x, keepdims=0, output=layer.name)
    axes = graph.constant("plane_axes", [2, 3], np.int64)
    return graph.add("ReduceMax", [x, axes], layer.name, keepdims=0)


def _mean(graph: _Graph, layer: IntLayer, x: str, *, keepdims: int, output: str) -> str:
    """Mean byte of each plane."""
    axes = graph.constant("plane_axes", [2, 3], np.int64)
    wide = graph.add("Cast", [x], f"{output}.wide", to=TensorProto.INT32)
    sums = graph.add("ReduceSum", [wide, axes], f"{output}.sums", keepdims=keepdims)
    return _rounded(graph, output, sums, math.prod(layer.info.input_shape[:2]))


def _rounded(graph: _Graph, name: str, sums: str, count: int) -> str:
    """RNE(sums / count) in int32, as bytes; sums are not negative.

    floor(sums / count) = q, then floor((sums + floor((count - 1) / 2) + e) / count), with
    e = q mod 2 if count is even (a half goes up to an even number), else 0 (there is no
    half). Bytes with zero point 128 round alike, since 128 is even.
    """
    divisor = graph.constant(f"{name}.count", count, np.int32)
    if count % 2 == 0:
        floor = graph.add("Div", [sums, divisor], f"{name}.floor")
        two = graph.constant("two", 2, np.int32)
        odd = graph.add("Mod", [floor, two], f"{name}.odd")
        sums = graph.add("Add", [sums, odd], f"{name}.odd_up")
    half = graph.constant(f"{name}.half", (count - 1) // 2, np.int32)
    raised = graph.add("Add", [sums, half], f"{name}.raised")
    mean = graph.add("Div", [raised, divisor], f"{name}.quotient")
    return graph.add("Cast", [mean], name, to=TensorProto.UINT8)
