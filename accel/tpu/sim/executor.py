"""Runs a program: every bit and every cycle, in one scan over its instructions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from accel.tpu.isa.bounds import require_bounds
from accel.tpu.isa.isa import MATMULS, Opcode
from accel.tpu.isa.program import Issued, Program, issue
from accel.tpu.machine import TpuMachine
from accel.tpu.sim import clock, data
from accel.tpu.sim.counts import Counts, count
from accel.tpu.sim.table import Table, rows, table
from configs.errors import InputError

_BRANCHES = {
    Opcode.Read_Host_Memory: data.READ_HOST,
    Opcode.MatrixMultiply: data.MATMUL,
    Opcode.Convolve: data.MATMUL,
    Opcode.Activate: data.ACTIVATE,
    Opcode.Write_Host_Memory: data.WRITE_HOST,
    Opcode.Vector: data.VECTOR,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """What the host got, and when each instruction ran."""

    # uint8 or int8 (B, F).
    logits: np.ndarray
    # Output of every layer by name, if the program kept them; else empty.
    outputs: dict[str, np.ndarray]
    # Of each instruction up to Halt.
    times: clock.Times
    counts: Counts


def execute(program: Program, images: np.ndarray, machine: TpuMachine) -> Result:
    """The program on a batch of pixels, uint8 (B, *input shape).

    Errors: a program made from shapes; images of another shape; addresses beyond a
    memory; a product without weights.
    """
    _require_images(program, images)
    issued = issue(program)
    require_bounds(program, issued, machine)
    columns = table(rows(issued, program, machine))
    clock.require_exact(columns)
    lengths = [
        one.instruction.length for one in issued if one.instruction.opcode in MATMULS
    ]
    longest = _power(max(lengths, default=1), 16)
    memory = _memory(program, machine, longest)
    constants = _constants(program, images, machine.side)
    with jax.enable_x64(True):
        state = clock.begin(machine.fifo_tiles, jnp.int64)
        padded = columns.padded(_power(len(issued), 64))
        steps = _steps(issued, len(padded.kind))
        memory, times = _scan(memory, state, steps, padded, constants, longest)
        memory, times = jax.device_get((memory, times))
    times = clock.Times(*(column[: len(issued)] for column in times))
    buffer = memory.unified_buffer
    kept = program.tensors if program.kept else {}
    return Result(
        logits=program.output.read(memory.host, 0),
        outputs={
            name: kept[name].read(buffer, kept[name].row * machine.side)
            for name in program.layers
            if name in kept
        },
        times=times,
        counts=count(columns, times, side=machine.side),
    )


@functools.partial(jax.jit, static_argnums=5, donate_argnums=0)
def _scan(
    memory: data.Memory,
    state: clock.State,
    steps: data.Step,
    columns: Table,
    constants: data.Constants,
    longest: int,
) -> tuple[data.Memory, clock.Times]:
    def step(carry, rows):
        memory, state = carry
        one, row = rows
        state, times = clock.tick(state, row)
        return (data.apply(memory, one, constants, longest), state), times

    (memory, _), times = jax.lax.scan(step, (memory, state), (steps, columns))
    return memory, times


def _require_images(program: Program, images: np.ndarray) -> None:
    if program.tiles is None or program.parameters is None:
        raise InputError(
            "`program` (=made from shapes) must hold weights to be executed; use "
            "compile_network."
        )
    shape = (program.images, *program.tensors["input"].shape)
    if images.dtype != np.uint8 or images.shape != shape:
        raise InputError(
            f"`images` (={images.dtype}{list(images.shape)}) must be uint8{list(shape)}, "
            f"for which the program was compiled; compile it for this batch."
        )


# Of every byte of the unified buffer before a program has written it.
_JUNK = 0xA5


# Sizes are rounded up, so that programs of about one size share a compilation.
def _power(count: int, least: int) -> int:
    return max(1 << (count - 1).bit_length(), least)


def _multiple(count: int, step: int) -> int:
    return -(-count // step) * step


def _memory(program: Program, machine: TpuMachine, longest: int) -> data.Memory:
    """What no program may count on, with surplus space where fixed shapes reach beyond
    what is used."""
    sent, got = (
        _multiple(one.bytes, 4096) for one in (program.tensors["input"], program.output)
    )
    used = _multiple(program.unified_buffer_rows * machine.side, 1 << 16)
    return data.Memory(
        unified_buffer=jnp.full(used + max(data.POOLED, sent, got), _JUNK, jnp.uint8),
        accumulators=jnp.zeros(
            (machine.accumulator_rows + longest, machine.side), jnp.int32
        ),
        host=jnp.zeros(got, jnp.uint8),
    )


def _constants(program: Program, images: np.ndarray, side: int) -> data.Constants:
    blocks = program.parameters
    # A group may begin anywhere; `side` columns are read from there.
    longest = _multiple(max(len(b.bias) for b in blocks), side) + side
    shape = _multiple(len(blocks), 4), longest

    def filled(shape: tuple[int, ...], rows: Sequence[np.ndarray], rest: int, kind: type):
        whole = np.full(shape, rest, kind)
        for number, row in enumerate(rows):
            whole[number, ..., : row.shape[-1]] = row
        return jnp.asarray(whole)

    def column(values: Sequence[int], kind: type = np.int32) -> jax.Array:
        return jnp.asarray(np.pad(np.array(values, kind), (0, shape[0] - len(blocks))))

    none = np.zeros(256, np.uint8)
    tables = [none if one.table is None else one.table for one in blocks]
    tiles = _multiple(len(program.tiles), 16), side, side
    pixels = np.zeros(_multiple(images.size, 4096), np.uint8)
    pixels[: images.size] = images.reshape(-1)
    return data.Constants(
        images=jnp.asarray(pixels),
        tiles=filled(tiles, program.tiles, 0, np.int8),
        bias=filled(shape, [one.bias for one in blocks], 0, np.int32),
        multiplier=filled(shape, [one.multiplier for one in blocks], 1, np.int32),
        shift=column([one.shift for one in blocks]),
        low=column([one.low for one in blocks]),
        high=column([one.high for one in blocks]),
        table=filled((shape[0], 256), tables, 0, np.uint8),
        has_table=column([one.table is not None for one in blocks], bool),
    )


def _steps(issued: Sequence[Issued], length: int) -> data.Step:
    """The columns of `data.Step`, filled up with steps that do nothing."""
    columns = [
        (
            _branch(one),
            one.instruction.ub_address,
            one.instruction.acc_address,
            one.instruction.length,
            one.instruction.tile,
            one.instruction.accumulate,
            max(one.weight_tile, 0),
        )
        for one in issued
    ]
    more = length - len(issued)
    filled = np.pad(np.array(columns, np.int64), ((0, more), (0, 0)))
    registers = np.pad([one.registers for one in issued], ((0, more), (0, 0)))
    return data.Step(*filled.astype(np.int32).T, registers.astype(np.int32))


def _branch(one: Issued) -> int:
    if one.instruction.from_ub:
        return data.POOL
    return _BRANCHES.get(one.instruction.opcode, data.NOTHING)
