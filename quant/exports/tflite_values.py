"""How integers stand in a .tflite file, and what brings others to them.

A value of 8 bits or fewer is an int8 tensor: a of an unsigned format is stored as a - 128,
with zero point -128; signed values are stored as they are, with zero point 0. A value of
16 bits is a float32 tensor of the real numbers that it stands for, which float32 holds
exactly, as it does sums and products of values: they stay below 2^24 (`quant.network`).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from quant import normative
from quant.exports.tflite_builder import Builder, schema
from quant.network import Activated, Format, Integers


def is_wide(kind: Format) -> bool:
    """Whether a value is a float32 tensor of real numbers, not one of bytes."""
    return kind.bits > 8


def zero_point(kind: Format) -> int:
    """What a real zero is stored as."""
    return 0 if kind.signed else -128


def to_stored(values: np.ndarray, kind: Format) -> np.ndarray:
    """Values in their container as the file stores them, int8."""
    return (values.astype(np.int16) + zero_point(kind)).astype(np.int8)


def from_stored(stored: np.ndarray, kind: Format) -> np.ndarray:
    """The inverse of `to_stored`; of a wide value the integers of its real numbers."""
    if is_wide(kind):
        return (stored / np.float32(kind.scale)).astype(kind.dtype)
    return (stored.astype(np.int16) - zero_point(kind)).astype(kind.dtype)


class Values:
    """The tensors of a program's values, added to a file as far as it is written."""

    def __init__(self, b: Builder) -> None:
        self.b = b
        # Index of the tensor of each value.
        self.tensors: dict[str, int] = {}
        # What the output of the step that is being written is called.
        self.output = ""
        # Sums of products of that step, if it has any.
        self.sums = -1
        self._constants: dict[str, int] = {}
        self._first: dict[str, Hashable] = {}

    def owned(self, owner: str, own: str, key: Hashable) -> str:
        """Prefix of constants that steps share: the owner's, but a name of its own for a
        step that needs other ones than the first."""
        return owner if self._first.setdefault(owner, key) == key else own

    def constant(self, name: str, array: np.ndarray, **further: Any) -> int:
        """A constant, once for each name."""
        if name not in self._constants:
            self._constants[name] = self.b.constant(name, array, **further)
        return self._constants[name]

    def number(self, value: float | int) -> int:
        """A float32 constant that is named after its value."""
        return self.constant(f"number.{value:g}", np.asarray([value], np.float32))

    def empty(self, name: str, shape: tuple[int, ...], kind: Format) -> int:
        """A tensor for a value of some shape, without the batch."""
        if is_wide(kind):
            return self.b.tensor(name, shape, "float32")
        zero = zero_point(kind)
        return self.b.tensor(name, shape, "int8", scale=[kind.scale], zero_point=zero)

    def reshaped(self, x: int, name: str, shape: tuple[int, ...], kind: Format) -> int:
        sizes = np.asarray((-1, *shape), np.int32)
        inputs = [x, self.constant(f"{name}.shape", sizes)]
        out = self.empty(name, shape, kind)
        return self.b.operator("RESHAPE", inputs, out, "Reshape", newShape=sizes)

    def real(self, x: int, name: str, shape: tuple[int, ...], kind: Format) -> int:
        """The real numbers that a value stands for."""
        if is_wide(kind):
            return x
        out = self.b.tensor(name, shape, "float32")
        return self.b.operator("DEQUANTIZE", [x], out, "Dequantize")

    def combined(self, code: str, xs: list[int], name: str, shape: tuple) -> int:
        """ADD, MUL, MINIMUM or MAXIMUM of float32 numbers."""
        kind = {"ADD": "Add", "MUL": "Mul"}.get(code, "MaximumMinimum")
        return self.b.operator(code, xs, self.b.tensor(name, shape, "float32"), kind)

    def rounded(self, real: int, name: str, shape: tuple, kind: Format) -> int:
        """clip(RNE(real / scale), low, high) in float32."""
        x = self.combined(
            "MUL", [real, self.number(1 / kind.scale)], f"{name}.steps", shape
        )
        out = self.b.tensor(f"{name}.rounded", shape, "float32")
        x = self.b.operator("ROUND", [x], out)
        for code, bound in (("MINIMUM", kind.high), ("MAXIMUM", kind.low)):
            inner = f"{name}.{code.lower()}"
            x = self.combined(code, [x, self.number(bound)], inner, shape)
        return x

    def brought_back(
        self, real: int, name: str, prefix: str, shape: tuple, kind: Format
    ) -> int:
        """clip(RNE(real / scale), low, high) as a value called `name`."""
        x = self.rounded(real, prefix, shape, kind)
        scale = self.number(kind.scale)
        if is_wide(kind):
            return self.combined("MUL", [x, scale], name, shape)
        # Exactly on the grid, so that no kernel has anything left to round.
        x = self.combined("MUL", [x, scale], f"{prefix}.on_grid", shape)
        return self.b.operator("QUANTIZE", [x], self.empty(name, shape, kind), "Quantize")

    def looked_up(
        self, x: int, name: str, prefix: str, shape: tuple, kind: Format,
        table: tuple[str, np.ndarray], offset: int = 128,
    ) -> int:  # fmt: skip
        """table[x + offset], where x is an int8 or a float32 tensor of integers.

        Args:
          table: the name of the constant, and its 256 values.
        """
        wide = self.b.tensor(f"{prefix}.wide", shape, "int32")
        types = {"inDataType": self.b.type_of(x), "outDataType": schema().TensorType.INT32}
        self.b.operator("CAST", [x], wide, "Cast", **types)
        added = self.b.constant(f"{prefix}.offset", np.asarray([offset], np.int32))
        index = self.b.tensor(f"{prefix}.index", shape, "int32")
        self.b.operator("ADD", [wide, added], index, "Add")
        constant = self._table(*table, kind)
        out = self.empty(name, shape, kind)
        return self.b.operator("GATHER", [constant, index], out, "Gather")

    def _table(self, name: str, values: np.ndarray, kind: Format) -> int:
        if is_wide(kind):
            return self.constant(name, (values * kind.scale).astype(np.float32))
        stored, zero = to_stored(values, kind), zero_point(kind)
        return self.constant(name, stored, scale=[kind.scale], zero_point=zero)


def clips(kind: Format) -> list[tuple[str, str, int]]:
    """Comparisons that saturate an int8 to fewer values: operator, name, stored bound."""
    whole, zero = Integers(signed=kind.signed), zero_point(kind)
    found = []
    if kind.low > whole.low:
        found.append(("MAXIMUM", "low", kind.low + zero))
    if kind.high < whole.high:
        found.append(("MINIMUM", "high", kind.high + zero))
    return found


def mapped(kind: Format, numbers: Activated) -> np.ndarray:
    """What each stored byte -128..127 of a format becomes on a grid of its own, (256,)."""
    values = np.arange(-128, 128) - zero_point(kind)
    values = np.clip(values, kind.low, kind.high)
    y = normative.rescale(values, numbers.sum.exponent - kind.exponent, numbers.sum)
    return y if numbers.table is None else numbers.table.astype(np.int64)[y + 128]
