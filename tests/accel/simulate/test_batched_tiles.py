"""The fast form equals the literal one in bits and counts, however its work is cut up."""

import dataclasses

import jax
import numpy as np
import pytest
from arrays import SHAPES, exact, factors, noticed, products
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.machines.machine import Systolic
from accel.simulate import batched_tiles, register_level, register_renaming
from accel.simulate.simulation import LostResultError

SIZES = {"rows": 3, "cols": 2}


def run(machine, x_GMK, w_KN):
    return batched_tiles.run(machine, x_GMK, w_KN[None])


@pytest.fixture(autouse=True)
def small_programs(monkeypatch):
    """Few programs, and pieces that are met everywhere."""
    monkeypatch.setattr(register_level, "_PIECE", 32)
    monkeypatch.setattr(register_level, "_PLANE", 1)
    monkeypatch.setattr(batched_tiles, "_EDGES", 8)
    monkeypatch.setattr(batched_tiles, "_MOST_LANES", 2)


@given(shape=st.sampled_from(SHAPES), product=products())
@settings(max_examples=60, deadline=None)
def test_it_is_the_literal_form(shape, product):
    machine = Systolic(rows=shape[0], cols=shape[1])
    fast, literal = run(machine, *product), register_level.run(machine, *product)
    assert fast.sums.dtype == literal.sums.dtype == np.int32
    assert np.array_equal(fast.sums, literal.sums)
    assert np.array_equal(fast.sums, exact(*product))
    assert fast.counters._asdict() == literal.counters._asdict()
    assert all(type(count) is int for count in fast.counters)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_array_may_hold_a_tile_of_its_own(count):
    left = factors(count, 4, 7, 1)[0]
    right = np.stack([factors(1, 1, 7, 5, seed=g)[1] for g in range(count)])
    found = batched_tiles.run(Systolic(**SIZES), left, right)
    assert np.array_equal(found.sums, left.astype(int) @ right.astype(int))
    shared = batched_tiles.run(Systolic(**SIZES), left[:1], right)
    assert np.array_equal(shared.sums, left[:1].astype(int) @ right.astype(int))
    assert shared.counters == found.counters


# --- However the work is cut up. ---


def test_pieces_lanes_and_blocks_change_nothing(monkeypatch):
    machine, product = Systolic(**SIZES), factors(3, 21, 7, 9)
    expected = run(machine, *product)
    assert np.array_equal(expected.sums, exact(*product))
    for edges, most in ((4096, 64), (64, 4), (13, 8), (1, 1)):
        monkeypatch.setattr(batched_tiles, "_EDGES", edges)
        monkeypatch.setattr(batched_tiles, "_MOST_LANES", most)
        found = run(machine, *product)
        assert np.array_equal(found.sums, expected.sums)
        assert found.counters == expected.counters


def test_devices_share_the_work(monkeypatch):
    devices, used = jax.local_devices(), set()
    assert len(devices) == 2
    stream = register_renaming.stream

    def seen(*given):
        found = stream(*given)
        used.update(found[1].devices())
        return found

    monkeypatch.setattr(register_renaming, "stream", seen)
    machine, product = Systolic(**SIZES), factors(3, 4, 7, 9)
    both = run(machine, *product)
    assert used == set(devices)
    used.clear()
    monkeypatch.setattr(jax, "local_devices", lambda: devices[:1])
    alone = run(machine, *product)
    assert used == {devices[0]}
    assert np.array_equal(both.sums, alone.sums)
    assert both.counters == alone.counters


SIDES = st.integers(1, 1024)


