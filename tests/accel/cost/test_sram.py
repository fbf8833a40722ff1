"""SRAM energy by capacity: through the points, monotone, the same in numpy and JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from accel.cost import sram

KB, MB = 1024, 1024 * 1024
# fJ a byte at 45 and at 7 nm, typed from the tables' 64-bit accesses.
POINTS = {
    "45 nm": {8 * KB: 1250.0, 32 * KB: 2500.0, 1 * MB: 12500.0},
    "7 nm": {8 * KB: 937.5, 32 * KB: 1062.5, 1 * MB: 1750.0},
}
tables = pytest.mark.parametrize("points", POINTS.values(), ids=POINTS.keys())


def capacities():
    """All powers of two, points and their neighbours, and many in between."""
    drawn = np.random.default_rng(0).integers(0, 1 << 26, 20_000)
    near = [point + step for point in (8 * KB, 32 * KB, MB) for step in (-1, 0, 1)]
    return np.unique(np.concatenate([drawn, 1 << np.arange(40), near, [0]]))


@tables
def test_passes_through_the_points_exactly(points):
    for capacity, energy in points.items():
        assert sram.interpolate(capacity, points) == energy
        assert sram.whole(capacity, points) == int(energy + 0.5)


def test_is_straight_in_log_log():
    """From 8 KB to 32 KB at 45 nm it doubles over a factor of four: a square root."""
    found = sram.interpolate(np.array([16 * KB, 12 * KB]), POINTS["45 nm"])
    np.testing.assert_allclose(found, 1250 * np.sqrt([2, 1.5]), rtol=1e-14)
    assert sram.whole(16 * KB, POINTS["45 nm"]) == 1768


@tables
def test_is_monotone_and_constant_outside(points):
    sizes = capacities()
    found = sram.whole(sizes, points)
    assert found.dtype == np.int64
    assert (np.diff(found) >= 0).all()
    assert set(found[sizes <= 8 * KB]) == {int(points[8 * KB] + 0.5)}
    assert set(found[sizes >= MB]) == {points[MB]}
    outside = sram.clamped(sizes, points)
    np.testing.assert_array_equal(outside, (sizes < 8 * KB) | (sizes > MB))
    assert not sram.clamped(8 * KB, points)
    assert sram.clamped(MB + 1, points)


@tables
def test_ints_numpy_and_jax_agree(points):
    sizes = capacities()
    found = sram.whole(sizes, points)
    ones = [sram.whole(int(size), points) for size in sizes[::50]]
    assert {type(one) for one in ones} == {int}
    assert ones == found[::50].tolist()
    with jax.enable_x64(True):
        compiled = jax.jit(lambda c: sram.whole(c, points))(jnp.asarray(sizes))
        assert compiled.dtype == jnp.int64
        np.testing.assert_array_equal(np.asarray(compiled), found)


def test_a_tie_does_not_depend_on_the_last_bit():
    """937.5 rounds up even where the power is one unit too small."""
    below = float(np.nextafter(937.5, 0))
    assert sram.whole(1, {8 * KB: below}) == sram.whole(1, {8 * KB: 937.5}) == 938


def test_has_a_derivative():
    """dE/dC = slope * E / C, with slope 1/2 between 8 KB and 32 KB at 45 nm."""
    energy = lambda capacity: sram.interpolate(capacity, POINTS["45 nm"])
    slope = jax.grad(energy)(jnp.float32(16 * KB))
    assert float(slope) == pytest.approx(0.5 * 1250 * 2**0.5 / (16 * KB), rel=1e-4)


def test_narrow_arrays_are_refused():
    with pytest.raises(TypeError, match="must be int or int64 arrays, not int32"):
        sram.whole(jnp.arange(3), POINTS["45 nm"])
