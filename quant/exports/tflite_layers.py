"""Each layer of the integer network as operators of a .tflite file.

Every activation is int8. A value a of an unsigned format is stored as a - 128, with zero
point -128; signed values are stored as they are, with zero point 0. Operators that round
(convolution, dense, means as depthwise convolutions) are those that XNNPACK computes as
rint(float32(acc) * scale), which equals the integer rule for every checked network. All
other operators move, compare or look up integers.
"""

from __future__ import annotations

import math

import numpy as np

from configs.errors import InputError, unknown
from configs.network import Conv, Dense, Flatten, GlobalPool, Pool
from quant.exports.tflite_builder import Builder, schema
from quant.exports.tflite_mean import mean_factor, mean_scale
from quant.network import PIXELS, Format, IntLayer, IntNetwork, Weighted

# Operators that round.
ROUNDING = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_SAME, _VALID = 0, 1


def unsupported(layer: IntLayer) -> str | None:
    """What of this layer a .tflite file cannot compute exactly; None if nothing."""
    count, what = _mean_count(layer)
    if count and mean_factor(count, layer.input.low, layer.input.high) is None:
        return f"{what} of {count} pixels, which float32 does not round as integers do"
    known = isinstance(layer.info.spec, Conv | Dense | Pool | GlobalPool | Flatten)
    return None if known else f"operator for the kind {type(layer.info.spec).__name__}"


def _mean_count(layer: IntLayer) -> tuple[int, str]:
    """How many values this layer takes means of (0 if none), and what for."""
    spec, shape = layer.info.spec, layer.info.input_shape
    if isinstance(spec, Conv) and spec.padding == "mean" and _padded(spec, shape):
        return math.prod(shape[:2]), "mean padding"
    if isinstance(spec, Pool) and spec.kind == "mean":
        return math.prod(spec.window), "mean pooling"
    if isinstance(spec, GlobalPool) and spec.kind == "mean":
        return math.prod(shape[:2]), "global mean pooling"
    return 0, ""


def zero_point(kind: Format) -> int:
    """What a real zero is stored as."""
    return 0 if kind.signed else -128


def to_stored(values: np.ndarray, kind: Format) -> np.ndarray:
    """Values in their container as the file stores them, int8."""
    return (values.astype(np.int16) + zero_point(kind)).astype(np.int8)


def from_stored(stored: np.ndarray, kind: Format) -> np.ndarray:
    """The inverse of `to_stored`."""
    return (stored.astype(np.int16) - zero_point(kind)).astype(kind.dtype)


def tensor_name(layer: IntLayer, network: IntNetwork) -> str:
    """The tensor that holds this layer's output, stored as int8."""
    last = layer.name == list(network.network.walk())[-1].name
    return "logits" if last and layer.output.signed else layer.name


def encode(network: IntNetwork) -> bytes:
    """The file: uint8 "image" (batch, *input_shape) in, integer "logits" out."""
    for layer in network.walk():
        if clause := unsupported(layer):
            raise InputError(
                f"`{layer.name}` cannot be written to model.tflite: the format has no "
                f"exact {clause}; leave tflite out with --formats."
            )
    b = Builder("Lockstep integer network")
    shape = network.network.input_shape
    image = b.tensor("image", shape, "uint8", scale=[PIXELS.scale])
    x = _activation(b, "pixels", shape, PIXELS)
    b.operator("QUANTIZE", [image], x, "Quantize")
    for layer in network.walk():
        x = _layer(b, layer, x, tensor_name(layer, network))
    if not layer.output.signed:
        shape, scale = layer.info.output_shape, [layer.output.scale]
        logits = b.tensor("logits", shape, "uint8", scale=scale)
        x = b.operator("QUANTIZE", [x], logits, "Quantize")
    return b.bytes([image], [x])


def _activation(b: Builder, name: str, shape: tuple[int, ...], kind: Format) -> int:
    zero = zero_point(kind)
    return b.tensor(name, shape, "int8", scale=[kind.scale], zero_point=zero)