@given(rows=SIDES, cols=SIDES, items=st.integers(1, 10**6), wanted=st.integers(1, 10**5))
def test_a_plan_is_bounded_and_reaches_the_end(rows, cols, items, wanted):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batched_tiles, "_EDGES", 4096)
        patch.setattr(batched_tiles, "_MOST_LANES", 64)
        plan = batched_tiles.Plan.made(Systolic(rows=rows, cols=cols), items, wanted)
    needed = items + rows + cols - 2 + register_level.SURPLUS
    # Results are kept for little more than the edges that are needed, whatever a piece is.
    spare = plan.edges * plan.pieces - needed
    assert 0 <= spare < max(8, needed / 4 + 1, plan.edges if plan.pieces > 1 else 0)
    assert plan.edges <= 4096 + rows
    assert plan.lanes == 1 or plan.lanes * rows * cols <= batched_tiles._SUMS
    assert plan.blocks == 1 or plan.blocks * plan.edges <= 4096
    # No more than twice what is wanted is stepped.
    assert plan.blocks == 1 or (plan.blocks - 1) * plan.lanes < 2 * wanted
    if plan.pieces > 1:
        # Slots come back to their rows, and no result falls out two pieces later.
        assert plan.edges % rows == 0
        assert plan.edges >= cols - 1


def test_programs_step_every_sum_once():
    plan = batched_tiles.Plan(rows=3, cols=2, items=4, lanes=2, blocks=3, edges=8, pieces=1)
    groups = list(batched_tiles._groups(plan, 20))
    assert np.array_equal(np.concatenate(groups), np.arange(20))
    assert [len(group) for group in groups] == [6, 6, 6, 2]


# --- Faults are noticed. ---


def product():
    return factors(2, 4, 7, 5)


def test_nothing_is_noticed_without_a_fault():
    assert noticed(run, Systolic(**SIZES), *product()) == set()


@pytest.fixture
def rebuilt(monkeypatch):
    """The array is compiled anew, with what a test has put into it."""
    stream = register_renaming.stream.__wrapped__
    monkeypatch.setattr(register_renaming, "stream", jax.jit(lambda *given: stream(*given)))


def test_a_dropped_skew_register_is_noticed(rebuilt, monkeypatch):
    kept = register_renaming.skewed

    def skewed(items, rows, lanes):
        # Row 1, slots rows - 1 and 2 * rows - 1, an edge early.
        found = kept(items, rows, lanes)
        early = found.at[:-1, rows - 1 :: rows].set(found[1:, rows - 1 :: rows])
        return early

    monkeypatch.setattr(register_renaming, "skewed", skewed)
    assert noticed(run, Systolic(**SIZES), *product()) == {"sums"}


def load_changed(monkeypatch, change):
    kept = register_renaming.load
    monkeypatch.setattr(
        register_renaming, "load", lambda w, enable: change(kept, w, enable)
    )


@pytest.mark.parametrize(
    "change",
    [
        # The enable comes an edge late, and with it the end.
        lambda load, w, enable: load(w, np.roll(enable, 1) & (np.arange(len(enable)) > 0)),
        # Every weight one row further down.
        lambda load, w, enable: np.roll(load(w, enable), 1, axis=2),
    ],
    ids=["enable", "row"],
)
def test_weights_loaded_one_cycle_off_are_noticed(change, monkeypatch):
    load_changed(monkeypatch, change)
    assert noticed(run, Systolic(**SIZES), *product()) == {"sums"}


@pytest.mark.parametrize("bit", [0, 7])
def test_one_flipped_bit_of_one_weight_is_noticed(bit, monkeypatch):
    def change(load, w, enable):
        w = w.copy()
        w[0, 1, 0, 0] ^= np.array(1 << bit).astype(np.int8)
        return load(w, enable)

    load_changed(monkeypatch, change)
    assert noticed(run, Systolic(**SIZES), *product()) == {"sums"}


def tile_changed(monkeypatch, change):
    """Something else happens with the second tile of K."""
    kept = batched_tiles._tile

    def tile(plan, product, k, wide, g, below):
        cut = (plan, product, k, wide, g)
        return change(kept, *cut, below=below) if k == 1 else kept(*cut, below)

    monkeypatch.setattr(batched_tiles, "_tile", tile)


def skipped(tile, *cut, below):
    before = [under.copy() for under in below]
    _, bits, loads = tile(*cut, below)
    return before, bits, loads


def doubled(tile, *cut, below):
    below, _, _ = tile(*cut, below)
    return tile(*cut, below)


def elsewhere(tile, plan, product, k, wide, g, below):
    return tile(plan, product, k, (wide + 1) % len(product.live_cols), g, below)


