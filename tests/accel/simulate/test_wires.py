"""Wires and delay lines do what queues and neighbours do."""

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from accel.simulate import wires


@pytest.mark.parametrize("places", [1, 2, 3, 5])
@pytest.mark.parametrize("lanes", [(), (2,)])
def test_a_triangle_of_delay_lines_is_a_queue_for_each_place(places, lanes):
    draw = np.random.default_rng(places)
    entering = draw.integers(-9, 10, (3 * places + 2, places, *lanes)).astype(np.int32)
    # Place i holds i values, all 0 after a reset.
    queues = [deque([np.zeros(lanes, np.int32)] * i) for i in range(places)]
    line = jnp.zeros((places - 1, places, *lanes), jnp.int32)
    step = jax.jit(wires.delayed)
    for values in entering:
        line, found = step(line, values)
        for queue, value in zip(queues, values, strict=True):
            queue.append(value)
        assert np.array_equal(found, [queue.popleft() for queue in queues])


@pytest.mark.parametrize("places", [1, 2, 4])
def test_taps_see_a_bit_one_register_later_each(places):
    sent = np.random.default_rng(places).random(12) < 0.5
    line, seen = jnp.zeros(places - 1, bool), []
    for bit in sent:
        line, found = wires.taps(line, jnp.asarray(bit))
        seen.append(np.asarray(found))
    before = np.concatenate([np.zeros(places - 1, bool), sent])
    for place, column in enumerate(np.array(seen).T):
        first = places - 1 - place
        assert np.array_equal(column, before[first : first + len(sent)])


@pytest.mark.parametrize("size", [(1, 1), (2, 3)])
def test_neighbours(size):
    plane = jnp.arange(np.prod(size) * 2, dtype=jnp.int32).reshape(*size, 2)
    left = jnp.full((size[0], 2), -1, jnp.int32)
    top = jnp.full((size[1], 2), -2, jnp.int32)
    from_left, from_above = wires.right(plane, left), wires.down(plane, top)
    for r, c in np.ndindex(*size):
        assert np.array_equal(from_left[r, c], plane[r, c - 1] if c else left[r])
        assert np.array_equal(from_above[r, c], plane[r - 1, c] if r else top[c])


def test_count_is_of_the_bits_that_are_set():
    bits = np.random.default_rng(0).random((3, 4)) < 0.5
    found = wires.count(jnp.asarray(bits))
    assert found.dtype == np.int32
    assert int(found) == bits.sum()
