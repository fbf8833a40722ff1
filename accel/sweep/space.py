"""The designs of a sweep: axes as data, and point i of their product.

    i = (((dataflow * rows + row) * cols + col) * rates + rate) * buffers + buffer

in mixed radix, where rate runs over bandwidths and clocks, and buffer over the capacities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from math import prod
from typing import Any, Literal, get_args

from accel.machines.machine import Systolic
from accel.machines.memory import Memory
from accel.workload.layer import LayerWorkload
from configs.checks import brief, check_types, require
from configs.errors import InputError

_KIB = 1 << 10
# What stays in the PEs; with shadow registers the next tile loads meanwhile, skewed.
Flow = Literal["ws", "os", "is", "ws_shadow", "is_shadow"]
FLOWS: tuple[Flow, ...] = get_args(Flow)
# Longest axis, and most combinations of capacities and of rates: what bounds memory.
_LONGEST, _MOST_BUFFERS, _MOST_RATES = 1024, 1 << 18, 1 << 16


def area_of_pe(flow: Flow) -> int:
    """A multiplier, and the two bytes more through which a shadowed operand loads."""
    return 3 if flow.endswith("_shadow") else 1


@dataclass(frozen=True, kw_only=True)
class Design:
    """One point: an array and the memory around it, double buffered."""

    dataflow: Flow
    rows: int
    cols: int
    dram_mb_per_s: int
    clock_mhz: int
    activation_bytes: int
    weight_bytes: int
    sum_bytes: int

    @property
    def machine(self) -> Systolic:
        dataflow, _, shadow = self.dataflow.partition("_")
        weights = shadow or "single"
        sides = {"rows": self.rows, "cols": self.cols}
        return Systolic(**sides, dataflow=dataflow, weights=weights)

    @property
    def memory(self) -> Memory:
        return Memory(
            activation_bytes=self.activation_bytes,
            weight_bytes=self.weight_bytes,
            sum_bytes=self.sum_bytes,
            dram_mb_per_s=self.dram_mb_per_s,
            clock_mhz=self.clock_mhz,
        )

    @property
    def area(self) -> int:
        """Proxy: multipliers + bytes of the buffers and of the shadow registers."""
        stored = self.activation_bytes + self.weight_bytes + self.sum_bytes
        return area_of_pe(self.dataflow) * self.rows * self.cols + stored


@dataclass(frozen=True, kw_only=True)
class Space:
    """Axes in the order of the mixed radix, the slowest first; each strictly ascending."""

    dataflow: tuple[Flow, ...] = FLOWS
    rows: tuple[int, ...] = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
    cols: tuple[int, ...] = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
    dram_mb_per_s: tuple[int, ...] = (1600, 3200, 6400, 12800, 25600, 34000, 51200, 102400)
    clock_mhz: tuple[int, ...] = (100, 200, 300, 400, 500, 700, 800, 1000)
    activation_bytes: tuple[int, ...] = tuple(_KIB << i for i in range(2, 14))
    weight_bytes: tuple[int, ...] = tuple(_KIB << i for i in range(2, 12))
    sum_bytes: tuple[int, ...] = tuple(_KIB << i for i in range(2, 12))

    def __post_init__(self) -> None:
        check_types(self)
        for field in fields(self):
            self._check_axis(field.name)
        for name, size, most in (
            ("sum_bytes", self.buffers, _MOST_BUFFERS),
            ("clock_mhz", self.rates, _MOST_RATES),
        ):
            rule = size <= most
            require(self, rule, name, f"makes {size:,} combinations; {most:,} at most.")
        for values in zip(
            *(_ends(getattr(self, f.name)) for f in fields(self)), strict=True
        ):
            design = Design(**dict(zip(_NAMES, values, strict=True)))
            _ = design.machine, design.memory

    def _check_axis(self, name: str) -> None:
        values = getattr(self, name)
        rule = 1 <= len(values) <= _LONGEST
        require(self, rule, name, f"must have 1 to {_LONGEST} values.")
        if name == "dataflow":
            rule = len(set(values)) == len(values)
            require(self, rule, name, "must name each dataflow once.")
            return
        rule = values[0] >= 1 and all(a < b for a, b in pairwise(values))
        require(self, rule, name, "must be positive and strictly ascending, like (8, 16).")

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return tuple(len(getattr(self, name)) for name in _NAMES)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def arrays(self) -> int:
        """Combinations of dataflow, rows and cols."""
        return prod(self.shape[:3])

    @property
    def rates(self) -> int:
        """Combinations of bandwidth and clock."""
        return prod(self.shape[3:5])

    @property
    def buffers(self) -> int:
        """Combinations of capacities."""
        return prod(self.shape[5:])

    def design(self, index: int) -> Design:
        """Point `index` of the product."""
        if not 0 <= index < self.size:
            raise InputError(f"`index` (={index}) must be in 0..{self.size - 1}.")
        values: dict[str, Any] = {}
        for name, length in zip(reversed(_NAMES), reversed(self.shape), strict=True):
            index, at = divmod(index, length)
            values[name] = getattr(self, name)[at]
        return Design(**values)

    def index(self, design: Design) -> int:
        """Where a design stands in the product."""
        found = 0
        for name, length in zip(_NAMES, self.shape, strict=True):
            axis, value = getattr(self, name), getattr(design, name)
            if value not in axis:
                raise InputError(f"`{name}` (={value!r}) must be in {brief(axis)}.")
            found = found * length + axis.index(value)
        return found


_NAMES = tuple(field.name for field in fields(Space))


def _ends(axis: Sequence) -> tuple:
    return axis[0], axis[-1]


def around(works: Sequence[LayerWorkload]) -> Space:
    """A space for a network: arrays and buffers from small ones to more than it can use.

    Capacities are powers of two, from the first in which the smallest blocks of every
    layer fit a small array to the first that holds the largest maps, weights and sums
    whole, twelve at most.
    """
    cols = Space.__dataclass_fields__["cols"].default[0]
    low = {
        "activation_bytes": max(2 * work.strip_bytes(1) for work in works),
        "weight_bytes": max(2 * work.K * min(cols, work.N) for work in works),
        "sum_bytes": max(8 * work.out_cols * min(cols, work.N) for work in works),
    }
    high = {
        "activation_bytes": max(work.input_bytes + work.output_bytes for work in works),
        "weight_bytes": max(work.K * work.N for work in works),
        "sum_bytes": max(4 * work.M * work.N for work in works),
    }
    return Space(**{name: _powers(low[name], high[name]) for name in low})


def _powers(low: int, high: int) -> tuple[int, ...]:
    """Twelve powers of two at most, the first of them >= low, the last >= high."""
    first, last = ((size - 1).bit_length() for size in (low, max(low, high)))
    return tuple(1 << bit for bit in range(first, min(last, first + 11) + 1))
