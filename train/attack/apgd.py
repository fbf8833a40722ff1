"""Auto-PGD: projected gradient ascent that finds its own step size.

With P the projection, f the loss and s the direction of its gradient (Algorithm 1):

    z(k+1) = P(x(k) + eta s(x(k)))
    x(k+1) = P(x(k) + a (z(k+1) - x(k)) + (1 - a) (x(k) - x(k-1))),    a = 0.75, first 1

eta starts at twice the budget. At a checkpoint w_j it is halved and x set back to the
best point so far, if

    1. f rose in fewer than 0.75 (w_j - w_(j-1)) of the steps since w_(j-1), or
    2. eta was not halved at w_(j-1) and the largest f has not grown since.

As in the authors' program x(w_j) is judged once it is evaluated and before the step from
it; Algorithm 1 as printed replaces x(w_j + 1). f is taken at whole pixel levels.

References:
  Croce & Hein 2020, arXiv:2003.01690, section 3 and Algorithm 1; section 4 for DLR.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from configs.checks import check_types, require_positive
from train.attack import budget, losses
from train.attack.budget import Norm, deployable, project, spread
from train.attack.target import Target
from train.attack.track import Example, Seen, slope

MOMENTUM = 0.75
RHO = 0.75
# Tables of checkpoints come in multiples of this, so that they seldom change shape.
_TABLE = 128


class Settings(NamedTuple):
    """What changes without a new program."""

    loss: np.int32
    # For each evaluation 0, or at a checkpoint the steps since the one before.
    interval: np.ndarray


class Inner(NamedTuple):
    """The state of Algorithm 1; perturbations (B, ...), numbers (B,)."""

    # x(k) and x(k-1).
    delta: jax.Array
    before: jax.Array
    # The point of the largest loss, with its gradient.
    best: jax.Array
    best_gradient: jax.Array
    best_loss: jax.Array
    # f(x(k-1)), and in how many steps f rose since the last checkpoint.
    loss: jax.Array
    rose: jax.Array
    # eta in pixel levels, whether the last checkpoint halved it, the largest f then.
    eta: jax.Array
    halved: jax.Array
    best_at_check: jax.Array


def checkpoints(steps: int) -> list[int]:
    """w_j = ceil(p_j * steps), p = 0, 0.22, then p_j + max(p_j - p_(j-1) - 0.03, 0.06).

    >>> checkpoints(100)
    [0, 22, 41, 57, 70, 80, 87, 93, 99]
    """
    hundredths = [0, 22]
    while hundredths[-1] < 100:
        last = hundredths[-1]
        hundredths.append(last + max(last - hundredths[-2] - 3, 6))
    found = [math.ceil(p * steps / 100) for p in hundredths if p <= 100]
    return sorted(set(found))


@dataclass(frozen=True, kw_only=True)
class AutoAscent:
    """The compiled part of APGD."""

    norm: Norm

    def begin(self, example: Example, keys: jax.Array, settings: Settings) -> Inner:
        start = lambda key, x, levels: budget.somewhere(key, x.shape, levels, self.norm)
        delta = jax.vmap(start)(keys, example.x, example.levels)
        delta = project(delta, example.x, example.levels, self.norm)
        lowest = jnp.full(len(delta), -jnp.inf, jnp.float32)
        return Inner(
            delta=delta,
            before=delta,
            best=delta,
            best_gradient=jnp.zeros_like(delta),
            best_loss=lowest,
            loss=lowest,
            rose=jnp.zeros(len(delta), jnp.int32),
            eta=2 * example.levels,
            halved=jnp.zeros(len(delta), bool),
            best_at_check=lowest,
        )

    def step(
        self,
        subject: Target,
        example: Example,
        inner: Inner,
        settings: Settings,
        t: jax.Array,
    ) -> tuple[Inner, Seen]:
        image = deployable(example.x, inner.delta)
        at = slope(subject, image, example, settings.loss)
        inner, gradient = _adapted(inner, at.loss, at.gradient, settings.interval[t], t)
        none = jnp.all(at.gradient == 0, axis=tuple(range(1, image.ndim)))
        return self._moved(inner, gradient, example, t), Seen(image, at.logits, none)

    def _moved(
        self, inner: Inner, gradient: jax.Array, example: Example, t: jax.Array
    ) -> Inner:
        """x(k+1) from x(k) and x(k-1)."""
        x, here = example.x, inner.delta
        inside = lambda delta: project(delta, x, example.levels, self.norm)
        z = inside(here + spread(inner.eta, here) * budget.ascent(gradient, self.norm))
        a = jnp.where(t == 0, 1.0, MOMENTUM)
        after = inside(here + a * (z - here) + (1 - a) * (here - inner.before))
        return inner._replace(delta=after, before=here)


def _adapted(
    inner: Inner, loss: jax.Array, gradient: jax.Array, interval: jax.Array, t: jax.Array
) -> tuple[Inner, jax.Array]:
    """The state once f(x(k)) is known, and the gradient to go on with.

    `interval` is 0, or the number of steps since the last checkpoint.
    """
    first = t == 0
    better = loss > inner.best_loss
    best = _choose(better, inner.delta, inner.best)
    best_gradient = _choose(better, gradient, inner.best_gradient)
    best_loss = jnp.where(better, loss, inner.best_loss)
    rose = inner.rose + jnp.where(first, 0, (loss > inner.loss).astype(jnp.int32))
    reference = jnp.where(first, loss, inner.best_at_check)

    at_check = interval > 0
    seldom = rose.astype(jnp.float32) < RHO * interval.astype(jnp.float32)
    stuck = ~inner.halved & (best_loss == reference)
    halve = at_check & (seldom | stuck)
    adapted = inner._replace(
        delta=_choose(halve, best, inner.delta),
        best=best,
        best_gradient=best_gradient,
        best_loss=best_loss,
        loss=loss,
        rose=jnp.where(at_check, 0, rose),
        eta=jnp.where(halve, inner.eta / 2, inner.eta),
        halved=jnp.where(at_check, halve, inner.halved),
        best_at_check=jnp.where(at_check, best_loss, reference),
    )
    return adapted, _choose(halve, best_gradient, gradient)


def _choose(rule: jax.Array, yes: jax.Array, no: jax.Array) -> jax.Array:
    return jnp.where(rule.reshape(-1, *(1,) * (yes.ndim - 1)), yes, no)


@dataclass(frozen=True, kw_only=True)
class APGD:
    """Auto-PGD, with cross-entropy or aimed at one class after the other."""

    name: str = "APGD-CE"
    # Gradient steps; the images evaluated are one more.
    steps: int = 100
    # Restarts; with a targeted loss the number of targets, most likely class first.
    tries: int = 1
    # Evaluations between two looks at who is broken.
    segment: int = 10
    norm: Norm = "linf"
    loss: Literal["ce", "margin", "dlr_targeted", "margin_targeted"] = "ce"

    needs_gradient = True

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, "steps", "tries", "segment")

    @property
    def evaluations(self) -> int:
        return self.steps + 1

    @property
    def method(self) -> AutoAscent:
        return AutoAscent(norm=self.norm)

    @property
    def targeted(self) -> bool:
        return self.loss.endswith("_targeted")

    def rounds(self, classes: int) -> int:
        """Tries on a network of so many classes: there are no more targets than those."""
        return min(self.tries, classes - 1) if self.targeted else self.tries

    def rank(self, try_: int) -> int:
        """Which of the other classes a try aims at, the most likely first."""
        return try_ if self.targeted else 0

    def settings(self, try_: int, classes: int, shape: tuple[int, ...]) -> Settings:
        interval = np.zeros(-(-self.evaluations // _TABLE) * _TABLE, np.int32)
        for earlier, later in pairwise(checkpoints(self.steps)):
            interval[later] = later - earlier
        loss = losses.defined(self.loss, classes)
        return Settings(loss=np.int32(losses.number(loss)), interval=interval)


def apgd_ce(*, steps: int = 100, tries: int = 1, norm: Norm = "linf") -> APGD:
    """APGD on cross-entropy."""
    return APGD(name="APGD-CE", steps=steps, tries=tries, norm=norm)


def apgd_t(*, steps: int = 100, targets: int = 9, norm: Norm = "linf") -> APGD:
    """APGD on the targeted difference of logits ratio, one try for each target.

    Below four classes, where the ratio is not defined, on the plain difference of
    logits (`losses.defined`).
    """
    return APGD(name="APGD-T", steps=steps, tries=targets, norm=norm, loss="dlr_targeted")
