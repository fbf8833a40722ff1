"""Intervals are the published ones, and those of the definition."""

import math
from fractions import Fraction

import pytest

from train.probe.binomial import interval

# Newcombe 1998, Statistics in Medicine 17, 857-872, table I, method 5 (Clopper-Pearson).
NEWCOMBE = {
    (81, 263): (0.2527, 0.3676),
    (15, 148): (0.0578, 0.1617),
    (0, 20): (0.0000, 0.1684),
    (1, 29): (0.0009, 0.1776),
}


@pytest.mark.parametrize("counts", NEWCOMBE)
def test_intervals_are_the_published_ones(counts):
    low, high = NEWCOMBE[counts]
    assert interval(*counts) == pytest.approx((low, high), abs=5e-5)


def at_least(k, n, share):
    """Probability of k or more of n, summed in fractions."""
    p = Fraction(share)
    return float(sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1)))


@pytest.mark.parametrize(("correct", "n"), [(1, 1), (3, 10), (9, 10), (40, 41)])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_either_tail_has_half_of_what_is_left_out(correct, n, level):
    low, high = interval(correct, n, level)
    assert at_least(correct, n, low) == pytest.approx((1 - level) / 2)
    if correct < n:
        assert 1 - at_least(correct + 1, n, high) == pytest.approx((1 - level) / 2)


def test_counts_of_nothing_and_of_all_reach_the_ends():
    # (1 - low)^n = 2.5 %, in closed form.
    assert interval(0, 50) == (0.0, pytest.approx(1 - 0.025 ** (1 / 50)))
    assert interval(50, 50) == (pytest.approx(0.025 ** (1 / 50)), 1.0)


@pytest.mark.parametrize("n", [1, 7, 1000])
def test_the_share_lies_inside_and_mirrors(n):
    for correct in range(0, n + 1, max(1, n // 13)):
        low, high = interval(correct, n)
        assert 0 <= low <= correct / n <= high <= 1
        assert interval(n - correct, n) == pytest.approx((1 - high, 1 - low), abs=1e-9)


@pytest.mark.parametrize(("correct", "n"), [(-1, 10), (11, 10), (0, 0)])
def test_what_is_no_count_is_refused(correct, n):
    with pytest.raises(ValueError, match=rf"`correct` \(={correct}\) must lie in 0..`n`"):
        interval(correct, n)
