"""Square Attack: random search that asks for logits only, L-infinity.

It starts from vertical stripes one pixel wide, each at +-levels, and then sets one random
square at a time to +-levels, per channel. A change is kept when the margin z_y - max z_j
falls. The side of the square is sqrt(p H W), p falling as in the authors' program:
halved after 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 of 10,000 queries, rescaled
to the number there is (the paper's list leaves out 500).

Logits that are rounded have plateaus, where nearly every square leaves the margin as it
is and the search would stand still. With `plateaus` a change that does no harm is kept
too, so that it walks on.

References:
  Andriushchenko et al. 2020, arXiv:1912.00049, Algorithms 1 and 2, section 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from configs.checks import check_types, require, require_positive
from configs.errors import InputError
from train.attack import losses
from train.attack.budget import PIXEL_HIGH, spread
from train.attack.target import Target
from train.attack.track import Example, Seen, decide

_PUBLISHED = 10_000
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


class Settings(NamedTuple):
    """What changes without a new program."""

    # Queries of a try, int32.
    queries: np.int32
    # Side of the square after each number of halvings, int32 (10,).
    sides: np.ndarray
    # Whether a change that leaves the margin as it is is kept.
    plateaus: np.bool_


class Inner(NamedTuple):
    """The best image so far (B, H, W, C), its loss, and the key of each image."""

    image: jax.Array
    loss: jax.Array
    # Key data, uint32 (B, 2).
    keys: jax.Array


def halvings(iteration: int | jax.Array, queries: int | jax.Array) -> jax.Array:
    """How often p is halved by then; `iteration` counts squares from 0."""
    at = iteration * _PUBLISHED // queries
    return jnp.sum(jnp.asarray(at, jnp.int32) > jnp.array(_HALVINGS, jnp.int32))


def sides(p: float, shape: tuple[int, ...]) -> np.ndarray:
    """Side of the square after 0, 1, ... halvings of p, at least 1 pixel.

    >>> sides(0.8, (28, 28, 1)).tolist()
    [25, 18, 13, 9, 6, 4, 3, 2, 2, 1]
    """
    height, width = shape[:2]
    parts = [p / 2**n for n in range(len(_HALVINGS) + 1)]
    found = [round(math.sqrt(part * height * width)) for part in parts]
    largest = max(1, min(height, width) - 1)
    return np.clip(found, 1, largest).astype(np.int32)


@dataclass(frozen=True, kw_only=True)
class RandomSquares:
    """The compiled part of Square."""

    def begin(self, example: Example, keys: jax.Array, settings: Settings) -> Inner:
        worst = jnp.full(len(example.x), jnp.inf, jnp.float32)
        return Inner(example.x, worst, jax.random.key_data(keys))

    def step(
        self,
        subject: Target,
        example: Example,
        inner: Inner,
        settings: Settings,
        t: jax.Array,
    ) -> tuple[Inner, Seen]:
        side = settings.sides[halvings(jnp.maximum(t - 1, 0), settings.queries)]
        keys = jax.random.wrap_key_data(inner.keys)
        draw = lambda key: jax.random.fold_in(key, t)
        change = jax.lax.cond(
            t == 0, _stripes, _square, jax.vmap(draw)(keys), example, side
        )
        moved = example.x + change * spread(example.levels, example.x)
        moved = jnp.where(change == 0, inner.image, jnp.clip(moved, 0, PIXEL_HIGH))
        logits = decide(subject, moved)
        loss = -losses.margin(logits, example.labels)
        better = (loss < inner.loss) | (settings.plateaus & (loss == inner.loss))
        image = jnp.where(spread(better, moved), moved, inner.image)
        inner = Inner(image, jnp.where(better, loss, inner.loss), inner.keys)
        return inner, Seen(moved, logits, jnp.zeros(len(moved), bool))


def _stripes(keys: jax.Array, example: Example, side: jax.Array) -> jax.Array:
    """+1 or -1 for each column and channel of each image, in all its rows."""
    _, _, width, channels = example.x.shape
    signs = lambda key: jax.random.rademacher(key, (1, width, channels), jnp.float32)
    return jnp.broadcast_to(jax.vmap(signs)(keys), example.x.shape)


def _square(keys: jax.Array, example: Example, side: jax.Array) -> jax.Array:
    """+1 or -1 for each channel inside one square of each image, 0 outside it."""
    _, height, width, channels = example.x.shape

    def one(key: jax.Array) -> jax.Array:
        bits = jax.random.bits(key, (2 + channels,), jnp.uint32)
        size = side.astype(jnp.uint32)
        inside = [
            (jnp.arange(length, dtype=jnp.uint32) - drawn % (length - size + 1)) < size
            for length, drawn in ((height, bits[0]), (width, bits[1]))
        ]
        window = (inside[0][:, None] & inside[1][None])[..., None]
        signs = jnp.where(bits[2:] >> 31 == 1, 1.0, -1.0)[None, None]
        return jnp.where(window, signs, 0.0)

    return jax.vmap(one)(keys)


@dataclass(frozen=True, kw_only=True)
class Square:
    """Square Attack with a number of queries of `predict`, gradients unused."""

    name: str = "Square"
    # Images evaluated in a try, the stripes included.
    queries: int = 5000
    tries: int = 1
    # Queries between two looks at who is broken.
    segment: int = 50
    # Part of the pixels in the first square.
    p: float = 0.8
    # Keep a change that leaves the margin as it is; the published attack does not.
    plateaus: bool = False

    needs_gradient = False
    norm = "linf"

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, "queries", "tries", "segment")
        require(self, 0 < self.p <= 1, "p", "must be above 0 and at most 1; use 0.8.")
        # Beyond, the schedule would leave int32.
        few = self.queries * _PUBLISHED < 2**31
        require(self, few, "queries", "must be below 214,748; use 5000.")

    @property
    def evaluations(self) -> int:
        return self.queries

    @property
    def method(self) -> RandomSquares:
        return RandomSquares()

    def rounds(self, classes: int) -> int:
        """Tries on a network of so many classes."""
        return self.tries

    def rank(self, try_: int) -> int:
        """No class is aimed at."""
        return 0

    def settings(self, try_: int, classes: int, shape: tuple[int, ...]) -> Settings:
        if len(shape) != 3:
            raise InputError(
                f"Square needs images (H, W, C), `input_shape` is {shape}; use PGD and "
                f"APGD on vectors."
            )
        return Settings(
            queries=np.int32(self.queries),
            sides=sides(self.p, shape),
            plateaus=np.bool_(self.plateaus),
        )
