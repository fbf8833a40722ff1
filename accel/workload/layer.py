"""What the cost models know of a layer: its matrix product, the shape of its input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from accel.predict.closed_forms import Size, ceil_divide
from configs.checks import check_types, require, require_positive


class Bits(NamedTuple):
    """Widths of the numbers of a layer, as they are stored and moved."""

    weights: int = 8
    inputs: int = 8
    outputs: int = 8


# Containers, as they were before anything is narrow.
BYTES = Bits()


def packed(bits: int, numbers: Size) -> Size:
    """Bytes of some numbers of a width that lie side by side, the last byte filled up.

    >>> packed(8, 5), packed(4, 5), packed(3, 8)
    (5, 3, 3)
    """
    return ceil_divide(bits * numbers, 8)


@dataclass(frozen=True, kw_only=True)
class LayerWorkload:
    """A layer for some images: out_rows x out_cols rows of [M, K] x [K, N] an image.

    Maps lie in memory with their padding, row after row; an output row
    needs `kernel_rows` input rows, the next one starts `stride` rows further down. A dense
    layer is a map of one row whose output has one position.
    """

    name: str
    # Maps: one an image; of a product without maps, its rows.
    images: int = 1
    # Output height P and width Q.
    out_rows: int = 1
    out_cols: int = 1
    # Kernel height R, and the step from output row to output row.
    kernel_rows: int = 1
    stride: int = 1
    # Numbers of one padded input row: columns that are used, times channels.
    row_bytes: int
    # Numbers of it from output column to output column: step times channels. None: not
    # known, and rows cannot be cut.
    col_bytes: int | None = None
    K: int
    N: int
    # The same product so many times, each with an input of its own: groups, heads, steps.
    repeats: int = 1
    # Different weights among the repeats: all of them [None], 1 where steps share theirs,
    # 0 where both factors are activations, as in attention.
    weight_sets: int | None = None
    # Whether the input is what the layer before puts out, and nothing else.
    chained: bool = False
    # Widths of weights, of inputs and of outputs in memory and in the buffers. What moves
    # in one go is packed: its last byte alone is filled up. Sums are 32 bits.
    weight_bits: int = 8
    activation_bits: int = 8
    output_bits: int = 8

    def __post_init__(self) -> None:
        check_types(self)
        require(self, bool(self.name), "name", "must not be empty.")
        require_positive(
            self, "images", "out_rows", "out_cols", "kernel_rows", "stride", "row_bytes",
            "K", "N", "repeats",
        )  # fmt: skip
        sets = self.weight_sets
        fits = sets is None or 0 <= sets <= self.repeats
        require(self, fits, "weight_sets", f"must be in 0..{self.repeats}, the repeats.")
        for name in ("weight_bits", "activation_bits", "output_bits"):
            fits = 1 <= getattr(self, name) <= 8
            require(self, fits, name, "must be in 1..8.")
        step = self.col_bytes
        fits = step is None or (step > 0 and (self.out_cols - 1) * step < self.row_bytes)
        require(self, fits, "col_bytes", "must leave bytes of a row for its last column.")

    @property
    def positions(self) -> int:
        """Rows of the product for one image: P * Q."""
        return self.out_rows * self.out_cols

    @property
    def M(self) -> int:
        return self.images * self.positions

    @property
    def macs(self) -> int:
        return self.M * self.K * self.N * self.repeats

    @property
    def weight_bytes(self) -> int:
        """Bytes of all different weights; a second factor that is computed has none."""
        sets = self.repeats if self.weight_sets is None else self.weight_sets
        return packed(self.weight_bits, self.K * self.N) * sets

    @property
    def bits(self) -> Bits:
        return Bits(self.weight_bits, self.activation_bits, self.output_bits)

    def strip_bytes(self, rows: int) -> int:
        """Bytes of the input rows of one image that `rows` neighbouring output rows span,
        from the first to the last; a stride beyond the kernel skips none in between."""
        spanned = (rows - 1) * self.stride + self.kernel_rows
        return packed(self.activation_bits, spanned * self.row_bytes)

    def piece(self, cols: int) -> LayerWorkload:
        """The layer for some of its output columns only, with the input they need: pieces
        next to each other read the columns between them twice."""
        if cols == self.out_cols:
            return self
        row = self.row_bytes - (self.out_cols - cols) * (self.col_bytes or 0)
        return replace(self, out_cols=cols, row_bytes=row)

    @property
    def input_bytes(self) -> int:
        """Bytes of the input maps of all images, padding included."""
        return self.images * self.strip_bytes(self.out_rows) * self.repeats

    @property
    def output_bytes(self) -> int:
        """Bytes of what the products put out, before any pooling."""
        return packed(self.output_bits, self.M * self.N) * self.repeats
