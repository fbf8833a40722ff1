"""What a probe of a network's robustness measures, as frozen data that is checked."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from configs.checks import check_types, require

Section = Literal["attacks", "fgsm", "angles", "grid", "corruptions", "certificates"]
SECTIONS: tuple[Section, ...] = (
    "fgsm", "angles", "corruptions", "certificates", "attacks", "grid",
)  # fmt: skip


def _rises(values: tuple[float, ...]) -> bool:
    return all(a < b for a, b in pairwise(values))


Name = Literal["float", "qat", "int8"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to measure, on how many images, how hard."""

    # Networks of a quantised run: the float one, the one with fake quantisation, the
    # integers.
    models: tuple[Name, ...] = ("float", "qat", "int8")
    # What to measure; all of it by default.
    sections: tuple[Section, ...] = SECTIONS
    # Test images, the first ones, for attacks and the spatial grid.
    images: int = 1000
    # Test images for everything cheap; 0 for all.
    cheap_images: int = 0
    # Budgets of the attacks: largest change of a pixel, where 1 is the whole range. The
    # last one is the headline.
    eps: tuple[float, ...] = (0.1, 0.2, 0.3)
    # Budgets of the L2 attack: length of the change, where 1 is the range of one pixel.
    eps_l2: tuple[float, ...] = (1.0, 2.0)
    # Budgets of the FGSM curve.
    eps_fgsm: tuple[float, ...] = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    # Budgets of the certificates.
    eps_certified: tuple[float, ...] = (0.01, 0.05, 0.1, 0.2, 0.3)
    # Images that linear bounds are tried on, where intervals prove nothing: if more are
    # left, the certificate is of the first so many images; 0 leaves linear bounds out.
    crown_images: int = 1000
    # Steps of PGD.
    pgd_steps: int = 40
    # Random starts of PGD, for each of its two losses.
    restarts: int = 10
    # Steps of APGD.
    apgd_steps: int = 100
    # Wrong classes that APGD-T aims at, one after the other.
    targets: int = 9
    # Queries of the Square attack; 0 leaves it out.
    queries: int = 5000
    # Most tries of Square: one on what is left, then others from starts of their own on
    # the images nearest to a mistake. It ends earlier, once the last three of these
    # together break at most 1 image in 1,000.
    square_tries: int = 9
    # Further seeds: all attacks of the last budget once more from each, for the spread of
    # the headline.
    seeds: tuple[int, ...] = ()
    # Turns of the rotation curve, degrees between two points.
    angle_step_deg: int = 15
    # Farthest shift of the translation curve, pixels.
    shift_px: int = 6
    # Points of the spatial grid in each of the two shifts.
    grid_shifts: int = 5
    # Points of the spatial grid in the angle.
    grid_angles: int = 31
    # Seed of random starts, random transforms and corruptions.
    seed: int = 0

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("sections", "models"):
            require(self, bool(getattr(self, name)), name, "must name one or more.")
        for name in ("images", "pgd_steps", "restarts", "apgd_steps", "targets"):
            require(self, getattr(self, name) >= 1, name, "must be 1 or more.")
        few = 1 <= self.square_tries <= 9
        require(self, few, "square_tries", "must be in 1..9; use 9.")
        seeds = (self.seed, *self.seeds)
        fits = len(set(seeds)) == len(seeds) and all(0 <= s < 2**31 for s in seeds)
        rule = "must be others than `seed`, each once, in 0..2^31-1; try 1 2 3."
        require(self, fits, "seeds", rule)
        for name in ("cheap_images", "crown_images", "queries", "shift_px"):
            require(self, getattr(self, name) >= 0, name, "must be 0 or more.")
        for name in ("eps", "eps_fgsm", "eps_certified"):
            values = getattr(self, name)
            inside = all(1 / 255 <= eps <= 1 for eps in values) and _rises(values)
            rule = "must rise within 1/255 (one level) .. 1; try 0.1 0.2 0.3."
            require(self, inside, name, rule)
        require(self, bool(self.eps), "eps", "must name a budget; try 0.3.")
        lengths = all(length > 0 for length in self.eps_l2) and _rises(self.eps_l2)
        require(self, lengths, "eps_l2", "must rise and be above 0; try 1 2.")
        step = self.angle_step_deg
        divides = step >= 1 and 180 % step == 0
        require(self, divides, "angle_step_deg", "must divide 180; use 15.")
        for name in ("grid_shifts", "grid_angles"):
            odd = getattr(self, name) >= 1 and getattr(self, name) % 2 == 1
            require(self, odd, name, "must be odd, so that the image itself is a point.")
        require(self, 0 <= self.seed < 2**31, "seed", "must be in 0..2^31-1; use 0.")


# Seconds instead of minutes; every probe is there, each weaker and on fewer images.
QUICK = Settings(
    images=100,
    cheap_images=500,
    eps=(0.1, 0.3),
    eps_l2=(2.0,),
    eps_fgsm=(0.05, 0.1, 0.2, 0.3),
    eps_certified=(0.01, 0.1),
    crown_images=100,
    pgd_steps=20,
    restarts=1,
    apgd_steps=20,
    targets=2,
    queries=200,
    angle_step_deg=30,
    shift_px=4,
    grid_shifts=3,
    grid_angles=7,
)
