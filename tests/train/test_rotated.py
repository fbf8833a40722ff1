"""Rotated data: the angles, the warp, and that every byte is the same everywhere."""

import hashlib

import jax
import numpy as np
import pytest

from configs.errors import InputError
from configs.schema import Data
from train import data, rotated, warp

RNG = np.random.default_rng(0)


def images(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def test_angles_fill_the_circle_evenly_and_begin_alike() -> None:
    found = rotated.angles(8_000, seed=3)
    assert found.min() >= 0
    assert found.max() < 360
    counts, _ = np.histogram(found, 8, (0, 360))
    assert np.all(np.abs(counts - 1_000) < 150), "5 standard deviations"
    np.testing.assert_array_equal(found[:10], rotated.angles(10, seed=3))
    assert not np.intersect1d(found, rotated.angles(8_000, seed=4)).size


@pytest.mark.parametrize("shape", [(28, 28, 1), (7, 5, 3)])
def test_every_pixel_is_that_of_the_affine_warp(shape) -> None:
    """Within half a level for places rounded to 1/256 pixel, and half for whole levels."""
    pixels, degrees = images(40, *shape), rotated.angles(40, seed=0)
    shift = np.zeros((40, 2), np.float32)
    inverse = warp.rotation(degrees.astype(np.float32))
    wanted = np.asarray(jax.jit(warp.affine)(pixels, inverse, shift))
    got = rotated.rotate(pixels, degrees)
    assert got.dtype == np.uint8
    assert np.abs(got - wanted).max() < 1.6
    assert np.abs(got - wanted).mean() < 0.35
    backwards = rotated.rotate(pixels, -degrees)
    assert np.abs(backwards - wanted).mean() > 10, "the sign of the angle is seen"


@pytest.mark.parametrize("quarters", range(5))
def test_quarter_turns_are_exact(quarters: int) -> None:
    pixels = images(3, 9, 9, 2)
    turned = rotated.rotate(pixels, np.full(3, 90.0 * quarters))
    np.testing.assert_array_equal(turned, np.rot90(pixels, quarters, (1, 2)))


def test_outside_is_black_and_the_brightest_stays() -> None:
    pixels = np.full((1, 20, 20, 1), 255, np.uint8)
    [turned] = rotated.rotate(pixels, np.array([45.0]))
    assert turned[0, 0, 0] == turned[0, 19, 0] == turned[19, 0, 0] == 0
    assert turned[6:14, 6:14].min() == 255


def test_the_bytes_are_the_same_on_every_machine() -> None:
    """A run is known by the SHA-256 of its data, so these may never change."""
    ramp = np.arange(1_500 * 25, dtype=np.int64) * 7 % 256
    pixels = ramp.astype(np.uint8).reshape(1_500, 5, 5, 1)
    turned = rotated.rotated(pixels, seed=rotated.SEEDS["test"])
    digest = hashlib.sha256(turned.tobytes()).hexdigest()
    assert digest == "c5dc176ce87a02024e63d75febb8e97518b4f2e4a0feaac6cc7cfebb9f583737"
    # More than one chunk; each image has the angle of its own row.
    degrees = rotated.angles(1_500, seed=rotated.SEEDS["test"])
    one = rotated.rotate(pixels[1_234:1_235], degrees[1_234:1_235])
    np.testing.assert_array_equal(turned[1_234:1_235], one)


def test_a_data_set_is_turned_after_it_is_drawn() -> None:
    """Same images and labels; each split has angles of its own; name and hash say so."""
    plain = data.load(Data(source="embedded", limit=50, validation=20))
    turned = data.load(Data(source="embedded", limit=50, validation=20, rotated=True))
    assert (plain.name, turned.name) == ("mnist", "mnist_rotated")
    assert plain.sha256 != turned.sha256
    assert (
        turned.sha256
        == data.load(Data(source="embedded", limit=50, validation=20, rotated=True)).sha256
    )
    for kind, seed in rotated.SEEDS.items():
        before, after = getattr(plain, kind), getattr(turned, kind)
        np.testing.assert_array_equal(before.labels, after.labels)
        degrees = rotated.angles(len(before), seed=seed)
        np.testing.assert_array_equal(after.images, rotated.rotate(before.images, degrees))
    assert len(set(rotated.SEEDS.values())) == 3


def test_functions_cannot_be_turned() -> None:
    with pytest.raises(InputError, match=r"`--data.rotated` \(=True\) turns images"):
        data.load(Data(name="sine", rotated=True))
