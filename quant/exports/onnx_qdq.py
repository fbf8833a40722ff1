"""ONNX for ONNX Runtime: the file, its session, and what every layer in it computes.

ONNX Runtime fuses the real arithmetic of `onnx_graph` into kernels that add integer
products in int32 and round rint(float32(sum) * float32(scale)); `quant.float32_rounding`
says why that equals ours. This needs its graph optimisations, so they are always on.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import onnxruntime
from jaxtyping import Integer, UInt8
from onnx import helper

from configs.errors import InputError
from configs.network import Conv, Dense, Layer, Network
from configs.program import Add, Pad, Pool, Product
from quant import normative
from quant.exports import onnx_check, onnx_graph
from quant.exports.byte_values import is_wide
from quant.exports.limits import (
    ALWAYS,
    PRODUCTS_OF_BYTES,
    Limit,
    Limits,
    first_clause,
    only_bytes,
)
from quant.exports.onnx_builder import zero_point
from quant.network import PIXELS, Format, IntNetwork, IntStep, Weighted

FILE = "model.onnx"
RUNTIME = "onnxruntime"
# Images in one run.
CHUNK = 200
_ERRORS_ONLY = 3

Run = Callable[[UInt8[np.ndarray, "n ..."]], Integer[np.ndarray, "n ..."]]


# Exponents apart beyond which adding 128 to a sum of two values no longer fits float32.
_SHIFT_LIMIT = 16


def unsupported(layer: IntStep) -> str | None:
    """What of a step ONNX cannot express exactly, as a clause; None if nothing.

    Means are integer operators in int32; nothing they compute for k pixels reaches
    256 * k. Everything else holds for each step that `IntNetwork` accepts.
    """
    return first_clause(LIMITS, layer)


def _mean_limit(what: str, pixels: int) -> str | None:
    if 256 * pixels < 2**31:
        return None
    return f"mean {what} of {pixels} pixels, whose sum can leave 32 bits"


def _pad_limit(layer: IntStep, node: Pad) -> str | None:
    if node.kind == "mean":
        wide = _mean_limit("padding", math.prod(layer.input_shape[:2]))
        return wide or only_bytes(layer, "padding")
    return only_bytes(layer, "padding")


def _pool_limit(layer: IntStep, node: Pool) -> str | None:
    if node.kind == "mean":
        wide = _mean_limit("pooling", math.prod(node.window))
        return wide or only_bytes(layer, "pooling")
    return only_bytes(layer, "pooling")


def _add_limit(layer: IntStep, node: Add) -> str | None:
    exponents = [layer.wide()[name][0] for name in node.inputs]
    shift = layer.output.exponent - min(exponents)
    if shift <= _SHIFT_LIMIT:
        return None
    return f"sum whose parts are 2^{shift} times finer than itself"


_MEANS = "of bytes; means of fewer than 2^23 pixels"
# When an operator can be written.
LIMITS: Limits = {
    **dict.fromkeys(onnx_graph.OPERATORS, ALWAYS),
    Pad: Limit(when=_MEANS, clause=_pad_limit),
    Product: PRODUCTS_OF_BYTES,
    Pool: Limit(when=_MEANS, clause=_pool_limit),
    Add: Limit(when="of values at most 2^16 finer than the sum", clause=_add_limit),
}


def encode(network: IntNetwork) -> bytes:
    """Content of the file; InputError if a layer is unsupported."""
    for layer in network.walk():
        clause = unsupported(layer)
        if clause:
            raise InputError(
                f"`{layer.name}` cannot be written to {FILE} exactly: {clause}; leave "
                f"this format out with --formats."
            )
    return onnx_graph.build(network).SerializeToString(deterministic=True)


def differences(content: bytes, network: IntNetwork) -> str | None:
    """First thing in which a file is not what `encode` writes; None if there is none."""
    return onnx_check.difference(content, encode(network))


def session(content: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session on `threads` cores with all graph optimisations."""
    return onnxruntime.InferenceSession(
        content, options(threads), providers=["CPUExecutionProvider"]
    )


def options(threads: int) -> onnxruntime.SessionOptions:
    """How every session of Lockstep is opened."""
    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = threads
    chosen.inter_op_num_threads = 1
    level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    chosen.graph_optimization_level = level
    chosen.log_severity_level = _ERRORS_ONLY
    return chosen


