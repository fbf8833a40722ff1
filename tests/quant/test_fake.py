"""Fake quantisation lands on the grid, and its derivatives are those of the papers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.fake import dyadic, fake_quantize, power_of_two, round_ste, straight_through
from quant.float32_rounding import nearest_agreeing

# One value of x / step below the range, at several places inside, and above it.
LOW, HIGH = -4, 3
PLACES = [-7.3, -3.8, -2.5, -1.2, -0.4, 0.0, 0.3, 0.5, 1.75, 2.9, 5.1]
INSIDE = [LOW < v < HIGH for v in PLACES]
STEP = 0.375


def derivatives(method: str) -> tuple[np.ndarray, np.ndarray]:
    """Of the result by x and by the step, at each of the places."""
    x = jnp.asarray(np.array(PLACES) * STEP, jnp.float32)
    q = lambda x, step: fake_quantize(x, step, LOW, HIGH, method)
    by_both = jax.vmap(jax.grad(q, argnums=(0, 1)), in_axes=(0, None))
    by_x, by_step = jax.jit(by_both)(x, jnp.float32(STEP))
    return np.asarray(by_x), np.asarray(by_step)


@pytest.mark.parametrize("method", ["lsq", "pact", "fixed"])
def test_the_derivative_by_x_is_that_of_the_range(method: str) -> None:
    by_x, _ = derivatives(method)
    np.testing.assert_array_equal(by_x, np.array(INSIDE, np.float32))


def test_lsq_derivative_by_the_step() -> None:
    """Equation 3 of Esser et al.: round(v) - v inside, the nearer end outside."""
    ends = np.where(np.array(PLACES) < 0, LOW, HIGH)
    wanted = np.where(INSIDE, np.rint(PLACES) - PLACES, ends)
    assert len(set(np.round(wanted, 6))) > 7
    np.testing.assert_allclose(derivatives("lsq")[1], wanted, atol=1e-6)


def test_pact_learns_from_what_is_cut_off_alone() -> None:
    """d/d(high * step) = 1 above the range: by the step, high; below, low."""
    ends = np.where(np.array(PLACES) < 0, LOW, HIGH)
    wanted = np.where(INSIDE, 0, ends).astype(np.float32)
    np.testing.assert_array_equal(derivatives("pact")[1], wanted)


@pytest.mark.parametrize("method", ["lsq", "pact", "fixed"])
def test_the_ends_of_the_range_belong_to_it(method: str) -> None:
    """Exactly on the first and the last grid point nothing is cut off: no half slopes."""
    x = jnp.array([LOW * STEP, HIGH * STEP], jnp.float32)
    q = lambda x, step: fake_quantize(x, step, LOW, HIGH, method)
    by_both = jax.vmap(jax.grad(q, argnums=(0, 1)), in_axes=(0, None))
    by_x, by_step = by_both(x, jnp.float32(STEP))
    assert by_x.tolist() == [1, 1]
    assert by_step.tolist() == [0, 0]


def test_each_channel_has_the_derivative_of_its_own_values() -> None:
    """A step (1, F) gathers from its column alone."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(50, 3)), jnp.float32)
    steps = jnp.array([[0.1, 0.3, 0.9]], jnp.float32)
    total = lambda x, step: jnp.sum(fake_quantize(x, step, LOW, HIGH))
    together = jax.grad(total, argnums=1)(x, steps)
    assert together.shape == steps.shape
    for f in range(3):
        alone = jax.grad(total, argnums=1)(x[:, f], steps[0, f])
        np.testing.assert_allclose(together[0, f], alone, rtol=1e-5)


def test_a_fixed_step_has_no_derivative() -> None:
    assert not derivatives("fixed")[1].any()


def test_all_methods_go_forward_alike() -> None:
    """The method decides what learns, never the values."""
    x = jnp.linspace(-3, 3, 2001, dtype=jnp.float32)
    values = [
        jax.jit(lambda x, m=m: fake_quantize(x, jnp.float32(STEP), LOW, HIGH, m))(x)
        for m in ("lsq", "pact", "fixed")
    ]
    wanted = STEP * np.clip(np.rint(np.asarray(x) / np.float32(STEP)), LOW, HIGH)
    for value in values:
        np.testing.assert_array_equal(value, wanted.astype(np.float32))
    assert len(np.unique(wanted)) == HIGH - LOW + 1


