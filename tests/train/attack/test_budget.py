"""Budgets in whole levels: projection, rounding toward the original, the exact check."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.errors import InputError
from train.attack import budget

RNG = np.random.default_rng(0)
NORMS = ("linf", "l2")


def test_levels_are_the_floor_and_lose_none_to_floats() -> None:
    assert budget.levels_of(0.3) == 76
    assert [budget.levels_of(k / 255) for k in range(256)] == list(range(256))
    assert budget.levels_of(2.0, "l2") == 510


@pytest.mark.parametrize("eps", [-0.1, 1.5, float("nan")])
def test_other_budgets_are_refused(eps: float) -> None:
    with pytest.raises(InputError, match=r"`eps` .* must be in 0\.\.1"):
        budget.levels_of(eps)


@pytest.mark.parametrize("norm", NORMS)
def test_projected_images_are_within_budget_and_range(norm) -> None:
    """Any perturbation, rounded toward the original, passes the exact check."""
    x = RNG.integers(0, 256, (64, 5, 4, 2), dtype=np.uint8)
    levels = RNG.integers(0, 90, 64).astype(np.float32)
    delta = RNG.normal(size=x.shape).astype(np.float32) * 100
    inside = budget.project(jnp.asarray(delta), jnp.asarray(x, jnp.float32), levels, norm)
    image = budget.deployable(jnp.asarray(x, jnp.float32), inside)
    made = np.asarray(image).astype(np.uint8)
    np.testing.assert_array_equal(made, image)
    budget.check(x, made, levels, norm)
    assert budget.distance(x, made, norm).max() > 0.8 * levels.max()


def test_l2_projection_keeps_the_direction_and_the_length() -> None:
    """Outside it is delta * levels / |delta|; inside nothing happens."""
    x = jnp.full((2, 3, 3, 1), 128, jnp.float32)
    delta = jnp.asarray(RNG.normal(size=x.shape), jnp.float32)
    length = np.sqrt((np.asarray(delta) ** 2).sum((1, 2, 3)))
    levels = jnp.asarray(length * np.array([0.5, 2.0]), jnp.float32)
    inside = budget.project(delta, x, levels, "l2")
    np.testing.assert_allclose(inside[0], delta[0] * 0.5, rtol=1e-5)
    np.testing.assert_array_equal(inside[1], delta[1])


@pytest.mark.parametrize("norm", NORMS)
def test_one_level_too_far_is_an_error(norm) -> None:
    x = np.full((3, 2, 2, 1), 100, np.uint8)
    made = x.copy()
    made[1, 0, 0] += 5
    levels = np.full(3, 5.0)
    budget.check(x, made, levels, norm)
    made[1, 0, 0] += 1
    with pytest.raises(budget.BudgetError, match="image 1 lies 6 levels"):
        budget.check(x, made, levels, norm)
    with pytest.raises(budget.BudgetError, match="uint8"):
        budget.check(x, made.astype(np.float32), levels, norm)


def test_a_byte_does_not_wrap_around_in_the_check() -> None:
    x, made = np.zeros((1, 1, 1, 1), np.uint8), np.full((1, 1, 1, 1), 255, np.uint8)
    with pytest.raises(budget.BudgetError, match="255 levels"):
        budget.check(x, made, np.ones(1), "linf")


@pytest.mark.parametrize("norm", NORMS)
def test_a_random_start_fills_the_ball(norm) -> None:
    """Never outside, and often near the border."""
    keys = jax.random.split(jax.random.key(0), 200)
    start = lambda key: budget.somewhere(key, (3, 1, 1), jnp.float32(9), norm)
    drawn = np.asarray(jax.vmap(start)(keys)).reshape(200, 3)
    size = np.abs(drawn).max(-1) if norm == "linf" else np.linalg.norm(drawn, axis=-1)
    assert size.max() <= 9 * (1 + 1e-6)
    # In three dimensions the inner half holds an eighth.
    assert 0.05 < (size < 4.5).mean() < 0.22
    assert abs(drawn.mean()) < 1


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_ascent_has_length_one_whatever_the_scale(scale: float) -> None:
    gradient = jnp.asarray(RNG.normal(size=(2, 4, 4, 1)) * scale, jnp.float32)
    along = budget.ascent(gradient, "l2")
    np.testing.assert_allclose(budget.length(along), np.ones((2, 1, 1, 1)), rtol=1e-5)
    assert not budget.ascent(jnp.zeros((1, 2)), "l2").any()