def open_session(content: bytes, *, threads: int = 1) -> Run:
    """A function from images uint8 (n, *input_shape) to integers (n, F), any n.

    Raises InputError if the integer kernels of this machine do not add exactly.
    """
    self_test()
    opened = session(content, threads)
    return lambda images: _run(opened, images)[onnx_graph.OUTPUT]


def _run(
    opened: onnxruntime.InferenceSession, images: UInt8[np.ndarray, "n ..."]
) -> dict[str, np.ndarray]:
    """All outputs of a session by name, `CHUNK` images at a time."""
    # No images: one black image gives types and shapes.
    some = images if len(images) else np.zeros((1, *images.shape[1:]), np.uint8)
    parts = [
        opened.run(None, {onnx_graph.INPUT: np.ascontiguousarray(some[first:][:CHUNK])})
        for first in range(0, len(some), CHUNK)
    ]
    names = [output.name for output in opened.get_outputs()]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return {n: c[: len(images)] for n, c in zip(names, columns, strict=True)}


def layer_outputs(
    content: bytes, network: IntNetwork, images: UInt8[np.ndarray, "n ..."]
) -> dict[str, np.ndarray]:
    """What the file computes for every layer, by name: (n, H, W, C) or (n, F) in the
    dtype of the layer's output."""
    model = onnx_check.parse(content)
    for layer in network.walk():
        shape = [onnx_graph.BATCH, *([None] * len(layer.shape))]
        kind = onnx_graph.value_type(layer.output)
        value = helper.make_tensor_value_info(layer.name, kind, shape)
        model.graph.output.append(value)
    found = _run(session(model.SerializeToString()), images)
    return {layer.name: _decoded(layer, found[layer.name]) for layer in network.walk()}


def _decoded(layer: IntStep, stored: np.ndarray) -> np.ndarray:
    """A tensor of the graph in our order, container and zero point."""
    kind = layer.output
    if is_wide(kind):
        values = stored / np.float32(kind.scale)
    else:
        values = stored.astype(np.int16) - zero_point(kind)
    ours = values.transpose(0, 2, 3, 1) if values.ndim == 4 else values
    return np.ascontiguousarray(ours.astype(kind.dtype))


@functools.cache
def self_test() -> None:
    """Refuses a machine whose uint8 x int8 kernels do not give exact sums.

    x86 processors before VNNI add pairs of such products in int16, which saturates at
    255 * 127 * 2. The largest products there are, in both signs, are summed here, and a
    bias takes them away again but for 0..31. A runtime that leaves the layer in float32
    fails too.
    """
    for spec, shape in (
        (Conv(features=32, kernel=(3, 3)), (4, 5, 16)),
        (Dense(features=32), (256,)),
    ):
        network = _largest_products(spec, shape)
        opened = session(encode(network))
        for count in (1, 5):
            images = np.full((count, *shape), 255, np.uint8)
            wanted = normative.run(network, images)
            wrong = int(np.sum(_run(opened, images)[onnx_graph.OUTPUT] != wanted))
            if wrong:
                raise InputError(
                    f"`onnxruntime` must add uint8 x int8 products exactly; on this "
                    f"machine {wrong} of {wanted.size} results of its {spec!r} are wrong. "
                    f"Use another machine, or leave this format out with --formats."
                )


def _largest_products(spec: Layer, shape: tuple[int, ...]) -> IntNetwork:
    """One layer whose pixels, weights and sums are as large as they can be."""
    network = Network(input_shape=shape, layers=(spec,))
    (node,) = network.program.products
    remainders = np.arange(node.features)
    weights = np.where(remainders % 2, -127, 127) * np.ones(node.weight_shape, np.int64)
    products = 255 * weights.reshape(-1, node.features).sum(0)
    output = Format(signed=False, exponent=PIXELS.exponent)
    weighted = Weighted(
        weights=weights.astype(np.int8),
        bias=(remainders - products).astype(np.int32),
        multiplier=np.full(node.features, 65535, np.int32),
        sum=output,
        output=output,
    )
    return IntNetwork(network=network, weighted={node.weights: weighted})
