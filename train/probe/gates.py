"""What must hold before a number is printed, and what makes a printed number doubtful.

A gate that fails refuses the whole probe: an attack that is broken, or blind, reports a
robustness that is not there (Carlini et al. 2019, arXiv:1902.06705; Croce et al. 2020,
arXiv:2010.09670, section 4). A flag stands beside the numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from train.attack import known, search
from train.attack.budget import levels_of
from train.attack.gradient import PGD
from train.attack.square import Square
from train.probe.battery import Round, State
from train.probe.rows import Contender, Exam
from train.probe.settings import Settings
from train.probe.table import select

# Queries that Square needs for the known answers.
_QUERIES = 1000
# Images of the gates that run an attack of their own.
_IMAGES = 64
# A budget of the whole range must leave at most this part of the images.
_NEAR_ZERO = 0.05


class RefusedError(Exception):
    """A gate failed: the probe's numbers would not be true."""


class Gate(NamedTuple):
    """A check that passed, with what it found."""

    model: str
    gate: str
    found: str

    def data(self) -> dict[str, str]:
        return self._asdict()


def known_answers(rounds: Sequence[Round]) -> list[Gate]:
    """Every attack on a linear network whose smallest budget is known in closed form."""
    gates = []
    for attack in (_searching(one.attack) for one in rounds):
        verdict = known.closed_form_check(attack)
        _pass(
            verdict.passed, "all", f"{attack.name} on a linear network", verdict.reason,
            "the attack finds less or more than there is; its code is wrong",
        )  # fmt: skip
        gates.append(Gate("all", f"known answer of {attack.name}", verdict.reason))
    return gates


def _searching(attack: search.Attack) -> search.Attack:
    """The attack with enough queries to find what is there: its code is on trial here,
    not its patience."""
    if isinstance(attack, Square):
        return dataclasses.replace(attack, queries=max(attack.queries, _QUERIES))
    return attack


def before(contender: Contender, exam: Exam, settings: Settings) -> list[Gate]:
    """Gates that cost little and come first: the network is the same twice, an attack
    without a budget changes nothing."""
    name, some = contender.name, exam.first(_IMAGES)
    first, again = contender.judge(exam.images), contender.judge(exam.images)
    _pass(
        first.tobytes() == again.tobytes(), name, "two forward passes agree bit for bit",
        f"{int((first != again).sum())} logits differ",
        "a network that answers at random cannot be probed",
    )  # fmt: skip
    attack = PGD(steps=settings.pgd_steps)
    found = _attack(contender, some, attack, 0, settings)
    clean = first[: some.n].argmax(-1) == some.labels
    same = np.array_equal(~found.broken, clean)
    _pass(
        same and np.array_equal(found.adversarial, some.images), name,
        "eps 0 gives the clean accuracy exactly",
        f"{int((~found.broken).sum())} right of {some.n}, clean {int(clean.sum())}",
        "something outside the budget changes the answer",
    )  # fmt: skip
    attacked = ~found.wrong
    blind = attacked & (found.zero_gradient >= found.steps)
    _pass(
        not attacked.any() or not blind[attacked].all(), name,
        "gradients reach the pixels", f"0 of {int(attacked.sum())} images have one",
        "a masked network (plain rounding, no straight-through) looks robust and is not; "
        "attack it through a surrogate with gradients",
    )  # fmt: skip
    return [
        Gate(name, "two forward passes agree bit for bit", f"{exam.n} images"),
        Gate(name, "eps 0 gives the clean accuracy exactly", f"{some.n} images"),
        Gate(
            name, "gradients reach the pixels",
            f"{int(attacked.sum() - blind.sum())} of {int(attacked.sum())} images",
        ),
    ]  # fmt: skip


