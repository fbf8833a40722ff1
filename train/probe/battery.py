"""All attacks on one network at one budget, the cheapest first, each on what is left.

The robust accuracy is that of the images that no attack broke. An image that is broken
within a smaller budget is broken within this one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from train.attack import search
from train.attack.apgd import apgd_ce, apgd_t
from train.attack.budget import levels_of
from train.attack.gradient import PGD, fgsm
from train.attack.square import Square
from train.probe.ledger import Ledger, Part
from train.probe.rows import Contender, Exam, row
from train.probe.settings import Settings

# Forward passes cost this part of a gradient step.
FORWARD = 0.35
# The search ends when the last `WINDOW` further tries of Square together break at most one
# image in so many. One try alone may find nothing by chance where others find several.
CONVERGED, WINDOW = 1000, 3
# Further tries attack the images nearest to a mistake: one in so many of those evaluated.
NEAREST = 5
# Of the first try of Square; L2 has the one after it, further tries those from 7 on.
_SQUARE, _L2, _FURTHER = 5, 6, 7
# Restarts of the attack in L2, beside the headline.
_L2_TRIES = 2


@dataclass(frozen=True, kw_only=True)
class Round:
    """One attack in its turn."""

    attack: search.Attack
    # Added to the seed, so that a later round starts elsewhere.
    seed: int = 0
    # On all images that are right to begin with, so that it has an accuracy of its own.
    alone: bool = False
    # On the images nearest to a mistake only (`nearest`).
    near: bool = False

    def planned(self, n: int) -> float:
        """Image-steps if nothing breaks."""
        n = nearest_count(n) if self.near else n
        each = 1.0 if self.attack.needs_gradient else FORWARD
        return n * self.attack.rounds(10) * self.attack.evaluations * each


def rounds(settings: Settings) -> list[Round]:
    """The attacks of the headline in L-infinity, in their order."""

    def pgd(loss: str, tries: int) -> PGD:
        name = f"PGD-{settings.pgd_steps} {'margin' if loss == 'margin' else 'CE'}"
        return PGD(name=name, steps=settings.pgd_steps, tries=tries, loss=loss)

    found = [Round(attack=fgsm(), alone=True), Round(attack=pgd("ce", 1), alone=True)]
    if settings.restarts > 1:
        found.append(Round(attack=pgd("ce", settings.restarts - 1), seed=1))
    found += [
        Round(attack=pgd("margin", settings.restarts), seed=2),
        Round(attack=apgd_ce(steps=settings.apgd_steps), seed=3),
        Round(attack=apgd_t(steps=settings.apgd_steps, targets=settings.targets), seed=4),
    ]
    if settings.queries:
        found.append(Round(attack=Square(queries=settings.queries), seed=_SQUARE))
    return found


def l2_round(settings: Settings) -> Round:
    """The attack in L2, beside the headline."""
    steps, tries = settings.pgd_steps, min(settings.restarts, _L2_TRIES)
    attack = PGD(name=f"PGD-{steps} L2", steps=steps, tries=tries, norm="l2")
    return Round(attack=attack, seed=_L2, alone=True)


def further(one: Round, settings: Settings) -> list[Round]:
    """Other tries of Square at most, each from a start of its own; of other attacks none.

    Random search on rounded logits is far from done after one try: another start breaks
    other images, of those that the first came close to, the more so if it walks along
    plateaus.
    """
    if not isinstance(one.attack, Square):
        return []
    seeds = range(_FURTHER, _FURTHER + settings.square_tries - 1)
    attack = replace(one.attack, plateaus=True)
    return [replace(one, attack=attack, seed=seed, near=True) for seed in seeds]


def kinds(settings: Settings) -> list[Round]:
    """Every round of the headline, and of further tries the first: all code that runs."""
    first = [one for r in rounds(settings) for one in further(r, settings)[:1]]
    return rounds(settings) + first


def planned(settings: Settings, n: int) -> float:
    """Image-steps of one network at most, if nothing breaks."""
    linf = sum(one.planned(n) for one in rounds(settings))
    linf += sum(one.planned(n) for r in rounds(settings) for one in further(r, settings))
    times = len(settings.eps) + len(settings.seeds)
    return times * linf + len(settings.eps_l2) * l2_round(settings).planned(n)


@dataclass(kw_only=True)
class State:
    """What is known of one network on N images so far."""

    adversarial: np.ndarray
    broken: np.ndarray
    rows: list[dict]


def run(
    contender: Contender,
    exam: Exam,
    eps: float,
    *,
    settings: Settings,
    before: State | None,
    others: Mapping[str, np.ndarray],
    ledger: Ledger,
    each: Callable[[Round, str], Callable[[int, int], None]],
    done: Callable[[Round, dict, bool], None],
    place: str = "",
) -> State:
    """Every attack on `contender` at `eps`.

    Args:
      before: what the next smaller budget left; its broken images cost nothing.
      others: adversarial images (N, ...) of other networks at this budget, by name.
      each: called before a round with its title; gives what is told its progress.
      done: called after a round with its record, and whether it was read from the disk.
      place: before the names of parts in the ledger, where one is measured twice.
    """
    wrong = contender.judge.classes(exam.images) != exam.labels
    state = State(
        adversarial=before.adversarial.copy() if before else exam.images.copy(),
        broken=before.broken.copy() if before else wrong.copy(),
        rows=[],
    )
    everyone = np.ones(exam.n, bool)
    for name, images in others.items():
        state.rows.append(_transfer(contender, exam, eps, state, name, images))

    def measured(one: Round, number: str, among: np.ndarray) -> dict:
        key = f"{place}{contender.name}/linf/{levels_of(eps)}/{number}"
        was_there = ledger.has(key)
        title = f"{contender.name}, eps {eps:g}, {one.attack.name}"
        part = ledger.part(
            key,
            lambda: _measure(
                contender, exam, one, levels_of(eps), wrong if one.alone else state.broken,
                settings.seed, each(one, title), among,
            ),
        )  # fmt: skip
        found = _merge(contender, exam, eps, one, part, state, settings)
        done(one, found, was_there)
        return found

    for number, one in enumerate(rounds(settings)):
        state.rows.append(measured(one, str(number), everyone))
        tries = further(one, settings)
        near = nearest(contender, exam, state) if tries else everyone
        again: list[dict] = []
        for try_, other in enumerate(tries, 1):
            again.append(measured(other, f"{number}.near.{try_}", near))
            if converged([found["newly_broken"] for found in again], exam.n):
                break
        if again:
            state.rows.append(_together(again, exam.n))
    return state


def converged(broken_by_try: Sequence[int], n: int) -> bool:
    """Whether the last further tries together broke at most 1 in 1,000 of n images.

    >>> converged([0, 0], 1000), converged([5, 0, 1, 0], 1000), converged([1, 0, 1], 1000)
    (False, True, False)
    """
    last = broken_by_try[-WINDOW:]
    return len(last) == WINDOW and CONVERGED * sum(last) <= n


def nearest_count(n: int) -> int:
    """How many of n evaluated images a further try attacks at most."""
    return -(-n // NEAREST)


def nearest(contender: Contender, exam: Exam, state: State) -> np.ndarray:
    """The unbroken images nearest to a mistake, as a mask (N,).

    Nearest are those whose adversarial image so far has the largest margin
    max_{j != y} z_j - z_y.
    """
    chosen = np.zeros(exam.n, bool)
    alive = np.flatnonzero(~state.broken)
    margin = search.margins(contender.judge(state.adversarial[alive]), exam.labels[alive])
    order = np.argsort(-margin, kind="stable")[: nearest_count(exam.n)]
    chosen[alive[order]] = True
    return chosen


def _together(again: Sequence[dict], n: int) -> dict:
    """One record of several tries of an attack, the last one's with sums."""
    sums = ("image_steps", "zero_gradient_all", "zero_gradient_some", "tries", "seconds")
    by_try = [one["newly_broken"] for one in again]
    return again[-1] | {
        **{name: sum(one[name] for one in again) for name in sums},
        "attacked": again[0]["attacked"],
        "newly_broken": sum(by_try),
        "newly_broken_by_try": by_try,
        "converged": converged(by_try, n),
        "nearest": nearest_count(n),
    }


