"""A mapping: how a layer is cut into blocks that fit the buffers, and in which order.

Blocks of M are whole output rows: either strips of one image, all of one height, or
several whole images. Inside a block the array's own tiles run as the machine does them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from accel.cost.memory import Memory
from accel.cost.work import Work
from configs.checks import check_types, require, require_positive
from configs.errors import InputError

# Loops over blocks, outermost first.
Order = Literal["MKN", "MNK", "KMN", "KNM", "NMK", "NKM"]


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


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

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, "images", "strip", "K", "N")

    def require_fit(self, work: Work) -> None:
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

    def trips(self, work: Work) -> dict[str, int]:
        """Blocks in each dimension."""
        blocks = _ceil(work.images, self.images) * (work.out_rows // self.strip)
        return {"M": blocks, "K": _ceil(work.K, self.K), "N": _ceil(work.N, self.N)}

    def capacity(self, work: Work, memory: Memory, *, inputs_kept: bool) -> dict[str, int]:
        """Bytes that each buffer must hold, by the name of its field in `Memory`.

        A buffer holds two blocks where blocks change and it is double buffered. Maps that
        are kept on the chip (`inputs_kept`) lie there whole, with the layer's output.
        """
        trips = self.trips(work)
        two = 2 if memory.double_buffered else 1
        strip = self.images * work.strip_bytes(self.strip)
        rows = self.images * self.strip * work.out_cols
        changing = {
            "activation_bytes": trips["M"],
            "weight_bytes": trips["K"] * trips["N"],
            "sum_bytes": trips["M"] * trips["N"],
        }
        block = {
            "activation_bytes": strip,
            "weight_bytes": self.K * self.N,
            "sum_bytes": 4 * rows * self.N,
        }
        need = {n: block[n] * (two if changing[n] > 1 else 1) for n in block}
        if inputs_kept:
            need["activation_bytes"] = work.input_bytes + work.output_bytes
        return need

    def require_legal(self, work: Work, memory: Memory, *, inputs_kept: bool) -> None:
        """Refuses blocks that do not fit the buffers."""
        self.require_fit(work)
        for name, need in self.capacity(work, memory, inputs_kept=inputs_kept).items():
            stated = getattr(memory, name)
            if need > stated:
                raise InputError(
                    f"`{name}` (={stated}) is too small for {work.name}, whose blocks "
                    f"take {need} bytes; use {need} or more, or smaller blocks."
                )
