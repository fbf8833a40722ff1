"""One multiply-accumulate unit, the sequential loop over outputs and inputs.

With operands in time it does one multiplication an edge and the sum stays in its
register. With every word from and to memory it reads the input, reads the weight, reads
the partial sum (not for the first of a sum) and writes the sum, each for `access_cycles`
edges; the sum is formed on the last edge of the write.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int8, Int32, Integer

from accel.machines.counters import Counters
from accel.machines.machine import Mac
from accel.simulate import clock
from accel.simulate.loop_nest import Place, Product, following, product, start
from accel.simulate.simulation import Run

# What the unit with memory does next.
_READ_INPUT, _READ_WEIGHT, _READ_SUM, _WRITE_SUM = range(4)


class Unit(NamedTuple):
    """Registers of the unit with operands in time."""

    at: Place
    sum: Int32[Array, " g"]


class MemoryUnit(NamedTuple):
    """Registers of the unit that fetches every word, and the sums in its memory."""

    at: Place
    access: Int32[Array, ""]
    # Edges that this access has taken.
    waited: Int32[Array, ""]
    input: Int32[Array, " g"]
    weight: Int32[Array, ""]
    sum: Int32[Array, " g"]
    memory: Int32[Array, "words g"]


class Operands(NamedTuple):
    """Memories with the operands, and the size of the product."""

    inputs: Integer[Array, "words g"]
    weights: Integer[Array, "n k"]
    size: Product

    def input(self, at: Place) -> Int32[Array, " g"]:
        return self.inputs[at.m * self.size.K + at.k].astype(jnp.int32)

    def weight(self, at: Place) -> Int32[Array, ""]:
        return self.weights[at.n, at.k].astype(jnp.int32)


def run(
    machine: Mac,
    x_GMK: Integer[np.ndarray, "g m k"],
    w_KN: Int8[np.ndarray, "k n"],
    *,
    edges: int | None = None,
) -> Run:
    """Steps the unit; phases: stream on a multiplication, stall on any other edge.

    Raises:
      LostResultError: `edges` are too few.
    """
    return clock.in_groups(
        partial(_step_group, machine, w_KN, edges),
        x_GMK,
        words=x_GMK.shape[1] * sum(w_KN.shape),
        columns=w_KN.shape[1],
    )


def _step_group(
    machine: Mac, w_KN: np.ndarray, edges: int | None, x_GMK: np.ndarray
) -> tuple[np.ndarray, Counters]:
    (group, rows, inner), columns = x_GMK.shape, w_KN.shape[1]
    size = product(rows, inner, columns)
    operands = Operands(clock.input_memory(x_GMK, 1), clock.weight_memory(w_KN), size)
    macs = rows * inner * columns
    expected = macs * (4 * machine.access_cycles if machine.dram else 1)
    length = clock.piece_edges(expected, lanes=1, group=group, multipliers=1)
    if machine.dram:
        state = _memory_unit(size, rows * columns, group)
        access_cycles = jnp.int32(machine.access_cycles)
        piece = lambda state, _: _memory_piece(state, operands, access_cycles, length)
    else:
        state = Unit(start(size), jnp.zeros(group, jnp.int32))
        piece = lambda state, _: _piece(state, operands, length)
    sums, counts = clock.run_clock(
        piece, state, length=length, words=rows * columns, group=group, edges=edges
    )
    return sums, counts._replace(slots=counts.cycles)


def _memory_unit(size: Product, words: int, group: int) -> MemoryUnit:
    zero, lane = jnp.int32(0), jnp.zeros(group, jnp.int32)
    # One word more takes what is written on edges that write nothing.
    memory = jnp.zeros((clock.class_words(words + 1, group), group), jnp.int32)
    return MemoryUnit(start(size), zero, zero, lane, zero, lane, memory)


@partial(jax.jit, static_argnames="length")
def _piece(state: Unit, operands: Operands, length: int):
    step = partial(_step, operands)
    (state, counts), handed = jax.lax.scan(step, (state, clock.zeros()), length=length)
    return state, counts, handed


def _step(operands: Operands, carry: tuple[Unit, Counters], _):
    (at, before), counts = carry
    size = operands.size
    done = at.present & (at.k == size.K - 1)
    term = operands.input(at) * operands.weight(at)
    sums = jnp.where(at.present, jnp.where(at.k == 0, 0, before) + term, before)
    counts = clock.add(
        counts,
        stream=at.present,
        macs=at.present,
        input_fetches=at.present,
        weight_fetches=at.present,
        output_writes=done,
        tiles=done,
    )
    handed = clock.Handed(done[None], (at.m * size.N + at.n)[None], sums[None])
    return (Unit(following(at, size), sums), counts), handed


@partial(jax.jit, static_argnames="length")
def _memory_piece(
    state: MemoryUnit, operands: Operands, access_cycles: Int32[Array, ""], length: int
):
    step = partial(_memory_step, operands, access_cycles)
    (state, counts), handed = jax.lax.scan(step, (state, clock.zeros()), length=length)
    return state, counts, handed


def _memory_step(operands: Operands, access_cycles, carry, _):
    (s, counts), size = carry, operands.size
    at, word = s.at, s.at.m * size.N + s.at.n
    # The edge that ends an access moves its word.
    ends = at.present & (s.waited == access_cycles - 1)
    reads_input, reads_weight, reads_sum, writes = (
        ends & (s.access == kind) for kind in range(4)
    )
    first, last = at.k == 0, at.k == size.K - 1
    total = jnp.where(first, 0, s.sum) + s.input * s.weight
    skips = (s.access == _READ_WEIGHT) & first
    onward = jnp.where(skips, _WRITE_SUM, (s.access + 1) % 4)
    counts = _count_memory(
        counts, at.present, reads_input, reads_weight, reads_sum, writes, last
    )
    handed = clock.Handed((writes & last)[None], word[None], total[None])
    # An access reads or writes, so the read may see the memory after the write; the other
    # order makes XLA copy the memory on every edge.
    place = jnp.where(writes, word, s.memory.shape[0] - 1)
    memory = jax.lax.dynamic_update_index_in_dim(s.memory, total, place, 0)
    next_state = MemoryUnit(
        at=_where(writes, following(at, size), at),
        access=jnp.where(ends, onward, s.access),
        waited=jnp.where(ends, 0, s.waited + at.present.astype(jnp.int32)),
        input=jnp.where(reads_input, operands.input(at), s.input),
        weight=jnp.where(reads_weight, operands.weight(at), s.weight),
        sum=jnp.where(reads_sum, memory[word], s.sum),
        memory=memory,
    )
    return (next_state, counts), handed


def _count_memory(
    counts: Counters,
    present: Bool[Array, ""],
    reads_input: Bool[Array, ""],
    reads_weight: Bool[Array, ""],
    reads_sum: Bool[Array, ""],
    writes: Bool[Array, ""],
    last: Bool[Array, ""],
) -> Counters:
    return clock.add(
        counts,
        stream=writes,
        stall=present & ~writes,
        macs=writes,
        input_fetches=reads_input,
        weight_fetches=reads_weight,
        sum_reads=reads_sum,
        sum_writes=writes & ~last,
        output_writes=writes & last,
        tiles=writes & last,
    )


def _where(bit: Bool[Array, ""], new: Place, old: Place) -> Place:
    return Place(*(jnp.where(bit, a, b) for a, b in zip(new, old, strict=True)))
