"""Wires between neighbouring registers, and what an observer sees of an edge."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from accel.simulate.phases import Bits


class Seen(NamedTuple):
    """What an observer sees of one edge."""

    bits: Bits
    # What leaves the bottom row, int32 (cols, B), and whether it is a result, (cols,).
    bottom: jax.Array
    result: jax.Array
    # Useful multiplications of one array; words that entered at its left and top edge,
    # without padding; int32.
    macs: jax.Array
    left: jax.Array
    top: jax.Array


def delayed(line: jax.Array, entering: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A triangle of delay lines, (places-1, places, ...): it after an edge, and its wires.

    Place i goes through i registers: it enters that far from the end.
    """
    places = line.shape[1]
    stage, place = np.indices((places - 1, places))
    enters = (stage == places - 1 - place).reshape(*stage.shape, *[1] * (line.ndim - 2))
    moved = jnp.concatenate([jnp.zeros_like(line[:1]), line[:-1]])
    wires = jnp.concatenate([entering[:1], line[-1, 1:]]) if places > 1 else entering
    return jnp.where(enters, entering[None], moved), wires


def taps(line: jax.Array, entering: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One delay line of bits, a tap before each register and behind the last."""
    taps = jnp.concatenate([entering[None], line])
    return taps[: len(line)], taps


def right(plane: jax.Array, left: jax.Array) -> jax.Array:
    """Wires into each PE from its left neighbour, or from the edge."""
    return jnp.concatenate([left[:, None], plane[:, :-1]], 1)


def down(plane: jax.Array, top: jax.Array) -> jax.Array:
    """Wires into each PE from its upper neighbour, or from the edge."""
    return jnp.concatenate([top[None], plane[:-1]])


def count(bits: jax.Array) -> jax.Array:
    """How many are set, int32."""
    return jnp.sum(bits.astype(jnp.int32))
