"""A multiplier for every connection, stepped: exact sums, counts, and faults that show."""

from math import ceil, log2

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.machines.counters import Counters, times
from accel.machines.machine import Direct
from accel.simulate import clock, direct, tree
from accel.simulate.simulation import LostResultError
from configs.errors import InputError

# Images, positions, K, N.
SHAPES = [(1, 1, 1, 1), (3, 4, 7, 5), (2, 1, 33, 3), (5, 3, 1, 2), (1, 6, 8, 4)]


def operands(images, positions, k, n, group=1, *, dtype=np.uint8, seed=0):
    """Random operands that reach both ends of their ranges."""
    draw = np.random.default_rng(seed)
    ends = np.iinfo(dtype)
    shape = (group, images * positions, k)
    x = draw.integers(ends.min, ends.max + 1, shape).astype(dtype)
    w = draw.integers(-127, 128, (k, n)).astype(np.int8)
    x[:, -1], w[:, -1] = ends.min, 127
    x[:, 0], w[:, 0] = ends.max, -127
    return x, w


def expected(images: int, positions: int, k: int, n: int) -> Counters:
    """Counts of one run, from what the hardware is."""
    multipliers = positions * k * n
    levels = ceil(log2(k))
    return Counters(
        fill=levels,
        stream=images,
        macs=images * multipliers,
        slots=(images + levels) * multipliers,
        input_fetches=images * positions * k,
        output_writes=images * positions * n,
        tiles=images,
    )


def product_of(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return x.astype(np.int64) @ w.astype(np.int64)


def check(shape, group=1, *, edges=None, **keywords) -> None:
    """Every sum and every count."""
    x, w = operands(*shape, group, **keywords)
    got = direct.run(Direct(), x, w, positions=shape[1], edges=edges)
    assert got.sums.dtype == np.int32
    np.testing.assert_array_equal(got.sums, product_of(x, w))
    assert got.counters == times(expected(*shape), group)
    assert all(type(count) is int for count in got.counters)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_sums_and_counts(shape, dtype) -> None:
    check(shape, dtype=dtype)
    check(shape, 3, dtype=dtype)


_SIZES = st.tuples(*(st.integers(1, most) for most in (40, 4, 20, 4)))


@settings(max_examples=10, deadline=None)
@given(shape=_SIZES, seed=st.integers(0, 99))
def test_sums_and_counts_of_any_layer(shape, seed) -> None:
    check(shape, seed=seed)


@pytest.mark.parametrize("shape", SHAPES)
def test_one_edge_fewer_loses_the_last_image(shape) -> None:
    images, positions, _, n = shape
    edges = expected(*shape).cycles
    check(shape, edges=edges)
    x, w = operands(*shape)
    lost = f"{positions * n} of {images * positions * n} results"
    with pytest.raises(LostResultError, match=lost):
        direct.run(Direct(), x, w, positions=positions, edges=edges - 1)


def test_the_state_is_handed_from_piece_to_piece(monkeypatch) -> None:
    monkeypatch.setattr(clock, "_MOST_EDGES", 4)
    check((15, 2, 7, 3))


def test_more_runs_than_fit_go_in_groups(monkeypatch) -> None:
    """Five runs, two side by side; 105 multipliers have two registers each."""
    monkeypatch.setattr(clock, "_MOST_WORDS", 420)
    check((2, 3, 7, 5), 5)


def test_rows_that_are_no_whole_images_are_refused() -> None:
    x, w = operands(5, 1, 3, 2)
    with pytest.raises(InputError, match=r"`positions` \(=2\) of a direct machine .*=5"):
        direct.run(Direct(), x, w, positions=2)


# Planted faults. Compiled programs remember the code they were made of, so they go.


@pytest.fixture
def fresh():
    direct._piece.clear_cache()
    yield
    direct._piece.clear_cache()


FAULTY = (3, 4, 7, 5)


@pytest.mark.usefixtures("fresh")
def test_a_dropped_valid_bit_loses_its_image(monkeypatch) -> None:
    step = tree.step_tags

    def dropping(tags, entering):
        return step(tags, entering._replace(valid=entering.valid & (entering.m != 4)))

    monkeypatch.setattr(tree, "step_tags", dropping)
    x, w = operands(*FAULTY)
    with pytest.raises(LostResultError, match=r"20 of 60 results .*; word 20 was 0 times"):
        direct.run(Direct(), x, w, positions=4)


@pytest.mark.usefixtures("fresh")
def test_a_level_without_register_gives_wrong_sums(monkeypatch) -> None:
    def short(levels, products):
        return (products, tree._pairs(products), *map(tree._pairs, levels[1:-1]))

    monkeypatch.setattr(tree, "step_levels", short)
    x, w = operands(*FAULTY)
    got = direct.run(Direct(), x, w, positions=4)
    assert (got.sums != product_of(x, w)).any()


@pytest.mark.usefixtures("fresh")
def test_an_odd_one_out_that_is_not_passed_on_gives_wrong_sums(monkeypatch) -> None:
    """Seven leaves: the last has no partner on level 1."""
    pairs = tree._pairs

    def forgetful(level):
        if level.shape[-2] % 2:
            level = level.at[..., -1, :].set(0)
        return pairs(level)

    monkeypatch.setattr(tree, "_pairs", forgetful)
    x, w = operands(*FAULTY)
    got = direct.run(Direct(), x, w, positions=4)
    assert (got.sums != product_of(x, w)).any()


@pytest.mark.usefixtures("fresh")
def test_an_image_presented_an_edge_too_late_is_a_stall(monkeypatch) -> None:
    """A bubble in the feed shows in the phases, though every sum is right."""
    feed = direct._feed

    def late(images, first, length):
        given = feed(images, first, length)
        order = jnp.array([0, length - 1, *range(1, length - 1)])
        return direct.Feed(*(field[order] for field in given))

    monkeypatch.setattr(direct, "_feed", late)
    x, w = operands(*FAULTY)
    got = direct.run(Direct(), x, w, positions=4)
    np.testing.assert_array_equal(got.sums, product_of(x, w))
    assert got.counters.stall == 1
    assert got.counters.cycles == expected(*FAULTY).cycles + 1
