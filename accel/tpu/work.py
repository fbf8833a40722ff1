"""What the TPU has to do for a network, as shapes: reads, products, poolings, writes.

A sequence of steps is all that the closed form needs, and the order in which the compiler
emits instructions. Needs no JAX.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from accel.tpu import table as kinds
from accel.tpu.machine import TpuMachine
from accel.tpu.table import Row


@dataclass(frozen=True, kw_only=True)
class Read:
    """Input of a batch from the host."""

    bytes: int


@dataclass(frozen=True, kw_only=True)
class Write:
    """Output of a batch to the host."""

    bytes: int


@dataclass(frozen=True, kw_only=True)
class Barrier:
    """Sync: what follows waits for all activations and host reads so far."""


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """Unified buffer to unified buffer through the activation unit."""

    rows: int


@dataclass(frozen=True, kw_only=True)
class Product:
    """The matrix products of a layer, and their activation.

    For each tile of output columns, for each chunk of at most half the accumulators'
    rows: a sum over tiles of K, then Activate.
    """

    name: str
    rows: int
    # (tiles of K, tiles of N), one or more such blocks one after the other.
    groups: tuple[tuple[int, int], ...]
    # Weights of the layer: what is not padding in the tiles.
    weights: int
    # Cycles a row: 1, with 16-bit activations 2, with 16-bit weights too 4.
    speed: int = 1

    @property
    def tiles(self) -> int:
        return sum(k * n for k, n in self.groups)

    @property
    def macs(self) -> int:
        return self.rows * self.weights


Step = Read | Write | Barrier | Pooling | Product


def rows(steps: Sequence[Step], machine: TpuMachine) -> Iterator[Row]:
    """The rows of the program's table, in the compiler's order."""
    for step in steps:
        match step:
            case Read():
                cycles = machine.host_cycles(step.bytes)
                yield Row(kind=kinds.READ_HOST, duration=cycles)
            case Write():
                cycles = machine.host_cycles(step.bytes)
                yield Row(kind=kinds.WRITE_HOST, duration=cycles)
            case Pooling():
                yield Row(kind=kinds.POOL, duration=step.rows)
            case Barrier():
                yield Row(kind=kinds.SYNC)
            case Product():
                yield from _product(step, machine)


def chunks(count: int, machine: TpuMachine) -> list[int]:
    """Rows of a product, cut so that each piece fits into half the accumulators."""
    half = machine.half_rows
    return [min(half, count - begin) for begin in range(0, count, half)]


def _product(step: Product, machine: TpuMachine) -> Iterator[Row]:
    fetch = Row(kind=kinds.READ_WEIGHTS, duration=machine.fetch_cycles)
    side, tile, half = machine.side, 0, 0
    for k_tiles, n_tiles in step.groups:
        for _ in range(n_tiles):
            for index, length in enumerate(chunks(step.rows, machine)):
                for k in range(k_tiles):
                    new = k_tiles > 1 or index == 0
                    if new:
                        yield fetch
                    yield Row(
                        kind=kinds.MATMUL,
                        duration=length * step.speed,
                        rows=length,
                        new_tile=int(new),
                        accumulate=int(k > 0),
                        half=half,
                        shift=side,
                        drain=2 * side - 2,
                        used=_share(step, tile + k),
                    )
                yield Row(kind=kinds.ACTIVATE, duration=length, half=half)
                half ^= 1
            tile += k_tiles


def _share(step: Product, tile: int) -> int:
    """Weights in a tile if padding is spread evenly; they add up to all of them."""
    weights, tiles = step.weights, step.tiles
    return weights * (tile + 1) // tiles - weights * tile // tiles
