"""Why a mapping won, in a sentence or two made of its numbers."""

from __future__ import annotations

from accel.cost.closed_form import Totals
from accel.cost.mapping import Mapping
from accel.cost.reference import SUM_BYTES
from accel.workload.layer import LayerWorkload, packed


def reasons(
    work: LayerWorkload,
    mapping: Mapping,
    totals: Totals,
    rival: tuple[Mapping, Totals] | None,
    equals: int,
) -> str:
    """How long the array waits, what the blocks save, and how far the next best one is."""
    return "; ".join([_waits(totals), _saves(work, mapping, totals), _next(
        work, totals, mapping, rival, equals
    )]) + "."  # fmt: skip


def megabytes(count: int) -> str:
    """Bytes as people say them.

    >>> megabytes(900), megabytes(61_440), megabytes(1_200_000)
    ('900 B', '61.4 kB', '1.2 MB')
    """
    if count < 1000:
        return f"{count} B"
    return f"{count / 1e3:.1f} kB" if count < 10**6 else f"{count / 1e6:.1f} MB"


def _waits(totals: Totals) -> str:
    waits = 100 * (totals.cycles - totals.compute) / totals.cycles
    return f"the array waits for DRAM {waits:.1f} % of the cycles"


def _saves(work: LayerWorkload, mapping: Mapping, totals: Totals) -> str:
    """How often each operand comes, and where partial sums stay."""
    weights = _times(totals.dram_weights, packed(work.weight_bits, work.K * work.N))
    inputs = _times(totals.dram_inputs, work.input_bytes // work.repeats)
    second = "weights come" if work.weight_bytes else "the second factor comes"
    said = f"{second} {weights}, inputs {inputs}"
    trips = mapping.trips(work)
    block = SUM_BYTES * mapping.images * mapping.strip * work.out_cols * mapping.N
    if totals.dram_sums_read:
        return f"{said}, {megabytes(totals.dram_sums_read)} of partial sums go out and back"
    if trips["K"] == 1:
        return f"{said}, K is whole and no partial sum leaves the chip"
    return f"{said}, {megabytes(block)} of partial sums stay on the chip"


def _times(moved: int, size: int) -> str:
    if not moved:
        return "not at all (kept on the chip)"
    times = moved / size
    return "once" if moved == size else f"{times:{_digits(times, 3)}} times"


def _digits(value: float, count: int) -> str:
    """Format of so many significant digits and all before the point, without powers of 10.

    >>> f"{0.125:{_digits(0.125, 2)}} {1250.4:{_digits(1250.4, 2)}}"
    '0.12 1,250'
    """
    if abs(value) >= 10**count - 0.5:
        return ",.0f"
    return f".{count}g" if abs(value) >= 1e-4 or not value else ".6f"


def _next(
    work: LayerWorkload,
    totals: Totals,
    mapping: Mapping,
    rival: tuple[Mapping, Totals] | None,
    equals: int,
) -> str:
    same = f"{equals} more as good, " if equals else ""
    if rival is None:
        return f"{same}none is worse" if same else "no other fits"
    other, its = rival
    more = 100 * (its.cycles - totals.cycles) / totals.cycles
    cycles = f"{more:+{_digits(more, 2)}} %"
    moved = sum(its[2:]) - sum(totals[2:])
    sign = "-" if moved < 0 else "+"
    return (
        f"{same}runner-up {_differs(mapping, other)}: {cycles} cycles, "
        f"{sign}{megabytes(abs(moved))}"
    )


def _differs(mapping: Mapping, other: Mapping) -> str:
    """The other's order, and what of its blocks is not the same."""
    names = [
        n for n in ("images", "strip", "K", "N") if getattr(mapping, n) != getattr(other, n)
    ]
    sizes = ", ".join(f"{n} {getattr(other, n)}" for n in names)
    return f"{other.order} with {sizes}" if sizes else other.order
