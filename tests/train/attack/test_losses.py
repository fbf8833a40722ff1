"""The losses against their formulas in numpy, and where the formula of DLR divides by 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.attack import losses

RNG = np.random.default_rng(0)


def obvious(name: str, z: np.ndarray, y: int, t: int) -> float:
    others = np.delete(z, y)
    first, _, third, fourth = np.sort(z)[::-1][:4]
    return {
        "ce": np.log(np.exp(z).sum()) - z[y],
        "margin": others.max() - z[y],
        "dlr_targeted": -(z[y] - z[t]) / (first - (third + fourth) / 2 + 1e-12),
        "margin_targeted": z[t] - z[y],
    }[name]


@pytest.mark.parametrize("name", losses.NAMES)
def test_losses_equal_their_formulas(name: str) -> None:
    z = RNG.normal(size=(30, 6)) * 3
    y, t = RNG.integers(0, 3, 30), RNG.integers(3, 6, 30)
    got = losses.loss(jnp.int32(losses.number(name)), jnp.asarray(z, jnp.float32), y, t)
    expected = [obvious(name, *row) for row in zip(z, y, t, strict=True)]
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-5)


def test_dlr_of_four_equal_logits_is_the_plain_difference() -> None:
    """Its denominator is 0 there; loss and gradient stay finite."""
    z = jnp.asarray([[3.0, 3, 3, 3, 1], [2, 2, 2, 2, 2]], jnp.float32)
    y, t = jnp.array([0, 1]), jnp.array([4, 0])
    loss = lambda z: losses.dlr_targeted(z, y, t)
    np.testing.assert_array_equal(loss(z), [-2.0, 0.0])
    gradient = jax.grad(lambda z: loss(z).sum())(z)
    np.testing.assert_array_equal(gradient, [[-1, 0, 0, 0, 1], [1, -1, 0, 0, 0]])


def test_dlr_needs_four_classes_and_says_what_it_is_below() -> None:
    assert losses.defined("dlr_targeted", 4) == "dlr_targeted"
    assert losses.defined("dlr_targeted", 3) == "margin_targeted"
    z, y, t = jnp.asarray([[1.0, 2, 4]]), jnp.array([2]), jnp.array([0])
    np.testing.assert_array_equal(losses.dlr_targeted(z, y, t), [-3.0])
