"""An attack run over many images, broken ones left out as soon as they are known.

Each try visits the images that are still unbroken, in chunks that fit a cache, on all
devices. After every segment of evaluations the host gathers the survivors into full
chunks. What happens to an image depends on its own key alone,

    key = fold_in(fold_in(key(seed), index of the image in its data set), try),

not on its neighbours, the number of devices or where a run was cut.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from configs.errors import InputError
from train.attack import budget, program
from train.attack.budget import Norm
from train.attack.program import Method
from train.attack.target import Target
from train.attack.track import Example, State, Track
from train.conv_impl import on_cpu
from train.judge import Classifier
from train.mesh import AXIS, all_devices, place


class Attack(Protocol):
    """An attack as data."""

    name: str
    norm: Norm
    # Evaluations after which survivors are gathered.
    segment: int
    needs_gradient: bool

    @property
    def evaluations(self) -> int:
        """Images evaluated in one try."""

    @property
    def method(self) -> Method: ...

    def rounds(self, classes: int) -> int:
        """Tries (restarts or targets) on a network of so many classes."""

    def rank(self, try_: int) -> int:
        """Which of the other classes a try aims at, the most likely first."""

    def settings(self, try_: int, classes: int, shape: tuple[int, ...]) -> Any:
        """What one try tells the program: a tree of numpy numbers and tables."""


class Found(NamedTuple):
    """What an attack found for N images."""

    # uint8 (N, ...): adversarial where broken, else the image with the largest margin;
    # the original where it was wrong before.
    adversarial: np.ndarray
    # Taken for another class, by the judge; wrong before counts.
    broken: np.ndarray
    # Taken for another class before anything was changed.
    wrong: np.ndarray
    # Evaluations spent on each image until it broke, int32 (N,), over all tries.
    steps: np.ndarray
    # Those of them whose gradient was zero in every pixel, int32 (N,).
    zero_gradient: np.ndarray
    # Image-steps computed, with those that only filled a chunk or ended a segment.
    computed: int
    # Tries that had an image left to attack.
    tries: int


# Images per device and call: what fits a CPU's second-level cache (DESIGN, section 6).
_CPU_CHUNK = 32
_CHUNK = 1024


def run(
    attack: Attack,
    subject: Target,
    images: np.ndarray,
    labels: np.ndarray,
    levels: float | np.ndarray,
    *,
    seed: int,
    indices: np.ndarray,
    say: Callable[[int, int], None] = lambda done, total: None,
    judge: Classifier | None = None,
    chunk: int | None = None,
) -> Found:
    """Attacks images uint8 (N, ...) of classes `labels` within `levels` pixel levels.

    Args:
      levels: the budget (radius, for L2) of all images or of each, (N,).
      indices: positions (N,) of the images in their data set, which their keys follow.
      say: told the evaluations of each image that are done and that there are at most.
      judge: of `subject.predict`, if there is one already; it has the last word.
      chunk: images per device and call.

    Raises:
      InputError: arguments that do not fit each other.
      budget.BudgetError: the attack left its budget.
    """
    judge = judge or judge_of(subject)
    levels = np.broadcast_to(np.asarray(levels, np.float32), len(images))
    _refuse(images, labels, levels, indices)
    labels = np.asarray(labels, np.int32)
    logits = judge(images)
    order = _others(logits, labels)
    hunt = _Hunt(
        attack=attack,
        subject=subject,
        judge=judge,
        who=(np.uint32(seed), np.asarray(indices, np.uint32)),
        classes=logits.shape[-1],
        example=Example(images, labels, order, levels),
        size=all_devices().size * (chunk or (_CPU_CHUNK if on_cpu() else _CHUNK)),
        say=say,
    )
    best = _Best(
        adversarial=images.copy(),
        margin=margins(logits, labels),
        broken=np.argmax(logits, -1) != labels,
        steps=np.zeros(len(images), np.int32),
        no_gradient=np.zeros(len(images), np.int32),
    )
    wrong = best.broken.copy()
    computed = tries = 0
    for try_ in range(attack.rounds(hunt.classes)):
        tries += not best.broken.all()
        computed += _one_try(hunt, best, try_)
    budget.check(images, best.adversarial, levels, attack.norm)
    return Found(
        best.adversarial,
        best.broken,
        wrong,
        best.steps,
        best.no_gradient,
        computed,
        int(tries),
    )


@functools.lru_cache(maxsize=32)
def judge_of(subject: Target) -> Classifier:
    """The judge of a subject's `predict`, compiled once."""
    return Classifier(subject.predict)


class _Hunt(NamedTuple):
    """What stays the same through a run."""

    attack: Attack
    subject: Target
    judge: Classifier
    # The seed, and the index of each image.
    who: tuple[np.uint32, np.ndarray]
    classes: int
    # All images, with all their other classes (N, F - 1), the most likely first.
    example: Example
    # Images per call.
    size: int
    say: Callable[[int, int], None]


class _Best(NamedTuple):
    """The best of all tries so far, written in place."""

    adversarial: np.ndarray
    margin: np.ndarray
    broken: np.ndarray
    steps: np.ndarray
    no_gradient: np.ndarray


