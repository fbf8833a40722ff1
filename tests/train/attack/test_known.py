"""The attack unit test: real attacks pass it, broken ones are caught by it."""

import re
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest

from train.attack import apgd, gradient, known, square
from train.attack.gradient import Ascent
from train.attack.track import Seen

SOUND = (
    gradient.fgsm(),
    gradient.PGD(),
    gradient.PGD(loss="margin", tries=2),
    apgd.apgd_ce(),
    apgd.apgd_t(),
    square.Square(queries=1000),
    square.Square(queries=1000, plateaus=True),
)
SOUND_L2 = (gradient.fgsm(norm="l2"), gradient.PGD(norm="l2"), apgd.apgd_t(norm="l2"))


@pytest.mark.parametrize(
    "attack", [*SOUND, *SOUND_L2], ids=lambda attack: f"{attack.name}-{attack.norm}"
)
def test_sound_attacks_pass(attack) -> None:
    verdict = known.closed_form_check(attack)
    assert verdict.passed, verdict.reason


def test_the_cases_are_what_they_claim() -> None:
    """All sign changes at `enough` levels break the image, none can one level below."""
    cases, w = known.cases("linf"), known.weights()
    assert set(cases.labels) == {0, 1}
    assert len(set(cases.enough)) > 4
    toward = np.where(cases.labels == 0, -1, 1)[:, None, None, None] * np.sign(w)
    for levels, broken in ((cases.enough, True), (cases.too_few, False)):
        moved = cases.images + toward * levels[:, None, None, None]
        assert 0 <= moved.min() <= moved.max() <= 255
        classes = np.argmax(np.asarray(known.subject().predict(moved.astype(np.uint8))), -1)
        assert ((classes != cases.labels) == broken).all()
    originals = np.argmax(np.asarray(known.subject().predict(cases.images)), -1)
    np.testing.assert_array_equal(originals, cases.labels)


def faulty(name: str):
    """PGD with one fault."""

    @dataclass(frozen=True, kw_only=True)
    class Faulty(Ascent):
        def step(self, subject, example, delta, settings, t):
            factor = {"too small": 0.9, "too large": 1.3}.get(name, 1.0)
            if name == "wrong sign":
                settings = settings._replace(step=-settings.step)
            inside = example._replace(levels=example.levels * factor)
            after, seen = super().step(subject, inside, delta, settings, t)
            if name == "reports the wrong image":
                seen = Seen(jnp.flip(seen.image, 1), seen.logits, seen.no_gradient)
            return after, seen

    class Planted(gradient.PGD):
        @property
        def method(self):
            return Faulty(norm=self.norm)

    return Planted(name=name)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("wrong sign", "broke 0 of 16"),
        ("too small", "of 16 images that can be broken"),
        ("too large", "left its budget"),
        ("reports the wrong image", "left its budget|can be broken"),
    ],
)
def test_planted_faults_are_caught(fault: str, reason: str) -> None:
    verdict = known.closed_form_check(faulty(fault))
    assert not verdict.passed
    assert re.search(reason, verdict.reason), verdict.reason


def test_steps_that_cannot_cross_the_budget_are_caught() -> None:
    """40 steps of a thirtieth do not bring every pixel from one side to the other."""
    assert not known.closed_form_check(gradient.PGD(step=1 / 30)).passed


def test_an_attack_too_short_is_caught() -> None:
    assert not known.closed_form_check(square.Square(queries=20)).passed
