"""Faults in registers of the PEs: bits that are stuck or always the wrong way round.

Whatever a broken register takes becomes

    ((value & keep) | stuck) ^ flip

with one mask of each kind for every PE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from accel.machines.machine import Systolic
from configs.checks import check_types, require

Register = Literal["weight", "input", "sum"]
Kind = Literal["stuck_0", "stuck_1", "flip"]
REGISTERS: tuple[Register, ...] = get_args(Register)
KINDS: tuple[Kind, ...] = get_args(Kind)
# Bits of the registers, as they stand in hardware.
WIDTHS = {"weight": 8, "input": 8, "sum": 32}
# An array of JAX, which this file does not need to import.
Plane = Any


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One bit of one register of one PE."""

    register: Register
    row: int
    col: int
    # 0 is the least significant.
    bit: int
    kind: Kind

    def __post_init__(self) -> None:
        check_types(self)
        width = WIDTHS[self.register]
        require(self, 0 <= self.bit < width, "bit", f"must be in 0..{width - 1}.")

    def require_inside(self, machine: Systolic) -> None:
        """Refuses a fault in a PE that the machine does not have."""
        for axis, size in (("row", machine.rows), ("col", machine.cols)):
            fits = 0 <= getattr(self, axis) < size
            require(self, fits, axis, f"must be in 0..{size - 1} on {machine.name}.")


class Masks(NamedTuple):
    """Of each broken register plane, int32 (rows, cols); empty without faults."""

    keep: dict[str, np.ndarray]
    stuck: dict[str, np.ndarray]
    flip: dict[str, np.ndarray]


NONE = Masks({}, {}, {})


def masks(faults: Sequence[Fault], machine: Systolic, signed: dict[str, bool]) -> Masks:
    """Masks of several faults.

    Args:
      signed: whether the top bit of a register's values counts negative; it is then
        spread over the int32 that a simulated register is.
    """
    found = Masks({}, {}, {})
    for fault in faults:
        name, size = fault.register, (machine.rows, machine.cols)
        for plane in found:
            plane.setdefault(name, np.full(size, -(plane is found.keep), np.int32))
        bit = np.int64(1) << fault.bit
        if fault.bit == WIDTHS[name] - 1 and signed[name]:
            bit = -bit
        bit, place = np.int64(bit).astype(np.int32), (fault.row, fault.col)
        if fault.kind == "flip":
            found.flip[name][place] ^= bit
            continue
        found.keep[name][place] &= ~bit
        if fault.kind == "stuck_1":
            found.stuck[name][place] |= bit
        else:
            found.stuck[name][place] &= ~bit
    return Masks(*({n: a for n, a in plane.items()} for plane in found))


def broken(plane: Plane, name: str, faults: Masks) -> Plane:
    """What registers hold that should take `plane`, int32 (rows, cols, lanes)."""
    if name not in faults.keep:
        return plane
    keep, stuck, flip = (masks[name][..., None] for masks in faults)
    return ((plane & keep) | stuck) ^ flip