def _one_try(hunt: _Hunt, best: _Best, try_: int) -> int:
    """One try on the images that are unbroken; returns the image-steps computed."""
    attack, computed, state = hunt.attack, 0, None
    settings = attack.settings(try_, hunt.classes, hunt.example.x.shape[1:])
    rank = min(attack.rank(try_), hunt.classes - 2)
    example = hunt.example._replace(targets=hunt.example.targets[:, rank])
    total = attack.rounds(hunt.classes) * attack.evaluations
    alive = np.flatnonzero(~best.broken)
    before = best.steps[alive], best.no_gradient[alive]
    for first in range(0, attack.evaluations, attack.segment):
        count = min(attack.segment, attack.evaluations - first)
        if len(alive):
            call = _Call(np.int32(try_), settings, np.int32(first), np.int32(count))
            state, made = _segment(hunt, example, alive, state, call)
            computed += made
            state = _confirmed(hunt, state, alive)
            _keep(best, state.track, alive, before)
            stay = ~state.track.broken
            alive, state, before = _rows((alive, state, before), stay)
        hunt.say(try_ * attack.evaluations + first + count, total)
    return computed


class _Call(NamedTuple):
    """What all chunks of one segment are told."""

    try_: np.int32
    settings: Any
    first: np.int32
    count: np.int32


def _segment(
    hunt: _Hunt, example: Example, alive: np.ndarray, state: State | None, call: _Call
) -> tuple[State, int]:
    """The images `alive` some evaluations further, and the image-steps that it took.

    All chunks are handed out before the first is waited for.
    """
    method = hunt.attack.method
    begin, advance = program.beginning(method), program.advancing(method, hunt.subject)
    seed, indices = hunt.who
    waiting = []
    for at in range(0, len(alive), hunt.size):
        part = slice(at, at + hunt.size)
        chosen = _filled(_rows(example, alive[part]), hunt.size)
        if state is None:
            ids = _filled(indices[alive[part]], hunt.size)
            inside = begin(chosen, ids, seed, call.try_, call.settings)
        else:
            inside = _filled(_rows(state, part), hunt.size)
        real = _sharded(np.arange(at, at + hunt.size) < len(alive))
        waiting.append(advance(chosen, inside, real, call.settings, call.first, call.count))
    states, made = zip(*jax.device_get(waiting), strict=True)
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(alive)], *states)
    return joined, sum(int(each.sum()) * (hunt.size // len(each)) for each in made)


def _confirmed(hunt: _Hunt, state: State, alive: np.ndarray) -> State:
    """The state with only those images broken that the judge takes for another class.

    Two programs may round a near tie differently; such an image stays under attack.
    """
    claimed = np.flatnonzero(state.track.broken)
    if not len(claimed):
        return state
    classes = hunt.judge.classes(state.track.adversarial[claimed])
    broken = np.zeros(len(alive), bool)
    broken[claimed] = classes != hunt.example.labels[alive[claimed]]
    return state._replace(track=state.track._replace(broken=broken))


def _keep(best: _Best, found: Track, alive: np.ndarray, before: tuple) -> None:
    """Writes what is better than before of the images `alive`."""
    better = found.broken | (found.margin > best.margin[alive])
    best.adversarial[alive[better]] = found.adversarial[better]
    best.margin[alive[better]] = found.margin[better]
    best.broken[alive] = found.broken
    best.steps[alive] = before[0] + found.steps
    best.no_gradient[alive] = before[1] + found.no_gradient


def _rows(tree: Any, chosen: np.ndarray | slice) -> Any:
    return jax.tree.map(lambda leaf: leaf[chosen], tree)


def _filled(tree: Any, size: int) -> Any:
    """Rows repeated up to `size`, over all devices."""

    def fill(leaf: np.ndarray) -> jax.Array:
        return _sharded(leaf[np.arange(size) % len(leaf)])

    return jax.tree.map(fill, tree)


def _sharded(leaf: np.ndarray) -> jax.Array:
    return place(leaf, all_devices(), P(AXIS))


def _others(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The classes other than the label, int32 (N, F - 1), largest logit first."""
    ranked = np.argsort(-logits, axis=-1, kind="stable")
    others = ranked[ranked != labels[:, None]]
    return others.reshape(len(labels), logits.shape[-1] - 1).astype(np.int32)


def margins(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Largest other logit minus the label's, float32 (N,), of logits (N, F)."""
    is_label = np.arange(logits.shape[-1]) == labels[:, None]
    own = logits[is_label]
    return np.where(is_label, -np.inf, logits).max(-1).astype(np.float32) - own


def _refuse(images, labels, levels, indices) -> None:
    if images.dtype != np.uint8:
        raise InputError(
            f"`images` must be uint8 pixels 0..255, they are {images.dtype}; hand over "
            f"the bytes of the data set."
        )
    for name, array in (("labels", labels), ("indices", indices)):
        if np.shape(array) != (len(images),):
            raise InputError(
                f"`{name}` must have one entry for each of {len(images)} images, its "
                f"shape is {np.shape(array)}; cut both at the same place."
            )
    if not (np.isfinite(levels) & (levels >= 0)).all():
        raise InputError(
            f"`levels` (={levels.min()}) must be 0 or more pixel levels; 0.3 is 76."
        )
