"""Traffic: adds field by field, repeats, and never behaves like the tuple that it is."""

import jax
import numpy as np
import pytest

from accel.cost.traffic import Traffic, total

COUNTED = Traffic(*range(1, len(Traffic._fields) + 1))


def test_adds_and_repeats_field_by_field():
    twice = Traffic(*(2 * value for value in range(1, len(COUNTED) + 1)))
    assert COUNTED + COUNTED == COUNTED * 2 == 2 * COUNTED == twice
    assert total([COUNTED, COUNTED, Traffic()]) == twice
    assert total([]) == Traffic()


@pytest.mark.parametrize("left", [True, False])
def test_arrays_repeat_from_either_side(left):
    """numpy would take the tuple apart, were it asked first."""
    counts = np.array([0, 3])
    found = counts * COUNTED if left else COUNTED * counts
    assert isinstance(found, Traffic)
    assert found.dram_weights.tolist() == [0, 6]
    assert np.int64(3) * COUNTED == COUNTED * 3


@pytest.mark.parametrize("other", [(1, 2), 1])
def test_adds_to_traffic_alone(other):
    with pytest.raises(TypeError):
        COUNTED + other


def test_sums_by_place():
    """Each field is in exactly one of DRAM, buffers, and the array's own."""
    units = [Traffic(**{name: 1}) for name in Traffic._fields]
    inside = [name for name in Traffic._fields if name.startswith(("register", "hop"))]
    dram = [name for name in Traffic._fields if name.startswith("dram")]
    assert len(inside) == 6
    assert len(dram) == 5
    for name, one in zip(Traffic._fields, units, strict=True):
        assert one.dram == (name in dram)
        assert one.buffer == (name not in inside and name not in dram)


def test_is_a_pytree():
    found = jax.jit(lambda traffic: traffic + traffic)(COUNTED)
    assert isinstance(found, Traffic)
    assert int(found.hop_sums) == 2 * COUNTED.hop_sums