def after(
    contender: Contender,
    exam: Exam,
    eps: float,
    state: State,
    certified: dict[int, np.ndarray],
) -> list[Gate]:
    """Gates on what the attacks found at a budget."""
    name, budget = contender.name, levels_of(eps)
    moved = np.abs(state.adversarial.astype(np.int32) - exam.images).max(initial=0)
    _pass(
        moved <= budget, name, f"changes stay within eps {eps:g}",
        f"{moved} levels, allowed {budget}", "an attack left its budget",
    )  # fmt: skip
    classes = contender.judge.classes(state.adversarial)
    real = (classes != exam.labels) == state.broken
    _pass(
        bool(real.all()), name, f"kept images score as said at eps {eps:g}",
        f"{int((~real).sum())} do not", "what is kept is not what was counted",
    )  # fmt: skip
    by_gradient = [r for r in select(state.rows, model=name) if r["needs_gradient"]]
    attacked = sum(r["attacked"] for r in by_gradient)
    blind = sum(r["zero_gradient_all"] for r in by_gradient)
    _pass(
        not attacked or blind < attacked, name, f"gradient attacks see at eps {eps:g}",
        f"all {attacked} attempts had zero gradients", "the robustness would be masking",
    )  # fmt: skip
    crossed = np.zeros(exam.n, bool)
    for proved_levels, proved in certified.items():
        if proved_levels >= budget:
            crossed |= proved[: exam.n] & state.broken
    _pass(
        not crossed.any(), name, f"no attack crosses a certificate at eps {eps:g}",
        f"images {np.flatnonzero(crossed)[:5].tolist()} are broken and certified",
        "the certificate or the attack is wrong",
    )  # fmt: skip
    return [
        Gate(name, f"changes stay within eps {eps:g}", f"{moved} of {budget} levels"),
        Gate(name, f"kept images score as said at eps {eps:g}", f"{exam.n} images"),
        Gate(
            name, f"gradient attacks see at eps {eps:g}",
            f"{blind} of {attacked} attempts had zero gradients throughout",
        ),
        Gate(
            name, f"no attack crosses a certificate at eps {eps:g}",
            f"{len(certified)} budgets compared",
        ),
    ]  # fmt: skip


def flags(
    contender: Contender, exam: Exam, rows: Sequence[dict], settings: Settings
) -> list[dict[str, str]]:
    """What makes the numbers doubtful, in words."""
    name, found = contender.name, []
    some = exam.first(_IMAGES)
    whole = _attack(contender, some, PGD(steps=settings.pgd_steps), 255, settings)
    left = float((~whole.broken).mean())
    if left > _NEAR_ZERO:
        found.append(f"PGD with the whole range (eps 1) leaves {left:.1%} right, not 0")
    mine = select(rows, model=name)
    found += _not_monotone(select(mine, probe="fgsm"), "FGSM")
    attacks = select(mine, probe="attack")
    for attack in dict.fromkeys(one["attack"] for one in attacks):
        alone = [r for r in select(attacks, attack=attack) if "accuracy_alone" in r]
        if not attack.startswith("transfer"):
            found += _not_monotone(alone, attack, "accuracy_alone")
    for eps in dict.fromkeys(one["eps"] for one in attacks):
        found += _of_budget(select(attacks, eps=eps), eps)
    return [{"model": name, "flag": text} for text in found]


def _of_budget(rows: Sequence[dict], eps: float) -> list[str]:
    found = []
    alone = {r["attack"]: r["accuracy_alone"] for r in rows if "accuracy_alone" in r}
    pgd = next((a for name, a in alone.items() if name.startswith("PGD")), None)
    if pgd is not None and pgd > alone.get("FGSM", 1.0):
        found.append(
            f"PGD with one start ({pgd:.1%}) is weaker than FGSM "
            f"({alone['FGSM']:.1%}) at eps {eps:g}"
        )
    blind = sum(r.get("zero_gradient_some", 0) for r in rows)
    tried = sum(r["attacked"] for r in rows if r["needs_gradient"])
    if blind:
        found.append(
            f"{blind} of {tried} attempts met a zero gradient at eps {eps:g}: some "
            f"robustness may be masking"
        )
    square = sum(r["newly_broken"] for r in rows if r["attack"] == "Square")
    if square:
        found.append(
            f"Square broke {square} images at eps {eps:g} that no gradient attack broke: "
            f"gradients are partly masked"
        )
    return found + _not_converged(select(rows, attack="Square"), eps)


def _not_converged(square: Sequence[dict], eps: float) -> list[str]:
    """Whether further tries of Square would lower the headline."""
    if not square or square[-1].get("converged", False):
        return []
    by_try = square[-1].get("newly_broken_by_try", [])
    if not by_try:
        return [
            f"Square was tried once at eps {eps:g}: whether further tries would lower the "
            f"headline is not known"
        ]
    return [
        f"Square has not converged at eps {eps:g}: its further tries broke "
        f"{', '.join(map(str, by_try))} images, more tries may lower the headline"
    ]


def _not_monotone(rows: Sequence[dict], what: str, key: str = "accuracy") -> list[str]:
    ordered = sorted(rows, key=lambda one: one["eps"])
    return [
        f"{what} is not monotone: {a[key]:.1%} at eps {a['eps']:g}, {b[key]:.1%} at "
        f"{b['eps']:g}"
        for a, b in pairwise(ordered)
        if b[key] > a[key]
    ]


def _attack(contender, exam, attack, budget, settings: Settings) -> search.Found:
    return search.run(
        attack, contender.subject, exam.images, exam.labels, budget,
        seed=settings.seed, indices=exam.indices, judge=contender.judge,
    )  # fmt: skip


def _pass(passed: bool, model: str, gate: str, found: str, why: str) -> Any:
    if not passed:
        raise RefusedError(
            f"no number is printed: the gate `{gate}` failed for {model} ({found}); {why}"
        )