def transferred(
    contender: Contender, exam: Exam, eps: float, state: State, name: str, images
) -> None:
    """Adds what another network's adversarial images do to this one, in place."""
    state.rows.append(_transfer(contender, exam, eps, state, name, images))


def l2(
    contender: Contender,
    exam: Exam,
    length: float,
    *,
    settings: Settings,
    ledger: Ledger,
    say: Callable[[int, int], None],
) -> tuple[dict, bool]:
    """The record of the L2 attack within `length`, and whether it was on the disk."""
    one, key = l2_round(settings), f"{contender.name}/l2/{length:g}"
    was_there = ledger.has(key)
    wrong = contender.judge.classes(exam.images) != exam.labels
    radius = length * 255
    part = ledger.part(
        key,
        lambda: _measure(
            contender, exam, one, radius, wrong, settings.seed, say, np.ones(exam.n, bool)
        ),
    )
    broken = part.arrays["broken"]
    return (
        row(
            contender.name, "l2", int((~broken).sum()), exam.n, eps=length, norm="l2",
            attack=one.attack.name, **part.data, **_how(one, settings),
        ),
        was_there,
    )  # fmt: skip


def _measure(contender, exam, one: Round, budget, broken, seed, say, among) -> Part:
    """One attack on those `among` the images that are not broken yet."""
    began, alive = time.monotonic(), np.flatnonzero(among & ~broken)
    if not len(alive):
        return _nothing(broken, exam.images[:0])
    found = search.run(
        one.attack,
        contender.subject,
        exam.images[alive],
        exam.labels[alive],
        budget,
        seed=_seed(seed, one),
        indices=exam.indices[alive],
        say=say,
        judge=contender.judge,
    )
    after = broken.copy()
    after[alive] = found.broken
    blind = found.zero_gradient
    steps = found.steps[found.broken]
    return Part(
        {
            "attacked": len(alive),
            "tries": found.tries,
            "image_steps": int(found.steps.sum()),
            "zero_gradient_all": int((blind >= found.steps).sum()),
            "zero_gradient_some": int((blind > 0).sum()),
            "median_steps": float(np.median(steps)) if len(steps) else None,
            "seconds": round(time.monotonic() - began, 3),
        },
        {"broken": after, "adversarial": found.adversarial, "attacked": alive},
    )


