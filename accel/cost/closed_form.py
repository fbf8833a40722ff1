"""The closed form of a walk: what `walk` counts block by block, without walking.

A block's cycles and bytes depend on whether it and its two neighbours are the first or the
last of their loops, and on nothing else. So five positions stand for a loop of any length:

    position    0      1         2            T - 2     T - 1
    stands for  1      T >= 3    max(T-4, 0)  T >= 4    T >= 2     blocks

and 5^3 blocks for a layer. Sizes may be Python integers or int64 arrays that broadcast;
nothing is decided by value, so that the forms can be vectorised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

from accel.cost import mapping as mappings
from accel.cost.mapping import Blocks, Mapping, one_if
from accel.cost.reference import SUM_BYTES
from accel.machines.counters import Counters
from accel.predict.closed_forms import Size, ceil_divide, larger
from accel.workload.layer import BYTES, Bits, LayerWorkload, packed

Index = dict[str, Size]


class Cut(NamedTuple):
    """A layer cut into blocks: how many, how large, and how large the last one is."""

    trips: dict[str, Size]
    # Rows of the product, slices of K and of N.
    size: dict[str, Size]
    last: dict[str, Size]
    # Bytes of the input of a block of rows.
    inputs: Size
    inputs_last: Size
    bits: Bits = BYTES


class Totals(NamedTuple):
    """One repeat of a layer: cycles, cycles of the array, bytes to and from DRAM."""

    cycles: Size
    compute: Size
    dram_inputs: Size
    dram_weights: Size
    dram_sums_read: Size
    dram_sums_written: Size
    dram_outputs: Size


def cut(work: LayerWorkload, mapping: Mapping | Blocks) -> Cut:
    """The blocks of one mapping, or of many."""
    trips = mappings.trips(work, mapping)
    image = mapping.strip * work.out_cols
    # Images of the last block: 1 of an image in strips, else those that are left.
    whole = one_if(mapping.strip == work.out_rows)
    left = 1 - whole + whole * (work.images - (trips["M"] - 1) * mapping.images)
    strip = work.strip_bytes(mapping.strip)
    return Cut(
        trips=trips,
        size={"M": mapping.images * image, "K": mapping.K, "N": mapping.N},
        last={
            "M": left * image,
            "K": work.K - (trips["K"] - 1) * mapping.K,
            "N": work.N - (trips["N"] - 1) * mapping.N,
        },
        inputs=mapping.images * strip,
        inputs_last=left * strip,
        bits=work.bits,
    )


def totals(
    form: Cut,
    order: str,
    *,
    cycles: Callable[[Size, Size, Size, Size], Size],
    dma: Callable[[Size], Size],
    inputs_kept: Size = 0,
    outputs_kept: Size = 0,
    double_buffered: bool = True,
) -> Totals:
    """Everything about one repeat of a layer.

    Args:
      order: loops over blocks, outermost first, such as "MNK".
      cycles: of the array for a block [m, k] x [k, n] that begins with so many sums of
        earlier slices of K; a function of (m, k, n, sums).
      dma: cycles in which DRAM moves some bytes.
      inputs_kept, outputs_kept: 1 where the maps stay on the chip, else 0.
    """
    found = [0] * len(Totals._fields)
    for weight, here in _standing_for(form, order):
        values = _block(form, order, here, cycles, dma, inputs_kept, outputs_kept)
        busy = _together(values) if double_buffered else _apart(values, dma)
        parts = (busy, values.compute, *values.reads, *values.writes)
        found = [total + weight * part for total, part in zip(found, parts, strict=True)]
    return Totals(*found)


def counted(form: Cut, predict: Callable[[Size, Size, Size], Counters]) -> Counters:
    """What the array counts for one repeat: 2^3 kinds of blocks, full ones and last ones.

    `predict` counts a block [m, k] x [k, n].
    """
    found = Counters()
    for kinds in product((0, 1), repeat=3):
        count, sizes = 1, []
        for d, last in zip("MKN", kinds, strict=True):
            count = count * (1 if last else form.trips[d] - 1)
            sizes.append(form.last[d] if last else form.size[d])
        block = predict(*sizes)
        found = Counters(*(a + count * b for a, b in zip(found, block, strict=True)))
    return found


class _Values(NamedTuple):
    compute: Size
    # Of this block: inputs, weights, partial sums; then partial sums and outputs.
    reads: tuple[Size, Size, Size]
    writes: tuple[Size, Size]
    # DMA of this period, and of those that only the first and the last block see.
    dma: Size
    ends: Size


def _block(form, order, here, cycles, dma, inputs_kept, outputs_kept) -> _Values:
    after, end = _after(form, order, here)
    before, start = _before(form, order, here)
    edges = (inputs_kept, outputs_kept)
    reads = _reads(form, before, here, start, edges)
    writes = _writes(form, here, after, end, edges)
    next_reads = sum(_reads(form, here, after, 0, edges)) * (1 - end)
    left = sum(_writes(form, before, here, 0, edges)) * (1 - start)
    m, k, n = (_size(form, d, here) for d in "MKN")
    return _Values(
        compute=cycles(m, k, n, m * n * (1 - one_if(here["K"] == 0))),
        reads=reads,
        writes=writes,
        dma=dma(next_reads + left),
        ends=start * dma(sum(reads)) + end * dma(sum(writes)),
    )


def _together(values: _Values) -> Size:
    return values.ends + larger(values.compute, values.dma)


def _apart(values: _Values, dma: Callable[[Size], Size]) -> Size:
    return dma(sum(values.reads)) + values.compute + dma(sum(values.writes))


def _standing_for(form: Cut, order: str) -> Iterator[tuple[Size, Index]]:
    """Blocks that stand for all, each with how many it stands for."""
    for chosen in product(*(_positions(form.trips[d]) for d in order)):
        if any(isinstance(count, int) and not count for _, count in chosen):
            continue
        weight = 1
        for _, count in chosen:
            weight = weight * count
        yield weight, {d: at for d, (at, _) in zip(order, chosen, strict=True)}


def _positions(T: Size) -> list[tuple[Size, Size]]:
    return [
        (0, 1),
        (1, one_if(T >= 3)),
        (2, larger(T - 4, 0)),
        (T - 2, one_if(T >= 4)),
        (T - 1, one_if(T >= 2)),
    ]


def _size(form: Cut, d: str, at: Index) -> Size:
    last = one_if(at[d] == form.trips[d] - 1)
    return form.size[d] + last * (form.last[d] - form.size[d])


def _after(form: Cut, order: str, here: Index) -> tuple[Index, Size]:
    """The next block, and whether there is none."""
    after, carry = {}, 1
    for d in reversed(order):
        wraps = carry * one_if(here[d] == form.trips[d] - 1)
        after[d] = (here[d] + carry) * (1 - wraps)
        carry = wraps
    return after, carry


def _before(form: Cut, order: str, here: Index) -> tuple[Index, Size]:
    """The block before, and whether there is none."""
    before, borrow = {}, 1
    for d in reversed(order):
        wraps = borrow * one_if(here[d] == 0)
        before[d] = here[d] - borrow + wraps * form.trips[d]
        borrow = wraps
    return before, borrow


def _changed(one: Index, other: Index, dimensions: str, edge: Size) -> Size:
    """1 if two neighbours differ in a dimension, or if there is no neighbour."""
    same = 1 - edge
    for d in dimensions:
        same = same * one_if(one[d] == other[d])
    return 1 - same


def _reads(form: Cut, before: Index, here: Index, edge: Size, kept) -> tuple[Size, ...]:
    last = one_if(here["M"] == form.trips["M"] - 1)
    inputs = form.inputs + last * (form.inputs_last - form.inputs)
    m, k, n = (_size(form, d, here) for d in "MKN")
    later = 1 - one_if(here["K"] == 0)
    return (
        _changed(before, here, "M", edge) * (1 - kept[0]) * inputs,
        _changed(before, here, "KN", edge) * packed(form.bits.weights, k * n),
        _changed(before, here, "MN", edge) * later * SUM_BYTES * m * n,
    )


def _writes(form: Cut, here: Index, after: Index, edge: Size, kept) -> tuple[Size, ...]:
    m, n = _size(form, "M", here), _size(form, "N", here)
    goes = _changed(here, after, "MN", edge)
    done = one_if(here["K"] == form.trips["K"] - 1)
    leaves = packed(form.bits.outputs, m * n) * (1 - kept[1])
    return goes * (1 - done) * SUM_BYTES * m * n, goes * done * leaves


def dma_cycles(moved: Size, clock_mhz: Size, dram_mb_per_s: Size) -> Size:
    """`Memory.dma_cycles`, for arrays too."""
    return ceil_divide(moved * clock_mhz, dram_mb_per_s)
