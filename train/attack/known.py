"""A network whose smallest adversarial change is known, and attacks put to it.

Two of its classes are decided by whole numbers,

    m = sum_k w_k (x_k - 128),    z_0 = m / 64,    z_1 = -m / 64,

the others are out of reach. A change within L levels moves m by at most L sum |w_k|, and
by exactly that along the sign of w. So an image of class 0 has an adversarial neighbour
within L levels if and only if m - L sum |w_k| < 0 (<= 0 for class 1: the first class wins
a tie). Pixels keep away from 0 and 255, which would bound the change. In L2 the same
holds for real changes, with L |w|_2.

References:
  Zimmermann et al. 2022, arXiv:2206.13991: attacks tested where the answer is known.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train.attack import search
from train.attack.budget import BudgetError, Norm
from train.attack.target import Target

SHAPE = (6, 6, 1)
_CLASSES = 5
_EACH = 8
_SCALE = 1 / 64
_FAR = -1000.0
_MIDDLE = 128
# Levels that the images need, so that a step is small against them.
_LEAST, _MOST = 4, 24
# The part of the largest change that must be surplus: random search need not then set
# every single pixel right.
_SURPLUS = 0.04


class Verdict(NamedTuple):
    """Whether an attack behaves where the answer is known, and if not, how."""

    passed: bool
    reason: str


class Cases(NamedTuple):
    """Images with the budgets at which they can, and provably cannot, be broken."""

    images: np.ndarray
    labels: np.ndarray
    # Levels (N,): enough, and one level below (in L2 a little below the true distance).
    enough: np.ndarray
    too_few: np.ndarray


def weights() -> np.ndarray:
    """The whole numbers w, one for each pixel: 1..3 with either sign."""
    draw = np.random.default_rng(0)
    return draw.integers(1, 4, SHAPE) * draw.choice([-1, 1], SHAPE)


@functools.cache
def subject() -> Target:
    """The network; one function for bytes and for floats."""
    flat = weights().astype(np.float32).reshape(-1)

    def logits(pixels: jax.Array) -> jax.Array:
        x = pixels.reshape(len(pixels), -1).astype(jnp.float32) - _MIDDLE
        # Sums of whole numbers below 2^24: exact in any order.
        z = jnp.matmul(x, jnp.asarray(flat), precision="highest") * _SCALE
        far = jnp.full((len(z), _CLASSES - 2), _FAR, jnp.float32)
        return jnp.concatenate([z[:, None], -z[:, None], far], -1)

    return Target(name="known", predict=logits, surrogate=logits)


@functools.cache
def cases(norm: Norm) -> Cases:
    """Some images of both classes."""
    draw, w = np.random.default_rng(1), weights()
    images = draw.integers(64, 193, (4096, *SHAPE))
    m = ((images - _MIDDLE) * w).sum((1, 2, 3))
    labels = (m < 0).astype(np.int32)
    reach = np.abs(w).sum()
    # m - L reach < 0 for class 0, m + L reach >= 0 for class 1.
    least = np.where(labels == 0, m // reach + 1, -(m // reach))
    surplus = 1 - np.abs(m) / np.maximum(least * reach, 1)
    good = (least >= _LEAST) & (least <= _MOST) & (surplus >= _SURPLUS)
    chosen = np.concatenate([np.flatnonzero(good & (labels == c))[:_EACH] for c in (0, 1)])
    images = images[chosen].astype(np.uint8)
    labels, m, least = labels[chosen], m[chosen], least[chosen]
    if norm == "linf":
        return Cases(images, labels, least.astype(np.float64), least - 1.0)
    enough = np.array([_radius(one, w) for one in m])
    return Cases(images, labels, enough, np.abs(m) / np.linalg.norm(w) * (1 - 1e-6))


def _radius(m: int, w: np.ndarray) -> float:
    """An L2 radius within which w / |w|, rounded toward 0, is known to break the image.

    A tenth more than that, as an attack need not end in just this direction.
    """
    direction = np.abs(w) / np.linalg.norm(w)
    radius = abs(m) / np.linalg.norm(w)
    while (np.trunc(radius * direction) * np.abs(w)).sum() <= abs(m):
        radius += 1.0
    return 1.1 * radius


def closed_form_check(attack: search.Attack) -> Verdict:
    """Whether an attack breaks every case at `enough` levels and none at `too_few`.

    The attack is run as it stands, with its steps and tries; what it leaves outside the
    budget fails it too.
    """
    images, labels, enough, too_few = cases(attack.norm)
    broken = {}
    for name, levels in (("enough", enough), ("too few", too_few)):
        try:
            found = search.run(
                attack, subject(), images, labels, levels,
                seed=0, indices=np.arange(len(images)),
            )  # fmt: skip
        except BudgetError as error:
            return Verdict(False, f"{attack.name} left its budget: {error}")
        broken[name] = int(found.broken.sum())
    if broken["enough"] < len(images):
        return Verdict(
            False,
            f"{attack.name} broke {broken['enough']} of {len(images)} images that can be "
            f"broken",
        )
    if broken["too few"]:
        return Verdict(
            False,
            f"{attack.name} is said to have broken {broken['too few']} images that cannot "
            f"be broken",
        )
    return Verdict(True, f"{attack.name} broke all that can be broken and nothing else")
