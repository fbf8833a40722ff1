"""What the cost models know of a layer: its matrix product, the shape of its input."""

from __future__ import annotations

from dataclasses import dataclass, replace

from configs.checks import check_types, require, require_positive


@dataclass(frozen=True, kw_only=True)
class Work:
    """A layer for some images: out_rows x out_cols rows of [M, K] x [K, N] an image.

    Maps lie in memory with their padding, one byte a number, row after row; an output row
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
    # Bytes of one padded input row: columns that are used, times channels.
    row_bytes: int
    # Bytes of it from output column to output column: step times channels. None: not
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
        return self.K * self.N * sets

    def strip_bytes(self, rows: int) -> int:
        """Bytes of the input rows of one image that `rows` neighbouring output rows span,
        from the first to the last; a stride beyond the kernel skips none in between."""
        return ((rows - 1) * self.stride + self.kernel_rows) * self.row_bytes

    def piece(self, cols: int) -> Work:
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
        return self.M * self.N * self.repeats
