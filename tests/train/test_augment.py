"""Augmentation draws what its settings allow, from the key alone, and applies it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.schema import Augment
from train import augment, warp

KEY = jax.random.key(3)
BOTH = Augment(shift_px=2, rotate_deg=10)
apply = jax.jit(augment.apply, static_argnums=0)


def test_draws_fill_their_bounds_evenly_and_independently() -> None:
    """20,000 draws: degrees in the first column, pixels down and right after it."""
    drawn = np.asarray(augment.draw(BOTH, 20_000, key=KEY))
    assert drawn.shape == (20_000, 3)
    assert drawn.dtype == np.float32
    unit = drawn / np.array([10, 2, 2])
    assert np.all(np.abs(unit) <= 1)
    assert np.all(np.abs(unit).max(0) > 0.999)
    assert np.all(unit.min(0) < -0.999)
    np.testing.assert_allclose(unit.mean(0), 0, atol=0.02)
    for column in unit.T:
        counts, _ = np.histogram(column, 10, (-1, 1))
        np.testing.assert_allclose(counts, 2000, rtol=0.1)
    np.testing.assert_allclose(np.corrcoef(unit.T), np.eye(3), atol=0.03)


def test_draws_are_a_function_of_the_key() -> None:
    """Eagerly or compiled; another key gives other numbers."""
    first = augment.draw(BOTH, 16, key=KEY)
    compiled = jax.jit(lambda key: augment.draw(BOTH, 16, key=key))
    np.testing.assert_array_equal(first, augment.draw(BOTH, 16, key=KEY))
    np.testing.assert_array_equal(first, compiled(KEY))
    assert np.all(first != augment.draw(BOTH, 16, key=jax.random.key(4)))


@pytest.mark.parametrize(
    ("settings", "still"),
    [
        (Augment(shift_px=3), [True, False, False]),
        (Augment(rotate_deg=5), [False, True, True]),
        (Augment(), [True, True, True]),
    ],
)
def test_what_is_turned_off_is_not_drawn(settings: Augment, still: list[bool]) -> None:
    drawn = augment.draw(settings, 64, key=KEY)
    assert np.all(np.asarray(drawn) == 0, axis=0).tolist() == still


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_without_augmentation_pixels_stay(dtype) -> None:
    """As float32, whatever was drawn."""
    pixels = np.arange(2 * 3 * 3, dtype=dtype).reshape(2, 3, 3, 1)
    out = augment.apply(Augment(), jnp.asarray(pixels), jnp.full((2, 3), 2.0))
    assert out.dtype == jnp.float32
    np.testing.assert_array_equal(out, pixels)


@pytest.mark.parametrize(
    "settings",
    [BOTH, Augment(shift_px=2), Augment(rotate_deg=10)],
    ids=["both", "shift", "turn"],
)
def test_every_image_gets_its_own_drawn_change(settings: Augment) -> None:
    """Column 0 turns, column 1 moves down, column 2 moves right."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 6, 6, 2), dtype=np.uint8)
    drawn = jnp.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [90.0, 0.0, 0.0]])
    out = np.asarray(apply(settings, pixels, drawn))
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out[0, 1:], pixels[0, :-1])
    assert not out[0, 0].any()
    np.testing.assert_array_equal(out[1, :, :-1], pixels[1, :, 1:])
    assert not out[1, :, -1].any()
    np.testing.assert_allclose(out[2], np.rot90(pixels[2]), atol=0.2)


def test_applied_draws_are_the_warp_of_these_draws() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (8, 7, 7, 1), dtype=np.uint8)
    drawn = augment.draw(BOTH, 8, key=KEY)
    turn = jax.jit(warp.rotation)(drawn[:, 0])
    expected = jax.jit(warp.affine)(pixels, turn, drawn[:, 1:])
    np.testing.assert_allclose(apply(BOTH, pixels, drawn), expected, atol=1e-3)
    assert not np.array_equal(expected, pixels)
