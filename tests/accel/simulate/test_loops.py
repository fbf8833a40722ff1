"""The sequential machines, stepped: exact sums, and every count as the loops say.

The counts are written here once more, from what the machines are, without a look at the
predictions of `accel.predict.timing`. Then faults are planted, one by one, and seen.
"""

from math import ceil, log2

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from accel.machines.counters import Counters, times
from accel.machines.machine import Dot, Mac, Machine, Tile
from accel.simulate import clock, mac, tree, trees
from accel.simulate.loops import run
from accel.simulate.simulation import LostResultError
from configs.errors import InputError

# M, K, N: one of each, ragged every way, more inputs than multipliers, and fewer.
SHAPES = [(1, 1, 1), (3, 7, 5), (4, 16, 8), (2, 33, 9), (1, 5, 1), (5, 1, 3)]
MACHINES = [
    Mac(),
    Mac(dram=True),
    Mac(dram=True, access_cycles=3),
    Dot(multipliers=1),
    Dot(multipliers=4),
    Dot(multipliers=7),
    Dot(multipliers=64),
    Tile(inputs=1, outputs=1),
    Tile(inputs=1, outputs=1, loop="inputs"),
    Tile(inputs=4, outputs=2),
    Tile(inputs=4, outputs=2, loop="inputs"),
    Tile(inputs=3, outputs=5),
    Tile(inputs=3, outputs=5, loop="inputs"),
    Tile(inputs=1, outputs=4, loop="inputs"),
    Tile(inputs=5, outputs=1),
]


def operands(m: int, k: int, n: int, group: int = 1, *, dtype=np.uint8, seed: int = 0):
    """Random operands that reach both ends of their ranges."""
    draw = np.random.default_rng(seed)
    ends = np.iinfo(dtype)
    x = draw.integers(ends.min, ends.max + 1, (group, m, k)).astype(dtype)
    w = draw.integers(-127, 128, (k, n)).astype(np.int8)
    x[:, -1], w[:, -1] = ends.min, 127
    x[:, 0], w[:, 0] = ends.max, -127
    return x, w


def expected(machine: Machine, m: int, k: int, n: int) -> Counters:
    """Counts of one run."""
    macs = m * k * n
    if isinstance(machine, Mac):
        counts = Counters(stream=macs, tiles=m * n)
        if machine.dram:
            # Input, weight, sum back, sum out; nothing to read back for the first.
            accesses = 4 * macs - m * n
            again = m * (k - 1) * n
            counts = counts._replace(
                stall=accesses * machine.access_cycles - macs,
                sum_reads=again,
                sum_writes=again,
            )
        counts = counts._replace(input_fetches=macs)
    elif isinstance(machine, Dot):
        slices = ceil(k / machine.multipliers)
        counts = Counters(
            fill=ceil(log2(machine.multipliers)) + 1,
            stream=m * n * slices,
            input_fetches=macs,
            tiles=m * n,
        )
    else:
        slices, groups = ceil(k / machine.inputs), ceil(n / machine.outputs)
        out = machine.loop == "inputs"
        counts = Counters(
            fill=ceil(log2(machine.inputs)) + 1,
            stream=m * slices * groups,
            # Held for all outputs in turn, or fetched again for each tile of them.
            input_fetches=m * k * (1 if out else groups),
            sum_reads=m * n * (slices - 1) if out else 0,
            sum_writes=m * n * (slices - 1) if out else 0,
            tiles=m * slices * groups,
        )
    return counts._replace(
        macs=macs,
        weight_fetches=macs,
        output_writes=m * n,
        slots=machine.multipliers * counts.cycles,
    )


def product_of(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return x.astype(np.int64) @ w.astype(np.int64)


def check(machine: Machine, x: np.ndarray, w: np.ndarray, **keywords) -> None:
    """Every sum and every count."""
    got = run(machine, x, w, **keywords)
    assert got.sums.dtype == np.int32
    np.testing.assert_array_equal(got.sums, product_of(x, w))
    group, m, k = x.shape
    assert got.counters == times(expected(machine, m, k, w.shape[1]), group)
    assert all(type(count) is int for count in got.counters)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_sums_and_counts_of_ragged_products(machine) -> None:
    for index, shape in enumerate(SHAPES):
        dtype = np.uint8 if index % 2 else np.int8
        check(machine, *operands(*shape, dtype=dtype))
    check(machine, *operands(3, 7, 5, 3))


@settings(max_examples=12, deadline=None)
@given(
    machine=st.sampled_from(MACHINES[3:]),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 40), st.integers(1, 12)),
    signed=st.booleans(),
    seed=st.integers(0, 99),
)
@example(Dot(multipliers=64), (2, 40, 3), True, 0)
def test_sums_and_counts_of_any_product(machine, shape, signed, seed) -> None:
    dtype = np.int8 if signed else np.uint8
    check(machine, *operands(*shape, dtype=dtype, seed=seed))


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_one_edge_fewer_loses_the_last_result(machine) -> None:
    x, w = operands(3, 7, 5)
    edges = expected(machine, 3, 7, 5).cycles
    check(machine, x, w, edges=edges)
    with pytest.raises(
        LostResultError, match="of 15 results were not captured exactly once"
    ):
        run(machine, x, w, edges=edges - 1)


