"""Every gate refuses the fault it is for; every flag is raised by what it is for."""

import jax
import jax.numpy as jnp
import numpy as np
import probes
import pytest

from train.attack import known
from train.attack.gradient import PGD
from train.probe import battery, gates
from train.probe.rows import row

EXAM = probes.exam()


def state(adversarial, broken, rows=()):
    return battery.State(adversarial=adversarial, broken=broken, rows=list(rows))


def turned(n: int = 12) -> np.ndarray:
    """Images pushed 40 levels against their class: all are broken."""
    way = np.where(EXAM.labels[:, None, None, None] == 0, -1, 1)
    rows = np.where(np.arange(8) < 4, 1, -1)[None, :, None, None]
    return (EXAM.images.astype(int) + 40 * way * rows)[:n].astype(np.uint8)


def test_a_sound_network_passes_before_and_says_what_was_found() -> None:
    found = gates.before(probes.contender(probes.halves()), EXAM, probes.TINY)
    assert [gate.gate for gate in found] == [
        "two forward passes agree bit for bit",
        "eps 0 gives the clean accuracy exactly",
        "gradients reach the pixels",
    ]


def test_a_masked_network_is_refused() -> None:
    """Plain rounding of the pixels, no straight-through: all gradients are 0."""
    logits = probes.halves()
    masked = lambda x: logits(jnp.round(x.astype(jnp.float32)))
    with pytest.raises(gates.RefusedError, match="gradients reach the pixels"):
        gates.before(probes.contender(masked), EXAM, probes.TINY)


def test_a_network_that_answers_at_random_is_refused() -> None:
    calls = []

    class Fickle:
        def __call__(self, images):
            calls.append(1)
            logits = np.zeros((len(images), 5), np.float32)
            logits[:, 0] = len(calls)
            return logits

    one = probes.contender(probes.halves())
    fickle = type(one)(subject=one.subject, judge=Fickle(), sha256="")
    with pytest.raises(gates.RefusedError, match="agree bit for bit"):
        gates.before(fickle, EXAM, probes.TINY)


def test_a_network_that_attacks_see_differently_is_refused_at_eps_0() -> None:
    """The judge calls every image wrong once it has been through the attack."""
    one = probes.contender(probes.halves())
    judge = one.judge

    class Changing:
        asked = 0

        def __call__(self, images):
            Changing.asked += 1
            logits = judge(images)
            return logits if Changing.asked <= 2 else -logits

        def classes(self, images):
            return self(images).argmax(-1)

    changing = type(one)(subject=one.subject, judge=Changing(), sha256="")
    with pytest.raises(gates.RefusedError, match="eps 0"):
        gates.before(changing, EXAM, probes.TINY)


def test_an_attack_that_finds_too_little_is_refused() -> None:
    with pytest.raises(gates.RefusedError, match="that can be broken"):
        gates.known_answers([battery.Round(attack=PGD(steps=3, step=0.01))])


def test_an_attack_that_claims_what_cannot_be_is_refused(monkeypatch) -> None:
    verdict = known.Verdict(False, "it is said to have broken 3 that cannot be broken")
    monkeypatch.setattr(known, "closed_form_check", lambda attack: verdict)
    with pytest.raises(gates.RefusedError, match="cannot be broken"):
        gates.known_answers([battery.Round(attack=PGD())])


def gradient_row(**changes) -> dict:
    given = {"eps": 0.2, "attack": "PGD", "needs_gradient": True, "attacked": 12}
    given |= {"zero_gradient_all": 0, "zero_gradient_some": 0, "newly_broken": 0}
    return row("float", "attack", 0, 12, **(given | changes))


def after(given, *, eps=0.2, certified=None):
    one = probes.contender(probes.halves())
    return gates.after(one, EXAM, eps, given, certified or {})


def test_what_was_found_passes_after() -> None:
    broken = np.ones(12, bool)
    assert len(after(state(turned(), broken, [gradient_row()]))) == 4


def test_a_change_beyond_the_budget_is_refused() -> None:
    """40 levels are eps 0.157: too many for 0.15."""
    with pytest.raises(gates.RefusedError, match="40 levels, allowed 38"):
        after(state(turned(), np.ones(12, bool)), eps=0.15)


def test_an_image_that_does_not_score_as_counted_is_refused() -> None:
    broken = np.ones(12, bool)
    broken[3] = False
    with pytest.raises(gates.RefusedError, match="1 do not"):
        after(state(turned(), broken))


def test_blind_gradient_attacks_are_refused() -> None:
    blind = [gradient_row(zero_gradient_all=12)]
    with pytest.raises(gates.RefusedError, match="zero gradients"):
        after(state(turned(), np.ones(12, bool), blind))


def test_an_attack_that_crosses_a_certificate_is_refused() -> None:
    """A certificate for as much or more than the budget must hold; one for less may not."""
    proved = np.zeros(12, bool)
    proved[5] = True
    given = state(turned(), np.ones(12, bool))
    for levels in (51, 76):
        with pytest.raises(gates.RefusedError, match=r"\[5\]"):
            after(given, certified={levels: proved})
    assert after(given, certified={50: proved})


def flagged(rows, predict=None) -> list[str]:
    one = probes.contender(predict or probes.halves())
    found = gates.flags(one, EXAM, rows, probes.TINY)
    assert all(flag["model"] == "float" for flag in found)
    return [flag["flag"] for flag in found]


def test_a_sound_probe_has_no_flags() -> None:
    assert flagged([gradient_row(accuracy_alone=0.5)]) == []


def test_a_network_that_survives_the_whole_range_is_flagged() -> None:
    """Of two classes one always wins by far; half of the images are of that class."""

    def deaf(pixels):
        return probes.halves(1e-9)(pixels) + jax.nn.one_hot(0, 5)[None]

    assert any("eps 1" in text for text in flagged([], deaf))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            [row("float", "fgsm", c, 10, eps=e) for c, e in ((9, 0.1), (3, 0.2), (5, 0.3))],
            "FGSM is not monotone",
        ),
        (
            [
                gradient_row(eps=0.1, accuracy_alone=0.4),
                gradient_row(eps=0.2, accuracy_alone=0.6),
            ],
            "PGD is not monotone",
        ),
        (
            [
                gradient_row(attack="FGSM", accuracy_alone=0.3),
                gradient_row(attack="PGD-10 CE", accuracy_alone=0.4),
            ],
            "weaker than FGSM",
        ),
        ([gradient_row(zero_gradient_some=2)], "2 of 12 attempts met a zero gradient"),
        (
            [gradient_row(attack="Square", needs_gradient=False, newly_broken=3)],
            "Square broke 3 images",
        ),
    ],
    ids=["fgsm", "pgd", "pgd above fgsm", "some zero", "square"],
)
def test_what_is_doubtful_is_flagged(rows, words) -> None:
    assert [text for text in flagged(rows) if words in text]
