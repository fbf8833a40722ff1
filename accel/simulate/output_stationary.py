"""The output-stationary array, register by register.

    input     operand of each PE, moves right, row r of the left edge r edges late
    weight    moves down, column c of the top edge c edges late
    sum       stays: sum[r, c] <- sum[r, c] + wire of input[r, c] * wire of weight[r, c]
    valid, first, last    bits that travel with the inputs

The first product of a tile replaces the sum. When `last` has reached PE (rows-1, cols-1)
the sums move down for `rows` edges, sum[r, c] <- sum[r-1, c], and what leaves the bottom
row is captured, the last row of the tile first. B arrays stand side by side in the minor
dimension.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from accel.simulate.faults import Masks, broken
from accel.simulate.phases import Bits
from accel.simulate.wires import Seen, count, delayed, down, right, taps


class Feed(NamedTuple):
    """What the controller presents, for consecutive edges."""

    # Operands at the left edge, int8 or uint8 (edges, rows, B), at the top edge,
    # int8 (edges, cols, 1); 0 where none.
    items: np.ndarray
    weights: np.ndarray
    # They are no padding, bool (edges, rows) and (edges, cols).
    live_items: np.ndarray
    live_weights: np.ndarray
    # They are operands, the first of their tile, the last; bool (edges,).
    valid: np.ndarray
    first: np.ndarray
    last: np.ndarray
    # PEs whose sums are wanted, bool (edges, rows, cols); the others work on padding.
    live: np.ndarray


class Registers(NamedTuple):
    """What every register holds between two edges."""

    # Delay lines of the edges: (rows-1, rows, B), (cols-1, cols, 1); bits (rows-1,).
    skew: jax.Array
    top_skew: jax.Array
    valid_skew: jax.Array
    first_skew: jax.Array
    last_skew: jax.Array
    # int32 (rows, cols, B), weights (rows, cols, 1); bits (rows, cols).
    input: jax.Array
    weight: jax.Array
    sum: jax.Array
    valid: jax.Array
    first: jax.Array
    last: jax.Array
    # One bit that runs while the sums move down, (rows,).
    drain: jax.Array


def reset(rows: int, cols: int, *, item_lanes: int, weight_lanes: int) -> Registers:
    """All registers empty."""
    # numpy: a compiled program for each shape of zeros would cost more than the rest.
    words = lambda lanes: np.zeros((rows, cols, lanes), np.int32)
    bits, line = np.zeros((rows, cols), bool), np.zeros(rows - 1, bool)
    return Registers(
        skew=np.zeros((rows - 1, rows, item_lanes), np.int32),
        top_skew=np.zeros((cols - 1, cols, weight_lanes), np.int32),
        valid_skew=line, first_skew=line, last_skew=line,
        input=words(item_lanes), weight=words(weight_lanes),
        sum=words(max(item_lanes, weight_lanes)), valid=bits, first=bits, last=bits,
        drain=np.zeros(rows, bool),
    )  # fmt: skip


def edge(old: Registers, feed: Feed, faults: Masks) -> tuple[Registers, Seen]:
    """One edge of the clock: registers after it, and what it shows.

    Args:
      feed: of this edge.
    """
    skew, left = delayed(old.skew, feed.items.astype(jnp.int32))
    top_skew, top = delayed(old.top_skew, feed.weights.astype(jnp.int32))
    lines, planes = {}, {}
    for name in ("valid", "first", "last"):
        line, entering = taps(getattr(old, f"{name}_skew"), getattr(feed, name))
        lines[f"{name}_skew"] = line
        planes[name] = right(getattr(old, name), entering)
    x, w, valid = right(old.input, left), down(old.weight, top), planes["valid"]
    draining = old.last[-1, -1] | old.drain[:-1].any()
    before = jnp.where(planes["first"][..., None], 0, old.sum)
    moved = down(old.sum, jnp.zeros_like(old.sum[0]))
    taken = broken(jnp.where(draining, moved, before + x * w), "sum", faults)
    new = Registers(
        skew=skew, top_skew=top_skew, **lines, **planes,
        input=broken(x, "input", faults), weight=broken(w, "weight", faults),
        sum=jnp.where(valid[..., None] | draining, taken, old.sum),
        drain=jnp.concatenate([old.last[-1, -1][None], old.drain[:-1]]),
    )  # fmt: skip
    bits = Bits(
        loading=jnp.zeros((), bool),
        active=valid.any(),
        streaming=valid[-1, -1],
        captured=draining,
    )
    words = count(feed.live_items), count(feed.live_weights)
    result = jnp.broadcast_to(draining, old.sum.shape[1:2])
    return new, Seen(bits, old.sum[-1], result, count(valid & feed.live), *words)


@jax.jit
def run(start: Registers, feed: Feed, faults: Masks) -> tuple[Registers, Seen]:
    """Steps through some edges; what each showed, stacked."""
    return jax.lax.scan(lambda s, f: edge(s, f, faults), start, feed)


@jax.jit
def record(
    start: Registers, feed: Feed, faults: Masks
) -> tuple[Registers, tuple[Registers, Seen]]:
    """The same, with all registers after each edge."""

    def step(state, inputs):
        state, seen = edge(state, inputs, faults)
        return state, (state, seen)

    return jax.lax.scan(step, start, feed)