def _nothing(broken: np.ndarray, none: np.ndarray) -> Part:
    """A round that has nobody left to attack."""
    counts = dict.fromkeys(
        ("attacked", "tries", "image_steps", "zero_gradient_all", "zero_gradient_some"), 0
    )
    return Part(
        {**counts, "median_steps": None, "seconds": 0.0},
        {"broken": broken, "adversarial": none, "attacked": np.empty(0, np.int64)},
    )


def _seed(seed: int, one: Round) -> int:
    """The seed of a round: each round of a probe starts from points of its own."""
    return (seed * 16 + one.seed) % 2**32


def _merge(contender, exam, eps, one: Round, part: Part, state: State, settings) -> dict:
    """Takes what a round broke into the state; returns its record."""
    broken, attacked = part.arrays["broken"], part.arrays["attacked"]
    new = broken & ~state.broken
    # Where nothing broke, the image with the largest loss is worth keeping.
    better = np.zeros(exam.n, bool)
    better[attacked] = True
    better &= ~state.broken
    whole = state.adversarial.copy()
    whole[attacked] = part.arrays["adversarial"]
    state.adversarial[better] = whole[better]
    state.broken |= broken
    alone = {"accuracy_alone": float((~broken).mean())} if one.alone else {}
    return row(
        contender.name, "attack", int((~state.broken).sum()), exam.n, eps=eps,
        levels=levels_of(eps), norm="linf", attack=one.attack.name,
        newly_broken=int(new.sum()), needs_gradient=one.attack.needs_gradient,
        **alone, **part.data, **_how(one, settings),
    )  # fmt: skip


def _how(one: Round, settings: Settings) -> dict:
    return {
        "steps": one.attack.evaluations,
        "seed": settings.seed,
    }


def _transfer(contender, exam, eps, state: State, name: str, images) -> dict:
    """What adversarial images found for another network do to this one."""
    began = time.monotonic()
    fooled = contender.judge.classes(images) != exam.labels
    new = fooled & ~state.broken
    state.adversarial[new] = images[new]
    state.broken |= fooled
    return row(
        contender.name, "attack", int((~state.broken).sum()), exam.n, eps=eps,
        levels=levels_of(eps), norm="linf", attack=f"transfer from {name}",
        newly_broken=int(new.sum()), needs_gradient=False,
        accuracy_alone=float((~fooled).mean()), steps=1, tries=1,
        seconds=round(time.monotonic() - began, 3),
    )  # fmt: skip


def labels_of(found: Sequence[dict]) -> str:
    """The attacks of a headline in words."""
    return ", ".join(dict.fromkeys(one["attack"] for one in found))
