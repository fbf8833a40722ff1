"""The front is what brute force finds, whatever the order; names go to the right points."""

import numpy as np
import pytest

from accel.sweep import front
from accel.sweep.front import Front
from accel.sweep.metrics import METRICS
from configs.errors import InputError

NAMES = ("time_us", "energy", "area")


def some(draw, points, levels):
    values = np.zeros((points, len(METRICS)))
    for name in (*NAMES, "edp"):
        values[:, METRICS.index(name)] = draw.integers(1, levels, points)
    return Front(draw.permutation(10 * points)[:points], values)


def brute(points, names=NAMES):
    values = [tuple(v) for v in points.objectives(names)]
    kept = []
    for i, mine in zip(points.index.tolist(), values, strict=True):
        better = (
            all(o <= m for o, m in zip(other, mine, strict=True))
            and (other != mine or j < i)
            for j, other in zip(points.index.tolist(), values, strict=True)
            if j != i
        )
        if not any(better):
            kept.append(i)
    return sorted(kept)


@pytest.mark.parametrize("levels", [3, 12, 100_000])
def test_the_front_is_what_brute_force_finds(levels):
    draw = np.random.default_rng(levels)
    points = some(draw, 600, levels)
    wanted = brute(points)
    assert front.pareto(points, NAMES).index.tolist() == wanted
    for parts in (2, 7):
        found = front.empty()
        for which in np.array_split(draw.permutation(600), parts):
            found = front.merged(found, points.take(which), NAMES)
            # Once more changes nothing.
            found = front.merged(found, points.take(which), NAMES)
        assert found.index.tolist() == wanted
        mine = {i: v.tolist() for i, v in zip(points.index, points.values, strict=True)}
        assert [mine[i] for i in wanted] == found.values.tolist()


def test_other_objectives_give_other_fronts():
    points = some(np.random.default_rng(0), 300, 50)
    assert front.pareto(points, ("energy",)).index.tolist() == brute(points, ("energy",))
    assert len(brute(points, ("energy",))) == 1


def test_named_designs():
    values = np.zeros((6, len(METRICS)))
    table = {
        "time_us": [10, 10.9, 14, 100, 100, 11.1],
        "energy": [90, 50, 12, 10, 10, 49],
        "area": [50, 40, 45, 3, 2, 30],
        "edp": [900, 545, 168, 1000, 1000, 544],
    }
    for name, column in table.items():
        values[:, METRICS.index(name)] = column
    found = front.knees(Front(np.arange(6), values))
    assert found == {
        "fastest": 0,
        "least energy": 4,
        "smallest within 10 % of the fastest": 1,
        "best energy-delay": 2,
        "knee": 2,
    }
    alone = front.knees(Front(np.arange(1), values[:1]))
    assert set(alone.values()) == {0}


def test_the_knee_is_found_on_logarithmic_axes():
    """By hand, below the chord: 1 - log(2)/log(100) - 2/3 = 0.18 against 1/6; linear axes
    would say 0.891 against 0.900. Points above the curve are none of it, nor its end."""
    values = np.zeros((6, len(METRICS)))
    values[:, METRICS.index("time_us")] = [1, 2, 10, 100, 10, 200]
    values[:, METRICS.index("energy")] = [1000, 100, 10, 1, 500, 50]
    assert front.knees(Front(np.arange(6), values))["knee"] == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("speed",), r"`objectives` \(='speed'\) must be different ones of cycles, stall"),
        (("energy", "energy"), "`objectives` .* must be different ones"),
        (("area", "dram_bytes"), "`objectives` .* depends on clock and bandwidth"),
        ((), "`objectives` .* must hold one"),
    ],
)
def test_wrong_objectives_are_refused(names, message):
    with pytest.raises(InputError, match=message):
        front.check_objectives(names)
