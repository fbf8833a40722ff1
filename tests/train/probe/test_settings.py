"""Settings of a probe are checked; the quick one is weaker in everything."""

import dataclasses

import pytest

from configs.errors import InputError
from train.attack.budget import levels_of
from train.probe.settings import QUICK, SECTIONS, Settings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sections", ()),
        ("sections", ("attack",)),
        ("models", ()),
        ("models", ("int4",)),
        ("images", 0),
        ("cheap_images", -1),
        ("eps", ()),
        ("eps", (0.3, 0.1)),
        ("eps", (0.0, 0.1)),
        ("eps", (0.003,)),
        ("eps", (1.1,)),
        ("eps_l2", (0.0,)),
        ("eps_fgsm", (0.2, 0.2)),
        ("pgd_steps", 0),
        ("restarts", 0),
        ("queries", -1),
        ("angle_step_deg", 7),
        ("grid_shifts", 4),
        ("grid_angles", 0),
        ("seed", -1),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(field, value) -> None:
    with pytest.raises(InputError, match=f"`{field}"):
        Settings(**{field: value})


def test_the_defaults_are_the_protocol() -> None:
    """1,000 images, PGD-40 with 10 restarts, APGD of 100 steps and 9 targets, Square of
    5,000 queries, 5 x 5 x 31 transforms; eps 0.3 is 76 levels."""
    given = Settings()
    assert (given.images, given.pgd_steps, given.restarts) == (1000, 40, 10)
    assert (given.apgd_steps, given.targets, given.queries) == (100, 9, 5000)
    assert given.grid_shifts**2 * given.grid_angles == 775
    assert [levels_of(eps) for eps in given.eps] == [25, 51, 76]
    assert set(given.sections) == set(SECTIONS)


def test_one_level_is_the_smallest_budget() -> None:
    assert levels_of(Settings(eps=(1 / 255,)).eps[0]) == 1


def test_the_quick_probe_measures_the_same_with_less() -> None:
    full = Settings()
    assert QUICK.sections == full.sections
    assert QUICK.models == full.models
    for field in dataclasses.fields(Settings):
        mine, theirs = getattr(QUICK, field.name), getattr(full, field.name)
        if isinstance(mine, int) and field.name not in ("cheap_images", "angle_step_deg"):
            assert mine <= theirs, field.name
