"""Soft white lines across the picture: dotted, and zigzag."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp


def dotted_line(
    x: jax.Array, keys: jax.Array, *, reach_px: float, dot_px: int
) -> jax.Array:
    """A line from a random row of the first column to one of the last.

    `dot_px` columns are left out, as many are drawn, and so on.
    """
    height, width = x.shape[1:3]
    drawn = jnp.arange(width, dtype=jnp.int32) // dot_px % 2 == 1

    def one(key):
        rows = jax.random.randint(key, (2,), 0, height - 1).astype(jnp.float32)
        ends = jnp.array([0.0, width - 1.0], jnp.float32)
        line = _segment((height, width), ends[0], rows[0], ends[1], rows[1], reach_px)
        return jnp.where(drawn[None], line, 0)

    return x + jax.vmap(one)(keys)[..., None]


def zigzag(
    x: jax.Array,
    keys: jax.Array,
    *,
    reach_px: float,
    half_length_px: float,
    amplitude_px: float,
    margin_px: int,
    rise_px: int,
) -> jax.Array:
    """A zigzag between two columns `margin_px` from the sides.

    It starts at a random row and ends within rise_px of it; turns are half_length_px,
    3 * half_length_px, ... along the way and amplitude_px to either side.
    """
    size = x.shape[1:3]

    def one(image, key):
        first, second = jax.random.split(key)
        row = jax.random.randint(first, (), 0, size[0] - 1).astype(jnp.float32)
        rise = jax.random.randint(second, (), -rise_px, rise_px).astype(jnp.float32)
        along, beside, used = _turns(
            size[1] - 1 - 2 * margin_px, rise, rise_px, half_length_px, amplitude_px
        )
        angle = jnp.arctan(rise / (size[1] - 1 - 2 * margin_px))
        c = jnp.cos(angle) * along - jnp.sin(angle) * beside + margin_px
        r = jnp.sin(angle) * along + jnp.cos(angle) * beside + row
        for n in range(len(along) - 1):
            line = _segment(size, c[n], r[n], c[n + 1], r[n + 1], reach_px)
            image = jnp.clip(image + jnp.where(used[n + 1], line, 0)[..., None], 0, 1)
        return image

    return jax.vmap(one)(x, keys)


def _turns(
    run: int, rise: jax.Array, rise_px: int, a: float, b: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Corners along and beside a straight line, and which of them there are.

    The last one is the reference's: at the end d of the line, last turn / (2 (d mod 2a))
    beside it.
    """
    d = jnp.sqrt(run**2 + rise**2)
    turns = int((math.hypot(run, rise_px) - a) // (2 * a)) + 1
    number = jnp.arange(turns, dtype=jnp.int32)
    count = jnp.floor((d - a) / (2 * a)).astype(jnp.int32) + 1
    side = jnp.where(number % 2 == 0, b, -b)
    rest = d - 2 * a * jnp.floor(d / (2 * a))
    last = jnp.where(count % 2 == 1, b, -b) / (2 * jnp.where(rest == 0, 1, rest))
    at = number.astype(jnp.float32) * (2 * a) + a
    # Corners beyond the end become the end: a line of no length draws nothing.
    there = number < count
    along = jnp.where(there, at, d)
    beside = jnp.where(there, side, last)
    zero, yes = jnp.zeros(1, jnp.float32), jnp.ones(1, bool)
    ends = rest[None] != 0
    return (
        jnp.concatenate([zero, along, d[None]]),
        jnp.concatenate([zero, beside, last[None]]),
        jnp.concatenate([yes, there | ends, ends]),
    )


def _segment(size, c0, r0, c1, r1, reach_px: float) -> jax.Array:
    """clip(log(1 - d / reach) + 1, 0, 1), d the rows from the line through two points.

    Drawn in columns floor(c0) .. ceil(c1) - 1.
    """
    row = jnp.arange(size[0], dtype=jnp.float32)[:, None]
    column = jnp.arange(size[1], dtype=jnp.float32)[None]
    run = c1 - c0
    slope = (r1 - r0) / jnp.where(run == 0, 1, run)
    distance = jnp.abs(row - (slope * (column - c0) + r0))
    # Beyond reach * (1 - 1/e) the logarithm is below -1 and the value 0 anyway.
    near = jnp.minimum(distance / reach_px, 0.99)
    value = jnp.clip(jnp.log1p(-near) + 1, 0, 1)
    inside = (column >= jnp.floor(c0)) & (column < jnp.ceil(c1)) & (run != 0)
    return jnp.where(inside, value, 0)
