"""The objects of an ONNX graph, and how integers stand in it.

Every value of 8 bits or fewer is a uint8 tensor: an unsigned format has zero point 0, a
signed one 128, since ONNX Runtime multiplies bytes of two signs fast and fuses a step
only if its input and output have one type. A value of 16 bits is a float32 tensor of the
real numbers that it stands for, which float32 holds exactly, as it does sums and products
of values: they stay below 2^24 (`quant.network`).

Images come as (B, H, W, C), planes inside are (B, C, H, W), and reshaping goes back.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from quant.network import Format, Integers

PLANES = (0, 3, 1, 2)
PIXELS_LAST = (0, 2, 3, 1)
# Where an axis of (H, W, C) is in planes with a batch.
_AXES = (2, 3, 1)


def is_wide(kind: Format) -> bool:
    """Whether a value is a float32 tensor of real numbers, not one of bytes."""
    return kind.bits > 8


def zero_point(kind: Format) -> int:
    """The byte that stands for zero."""
    return 128 if kind.signed else 0


def axis_of(axis: int, rank: int) -> int:
    """An axis of a value without the batch, as the graph counts it."""
    return _AXES[axis] if rank == 3 else axis + 1


class Graph:
    """Nodes and constants in the order in which they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        # Tensor of each value of the program.
        self.values: dict[str, str] = {}
        self._made: set[str] = set()
        self._first: dict[str, Hashable] = {}

    def constant(self, name: str, values: object, dtype: type) -> str:
        """Adds a constant, once for each name."""
        if name not in self.constants:
            array = np.asarray(values, dtype)
            self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def whole(self, values: Sequence[int]) -> str:
        """A constant int64 vector that is named after what it holds."""
        return self.constant(f"whole.{'_'.join(map(str, values))}", values, np.int64)

    def add(self, operator: str, inputs: list[str], output: str, **attributes) -> str:
        """Adds a node named after its one output, once for each name."""
        if output not in self._made:
            node = helper.make_node(operator, inputs, [output], name=output, **attributes)
            self.nodes.append(node)
            self._made.add(output)
        return output

    def owned(self, owner: str, own: str, key: Hashable) -> str:
        """Prefix of constants that steps share: the owner's, but a name of its own for a
        step that needs other ones than the first."""
        return owner if self._first.setdefault(owner, key) == key else own

    def real(self, name: str, x: str, kind: Format) -> str:
        """The real numbers that a value stands for."""
        if is_wide(kind):
            return x
        return self.add("DequantizeLinear", [x, *self._format(name, kind)], f"{name}.real")

    def quantised(self, name: str, real: str, kind: Format) -> str:
        """clip(RNE(real / scale) + zero point, 0, 255)"""
        return self.add("QuantizeLinear", [real, *self._format(name, kind)], name)

    def _format(self, name: str, kind: Format) -> list[str]:
        return [
            self.constant(f"{name}.scale", kind.scale, np.float32),
            self.constant(f"{name}.zero_point", zero_point(kind), np.uint8),
        ]

    def brought_back(self, name: str, real: str, kind: Format) -> str:
        """clip(RNE(real / scale), low, high) as a value."""
        if is_wide(kind):
            return self._rounded(name, real, kind)
        whole = Integers(signed=kind.signed)
        if (kind.low, kind.high) == (whole.low, whole.high):
            return self.quantised(name, real, kind)
        saturated = self.quantised(f"{name}.saturated", real, kind)
        limits = [
            self.constant(f"{name}.{end}", value + zero_point(kind), np.uint8)
            for end, value in (("low", kind.low), ("high", kind.high))
        ]
        return self.add("Clip", [saturated, *limits], name)

    def _rounded(self, name: str, real: str, kind: Format) -> str:
        steps = self.constant(f"{name}.steps", 1 / kind.scale, np.float32)
        x = self.add("Mul", [real, steps], f"{name}.unrounded")
        x = self.add("Round", [x], f"{name}.rounded")
        limits = [
            self.constant(f"{name}.{end}", value, np.float32)
            for end, value in (("low", kind.low), ("high", kind.high))
        ]
        x = self.add("Clip", [x, *limits], f"{name}.clipped")
        scale = self.constant(f"{name}.scale", kind.scale, np.float32)
        return self.add("Mul", [x, scale], name)

    def looked_up(
        self, name: str, values: np.ndarray, kind: Format, index: str, table: str
    ) -> str:
        """The one of 256 `values` of a format, in a constant `table`, for each byte."""
        if is_wide(kind):
            table = self.constant(table, values * kind.scale, np.float32)
        else:
            table = self.constant(table, values + zero_point(kind), np.uint8)
        wide = self.add("Cast", [index], f"{name}.index", to=TensorProto.INT32)
        return self.add("Gather", [table, wide], name, axis=0)

    def divided(self, name: str, sums: str, count: int) -> str:
        """RNE(sums / count) in int32, as bytes; sums are not negative.

        floor(sums / count) = q, then floor((sums + floor((count - 1) / 2) + e) / count),
        with e = q mod 2 if count is even (a half goes up to an even number), else 0 (there
        is no half). Bytes with zero point 128 round alike, since 128 is even.
        """
        divisor = self.constant(f"{name}.count", count, np.int32)
        if count % 2 == 0:
            floor = self.add("Div", [sums, divisor], f"{name}.floor")
            two = self.constant("two", 2, np.int32)
            odd = self.add("Mod", [floor, two], f"{name}.odd")
            sums = self.add("Add", [sums, odd], f"{name}.odd_up")
        half = self.constant(f"{name}.half", (count - 1) // 2, np.int32)
        raised = self.add("Add", [sums, half], f"{name}.raised")
        mean = self.add("Div", [raised, divisor], f"{name}.quotient")
        return self.add("Cast", [mean], name, to=TensorProto.UINT8)
