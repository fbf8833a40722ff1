"""float32 rounds a requantisation as integers do: exhaustively, and where it does not."""

import jax.numpy as jnp
import numpy as np
import pytest

from quant import execute, fast, normative
from quant.float32_rounding import (
    agrees_with_float32,
    float32_round,
    integer_step,
    nearest_agreeing,
)
from quant.network import SHIFTS

INT8, UINT8 = (-128, 127), (0, 255)
ALL = np.arange(1, 65536)


def rounded(acc: np.ndarray, m: np.ndarray, shift: int) -> np.ndarray:
    """The rule in bits: shift out, and look at what fell off."""
    p = acc * m
    q, r = p >> shift, p & ((1 << shift) - 1)
    half = 1 << (shift - 1)
    return q + ((r > half) | ((r == half) & (q & 1 == 1)))


def steps_at(m: np.ndarray, shift: int, y: np.ndarray) -> np.ndarray:
    """First accumulator whose output reaches y, by the definition of a nearest integer:
    acc * m >= (y - 1/2) * 2^shift, where equality counts for even y alone."""
    needed = (2 * y - 1) * (1 << (shift - 1)) + y % 2
    return -(-needed // m)


def failing(shift: int, low: int, high: int) -> np.ndarray:
    """Multipliers with a step that float32 takes at another accumulator."""
    y = np.arange(low + 1, high + 1)[None]
    fails = []
    for m in np.array_split(ALL[:, None], 64):
        first = steps_at(m, shift, y)
        scale = np.ldexp(m.astype(np.float32), -shift)
        at = np.rint(first.astype(np.float32) * scale) < y
        before = np.rint((first - 1).astype(np.float32) * scale) >= y
        fails.append(m[(at | before).any(1), 0])
    return np.concatenate(fails)


@pytest.mark.parametrize("shift", range(8, 17))
def test_up_to_shift_16_float32_agrees_for_every_multiplier(shift: int) -> None:
    """All 65,535 multipliers, every step of int8 and uint8 outputs, on both sides of it.

    Both rules are monotone in the accumulator, so that they are one function if they
    take every step at the same place. 32 bits suffice: no product reaches 2^25.
    """
    y = np.arange(-127, 256, dtype=np.int32)[None]
    for m in np.array_split(ALL[:, None].astype(np.int32), 128):
        first = steps_at(m, shift, y)
        scale = np.ldexp(m.astype(np.float32), -shift)
        assert np.abs(first).max() < 2**24
        for acc, reached in ((first, True), (first - 1, False)):
            whole = rounded(acc, m, shift)
            assert np.array_equal(whole >= y, np.broadcast_to(reached, whole.shape))
            real = np.rint(acc.astype(np.float32) * scale)
            assert np.array_equal(real, whole)


@pytest.mark.parametrize(
    ("shift", "low", "high", "count"),
    [(16, *UINT8, 0), (17, *INT8, 0), (17, *UINT8, 514), (18, *INT8, 267)],
)
def test_beyond_shift_16_the_known_multipliers_fail(shift, low, high, count) -> None:
    """The count of an exhaustive search; the certificate refuses exactly these."""
    fails = failing(shift, low, high)
    assert len(fails) == count
    refused = lambda m: not agrees_with_float32(int(m), shift, low, high)
    assert all(refused(m) for m in fails)
    fine = np.setdiff1d(ALL, fails)
    assert not any(refused(m) for m in fine[:: len(fine) // 200])


def test_a_refused_multiplier_has_an_accumulator_that_proves_it() -> None:
    """Not only the certificate says so: the two rules give two outputs."""
    m = failing(17, *UINT8)[0]
    first = steps_at(m, 17, np.arange(1, 256))
    acc = np.concatenate([first - 1, first])
    whole = np.clip(rounded(acc, m, 17), *UINT8)
    real = np.clip(float32_round(acc, m, 17), *UINT8)
    assert (whole != real).any()
    assert np.abs(whole - real).max() == 1


def test_integer_step_is_where_the_output_changes() -> None:
    """Against the rule in bits, for every output, at all shifts."""
    y = np.arange(-127, 256)
    for shift in SHIFTS:
        for m in (1, 2, 3, 255, 256, 32768, 40000, 65535):
            first = integer_step(m, shift, y)
            assert np.all(rounded(first, m, shift) >= y)
            assert np.all(rounded(first - 1, m, shift) < y)


@pytest.mark.parametrize("shift", [8, 16, 17, 19, 21])
@pytest.mark.parametrize(("low", "high"), [INT8, UINT8])
def test_nearest_agreeing_is_an_agreeing_multiplier_and_the_nearest(shift, low, high):
    nearest = nearest_agreeing(shift, low, high)
    assert nearest.shape == (65536,)
    assert nearest.dtype == np.int32
    good = np.setdiff1d(ALL, failing(shift, low, high))
    np.testing.assert_array_equal(np.unique(nearest), good)
    np.testing.assert_array_equal(nearest[nearest], nearest)
    distance = np.full(65536, 65536)
    for start, step in ((0, 1), (65535, -1)):  # one sweep up, one down
        last = -65536 * step
        for m in range(start, 65536 if step > 0 else -1, step):
            last = m if m == nearest[m] else last
            distance[m] = min(distance[m], abs(m - last))
    np.testing.assert_array_equal(np.abs(nearest - np.arange(65536)), distance)


@pytest.mark.parametrize(("low", "high", "count"), [(*INT8, 1279), (*UINT8, 1593)])
def test_rounding_halves_up_would_differ(low, high, count) -> None:
    """Multipliers at shift 16 with a half that an even-rounding rule takes down."""
    y = np.arange(low + 1, high + 1)[None]
    differ = 0
    for m in np.array_split(ALL[:, None], 64):
        first = steps_at(m, 16, y)
        acc = np.stack([first - 1, first])
        up = np.clip((acc * m + (1 << 15)) >> 16, low, high)
        even = np.clip(rounded(acc, m, 16), low, high)
        differ += int((up != even).any((0, 2)).sum())
    assert differ == count


def accumulators(m_N1: np.ndarray, shift: int, low: int, high: int) -> np.ndarray:
    """Every step of every multiplier with its neighbours, and the ends of 32 bits."""
    first = steps_at(m_N1, shift, np.arange(low + 1, high + 1)[None])
    ends = np.array([0, 1, 2**24, 2**30, 2**31 - 2, 2**31 - 1])
    ends = np.broadcast_to(np.concatenate([-ends, ends]), (len(m_N1), 12))
    return np.concatenate([first - 1, first, first + 1, ends], axis=1)


def multipliers(shift: int, low: int, high: int) -> np.ndarray:
    """(N, 1): the smallest, the largest, around powers of two, and random ones."""
    powers = 2 ** np.arange(16)
    some = np.random.default_rng(shift).integers(1, 65536, 40)
    every = np.clip(np.concatenate([powers - 1, powers, powers + 1, some]), 1, 65535)
    return np.unique(nearest_agreeing(shift, low, high)[every])[:, None]


@pytest.mark.parametrize(("low", "high"), [INT8, UINT8, (0, 3), (-8, 7)])
def test_every_requantisation_is_the_rule_in_bits(low: int, high: int) -> None:
    """Normative in int64; in int32 up to its ends; in float32 up to 2^24; all shifts."""
    for shift in SHIFTS:
        m = multipliers(shift, low, high)
        acc = accumulators(m, shift, low, high)
        wanted = np.clip(rounded(acc, m, shift), low, high)
        assert set(range(low, high + 1)) == set(np.unique(wanted).tolist())
        got = normative.requantise(acc, m, shift, low, high)
        np.testing.assert_array_equal(got, wanted)
        m = m.astype(np.int32)
        got = execute.requantise(jnp.asarray(acc, jnp.int32), m, shift, low, high)
        np.testing.assert_array_equal(got, wanted)
        bias = np.random.default_rng(0).integers(-999, 1000, m.shape)
        small = np.clip(acc, -(2**24) + 1000, 2**24 - 1000)
        wanted = np.clip(rounded(small, m.astype(np.int64), shift), low, high)
        sums = jnp.asarray(small - bias, jnp.float32)
        got = fast.requantise_float32(sums, bias, m, shift, low, high)
        np.testing.assert_array_equal(got, wanted)


def test_a_rule_that_rounds_halves_up_or_cuts_off_is_seen(monkeypatch) -> None:
    """The test above would fail for each of the usual faults."""
    m = np.array([[2**15], [3 * 2**14]])
    acc = accumulators(m, 16, *UINT8)
    wanted = np.clip(rounded(acc, m, 16), *UINT8)
    faults = {
        "half up": lambda n, d: (2 * n + d) // (2 * d),
        "cut off": lambda n, d: n // d,
        "half away": lambda n, d: jnp.sign(n) * ((2 * jnp.abs(n) + d) // (2 * d)),
    }
    for name, fault in faults.items():
        monkeypatch.setattr(execute, "divide_rne", fault)
        y = execute.requantise(jnp.asarray(acc, jnp.int32), m.astype(np.int32), 16, *UINT8)
        assert not np.array_equal(y, wanted), name
