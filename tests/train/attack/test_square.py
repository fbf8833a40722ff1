"""Square: the published schedule, squares as drawn, margins that only fall."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.errors import InputError
from train.attack import search, square
from train.attack.target import Target
from train.attack.track import Example

RNG = np.random.default_rng(0)


def published(p: float, iteration: int, queries: int) -> float:
    """p after so many squares, as the authors' program has it."""
    at = int(iteration / queries * 10000)
    for last, factor in zip(
        (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000), 2.0 ** np.arange(9), strict=True
    ):
        if at <= last:
            return p / factor
    return p / 512


@pytest.mark.parametrize("queries", [10_000, 5000, 200])
def test_p_halves_where_it_is_published(queries: int) -> None:
    each = jax.vmap(lambda i: square.halvings(i, queries))(jnp.arange(queries))
    expected = [published(0.8, i, queries) for i in range(queries)]
    np.testing.assert_allclose(0.8 / 2.0 ** np.asarray(each), expected, rtol=1e-12)
    assert set(np.asarray(each)) == set(range(10))


def test_sides_are_the_roots_of_the_part_of_the_pixels() -> None:
    assert square.sides(0.8, (32, 32, 3)).tolist() == [29, 20, 14, 10, 7, 5, 4, 3, 2, 1]
    assert square.sides(0.8, (3, 9, 1)).max() == 2
    assert square.sides(0.8, (1, 1, 1)).tolist() == [1] * 10


def example(count: int, shape=(7, 5, 3)) -> Example:
    zero = jnp.zeros(count, jnp.int32)
    x = jnp.full((count, *shape), 128, jnp.float32)
    return Example(x, zero, zero, jnp.ones(count, jnp.float32))


def test_a_square_is_one_square_anywhere_with_one_sign_a_channel() -> None:
    keys = jax.random.split(jax.random.key(0), 400)
    change = np.asarray(square._square(keys, example(400), jnp.int32(3)))
    assert set(np.unique(change)) == {-1, 0, 1}
    corners = set()
    for one in change:
        rows, cols = (np.flatnonzero(one.any((axis, 2))) for axis in (1, 0))
        assert len(rows) == len(cols) == 3
        window = one[rows[0] : rows[0] + 3, cols[0] : cols[0] + 3]
        assert (window == window[:1, :1]).all()
        assert (window != 0).all()
        corners.add((rows[0], cols[0]))
    # Every position that there is, the last row and column included.
    assert corners == {(r, c) for r in range(5) for c in range(3)}
    assert len({tuple(one.sum((0, 1))) for one in change}) == 8


def test_stripes_are_one_column_wide() -> None:
    keys = jax.random.split(jax.random.key(0), 50)
    change = np.asarray(square._stripes(keys, example(50), jnp.int32(3)))
    assert (change == change[:, :1]).all()
    assert set(np.unique(change)) == {-1, 1}
    assert 0.4 < (change[:, 0] > 0).mean() < 0.6


def test_only_a_smaller_margin_is_kept() -> None:
    """A network whose logits never change leaves the stripes as they are."""
    logits = lambda pixels: jnp.zeros((len(pixels), 4), jnp.float32)
    constant = Target(name="constant", predict=logits, surrogate=logits)
    attack, batch = square.Square(queries=50), example(3)
    keys = jax.random.split(jax.random.key(1), 3)
    settings = attack.settings(0, 4, (7, 5, 3))
    inner = attack.method.begin(batch, keys, settings)
    inner, seen = attack.method.step(constant, batch, inner, settings, jnp.int32(0))
    stripes = seen.image
    np.testing.assert_array_equal(inner.image, stripes)
    for t in range(1, 4):
        inner, seen = attack.method.step(constant, batch, inner, settings, jnp.int32(t))
        assert (seen.image != stripes).any()
        np.testing.assert_array_equal(inner.image, stripes)


def test_pixels_are_whole_levels_at_the_border_of_the_budget(digits) -> None:
    """Each pixel of an attacked image is at +-levels or at the end of its range."""
    images, labels = digits.images[:40], digits.labels[:40]
    run = lambda queries: search.run(
        square.Square(queries=queries), digits.subject, images, labels, 30,
        seed=0, indices=np.arange(40),
    )  # fmt: skip
    few, more = run(10), run(400)
    changed = more.steps > 0
    apart = more.adversarial[changed].astype(int) - images[changed]
    ends = np.isin(more.adversarial[changed], (0, 255))
    assert ((np.abs(apart) == 30) | ends).all()
    assert more.broken.sum() > few.broken.sum() + 3
    assert more.zero_gradient.sum() == 0


def test_vectors_are_refused() -> None:
    logits = lambda pixels: jnp.ones((len(pixels), 2), jnp.float32)
    subject = Target(name="vector", predict=logits, surrogate=logits)
    with pytest.raises(InputError, match=r"Square needs images \(H, W, C\)"):
        search.run(
            square.Square(), subject, np.zeros((2, 9), np.uint8), np.zeros(2, int), 5,
            seed=0, indices=np.arange(2),
        )  # fmt: skip


@pytest.mark.parametrize(("field", "value"), [("p", 0.0), ("queries", 300_000)])
def test_settings_without_sense_are_refused(field: str, value: object) -> None:
    with pytest.raises(InputError, match=f"`{field}`"):
        square.Square(**{field: value})


def test_rounded_logits_do_not_stop_a_search_that_walks_along_plateaus(digits) -> None:
    """Logits in steps so coarse that most squares change nothing: the published rule
    stands still, the other finds images that it leaves, and nothing that is not there."""
    step = jnp.float32(4.0)
    coarse = lambda pixels: jnp.round(digits.subject.predict(pixels) / step) * step
    rounded = Target(name="rounded", predict=coarse, surrogate=coarse)
    images, labels = digits.images[:60], digits.labels[:60]
    found = {
        plateaus: search.run(
            square.Square(queries=600, plateaus=plateaus), rounded, images, labels, 20,
            seed=0, indices=np.arange(60),
        )
        for plateaus in (False, True)
    }  # fmt: skip
    assert found[True].broken.sum() > found[False].broken.sum() + 3
    classes = np.argmax(np.asarray(coarse(found[True].adversarial)), -1)
    np.testing.assert_array_equal(classes != labels, found[True].broken)


def test_a_change_without_effect_is_kept_on_a_plateau_only_when_told() -> None:
    logits = lambda pixels: jnp.zeros((len(pixels), 4), jnp.float32)
    constant = Target(name="constant", predict=logits, surrogate=logits)
    batch, keys = example(3), jax.random.split(jax.random.key(1), 3)
    for plateaus in (False, True):
        attack = square.Square(queries=50, plateaus=plateaus)
        settings = attack.settings(0, 4, (7, 5, 3))
        inner = attack.method.begin(batch, keys, settings)
        for t in range(3):
            before = inner.image
            inner, seen = attack.method.step(constant, batch, inner, settings, np.int32(t))
        expected = seen.image if plateaus else before
        np.testing.assert_array_equal(inner.image, expected)
        assert (seen.image != before).any()
