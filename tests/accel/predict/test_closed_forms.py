"""The closed forms take arrays: numpy's broadcast, JAX's mapped, never too narrow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from walks import levels

from accel.predict import closed_forms

ROWS, COLS = (side.ravel() for side in np.meshgrid(np.arange(1, 65), np.arange(1, 50)))
M, K, N = 5000, 1152, 640
FORMS = {
    "ws": lambda r, c: closed_forms.weight_stationary(M, K, N, rows=r, cols=c),
    "skewed": lambda r, c: closed_forms.weight_stationary_shadow(
        7, 99 * K, N, rows=r, cols=c, period=closed_forms.skewed_period(7, r)
    ),
    "global": lambda r, c: closed_forms.weight_stationary_shadow(
        99, 99 * K, N, rows=r, cols=c, period=closed_forms.global_period(99, r, c)
    ),
    "os": lambda r, c: closed_forms.output_stationary(M, K, N, rows=r, cols=c),
    "mac": lambda r, c: closed_forms.mac(r * c, K, N),
    "dram": lambda r, c: closed_forms.mac_dram(r, K, N, access_cycles=c),
    "dot": lambda r, c: closed_forms.dot(M, K, N, multipliers=r * c),
    "tile": lambda r, c: closed_forms.tile_outputs(M, K, N, inputs=r, outputs=c),
    "stored": lambda r, c: closed_forms.tile_inputs(M, K, N, inputs=r, outputs=c),
    "direct": lambda r, c: closed_forms.direct(r, c, K, N),
}


@pytest.mark.parametrize("name", FORMS)
def test_arrays_of_sizes_give_what_each_size_gives(name):
    form = FORMS[name]
    pairs = zip(ROWS.tolist(), COLS.tolist(), strict=True)
    alone = np.array([form(*pair) for pair in pairs], np.int64)
    assert alone.max() > 2**31, "or int32 would do"
    together = np.stack(np.broadcast_arrays(*form(ROWS, COLS), ROWS)[:-1], axis=1)
    np.testing.assert_array_equal(together, alone)
    with jax.enable_x64(True):
        mapped = jax.jit(jax.vmap(form))(jnp.asarray(ROWS), jnp.asarray(COLS))
        np.testing.assert_array_equal(np.stack(mapped, axis=1), alone)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("kind", [np.int32, np.uint64, np.float64])
def test_arrays_in_which_a_count_may_overflow_are_refused(name, kind):
    # numpy itself refuses to negate an unsigned size or to shift a fraction.
    refused = TypeError if kind is np.int32 else (TypeError, OverflowError)
    ours = "must be int or int64 arrays" if kind is np.int32 else None
    with pytest.raises(refused, match=ours):
        FORMS[name](np.array([3], kind), np.array([2], kind))


def test_jax_without_64_bits_is_refused():
    with pytest.raises(TypeError, match="int64 arrays, not int32"):
        jax.vmap(FORMS["ws"])(jnp.arange(1, 4), jnp.arange(1, 4))


@given(a=st.integers(-99, 99), b=st.integers(-99, 99))
def test_larger_is_max(a, b):
    assert closed_forms.larger(a, b) == max(a, b)


@pytest.mark.parametrize("leaves", [*range(1, 70), 2**20 - 1, 2**20, 2**20 + 1, 2**31])
def test_tree_levels_join_all_leaves(leaves):
    assert closed_forms.tree_levels(leaves) == levels(leaves)
