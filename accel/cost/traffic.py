"""Bytes that move at each level of the memory, by operand: what energy is paid for.

    DRAM --fill--> buffers --> array (registers, hops) --> buffers --drain--> DRAM

The operands are inputs, weights, sums (partial sums, int32, 4 bytes each) and outputs
(finished). Each byte is counted at every place that it is read at or written to: an input
that comes from DRAM and is used twice is one byte of `dram_inputs`, one of `fill_inputs`
and two of `buffer_inputs`.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import NamedTuple

from accel.machines.counters import Count

OPERANDS = ("inputs", "weights", "sums", "outputs")


class Traffic(NamedTuple):
    """Bytes read and written; whole numbers or int64 arrays that broadcast; a pytree.

    `a + b` adds field by field, `a * n` and `n * a` repeat.
    """

    # At the pins of the DRAM.
    dram_inputs: Count = 0
    dram_weights: Count = 0
    dram_sum_reads: Count = 0
    dram_sum_writes: Count = 0
    dram_outputs: Count = 0
    # Buffers, on the side of the DRAM: fills are written to a buffer, drains read from it.
    fill_inputs: Count = 0
    fill_weights: Count = 0
    fill_sums: Count = 0
    drain_sums: Count = 0
    drain_outputs: Count = 0
    # Buffers, on the side of the array: inputs, weights and sum reads leave for the array,
    # sum writes and outputs come from it.
    buffer_inputs: Count = 0
    buffer_weights: Count = 0
    buffer_sum_reads: Count = 0
    buffer_sum_writes: Count = 0
    buffer_outputs: Count = 0
    # Registers beside the multipliers, read and written; without what hops count.
    register_inputs: Count = 0
    register_weights: Count = 0
    register_sums: Count = 0
    # From the register of one processing element into that of its neighbour.
    hop_inputs: Count = 0
    hop_weights: Count = 0
    hop_sums: Count = 0

    # numpy leaves `array * traffic` to the class instead of taking the tuple apart.
    __array_ufunc__ = None

    def __add__(self, other: Traffic) -> Traffic:
        if not isinstance(other, Traffic):
            return NotImplemented
        return Traffic(*map(add, self, other))

    def __mul__(self, count: Count) -> Traffic:
        return Traffic(*(value * count for value in self))

    __rmul__ = __mul__

    @property
    def dram(self) -> Count:
        """Bytes at the pins of the DRAM, all operands, both directions."""
        return self._total("dram")

    @property
    def buffer(self) -> Count:
        """Bytes read from and written to the buffers, on both sides."""
        return self._total("fill", "drain", "buffer")

    def _total(self, *places: str) -> Count:
        names = zip(self._fields, self, strict=True)
        return sum(value for name, value in names if name.startswith(places))


def total(traffic: list[Traffic]) -> Traffic:
    """Sum of several; of none, nothing moves."""
    return reduce(add, traffic, Traffic())
