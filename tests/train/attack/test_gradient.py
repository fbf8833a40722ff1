"""FGSM and PGD: one step by hand, steps as Madry et al. write them, PGD above FGSM."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.errors import InputError
from train.attack import search
from train.attack.gradient import PGD, fgsm
from train.attack.target import Target

RNG = np.random.default_rng(0)
W = RNG.normal(size=(12, 4)).astype(np.float32)
X = RNG.integers(0, 256, (40, 3, 4, 1), dtype=np.uint8)


def curved(pixels: jax.Array) -> jax.Array:
    """Four logits that are no linear function of the pixels."""
    x = pixels.reshape(len(pixels), -1).astype(jnp.float32) / 256
    return jnp.sin(3 * x @ W) * 4


CURVED = Target(name="curved", predict=curved, surrogate=curved)
Y = np.argmax(np.asarray(curved(X)), -1)


def found(attack: PGD, levels: float, seed: int = 0) -> search.Found:
    return search.run(attack, CURVED, X, Y, levels, seed=seed, indices=np.arange(len(X)))


def cross_entropy(x: jax.Array, y: jax.Array) -> jax.Array:
    return -jnp.take_along_axis(jax.nn.log_softmax(curved(x)), y[:, None], -1).sum()


def test_fgsm_is_the_sign_of_the_gradient_at_the_image() -> None:
    """Of images that it breaks, exactly x + levels * sign(g), clipped to 0..255."""
    gradient = jax.grad(cross_entropy)(jnp.asarray(X, jnp.float32), jnp.asarray(Y))
    expected = np.clip(X + 9 * np.sign(gradient), 0, 255)
    got = found(fgsm(), 9)
    assert 3 < got.broken.sum() < 40
    np.testing.assert_array_equal(got.adversarial[got.broken], expected[got.broken])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_equals_a_loop_in_numpy(norm) -> None:
    """Five steps from the image itself, until the first image that is broken."""
    levels, step = (12.0, 3.0) if norm == "linf" else (40.0, 10.0)
    delta, broken = np.zeros(X.shape), np.zeros(len(X), bool)
    kept = X.copy()
    for _ in range(6):
        image = (X + np.trunc(delta)).astype(np.float32)
        fresh = (np.argmax(np.asarray(curved(image)), -1) != Y) & ~broken
        kept[fresh], broken = image[fresh], broken | fresh
        g = np.asarray(jax.grad(cross_entropy)(jnp.asarray(image), jnp.asarray(Y)), float)
        length = lambda d: np.sqrt((d**2).sum((1, 2, 3), keepdims=True))
        delta = delta + step * (np.sign(g) if norm == "linf" else g / length(g))
        if norm == "linf":
            delta = np.clip(delta, -levels, levels)
        else:
            delta = delta * np.minimum(1, levels / length(delta))
        delta = np.clip(delta, -X.astype(float), 255.0 - X)
    attack = PGD(steps=5, norm=norm, step=step / levels, random_start=False)
    got = found(attack, levels)
    np.testing.assert_array_equal(got.broken, broken)
    assert 3 < broken.sum() < 40
    # float32 against float64: a pixel just at a whole level may fall on either side.
    apart = np.abs(got.adversarial[broken].astype(int) - kept[broken])
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.02


def test_a_step_by_default_lets_a_pixel_cross_the_budget() -> None:
    """From either side to the other; 1 / 30 in 40 steps, though usual, does not."""
    steps = lambda attack: attack.settings(0, 10, (2, 2, 1)).step * attack.steps
    assert steps(PGD()) == pytest.approx(2.5)
    assert steps(PGD(steps=7)) == pytest.approx(2.5)
    assert steps(PGD(step=1 / 30)) < 2


def test_margin_and_cross_entropy_are_different_attacks() -> None:
    ce, margin = (found(PGD(steps=3, loss=loss), 6) for loss in ("ce", "margin"))
    assert (ce.adversarial != margin.adversarial).any()


def test_a_random_start_depends_on_the_seed_and_none_does_not() -> None:
    same = lambda attack: np.array_equal(
        found(attack, 5, 0).adversarial, found(attack, 5, 1).adversarial
    )
    assert not same(PGD(steps=2))
    assert same(PGD(steps=2, random_start=False))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_beats_fgsm_on_digits(digits, norm) -> None:
    """Same budget, same images, a network that was trained on digits."""
    levels = 20 if norm == "linf" else 300.0
    run = lambda attack: search.run(
        attack, digits.subject, digits.images, digits.labels, levels,
        seed=0, indices=np.arange(len(digits.images)),
    )  # fmt: skip
    one, many = run(fgsm(norm=norm)), run(PGD(steps=20, norm=norm))
    assert one.wrong.mean() < 0.1
    assert many.broken.mean() > one.broken.mean() + 0.03 > one.wrong.mean() + 0.1


@pytest.mark.parametrize(
    ("field", "value"), [("steps", 0), ("tries", 0), ("segment", 0), ("step", 0.0)]
)
def test_settings_without_sense_are_refused(field: str, value: object) -> None:
    with pytest.raises(InputError, match=f"`{field}`"):
        PGD(**{field: value})