@pytest.mark.parametrize("change", [skipped, doubled, elsewhere])
def test_a_wrong_tile_of_k_is_noticed(change, monkeypatch):
    tile_changed(monkeypatch, change)
    assert "sums" in noticed(run, Systolic(**SIZES), *product())


def test_a_skipped_tile_is_counted(monkeypatch):
    """Even where its products are all 0."""
    kept = batched_tiles.Product.cut

    def cut(plan, left_GMK, right_GKN):
        return kept(plan, left_GMK[..., :6], right_GKN[:, :6])

    x, w = product()
    x[..., 6:] = 0
    monkeypatch.setattr(batched_tiles.Product, "cut", cut)
    assert noticed(run, Systolic(**SIZES), x, w) == {"counters"}


def test_one_edge_fewer_misses_a_result(monkeypatch):
    # The last of 5 items falls out on edge 5 + 8 + 6 - 2 = 17: programs of 16 and 24 edges.
    machine, given = Systolic(rows=8, cols=6), factors(1, 5, 9, 7)
    monkeypatch.setattr(batched_tiles, "_EDGES", 64)
    for surplus, edges, signs in ((-1, 16, {"lost"}), (0, 24, set())):
        monkeypatch.setattr(batched_tiles, "SURPLUS", surplus)
        assert batched_tiles.Plan.made(machine, 5, 2).edges == edges
        assert noticed(run, machine, *given) == signs


def test_a_missing_piece_misses_results(monkeypatch):
    """9 items of 3 x 2 PEs need 12 edges, in pieces of 9."""
    machine, given = Systolic(**SIZES), factors(1, 9, 4, 3)
    assert noticed(run, machine, *given) == set()
    made = batched_tiles.Plan.made.__func__
    short = lambda *given: dataclasses.replace(made(*given), pieces=1)
    monkeypatch.setattr(batched_tiles.Plan, "made", classmethod(short))
    assert noticed(run, machine, *given) == {"lost"}


def bits_changed(monkeypatch, change):
    stream = register_renaming.stream

    def changed(*given):
        state, below, bits = stream(*given)
        return state, below, change(np.array(bits))

    monkeypatch.setattr(register_renaming, "stream", changed)


def dropped(bits):
    bits[:, np.flatnonzero(bits[0].any(1))[-1], -1] = False
    return bits


def column_late(bits):
    """The last column's bits an edge late."""
    bits[:, 1:, -1] = bits[:, :-1, -1].copy()
    return bits


def surplus(bits):
    """Something more comes out in the end."""
    bits[:, -1, -1] = True
    return bits


def out_of_step(bits):
    """The second array an edge late."""
    bits[1:] = np.roll(bits[1:], 1, axis=1)
    return bits


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dropped, "do not announce 4 results"),
        (column_late, "do not announce 4 results"),
        (surplus, "do not announce 4 results"),
        (out_of_step, "side by side went out of step"),
    ],
)
def test_valid_bits_that_announce_something_else_are_noticed(change, message, monkeypatch):
    monkeypatch.setattr(batched_tiles, "_EDGES", 64)
    machine = Systolic(**SIZES)
    assert noticed(run, machine, *product()) == set()
    bits_changed(monkeypatch, change)
    with pytest.raises(LostResultError, match=message):
        run(machine, *product())


def test_an_item_that_is_taken_for_none_is_noticed(monkeypatch):
    stream = register_renaming.stream

    def changed(state, weights, items, valid, below):
        return stream(state, weights, items, valid & (np.arange(len(valid)) != 1), below)

    monkeypatch.setattr(register_renaming, "stream", changed)
    with pytest.raises(LostResultError, match="do not announce 4 results"):
        run(Systolic(**SIZES), *product())


def test_a_column_whose_results_come_an_edge_late_is_noticed(monkeypatch):
    unskewed = register_renaming.unskewed

    def late(below, after):
        found = np.array(unskewed(below, after))
        found[:, -1] = np.roll(found[:, -1], 1, axis=1)
        return found

    monkeypatch.setattr(register_renaming, "unskewed", late)
    assert noticed(run, Systolic(**SIZES), *product()) == {"sums"}
