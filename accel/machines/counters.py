"""What a machine counts while it works, and what its closed form predicts."""

from __future__ import annotations

from typing import Any, NamedTuple

# Integers of any kind: counted ones, predicted ones, arrays over many machines.
Count = Any


class Counters(NamedTuple):
    """Counts of one matrix product or of several; a pytree.

    Each cycle (clock edge, from the first item presented to the last result captured)
    belongs to one phase; which, the machine's own file says. Fetches are words between the
    machine and the memory beside it.
    """

    # Cycles: held operands move in, nothing else does.
    load: Count = 0
    # Cycles: items are inside, the first result is still to come.
    fill: Count = 0
    # Cycles: the machine does what it is for.
    stream: Count = 0
    # Cycles: the last results come out.
    drain: Count = 0
    # Cycles: between two results, waiting for operands.
    stall: Count = 0
    # Useful multiplications.
    macs: Count = 0
    # Multipliers times cycles.
    slots: Count = 0
    input_fetches: Count = 0
    weight_fetches: Count = 0
    # Partial sums read back, and written to be read back.
    sum_reads: Count = 0
    sum_writes: Count = 0
    # Finished sums.
    output_writes: Count = 0
    # Pieces that the product was cut into, each of which the machine does in one go.
    tiles: Count = 0

    @property
    def cycles(self) -> Count:
        return self.load + self.fill + self.stream + self.drain + self.stall

    @property
    def idle(self) -> Count:
        """Multiplier slots without a useful multiplication."""
        return self.slots - self.macs

    @property
    def utilization(self) -> float:
        return self.macs / self.slots


PHASES = ("load", "fill", "stream", "drain", "stall")
FETCHES = ("input_fetches", "weight_fetches", "sum_reads", "sum_writes", "output_writes")


def total(counters: list[Counters]) -> Counters:
    """Sum of several, in the order done: one after the other."""
    return Counters(*(sum(values) for values in zip(*counters, strict=True)))


def times(counters: Counters, count: int) -> Counters:
    """The same done `count` times, one after the other."""
    return Counters(*(value * count for value in counters))
