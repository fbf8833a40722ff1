"""The network mapped straight to hardware: a multiplier for every connection of a layer.

Each multiplier holds its weight. Every edge presents one image to all positions; product
registers, then one register per level of an adder tree of K leaves at every output.

    cycles = images + ceil(log2 K)
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int8, Integer

from accel.machines.counters import Counters
from accel.machines.machine import Direct
from accel.simulate import clock, tree
from accel.simulate.simulation import Run
from configs.errors import InputError


class State(NamedTuple):
    """Products and trees [positions, N, ..., G], and the tags beside them."""

    levels: tree.Levels
    tags: tree.Tag
    # Whether sums have come out yet; tells fill from stall.
    started: Bool[Array, ""]


class Feed(NamedTuple):
    """What stands at the input pins on each edge of a piece."""

    present: Bool[Array, " edges"]
    # Row of the product at which the image begins.
    m: Integer[Array, " edges"]
    image: Integer[Array, "edges p k g"]


def run(
    machine: Direct,
    x_GMK: Integer[np.ndarray, "g m k"],
    w_KN: Int8[np.ndarray, "k n"],
    *,
    positions: int,
    edges: int | None = None,
) -> Run:
    """Steps G runs of M / positions images; phases: stream when sums come out, fill before.

    Raises:
      InputError: the rows are not whole images.
      LostResultError: `edges` are too few.
    """
    rows = x_GMK.shape[1]
    if positions < 1 or rows % positions:
        raise InputError(
            f"`positions` (={positions}) of a {machine.name} machine must divide the rows "
            f"of the product (={rows}); use those of one image."
        )
    return clock.in_groups(
        partial(_step_group, positions, w_KN, edges),
        x_GMK,
        words=2 * positions * w_KN.size,
        columns=w_KN.shape[1],
    )


def _step_group(
    positions: int, w_KN: np.ndarray, edges: int | None, x_GMK: np.ndarray
) -> tuple[np.ndarray, Counters]:
    (group, rows, inner), columns = x_GMK.shape, w_KN.shape[1]
    multipliers = positions * w_KN.size
    lanes = positions * max(inner, columns)
    expected = rows // positions + tree.depth(inner)
    length = clock.piece_edges(expected, lanes=lanes, group=group, multipliers=multipliers)
    images = x_GMK.reshape(group, -1, positions, inner).transpose(1, 2, 3, 0)
    weights = jnp.asarray(w_KN.T.astype(np.int32))
    state = State(
        levels=tree.empty_levels((positions, columns), inner, group),
        tags=tree.empty_tags(inner),
        started=jnp.bool_(False),
    )
    sums, counts = clock.run_clock(
        lambda state, first: _piece(state, weights, _feed(images, first, length)),
        state,
        length=length,
        words=rows * columns,
        group=group,
        edges=edges,
    )
    return sums, counts._replace(slots=counts.cycles * multipliers)


def _feed(images: np.ndarray, first: int, length: int) -> Feed:
    """Images from `first` on; nothing is present after the last."""
    some = images[first : first + length]
    full = np.zeros((length, *images.shape[1:]), np.int16)
    full[: len(some)] = some
    index = np.arange(first, first + length, dtype=np.int32)
    rows = index * np.int32(images.shape[1])
    return Feed(*map(jnp.asarray, (index < len(images), rows, full)))


@jax.jit
def _piece(state: State, weights: Integer[Array, "n k"], feed: Feed):
    step = partial(_step, weights)
    (state, counts), handed = jax.lax.scan(step, (state, clock.zeros()), feed)
    return state, counts, handed


def _step(weights: Array, carry: tuple[State, Counters], feed: Feed):
    s, counts = carry
    positions, inner = feed.image.shape[:2]
    image = jnp.where(feed.present, feed.image, 0).astype(jnp.int32)
    zero = jnp.int32(0)
    entering = tree.Tag(feed.present, feed.present, feed.present, feed.m, zero)
    levels = tree.step_levels(s.levels, image[:, None] * weights[None, :, :, None])
    tags = tree.step_tags(s.tags, entering)
    root = tree.at_root(tags)
    out = levels[-1].reshape(-1, feed.image.shape[-1])
    lane = jnp.arange(len(out), dtype=jnp.int32)
    handed = clock.Handed(
        valid=jnp.full(len(out), root.valid),
        word=root.m * len(weights) + lane,
        value=out,
    )
    waiting = tags.valid.any() & ~root.valid
    counts = clock.add(
        counts,
        stream=root.valid,
        fill=waiting & ~s.started,
        stall=waiting & s.started,
        macs=jnp.where(feed.present, positions * weights.size, 0),
        input_fetches=jnp.where(feed.present, positions * inner, 0),
        output_writes=jnp.where(root.valid, len(out), 0),
        tiles=root.valid,
    )
    return (State(levels, tags, s.started | root.valid), counts), handed
