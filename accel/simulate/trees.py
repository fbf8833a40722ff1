"""T_out adder trees of T_in multipliers: the dot product and the tile of the lecture.

Every edge presents a slice: T_in inputs of a row, shared by all trees, and T_in x T_out
weights. Product registers, one register per level, then the accumulators; multipliers
and trees past the end of a ragged slice are switched off. The loop `inputs` presents the
same inputs to all outputs in turn: they are fetched with the first and held.

    cycles = slices + ceil(log2 T_in) + 1
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int8, Int32, Integer

from accel.machines.counters import Counters
from accel.machines.machine import Dot, Loop, Tile
from accel.simulate import clock, tree
from accel.simulate.loop_nest import Place, Product, following, product, start
from accel.simulate.simulation import Run


class Shape(NamedTuple):
    """What is built; one program each."""

    inputs: int
    outputs: int
    loop: Loop
    # What counts as a tile: a slice, or a finished sum.
    tile: str

    @property
    def multipliers(self) -> int:
        return self.inputs * self.outputs


class State(NamedTuple):
    """Registers: controller, inputs, products and trees with tags, accumulators."""

    at: Place
    # Inputs of the slice before, in the loop `inputs`.
    held: Int32[Array, "held g"]
    levels: tree.Levels
    tags: tree.Tag
    # One for each tree (`outputs`), or for each output of a row (`inputs`).
    sums: Int32[Array, "s g"]
    # Whether the accumulators have taken anything yet; tells fill from stall.
    started: Bool[Array, ""]


class Operands(NamedTuple):
    inputs: Integer[Array, "words g"]
    weights: Integer[Array, "n k"]
    size: Product


def shape(machine: Dot | Tile) -> Shape:
    if isinstance(machine, Dot):
        return Shape(machine.multipliers, 1, "outputs", "sum")
    return Shape(machine.inputs, machine.outputs, machine.loop, "slice")


def run(
    machine: Dot | Tile,
    x_GMK: Integer[np.ndarray, "g m k"],
    w_KN: Int8[np.ndarray, "k n"],
    *,
    edges: int | None = None,
) -> Run:
    """Steps the trees; phases: stream when the accumulators take a slice, fill before.

    Raises:
      LostResultError: `edges` are too few.
    """
    built = shape(machine)
    return clock.in_groups(
        partial(_step_group, built, w_KN, edges),
        x_GMK,
        words=x_GMK.shape[1] * x_GMK.shape[2] + 2 * built.multipliers + w_KN.shape[1],
        columns=w_KN.shape[1],
    )


def _step_group(
    built: Shape, w_KN: np.ndarray, edges: int | None, x_GMK: np.ndarray
) -> tuple[np.ndarray, Counters]:
    (group, rows, inner), columns = x_GMK.shape, w_KN.shape[1]
    size = product(rows, inner, columns)
    beyond = (built.inputs, built.outputs)
    operands = Operands(
        clock.input_memory(x_GMK, built.inputs), clock.weight_memory(w_KN, beyond), size
    )
    slices = rows * -(-inner // built.inputs) * -(-columns // built.outputs)
    length = clock.piece_edges(
        slices + tree.depth(built.inputs) + 1,
        lanes=built.outputs,
        group=group,
        multipliers=built.multipliers,
    )
    stored = built.outputs if built.loop == "outputs" else len(operands.weights)
    state = State(
        at=start(size),
        held=jnp.zeros((built.inputs if built.loop == "inputs" else 0, group), jnp.int32),
        levels=tree.empty_levels((built.outputs,), built.inputs, group),
        tags=tree.empty_tags(built.inputs),
        sums=jnp.zeros((stored, group), jnp.int32),
        started=jnp.bool_(False),
    )
    sums, counts = clock.run_clock(
        lambda state, _: _piece(state, operands, built, length),
        state,
        length=length,
        words=rows * columns,
        group=group,
        edges=edges,
    )
    return sums, counts._replace(slots=counts.cycles * built.multipliers)


@partial(jax.jit, static_argnames=("built", "length"))
def _piece(state: State, operands: Operands, built: Shape, length: int):
    step = partial(_step, operands, built)
    (state, counts), handed = jax.lax.scan(step, (state, clock.zeros()), length=length)
    return state, counts, handed


def _step(operands: Operands, built: Shape, carry: tuple[State, Counters], _):
    (s, counts), size = carry, operands.size
    root = tree.at_root(s.tags)
    taken = _lanes(root.n, built.outputs, size.N) & root.valid
    sums, totals = _accumulate(s.sums, s.levels[-1][:, 0], root, taken, built)
    handed = clock.Handed(
        valid=taken & root.last,
        word=root.m * size.N + root.n + jnp.arange(built.outputs, dtype=jnp.int32),
        value=totals,
    )
    x, fetches = _inputs(operands.inputs, s, size, built)
    products, rows_on, columns_on = _multiply(x, operands, s.at, built)
    entering = tree.Tag(
        valid=s.at.present,
        first=s.at.k == 0,
        last=s.at.k + built.inputs >= size.K,
        m=s.at.m,
        n=s.at.n,
    )
    counts = _count_taken(counts, root, _number(taken), built)
    counts = _count_presented(counts, s, fetches, _number(rows_on), _number(columns_on))
    next_state = State(
        at=following(
            s.at, size, k_step=built.inputs, n_step=built.outputs, loop=built.loop
        ),
        held=x if built.loop == "inputs" else s.held,
        levels=tree.step_levels(s.levels, products),
        tags=tree.step_tags(s.tags, entering),
        sums=sums,
        started=s.started | root.valid,
    )
    return (next_state, counts), handed


def _inputs(
    memory: Array, s: State, size: Product, built: Shape
) -> tuple[Int32[Array, "t_in g"], Bool[Array, ""]]:
    """Inputs of the slice, and whether they come from the memory."""
    first_word = s.at.m * size.K + s.at.k
    x = jax.lax.dynamic_slice_in_dim(memory, first_word, built.inputs).astype(jnp.int32)
    if built.loop == "outputs":
        return x, s.at.present
    fetches = s.at.present & (s.at.n == 0)
    return jnp.where(fetches, x, s.held), fetches


def _multiply(
    x: Int32[Array, "t_in g"], operands: Operands, at: Place, built: Shape
) -> tuple[Array, Array, Array]:
    """Products [T_out, T_in, G] of the slice, and which inputs and outputs are on."""
    rows_on = _lanes(at.k, built.inputs, operands.size.K) & at.present
    columns_on = _lanes(at.n, built.outputs, operands.size.N) & at.present
    tile = (built.outputs, built.inputs)
    w = jax.lax.dynamic_slice(operands.weights, (at.n, at.k), tile)
    on = columns_on[:, None] & rows_on[None]
    w = jnp.where(on, w, 0).astype(jnp.int32)
    return x[None] * w[:, :, None], rows_on, columns_on


def _accumulate(
    sums: Array, roots: Array, root: tree.Tag, taken: Array, built: Shape
) -> tuple[Array, Array]:
    """Accumulators after the edge, and the sums [T_out, G] that were formed on it."""
    place = jnp.int32(0) if built.loop == "outputs" else root.n
    before = jax.lax.dynamic_slice_in_dim(sums, place, built.outputs)
    totals = jnp.where(root.first, 0, before) + roots
    kept = jnp.where(taken[:, None], totals, before)
    return jax.lax.dynamic_update_slice_in_dim(sums, kept, place, 0), totals


def _lanes(first: Array, size: int, end: Array) -> Bool[Array, " lanes"]:
    """Which of the lanes that start at `first` lie before the end."""
    return first + jnp.arange(size, dtype=jnp.int32) < end


def _number(bits: Bool[Array, " lanes"]) -> Int32[Array, ""]:
    return bits.sum(dtype=jnp.int32)


def _count_taken(counts: Counters, root: tree.Tag, words: Array, built: Shape) -> Counters:
    """What the accumulators do on this edge with `words` sums."""
    outward, none = built.loop == "inputs", jnp.int32(0)
    finished = jnp.where(root.last, words, 0)
    return clock.add(
        counts,
        stream=root.valid,
        sum_reads=jnp.where(root.first, 0, words) if outward else none,
        sum_writes=jnp.where(root.last, 0, words) if outward else none,
        output_writes=finished,
        tiles=finished if built.tile == "sum" else root.valid,
    )


def _count_presented(
    counts: Counters, s: State, fetches: Array, rows: Array, columns: Array
) -> Counters:
    """What the multipliers do on this edge, and the edges without a slice taken."""
    waiting = (s.at.present | s.tags.valid.any()) & ~s.tags.valid[-1]
    return clock.add(
        counts,
        fill=waiting & ~s.started,
        stall=waiting & s.started,
        macs=rows * columns,
        input_fetches=jnp.where(fetches, rows, 0),
        weight_fetches=rows * columns,
    )