def _layer(b: Builder, layer: IntLayer, x: int, name: str) -> int:
    spec, shape = layer.info.spec, layer.info.input_shape
    if layer.weighted:
        return _weighted(b, layer, x, name)
    if isinstance(spec, Flatten):
        return _reshape(b, x, name, layer.info.output_shape, layer.output)
    if isinstance(spec, Pool):
        return _pool(b, layer, x, name, spec)
    if not isinstance(spec, GlobalPool):
        raise unknown(spec, "quant.exports.tflite_layers")
    whole = Pool(kind=spec.kind, window=shape[:2], stride=(1, 1))
    x = _pool(b, layer, x, f"{layer.name}.pooled", whole)
    return _reshape(b, x, name, layer.info.output_shape, layer.output)


def _reshape(b: Builder, x: int, name: str, shape: tuple[int, ...], kind: Format) -> int:
    sizes = np.asarray((-1, *shape), np.int32)
    inputs = [x, b.constant(f"{name}.shape", sizes)]
    out = _activation(b, name, shape, kind)
    return b.operator("RESHAPE", inputs, out, "Reshape", newShape=sizes)


def _pool(b: Builder, layer: IntLayer, x: int, name: str, spec: Pool) -> int:
    shape, kind = layer.info.input_shape, layer.input
    if spec.kind == "mean":
        return _mean(b, x, name, shape, kind, spec)
    out = _activation(b, name, spec.output_shape(shape), kind)
    return b.operator(
        "MAX_POOL_2D", [x], out, "Pool2D",
        padding=_VALID, **_strides(spec),
        filterHeight=spec.window[0], filterWidth=spec.window[1],
    )  # fmt: skip


def _mean(b: Builder, x: int, name: str, shape, kind: Format, spec: Pool) -> int:
    """The mean of each window as a depthwise convolution with equal weights."""
    count, channels = math.prod(spec.window), shape[2]
    factor = mean_factor(count, kind.low, kind.high)
    scale = np.full(channels, mean_scale(count, factor), np.float64)
    weights = np.full((1, *spec.window, channels), factor, np.int8)
    zeros = np.zeros(channels, np.int32)
    inputs = [
        x,
        b.constant(f"{name}.weights", weights, scale=scale, axis=3),
        b.constant(f"{name}.bias", zeros, scale=scale * kind.scale),
    ]
    out = _activation(b, name, spec.output_shape(shape), kind)
    return b.operator(
        "DEPTHWISE_CONV_2D", inputs, out, "DepthwiseConv2D",
        padding=_VALID, **_strides(spec), **_DENSE, depthMultiplier=1,
    )  # fmt: skip


def _strides(spec: Conv | Pool) -> dict[str, int]:
    return {"strideH": spec.stride[0], "strideW": spec.stride[1]}


# No dilation: the kernel covers neighbours.
_DENSE = {"dilationHFactor": 1, "dilationWFactor": 1}


def _weighted(b: Builder, layer: IntLayer, x: int, name: str) -> int:
    """Convolution or dense, then whatever brings its sum to the layer's output."""
    spec, w, shape = layer.info.spec, layer.weighted, layer.info.output_shape
    clips = _clips(w.sum)
    direct = w.table is None and not clips
    sums = _activation(b, name if direct else f"{layer.name}.sum", shape, w.sum)
    if isinstance(spec, Conv):
        x, padding = _pad(b, layer, x, spec)
        inputs = [x, *_constants(b, layer)]
        options = {"padding": padding, **_strides(spec), **_DENSE}
        x = b.operator("CONV_2D", inputs, sums, "Conv2D", **options)
    elif isinstance(spec, Dense):
        inputs = [x, *_constants(b, layer)]
        x = b.operator("FULLY_CONNECTED", inputs, sums, "FullyConnected")
    for number, (code, bound) in enumerate(clips, 1):
        inner = name if number == len(clips) else f"{layer.name}.{code.lower()}"
        x = _clip(b, layer, x, inner, code, bound)
    return x if w.table is None else _table(b, layer, x, name, w)


def _constants(b: Builder, layer: IntLayer) -> tuple[int, int]:
    """Weights, output features first, and bias, with their real scales."""
    w, scale = layer.weighted, layer.weight_scale()
    first = np.moveaxis(w.weights, -1, 0)
    return (
        b.constant(f"{layer.name}.weights", first, scale=scale),
        b.constant(f"{layer.name}.bias", w.bias, scale=scale * layer.input.scale),
    )


def _clips(kind: Format) -> list[tuple[str, int]]:
    """Comparisons that saturate an int8 to fewer bits: operator and stored bound."""
    if kind.bits == 8:
        return []
    above = ("MINIMUM", kind.high + zero_point(kind))
    return [("MAXIMUM", kind.low), above] if kind.signed else [above]


