"""The reference: walks a layer block by block, and counts what moves and what waits.

Period 0 fetches the first block. In period i + 1 the array works on block i, while the DMA
first writes what block i - 1 has left and then reads what block i + 1 needs and block i
did not have: nothing older is found again. The period ends when both are done. Two more
periods of the DMA alone, before and after, are what remains. With one buffer (not double
buffered) the three follow each other.

    cycles = D(0) + sum_i max(C(i), D(i + 1)) + D(blocks + 1)
    D(j)   = ceil((reads(j) + writes(j - 2)) * clock / bandwidth)

Slow and obvious; `closed_form` equals it, and `stepped` steps it cycle by cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product
from typing import NamedTuple

from accel.cost.mapping import Mapping
from accel.machines.counters import Counters, total
from accel.machines.machine import Machine
from accel.machines.memory import Memory
from accel.predict import timing
from accel.predict.closed_forms import Size, ceil_divide, larger
from accel.workload.gemm import Gemm
from accel.workload.layer import BYTES, Bits, LayerWorkload, packed

# Bytes of a partial sum in a buffer or in DRAM; everything else has its layer's widths.
SUM_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Residency:
    """Where the maps of a layer lie: on the chip, or in DRAM."""

    inputs_kept: bool = False
    outputs_kept: bool = False


class Block(NamedTuple):
    """One step: what the DMA reads before and writes after, and the array's own count."""

    # Bytes from DRAM that are not in the buffers yet.
    inputs: int
    weights: int
    sums_read: int
    # Bytes to DRAM once the block is done: partial sums, or finished outputs.
    sums_written: int
    outputs: int
    # Cycles of the array, its ports included, and what it counted.
    cycles: int
    counters: Counters

    @property
    def read(self) -> int:
        return self.inputs + self.weights + self.sums_read

    @property
    def written(self) -> int:
        return self.sums_written + self.outputs


def blocks(
    machine: Machine,
    work: LayerWorkload,
    memory: Memory,
    mapping: Mapping,
    places: Residency,
) -> Iterator[Block]:
    """All blocks of one repeat of a layer, in order."""
    trips = mapping.trips(work)
    order = list(product(*(range(trips[dimension]) for dimension in mapping.order)))
    at = [dict(zip(mapping.order, index, strict=True)) for index in order]
    for i, here in enumerate(at):
        before = at[i - 1] if i else None
        after = at[i + 1] if i + 1 < len(at) else None
        yield _block(machine, work, memory, mapping, places, (before, here, after))


def _block(machine, work, memory, mapping, places, around) -> Block:
    before, here, after = around
    images = min(mapping.images, work.images - here["M"] * mapping.images)
    if mapping.strip < work.out_rows:
        images = 1
    rows = images * mapping.strip * work.out_cols
    depth = min(mapping.K, work.K - here["K"] * mapping.K)
    cols = min(mapping.N, work.N - here["N"] * mapping.N)

    def changed(other: dict | None, *dimensions: str) -> bool:
        return other is None or any(other[d] != here[d] for d in dimensions)

    last = here["K"] == mapping.trips(work)["K"] - 1
    comes, goes = changed(before, "M", "N"), changed(after, "M", "N")
    counters = timing.predict(machine, Gemm(work.name, 1, rows, depth, cols))
    return Block(
        inputs=0
        if places.inputs_kept or not changed(before, "M")
        else images * work.strip_bytes(mapping.strip),
        weights=packed(work.weight_bits, depth * cols) if changed(before, "K", "N") else 0,
        sums_read=SUM_BYTES * rows * cols if comes and here["K"] else 0,
        sums_written=SUM_BYTES * rows * cols if goes and not last else 0,
        outputs=packed(work.output_bits, rows * cols)
        if goes and last and not places.outputs_kept
        else 0,
        cycles=port_cycles(counters, memory, rows * cols if here["K"] else 0, work.bits),
        counters=counters,
    )


def port_cycles(
    counters: Counters, memory: Memory, begun: Size = 0, bits: Bits = BYTES
) -> Size:
    """Cycles of a block with the ports of the buffers: as many as the slowest of them.

    `begun` are the sums that the block begins with, those of earlier slices of K.
    """
    sums = counters.sum_reads + begun + counters.sum_writes + counters.output_writes
    through = [
        (packed(bits.inputs, counters.input_fetches), memory.activation_port),
        (packed(bits.weights, counters.weight_fetches), memory.weight_port),
        (SUM_BYTES * sums, memory.sum_port),
    ]
    needed = (ceil_divide(moved, port) for moved, port in through if port is not None)
    return reduce(larger, needed, counters.cycles)


class Walked(NamedTuple):
    """One layer, all its repeats; bytes and cycles."""

    cycles: int
    # Of the array, at work on its blocks; the rest of the cycles it waits for DRAM.
    compute: int
    dram_inputs: int
    dram_weights: int
    dram_sums_read: int
    dram_sums_written: int
    dram_outputs: int
    # What the array fetched from the buffers, wrote to them and multiplied.
    counters: Counters

    @property
    def stall(self) -> int:
        return self.cycles - self.compute

    @property
    def dram(self) -> int:
        """All bytes between DRAM and the chip."""
        return sum(self[2:7])


def walk(
    machine: Machine,
    work: LayerWorkload,
    memory: Memory,
    mapping: Mapping,
    places: Residency = Residency(),
    wait: Callable[[list[Block], Memory], int] | None = None,
) -> Walked:
    """Everything about a layer, block by block; of one in pieces, piece by piece.

    Raises:
      InputError: the blocks are none of this layer, or do not fit the buffers.
    """
    mapping.require_legal(work, memory, **vars(places))
    whole = replace(mapping, cols=None)
    found = [
        _walk(machine, piece, memory, whole, places, wait)
        for piece, count in mapping.pieces(work)
        for _ in range(count)
    ]
    counters = total([one.counters for one in found])
    return Walked(
        *(sum(v) for v in zip(*(one[:-1] for one in found), strict=True)), counters
    )


def _walk(machine, work, memory, mapping, places, wait) -> Walked:
    found = list(blocks(machine, work, memory, mapping, places))
    counted = [block.counters for block in found]
    one = Walked(
        cycles=(wait or periods)(found, memory),
        compute=sum(block.cycles for block in found),
        dram_inputs=sum(block.inputs for block in found),
        dram_weights=sum(block.weights for block in found),
        dram_sums_read=sum(block.sums_read for block in found),
        dram_sums_written=sum(block.sums_written for block in found),
        dram_outputs=sum(block.outputs for block in found),
        counters=Counters(*(sum(values) for values in zip(*counted, strict=True))),
    )
    counters = Counters(*(work.repeats * count for count in one.counters))
    return Walked(*(work.repeats * value for value in one[:-1]), counters)


def periods(found: list[Block], memory: Memory) -> int:
    """Cycles of one repeat, from the first byte fetched to the last one written."""
    if not memory.double_buffered:
        return sum(
            memory.dma_cycles(block.read) + block.cycles + memory.dma_cycles(block.written)
            for block in found
        )
    reads = [block.read for block in found] + [0, 0]
    writes = [0, 0] + [block.written for block in found]
    dma = [memory.dma_cycles(r + w) for r, w in zip(reads, writes, strict=True)]
    together = [max(b.cycles, d) for b, d in zip(found, dma[1:-1], strict=True)]
    return dma[0] + sum(together) + dma[-1]
