"""Each corruption against the reference's own loops, written slowly in float64."""

import math

import jax
import numpy as np
import pytest
from scipy import ndimage, stats

from configs.errors import InputError
from train.probe import corrupt_blur, corrupt_edges, corrupt_weather, corruptions
from train.probe.corruptions import NAMES, TABLE, corrupt

RNG = np.random.default_rng(0)


def drawing(n: int, size: int = 28) -> np.ndarray:
    """Soft strokes on black, of full range: (n, size, size, 1)."""
    at = np.stack(np.mgrid[:size, :size], -1) / size
    out = []
    for _ in range(n):
        ends = RNG.uniform(0.2, 0.8, (3, 2, 2))
        distance = [
            np.linalg.norm(at - a - np.clip(((at - a) @ (b - a)) / ((b - a) @ (b - a)), 0, 1)[..., None] * (b - a), axis=-1)  # noqa: E501
            for a, b in ends
        ]  # fmt: skip
        out.append(np.clip(2 - np.min(distance, 0) * 28, 0, 1))
    return np.round(255 * np.stack(out)[..., None]).astype(np.uint8)


IMAGES = drawing(8)
plasma = jax.jit(corrupt_weather.plasma_fractal, static_argnums=(1, 2))
WHITE, BLACK = (
    np.full((400, 28, 28, 1), 255, np.uint8),
    np.zeros((400, 28, 28, 1), np.uint8),
)


def keys_of(name: str, n: int, seed: int):
    """The keys that `corrupt` hands to a corruption."""
    number = NAMES.index(name)
    base = jax.random.fold_in(jax.random.key(seed), number)
    return [jax.random.fold_in(base, index) for index in range(n)]


def to_bytes(x: np.ndarray) -> np.ndarray:
    return np.round(np.clip(x, 0, 1) * 255).astype(int)


def assert_close(got: np.ndarray, expected: np.ndarray, off_by_one: float = 0.01) -> None:
    """Equal, but for pixels on the edge between two bytes."""
    difference = np.abs(got.astype(int) - expected)
    assert difference.max() <= 1
    assert np.mean(difference > 0) <= off_by_one


def test_there_are_the_fifteen() -> None:
    expected = (
        "shot_noise impulse_noise glass_blur motion_blur shear scale rotate brightness "
        "translate stripe fog spatter dotted_line zigzag canny_edges"
    )
    assert tuple(expected.split()) == NAMES
    for entry in TABLE.values():
        assert all(p.unit for p in entry.parameters.values())


@pytest.mark.parametrize("name", NAMES)
def test_an_image_gets_what_its_number_and_the_seed_say(name) -> None:
    """Whoever it stands beside; other seeds and numbers change random corruptions."""
    whole = corrupt(name, IMAGES, seed=1)
    assert whole.dtype == np.uint8
    assert whole.shape == IMAGES.shape
    assert np.any(whole != IMAGES)
    part = corrupt(name, IMAGES[[5, 2]], seed=1, indices=np.array([5, 2]))
    np.testing.assert_array_equal(part, whole[[5, 2]])
    same = np.repeat(IMAGES[:1], 8, 0)
    spread = corrupt(name, same, seed=1)
    random = name not in ("scale", "brightness", "stripe", "canny_edges")
    assert np.any(spread != spread[:1]) == random
    assert np.any(corrupt(name, same, seed=2) != spread) == random


def test_shot_noise_is_poisson() -> None:
    """Frequencies of 0, 1/3, 2/3 and 1 at three gray levels; 5 standard deviations."""
    for level in (0, 40, 128, 255):
        got = corrupt("shot_noise", np.full_like(WHITE, level), seed=0).ravel()
        rate = 3 * level / 255
        chances = [stats.poisson.pmf(k, rate) for k in range(3)]
        for value, chance in zip(
            (0, 85, 170, 255), [*chances, 1 - sum(chances)], strict=True
        ):
            deviation = math.sqrt(chance * (1 - chance) / got.size)
            assert abs(np.mean(got == value) - chance) <= 5 * deviation + 1e-9