def _clip(b: Builder, layer: IntLayer, x: int, name: str, code: str, bound: int) -> int:
    kind = layer.weighted.sum
    limit = b.constant(
        f"{layer.name}.{'low' if code == 'MAXIMUM' else 'high'}",
        np.asarray([bound], np.int8),
        scale=[kind.scale],
        zero_point=zero_point(kind),
    )
    out = _activation(b, name, layer.info.output_shape, kind)
    return b.operator(code, [x, limit], out, "MaximumMinimum")


def _table(b: Builder, layer: IntLayer, x: int, name: str, w: Weighted) -> int:
    """table[sum + 128]"""
    kinds, shape = schema().TensorType, layer.info.output_shape
    wide = b.tensor(f"{layer.name}.wide", shape, "int32")
    types = {"inDataType": kinds.INT8, "outDataType": kinds.INT32}
    b.operator("CAST", [x], wide, "Cast", **types)
    offset = b.constant(f"{layer.name}.offset", np.asarray([128], np.int32))
    index = b.tensor(f"{layer.name}.index", shape, "int32")
    b.operator("ADD", [wide, offset], index, "Add")
    table = b.constant(
        f"{layer.name}.table",
        to_stored(w.table, w.output),
        scale=[w.output.scale],
        zero_point=zero_point(w.output),
    )
    out = _activation(b, name, shape, w.output)
    return b.operator("GATHER", [table, index], out, "Gather")


def _padded(spec: Conv, shape: tuple[int, ...]) -> bool:
    return any(sum(pair) for pair in spec.pads(shape))


def _pad(b: Builder, layer: IntLayer, x: int, spec: Conv) -> tuple[int, int]:
    """The image to convolve, and the padding that the convolution itself then adds."""
    if not _padded(spec, layer.info.input_shape):
        return x, _VALID
    if spec.padding == "zero":
        # The same rows as ours: an odd one comes after the data.
        return x, _SAME
    if spec.padding == "edge":
        return _pad_edge(b, layer, x, spec), _VALID
    return _pad_mean(b, layer, x, spec), _VALID


def _pad_edge(b: Builder, layer: IntLayer, x: int, spec: Conv) -> int:
    """Rows, then columns, picked with the nearest inside index."""
    shape = list(layer.info.input_shape)
    pads = spec.pads(layer.info.input_shape)
    for axis, what, (before, after) in zip((1, 2), ("rows", "columns"), pads, strict=True):
        size = shape[axis - 1]
        indices = np.clip(np.arange(-before, size + after), 0, size - 1).astype(np.int32)
        shape[axis - 1] = len(indices)
        inputs = [x, b.constant(f"{layer.name}.{what}", indices)]
        padded = "padded" if axis == 2 else f"padded.{what}"
        out = _activation(b, f"{layer.name}.{padded}", tuple(shape), layer.input)
        x = b.operator("GATHER", inputs, out, "Gather", axis=axis)
    return x


def _pad_mean(b: Builder, layer: IntLayer, x: int, spec: Conv) -> int:
    """The pixels in a row with the mean behind them, then each place picks one."""
    name, kind = layer.name, layer.input
    height, width, channels = shape = layer.info.input_shape
    (top, bottom), (left, right) = spec.pads(shape)
    whole = Pool(kind="mean", window=(height, width), stride=(1, 1))
    mean = _mean(b, x, f"{name}.mean", shape, kind, whole)
    mean = _reshape(b, mean, f"{name}.mean.row", (1, channels), kind)
    pixels = _reshape(b, x, f"{name}.pixels", (height * width, channels), kind)
    joined = _activation(b, f"{name}.joined", (height * width + 1, channels), kind)
    b.operator("CONCATENATION", [pixels, mean], joined, "Concatenation", axis=1)
    inside = np.arange(height * width, dtype=np.int32).reshape(height, width)
    places = np.pad(inside, ((top, bottom), (left, right)), constant_values=height * width)
    inputs = [joined, b.constant(f"{name}.places", places.reshape(-1))]
    picked = _activation(b, f"{name}.picked", (places.size, channels), kind)
    b.operator("GATHER", inputs, picked, "Gather", axis=1)
    return _reshape(b, picked, f"{name}.padded", (*places.shape, channels), kind)
