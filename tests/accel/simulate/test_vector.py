"""The vector unit: exact sums, and the cycles of its closed form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.predict import closed_forms as forms
from accel.simulate import vector
from accel.simulate.simulation import LostResultError


def operands(runs, m, k, n, repeats, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.integers(0, 256, (runs, m, repeats * k), dtype=np.uint8)
    return x, draw.integers(-127, 128, (k, repeats * n)).astype(np.int8)


def by_hand(x, w, repeats):
    """Group by group."""
    parts = zip(np.split(x, repeats, axis=2), np.split(w, repeats, axis=1), strict=True)
    return np.concatenate([a.astype(int) @ b.astype(int) for a, b in parts], axis=2)


@given(
    width=st.sampled_from([1, 3, 4]),
    runs=st.integers(1, 2),
    m=st.integers(1, 4),
    k=st.sampled_from([1, 2, 9]),
    n=st.integers(1, 3),
    repeats=st.integers(1, 5),
)
@settings(max_examples=12, deadline=None)
def test_every_sum_and_every_count(width, runs, m, k, n, repeats):
    x, w = operands(runs, m, k, n, repeats)
    found = vector.run(width, x, w, repeats=repeats)
    np.testing.assert_array_equal(found.sums, by_hand(x, w, repeats))
    once = forms.vector(m, k, repeats * n, width=width)
    assert found.counters == type(once)(*(runs * value for value in once))


def test_the_form_by_hand():
    """5 rows, 6 sums a row by 4 lanes: two vectors of 9 cycles, one half idle."""
    found = forms.vector(5, 9, 6, width=4)
    assert found.cycles == found.stream == 5 * 2 * 9
    assert (found.macs, found.slots, found.tiles) == (270, 360, 10)


def test_an_edge_too_few():
    x, w = operands(1, 2, 3, 1, 4)
    assert vector.run(2, x, w, repeats=4, edges=12).counters.cycles == 12
    with pytest.raises(LostResultError, match="were not captured exactly once"):
        vector.run(2, x, w, repeats=4, edges=11)