PIECEWISE = [Mac(), Mac(dram=True), Dot(multipliers=4), Tile(inputs=3, outputs=2)]


@pytest.mark.parametrize("machine", PIECEWISE, ids=lambda machine: machine.name)
def test_the_state_is_handed_from_piece_to_piece(machine, monkeypatch) -> None:
    monkeypatch.setattr(clock, "_MOST_EDGES", 16)
    check(machine, *operands(3, 7, 5))


def test_a_piece_that_ends_with_the_run_is_followed_by_one_that_finds_it_over() -> None:
    """16 multiplications fill a piece of 16 edges to the last."""
    assert clock.piece_edges(15, lanes=1, group=1, multipliers=1) == 16
    check(Mac(), *operands(1, 16, 1))
    check(Mac(), *operands(1, 64, 4))


@pytest.mark.parametrize("machine", PIECEWISE, ids=lambda machine: machine.name)
def test_more_runs_than_fit_go_in_groups(machine, monkeypatch) -> None:
    """Five runs, two side by side: the third group is half empty and counts as one run."""
    monkeypatch.setattr(clock, "_MOST_WORDS", 100)
    check(machine, *operands(3, 7, 5, 5))


def test_no_rows_and_no_runs_take_no_cycles() -> None:
    for machine in PIECEWISE:
        for group, rows in ((1, 0), (0, 2)):
            x, w = np.zeros((group, rows, 7), np.uint8), np.ones((7, 5), np.int8)
            got = run(machine, x, w)
            assert got.sums.shape == (group, rows, 5)
            assert got.counters == Counters()


def test_products_of_a_class_share_one_program() -> None:
    """Four layers' shapes, two activation types, one compilation for each machine."""
    for piece, machine in ((trees._piece, Tile(inputs=2, outputs=2)), (mac._piece, Mac())):
        piece.clear_cache()
        for shape, dtype in (
            ((5, 9, 9), np.uint8),
            ((9, 5, 9), np.int8),
            ((4, 12, 9), np.uint8),
            ((8, 8, 6), np.int8),
        ):
            run(machine, *operands(*shape, dtype=dtype))
        assert piece._cache_size() == 1


def test_storage_too_small_for_a_row_of_partial_sums_is_refused() -> None:
    machine = Tile(inputs=2, outputs=4, loop="inputs", sum_words=4)
    check(machine, *operands(2, 5, 4))
    with pytest.raises(
        InputError, match=r"`sum_words` \(=4\) of Tile must hold a row of 5"
    ):
        run(machine, *operands(2, 5, 5))


# Planted faults. Compiled programs remember the code they were made of, so they go.


@pytest.fixture
def fresh():
    pieces = (trees._piece, mac._piece, mac._memory_piece)
    for piece in pieces:
        piece.clear_cache()
    yield
    for piece in pieces:
        piece.clear_cache()


FAULTY = (Dot(multipliers=4), *operands(3, 10, 5))


@pytest.mark.usefixtures("fresh")
def test_a_dropped_valid_bit_loses_its_result(monkeypatch) -> None:
    step = tree.step_tags

    def dropping(tags, entering):
        gone = (entering.m == 1) & (entering.n == 2) & entering.last
        return step(tags, entering._replace(valid=entering.valid & ~gone))

    monkeypatch.setattr(tree, "step_tags", dropping)
    with pytest.raises(LostResultError, match=r"1 of 15 results .*; word 7 was 0 times"):
        run(*FAULTY)


def _without_a_register(levels, products):
    return (products, tree._pairs(products), *map(tree._pairs, levels[1:-1]))


@pytest.mark.usefixtures("fresh")
def test_a_level_without_register_gives_wrong_sums(monkeypatch) -> None:
    monkeypatch.setattr(tree, "step_levels", _without_a_register)
    machine, x, w = FAULTY
    assert (run(machine, x, w).sums != product_of(x, w)).any()


@pytest.mark.usefixtures("fresh")
def test_a_level_without_register_and_tag_is_a_cycle_too_fast(monkeypatch) -> None:
    """Sums are right then; the count of cycles is not."""
    empty = tree.empty_tags
    monkeypatch.setattr(tree, "step_levels", _without_a_register)
    monkeypatch.setattr(
        tree, "empty_tags", lambda leaves: jax.tree.map(lambda t: t[1:], empty(leaves))
    )
    machine, x, w = FAULTY
    got = run(machine, x, w)
    np.testing.assert_array_equal(got.sums, product_of(x, w))
    right = expected(machine, 3, 10, 5)
    assert got.counters.fill == right.fill - 1
    assert got.counters.stream == right.stream


@pytest.mark.usefixtures("fresh")
def test_lanes_that_are_not_masked_show_in_sums_and_counts(monkeypatch) -> None:
    lanes = trees._lanes

    def all_inputs(first, size, end):
        return lanes(first, size, end) | jnp.bool_(size == 4)

    monkeypatch.setattr(trees, "_lanes", all_inputs)
    machine, x, w = FAULTY
    got, right = run(machine, x, w), expected(machine, 3, 10, 5)
    assert (got.sums != product_of(x, w)).any()
    # Two lanes too many in the last of three slices.
    assert got.counters.macs == right.macs + 2 * 15
    assert got.counters.input_fetches == right.input_fetches + 2 * 15


