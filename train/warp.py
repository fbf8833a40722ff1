"""One affine warp of images, differentiable in pixels and in parameters.

Every output pixel looks up where it came from (inverse map, about the image's centre):

    (i, j)_in = A @ ((i, j)_out - centre - shift) + centre

and takes the bilinear mean of the four pixels there; outside the image is 0. What is
positive, for everybody who warps: angles turn the picture counter-clockwise, shifts move
it down and right, a shear moves what is below the centre to the right, a scale above 1
makes it larger.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

# Zeros around the image stand for everything outside it.
_MARGIN = 2


class _Source(NamedTuple):
    """Where output pixels come from: index (B, H*W) of the upper left of four
    neighbours in the flattened image with its margin, and weights of the others."""

    index: jax.Array
    down: jax.Array
    right: jax.Array


def rotation(angle_deg: jax.Array) -> jax.Array:
    """Inverse map of a rotation: (B,) degrees -> (B, 2, 2)."""
    angle = jnp.deg2rad(angle_deg)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    rows = [jnp.stack([cos, sin], -1), jnp.stack([-sin, cos], -1)]
    return jnp.stack(rows, -2)


def shear(slope: jax.Array) -> jax.Array:
    """Inverse map of j -> j + slope * i: (B,) pixels right per pixel down -> (B, 2, 2)."""
    one, zero = jnp.ones_like(slope), jnp.zeros_like(slope)
    rows = [jnp.stack([one, zero], -1), jnp.stack([-slope, one], -1)]
    return jnp.stack(rows, -2)


def scale(factor: jax.Array) -> jax.Array:
    """Inverse map of a magnification: (B, 2) factors of height and width -> (B, 2, 2)."""
    return jnp.eye(2, dtype=jnp.float32)[None] / factor[:, None, :]


class Affine(NamedTuple):
    """An affine map of the picture: inverse (B, 2, 2), then shift_px (B, 2)."""

    inverse: jax.Array
    shift_px: jax.Array


def linear(inverse: jax.Array) -> Affine:
    """A map that keeps the centre, such as a rotation: (B, 2, 2) -> Affine."""
    return Affine(inverse, jnp.zeros((*inverse.shape[:1], 2), jnp.float32))


def translation(shift_px: jax.Array) -> Affine:
    """A shift by (B, 2) pixels down and right."""
    same = jnp.eye(2, dtype=jnp.float32)[None]
    return Affine(jnp.broadcast_to(same, (len(shift_px), 2, 2)), shift_px)


def compose(*maps: Affine) -> Affine:
    """One map that does what the given ones do one after the other, the first first.

    (A1, t1) and then (A2, t2) is (A1 A2, A2^-1 t1 + t2): one interpolation, not two.
    """
    inverse, shift_px = maps[0]
    for then in maps[1:]:
        moved = jnp.linalg.solve(then.inverse, shift_px[..., None])[..., 0]
        inverse, shift_px = _times(inverse, then.inverse), moved + then.shift_px
    return Affine(inverse, shift_px)


def bytes_of(pixels: jax.Array) -> jax.Array:
    """The nearest uint8 image of float pixels (ties to even, 0..255): what a network
    is given."""
    return jnp.clip(jnp.round(pixels), 0, 255).astype(jnp.uint8)


def _times(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.einsum("bij,bjk->bik", a, b, precision="highest")


def affine(images: jax.Array, inverse: jax.Array, shift_px: jax.Array) -> jax.Array:
    """Warped images, float32 (B, H, W, C).

    Args:
      images: uint8 or float (B, H, W, C); bytes are looked up four at a time, which
        is faster and gives the same numbers (compiled, up to rounding).
      inverse: (B, 2, 2), output offset from the centre -> input offset.
      shift_px: (B, 2), pixels down and right.
    """
    source = _source(images.shape[1:3], inverse, shift_px)
    four = _four_bytes if images.dtype == jnp.uint8 else _four_floats
    upper_left, upper_right, lower_left, lower_right = four(images, source.index)
    down, right = source.down[:, None], source.right[:, None]
    upper = upper_left * (1 - right) + upper_right * right
    lower = lower_left * (1 - right) + lower_right * right
    warped = upper * (1 - down) + lower * down
    b, h, w, c = images.shape
    return warped.reshape(b, c, h, w).transpose(0, 2, 3, 1)


def _source(size: tuple[int, int], inverse: jax.Array, shift_px: jax.Array) -> _Source:
    height, width = size
    a = inverse.astype(jnp.float32)[..., None, None]
    shift = shift_px.astype(jnp.float32)[..., None, None]
    i = (
        jnp.arange(height, dtype=jnp.float32)[None, :, None]
        - (height - 1) / 2
        - shift[:, 0]
    )
    j = jnp.arange(width, dtype=jnp.float32)[None, None, :] - (width - 1) / 2 - shift[:, 1]
    from_i = a[:, 0, 0] * i + a[:, 0, 1] * j + (height - 1) / 2
    from_j = a[:, 1, 0] * i + a[:, 1, 1] * j + (width - 1) / 2
    top = jnp.clip(jnp.floor(from_i), -_MARGIN, height)
    left = jnp.clip(jnp.floor(from_j), -_MARGIN, width)
    row = top.astype(jnp.int32) + _MARGIN
    column = left.astype(jnp.int32) + _MARGIN
    return _Source(
        index=(row * (width + 2 * _MARGIN) + column).reshape(len(a), -1),
        down=jnp.clip(from_i - top, 0, 1).reshape(len(a), -1),
        right=jnp.clip(from_j - left, 0, 1).reshape(len(a), -1),
    )


def _neighbours(images: jax.Array) -> list[jax.Array]:
    """For every pixel of the image with its margin: itself, its right neighbour, the
    one below and the one below right, each (B, H + 4, W + 4, C)."""
    h, w = (size + 2 * _MARGIN for size in images.shape[1:3])
    grown = jnp.pad(
        images, ((0, 0), (_MARGIN, _MARGIN + 1), (_MARGIN, _MARGIN + 1), (0, 0))
    )
    corners = ((0, 0), (0, 1), (1, 0), (1, 1))
    return [grown[:, i : i + h, j : j + w] for i, j in corners]


def _pick(values: jax.Array, index: jax.Array) -> jax.Array:
    """Pixels (B, C, H*W) at `index`; pixels stay contiguous, which XLA vectorises."""
    b, _, _, channels = values.shape
    planes = [values[..., c].reshape(b, -1) for c in range(channels)]
    take = lambda plane: jnp.take_along_axis(plane, index, 1, mode="promise_in_bounds")
    return jnp.stack([take(plane) for plane in planes], axis=1)


def _four_floats(images: jax.Array, index: jax.Array) -> list[jax.Array]:
    return [_pick(view, index).astype(jnp.float32) for view in _neighbours(images)]


def _four_bytes(images: jax.Array, index: jax.Array) -> list[jax.Array]:
    a, b, c, d = _neighbours(images.astype(jnp.uint32))
    word = _pick(a | (b << 8) | (c << 16) | (d << 24), index)
    return [((word >> (8 * n)) & 255).astype(jnp.float32) for n in range(4)]
