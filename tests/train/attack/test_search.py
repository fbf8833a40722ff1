"""What a run owes its images: independence, exact counts, no cost once broken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.errors import InputError
from train.attack import apgd, gradient, losses, program, search, square
from train.attack.target import Target
from train.judge import Classifier
from train.mesh import AXIS

RNG = np.random.default_rng(0)
W = RNG.normal(size=(12, 5)).astype(np.float32)
X = RNG.integers(0, 256, (50, 3, 4, 1), dtype=np.uint8)


def curved(pixels: jax.Array) -> jax.Array:
    x = pixels.reshape(len(pixels), -1).astype(jnp.float32) / 256
    return jnp.sin(3 * x @ W) * 4


CURVED = Target(name="curved", predict=curved, surrogate=curved)
Y = np.argmax(np.asarray(curved(X)), -1)
ATTACKS = (
    gradient.PGD(steps=6, segment=3),
    apgd.APGD(steps=12, segment=5),
    square.Square(queries=40, segment=7),
    square.Square(name="Square, plateaus", queries=40, segment=7, plateaus=True),
)


EVERY = np.arange(len(X))


def found(attack, chosen=EVERY, levels=8, subject=CURVED, **more):
    return search.run(
        attack, subject, X[chosen], Y[chosen], levels, seed=3, indices=chosen, **more
    )


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_image_does_not_depend_on_its_neighbours(attack) -> None:
    """Any subset, order, chunk: the same bits for the same index."""
    whole = found(attack, chunk=8)
    chosen = RNG.permutation(len(X))[:23]
    part = found(attack, chosen, chunk=8)
    smaller = found(attack, chunk=4)
    for field in ("adversarial", "broken", "steps"):
        np.testing.assert_array_equal(getattr(part, field), getattr(whole, field)[chosen])
        np.testing.assert_array_equal(getattr(smaller, field), getattr(whole, field))
    assert 3 < whole.broken.sum() < len(X)


def test_the_number_of_devices_changes_nothing(monkeypatch) -> None:
    attack = ATTACKS[0]
    several = found(attack, chunk=4)
    assert jax.device_count() > 1
    alone = jax.sharding.Mesh(np.array(jax.devices()[:1]), (AXIS,))
    for module in (search, program):
        monkeypatch.setattr(module, "all_devices", lambda: alone)
    program.advancing.cache_clear()
    program.beginning.cache_clear()
    try:
        one = found(attack, chunk=4)
    finally:
        program.advancing.cache_clear()
        program.beginning.cache_clear()
    for field in ("adversarial", "broken", "steps"):
        np.testing.assert_array_equal(getattr(one, field), getattr(several, field))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_no_budget_changes_nothing(attack) -> None:
    got = found(attack, levels=0)
    np.testing.assert_array_equal(got.adversarial, X)
    assert not got.broken.any()


def test_the_index_chooses_the_random_start() -> None:
    attack = gradient.PGD(steps=2)
    shifted = search.run(attack, CURVED, X, Y, 8, seed=3, indices=np.arange(len(X)) + 1)
    assert (shifted.adversarial != found(attack).adversarial).any()


def test_broken_images_cost_nothing_more() -> None:
    """Images wrong before are never computed; the others until they break, and at most
    to the end of the segment and chunk in which they do."""
    attack = gradient.PGD(steps=15, segment=4)
    wrong = (Y + 1) % 5
    got = search.run(attack, CURVED, X, wrong, 8, seed=0, indices=np.arange(len(X)))
    assert got.wrong.all()
    assert got.broken.all()
    assert got.computed == got.steps.sum() == 0
    np.testing.assert_array_equal(got.adversarial, X)

    got = found(attack, levels=12, chunk=1)
    assert (got.steps[~got.broken] == 16).all()
    assert got.steps[got.broken].max() < 16
    # Two devices, one image each: what is computed ends with the segment or before.
    assert got.steps.sum() <= got.computed <= (-(-got.steps // 4) * 4).sum() + 16
    assert got.computed < 0.9 * 16 * len(X)


def test_later_tries_visit_survivors_only_and_never_hurt() -> None:
    one = found(gradient.PGD(steps=4))
    many = found(gradient.PGD(steps=4, tries=5))
    assert (many.broken >= one.broken).all()
    assert many.broken.sum() > one.broken.sum()
    np.testing.assert_array_equal(many.adversarial[one.broken], one.adversarial[one.broken])
    np.testing.assert_array_equal(many.steps[one.broken], one.steps[one.broken])
    assert (many.steps[~many.broken] == 25).all()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_what_is_kept_is_what_is_said(attack) -> None:
    """Broken as bytes for the judge; unbroken images are worse than their originals."""
    got = found(attack)
    logits = Classifier(curved)(got.adversarial)
    np.testing.assert_array_equal(np.argmax(logits, -1) != Y, got.broken)
    margin = lambda x: np.asarray(losses.margin(Classifier(curved)(x), jnp.asarray(Y)))
    assert (margin(got.adversarial) >= margin(X)).all()
    assert (margin(got.adversarial) > margin(X)).mean() > 0.9


def test_a_rounded_network_has_no_gradient_and_that_is_counted() -> None:
    """Plain rounding of activations hides the gradient: the attack finds nothing, and
    every evaluation says so. Square, which needs none, breaks the same network."""
    rounded = lambda pixels: jnp.round(8 * curved(pixels)) / 8
    masked = Target(name="masked", predict=rounded, surrogate=rounded)
    through = Target(name="through", predict=rounded, surrogate=curved)
    attack = gradient.PGD(steps=6, random_start=False)
    got = found(attack, subject=masked)
    right = ~got.wrong
    assert (got.zero_gradient[right] == 7).all()
    assert (got.broken == got.wrong).all()
    seen = found(attack, subject=through)
    assert seen.zero_gradient.sum() == 0
    assert seen.broken.sum() > got.broken.sum() + 5
    assert found(square.Square(queries=300), subject=masked).broken.sum() > 5


def test_predict_decides_not_the_surrogate() -> None:
    """A surrogate that is wrong everywhere breaks nothing by itself."""
    never = lambda pixels: jax.nn.one_hot(jnp.asarray(Y)[:1].repeat(len(pixels)), 5)
    constant = Target(name="constant", predict=never, surrogate=curved)
    chosen = np.flatnonzero(Y[0] == Y)
    got = found(gradient.PGD(steps=3), chosen, subject=constant, levels=100)
    assert not got.broken.any()


def test_the_judge_has_the_last_word() -> None:
    """What it does not confirm is not broken, and stays under attack."""
    stubborn = Classifier(lambda pixels: 0 * curved(pixels) + jax.nn.one_hot(0, 5)[None])
    chosen = np.flatnonzero(Y == 0)
    got = found(gradient.PGD(steps=5, segment=2), chosen, levels=60, judge=stubborn)
    assert not got.broken.any()
    assert found(gradient.PGD(steps=5, segment=2), chosen, levels=60).broken.any()
    assert got.steps.min() > 1


def test_budgets_may_differ_from_image_to_image() -> None:
    levels = np.where(np.arange(len(X)) % 2, 0, 20)
    got = found(gradient.PGD(steps=5), levels=levels)
    assert not got.broken[1::2].any()
    assert got.broken[::2].any()
    alone = found(gradient.PGD(steps=5), levels=20)
    np.testing.assert_array_equal(got.adversarial[::2], alone.adversarial[::2])


def test_one_program_serves_budgets_steps_losses_and_tries() -> None:
    """Nothing of these is compiled anew, FGSM included."""
    traced = []

    def counted(pixels: jax.Array) -> jax.Array:
        traced.append(pixels.shape)
        return curved(pixels)

    subject = Target(name="counted", predict=counted, surrogate=counted)
    found(gradient.PGD(steps=3), subject=subject)
    before = len(traced)
    found(gradient.fgsm(), levels=3, subject=subject)
    found(gradient.PGD(steps=9, loss="margin", tries=2), levels=11, subject=subject)
    assert len(traced) == before > 0


def test_progress_ends_at_its_total() -> None:
    heard = []
    found(gradient.PGD(steps=5, segment=4, tries=2), say=lambda *at: heard.append(at))
    assert heard == [(4, 12), (6, 12), (10, 12), (12, 12)]


@pytest.mark.parametrize(
    ("images", "labels", "levels", "message"),
    [
        (X.astype(np.float32), Y, 3, "`images` must be uint8"),
        (X, Y[:3], 3, "`labels` must have one entry"),
        (X, Y, -1.0, "`levels` .* must be 0 or more"),
        (X, Y, float("nan"), "`levels` .* must be 0 or more"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(images, labels, levels, message) -> None:
    with pytest.raises(InputError, match=message):
        search.run(
            gradient.PGD(), CURVED, images, labels, levels, seed=0,
            indices=np.arange(len(X)),
        )  # fmt: skip


def test_a_tie_that_the_first_class_wins_is_not_broken() -> None:
    """Equal integer logits: the margin is 0 and argmax may still be right; it goes on."""
    first = jnp.array([[0.0, 0.0]], jnp.float32)
    logits = lambda x: (
        jnp.broadcast_to(first, (len(x), 2)) + 0 * x.astype(jnp.float32).sum()
    )
    tied = Target(name="tied", predict=logits, surrogate=logits)
    images = np.full((2, 4, 4, 1), 128, np.uint8)
    for attack in ATTACKS:
        result = search.run(
            attack, tied, images, np.array([0, 1]), 20, seed=0, indices=np.arange(2)
        )
        assert result.broken.tolist() == [False, True]
        assert result.steps[0] == attack.evaluations * attack.rounds(2)
        assert result.tries == attack.rounds(2)


@pytest.mark.parametrize("plateaus", [False, True])
def test_a_budget_that_ends_in_a_tie_breaks_only_what_argmax_misjudges(plateaus) -> None:
    """z = (m, -m) / 64 with m = sum(x - 128) over 12 pixels: from 120 or -120, 10 levels
    reach 0 and no further. The first class wins the tie: class 1 is broken there, class 0
    is attacked to the end and holds; with 11 levels both break."""

    def logits(pixels: jax.Array) -> jax.Array:
        m = (pixels.reshape(len(pixels), -1).astype(jnp.float32) - 128).sum(-1)
        return jnp.stack([m, -m], -1) / 64

    tied = Target(name="tied", predict=logits, surrogate=logits)
    images = np.stack([np.full((3, 4, 1), v, np.uint8) for v in (138, 118)])
    labels = np.array([0, 1])
    more = square.Square(queries=600, plateaus=plateaus)
    for attack in (gradient.fgsm(), *ATTACKS[:2], more):
        run = lambda levels, attack=attack: search.run(
            attack, tied, images, labels, levels, seed=0, indices=np.arange(2)
        )
        tie = run(10)
        assert tie.broken.tolist() == [False, True], attack.name
        assert tie.steps[0] == attack.evaluations
        assert np.asarray(logits(tie.adversarial))[0].tolist() == [0, 0]
        assert run(11).broken.all(), attack.name
