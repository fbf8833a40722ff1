"""Warps move pictures the stated way, outside is 0, and gradients are right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from train import warp

RNG = np.random.default_rng(0)
STILL = np.zeros((1, 2), np.float32)
affine = jax.jit(warp.affine)


def images(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def rotated(pictures: np.ndarray, angle_deg: float) -> np.ndarray:
    turn = warp.rotation(jnp.full(len(pictures), angle_deg, jnp.float32))
    return np.asarray(affine(pictures, turn, np.repeat(STILL, len(pictures), 0)))


def shifted(picture: np.ndarray, down: int, right: int) -> np.ndarray:
    """A picture (H, W, C) moved whole pixels, 0 where nothing was."""
    out = np.zeros_like(picture)
    h, w, _ = picture.shape
    for i in range(h):
        for j in range(w):
            if 0 <= i - down < h and 0 <= j - right < w:
                out[i, j] = picture[i - down, j - right]
    return out


def brute_force(pictures, inverse, shift_px) -> np.ndarray:
    """Pixel by pixel in float64: the sum over all pixels within 1 of the source."""
    b, h, w, _ = pictures.shape
    centre = np.array([(h - 1) / 2, (w - 1) / 2])
    out = np.zeros(pictures.shape)
    for n in range(b):
        for i in range(h):
            for j in range(w):
                y, x = inverse[n] @ (np.array([i, j]) - centre - shift_px[n]) + centre
                down = np.maximum(0, 1 - np.abs(y - np.arange(h)))
                right = np.maximum(0, 1 - np.abs(x - np.arange(w)))
                out[n, i, j] = np.einsum("i,j,ijc", down, right, pictures[n])
    return out


@pytest.mark.parametrize("shape", [(2, 5, 5, 1), (2, 4, 6, 3), (1, 1, 1, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_no_rotation_is_the_identity_bit_for_bit(shape, dtype) -> None:
    pictures = images(*shape).astype(dtype)
    if dtype == np.float32:
        pictures += RNG.random(shape, np.float32)
    warped = rotated(pictures, 0.0)
    assert warped.dtype == np.float32
    np.testing.assert_array_equal(warped, pictures.astype(np.float32))


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize(("angle_deg", "turns"), [(90, 1), (-90, -1), (180, 2), (450, 1)])
def test_quarter_turns_go_counter_clockwise(size, angle_deg, turns) -> None:
    """np.rot90 within 1e-3 of a pixel: at most 255e-3 for neighbours 255 apart."""
    pictures = images(2, size, size, 2)
    expected = np.rot90(pictures, turns, (1, 2))
    np.testing.assert_allclose(rotated(pictures, angle_deg), expected, atol=255e-3)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_whole_shifts_move_down_and_right_and_fill_with_zero(dtype) -> None:
    """Exactly, each image by its own shift, also out of the picture."""
    shifts = [(0, 0), (1, 0), (0, 1), (-2, 3), (4, -5), (5, 0), (0, -7), (99, 99)]
    pictures = images(len(shifts), 5, 6, 2).astype(dtype)
    same = np.repeat(np.eye(2, dtype=np.float32)[None], len(shifts), 0)
    warped = affine(pictures, same, np.array(shifts, np.float32))
    for picture, shift, got in zip(pictures, shifts, warped, strict=True):
        np.testing.assert_array_equal(got, shifted(picture, *shift))


coefficients = st.floats(-2.5, 2.5, width=32)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.sampled_from([(2, 4, 5, 3), (2, 1, 1, 1), (2, 3, 3, 1)]),
    st.lists(coefficients, min_size=8, max_size=8),
    st.lists(st.floats(-6, 6, width=32), min_size=4, max_size=4),
    st.integers(0, 99),
)
def test_any_affine_map_equals_a_brute_force_bilinear_mean(shape, a, shift, seed) -> None:
    """Within 0.01 of 255 levels, for bytes and for floats."""
    pictures = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    inverse = np.array(a, np.float32).reshape(2, 2, 2)
    shift_px = np.array(shift, np.float32).reshape(2, 2)
    warped = affine(pictures, inverse, shift_px)
    expected = brute_force(pictures, inverse.astype(float), shift_px.astype(float))
    np.testing.assert_allclose(warped, expected, rtol=0, atol=0.01)
    of_floats = affine(pictures.astype(np.float32), inverse, shift_px)
    np.testing.assert_allclose(of_floats, expected, rtol=0, atol=0.01)


def test_bytes_and_floats_give_the_same_numbers() -> None:
    """64 random rotations and shifts: bit for bit, and within 2e-3 of 255 levels once
    XLA has contracted multiplications and additions of each program its own way."""
    pictures = images(64, 28, 28, 1)
    turn = warp.rotation(jnp.asarray(RNG.uniform(-180, 180, 64), jnp.float32))
    shift_px = RNG.uniform(-9, 9, (64, 2)).astype(np.float32)
    for compute, atol in ((warp.affine, 0), (affine, 2e-3)):
        of_bytes = compute(jnp.asarray(pictures), turn, shift_px)
        of_floats = compute(jnp.asarray(pictures, jnp.float32), turn, shift_px)
        np.testing.assert_allclose(of_bytes, of_floats, rtol=0, atol=atol)
        assert np.asarray(of_bytes).any()


def test_what_lies_outside_is_zero() -> None:
    """Three times smaller: only the middle third of the rows and columns shows
    anything, however far the lookup goes."""
    white = np.full((1, 9, 9, 1), 255, np.uint8)
    small = np.asarray(affine(white, 3 * np.eye(2, dtype=np.float32)[None], STILL))
    expected = np.zeros((1, 9, 9, 1))
    expected[:, 3:6, 3:6] = 255
    np.testing.assert_array_equal(small, expected)
    for far in (1e4, -1e6, 1e30):
        away = affine(white, np.eye(2, dtype=np.float32)[None], STILL + np.float32(far))
        assert not np.asarray(away).any()


def test_channels_and_images_do_not_mix() -> None:
    """Each channel of each image as if it were alone."""
    pictures = images(3, 6, 7, 4)
    inverse = RNG.normal(size=(3, 2, 2)).astype(np.float32)
    shift_px = RNG.normal(size=(3, 2)).astype(np.float32)
    together = np.asarray(affine(pictures, inverse, shift_px))
    for n in range(3):
        for c in range(4):
            alone = affine(
                pictures[n : n + 1, ..., c : c + 1], inverse[n : n + 1], shift_px[n : n + 1]
            )
            np.testing.assert_allclose(together[n, ..., c], alone[0, ..., 0], atol=2e-3)


def test_rotations_keep_lengths_and_compose() -> None:
    """The inverse map of a turn by a is the transposed one of a turn by -a."""
    angles = jnp.array([0.0, 30.0, -75.0, 200.0])
    turn = np.asarray(warp.rotation(angles), np.float64)
    radians = np.deg2rad(np.asarray(angles, np.float64))
    c, s = np.cos(radians), np.sin(radians)
    expected = np.stack([np.stack([c, s], -1), np.stack([-s, c], -1)], -2)
    np.testing.assert_allclose(turn, expected, atol=1e-6)


PICTURES = RNG.random((2, 5, 6, 2), np.float32)
ANGLE_DEG = np.array([17.0, -40.0], np.float32)
SHIFT_PX = np.array([[0.3, -0.6], [1.2, 0.1]], np.float32)


def away_from_grid() -> np.ndarray:
    """1 for output pixels whose source is 0.06 or more from any whole coordinate,
    where the bilinear mean is smooth: (2, 5, 6, 1)."""
    centre = np.array([2, 2.5])
    at = np.stack(np.mgrid[:5, :6], -1).reshape(-1, 2) - centre
    turn = np.asarray(warp.rotation(ANGLE_DEG), np.float64)
    source = np.einsum("bij,bnj->bni", turn, at[None] - SHIFT_PX[:, None]) + centre
    smooth = np.abs(source - np.round(source)).min(-1) > 0.06
    assert smooth.sum() > 25
    return smooth.reshape(2, 5, 6, 1).astype(np.float32)


def test_gradients_match_finite_differences() -> None:
    """For pixels, angle and shift, forwards and backwards; relative 5e-3."""
    signs = np.random.default_rng(1).normal(size=PICTURES.shape)
    weights = away_from_grid() * signs.astype(np.float32)

    @jax.jit
    def compute(pictures, angle_deg, shift_px):
        return warp.affine(pictures, warp.rotation(angle_deg), shift_px) * weights

    arguments = (PICTURES, ANGLE_DEG, SHIFT_PX)
    check_grads(compute, arguments, order=1, eps=1e-2, rtol=5e-3, atol=5e-3)
    grads = jax.grad(lambda *a: jnp.sum(compute(*a)), argnums=(0, 1, 2))(*arguments)
    assert all(np.abs(grad).max() > 1e-3 for grad in grads)


def test_gradients_of_the_inverse_map_match_finite_differences() -> None:
    weights = away_from_grid()
    turn = np.asarray(warp.rotation(ANGLE_DEG))
    compute = jax.jit(lambda inverse: warp.affine(PICTURES, inverse, SHIFT_PX) * weights)
    check_grads(compute, (turn,), order=1, eps=3e-3, rtol=5e-3, atol=5e-3)


def forward(inverse: np.ndarray) -> np.ndarray:
    return np.linalg.inv(np.asarray(inverse, np.float64))


def test_shear_moves_what_is_below_to_the_right() -> None:
    """Slope 1: every row by its distance below the centre; slope -1 to the left."""
    pictures = images(2, 5, 9, 1)
    inverse = warp.shear(jnp.array([1.0, -1.0]))
    got = np.asarray(affine(pictures, inverse, np.repeat(STILL, 2, 0)))
    for n, sign in enumerate((1, -1)):
        for row in range(5):
            expected = shifted(pictures[n, row][None], 0, sign * (row - 2))[0]
            np.testing.assert_array_equal(got[n, row], expected)


def test_scale_magnifies_height_and_width() -> None:
    """(2, 1) doubles the height: rows at half pixels, columns as they were."""
    column = np.array([0, 0, 100, 0, 0], np.uint8)
    picture = np.repeat(column[None, :, None, None], 3, 2)
    taller = affine(picture, warp.scale(jnp.array([[2.0, 1.0]])), STILL)
    expected = np.array([0, 50, 100, 50, 0])
    np.testing.assert_array_equal(taller[0, :, :, 0], np.repeat(expected[:, None], 3, 1))
    same = affine(picture, warp.scale(jnp.array([[1.0, 2.0]])), STILL)
    np.testing.assert_array_equal(same[0, :, 1, 0], column)


def test_a_composition_does_one_map_after_the_other() -> None:
    """Points of the plane go where the maps send them in turn; within 1e-4 px."""
    turn = warp.linear(warp.rotation(jnp.array([30.0, -100.0])))
    move = warp.translation(jnp.array([[3.0, -1.0], [0.5, 2.0]]))
    slant = warp.linear(warp.shear(jnp.array([0.4, -2.0])))
    grow = warp.linear(warp.scale(jnp.array([[0.7, 2.0], [3.0, 0.5]])))
    maps = [turn, move, slant, grow, move]
    whole = warp.compose(*maps)
    for n in range(2):
        point = np.array([2.0, -5.0])
        for one in maps:
            point = forward(one.inverse[n]) @ point + np.asarray(one.shift_px[n])
        at_once = forward(whole.inverse[n]) @ np.array([2.0, -5.0])
        np.testing.assert_allclose(at_once + whole.shift_px[n], point, atol=1e-4)
    for a, b in zip(warp.compose(turn), turn, strict=True):
        np.testing.assert_array_equal(a, b)


def test_gradients_pass_through_a_composition() -> None:
    def total(angle_deg, slope, factor, shift_px):
        whole = warp.compose(
            warp.linear(warp.rotation(angle_deg)),
            warp.translation(shift_px),
            warp.linear(warp.shear(slope)),
            warp.linear(warp.scale(factor)),
        )
        return jnp.sum(whole.inverse * 0.7) + jnp.sum(whole.shift_px**2)

    factor = np.array([[0.7, 1.3], [2.0, 1.1]], np.float32)
    slope = np.array([0.3, -0.8], np.float32)
    check_grads(total, (ANGLE_DEG, slope, factor, SHIFT_PX), order=1, rtol=2e-2)


def test_bytes_round_half_to_even_and_stay_within_a_byte() -> None:
    pixels = jnp.array([-3.0, 0.5, 1.5, 2.5, 2.6, 254.5, 255.5, 300.0])
    expected = np.array([0, 0, 2, 2, 3, 254, 255, 255], np.uint8)
    got = np.asarray(warp.bytes_of(pixels))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, expected)
    tied = jnp.array([0.5, 1.5, 2.5, 3.5])
    np.testing.assert_array_equal(warp.bytes_of(tied), [0, 2, 2, 4])
