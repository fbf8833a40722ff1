"""Fetch and compute stepped cycle by cycle; it knows no period and finds its own end.

Each slot of the buffers (two, or one) has two valid bits. The DMA takes its jobs in turn:
job j moves the results of block j - slots out of slot j mod slots, then the operands of
block j into it; it begins when the array has let go of the slot. The array takes block i
when the operands of its slot are there. All ends when no bit is set and nothing is left.

        DMA --operands--> [slot 0] --> array --> results in the same slot --> DMA
                          [slot 1]

Rates are a ratio: the DMA gets `dram_mb_per_s` credits a cycle and a byte takes
`clock_mhz` of them; what is left of a cycle when a transfer ends is lost. With one slot
results and operands are transfers of their own.

`reference.periods` and `closed_form.totals` must equal it, tolerance zero.
"""

from __future__ import annotations

from functools import cache
from math import gcd
from typing import Any, NamedTuple

from accel.cost.reference import Block
from accel.machines.memory import Memory
from configs.errors import InputError

# Cycles that are stepped for one layer; a longer one is what the closed form is for.
MOST_CYCLES = 50_000_000


class Stepped(NamedTuple):
    """What was seen: all cycles, those in which the array worked and the DMA moved."""

    cycles: int
    array: int
    dma: int


class _State(NamedTuple):
    # Credits that the transfers of the DMA's job still take.
    writing: Any
    reading: Any
    # Whether it has a job, and how many it has begun.
    moving: Any
    jobs: Any
    # Cycles that the array still works, and how many blocks it has begun.
    working: Any
    blocks: Any
    # Valid bits of the slots: operands there or in use, results there.
    operands: Any
    results: Any
    # Clock edges; those on which anything moved or worked, the array worked, the DMA moved.
    edges: Any
    cycles: Any
    array: Any
    dma: Any


def cycles(found: list[Block], memory: Memory) -> int:
    """Cycles of one repeat of a layer; takes the place of `reference.periods`."""
    return step([found], memory)[0].cycles


def step(layers: list[list[Block]], memory: Memory) -> list[Stepped]:
    """Several layers side by side, each on a chip of its own.

    Raises:
      InputError: a layer takes more than `MOST_CYCLES`.
    """
    import jax
    import numpy as np

    common = gcd(memory.clock_mhz, memory.dram_mb_per_s)
    credits = memory.dram_mb_per_s // common
    cost = memory.clock_mhz // common
    longest = max(_most(blocks, cost, credits) for blocks in layers)
    if longest > MOST_CYCLES:
        raise InputError(
            f"`blocks` (={max(map(len, layers))}) of a layer take up to {longest} cycles, "
            f"at most {MOST_CYCLES} are stepped; use the closed form."
        )
    width = 1 << max(len(blocks) - 1 for blocks in layers).bit_length()
    table = np.zeros((3, len(layers), width), np.int64)
    for i, blocks in enumerate(layers):
        table[0, i, : len(blocks)] = [cost * block.read for block in blocks]
        table[1, i, : len(blocks)] = [cost * block.written for block in blocks]
        table[2, i, : len(blocks)] = [block.cycles for block in blocks]
    counts = np.array([len(blocks) for blocks in layers], np.int64)
    slots = 2 if memory.double_buffered else 1
    with jax.enable_x64(True):
        end = _machine(slots)(*table, counts, np.int64(credits), np.int64(longest))
        *seen, stuck = map(np.asarray, end)
    if stuck.any():
        raise RuntimeError(f"layer {int(stuck.argmax())} did not end in {longest} edges")
    return [Stepped(*map(int, row)) for row in zip(*seen, strict=True)]


