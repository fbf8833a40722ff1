"""Maps of a .tflite file with something around them, and means of their windows."""

from __future__ import annotations

import math

import numpy as np

from configs.program import Pad, Pair, Pool
from quant.exports.tflite_mean import mean_factor, mean_scale
from quant.exports.tflite_values import Values, zero_point
from quant.network import Format, IntStep

SAME, VALID = 0, 1


def is_padded(node: Pad | Pool) -> bool:
    return any(map(any, node.pads))


def strides(stride: Pair) -> dict[str, int]:
    return {"strideH": stride[0], "strideW": stride[1]}


def dilations(dilation: Pair) -> dict[str, int]:
    return {"dilationHFactor": dilation[0], "dilationWFactor": dilation[1]}


def windows_mean(
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
        padding=padding, **strides(stride), **dilations((1, 1)), depthMultiplier=1,
    )  # fmt: skip


def pad_around(
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


def pad_edge(values: Values, layer: IntStep, node: Pad, name: str, x: int) -> int:
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


def pad_mean(values: Values, layer: IntStep, node: Pad, output: str, x: int) -> int:
    """The pixels in a row with the mean behind them, then each place picks one."""
    name, kind, b = layer.name, layer.input, values.b
    height, width, channels = layer.input_shape
    size, window = height * width, (height, width)
    whole = (1, 1, channels)
    x_mean = windows_mean(values, x, f"{name}.mean", whole, kind, window, (1, 1), VALID)
    x_mean = values.reshaped(x_mean, f"{name}.mean.row", (1, channels), kind)
    pixels = values.reshaped(x, f"{name}.pixels", (size, channels), kind)
    joined = values.empty(f"{name}.joined", (size + 1, channels), kind)
    b.operator("CONCATENATION", [pixels, x_mean], joined, "Concatenation", axis=1)
    inside = np.arange(size, dtype=np.int32).reshape(height, width)
    places = np.pad(inside, node.pads, constant_values=size)
    inputs = [joined, values.constant(f"{name}.places", places.reshape(-1))]
    picked = values.empty(f"{name}.picked", (places.size, channels), kind)
    b.operator("GATHER", inputs, picked, "Gather", axis=1)
    return values.reshaped(picked, output, (*places.shape, channels), kind)
