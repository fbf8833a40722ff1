"""A program as the rows that its clock reads. Needs no JAX."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from accel.tpu import table as kinds
from accel.tpu.isa import Opcode
from accel.tpu.machine import TpuMachine
from accel.tpu.program import Issued, Program, issue
from accel.tpu.table import Row, Table, table


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
            return Row(kind=kinds.READ_HOST, duration=machine.host_cycles(one.length))
        case Opcode.Write_Host_Memory:
            return Row(kind=kinds.WRITE_HOST, duration=machine.host_cycles(one.length))
        case Opcode.Read_Weights:
            return Row(kind=kinds.READ_WEIGHTS, duration=machine.fetch_cycles)
        case Opcode.MatrixMultiply | Opcode.Convolve:
            return Row(
                kind=kinds.MATMUL,
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
            return Row(kind=kinds.POOL, duration=one.length)
        case Opcode.Vector:
            return Row(kind=kinds.POOL, duration=one.length)
        case Opcode.Activate:
            half = one.acc_address // machine.half_rows
            return Row(kind=kinds.ACTIVATE, duration=one.length, half=half)
        case Opcode.Sync:
            return Row(kind=kinds.SYNC)
    return Row(kind=kinds.IDLE)
