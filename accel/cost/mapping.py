"""A mapping: how a layer is cut into blocks that fit the buffers, and in which order.

Blocks of M are whole output rows: either strips of one image, all of one height, or
several whole images. Their input comes as whole rows of the maps with all channels,
whatever the slice of K: slices of K cut weights and sums only. Inside a block the array's
own tiles run as the machine does them.

A layer of which not even one row fits is cut into pieces of some output columns, the last
one perhaps narrower. Pieces are done one after the other like layers of their own: each
fetches its weights, and the columns of input that it shares with its neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from accel.cost.too_small import require_room
from accel.machines.memory import Memory
from accel.predict.closed_forms import Size, ceil_divide
from accel.workload.layer import LayerWorkload, packed
from configs.checks import check_types, require, require_positive

# Loops over blocks, outermost first.
Order = Literal["MKN", "MNK", "KMN", "KNM", "NMK", "NKM"]


class Blocks(NamedTuple):
    """Block sizes alone, as a mapping has them: ints, or int64 arrays that broadcast."""

    images: Size
    strip: Size
    K: Size
    N: Size
    # Columns of a piece, the same of all; None: rows are not cut.
    cols: int | None = None


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """Block sizes and loop order."""

    # Images of a block; more than one only if `strip` is a whole image.
    images: int = 1
    # Output rows of a block; divides the layer's.
    strip: int
    # Slices of the sums' terms and of the outputs.
    K: int
    N: int
    order: Order = "MNK"
    # Output columns of a piece; None: rows are not cut.
    cols: int | None = None

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, "images", "strip", "K", "N")

    def require_fit(self, work: LayerWorkload) -> None:
        """Refuses blocks that are no blocks of this layer."""
        require(
            self, work.out_rows % self.strip == 0, "strip",
            f"must divide the {work.out_rows} output rows of {work.name}.",
        )  # fmt: skip
        whole = self.images == 1 or self.strip == work.out_rows
        require(self, whole, "images", "must be 1 where an image is cut into strips.")
        for name in ("images", "K", "N"):
            most = getattr(work, name)
            fits = getattr(self, name) <= most
            require(self, fits, name, f"must be at most the {most} of {work.name}.")
        if self.cols is not None:
            fits = 1 <= self.cols < work.out_cols and work.col_bytes is not None
            rule = f"must be in 1..{work.out_cols - 1} of {work.name}, its step known."
            require(self, fits, "cols", rule)

    def pieces(self, work: LayerWorkload) -> list[tuple[LayerWorkload, int]]:
        """What is done one after the other: layers of some columns, and how many of each.

        The layer itself, once, where rows are not cut.
        """
        if self.cols is None:
            return [(work, 1)]
        whole, left = divmod(work.out_cols, self.cols)
        found = [(work.piece(self.cols), whole)]
        return [*found, (work.piece(left), 1)] if left else found

    def column_pieces(self, work: LayerWorkload) -> int:
        return sum(count for _, count in self.pieces(work))

    def trips(self, work: LayerWorkload) -> dict[str, int]:
        """Blocks in each dimension."""
        return trips(work, self)

    def capacity(
        self,
        work: LayerWorkload,
        memory: Memory,
        *,
        inputs_kept: bool = False,
        outputs_kept: bool = False,
    ) -> dict[str, int]:
        """Bytes that each buffer must hold, by the name of its field in `Memory`."""
        kept = {"inputs_kept": inputs_kept, "outputs_kept": outputs_kept}
        return capacity(work, memory, self, **kept)

    def require_legal(
        self,
        work: LayerWorkload,
        memory: Memory,
        *,
        inputs_kept: bool = False,
        outputs_kept: bool = False,
    ) -> None:
        """Refuses blocks that do not fit the buffers."""
        self.require_fit(work)
        kept = {"inputs_kept": inputs_kept, "outputs_kept": outputs_kept}
        needed = self.capacity(work, memory, **kept)
        require_room(memory, needed, f"the blocks of {work.name}", "smaller blocks")


def trips(work: LayerWorkload, blocks: Mapping | Blocks) -> dict[str, Size]:
    """Blocks in each dimension."""
    images = ceil_divide(work.images, blocks.images)
    return {
        "M": images * (work.out_rows // blocks.strip),
        "K": ceil_divide(work.K, blocks.K),
        "N": ceil_divide(work.N, blocks.N),
    }


def capacity(
    work: LayerWorkload,
    memory: Memory,
    blocks: Mapping | Blocks,
    *,
    inputs_kept: bool = False,
    outputs_kept: bool = False,
) -> dict[str, Size]:
    """Bytes that each buffer must hold, by the name of its field in `Memory`.

    A buffer holds two blocks where blocks change and it is double buffered. Maps that are
    kept on the chip lie there whole: a kept input beside the output of the layer, a kept
    output beside the blocks of an input that comes from DRAM. Results that wait to be
    written are still sums, in the sum buffer.
    """
    count = trips(work, blocks)
    piece = work if blocks.cols is None else work.piece(blocks.cols)
    rows = blocks.images * blocks.strip * piece.out_cols
    held = {
        "activation_bytes": (blocks.images * piece.strip_bytes(blocks.strip), count["M"]),
        "weight_bytes": (
            packed(work.weight_bits, blocks.K * blocks.N),
            count["K"] * count["N"],
        ),
        "sum_bytes": (4 * rows * blocks.N, count["M"] * count["N"]),
    }
    most = 2 if memory.double_buffered else 1
    need = {
        name: size * (most - (most - 1) * one_if(number == 1))
        for name, (size, number) in held.items()
    }
    if inputs_kept:
        need["activation_bytes"] = work.input_bytes + work.output_bytes
    elif outputs_kept:
        need["activation_bytes"] = need["activation_bytes"] + work.output_bytes
    return need


def narrower(work: LayerWorkload) -> list[int]:
    """Output columns of pieces to try, one after the other: halves, quarters and so on."""
    if work.col_bytes is None:
        return []
    bits = (work.out_cols - 1).bit_length()
    found = {ceil_divide(work.out_cols, 1 << bit) for bit in range(1, bits + 1)}
    return sorted(found, reverse=True)


def one_if(condition: Any) -> Size:
    """1 or 0, for arrays too."""
    return int(condition) if isinstance(condition, bool) else condition.astype("int64")
