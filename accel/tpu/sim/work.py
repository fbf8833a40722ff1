"""What the TPU has to do for a network, as shapes: reads, products, poolings, writes.

A sequence of steps is all that the closed form needs, and the order in which the compiler
emits instructions. Needs no JAX.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from accel.tpu.isa.loops import parts
from accel.tpu.machine import TpuMachine
from accel.tpu.sim import table as kinds
from accel.tpu.sim.table import Row


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
class Vector:
    """Unified buffer to unified buffer through the activation unit: pooling, and what is
    done element by element. It takes a cycle for each row of `side` bytes that it reads."""

    rows: int


@dataclass(frozen=True, kw_only=True)
class Product:
    """The matrix products of a layer, and their activation.

    Loops as in `accel.tpu.isa.loops`: chunks of rows in pairs, each a sum over tiles of K,
    then Activate.
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


Step = Read | Write | Barrier | Vector | Product


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
            case Vector():
                yield Row(kind=kinds.POOL, duration=step.rows)
            case Barrier():
                yield Row(kind=kinds.SYNC)
            case Product():
                yield from _product(step, machine)


def _product(step: Product, machine: TpuMachine) -> Iterator[Row]:
    fetch = Row(kind=kinds.READ_WEIGHTS, duration=machine.fetch_cycles)
    for part in parts(step.rows, step.groups, machine):
        if part.new_tile:
            yield fetch
        yield Row(
            kind=kinds.MATMUL,
            duration=part.rows * step.speed,
            rows=part.rows,
            new_tile=int(part.new_tile),
            accumulate=int(part.k > 0),
            half=part.half,
            shift=machine.side,
            drain=2 * machine.side - 2,
            used=_share(step, part.tile),
        )
        if part.last:
            yield Row(kind=kinds.ACTIVATE, duration=part.rows, half=part.half)


def _share(step: Product, tile: int) -> int:
    """Weights in a tile if padding is spread evenly; they add up to all of them."""
    weights, tiles = step.weights, step.tiles
    return weights * (tile + 1) // tiles - weights * tile // tiles
