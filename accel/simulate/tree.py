"""An adder tree with a register after every level, and what travels beside it.

Level 0 holds the products, level l the sums of pairs of level l - 1; an odd one out
passes through a register. L = ceil(log2 leaves) levels, so a sum stands in the root
L + 1 edges after its operands were presented.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32

# Registers [..., leaves, G], [..., ceil(leaves / 2), G], ..., [..., 1, G].
Levels = tuple[Int32[Array, "..."], ...]


class Tag(NamedTuple):
    """What travels with the data, level by level: arrays [L + 1], or one item of them."""

    valid: Bool[Array, "..."]
    # First and last slice of its sums.
    first: Bool[Array, "..."]
    last: Bool[Array, "..."]
    # Row and first column of its sums.
    m: Int32[Array, "..."]
    n: Int32[Array, "..."]


def depth(leaves: int) -> int:
    """Levels above the products, L = ceil(log2 leaves)."""
    return (leaves - 1).bit_length()


def empty_levels(before: tuple[int, ...], leaves: int, group: int) -> Levels:
    """All registers of trees laid out as `before`, cleared."""
    sizes = [-(-leaves // (1 << level)) for level in range(depth(leaves) + 1)]
    return tuple(jnp.zeros((*before, size, group), jnp.int32) for size in sizes)


def empty_tags(leaves: int) -> Tag:
    """Tags of an empty tree; valid bits are cleared."""
    size = depth(leaves) + 1
    bits, words = jnp.zeros(size, bool), jnp.zeros(size, jnp.int32)
    return Tag(valid=bits, first=bits, last=bits, m=words, n=words)


def step_levels(levels: Levels, products: Int32[Array, "..."]) -> Levels:
    """One edge: every register takes what stood before it."""
    return (products, *(_pairs(level) for level in levels[:-1]))


def step_tags(tags: Tag, entering: Tag) -> Tag:
    """One edge of the tags; `entering` goes beside the products."""
    return jax.tree.map(
        lambda item, line: jnp.concatenate([item[None], line[:-1]]), entering, tags
    )


def at_root(tags: Tag) -> Tag:
    """The tag beside the root."""
    return jax.tree.map(lambda line: line[-1], tags)


def _pairs(level: Int32[Array, "..."]) -> Int32[Array, "..."]:
    left, right = level[..., 0::2, :], level[..., 1::2, :]
    if left.shape == right.shape:
        return left + right
    whole = left[..., :-1, :] + right
    return jnp.concatenate([whole, left[..., -1:, :]], axis=-2)