def _most(blocks: list[Block], cost: int, credits: int) -> int:
    """A bound, for when a fault would make it run for ever: nothing beside anything."""
    moves = [moved for block in blocks for moved in (block.read, block.written)]
    return sum(cost * m // credits + 1 for m in moves) + sum(b.cycles for b in blocks) + 4


@cache
def _machine(slots: int):
    """Compiled for so many slots: (reads, writes, cycles, blocks, credits, longest)."""
    import jax

    def run(reads, writes, work, count, credits, longest):
        def busy(state: _State):
            left = state.moving | (state.working > 0) | (state.blocks < count)
            return left | state.operands.any() | state.results.any()

        def edge(state: _State) -> _State:
            # A job without bytes takes no time: slots may be taken one after the other.
            for _ in range(slots):
                state = _take_job(state, reads, writes, count, slots)
                state = _finish_job(state, count, slots)
                state = _take_block(state, work, count, slots)
            state = _take_job(state, reads, writes, count, slots)
            state = _work(_move(state, credits, slots), slots)
            return _finish_job(state, count, slots)

        def goes_on(state: _State):
            return busy(state) & (state.edges <= longest)

        end = jax.lax.while_loop(goes_on, edge, _start(slots))
        return end.cycles, end.array, end.dma, busy(end)

    return jax.jit(jax.vmap(run, in_axes=(0, 0, 0, 0, None, None)))


def _start(slots: int) -> _State:
    import jax.numpy as jnp

    zero, empty = jnp.int64(0), jnp.zeros(slots, bool)
    return _State(
        writing=zero, reading=zero, moving=jnp.bool_(False), jobs=zero, working=zero,
        blocks=zero, operands=empty, results=empty, edges=zero, cycles=zero, array=zero,
        dma=zero,
    )  # fmt: skip


def _take_job(state: _State, reads, writes, count, slots: int) -> _State:
    """The DMA, if it is free, begins its next job once the array has let go of the slot."""
    import jax.numpy as jnp

    slot = state.jobs % slots
    takes = ~state.moving & ~state.operands[slot] & (state.jobs < count + slots)
    last = writes.shape[0] - 1
    out = jnp.where(state.results[slot], writes[jnp.clip(state.jobs - slots, 0, last)], 0)
    into = jnp.where(state.jobs < count, reads[jnp.clip(state.jobs, 0, last)], 0)
    return state._replace(
        writing=jnp.where(takes, out, state.writing),
        reading=jnp.where(takes, into, state.reading),
        moving=state.moving | takes,
        jobs=state.jobs + _count(takes),
    )


def _finish_job(state: _State, count, slots: int) -> _State:
    """Nothing left to move: the results are out, the operands there."""
    ends = state.moving & (state.writing == 0) & (state.reading == 0)
    job = state.jobs - 1
    here = _one_hot(job % slots, slots) & ends
    return state._replace(
        moving=state.moving & ~ends,
        results=state.results & ~here,
        operands=state.operands | (here & (job < count)),
    )


def _take_block(state: _State, work, count, slots: int) -> _State:
    """The array, if it is free, begins its next block once the operands are there."""
    import jax.numpy as jnp

    there = state.operands[state.blocks % slots]
    takes = (state.working == 0) & there & (state.blocks < count)
    block = work[jnp.clip(state.blocks, 0, work.shape[0] - 1)]
    return state._replace(
        working=jnp.where(takes, block, state.working),
        blocks=state.blocks + _count(takes),
    )


def _move(state: _State, credits, slots: int) -> _State:
    """One cycle of the DMA: results first, then operands."""
    import jax.numpy as jnp

    active = state.moving & (state.writing + state.reading > 0)
    written = jnp.minimum(state.writing, credits)
    left = credits - written
    if slots == 1:
        # Transfers of their own: nothing is left of a cycle that wrote.
        left = jnp.where(written > 0, 0, left)
    read = jnp.minimum(state.reading, left)
    return state._replace(
        writing=state.writing - written,
        reading=state.reading - read,
        edges=state.edges + 1,
        cycles=state.cycles + _count(active | (state.working > 0)),
        dma=state.dma + _count(active),
    )


def _work(state: _State, slots: int) -> _State:
    """One cycle of the array; at the end of a block its operands become results."""
    works = state.working > 0
    ends = state.working == 1
    here = _one_hot((state.blocks - 1) % slots, slots) & ends
    return state._replace(
        working=state.working - _count(works),
        array=state.array + _count(works),
        operands=state.operands & ~here,
        results=state.results | here,
    )


def _count(bit):
    """1 or 0."""
    return bit.astype("int64")


def _one_hot(slot, slots: int):
    import jax.numpy as jnp

    return jnp.arange(slots) == slot
