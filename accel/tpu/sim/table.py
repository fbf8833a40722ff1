"""A TPU program as columns of integers, one row an instruction: what its clock reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from accel.tpu.isa.isa import Opcode
from accel.tpu.isa.program import Issued, Program, issue
from accel.tpu.machine import TpuMachine

# Kinds of rows. IDLE takes no time: configuration, no-ops, Halt.
IDLE, READ_HOST, WRITE_HOST, READ_WEIGHTS, MATMUL, ACTIVATE, POOL, SYNC = range(8)


class Row(NamedTuple):
    """One instruction; whole numbers."""

    kind: int
    # Cycles that its unit is busy.
    duration: int = 0
    # Rows of activations of a product.
    rows: int = 0
    # A product takes the next tile of the weight FIFO, or keeps the live one.
    new_tile: int = 0
    # A product adds to its accumulators, or overwrites them once they were read out.
    accumulate: int = 0
    # Half of the accumulators, 0 or 1.
    half: int = 0
    # Cycles in which a tile shifts in, and in which the last results fall out.
    shift: int = 0
    drain: int = 0
    # Weights of the layer in the tile, at most side * side.
    used: int = 0


class Table(NamedTuple):
    """The same fields as `Row`, each an int64 array [instructions]; a pytree."""

    kind: Any
    duration: Any
    rows: Any
    new_tile: Any
    accumulate: Any
    half: Any
    shift: Any
    drain: Any
    used: Any

    def padded(self, length: int) -> Table:
        """With rows at the end that take no time."""
        more = length - len(self.kind)
        return Table(*(np.pad(column, (0, more)) for column in self))


def table(rows: Iterable[Row]) -> Table:
    columns = np.array(list(rows), np.int64).reshape(-1, len(Row._fields))
    return Table(*np.ascontiguousarray(columns.T))


def timed(program: Program, machine: TpuMachine) -> Table:
    """One row for each instruction up to Halt."""
    return table(rows(issue(program), program, machine))


def rows(issued: Sequence[Issued], program: Program, machine: TpuMachine) -> Iterator[Row]:
    used = program.tiles_used.prod(axis=1)
    for one in issued:
        yield _row(one, used, machine)


def _row(issued: Issued, used, machine: TpuMachine) -> Row:
    one, side = issued.instruction, machine.side
    match one.opcode:
        case Opcode.Read_Host_Memory:
            return Row(kind=READ_HOST, duration=machine.host_cycles(one.length))
        case Opcode.Write_Host_Memory:
            return Row(kind=WRITE_HOST, duration=machine.host_cycles(one.length))
        case Opcode.Read_Weights:
            return Row(kind=READ_WEIGHTS, duration=machine.fetch_cycles)
        case Opcode.MatrixMultiply | Opcode.Convolve:
            return Row(
                kind=MATMUL,
                duration=one.length * one.speed,
                rows=one.length,
                new_tile=int(one.new_tile),
                accumulate=int(one.accumulate),
                half=one.acc_address // machine.half_rows,
                shift=side,
                drain=2 * side - 2,
                used=int(used[issued.weight_tile]),
            )
        case Opcode.Activate if one.from_ub:
            return Row(kind=POOL, duration=one.length)
        case Opcode.Vector:
            return Row(kind=POOL, duration=one.length)
        case Opcode.Activate:
            half = one.acc_address // machine.half_rows
            return Row(kind=ACTIVATE, duration=one.length, half=half)
        case Opcode.Sync:
            return Row(kind=SYNC)
    return Row(kind=IDLE)