def test_impulse_noise_is_salt_and_pepper_on_a_share() -> None:
    gray = np.full_like(WHITE, 100)
    got = corrupt("impulse_noise", gray, seed=0).ravel()
    deviation = math.sqrt(0.17 * 0.83 / got.size)
    assert abs(np.mean(got != 100) - 0.17) < 5 * deviation
    for value in (0, 255):
        assert abs(np.mean(got == value) - 0.085) < 5 * deviation
    assert set(np.unique(got)) == {0, 100, 255}


@pytest.mark.parametrize("sigma", [0.7, 1.0, 1.5])
def test_gaussian_is_scipys(sigma) -> None:
    """Both ways outside the image, and along one axis only; within 1e-5."""
    x = RNG.random((3, 17, 9, 2), np.float32)
    for outside, mode in (("edge", "nearest"), ("constant", "constant")):
        got = corrupt_blur.gaussian(x, sigma, outside=outside)
        expected = ndimage.gaussian_filter(x, (0, sigma, sigma, 0), mode=mode)
        np.testing.assert_allclose(got, expected, atol=1e-5)
    got = corrupt_blur.gaussian(x, sigma, axes=(1,))
    expected = ndimage.gaussian_filter(x, (0, sigma, 0, 0), mode="nearest")
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_glass_blur_swaps_pixel_by_pixel() -> None:
    """The reference's loops with the same draws, on an image that is not square."""
    images = drawing(3)[:, :, 3:23]
    got = corrupt("glass_blur", images, seed=4)
    steps = 2 * 26 * 18
    for image, key, found in zip(images, keys_of("glass_blur", 3, 4), got, strict=True):
        draws = iter(np.asarray(jax.random.randint(key, (steps,), -4, 4)))
        vertical = lambda x: ndimage.gaussian_filter(x, (0.7, 0), mode="nearest")
        x = np.floor(vertical(image[..., 0] / 255) * 255 + 1e-3).astype(np.uint8)
        for _ in range(2):
            for h in range(28 - 1, 1, -1):
                for w in range(20 - 1, 1, -1):
                    draw = next(draws)
                    if draw >= 0:
                        other = h + draw // 2 - 1, w + draw % 2 - 1
                        x[h, w], x[other] = x[other], x[h, w]
        assert_close(found[..., 0], to_bytes(vertical(x / 255)))


def test_motion_blur_lays_half_a_gaussian_along_an_angle() -> None:
    """The loops of ImageMagick; angles spread over +-45 degrees."""
    got = corrupt("motion_blur", IMAGES, seed=0)
    angles = []
    for image, key, found in zip(IMAGES, keys_of("motion_blur", 8, 0), got, strict=True):
        angle = float(jax.random.uniform(key, (), minval=-1, maxval=1)) * math.pi / 4
        weights = [math.exp(-w * w / 18) for w in range(21)]
        total = np.zeros((28, 28))
        for w, weight in enumerate(weights):
            down = math.ceil(w * math.sin(angle) - 0.5)
            right = math.ceil(w * math.cos(angle) - 0.5)
            rows = np.clip(np.arange(28) + down, 0, 27)
            columns = np.clip(np.arange(28) + right, 0, 27)
            total += weight / sum(weights) * image[..., 0][np.ix_(rows, columns)] / 255
        assert_close(found[..., 0], to_bytes(total))
        angles.append(angle)
    assert min(angles) < -0.2 < 0.2 < max(angles)


