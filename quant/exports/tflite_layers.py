"""The program of an integer network as operators of a .tflite file.

Operators that round sums of products (convolution, dense, means as depthwise
convolutions) are those that XNNPACK computes as rint(float32(acc) * scale), which equals
the integer rule for every checked network. Sums and products of values are float32
numbers, exact below 2^24, that ROUND brings back half to even. All other operators move,
compare or look up integers. How integers stand in tensors: `tflite_values`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from configs.errors import InputError
from configs.layers import same_paddings
from configs.program import (
    Activate,
    Add,
    Concat,
    Mul,
    Node,
    Pad,
    Pair,
    Pool,
    Product,
    Reshape,
    Slice,
    State,
    entry,
)
from quant.exports.limits import (
    ALWAYS,
    PRODUCTS_OF_BYTES,
    Limit,
    Limits,
    first_clause,
    only_bytes,
)
from quant.exports.tflite_builder import Builder, schema
from quant.exports.tflite_mean import mean_factor, mean_scale
from quant.exports.tflite_values import Values, clips, is_wide, mapped, zero_point
from quant.network import PIXELS, Format, IntNetwork, IntStep

# Operators that round sums of products.
ROUNDING = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_SAME, _VALID = 0, 1
_DOER = "quant.exports.tflite"


def unsupported(layer: IntStep) -> str | None:
    """What of this step a .tflite file cannot compute exactly; None if nothing."""
    return first_clause(LIMITS, layer)


def _mean_limit(layer: IntStep, count: int, what: str) -> str | None:
    if mean_factor(count, layer.input.low, layer.input.high) is None:
        return f"{what} of {count} pixels, which float32 does not round as integers do"
    return None


def _pad_limit(layer: IntStep, node: Pad) -> str | None:
    clause = only_bytes(layer, "padding")
    if clause is None and node.kind == "mean" and _any(node):
        return _mean_limit(layer, math.prod(layer.input_shape[:2]), "mean padding")
    return clause


def _pool_limit(layer: IntStep, node: Pool) -> str | None:
    clause = only_bytes(layer, "pooling")
    if clause is None and node.kind == "mean":
        whole = layer.step.find(Reshape) is not None
        what = "global mean pooling" if whole else "mean pooling"
        return _mean_limit(layer, math.prod(node.window), what)
    return clause


def tensor_name(layer: IntStep, network: IntNetwork) -> str:
    """The tensor that holds this step's output, stored as int8 (16 bits: float32)."""
    last = layer.name == network.program.output.name
    plain = layer.output.signed and not is_wide(layer.output)
    return "logits" if last and plain else layer.name


def encode(network: IntNetwork) -> bytes:
    """The file: uint8 "image" (batch, *input_shape) in, integer "logits" out."""
    for layer in network.walk():
        if clause := unsupported(layer):
            raise InputError(
                f"`{layer.name}` cannot be written to model.tflite: the format has no "
                f"exact {clause}; leave tflite out with --formats."
            )
    b = Builder("Lockstep integer network")
    values, program = Values(b), network.program
    shape = program.input.shape
    image = b.tensor("image", shape, "uint8", scale=[PIXELS.scale])
    x = values.empty("pixels", shape, PIXELS)
    b.operator("QUANTIZE", [image], x, "Quantize")
    values.tensors[program.input.name] = x
    for node in program.nodes:
        if isinstance(node, State):
            values.tensors[node.name] = _state(values, node, x, program.input.size)
    for layer in network.walk():
        _begin(values, layer, tensor_name(layer, network))
        for node in layer.step.nodes:
            rule = entry(OPERATORS, node, _DOER)
            xs = [values.tensors[name] for name in node.inputs]
            values.tensors[node.name] = rule(values, layer, node, *xs)
    x = _logits(values, network, values.tensors[program.output.name])
    return b.bytes([image], [x])


def _logits(values: Values, network: IntNetwork, x: int) -> int:
    """The last step's values as they leave the file."""
    kind, shape = network.output, network.network.output_shape
    if is_wide(kind):
        steps = values.number(1 / kind.scale)
        x = values.combined("MUL", [x, steps], "logits.values", shape)
        out = values.b.tensor("logits", shape, kind.dtype.name)
        types = schema().TensorType
        to = getattr(types, kind.dtype.name.upper())
        options = {"inDataType": types.FLOAT32, "outDataType": to}
        return values.b.operator("CAST", [x], out, "Cast", **options)
    if not kind.signed:
        logits = values.b.tensor("logits", shape, "uint8", scale=[kind.scale])
        return values.b.operator("QUANTIZE", [x], logits, "Quantize")
    return x


