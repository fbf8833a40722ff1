"""Curves count what the judge sees, and the search finds whatever breaks an image."""

import numpy as np
import pytest

from configs.errors import InputError
from train.probe import batches, spatial

RNG = np.random.default_rng(0)


def pictures(n: int, size: int = 12) -> np.ndarray:
    """Random blots, dark ones and bright ones."""
    coarse = RNG.integers(0, 256, (n, size // 3, size // 3, 1))
    coarse = coarse * RNG.random((n, 1, 1, 1))
    return np.repeat(np.repeat(coarse, 3, 1), 3, 2).astype(np.uint8)


class Linear:
    """A linear judge of dark, bright and the rest that counts the images it is shown.

    A warp changes some of its answers, since what leaves the image is dark.
    """

    def __init__(self, size: int = 12) -> None:
        noise = np.random.default_rng(1).normal(size=(size * size, 3))
        self.weights = 0.3 * noise + np.array([0, 1, 0.3])[None]
        self.bias = np.array([0, -70, -16])[None] * size * size
        self.seen = 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        assert images.dtype == np.uint8
        self.seen += len(images)
        logits = images.reshape(len(images), -1) @ self.weights + self.bias
        return logits.astype(np.float32)


def test_transforms_are_exact_bytes() -> None:
    """No transform, quarter turns and whole shifts, on images of odd and even size."""
    for size in (11, 12):
        images = RNG.integers(0, 256, (4, size, size, 2), dtype=np.uint8)
        under = lambda *t: spatial.transformed(images, np.tile(np.float32(t), (4, 1)))  # noqa: B023
        np.testing.assert_array_equal(under(0, 0, 0), images)
        for turns in (-2, -1, 1, 2, 3):
            expected = np.rot90(images, turns, (1, 2))
            np.testing.assert_array_equal(under(90 * turns, 0, 0), expected)
        moved = np.asarray(under(0, 2, -3))
        np.testing.assert_array_equal(moved[:, 2:, :-3], images[:, :-2, 3:])
        assert not moved[:, :2].any()
        assert not moved[:, :, -3:].any()


def test_curves_count_correct_images_by_angle_and_by_shift() -> None:
    """As counted by hand with rolls and quarter turns; x is right and y is down."""
    images = np.zeros((40, 12, 12, 1), np.uint8)
    images[:, 4:8, 4:8] = RNG.integers(0, 256, (40, 4, 4, 1))
    weights = RNG.normal(size=(12, 12, 3)).astype(np.float32)
    weights[4:8, 4:8] -= weights[4:8, 4:8].mean((0, 1), keepdims=True)
    judge = lambda shown: np.einsum("nijc,ijk->nk", shown.astype(np.float32), weights)
    labels = np.argmax(judge(images), -1)
    angles = spatial.rotation_curve(judge, images, labels, (-90, 0, 90, 180))
    turned = {-90: -1, 0: 0, 90: 1, 180: 2}
    for point in angles:
        rotated = np.rot90(images, turned[int(point.parameter)], (1, 2))
        assert point.correct == np.sum(np.argmax(judge(rotated), -1) == labels)
        assert point.n == 40
    shifts = spatial.translation_curve(judge, images, labels, (-2, 0, 3))
    for name, axis in (("x", 2), ("y", 1)):
        assert [p.parameter for p in shifts[name]] == [-2, 0, 3]
        for point in shifts[name]:
            rolled = np.roll(images, int(point.parameter), axis)
            assert point.correct == np.sum(np.argmax(judge(rolled), -1) == labels)
    assert shifts["x"] != shifts["y"]
    assert angles[1].correct == 40 != angles[2].correct


def test_default_curves_have_the_protocols_parameters() -> None:
    assert (*range(-180, 181, 15),) == spatial.ANGLES_DEG
    assert (*range(-6, 7),) == spatial.SHIFTS_PX


def test_the_grid_is_that_of_engstrom() -> None:
    """5 x 5 x 31 different transforms in steps of 1.5 px and 2 degrees."""
    grid = spatial.grid()
    assert grid.shape == (775, 3)
    assert len(np.unique(grid, axis=0)) == 775
    np.testing.assert_allclose(np.unique(grid[:, 0]), np.arange(-30, 31, 2), atol=1e-5)
    for column in (1, 2):
        np.testing.assert_array_equal(np.unique(grid[:, column]), [-3, -1.5, 0, 1.5, 3])
    assert not grid[-1].any()
    assert spatial.grid(1, 3).tolist() == [[-30, 0, 0], [30, 0, 0], [0, 0, 0]]


def by_brute_force(judge, images, labels, transforms) -> np.ndarray:
    """broken (N, T): every transform of every image."""
    return np.stack(
        [
            np.argmax(judge(spatial.transformed(images, np.tile(t, (len(images), 1)))), -1)
            != labels
            for t in transforms
        ],
        axis=1,
    )


@pytest.fixture(scope="module")
def case():
    judge, images = Linear(), pictures(60)
    logits = judge(images)
    labels = np.argmax(logits, -1)
    labels[:3] = (labels[:3] + 1) % 3
    grid = spatial.grid(3, 7)
    return judge, images, labels, grid, by_brute_force(judge, images, labels, grid)


def test_search_finds_what_brute_force_finds(case) -> None:
    """Broken images, their first breaking transform and the image it makes."""
    judge, images, labels, grid, broken = case
    assert 10 < broken.any(-1).sum() < 50
    found = spatial.search(judge, images, labels, grid)
    np.testing.assert_array_equal(found.broken, broken.any(-1))
    assert found.correct == np.sum(~broken.any(-1))
    for n in np.flatnonzero(found.broken):
        first = grid[np.argmax(broken[n])]
        np.testing.assert_array_equal(found.transforms[n], first)
        expected = spatial.transformed(images[n : n + 1], first[None])
        np.testing.assert_array_equal(found.images[n : n + 1], expected)
    worst = np.argmax(judge(found.images), -1)
    assert np.all((worst != labels) == found.broken)


def test_which_images_break_does_not_depend_on_the_order(case) -> None:
    judge, images, labels, grid, broken = case
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(grid))
        found = spatial.search(judge, images, labels, grid[order])
        np.testing.assert_array_equal(found.broken, broken.any(-1))
    np.testing.assert_array_equal(
        spatial.search(judge, images, labels, grid[::-1]).broken, broken.any(-1)
    )


def test_broken_images_cost_nothing_more(case, monkeypatch) -> None:
    """Every round shows the judge the survivors alone, and `tried` counts that."""
    judge, images, labels, grid, broken = case
    monkeypatch.setattr(spatial, "capacity", lambda: 60)
    rounds = []
    judge.seen = 0
    found = spatial.search(
        judge, images, labels, grid, say=lambda done, left: rounds.append((done, left))
    )
    assert judge.seen == found.tried.sum()
    first = np.where(broken.any(-1), np.argmax(broken, -1) + 1, len(grid))
    assert np.all(found.tried >= first)
    assert found.tried.sum() < broken.size
    for n in np.flatnonzero(found.broken):
        # The round that broke an image is the last that it is in.
        assert found.tried[n] == min(done for done, _ in rounds if done >= first[n])
    assert rounds[-1] == (len(grid), found.correct)
    judge.seen = 0
    again = spatial.search(judge, images, labels, grid, before=found)
    assert judge.seen == np.sum(~found.broken) * len(grid)
    np.testing.assert_array_equal(again.broken, found.broken)


def test_an_image_that_breaks_under_one_transform_only_is_found() -> None:
    """A judge that knows one single image of the grid."""
    images = pictures(5)
    grid = spatial.grid(3, 5)
    bad = spatial.transformed(images[2:3], grid[17:18])[0]

    def judge(shown):
        hit = np.all(shown == bad[None], axis=(1, 2, 3))
        return np.stack([np.zeros(len(shown)), hit - 0.5], -1).astype(np.float32)

    found = spatial.search(judge, images, np.zeros(5, np.int32), grid)
    np.testing.assert_array_equal(found.broken, [False, False, True, False, False])
    np.testing.assert_array_equal(found.transforms[2], grid[17])
    np.testing.assert_array_equal(found.images[2], bad)
    np.testing.assert_array_equal(found.images[3], images[3])
    assert not found.transforms[3].any()


def test_the_four_numbers_follow_from_each_other(case) -> None:
    """natural is the judge's accuracy; random-1 is among the ten; the grid has all."""
    judge, images, labels, grid, broken = case
    result = spatial.evaluate(judge, images, labels, seed=3, transforms=grid)
    natural = np.argmax(judge(images), -1) == labels
    assert result.natural == natural.sum() == 57
    assert result.grid == np.sum(~broken.any(-1)) <= result.natural
    ten = spatial.drawn(np.arange(60), seed=3)
    each = [
        np.argmax(judge(spatial.transformed(images, ten[:, k])), -1) != labels
        for k in range(10)
    ]
    assert result.random == np.sum(~each[0])
    assert result.worst_of_10 == np.sum(~np.any(each, 0)) < result.random


def test_random_transforms_belong_to_image_and_seed() -> None:
    """Whatever the others are; uniform within the limits on every axis."""
    ten = spatial.drawn(np.arange(300), seed=1)
    assert ten.shape == (300, 10, 3)
    np.testing.assert_array_equal(spatial.drawn(np.array([7, 299]), seed=1), ten[[7, 299]])
    assert not np.any(spatial.drawn(np.arange(300), seed=2) == ten)
    limits = np.array([30, 3, 3])
    assert np.all(np.abs(ten) <= limits)
    for q in (0.1, 0.5, 0.9):
        found = np.quantile(ten.reshape(-1, 3), q, axis=0) / limits
        np.testing.assert_allclose(found, 2 * q - 1, atol=0.06)


def test_transforms_of_another_width_are_refused() -> None:
    with pytest.raises(InputError, match=r"`transforms` \(shape \(4, 2\)\) must end in 3"):
        spatial.search(Linear(), pictures(1), np.zeros(1, int), np.zeros((4, 2)))


def test_more_images_than_one_call_takes() -> None:
    """Rows keep their order over calls and devices, and none are added or lost."""
    n = batches.capacity() + 5
    images = np.arange(n, dtype=np.uint16).view(np.uint8).reshape(n, 1, 2, 1)
    same = np.zeros((n, 3), np.float32)
    np.testing.assert_array_equal(spatial.transformed(images, same), images)
    assert spatial.transformed(images[:0], same[:0]).shape == (0, 1, 2, 1)
