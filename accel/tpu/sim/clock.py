"""When every instruction of a TPU program starts and ends: one small step of integers.

Each unit (host link, weight fetch, matrix unit, activation unit) works off its own
instructions in program order. An instruction is handed to its unit at once and waits
there; nothing else is held up. Cycles count from 0, when the first item is presented.
The same `tick` runs inside the data scan of the executor.

Where a gap of the matrix unit has several reasons, a cycle belongs to the first that
still holds: weights not here, weights shifting in, activations of the layer before,
host input, accumulators not yet read out.

References: Jouppi et al., ISCA 2017 (arXiv:1704.04760), section 2 and table 3.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from accel.tpu.sim import table as kinds
from accel.tpu.sim.table import Table
from configs.errors import InputError

# Cycles times 65,536 slots of the array still fit into int64.
_LARGEST = 1 << 46


class State(NamedTuple):
    """Cycles at which things are free or done; integer scalars unless said otherwise."""

    host_free: Any
    # End of the last host read.
    read_end: Any
    fetch_free: Any
    # [fifo]: when a slot may be filled again, and when what is in it has arrived.
    slot_free: Any
    slot_full: Any
    # Tiles fetched into and taken out of the FIFO so far.
    fetched: Any
    taken: Any
    # End of the last shift; the tile then becomes live.
    shift_free: Any
    # Start of the first product with the newest live tile: the shadow register is free.
    live_since: Any
    matrix_free: Any
    # The results of the last product have fallen out of the array.
    matrix_done: Any
    act_free: Any
    # [2]: halves of the accumulators.
    acc_free: Any
    # What the last Sync waits for: activations, and host reads.
    ready_act: Any
    ready_host: Any


class Times(NamedTuple):
    """Of one instruction, or [instructions] of a program; cycles. Zero where unused."""

    start: Any
    end: Any
    shift_start: Any
    shift_end: Any
    # What the gap before a product went to.
    weight_stall: Any
    weight_shift: Any
    raw_stall: Any
    input_stall: Any
    accumulator_stall: Any


def begin(fifo: int, dtype: Any) -> State:
    """Everything free at cycle 0; `fifo` tiles fit into the weight FIFO."""
    zero, halves = jnp.zeros((), dtype), jnp.zeros(2, dtype)
    slots = jnp.zeros(fifo, dtype)
    fields = dict.fromkeys(State._fields, zero)
    fields.update(slot_free=slots, slot_full=slots, acc_free=halves)
    return State(**fields)


def tick(state: State, row: Table) -> tuple[State, Times]:
    """One instruction: the state after it, and its times.

    `row` is a `Table` of scalars of the state's dtype.
    """
    state, product = _matmul(state, row)
    state, others = _units(state, row)
    zero = jnp.zeros_like(row.duration)
    is_product = row.kind == kinds.MATMUL
    picked = (jnp.where(is_product, new, zero) for new in product[2:])
    start = jnp.where(is_product, product.start, others[0])
    end = jnp.where(is_product, product.end, others[1])
    return state, Times(start, end, *picked)


def _matmul(state: State, row: Table) -> tuple[State, Times]:
    """A product of `duration` cycles, with a new tile shifted in before it or not."""
    zero = jnp.zeros_like(row.duration)
    here, takes = row.kind == kinds.MATMUL, row.new_tile != 0
    slot = state.taken % state.slot_free.shape[0]
    arrived = jnp.maximum(state.shift_free, state.live_since)
    shift_start = jnp.maximum(state.slot_full[slot], arrived)
    shift_end = shift_start + row.shift
    acc = jnp.where(row.accumulate != 0, zero, state.acc_free[row.half])
    # Reasons in order; each takes the cycles that those before it left.
    reasons = (
        jnp.where(takes, shift_start, zero),
        jnp.where(takes, shift_end, zero),
        state.ready_act,
        state.ready_host,
        acc,
    )
    stalls, reached = [], state.matrix_free
    for until in reasons:
        stalls.append(jnp.maximum(until - reached, 0))
        reached = jnp.maximum(reached, until)
    start, end = reached, reached + row.duration
    pops = here & takes
    new = state._replace(
        slot_free=jnp.where(pops, state.slot_free.at[slot].set(shift_end), state.slot_free),
        taken=state.taken + pops.astype(state.taken.dtype),
        shift_free=jnp.where(pops, shift_end, state.shift_free),
        live_since=jnp.where(pops, start, state.live_since),
        matrix_free=jnp.where(here, end, state.matrix_free),
        matrix_done=jnp.where(here, end + row.drain, state.matrix_done),
    )
    shifted = (jnp.where(takes, t, zero) for t in (shift_start, shift_end))
    return new, Times(start, end, *shifted, *stalls)


def _units(state: State, row: Table) -> tuple[State, tuple[Any, Any]]:
    """The other units and the barrier; start and end, zero for what takes no time."""
    slot = state.fetched % state.slot_free.shape[0]
    # A pooling reads what a Sync has waited for; sums come out of the array.
    starts = (
        (kinds.READ_HOST, state.host_free),
        (kinds.WRITE_HOST, jnp.maximum(state.host_free, state.act_free)),
        (kinds.READ_WEIGHTS, jnp.maximum(state.fetch_free, state.slot_free[slot])),
        (kinds.ACTIVATE, jnp.maximum(state.act_free, state.matrix_done)),
        (kinds.POOL, jnp.maximum(state.act_free, state.ready_host)),
    )
    is_kind = {kind: row.kind == kind for kind, _ in starts}
    start = sum(jnp.where(is_kind[kind], value, 0) for kind, value in starts)
    known = functools.reduce(jnp.logical_or, is_kind.values())
    end = jnp.where(known, start + row.duration, 0)
    reads, fetches = is_kind[kinds.READ_HOST], is_kind[kinds.READ_WEIGHTS]
    sums, sync = is_kind[kinds.ACTIVATE], row.kind == kinds.SYNC
    filled = state.slot_full.at[slot].set(end)
    emptied = state.acc_free.at[row.half].set(end)
    new = state._replace(
        host_free=jnp.where(reads | is_kind[kinds.WRITE_HOST], end, state.host_free),
        read_end=jnp.where(reads, end, state.read_end),
        fetch_free=jnp.where(fetches, end, state.fetch_free),
        slot_full=jnp.where(fetches, filled, state.slot_full),
        fetched=state.fetched + fetches.astype(state.fetched.dtype),
        act_free=jnp.where(sums | is_kind[kinds.POOL], end, state.act_free),
        acc_free=jnp.where(sums, emptied, state.acc_free),
        ready_act=jnp.where(sync, state.act_free, state.ready_act),
        ready_host=jnp.where(sync, state.read_end, state.ready_host),
    )
    return new, (start, end)


def run(table: Table, *, fifo: int) -> Times:
    """Times of every row of a program, as numpy int64 [rows].

    Raises:
      InputError: all durations together are too long for exact counts.
    """
    require_exact(table)
    rows = len(table.kind)
    # Programs of about one length share a compilation.
    padded = table.padded(1 << max(rows - 1, 63).bit_length())
    with jax.enable_x64(True):
        times = _scan(begin(fifo, jnp.int64), padded)
    return Times(*(np.asarray(column)[:rows] for column in times))


def require_exact(table: Table) -> None:
    """Refuses a program whose durations, one after the other, are too long to count."""
    parts = (table.duration, table.shift * table.new_tile, table.drain)
    longest = sum(int(part.astype(object).sum()) for part in parts)
    if longest >= _LARGEST:
        raise InputError(
            f"`cycles` (={longest}) of a program must stay below {_LARGEST}; use a "
            f"smaller batch or fewer batches."
        )


@jax.jit
def _scan(state: State, table: Table) -> Times:
    return jax.lax.scan(tick, state, table)[1]
