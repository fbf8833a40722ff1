"""What is known of ONNX operators: which hold no matrix product, and whose shapes are those
of another operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import onnx.defs
from onnx import NodeProto

STANDARD = ("", "ai.onnx")
MICROSOFT = "com.microsoft"


class Stand(NamedTuple):
    """A standard operator whose output has the same shape."""

    operator: str
    # Places of the inputs that it reads.
    inputs: tuple[int, ...]
    attributes: tuple[str, ...] = ()


_CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
_POOL = (*_CONV, "ceil_mode", "count_include_pad")
# Element by element, or normalised: shaped as the first input.
_LIKE_FIRST = (
    "BiasGelu", "BiasSplitGelu", "FastGelu", "Gelu", "QuickGelu", "BiasSoftmax",
    "SkipLayerNormalization", "SimplifiedLayerNormalization", "RotaryEmbedding",
    "SkipSimplifiedLayerNormalization", "LayerNormalization", "QLinearLeakyRelu",
    "QLinearSigmoid", "QLinearSoftmax", "GroupNorm", "SkipGroupNorm", "BiasDropout",
    "MultiHeadAttention", "QuantizeLinear", "DequantizeLinear", "BiasAdd",
)  # fmt: skip
# Operators outside the standard that hold no matrix product.
WITHOUT_PRODUCT = frozenset(
    (
        *_LIKE_FIRST, "QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearAveragePool",
        "QLinearGlobalAveragePool", "QLinearReduceMean", "QLinearWhere", "Gather",
        "EmbedLayerNormalization", "QEmbedLayerNormalization", "DynamicQuantizeLinear",
        "NhwcMaxPool", "Trilu", "Pad", "Unique", "GatherBlockQuantized",
    )
) - {"MultiHeadAttention"}  # fmt: skip
_STANDS: Mapping[str, Stand] = {
    **{name: Stand("Identity", (0,)) for name in _LIKE_FIRST},
    "FusedConv": Stand("Conv", (0, 1), _CONV),
    "QLinearConv": Stand("Conv", (0, 3), _CONV),
    "FusedGemm": Stand("Gemm", (0, 1, 2), ("transA", "transB")),
    "QGemm": Stand("Gemm", (0, 3), ("transA", "transB")),
    "DynamicQuantizeMatMul": Stand("MatMul", (0, 1)),
    "MatMulIntegerToFloat": Stand("MatMul", (0, 1)),
    "MatMulInteger16": Stand("MatMul", (0, 1)),
    "QLinearAdd": Stand("Add", (0, 3)),
    "QLinearMul": Stand("Mul", (0, 3)),
    "QLinearWhere": Stand("Where", (0, 1, 4)),
    "QLinearGlobalAveragePool": Stand("GlobalAveragePool", (0,)),
    "QLinearAveragePool": Stand("AveragePool", (0,), _POOL),
}  # fmt: skip


def is_standard(node: NodeProto) -> bool:
    """Whether ONNX itself says what the node does, of whatever version."""
    return node.domain in STANDARD and onnx.defs.has(node.op_type)


def title(node: NodeProto) -> str:
    """Operator with its domain, as it is named in a result."""
    return node.op_type if node.domain in STANDARD else f"{node.domain}:{node.op_type}"


def stand(node: NodeProto) -> Stand | None:
    """What has the shapes of a node that ONNX does not know; None if nothing is known.

    A plain transposed product has none: see `onnx_infer`.
    """
    if node.domain != MICROSOFT:
        return None
    if node.op_type in ("FusedMatMul", "TransposeMatMul"):
        turned = any(a.i for a in node.attribute if a.name.startswith("trans"))
        return None if turned else Stand("MatMul", (0, 1))
    if node.op_type == "QLinearConcat":
        # Scale and zero point of the output, then value, scale and zero point of each.
        return Stand("Concat", tuple(range(2, len(node.input), 3)), ("axis",))
    if any(a.name == "channels_last" and a.i for a in node.attribute):
        return None
    return _STANDS.get(node.op_type)