def bilinear(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """What scikit-image's warp gives for x_in = matrix @ x_out about (13.5, 13.5)."""
    y, x = np.mgrid[:28, :28] - 13.5
    at = matrix @ np.stack([x.ravel(), y.ravel()]) + 13.5
    padded = np.pad(image[..., 0] / 255, 1)
    out = ndimage.map_coordinates(padded, [at[1] + 1, at[0] + 1], order=1, mode="constant")
    return to_bytes(out.reshape(28, 28))


def matrices() -> dict[str, list[np.ndarray]]:
    """Maps (x, y)_out -> (x, y)_in of the reference, one for each sign."""
    turn = lambda a: np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    slant = lambda a: np.array([[1, -np.sin(a)], [0, np.cos(a)]])
    return {
        "rotate": [turn(0.4), turn(-0.4)],
        "shear": [slant(0.4), slant(-0.4)],
        "scale": [np.eye(2) / 0.7],
    }


@pytest.mark.parametrize("name", ["rotate", "shear", "scale"])
def test_warps_are_those_of_the_reference_in_either_direction(name) -> None:
    images = np.concatenate([IMAGES, drawing(8)])
    used = []
    for image, got in zip(images, corrupt(name, images, seed=0), strict=True):
        expected = [bilinear(image, matrix) for matrix in matrices()[name]]
        errors = [np.abs(got[..., 0].astype(int) - each).max() for each in expected]
        used.append(int(np.argmin(errors)))
        assert_close(got[..., 0], expected[used[-1]])
    assert set(used) == set(range(len(matrices()[name])))


def test_translate_moves_three_pixels_on_both_axes() -> None:
    images = RNG.integers(0, 256, (40, 28, 28, 1), dtype=np.uint8)
    used = set()
    for image, got in zip(images, corrupt("translate", images, seed=0), strict=True):
        for down in (-3, 3):
            for right in (-3, 3):
                inside = np.pad(image, ((3, 3), (3, 3), (0, 0)))
                moved = inside[3 - down : 31 - down, 3 - right : 31 - right]
                if np.array_equal(got, moved):
                    used.add((down, right))
    assert len(used) == 4
    assert np.all(np.any(corrupt("translate", images, seed=0) != images, axis=(1, 2, 3)))


def test_brightness_and_stripe_change_gray_levels() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    got = corrupt("brightness", levels, seed=0).ravel().astype(float)
    # Every sum lies half-way between two bytes.
    exact = np.minimum(np.arange(256) + 127.5, 255)
    assert np.abs(got - exact).max() <= 0.5
    expected = IMAGES.copy()
    expected[:, :, :7] = 255 - expected[:, :, :7]
    expected[:, :, 21:] = 255 - expected[:, :, 21:]
    np.testing.assert_array_equal(corrupt("stripe", IMAGES, seed=0), expected)


def slow_plasma(numbers: np.ndarray, decay: float, size: int) -> np.ndarray:
    """Diamond-square point by point; indices run around a torus."""
    heights, step, wobble = np.zeros((size, size)), size, 100.0
    while step >= 2:
        n, half = size // step, step // 2
        draws = numbers[n * n - 1 : 4 * n * n - 1].reshape(3, n, n) * wobble**2
        at = lambda i, j: heights[i % size, j % size]
        grid = [(i, j) for i in range(n) for j in range(n)]
        for i, j in grid:
            y, x = i * step, j * step
            corners = at(y, x) + at(y + step, x) + at(y, x + step) + at(y + step, x + step)
            heights[y + half, x + half] = corners / 4 + draws[0, i, j]
        for i, j in grid:
            y, x = i * step, j * step
            top = (
                at(y, x) + at(y, x + step) + at(y + half, x + half) + at(y - half, x + half)
            )
            heights[y, x + half] = top / 4 + draws[1, i, j]
            left = (
                at(y, x) + at(y + step, x) + at(y + half, x + half) + at(y + half, x - half)
            )
            heights[y + half, x] = left / 4 + draws[2, i, j]
        step //= 2
        wobble /= decay
    heights -= heights.min()
    return heights / heights.max()


def test_plasma_is_diamond_square() -> None:
    key = jax.random.key(3)
    numbers = np.asarray(jax.random.uniform(key, (15 * 17,), minval=-1, maxval=1))
    got = plasma(key, 1.4, 16)
    np.testing.assert_allclose(got, slow_plasma(numbers, 1.4, 16), atol=1e-5)
    assert np.min(got) == 0
    assert np.max(got) == 1


def test_fog_adds_the_corner_of_a_large_map() -> None:
    got = corrupt("fog", IMAGES[:2] // 2, seed=0)
    for image, key, found in zip(IMAGES[:2] // 2, keys_of("fog", 2, 0), got, strict=True):
        mist = np.asarray(plasma(key, 1.4, 256))[:28, :28, None]
        x = image / 255
        assert_close(found, to_bytes((x + 3 * mist) * x.max() / (x.max() + 3)))


def test_spatter_covers_with_gray_mud() -> None:
    got = corrupt("spatter", IMAGES, seed=0)
    covered = []
    for image, key, found in zip(IMAGES, keys_of("spatter", 8, 0), got, strict=True):
        noise = 0.65 + 0.3 * np.asarray(jax.random.normal(key, (28, 28, 1)), np.float64)
        liquid = ndimage.gaussian_filter(noise[..., 0], 1, mode="nearest")
        mask = ndimage.gaussian_filter((liquid > 0.65) * 1.0, 1.5, mode="nearest")
        mask[mask < 0.8] = 0
        x = image[..., 0] / 255 * (1 - mask) + 63 / 255 * mask
        assert_close(found[..., 0], to_bytes(x))
        covered.append(np.mean(mask > 0))
    assert 0.05 < np.mean(covered) < 0.5


def slow_line(size, c0: float, r0: float, c1: float, r1: float) -> np.ndarray:
    height, width = size
    line = np.zeros((height, width))
    for column in range(math.floor(c0), min(width, math.ceil(c1))):
        for row in range(height):
            distance = abs(row - ((r1 - r0) / (c1 - c0) * (column - c0) + r0))
            if distance < 2.3:
                line[row, column] = np.clip(math.log(1 - distance / 2.3) + 1, 0, 1)
    return line


@pytest.mark.parametrize("size", [(28, 28), (20, 25)])
def test_dotted_lines_are_the_references(size) -> None:
    black = BLACK[:20, : size[0], : size[1]]
    seen = set()
    for key, got in zip(
        keys_of("dotted_line", 20, 0), corrupt("dotted_line", black, seed=0), strict=True
    ):
        rows = np.asarray(jax.random.randint(key, (2,), 0, size[0] - 1))
        seen |= set(rows.tolist())
        line = slow_line(size, 0, rows[0], size[1] - 1, rows[1])
        line[:, 0::4] = line[:, 1::4] = 0
        assert_close(got[..., 0], to_bytes(line))
    assert len(seen) > 10


def slow_zigzag(size, r0: int, r1: int) -> np.ndarray:
    """The reference with its constants, end point included."""
    c0, c1, a, b = 2, size[1] - 3, 2.0, 2.0
    theta = math.atan((r1 - r0) / (c1 - c0))
    d = (c1 - c0) / math.cos(theta)
    points = [(0.0, 0.0)]
    for i in range(int((d - a) // (2 * a)) + 1):
        points.append(((2 * i + 1) * a, (-1) ** i * b))
    last = 2 * a * (d // (2 * a))
    if d != last:
        points.append((d, points[-1][1] / (2 * (d - last))))
    turn = np.array(
        [[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]]
    )
    columns, rows = turn @ np.array(points).T + np.array([[c0], [r0]])
    x = np.zeros(size)
    for i in range(1, len(points)):
        x += slow_line(size, columns[i - 1], rows[i - 1], columns[i], rows[i])
        x = np.clip(x, 0, 1)
    return x


@pytest.mark.parametrize("size", [(28, 28), (20, 33)])
def test_zigzags_are_the_references(size) -> None:
    """Also at a width where a level zigzag ends on a corner (28 columns between)."""
    black, rises = BLACK[:24, : size[0]], set()
    black = np.zeros((24, *size, 1), np.uint8)
    for key, got in zip(
        keys_of("zigzag", 24, 0), corrupt("zigzag", black, seed=0), strict=True
    ):
        first, second = jax.random.split(key)
        row = int(jax.random.randint(first, (), 0, size[0] - 1))
        rise = int(jax.random.randint(second, (), -5, 5))
        rises.add(rise)
        expected = to_bytes(slow_zigzag(size, row, row + rise))
        # A corner within rounding of a column may start one column later: never seen.
        assert_close(got[..., 0], expected)
    assert {0, -5} <= rises
    assert len(rises) > 6


def slow_canny(x: np.ndarray) -> np.ndarray:
    """scikit-image's `feature.canny` at its defaults, pixel by pixel."""
    smooth = lambda x: ndimage.gaussian_filter(x, 1, mode="constant")
    smoothed = smooth(x) / smooth(np.ones_like(x))
    i, j = ndimage.sobel(smoothed, axis=0), ndimage.sobel(smoothed, axis=1)
    slope, ridge = np.hypot(i, j), np.zeros(x.shape, bool)
    for y in range(1, x.shape[0] - 1):
        for z in range(1, x.shape[1] - 1):
            if slope[y, z] < 0.1:
                continue
            # One step along the gradient until it meets the square of neighbours.
            di, dj = np.array([i[y, z], j[y, z]]) / max(abs(i[y, z]), abs(j[y, z]))
            at = np.array([[y, y], [z, z]]) + np.array([[di, -di], [dj, -dj]])
            beside = ndimage.map_coordinates(slope, at, order=1)
            ridge[y, z] = beside.max() <= slope[y, z] + 1e-12
    labels, count = ndimage.label(ridge, np.ones((3, 3)))
    strong = set(labels[ridge & (slope >= 0.2)])
    return np.isin(labels, [n for n in range(1, count + 1) if n in strong])


def test_canny_is_scikit_images() -> None:
    """Strokes, faint strokes (hysteresis matters) and noise; no pixel differs.

    `corrupt` itself was compared with scikit-image 0.26.0 on 2,200 images: no difference.
    """
    faint = np.round(drawing(12) * np.linspace(0.03, 0.2, 12)[:, None, None, None])
    noise = RNG.integers(0, 60, (6, 28, 28, 1))
    images = np.concatenate([IMAGES, faint, noise]).astype(np.uint8)
    got = corrupt("canny_edges", images, seed=0)[..., 0]
    expected = np.stack([slow_canny(image[..., 0] / 255) for image in images])
    np.testing.assert_array_equal(got, 255 * expected)
    shares = expected.mean((1, 2))
    assert shares[:8].min() > 0.05
    assert shares.min() == 0


def test_edges_grow_along_ridges_in_eight_directions() -> None:
    """As scipy's labels with corners; a snake as long as the image allows."""
    ridge = RNG.random((30, 15, 17)) < 0.4
    snake = np.zeros((15, 17), bool)
    snake[::2] = True
    snake[1::4, -1] = snake[3::4, 0] = True
    ridge[0] = snake
    strong = ridge & (RNG.random(ridge.shape) < 0.05)
    strong[0] = False
    strong[0, 0, 0] = True
    got = np.asarray(corrupt_edges.connected(strong, ridge))
    for each, start, found in zip(ridge, strong, got, strict=True):
        labels, _ = ndimage.label(each, np.ones((3, 3)))
        np.testing.assert_array_equal(found, each & np.isin(labels, labels[start]))
    np.testing.assert_array_equal(got[0], snake)


def test_colours_and_other_sizes_where_they_have_a_meaning() -> None:
    """Each of three equal channels gets the same where the picture moves as a whole."""
    images = np.repeat(drawing(2, 32)[:, :, :20], 3, 3)
    for name in ("brightness", "spatter", "canny_edges"):
        with pytest.raises(InputError, match=f"`{name}` is defined for gray images, not"):
            corrupt(name, images, seed=0)
    for name in ("glass_blur", "motion_blur", "shear", "stripe", "dotted_line"):
        got = corrupt(name, images, seed=0)
        assert got.shape == images.shape
        np.testing.assert_array_equal(got[..., 0], got[..., 2])
    assert {name for name in NAMES if TABLE[name].gray} == {
        "brightness",
        "spatter",
        "canny_edges",
    }


@pytest.mark.parametrize(
    ("name", "images", "message"),
    [
        ("frost", IMAGES, r"`name` \(='frost'\) is no corruption; use one of shot_noise"),
        ("shear", IMAGES / 255, r"`images` \(float64, shape .*\) must be uint8 \(N, H, W"),
        ("shear", IMAGES[..., 0], r"`images` \(uint8, shape \(8, 28, 28\)\) must be uint8"),
        ("zigzag", IMAGES[:, :7], "`zigzag` takes images of 8 to"),
        (
            "fog",
            np.zeros((1, 257, 9, 1), np.uint8),
            "`fog` takes images of 1 to 256 pixels",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(name, images, message) -> None:
    with pytest.raises(InputError, match=message):
        corrupt(name, images, seed=0)


def test_no_images_give_no_images() -> None:
    assert corrupt("shear", IMAGES[:0], seed=0).shape == (0, 28, 28, 1)
    assert corruptions.SOURCE