def _state(values: Values, node: State, pixels: int, size: int) -> int:
    """Zeros, as many as there are images: any pixels of each, times zero."""
    b, name, kind = values.b, node.name, Format.of(node.grid)
    row = values.reshaped(pixels, f"{name}.pixels", (size,), PIXELS)
    indices = values.constant(f"{name}.indices", np.zeros(node.size, np.int32))
    some = values.empty(f"{name}.some", (node.size,), PIXELS)
    b.operator("GATHER", [row, indices], some, "Gather", axis=1)
    some = values.reshaped(some, f"{name}.shaped", node.shape, PIXELS)
    real = values.real(some, f"{name}.real", node.shape, PIXELS)
    inner = name if is_wide(kind) else f"{name}.zeros"
    zeros = values.combined("MUL", [real, values.number(0.0)], inner, node.shape)
    if is_wide(kind):
        return zeros
    out = values.empty(name, node.shape, kind)
    return b.operator("QUANTIZE", [zeros], out, "Quantize")


def _begin(values: Values, layer: IntStep, output: str) -> None:
    """Notes the name of a step's output, and makes the tensor of its sums first."""
    values.output, w = output, layer.weighted
    if w:
        direct = w.table is None and not clips(w.sum)
        name = output if direct else f"{layer.name}.sum"
        values.sums = values.empty(name, layer.product.shape, w.sum)


def _name(values: Values, layer: IntStep, node: Node) -> str:
    return values.output if node is layer.step.nodes[-1] else node.name


def _any(node: Pad | Pool) -> bool:
    return any(map(any, node.pads))


def _pool(values: Values, layer: IntStep, node: Pool, x: int) -> int:
    name = _name(values, layer, node)
    kind, shape = layer.input, layer.input_shape
    same = _any(node) and node.pads == same_paddings(shape, node.window, node.stride)
    if _any(node) and not same:
        lowest = -128 if node.kind == "max" else None
        x = _around(values, layer, node, f"{name}.padded", x, lowest)
    padding = _SAME if same else _VALID
    if node.kind == "mean":
        return _mean(values, x, name, node.shape, kind, node.window, node.stride, padding)
    out = values.empty(name, node.shape, kind)
    return values.b.operator(
        "MAX_POOL_2D", [x], out, "Pool2D",
        padding=padding, **_strides(node.stride),
        filterHeight=node.window[0], filterWidth=node.window[1],
    )  # fmt: skip


def _mean(
    values: Values, x: int, name: str, shape: tuple, kind: Format, window: Pair,
    stride: Pair, padding: int,
) -> int:  # fmt: skip
    """The mean of each window as a depthwise convolution with equal weights."""
    count, channels = math.prod(window), shape[2]
    factor = mean_factor(count, kind.low, kind.high)
    scale = np.full(channels, mean_scale(count, factor), np.float64)
    weights = np.full((1, *window, channels), factor, np.int8)
    zeros = np.zeros(channels, np.int32)
    inputs = [
        x,
        values.constant(f"{name}.weights", weights, scale=scale, axis=3),
        values.constant(f"{name}.bias", zeros, scale=scale * kind.scale),
    ]
    out = values.empty(name, shape, kind)
    return values.b.operator(
        "DEPTHWISE_CONV_2D", inputs, out, "DepthwiseConv2D",
        padding=padding, **_strides(stride), **_dilations((1, 1)), depthMultiplier=1,
    )  # fmt: skip


def _strides(stride: Pair) -> dict[str, int]:
    return {"strideH": stride[0], "strideW": stride[1]}


def _dilations(dilation: Pair) -> dict[str, int]:
    return {"dilationHFactor": dilation[0], "dilationWFactor": dilation[1]}


def _product(values: Values, layer: IntStep, node: Product, x: int) -> int:
    """Convolution or dense, rounded to the format of its sum."""
    b, pad = values.b, layer.step.find(Pad)
    inputs = [x, *_constants(values, layer, node)]
    if node.kernel is None:
        return b.operator("FULLY_CONNECTED", inputs, values.sums, "FullyConnected")
    same = pad is not None and _by_itself(layer, node, pad)
    options = {"padding": _SAME if same else _VALID, **_strides(node.stride)}
    options |= _dilations(node.dilation)
    if not node.depthwise:
        return b.operator("CONV_2D", inputs, values.sums, "Conv2D", **options)
    options["depthMultiplier"] = node.features // node.groups
    return b.operator(
        "DEPTHWISE_CONV_2D", inputs, values.sums, "DepthwiseConv2D", **options
    )


