"""Projected gradient ascent with a fixed step: FGSM and PGD.

    delta <- project(delta + step * direction(grad loss(x + trunc(delta))))

with the sign of the gradient as direction in L-infinity and the unit vector in L2. FGSM
is one step as large as the budget, from the image itself.

References:
  Goodfellow et al. 2015, arXiv:1412.6572; Madry et al. 2018, arXiv:1706.06083.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from configs.checks import check_types, require, require_positive
from train.attack import budget, losses
from train.attack.budget import Norm, deployable, project, spread
from train.attack.target import Target
from train.attack.track import Example, Seen, slope


class Settings(NamedTuple):
    """What changes without a new program."""

    loss: np.int32
    # Part of the budget.
    step: np.float32
    # 1 for a random start, 0 for the image itself.
    random: np.float32


@dataclass(frozen=True, kw_only=True)
class Ascent:
    """The compiled part of FGSM and PGD; the state is the perturbation (B, ...)."""

    norm: Norm

    def begin(self, example: Example, keys: jax.Array, settings: Settings) -> jax.Array:
        start = jax.vmap(
            lambda key, x, levels: budget.somewhere(key, x.shape, levels, self.norm)
        )
        delta = start(keys, example.x, example.levels) * settings.random
        return project(delta, example.x, example.levels, self.norm)

    def step(
        self,
        subject: Target,
        example: Example,
        delta: jax.Array,
        settings: Settings,
        t: jax.Array,
    ) -> tuple[jax.Array, Seen]:
        image = deployable(example.x, delta)
        at = slope(subject, image, example, settings.loss)
        move = spread(example.levels * settings.step, delta)
        delta = delta + move * budget.ascent(at.gradient, self.norm)
        delta = project(delta, example.x, example.levels, self.norm)
        none = jnp.all(at.gradient == 0, axis=tuple(range(1, delta.ndim)))
        return delta, Seen(image, at.logits, none)


@dataclass(frozen=True, kw_only=True)
class PGD:
    """Projected gradient descent of Madry et al., some steps from a random start."""

    name: str = "PGD-40"
    # Gradient steps; the images evaluated are one more.
    steps: int = 40
    # Restarts, each from another random start.
    tries: int = 1
    # Evaluations between two looks at who is broken.
    segment: int = 8
    norm: Norm = "linf"
    loss: Literal["ce", "margin"] = "ce"
    # Length of a step as a part of the budget; None for 2.5 / steps, with which every
    # pixel can cross the whole budget (40 steps of 1 / 30 cannot).
    step: float | None = None
    random_start: bool = True

    needs_gradient = True

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, "steps", "tries", "segment")
        above = self.step is None or self.step > 0
        require(self, above, "step", "must be above 0; leave it out for 2.5 / steps.")

    @property
    def evaluations(self) -> int:
        return self.steps + 1

    @property
    def method(self) -> Ascent:
        return Ascent(norm=self.norm)

    def rounds(self, classes: int) -> int:
        """Tries on a network of so many classes."""
        return self.tries

    def rank(self, try_: int) -> int:
        """Which of the other classes a try aims at, the most likely first."""
        return 0

    def settings(self, try_: int, classes: int, shape: tuple[int, ...]) -> Settings:
        return Settings(
            loss=np.int32(losses.number(self.loss)),
            step=np.float32(2.5 / self.steps if self.step is None else self.step),
            random=np.float32(self.random_start),
        )


def fgsm(*, norm: Norm = "linf", loss: Literal["ce", "margin"] = "ce") -> PGD:
    """The fast gradient sign method: one step of the whole budget from the image."""
    return PGD(
        name="FGSM", steps=1, step=1.0, random_start=False, norm=norm, loss=loss, segment=2
    )
