"""Where the cycles of a TPU program go: the rows of table 3 of the paper.

Every cycle of the matrix unit belongs to one of: active, weight stall, weight shift, and
the non-matrix kinds. Sums are exact.

References: Jouppi et al., ISCA 2017 (arXiv:1704.04760), table 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from accel.tpu.sim import table as kinds
from accel.tpu.sim.clock import Times
from accel.tpu.sim.table import Table


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Cycles of one program; unless said otherwise, of its matrix unit."""

    # From the first item presented until everything has ended.
    cycles: int
    # Products run (table 3, row 1).
    active: int
    # Waiting for a tile to arrive from weight memory (row 4).
    weight_stall: int
    # Waiting while a tile shifts into the array (row 5).
    weight_shift: int
    # Waiting for activations of the layer before (row 7).
    raw_stall: int
    # Waiting for the host's input (row 8).
    input_stall: int
    # Waiting for accumulators to be read out; a hazard like row 7, in no row by itself.
    accumulator_stall: int
    # After the last product: results fall out, are activated and leave.
    drain: int
    # Multiply-accumulates of products.
    macs: int
    # Slots of the array in active cycles that hold a weight of the layer, and that do
    # not (rows 2 and 3).
    useful_slots: int
    unused_slots: int

    @property
    def non_matrix(self) -> int:
        """Row 6."""
        stalls = self.raw_stall + self.input_stall + self.accumulator_stall
        return stalls + self.drain

    def share(self, field: str) -> float:
        """Part of all cycles."""
        return getattr(self, field) / self.cycles

    def tops(self, clock_hz: int) -> float:
        """10^12 operations a second, two for each multiply-accumulate (row 9)."""
        return 2 * self.macs * clock_hz / self.cycles / 1e12


def count(table: Table, times: Times, *, side: int) -> Counts:
    """The partition of all cycles until the last end."""
    products = table.kind == kinds.MATMUL
    active = table.duration[products]
    used = table.used[products]
    ends = times.end + table.drain
    cycles = int(ends.max(initial=0))
    last = int(times.end[products].max(initial=0))
    useful = int((active * used).sum())
    stalls = ("weight_stall", "weight_shift", "raw_stall", "input_stall")
    fields = {name: int(getattr(times, name).sum()) for name in stalls}
    return Counts(
        cycles=cycles,
        active=int(active.sum()),
        accumulator_stall=int(times.accumulator_stall.sum()),
        drain=cycles - last,
        macs=int((table.rows[products] * used).sum()),
        useful_slots=useful,
        unused_slots=int(active.sum()) * side * side - useful,
        **fields,
    )
