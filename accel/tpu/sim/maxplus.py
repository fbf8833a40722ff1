"""The cycles of a TPU program from its shapes alone: a linear system over (max, +).

The times of the machine before and after an instruction are x' = A x, where a sum takes
the largest of A[i, j] + x[j] (Baccelli, Cohen, Olsder and Quadrat, "Synchronization and
Linearity", 1992, chapters 1 and 2). A loop that runs n times is A^n, by repeated
squaring: a layer costs the logarithms of its tiles and chunks. Slots of the weight FIFO
and halves of the accumulators are used in turn; the vector keeps them in the order of
their next use, so that turning them is part of the body.

Nothing here looks at an instruction. The clock must give the same total, tolerance zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from accel.tpu.isa.loops import pairs
from accel.tpu.machine import TpuMachine
from accel.tpu.sim.work import Barrier, Product, Read, Step, Vector, Write
from configs.errors import InputError

# [times, columns]: one column is the machine at one moment, the identity a symbolic one.
Times = Int64[np.ndarray, "times columns"]

# What a time does not depend on; two of them still fit into int64.
_NEVER = -(1 << 61)
# Entries stay below the total, which stays below this.
_LARGEST = 1 << 60

_HOST, _READ, _FETCH, _SHIFT, _LIVE, _MATRIX, _ACT, _READY, _HALF, _OTHER = range(10)
# Of the accumulators, next one first.
_HALVES = (_HALF, _OTHER)
# Slots of the FIFO, next one first, end the vector.
_SLOT = 10


def predict(steps: Sequence[Step], machine: TpuMachine) -> int:
    """Cycles from the first item presented until everything has ended.

    Raises:
      InputError: the total might leave int64.
    """
    _require_exact(steps, machine)
    x = np.zeros((_SLOT + machine.fifo_tiles, 1), np.int64)
    for step in steps:
        x = _after(x, step, machine)
    done = x.copy()
    done[_MATRIX] += _drain(machine) if x[_MATRIX] > 0 else 0
    return int(done.max())


def tile_period(rows: int, machine: TpuMachine, speed: int = 1) -> int:
    """Cycles from tile to tile of a long sum, in the steady state.

    period = max(fetch, side, rows * speed), for a FIFO of two tiles or more; with one,
    which is fetched again only after it was shifted out, max(fetch + side, rows * speed).
    `rows` are all that the tile multiplies: of a chunk, or of the two of a pair. It holds
    exactly inside a sum over K. From sum to sum it holds for single chunks while the
    accumulators are read out in time: k * period >= rows * speed + 2 * side - 2 is
    enough. A pair fills both halves, so the next one may wait for the first half.
    """
    fetch = machine.fetch_cycles + (machine.side if machine.fifo_tiles == 1 else 0)
    return max(fetch, machine.side, rows * speed)


def _after(x: Times, step: Step, machine: TpuMachine) -> Times:
    """The times after one step of the work."""
    x = x.copy()
    match step:
        case Read():
            x[_HOST] += machine.host_cycles(step.bytes)
            x[_READ] = x[_HOST]
        case Write():
            cycles = machine.host_cycles(step.bytes)
            x[_HOST] = np.maximum(x[_HOST], x[_ACT]) + cycles
        case Vector():
            x[_ACT] = np.maximum(x[_ACT], x[_READY]) + step.rows
        case Barrier():
            x[_READY] = np.maximum(x[_READY], np.maximum(x[_ACT], x[_READ]))
        case Product():
            for k_tiles, n_tiles in step.groups:
                body = _columns(step, k_tiles, machine)
                x = _repeat(body, n_tiles, x)
    return x


def _columns(step: Product, k_tiles: int, machine: TpuMachine) -> Times:
    """One tile of output columns: all chunks of rows, each a sum over K."""
    body = _identity(machine)
    fresh = True
    for lengths, count in pairs(step.rows, k_tiles, machine):
        cycles = [(rows, rows * step.speed) for rows in lengths]
        if k_tiles == 1 and fresh:
            # The only tile comes with the first chunk and stays for the others.
            body = _sums(body, cycles, 1, machine, fetch=True)
            count, fresh = count - 1, False
        again = _sums(_identity(machine), cycles, k_tiles, machine, fetch=k_tiles > 1)
        body = _repeat(again, count, body)
    return body


def _sums(
    x: Times,
    chunks: Sequence[tuple[int, int]],
    k_tiles: int,
    machine: TpuMachine,
    *,
    fetch: bool,
) -> Times:
    """A sum over K for each of the chunks that share the tiles: (rows, cycles) of one, or
    of two in the two halves. The first is activated while the second is finished.
    """
    if k_tiles > 1:
        again = _tile(_identity(machine), chunks, machine, fetch=fetch, starts=False)
        x = _tile(x, chunks, machine, fetch=fetch, starts=True)
        x = _repeat(again, k_tiles - 2, x)
    for number, (rows, cycles) in enumerate(chunks):
        half = _HALVES[number] if k_tiles == 1 else None
        x = _multiply(x, cycles, machine, fetch=fetch and number == 0, half=half)
        x[_ACT] = np.maximum(x[_ACT], x[_MATRIX] + _drain(machine)) + rows
        x[_HALVES[number]] = x[_ACT]
    if len(chunks) == 1:
        x[[_HALF, _OTHER]] = x[[_OTHER, _HALF]]
    return x


def _tile(
    x: Times,
    chunks: Sequence[tuple[int, int]],
    machine: TpuMachine,
    *,
    fetch: bool,
    starts: bool,
) -> Times:
    """All chunks by one tile, which the first takes; not the last tile of their sums."""
    for number, (_, cycles) in enumerate(chunks):
        half = _HALVES[number] if starts else None
        x = _multiply(x, cycles, machine, fetch=fetch and number == 0, half=half)
    return x


def _multiply(
    x: Times, cycles: int, machine: TpuMachine, *, fetch: bool, half: int | None = None
) -> Times:
    """One product; before it, if it takes a new tile, its fetch and its shift.

    The first of a sum waits for its `half` of the accumulators.
    """
    x = x.copy()
    waits = [x[_MATRIX], x[_READY]]
    if half is not None:
        waits.append(x[half])
    if fetch:
        x[_FETCH] = np.maximum(x[_FETCH], x[_SLOT]) + machine.fetch_cycles
        begin = np.maximum(x[_FETCH], np.maximum(x[_SHIFT], x[_LIVE]))
        x[_SHIFT] = begin + machine.side
        x[_SLOT:-1] = x[_SLOT + 1 :].copy()
        x[-1] = x[_SHIFT]
        waits.append(x[_SHIFT])
    start = np.max(waits, axis=0)
    if fetch:
        x[_LIVE] = start
    x[_MATRIX] = start + cycles
    return x


def _repeat(body: Times, count: int, x: Times) -> Times:
    """body^count x, with log2(count) squarings."""
    while count:
        if count & 1:
            x = _product(body, x)
        count >>= 1
        if count:
            body = _product(body, body)
    return x


def _product(a: Times, b: Times) -> Times:
    """c[i, j] = max over k of a[i, k] + b[k, j]."""
    found = (a[:, :, None] + b[None, :, :]).max(axis=1)
    return np.maximum(found, _NEVER)


def _identity(machine: TpuMachine) -> Times:
    side = _SLOT + machine.fifo_tiles
    return np.where(np.eye(side, dtype=bool), 0, _NEVER).astype(np.int64)


def _drain(machine: TpuMachine) -> int:
    """Cycles in which the last results fall out of the array."""
    return 2 * machine.side - 2


def _require_exact(steps: Sequence[Step], machine: TpuMachine) -> None:
    """All durations one after the other bound every time."""
    longest = sum(_longest(step, machine) for step in steps)
    if longest >= _LARGEST:
        raise InputError(
            f"`cycles` (={longest}) of the work must stay below {_LARGEST}; use a "
            f"smaller batch or fewer batches."
        )


def _longest(step: Step, machine: TpuMachine) -> int:
    match step:
        case Read() | Write():
            return machine.host_cycles(step.bytes)
        case Vector():
            return step.rows
        case Product():
            chunks = -(-step.rows // machine.half_rows)
            fixed = chunks * (machine.fetch_cycles + machine.side + _drain(machine))
            each = fixed + step.rows * (step.speed + 1)
            return step.tiles * each
    return 0
