"""Erlang's distribution: known values, the mean, and a queue that is simulated."""

import itertools
import math

import numpy as np
import pytest

from accel.tpu.paper.waiting import quantile, waits_at_most
from configs.errors import InputError


@pytest.mark.parametrize("load", [0.1, 0.5, 0.8, 0.95])
def test_known_values(load):
    """Nobody waits with 1 - load; below one service the sum has one term, then two."""
    assert waits_at_most(0, load) == pytest.approx(1 - load, rel=1e-12)
    one = (1 - load) * math.exp(load * 0.5)
    assert waits_at_most(0.5, load) == pytest.approx(one, rel=1e-12)
    two = (1 - load) * (math.exp(load * 1.5) - load * 0.5 * math.exp(load * 0.5))
    assert waits_at_most(1.5, load) == pytest.approx(two, rel=1e-12)


@pytest.mark.parametrize("load", [0.3, 0.8])
def test_mean_wait(load):
    """Its integral is load / (2 (1 - load)) services (Pollaczek and Khinchine)."""
    grid = np.linspace(0, 40, 801)
    late = 1 - np.array([waits_at_most(t, load) for t in grid])
    mean = np.trapezoid(late, grid)
    assert mean == pytest.approx(load / (2 * (1 - load)), rel=2e-3)


@pytest.mark.parametrize("load", [0.5, 0.8, 0.9])
def test_a_simulated_queue(load):
    """A million customers, one after the other: 90 %, 99 % and 99.9 % of them."""
    rng = np.random.default_rng(7)
    steps = 1.0 - rng.exponential(1 / load, 1_000_000)
    walk = np.concatenate([[0.0], np.cumsum(steps)])
    waits = walk - np.minimum.accumulate(walk)
    for part, within in ((0.9, 0.02), (0.99, 0.05), (0.999, 0.12)):
        found = np.quantile(waits, part)
        assert quantile(part, load) == pytest.approx(found, rel=within)


def test_digits_survive_where_floating_point_has_none():
    """At 0.99 of capacity the tail is exponential over 400 services; floats give noise."""
    late = [1 - waits_at_most(t, 0.99) for t in (100, 200, 300, 400)]
    ratios = [b / a for a, b in itertools.pairwise(late)]
    assert ratios == pytest.approx([ratios[0]] * 3, rel=1e-6)
    assert 0 < ratios[0] < 1
    floats = (0.99 * (100 - k) for k in range(101))
    terms = [(-x) ** k / math.factorial(k) * math.exp(x) for k, x in enumerate(floats)]
    assert not 0 <= 0.01 * math.fsum(terms) <= 1


def test_quantile_is_the_least_wait():
    for part in (0.5, 0.9, 0.99):
        t = quantile(part, 0.8)
        assert waits_at_most(t, 0.8) >= part > waits_at_most(t * (1 - 1e-6), 0.8)


def test_most_do_not_wait_at_a_small_load():
    assert quantile(0.9, 0.1) == 0


@pytest.mark.parametrize("load", [0, -1, 1, 1.5, float("nan")])
def test_loads_without_a_steady_state_are_refused(load):
    with pytest.raises(InputError, match=r"`load`.*use 0.8"):
        quantile(0.99, load)


@pytest.mark.parametrize("part", [0, 1, 99])
def test_parts_are_between_nothing_and_all(part):
    with pytest.raises(InputError, match=r"`part`"):
        quantile(part, 0.8)