RANGES = st.tuples(st.booleans(), st.integers(2, 8)).map(
    lambda kind: (
        (-(1 << (kind[1] - 1)), (1 << (kind[1] - 1)) - 1)
        if kind[0]
        else (0, (1 << kind[1]) - 1)
    )
)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(RANGES, st.integers(-32, 32), st.integers(1, 65536))
def test_the_grid(ends, exponent: int, m: int) -> None:
    """Grid points stay; others go to the nearest; order is kept; ends are ends."""
    low, high = ends
    step = np.float32(math.ldexp(m, exponent - 16))
    quantised = lambda x: np.asarray(
        fake_quantize(jnp.asarray(x), jnp.asarray(step), low, high)
    )
    points = np.arange(low, high + 1).astype(np.float32) * step
    np.testing.assert_array_equal(quantised(points), points)
    x = np.linspace(1.3 * points[0] - step, 1.3 * points[-1] + step, 777).astype("f")
    y = quantised(x)
    assert set(y) <= set(points)
    assert np.all(np.diff(y) >= 0)
    within = (x >= points[0]) & (x <= points[-1])
    assert within.any()
    error = np.abs(x[within].astype(np.float64) - y[within])
    assert error.max() <= 0.5 * step * (1 + 1e-5)
    assert y[0] == points[0]
    assert y[-1] == points[-1]


def test_round_ste_rounds_halves_to_even_and_passes_all() -> None:
    x = jnp.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.4, 2.6], jnp.float32)
    assert round_ste(x).tolist() == [-2, -2, 0, 0, 2, 2, 3]
    by_x = jax.grad(lambda x: jnp.sum(round_ste(x) * jnp.arange(7, dtype="f")))(x)
    assert by_x.tolist() == list(range(7))


def test_straight_through_is_the_value_to_the_bit() -> None:
    """Even where smooth - smooth would be lost in a sum or is far larger."""
    value = jnp.array([1e-30, 1.0, 3.0e7], jnp.float32)
    smooth = lambda t: t * jnp.float32(1e20)
    y, back = jax.vjp(lambda t: straight_through(value, smooth(t)), value)
    np.testing.assert_array_equal(y, value)
    np.testing.assert_array_equal(back(jnp.ones(3))[0], np.full(3, np.float32(1e20)))


@pytest.mark.parametrize("compiled", [False, True])
def test_power_of_two_is_exact_at_every_exponent(compiled: bool) -> None:
    """exp2 of a whole number may miss by a bit; the step of a format must not."""
    make = jax.jit(power_of_two) if compiled else power_of_two
    exponents = np.arange(-32, 33)
    for off in (-0.49, 0.0, 0.49):
        steps = make(jnp.asarray(exponents + off, jnp.float32))
        np.testing.assert_array_equal(steps, np.ldexp(np.float32(1), exponents))


def test_power_of_two_has_the_slope_of_the_power() -> None:
    """d 2^t / dt = 2^t ln 2, at the rounded power."""
    for t, step in ((-3.2, 1 / 8), (0.4, 1.0), (5.0, 32.0)):
        by_t = jax.grad(power_of_two)(jnp.float32(t))
        np.testing.assert_allclose(by_t, step * math.log(2), rtol=1e-6)


@pytest.mark.parametrize("shift", [8, 16, 18, 21])
def test_dyadic_is_the_nearest_multiple_that_hardware_has(shift: int) -> None:
    """A whole, allowed multiplier times the unit, exactly; cut off at both ends."""
    allowed = nearest_agreeing(shift, -128, 127)
    before, total = 2.0**-5, 2.0**-3
    unit = math.ldexp(total / before, -shift)
    draw = np.random.default_rng(0)
    wanted_m = np.concatenate(
        [[1e-3, 0.4, 1, 65535, 65535.4, 9e5], draw.uniform(1, 65535, 500)]
    )
    steps = jax.jit(
        lambda s: dyadic(s, jnp.float32(before), jnp.float32(total), shift, allowed)
    )(jnp.asarray(wanted_m * unit, jnp.float32))
    m = np.asarray(steps, np.float64) / unit
    np.testing.assert_array_equal(m, np.rint(m))
    np.testing.assert_array_equal(m, allowed[m.astype(int)])
    nearest = np.clip(np.rint(wanted_m), 1, 65535).astype(int)
    np.testing.assert_array_equal(m, allowed[nearest])
    assert m[0] == allowed[1]
    assert m[5] == allowed[65535]


def test_dyadic_passes_the_derivative_to_its_own_step_alone() -> None:
    """Not to the steps of the activations around it, nor is any part of it lost."""
    allowed = nearest_agreeing(16, -128, 127)
    arguments = (jnp.array([0.01, 0.3], jnp.float32), jnp.float32(0.25), jnp.float32(0.5))
    total = lambda *steps: jnp.sum(dyadic(*steps, 16, allowed))
    by_step, by_input, by_sum = jax.grad(total, argnums=(0, 1, 2))(*arguments)
    assert by_step.tolist() == [1, 1]
    assert (by_input, by_sum) == (0, 0)
