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

from accel.tpu.machine import TpuMachine
from accel.tpu.work import Barrier, Pooling, Product, Read, Step, Write
from configs.errors import InputError

# [times, columns]: one column is the machine at one moment, the identity a symbolic one.
Times = Int64[np.ndarray, "times columns"]

# What a time does not depend on; two of them still fit into int64.
_NEVER = -(1 << 61)
# Entries stay below the total, which stays below this.
_LARGEST = 1 << 60

_HOST, _READ, _FETCH, _SHIFT, _LIVE, _MATRIX, _ACT, _READY, _HALF, _OTHER = range(10)
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
    It holds exactly inside a sum over K. From sum to sum it holds while the accumulators
    are read out in time: k * period >= rows * speed + 2 * side - 2 is enough.
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
        case Pooling():
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
    whole, rest = divmod(step.rows, machine.half_rows)
    body = _identity(machine)
    fresh = True
    for rows, count in ((machine.half_rows, whole), (rest, min(rest, 1))):
        if k_tiles == 1 and fresh and count:
            # The only tile comes with the first chunk and stays for the others.
            body = _sum(body, rows, 1, step.speed, machine, fetch=True)
            count, fresh = count - 1, False
        fetch = k_tiles > 1
        chunk = _sum(_identity(machine), rows, k_tiles, step.speed, machine, fetch=fetch)
        body = _repeat(chunk, count, body)
    return body


def _sum(
    x: Times, rows: int, k_tiles: int, speed: int, machine: TpuMachine, *, fetch: bool
) -> Times:
    """The products of one chunk of rows over K, then its activation."""
    cycles = rows * speed
    x = _multiply(x, cycles, machine, fetch=fetch, first=True)
    again = _multiply(_identity(machine), cycles, machine, fetch=fetch, first=False)
    x = _repeat(again, k_tiles - 1, x).copy()
    ready = np.maximum(x[_ACT], x[_MATRIX] + _drain(machine))
    x[_ACT] = ready + rows
    x[_HALF], x[_OTHER] = x[_OTHER].copy(), x[_ACT]
    return x


def _multiply(
    x: Times, cycles: int, machine: TpuMachine, *, fetch: bool, first: bool
) -> Times:
    """One product; before it, if it takes a new tile, its fetch and its shift."""
    x = x.copy()
    waits = [x[_MATRIX], x[_READY]]
    if first:
        waits.append(x[_HALF])
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
        case Pooling():
            return step.rows
        case Product():
            chunks = -(-step.rows // machine.half_rows)
            fixed = chunks * (machine.fetch_cycles + machine.side + _drain(machine))
            each = fixed + step.rows * (step.speed + 1)
            return step.tiles * each
    return 0
