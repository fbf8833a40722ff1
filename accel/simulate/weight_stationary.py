"""The weight-stationary array, register by register, with every way to load its weights.

All registers change at once on each edge of the clock; a wire shows what a register held
before it. Row r of PE (r, c) counts from the top, column c from the left:

    skew      row r of the left edge passes r registers before column 0
    input     operand of each PE, moves right:           input[r, c] <- input[r, c-1]
    valid     whether that operand is real, moves with it
    sum       moves down:       sum[r, c] <- sum[r-1, c] + wire of input[r, c] * weight
    weight    held; three ways to get there:

- `single`: the only register moves down while `load` is on: weight[r, c] <- weight[r-1, c].
- `shadow`, load `global`: a second register a PE does so while the first works; the bit
  `first`, which travels with the first item of a tile, copies it when the item arrives.
- `shadow`, load `skewed`: weights run down through two registers a PE, at half the speed
  of a `take` bit that runs with the operands, one edge ahead of the tile's first item;
  where the bit meets a weight it is held. Columns are skewed at the top like rows at the
  left.

`live` travels with a weight and says that it is one, not padding. B arrays stand side by
side in the minor dimension; the controller is shared. Input stationary is the same array
with the product transposed.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from accel.simulate.faults import Masks, broken
from accel.simulate.phases import Bits
from accel.simulate.wires import Seen, count, delayed, down, right, taps


class Feed(NamedTuple):
    """What the controller presents, for consecutive edges."""

    # Operands at the left edge, int8 or uint8 (edges, rows, B or 1); 0 where none.
    items: np.ndarray
    # They are no padding, bool (edges, rows).
    live_items: np.ndarray
    # An item is presented, bool (edges,).
    valid: np.ndarray
    # It is the first of its tile.
    first: np.ndarray
    # Weights at the top edge (edges, cols, B or 1); bool (edges, cols): no padding.
    weights: np.ndarray
    live: np.ndarray
    # Weights are presented, bool (edges,).
    load: np.ndarray
    # They are the last of their tile: row 0.
    last: np.ndarray


class Registers(NamedTuple):
    """What every register holds between two edges."""

    # Delay lines of the left edge: (rows-1, rows, B or 1), and the bits beside them
    # (rows-1,).
    skew: jax.Array
    valid_skew: jax.Array
    first_skew: jax.Array
    # int32 (rows, cols, B or 1), the sums (rows, cols, B); bits (rows, cols).
    input: jax.Array
    valid: jax.Array
    first: jax.Array
    sum: jax.Array
    # int32 (rows, cols, B or 1), with their bits (rows, cols).
    weight: jax.Array
    live: jax.Array
    # Second and third registers of a PE (`shadow`), and the skew above the columns.
    waiting: jax.Array
    waiting_live: jax.Array
    passing: jax.Array
    passing_live: jax.Array
    top_skew: jax.Array
    top_skew_live: jax.Array
    # The bit that makes weights stay (`skewed`): delay line (rows-1,), plane (rows, cols).
    take_skew: jax.Array
    take: jax.Array


def reset(
    rows: int, cols: int, scheme: str, *, item_lanes: int, weight_lanes: int
) -> Registers:
    """All registers empty; those that a scheme lacks have no size."""
    lanes = max(item_lanes, weight_lanes)
    spare, wave = scheme != "single", scheme == "skewed"
    # numpy: a compiled program for each shape of zeros would cost more than the rest.
    words = lambda lanes, there=True: np.zeros((rows, cols * there, lanes), np.int32)
    bits = lambda there=True: np.zeros((rows, cols * there), bool)
    line = np.zeros(rows - 1, bool)
    top = (cols - 1, cols) if wave else (0, 1)
    return Registers(
        skew=np.zeros((rows - 1, rows, item_lanes), np.int32),
        valid_skew=line, first_skew=line,
        input=words(item_lanes), valid=bits(), first=bits(), sum=words(lanes),
        weight=words(weight_lanes), live=bits(),
        waiting=words(weight_lanes, spare), waiting_live=bits(spare),
        passing=words(weight_lanes, wave), passing_live=bits(wave),
        top_skew=np.zeros((*top, weight_lanes), np.int32),
        top_skew_live=np.zeros(top, bool),
        take_skew=line, take=bits(wave),
    )  # fmt: skip


def edge(old: Registers, feed: Feed, scheme: str, faults: Masks) -> tuple[Registers, Seen]:
    """One edge of the clock: registers after it, and what it shows.

    Args:
      feed: of this edge.
    """
    skew, left = delayed(old.skew, feed.items.astype(jnp.int32))
    valid_skew, valid_left = taps(old.valid_skew, feed.valid)
    first_skew, first_left = taps(old.first_skew, feed.first)
    x, valid = right(old.input, left), right(old.valid, valid_left)
    first = right(old.first, first_left)
    held, used, used_live = _weights(old, feed, first, scheme, faults)
    above = down(old.sum, jnp.zeros_like(old.sum[0]))
    total = jnp.where(valid[..., None], above + x * used, 0)
    new = old._replace(
        skew=skew, valid_skew=valid_skew, first_skew=first_skew,
        input=broken(x, "input", faults), valid=valid, first=first,
        sum=broken(total, "sum", faults), **held,
    )  # fmt: skip
    bits = Bits(
        loading=feed.load,
        active=valid.any(),
        streaming=valid[-1, 0],
        captured=valid[-1].any(),
    )
    counted = count(valid & used_live), count(feed.live_items), count(feed.live)
    return new, Seen(bits, new.sum[-1], valid[-1], *counted)


def _weights(old: Registers, feed: Feed, first, scheme: str, faults: Masks):
    """Registers of the weights after an edge; the weights that the edge multiplies by."""
    top, top_live = feed.weights.astype(jnp.int32), feed.live
    if scheme == "skewed":
        return _wave(old, feed, top, top_live, faults)
    if scheme == "single":
        wire = broken(down(old.weight, top), "weight", faults)
        held = {
            "weight": jnp.where(feed.load, wire, old.weight),
            "live": jnp.where(feed.load, down(old.live, top_live), old.live),
        }
        return held, old.weight, old.live
    moved, moved_live = down(old.waiting, top), down(old.waiting_live, top_live)
    swap = first[..., None]
    used = jnp.where(swap, broken(old.waiting, "weight", faults), old.weight)
    used_live = jnp.where(first, old.waiting_live, old.live)
    held = {
        "weight": used,
        "live": used_live,
        "waiting": jnp.where(feed.load, moved, old.waiting),
        "waiting_live": jnp.where(feed.load, moved_live, old.waiting_live),
    }
    return held, used, used_live


def _wave(old: Registers, feed: Feed, top, top_live, faults: Masks):
    """`skewed`: weights at half speed, the bit that holds them at full speed."""
    top_skew, top = delayed(old.top_skew, top)
    top_skew_live, top_live = delayed(old.top_skew_live, top_live)
    take_skew, take_left = taps(old.take_skew, feed.last)
    wire, wire_live = down(old.passing, top), down(old.passing_live, top_live)
    take = right(old.take, take_left)
    taken = jnp.where(take[..., None], broken(wire, "weight", faults), old.weight)
    held = {
        "weight": taken,
        "live": jnp.where(take, wire_live, old.live),
        "waiting": wire,
        "waiting_live": wire_live,
        "passing": old.waiting,
        "passing_live": old.waiting_live,
        "top_skew": top_skew,
        "top_skew_live": top_skew_live,
        "take_skew": take_skew,
        "take": take,
    }
    return held, old.weight, old.live


@partial(jax.jit, static_argnames="scheme")
def run(
    start: Registers, feed: Feed, faults: Masks, *, scheme: str
) -> tuple[Registers, Seen]:
    """Steps through some edges; what each showed, stacked."""
    return jax.lax.scan(lambda s, f: edge(s, f, scheme, faults), start, feed)


@partial(jax.jit, static_argnames="scheme")
def record(
    start: Registers, feed: Feed, faults: Masks, *, scheme: str
) -> tuple[Registers, tuple[Registers, Seen]]:
    """The same, with all registers after each edge."""

    def step(state, inputs):
        state, seen = edge(state, inputs, scheme, faults)
        return state, (state, seen)

    return jax.lax.scan(step, start, feed)