def _by_itself(layer: IntStep, node: Product, pad: Pad) -> bool:
    """Whether the convolution adds these zeros itself: an odd row comes after the data."""
    extent = tuple((k - 1) * d + 1 for k, d in zip(node.kernel, node.dilation, strict=True))
    alike = pad.pads == same_paddings(layer.input_shape, extent, node.stride)
    return pad.kind == "zero" and _any(pad) and alike


def _constants(values: Values, layer: IntStep, node: Product) -> tuple[int, int]:
    """Weights, output features first (depthwise: last), and bias, with their real scales;
    shared ones once."""
    w, scale = layer.weighted, layer.weight_scale()
    prefix = values.owned(node.weights, layer.name, layer.input)
    weights, axis = np.moveaxis(w.weights, -1, 0), 0
    if node.depthwise:
        weights, axis = np.moveaxis(w.weights, 2, 0), 3
    return (
        values.constant(f"{prefix}.weights", weights, scale=scale, axis=axis),
        values.constant(f"{prefix}.bias", w.bias, scale=scale * layer.input.scale),
    )


def _activate(values: Values, layer: IntStep, node: Activate, x: int) -> int:
    """Rounded sums saturated and looked up; anything else brought to its grid."""
    if layer.weighted:
        return _saturated(values, layer, node, x)
    numbers, shape, output = layer.activated, node.shape, values.output
    if layer.step.nodes == (node,) and not is_wide(layer.input):
        prefix = values.owned(f"{node.owner}.bytes", f"{layer.name}.bytes", layer.input)
        table = prefix, mapped(layer.input, numbers)
        return values.looked_up(x, output, layer.name, shape, numbers.output, table)
    if numbers.table is None:
        return values.brought_back(x, output, layer.name, shape, numbers.output)
    x = values.rounded(x, layer.name, shape, numbers.sum)
    table = f"{node.owner}.table", numbers.table
    return values.looked_up(x, output, layer.name, shape, numbers.output, table)


def _saturated(values: Values, layer: IntStep, node: Activate, x: int) -> int:
    w, limits = layer.weighted, clips(layer.weighted.sum)
    for number, (code, what, bound) in enumerate(limits, 1):
        inner = f"{layer.name}.{code.lower()}"
        name = values.output if number == len(limits) else inner
        limit = values.constant(
            f"{layer.name}.{what}",
            np.asarray([bound], np.int8),
            scale=[w.sum.scale],
            zero_point=zero_point(w.sum),
        )
        out = values.empty(name, node.shape, w.sum)
        x = values.b.operator(code, [x, limit], out, "MaximumMinimum")
    if w.table is None:
        return x
    table = f"{layer.product.weights}.table", w.table
    return values.looked_up(x, values.output, layer.name, node.shape, w.output, table)


def _padding(values: Values, layer: IntStep, node: Pad, x: int) -> int:
    """The map with something around it; zeros that a convolution adds are left to it."""
    product, last = layer.product, node is layer.step.nodes[-1]
    name = values.output if last else f"{layer.name}.padded"
    if not _any(node):
        return values.reshaped(x, name, node.shape, layer.input) if last else x
    if node.kind == "edge":
        return _pad_edge(values, layer, node, name, x)
    if node.kind == "mean":
        return _pad_mean(values, layer, node, name, x)
    if product and _by_itself(layer, product, node):
        return x
    return _around(values, layer, node, name, x, None)


def _around(
    values: Values, layer: IntStep, node: Pad | Pool, name: str, x: int, byte: int | None
) -> int:
    """Zeros, or some other stored byte, around a map."""
    kind, (height, width, channels) = layer.input, layer.input_shape
    (top, bottom), (left, right) = node.pads
    ends = np.asarray([(0, 0), *node.pads, (0, 0)], np.int32)
    inputs = [x, values.constant(f"{name}.pads", ends)]
    shape = (top + height + bottom, left + width + right, channels)
    if byte is None:
        out = values.empty(name, shape, kind)
        return values.b.operator("PAD", inputs, out, "Pad")
    filler = values.constant(
        f"{name}.value", np.asarray([byte], np.int8), scale=[kind.scale],
        zero_point=zero_point(kind),
    )  # fmt: skip
    out = values.empty(name, shape, kind)
    return values.b.operator("PADV2", [*inputs, filler], out, "PadV2")