@pytest.mark.usefixtures("fresh")
def test_inputs_that_are_not_held_give_wrong_sums(monkeypatch) -> None:
    """The register takes nothing; the second tile of outputs meets zeros."""
    inputs = trees._inputs

    def forgetful(memory, s, size, built):
        return inputs(memory, s._replace(held=jnp.zeros_like(s.held)), size, built)

    monkeypatch.setattr(trees, "_inputs", forgetful)
    x, w = FAULTY[1:]
    wrong = run(Tile(inputs=4, outputs=2, loop="inputs"), x, w).sums != product_of(x, w)
    assert wrong.any((0, 1)).tolist() == [False, False, True, True, True]


@pytest.mark.usefixtures("fresh")
def test_outputs_that_are_not_masked_are_captured_twice(monkeypatch) -> None:
    lanes = trees._lanes
    monkeypatch.setattr(
        trees, "_lanes", lambda first, size, end: lanes(first, size, end) | (size == 2)
    )
    _, x, w = FAULTY
    with pytest.raises(LostResultError):
        run(Tile(inputs=4, outputs=2), x, w)


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("machine", [Mac(), Mac(dram=True), *FAULTY[:1]], ids=str)
def test_a_slice_that_is_skipped_is_seen(machine, monkeypatch) -> None:
    """The controller steps over the second slice of sum (1, 2)."""
    module = trees if isinstance(machine, Dot) else mac
    follow = module.following

    def skipping(at, size, **steps):
        second = follow(at, size, **steps)
        skips = (at.m == 1) & (at.n == 2) & (at.k == 0)
        third = follow(second, size, **steps)
        return jax.tree.map(lambda a, b: jnp.where(skips, a, b), third, second)

    monkeypatch.setattr(module, "following", skipping)
    _, x, w = FAULTY
    got, right = run(machine, x, w), expected(machine, 3, 10, 5)
    wrong = np.argwhere(got.sums != product_of(x, w))
    assert wrong.tolist() == [[0, 1, 2]]
    assert got.counters.macs < right.macs
    assert got.counters.cycles < right.cycles


@pytest.mark.usefixtures("fresh")
def test_a_controller_that_stops_early_loses_results(monkeypatch) -> None:
    follow = mac.following

    def stopping(at, size):
        after = follow(at, size)
        return after._replace(present=after.present & (after.m < 2))

    monkeypatch.setattr(mac, "following", stopping)
    with pytest.raises(LostResultError, match=r"5 of 15 results .*; word 10 was 0 times"):
        run(Mac(), *FAULTY[1:])


@pytest.mark.usefixtures("fresh")
def test_a_partial_sum_that_never_reaches_memory_gives_wrong_sums(monkeypatch) -> None:
    monkeypatch.setattr(
        mac.jax.lax, "dynamic_update_index_in_dim", lambda memory, *_: memory
    )
    x, w = FAULTY[1:]
    assert (run(Mac(dram=True), x, w).sums != product_of(x, w)).any()


def _handing(words: list[int], **phases: int):
    """A machine of one lane that hands over these words, one an edge (-1: none)."""

    def piece(state, first):
        word = np.full((16, 1), -1, np.int32)
        word[: len(words), 0] = words
        counts = clock.zeros()._replace(**{p: jnp.int32(n) for p, n in phases.items()})
        value = np.ones((16, 1, 1), np.int32)
        return state, counts, clock.Handed(word >= 0, word, value)

    return piece


@pytest.mark.parametrize(
    ("words", "cycles", "message"),
    [
        ([0, 1, 1], 3, "1 of 2 results .*; word 1 was 2 times"),
        ([0, -1], 1, "1 of 2 results .*; word 1 was 0 times"),
        ([0, 2, 1], 3, "handed over for word 2 of 2"),
        ([0, 1], 3, "last result came on edge 1, but the phases are"),
    ],
)
def test_the_clock_accepts_every_result_once_and_in_time(words, cycles, message) -> None:
    settings = dict(length=16, words=2, group=1, edges=None)
    right, _ = clock.run_clock(_handing([1, 0], stream=2), None, **settings)
    assert right.tolist() == [[1, 1]]
    with pytest.raises(LostResultError, match=message):
        clock.run_clock(_handing(words, stream=cycles), None, **settings)


def test_pieces_are_short_enough_to_hold_and_to_count() -> None:
    """16 MiB of sums handed over at most, and counts below 2^31."""
    for lanes, group, multipliers in ((1, 1, 1), (16, 100, 256), (1 << 20, 1, 1 << 20)):
        edges = clock.piece_edges(
            1 << 30, lanes=lanes, group=group, multipliers=multipliers
        )
        assert edges * lanes * group * 4 <= 1 << 24
        assert edges * multipliers < 1 << 31
    assert clock.piece_edges(1 << 30, lanes=1, group=1, multipliers=1) == 4096
