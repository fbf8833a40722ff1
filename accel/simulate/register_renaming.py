"""The weight-stationary array at full speed: registers that move by renaming, not copying.

Each edge of the clock every partial sum moves down one row. Instead of copying all of
them, the state keeps a sum in one slot while it passes all rows, and the rows' names
rotate: after edge t = 1, 2, ... of a stream slot s holds the register of row

    r = (t - 1 - s) mod rows.

So an edge multiplies the whole state in place by two windows that slide: one of the weights
(laid out in slot order, twice, so that a rotation is a slice) and one of the operands (each
row delayed by its skew). A slot whose row is 0 starts a new sum. Weights move down their
columns the same way while they load: edge e fills slot e mod rows and nothing else moves.

Bits that say where valid operands are travel in the carry: all PEs with the same r + c see
the same item on the same edge, so one shift register of rows + cols - 1 bits holds the
valid bit of every PE. `weight_stationary.py` is the same array register by register; tests
prove that both hold the same values after every edge.

Arrays: B independent arrays side by side in the minor dimension, blocks of them one after
the other. Columns stand in reverse order, so that a window of operands needs no flip.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int32, Integer


class State(NamedTuple):
    """What the registers of several arrays hold between two edges."""

    # Partial sums, int32 (blocks, cols, rows, B), by column (last first) and slot.
    sums: jax.Array
    # Valid bit of the PEs with r + c = d, bool (blocks, rows + cols - 1).
    line: jax.Array


def empty(blocks: int, rows: int, cols: int, lanes: int) -> State:
    """Registers after a reset."""
    return State(
        jnp.zeros((blocks, cols, rows, lanes), jnp.int32),
        jnp.zeros((blocks, rows + cols - 1), bool),
    )


@jax.jit
def load(
    w: Integer[Array, "blocks rows cols lanes"], enable: Bool[Array, " edges"]
) -> Integer[Array, "blocks cols slots lanes"]:
    """Shifts tiles of weights into the arrays, row by row from above, last row first.

    Edge e = 1, 2, ... presents tile row rows - e if it is enabled. Slots stand twice.
    """
    rows = w.shape[1]

    def edge(carry, enabled):
        held, e = carry
        row = lax.dynamic_slice_in_dim(w, rows - e, 1, 1)
        before = lax.dynamic_slice_in_dim(held, e % rows, 1, 1)
        entering = jnp.where(enabled, row, before)
        held = lax.dynamic_update_slice_in_dim(held, entering, e % rows, 1)
        return (held, e + enabled.astype(jnp.int32)), None

    start = (jnp.zeros_like(w), jnp.int32(1))
    (held, _), _ = lax.scan(edge, start, enable)
    slots = jnp.flip(held, 2).transpose(0, 2, 1, 3)
    return jnp.concatenate([slots, slots], 2)


@partial(jax.jit, donate_argnums=(0, 4))
def stream(
    state: State,
    weights: Integer[Array, "blocks cols slots lanes"],
    items: Integer[Array, "blocks_or_1 window rows lanes_or_1"],
    valid: Bool[Array, " edges"],
    below: Int32[Array, "blocks edges cols lanes"],
) -> tuple[
    State, Int32[Array, "blocks edges cols lanes"], Bool[Array, "blocks edges bits"]
]:
    """Steps arrays that hold their weights through some edges of the clock.

    Args:
      items: operands presented on these edges and on the rows + cols - 2 before them;
        given for one array in one block they are those of all.
      valid: whether an item is presented.
      below: what the memory under the array holds for what falls out on these edges.

    Returns:
      the state; `below` with what fell out of each column added, columns in reverse
      order; the valid bits after each edge, of the PEs with r + c = 0, 1, ...
    """
    rows, lanes = state.sums.shape[2:]
    if len(items) == 1:
        operands = skewed(items[0], rows, lanes)
        rest = (state, weights, below)
        return lax.map(lambda b: _stream(b[0], b[1], operands, b[2], valid), rest)
    return lax.map(
        lambda b: _stream(b[0], b[1], skewed(b[2], rows, lanes), b[3], valid),
        (state, weights, items, below),
    )


def _stream(state, weights, operands, below, valid):
    cols, rows, lanes = state.sums.shape
    windows = Windows.over(weights, operands)

    def step(carry, inputs):
        state, t = carry
        entering, under = inputs
        state, fallen = edge(state, windows, t, entering)
        return (state, t + 1), (under + fallen, state.line)

    start = State(state.sums.reshape(cols, rows * lanes), state.line)
    (state, _), (below, bits) = lax.scan(step, (start, jnp.int32(1)), (valid, below))
    return State(state.sums.reshape(cols, rows, lanes), state.line), below, bits


class Windows(NamedTuple):
    """What slides past the slots; slots, twice, and lanes are one axis of `2 * wide`.

    Inner loops run along that axis: the longer the better.
    """

    # int8 (cols, 2 * wide).
    weights: jax.Array
    # (edges + cols - 1, 2 * wide).
    operands: jax.Array
    # 0 for the slot of row 0, where a new sum enters with nothing from above, else 1;
    # int32 (2 * wide,).
    keep: jax.Array

    @classmethod
    def over(cls, weights: jax.Array, operands: jax.Array) -> Windows:
        """Of one block: weights by column and slot, skewed operands by edge and slot."""
        cols, slots, lanes = weights.shape
        rows = slots // 2
        return cls(
            weights.reshape(cols, -1),
            operands.reshape(-1, slots * lanes),
            jnp.repeat((jnp.arange(slots) % rows != 0).astype(jnp.int32), lanes),
        )

    def at(self, t: jax.Array, rows: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Weights and operands that the slots meet on edge t, int32, and what they keep."""
        cols, wide = self.weights.shape[0], self.weights.shape[1] // 2
        first = (1 - t) % rows * (wide // rows)
        w = lax.dynamic_slice(self.weights, (0, first), (cols, wide))
        x = lax.dynamic_slice(self.operands, (t - 1, first), (cols, wide))
        above = lax.dynamic_slice(self.keep, (first,), (wide,))
        return w.astype(jnp.int32), x.astype(jnp.int32), above[None]


def edge(
    old: State, windows: Windows, t: jax.Array, entering: jax.Array
) -> tuple[State, jax.Array]:
    """Edge t = 1, 2, ... of one block: registers after it, and what fell out.

    Args:
      old: its sums (cols, rows * B).
      entering: whether an item is presented.
    """
    cols, wide = old.sums.shape
    rows = len(old.line) - cols + 1
    w, x, above = windows.at(t, rows)
    sums = old.sums * above + w * x
    line = jnp.concatenate([entering[None], old.line[:-1]])
    lanes = wide // rows
    fallen = lax.dynamic_slice(sums, (0, t % rows * lanes), (cols, lanes))
    return State(sums, line), fallen


def skewed(
    items: Integer[Array, "window rows lanes_or_1"], rows: int, lanes: int
) -> Integer[Array, "edges slots lanes"]:
    """Operands at the left edge, each row r delayed by r edges, in slot order, twice."""
    edges = items.shape[0] - rows + 1

    def one(slot, out):
        row = (-slot) % rows
        size = (edges, 1, items.shape[2])
        delayed = lax.dynamic_slice(items, (rows - 1 - row, row, 0), size)
        delayed = jnp.broadcast_to(delayed, (edges, 1, lanes))
        out = lax.dynamic_update_slice(out, delayed, (0, slot, 0))
        return lax.dynamic_update_slice(out, delayed, (0, slot + rows, 0))

    start = jnp.zeros((edges, 2 * rows, lanes), items.dtype)
    return lax.fori_loop(0, rows, one, start)


@jax.jit
def unskewed(
    below: Int32[Array, "blocks edges cols lanes"],
    after: Int32[Array, "blocks edges cols lanes"],
) -> Int32[Array, "blocks cols edges lanes"]:
    """Results in line: edge t of column c is what fell out on edge t + c.

    Args:
      after: what fell out on the edges after.
    """
    blocks, edges, cols, lanes = below.shape
    both = jnp.concatenate([below, after[:, : cols - 1]], 1)

    def column(c):
        size = (blocks, edges, 1, lanes)
        return lax.dynamic_slice(both, (0, c, cols - 1 - c, 0), size)[:, :, 0]

    return lax.map(column, jnp.arange(cols)).transpose(1, 0, 2, 3)