def _pad_edge(values: Values, layer: IntStep, node: Pad, name: str, x: int) -> int:
    """Rows, then columns, picked with the nearest inside index."""
    shape = list(layer.input_shape)
    for axis, what, (before, after) in zip(
        (1, 2), ("rows", "columns"), node.pads, strict=True
    ):
        size = shape[axis - 1]
        indices = np.clip(np.arange(-before, size + after), 0, size - 1).astype(np.int32)
        shape[axis - 1] = len(indices)
        inputs = [x, values.constant(f"{layer.name}.{what}", indices)]
        inner = name if axis == 2 else f"{layer.name}.padded.{what}"
        out = values.empty(inner, tuple(shape), layer.input)
        x = values.b.operator("GATHER", inputs, out, "Gather", axis=axis)
    return x


def _pad_mean(values: Values, layer: IntStep, node: Pad, output: str, x: int) -> int:
    """The pixels in a row with the mean behind them, then each place picks one."""
    name, kind, b = layer.name, layer.input, values.b
    height, width, channels = layer.input_shape
    size, window = height * width, (height, width)
    whole = (1, 1, channels)
    mean = _mean(values, x, f"{name}.mean", whole, kind, window, (1, 1), _VALID)
    mean = values.reshaped(mean, f"{name}.mean.row", (1, channels), kind)
    pixels = values.reshaped(x, f"{name}.pixels", (size, channels), kind)
    joined = values.empty(f"{name}.joined", (size + 1, channels), kind)
    b.operator("CONCATENATION", [pixels, mean], joined, "Concatenation", axis=1)
    inside = np.arange(size, dtype=np.int32).reshape(height, width)
    places = np.pad(inside, node.pads, constant_values=size)
    inputs = [joined, values.constant(f"{name}.places", places.reshape(-1))]
    picked = values.empty(f"{name}.picked", (places.size, channels), kind)
    b.operator("GATHER", inputs, picked, "Gather", axis=1)
    return values.reshaped(picked, output, (*places.shape, channels), kind)


def _reshape(values: Values, layer: IntStep, node: Reshape, x: int) -> int:
    return values.reshaped(x, values.output, node.shape, layer.output)


def _slice(values: Values, layer: IntStep, node: Slice, x: int) -> int:
    name, rank = _name(values, layer, node), len(node.shape)
    begin, size = np.zeros(rank + 1, np.int32), np.full(rank + 1, -1, np.int32)
    begin[1 + node.axis], size[1 + node.axis] = node.start, node.shape[node.axis]
    ends = [
        values.constant(f"{name}.{w}", a) for w, a in (("begin", begin), ("size", size))
    ]
    out = values.empty(name, node.shape, layer.input)
    return values.b.operator("SLICE", [x, *ends], out, "Slice")


def _concat(values: Values, layer: IntStep, node: Concat, *xs: int) -> int:
    out = values.empty(_name(values, layer, node), node.shape, layer.output)
    options = {"axis": 1 + node.axis}
    return values.b.operator("CONCATENATION", xs, out, "Concatenation", **options)


def _combined(code: str) -> Callable[..., int]:
    """The arithmetic of two values in real numbers."""

    def combine(values: Values, layer: IntStep, node: Add | Mul, *xs: int) -> int:
        shapes = dict(zip(layer.step.inputs, layer.input_shapes, strict=True))
        kinds = dict(zip(layer.step.inputs, layer.inputs, strict=True))
        reals = []
        for index, (name, x) in enumerate(zip(node.inputs, xs, strict=True)):
            shape = shapes.get(name, node.shape)
            missing = len(node.shape) - len(shape)
            if missing:
                # A vector meets every position of a map.
                shape = (*(1,) * missing, *shape)
                x = values.reshaped(x, f"{node.name}.factor{index}", shape, kinds[name])
            if name in kinds:
                x = values.real(x, f"{node.name}.real{index}", shape, kinds[name])
            reals.append(x)
        return values.combined(code, reals, node.name, node.shape)

    return combine


# What each operator is in the file: (values, step, node, tensors it takes) -> its tensor.
OPERATORS: dict[type[Node], Callable[..., int]] = {
    Pad: _padding,
    Product: _product,
    Activate: _activate,
    Pool: _pool,
    Reshape: _reshape,
    Slice: _slice,
    Concat: _concat,
    Add: _combined("ADD"),
    Mul: _combined("MUL"),
}

_MEANS = "of bytes; means that float32 rounds as integers do"
# When an operator can be written.
LIMITS: Limits = {
    **dict.fromkeys(OPERATORS, ALWAYS),
    Pad: Limit(when=_MEANS, clause=_pad_limit),
    Product: PRODUCTS_OF_BYTES,
    Pool: Limit(when=_MEANS, clause=_pool_limit),
}
