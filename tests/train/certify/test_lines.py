"""Lines hold a function between them, everywhere on its interval."""

import numpy as np
import pytest

from train.certify import lines

SMOOTH = {
    "relu": (lines.clip(0.0, np.inf), lambda z: np.maximum(z, 0)),
    "relu6": (lines.clip(0.0, 6.0), lambda z: np.clip(z, 0, 6)),
    "sigmoid": (lines.bell(1.0, 1.0, 0.0), lambda z: 1 / (1 + np.exp(-z))),
    "tanh": (lines.bell(2.0, 2.0, -1.0), np.tanh),
    "tanh_half": (lines.bell(1.0, 2.0, -1.0), lambda z: np.tanh(z / 2)),
    "softplus": (lines.softplus(), lambda z: np.log1p(np.exp(z))),
}


def ends(count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Intervals narrow and wide, on both sides of every bend, some of one point."""
    draw = np.random.default_rng(0)
    low = draw.normal(scale=5, size=count)
    high = low + draw.exponential(scale=draw.choice([1e-3, 1, 8], count))
    high[:20] = low[:20]
    return low, high


def outside(one: lines.Lines, z: np.ndarray, f: np.ndarray, room: float = 1e-9) -> int:
    """How many values (points, n) lie outside of the lines."""
    below, above = one.below_slope * z + one.below, one.above_slope * z + one.above
    return int(((f < below - room) | (f > above + room)).sum())


@pytest.mark.parametrize("name", SMOOTH)
def test_a_function_lies_between_its_lines(name: str) -> None:
    function, f = SMOOTH[name]
    low, high = ends()
    z = low + np.linspace(0, 1, 101)[:, None] * (high - low)
    assert outside(function.lines(low.copy(), high.copy()), z, f(z)) == 0
    first, last = function.range(low, high)
    assert (first <= f(z) + 1e-12).all()
    assert (f(z) <= last + 1e-12).all()


@pytest.mark.parametrize("name", SMOOTH)
def test_lines_are_close(name: str) -> None:
    """Nearer to each other than the ends of the range are, in the mean."""
    function, _ = SMOOTH[name]
    low, high = ends()
    one, (first, last) = function.lines(low.copy(), high.copy()), function.range(low, high)
    z = (low + high) / 2
    apart = (one.above_slope - one.below_slope) * z + one.above - one.below
    assert apart.mean() < 0.75 * (last - first).mean()


@pytest.mark.parametrize("limits", [(0, 255), (-128, 127), (-2, 1), (0, 6)])
def test_a_stair_lies_between_its_lines_ties_either_way(limits) -> None:
    """At halves the integers on both sides may follow."""
    lowest, highest = limits
    draw = np.random.default_rng(1)
    low = draw.integers(-40, 40, 500) / 4 + draw.choice([0, lowest, highest], 500)
    high = low + draw.integers(0, 60, 500) / 4
    one = lines.stair(lowest, highest).lines(low.copy(), high.copy())
    for share in np.linspace(0, 1, 61):
        z = np.floor(4 * (low + share * (high - low)) + 0.5) / 4
        z = np.clip(z, low, high)
        # A tie at an end of the interval is rounded as its ends are said to be.
        inside = (low < z) & (z < high)
        ways = [np.rint(z)] + [
            np.where(inside, way(z + nudge), np.rint(z))
            for way, nudge in ((np.floor, 0.5), (np.ceil, -0.5))
        ]
        for y in ways:
            assert outside(one, z, np.clip(y, lowest, highest)) == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_table_lies_in_its_bands(seed: int) -> None:
    """Every entry between any two, for tables that rise and tables of anything."""
    draw = np.random.default_rng(seed)
    entries = draw.integers(-128, 128, 256)
    if seed:
        entries = np.sort(entries)
    low = draw.integers(-128, 128, 300).astype(np.float64)
    high = np.minimum(low + draw.integers(0, 90, 300), 127)
    function = lines.table(entries)
    one, (first, last) = function.lines(low, high), function.range(low, high)
    for n, (i, j) in enumerate(zip(low.astype(int), high.astype(int), strict=True)):
        z, f = np.arange(i, j + 1), entries[i + 128 : j + 129]
        mine = lines.Lines(*(end[n] for end in one))
        assert outside(mine, z, f) == 0
        assert (first[n], last[n]) == (f.min(), f.max())


def test_any_slope_of_a_lower_line_is_sound() -> None:
    """What slopes that are climbed rely on."""
    draw = np.random.default_rng(2)
    low, high = ends()
    stair = lines.stair(-3, 4), lambda z: np.clip(np.rint(z), -3, 4)
    for function, f in (SMOOTH["relu"], stair):
        slope = draw.uniform(size=len(low))
        free, _ = function.pivot(low, high)
        below = function.lower(low, high, slope)
        z = low + np.linspace(0, 1, 101)[:, None] * (high - low)
        assert free.any()
        assert (slope * z + below <= f(z) + 1e-9)[:, free].all()
