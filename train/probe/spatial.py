"""Rotations and shifts: accuracy by angle, by shift, and under the worst of a grid.

The grid is that of Engstrom et al. 2019 (arXiv:1712.02779, section 4): 5 shifts down and
5 across within 3 pixels, 31 angles within 30 degrees, 775 transforms of every image. A
transform is (degrees counter-clockwise, pixels down, pixels right), as `train.warp` says.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from configs.errors import InputError
from train import warp
from train.probe.batches import capacity, over_devices

Judge = Callable[[np.ndarray], np.ndarray]

ANGLES_DEG = tuple(range(-180, 181, 15))
SHIFTS_PX = tuple(range(-6, 7))
# The largest angle and shift of the grid, and how many random transforms are tried.
LIMIT_DEG, LIMIT_PX = 30.0, 3.0
TRIES = 10


@dataclass(frozen=True, kw_only=True)
class Point:
    """Accuracy at one parameter: `correct` of `n` images."""

    parameter: float
    correct: int
    n: int


@dataclass(frozen=True, kw_only=True)
class Worst:
    """Which images some transform breaks, and by what.

    `transforms` (N, 3) and `images` hold for every broken image the first breaking
    transform in the order of search and the image it makes; elsewhere they hold no
    transform, 0, and the image itself. `tried` (N,) counts the transforms an image cost.
    """

    broken: np.ndarray
    transforms: np.ndarray
    images: np.ndarray
    tried: np.ndarray

    @property
    def correct(self) -> int:
        return int(np.sum(~self.broken))


@dataclass(frozen=True, kw_only=True)
class Spatial:
    """The four numbers of Engstrom et al., table 1: correct images out of `n`."""

    n: int
    natural: int
    random: int
    worst_of_10: int
    grid: int
    # The search of the grid, whose images are worth keeping.
    worst: Worst


def rotation_curve(
    judge: Judge,
    images: np.ndarray,
    labels: np.ndarray,
    angles_deg: Sequence[float] = ANGLES_DEG,
) -> list[Point]:
    """Accuracy of uint8 images (N, H, W, C) turned by each angle."""
    transforms = [(angle, 0, 0) for angle in angles_deg]
    return _curve(judge, images, labels, angles_deg, transforms)


def translation_curve(
    judge: Judge,
    images: np.ndarray,
    labels: np.ndarray,
    shifts_px: Sequence[float] = SHIFTS_PX,
) -> dict[str, list[Point]]:
    """Accuracy by shift: "x" of images moved right, "y" of images moved down."""
    across = [(0, 0, shift) for shift in shifts_px]
    down = [(0, shift, 0) for shift in shifts_px]
    return {
        "x": _curve(judge, images, labels, shifts_px, across),
        "y": _curve(judge, images, labels, shifts_px, down),
    }


def grid(shifts: int = 5, angles: int = 31) -> np.ndarray:
    """The 775 transforms, float32 (775, 3), in the order of search.

    `shifts` on each axis and `angles`, evenly from limit to limit; one is none.

    What moves a picture furthest breaks it soonest: large shifts first, among equals
    large angles; the identity is last.
    """
    turns, moves = _evenly(LIMIT_DEG, angles), _evenly(LIMIT_PX, shifts)
    every = np.array(list(itertools.product(turns, moves, moves)), np.float32)
    far = np.abs(every) / np.array([LIMIT_DEG, LIMIT_PX, LIMIT_PX], np.float32)[None]
    return every[np.lexsort((-far[:, 0], -far[:, 1:].sum(-1)))]


def _evenly(limit: float, points: int) -> np.ndarray:
    return np.linspace(-limit, limit, points) if points > 1 else np.zeros(1)


def drawn(indices: np.ndarray, *, seed: int, tries: int = TRIES) -> np.ndarray:
    """Random transforms (N, tries, 3), uniform within the limits of the grid.

    Each image has its own, which depend on its index and the seed alone.
    """
    base = jax.random.key(seed)
    one = lambda index: jax.random.uniform(
        jax.random.fold_in(base, index), (tries, 3), jnp.float32, -1.0, 1.0
    )
    largest = np.array([LIMIT_DEG, LIMIT_PX, LIMIT_PX], np.float32)
    unit = jax.jit(jax.vmap(one))(np.asarray(indices, np.uint32))
    return np.asarray(unit) * largest[None, None]


def evaluate(
    judge: Judge,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    seed: int,
    indices: np.ndarray | None = None,
    transforms: np.ndarray | None = None,
    say: Callable[[int, int], None] = lambda done, images: None,
) -> Spatial:
    """Natural, random, worst of 10 and worst of `transforms`, all 775 by default.

    `indices` (N,) number the images in their data set, 0 to N - 1 by default; the random
    transforms depend on them. The random transform is the first of the ten.
    """
    indices = np.arange(len(images)) if indices is None else indices
    ten = drawn(indices, seed=seed)
    natural = search(judge, images, labels, np.zeros((1, 3), np.float32))
    random = search(judge, images, labels, ten[:, :1])
    # The first of the ten has been tried already.
    worst_of_10 = search(judge, images, labels, ten[:, 1:], before=random)
    # An image that is wrong as it is costs the grid nothing.
    every = grid() if transforms is None else transforms
    worst = search(judge, images, labels, every, before=natural, say=say)
    return Spatial(
        n=len(images),
        natural=natural.correct,
        random=random.correct,
        worst_of_10=worst_of_10.correct,
        grid=worst.correct,
        worst=worst,
    )


def search(
    judge: Judge,
    images: np.ndarray,
    labels: np.ndarray,
    transforms: np.ndarray,
    *,
    before: Worst | None = None,
    say: Callable[[int, int], None] = lambda done, images: None,
) -> Worst:
    """Tries transforms (T, 3), or (N, T, 3) of each image's own, until one breaks.

    Only images that nothing broke yet are warped again; `before` names those that are
    broken from the start. Which images break does not depend on the order.
    `say(tried, survivors)` is told after every round.
    """
    transforms = np.broadcast_to(
        _checked(transforms), (len(images), *transforms.shape[-2:])
    )
    found = before or _unbroken(images)
    total, first = transforms.shape[1], 0
    while first < total and not found.broken.all():
        alive = np.flatnonzero(~found.broken)
        last = min(total, first + max(1, capacity() // len(alive)))
        found = _round(judge, found, images, labels, transforms, first, last)
        first = last
        say(first, int(np.sum(~found.broken)))
    return found


def _round(judge, found, images, labels, transforms, first, last) -> Worst:
    """The search after survivors met the transforms first..last - 1."""
    alive = np.flatnonzero(~found.broken)
    item = np.repeat(alive, last - first)
    tried = transforms[alive, first:last].reshape(-1, 3)
    warped = transformed(images[item], tried)
    wrong = np.flatnonzero(_classes(judge(warped)) != labels[item])
    image, at = np.unique(item[wrong], return_index=True)
    kept = {
        "broken": found.broken.copy(),
        "transforms": found.transforms.copy(),
        "images": found.images.copy(),
        "tried": found.tried.copy(),
    }
    kept["tried"][alive] += last - first
    kept["broken"][image] = True
    kept["transforms"][image] = tried[wrong[at]]
    kept["images"][image] = warped[wrong[at]]
    return replace(found, **kept)


def transformed(images: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    """Images uint8 (N, H, W, C), each by its own transform (N, 3), rounded to uint8."""
    return over_devices(_warp, images, _checked(transforms))


def _unbroken(images: np.ndarray) -> Worst:
    n = len(images)
    return Worst(
        broken=np.zeros(n, bool),
        transforms=np.zeros((n, 3), np.float32),
        images=images.copy(),
        tried=np.zeros(n, np.int32),
    )


def _curve(judge, images, labels, parameters, transforms) -> list[Point]:
    points = []
    for parameter, transform in zip(parameters, transforms, strict=True):
        same = np.broadcast_to(np.array(transform, np.float32), (len(images), 3))
        correct = _classes(judge(transformed(images, same))) == labels
        points.append(
            Point(parameter=float(parameter), correct=int(correct.sum()), n=len(images))
        )
    return points


def _checked(transforms: np.ndarray) -> np.ndarray:
    if transforms.shape[-1:] != (3,):
        raise InputError(
            f"`transforms` (shape {transforms.shape}) must end in 3 columns; give degrees, "
            f"pixels down and pixels right."
        )
    return np.asarray(transforms, np.float32)


def _classes(logits: np.ndarray) -> np.ndarray:
    return np.argmax(logits, -1)


def _warp(images: jax.Array, transforms: jax.Array) -> jax.Array:
    turned = warp.rotation(transforms[:, 0])
    return warp.bytes_of(warp.affine(images, turned, transforms[:, 1:]))
