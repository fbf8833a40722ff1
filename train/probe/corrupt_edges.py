"""Canny edges as scikit-image finds them (Canny 1986): white where there is one."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from train.probe.corrupt_blur import gaussian


def canny_edges(
    x: jax.Array, keys: jax.Array, *, sigma: float, low: float, high: float
) -> jax.Array:
    """1 on the edges of gray images (B, H, W, 1), 0 elsewhere.

    Smoothed, differentiated (Sobel), thinned to the ridges of the slope. Ridges of at
    least `low` are edges if they hang together, diagonals included, with one of `high`.
    """
    down, right = sobel(smoothed(x, sigma)[..., 0])
    slope = jnp.sqrt(down**2 + right**2)
    ridge = ridges(down, right, slope) & (slope >= low)
    strong = ridge & (slope >= high)
    return connected(strong, ridge)[..., None].astype(jnp.float32)


def smoothed(x: jax.Array, sigma: float) -> jax.Array:
    """Gaussian mean of the pixels there are, outside counting neither way."""
    inside = gaussian(jnp.ones_like(x[:1]), sigma, outside="constant")
    return gaussian(x, sigma, outside="constant") / inside


def sobel(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Derivatives down and right of (B, H, W), the image mirrored at its edges."""
    return _difference(_mean(x, 2), 1), _difference(_mean(x, 1), 2)


def ridges(down: jax.Array, right: jax.Array, slope: jax.Array) -> jax.Array:
    """Whether the slope is nowhere larger one step up or down the gradient.

    The slope between two neighbours is interpolated. Border pixels are none.
    """
    steep, flat = jnp.abs(down), jnp.abs(right)
    vertical = steep > flat
    w = jnp.where(vertical, flat, steep) / jnp.maximum(jnp.maximum(steep, flat), 1e-30)
    # Down and right both grow, or both fall: the diagonal neighbours are those.
    same = ((down >= 0) & (right >= 0)) | ((down <= 0) & (right <= 0))
    highest = jnp.ones_like(same)
    for sign in (1, -1):
        straight = jnp.where(vertical, _at(slope, sign, 0), _at(slope, 0, sign))
        across = jnp.where(vertical, _at(slope, sign, -sign), _at(slope, -sign, sign))
        diagonal = jnp.where(same, _at(slope, sign, sign), across)
        highest &= diagonal * w + straight * (1 - w) <= slope
    return highest & (slope > 0) & _interior(slope.shape[1:])[None]


def connected(strong: jax.Array, ridge: jax.Array) -> jax.Array:
    """Ridge pixels (B, H, W) that a path of ridge pixels, in 8 directions, joins to a
    strong one."""

    def grow(state):
        found, _ = state
        wide = _spread(found) & ridge
        return wide, jnp.any(wide != found)

    found, _ = jax.lax.while_loop(lambda state: state[1], grow, (strong, jnp.any(strong)))
    return found


def _spread(x: jax.Array) -> jax.Array:
    """True within one pixel, diagonals included: rows first, then columns of that."""
    for axis in (1, 2):
        widths = [(1, 1) if a == axis else (0, 0) for a in range(3)]
        padded, size = jnp.pad(x, widths), x.shape[axis]
        parts = [jax.lax.slice_in_dim(padded, k, k + size, axis=axis) for k in range(3)]
        x = parts[0] | parts[1] | parts[2]
    return x


def _three(x: jax.Array, axis: int) -> list[jax.Array]:
    """The neighbour before, the pixel, the neighbour after; mirrored outside."""
    widths = [(1, 1) if a == axis else (0, 0) for a in range(3)]
    padded, size = jnp.pad(x, widths, mode="symmetric"), x.shape[axis]
    return [jax.lax.slice_in_dim(padded, k, k + size, axis=axis) for k in range(3)]


def _difference(x: jax.Array, axis: int) -> jax.Array:
    before, _, after = _three(x, axis)
    return after - before


def _mean(x: jax.Array, axis: int) -> jax.Array:
    before, here, after = _three(x, axis)
    return before + 2 * here + after


def _at(x: jax.Array, down: int, right: int) -> jax.Array:
    """The value that many pixels down and right; around the edge where there is none."""
    return jnp.roll(x, (-down, -right), (1, 2))


def _interior(size: tuple[int, int]) -> jax.Array:
    row = jnp.arange(size[0], dtype=jnp.int32)[:, None]
    column = jnp.arange(size[1], dtype=jnp.int32)[None]
    return (row > 0) & (row < size[0] - 1) & (column > 0) & (column < size[1] - 1)
