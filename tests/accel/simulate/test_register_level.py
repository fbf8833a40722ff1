"""Pieces and groups change nothing; what is missing, late or put elsewhere is noticed."""

import jax
import numpy as np
import pytest
from arrays import factors, machines, noticed

from accel.simulate import output_stationary, register_level, weight_stationary
from accel.simulate.control import HeldTiles, SumTiles
from accel.simulate.simulation import LostResultError

MACHINES = machines(3, 2)
name = lambda machine: machine.name


@pytest.fixture(autouse=True)
def small_programs(monkeypatch):
    monkeypatch.setattr(register_level, "_PIECE", 32)
    monkeypatch.setattr(register_level, "_PLANE", 1)


def product():
    return factors(2, 4, 7, 5)


@pytest.mark.parametrize("machine", MACHINES, ids=name)
def test_pieces_and_groups_change_nothing(machine, monkeypatch):
    """Whatever the pieces, states go from one to the next."""
    given = factors(3, 4, 7, 5)
    expected = register_level.run(machine, *given)
    for piece, plane in ((5, 1), (1024, 1), (32, 2 * machine.multipliers)):
        monkeypatch.setattr(register_level, "_PIECE", piece)
        monkeypatch.setattr(register_level, "_PLANE", plane)
        found = register_level.run(machine, *given)
        assert np.array_equal(found.sums, expected.sums)
        assert found.counters == expected.counters


@pytest.mark.parametrize("machine", [MACHINES[0], MACHINES[-1]], ids=name)
def test_no_more_than_a_piece_is_presented_at_once(machine, monkeypatch):
    kind, sizes = SumTiles if machine.dataflow == "os" else HeldTiles, []
    feed = kind.feed

    def seen(tiles, start, stop):
        found = feed(tiles, start, stop)
        sizes.append(len(found.valid))
        return found

    monkeypatch.setattr(kind, "feed", seen)
    register_level.run(machine, *factors(1, 40, 9, 9))
    assert len(sizes) > 4
    assert set(sizes) == {32}


@pytest.mark.parametrize("machine", MACHINES, ids=name)
def test_one_edge_fewer_misses_a_result(machine, monkeypatch):
    x, w = factors(1, 4, 4, 4)
    edges = tiles(machine, x, w).edges
    for fewer, signs in ((0, set()), (1, {"lost"})):
        monkeypatch.setattr(register_level, "SURPLUS", -fewer)
        monkeypatch.setattr(register_level, "_PIECE", edges - fewer)
        assert noticed(register_level.run, machine, x, w) == signs


def tiles(machine, x, w):
    if machine.dataflow == "os":
        return SumTiles.cut(machine, x, w)
    if machine.dataflow == "ws":
        return HeldTiles.cut(machine, x, w[None])
    return HeldTiles.cut(machine, w.T[None], x.mT)


# --- What an observer sees is wrong. ---


def seen_changed(monkeypatch, change):
    """Of a run in one piece."""
    monkeypatch.setattr(register_level, "_PIECE", 256)
    for module in (weight_stationary, output_stationary):

        def run(*given, kept=module.run, **scheme):
            state, seen = kept(*given, **scheme)
            return state, change(jax.tree.map(np.array, seen))

        monkeypatch.setattr(module, "run", run)


def late(array, column):
    array[1:, column] = array[:-1, column].copy()


def column_late(column):
    def change(seen):
        late(seen.result, column)
        late(seen.bottom, column)
        return seen

    return change


def values_late(seen):
    late(seen.bottom, 1)
    return seen


def dropped(seen):
    seen.result[np.flatnonzero(seen.result[:, 1])[3], 1] = False
    return seen


def surplus(seen):
    seen.result[-1, 0] = True
    return seen


CHANGES = {
    "first column late": (column_late(0), "lost"),
    "last column late": (column_late(1), "lost"),
    "values late": (values_late, "sums"),
    "valid bit dropped": (dropped, "lost"),
    "one result more": (surplus, "lost"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("machine", MACHINES, ids=name)
def test_results_out_of_time_are_noticed(machine, change, monkeypatch):
    seen_changed(monkeypatch, lambda seen: seen)
    assert noticed(register_level.run, machine, *product()) == set()
    seen_changed(monkeypatch, CHANGES[change][0])
    assert CHANGES[change][1] in noticed(register_level.run, machine, *product())


def test_losses_are_named(monkeypatch):
    seen_changed(monkeypatch, column_late(1))
    with pytest.raises(LostResultError, match="column 1 of systolic_ws_3x2 is out of step"):
        register_level.run(MACHINES[0], *product())
    seen_changed(monkeypatch, dropped)
    with pytest.raises(
        LostResultError, match="column 1 of systolic_os_3x2 gave 17 results instead"
    ):
        register_level.run(MACHINES[-1], *product())


# --- Tiles go to the wrong place. ---


def results_changed(monkeypatch, change):
    """Of each tile, (tiles of N, tiles of K, ...)."""
    kept = register_level._accumulated

    def accumulated(results, tiles, wanted):
        deep, each = len(tiles.items), tiles.items_each
        found = results.reshape(-1, deep, each, *results.shape[1:]).copy()
        change(found)
        return kept(found.reshape(results.shape), tiles, wanted)

    monkeypatch.setattr(register_level, "_accumulated", accumulated)


def skipped(found):
    found[0, 1] = 0


def doubled(found):
    found[0, 1] *= 2


def elsewhere(found):
    found[1, 1] += found[0, 1]
    found[0, 1] = 0


@pytest.mark.parametrize("change", [skipped, doubled, elsewhere])
@pytest.mark.parametrize("machine", MACHINES[:-1], ids=name)
def test_a_tile_of_k_added_wrongly_is_noticed(machine, change, monkeypatch):
    results_changed(monkeypatch, change)
    assert noticed(register_level.run, machine, *product()) == {"sums"}


@pytest.mark.parametrize("machine", MACHINES[:-1], ids=name)
def test_a_tile_that_is_never_loaded_is_noticed(machine, monkeypatch):
    """Its words are no part of what was counted either."""
    cut = HeldTiles.cut.__func__

    def without(cls, machine, left, right):
        tiles = cut(cls, machine, left, right)
        tiles.weights[1], tiles.live[1] = 0, False
        return tiles

    monkeypatch.setattr(HeldTiles, "cut", classmethod(without))
    assert noticed(register_level.run, machine, *product()) == {"sums", "counters"}


def test_a_tile_of_outputs_put_elsewhere_is_noticed(monkeypatch):
    kept = register_level._placed

    def placed(results, tiles, *sizes):
        swapped = results.reshape(tiles.count, -1, *results.shape[1:])[::-1]
        return kept(swapped.reshape(results.shape), tiles, *sizes)

    monkeypatch.setattr(register_level, "_placed", placed)
    assert noticed(register_level.run, MACHINES[-1], *product()) == {"sums"}
