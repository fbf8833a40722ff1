"""quant.execute rounds like the normative text when every number is data, not code."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quant import normative
from quant.execute import divide_rne, requantise
from quant.network import SHIFTS

_requantise = jax.jit(requantise)
_LIMITS = [(-128, 127), (0, 255), (0, 15), (-8, 7)]


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 65535),
    st.sampled_from(SHIFTS),
    st.sampled_from(_LIMITS),
)
@example(0, 65535, 21, (0, 255))
@example(0, 1, 21, (0, 255))
def test_any_sum_any_multiplier_any_shift(seed, multiplier, shift, limits):
    """Sums around every threshold, exact halves among them, and at the ends of int32."""
    draw = np.random.default_rng(seed)
    half = (2 * draw.integers(-300, 300, 20) + 1 << shift) // (2 * multiplier)
    ends = np.array([-(2**31) + 1, -1, 0, 1, 2**31 - 1])
    near = (half[:, None] + np.arange(-1, 2)[None]).reshape(-1)
    acc = np.concatenate([near, ends, draw.integers(-(2**31) + 1, 2**31, 15)])
    acc = np.clip(acc, -(2**31) + 1, 2**31 - 1).reshape(-1, 1)
    factor = np.full((1, 1), multiplier)
    want = normative.requantise(acc, factor, shift, *limits)
    numbers = (jnp.int32(one) for one in (shift, *limits))
    got = _requantise(jnp.asarray(acc, jnp.int32), jnp.asarray(factor, jnp.int32), *numbers)
    assert np.array_equal(got, want)


def test_halves_of_any_count_go_to_the_even_side():
    """Sums of windows, of both signs, by counts that are no powers of two."""
    values = np.arange(-2000, 2000)
    for count in (1, 2, 3, 4, 6, 9, 10, 25, 784):
        got = divide_rne(jnp.asarray(values, jnp.int32), jnp.int32(count))
        assert np.array_equal(got, normative.divide_rne(values, count))
