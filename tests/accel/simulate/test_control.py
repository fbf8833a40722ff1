"""The controller presents each word on its edge, and tiles follow as close as they can."""

from itertools import pairwise

import jax
import numpy as np
import pytest
from arrays import SHAPES, exact, factors, machines, noticed
from hypothesis import given
from hypothesis import strategies as st

from accel.machines.machine import Systolic
from accel.simulate import control, register_level
from accel.simulate.control import HeldTiles, SumTiles

ARRAYS = [machine for shape in SHAPES for machine in machines(*shape)]
name = lambda machine: machine.name


def tiles_of(machine: Systolic, x_GMK, w_KN) -> HeldTiles | SumTiles:
    if machine.dataflow == "os":
        return SumTiles.cut(machine, x_GMK, w_KN)
    if machine.dataflow == "ws":
        return HeldTiles.cut(machine, x_GMK, w_KN[None])
    return HeldTiles.cut(machine, w_KN.T[None], x_GMK.transpose(0, 2, 1))


@pytest.fixture(scope="module", autouse=True)
def small_programs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(register_level, "_PIECE", 32)
        patch.setattr(register_level, "_PLANE", 1)
        yield


# --- What is presented. ---


@pytest.mark.parametrize("machine", machines(3, 2)[:-1], ids=name)
def test_held_tiles_are_presented_word_by_word(machine):
    x, w = factors(2, 4, 5, 3)
    left, right = (x, w[None]) if machine.dataflow == "ws" else (w.T[None], x.mT)
    tiles = tiles_of(machine, x, w)
    feed = tiles.feed(0, tiles.edges)
    G, (_, M, K), N = len(x), left.shape, right.shape[2]
    P, rows, cols = control.period(machine, M), machine.rows, machine.cols
    expected = tiles.feed(10**6, 10**6 + tiles.edges)._asdict()
    assert not any(array.any() for array in expected.values())
    starts = [
        (k, n) for n in range(control.tile_count(N, cols))
        for k in range(control.tile_count(K, rows))
    ]  # fmt: skip
    for t, (k, n) in enumerate(starts):
        for row in range(rows):
            edge = t * P + rows - 1 - row
            expected["load"][edge] = True
            expected["last"][edge] = row == 0
            for c in range(min(cols, N - n * cols) if k * rows + row < K else 0):
                word = right[:, k * rows + row, n * cols + c]
                expected["weights"][edge, c] = word
                expected["live"][edge, c] = True
        for m in range(M):
            edge = t * P + rows + m
            expected["valid"][edge], expected["first"][edge] = True, m == 0
            for row in range(min(rows, K - k * rows)):
                expected["items"][edge, row] = left[:, m, k * rows + row]
                expected["live_items"][edge, row] = True
    assert len(starts) == tiles.count
    assert G == 2
    for field, array in expected.items():
        assert np.array_equal(getattr(feed, field), array), field


def test_operands_of_sums_are_presented_word_by_word():
    machine, (x, w) = Systolic(rows=3, cols=2, dataflow="os"), factors(2, 4, 5, 3)
    tiles = tiles_of(machine, x, w)
    feed = tiles.feed(0, tiles.edges)
    period = 5 + 2 * 3 + 2 - 2
    expected = {field: np.zeros_like(array) for field, array in feed._asdict().items()}
    for t, (n, m) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        rows, cols = range(m * 3, min(m * 3 + 3, 4)), range(n * 2, min(n * 2 + 2, 3))
        all_along = slice(t * period, (t + 1) * period)
        expected["live"][all_along, : len(rows), : len(cols)] = True
        for k in range(5):
            edge = t * period + k
            expected["items"][edge, : len(rows)] = x[:, rows, k].T
            expected["weights"][edge, : len(cols), 0] = w[k, cols]
            expected["live_items"][edge, : len(rows)] = True
            expected["live_weights"][edge, : len(cols)] = True
            expected["valid"][edge] = True
            expected["first"][edge], expected["last"][edge] = k == 0, k == 4
    assert tiles.edges == 4 * period
    for field, array in expected.items():
        assert np.array_equal(getattr(feed, field), array), field


@pytest.mark.parametrize("machine", machines(2, 4), ids=name)
def test_pieces_of_a_feed_are_the_feed(machine):
    tiles = tiles_of(machine, *factors(1, 3, 5, 6))
    whole = tiles.feed(0, 70)
    cuts = [0, 1, 2, 9, 30, 70]
    pieces = [tiles.feed(a, b) for a, b in pairwise(cuts)]
    for found, part in zip(whole, zip(*pieces, strict=True), strict=True):
        assert np.array_equal(found, np.concatenate(part))


@given(st.integers(1, 40), st.integers(1, 9))
def test_whole_tiles(size, side):
    found = control.whole(size, side)
    assert found.shape == (control.tile_count(size, side), side)
    assert found.ravel().tolist() == [i < size for i in range(found.size)]
    assert found.any(1).all()
    array = np.arange(2 * size).reshape(2, size)
    padded = control.padded(array, 1, side)
    assert np.array_equal(padded[:, :size], array)
    assert padded.shape == (2, found.size)
    assert not padded[:, size:].any()


# --- When results come. ---


@pytest.mark.parametrize("machine", ARRAYS, ids=name)
def test_results_come_on_the_edges_of_the_contract(machine):
    """y[m][c] on edge m + rows + c, counted from 1 where its tile's x[0] is presented."""
    rows, cols, M = machine.rows, machine.cols, 4
    tiles = tiles_of(machine, *factors(1, M, M, M))
    state, advance = register_level.start(tiles)
    feed = tiles.feed(0, tiles.edges + 3)
    _, seen = jax.device_get(advance(state, feed))
    starts = np.flatnonzero(feed.first)
    assert len(starts) == tiles.count
    if machine.dataflow == "os":
        due = [s + M + rows + cols - 2 + r for s in starts for r in range(rows)]
        columns = [due] * cols
    else:
        at = lambda c: [s + m + rows + c - 1 for s in starts for m in range(M)]
        columns = [at(c) for c in range(cols)]
    for c in range(cols):
        assert np.flatnonzero(seen.result[:, c]).tolist() == columns[c]
    assert tiles.edges == columns[-1][-1] + 1


@pytest.mark.parametrize("machine", ARRAYS, ids=name)
def test_tiles_follow_each_other_as_the_contract_says(machine):
    rows, cols, M = machine.rows, machine.cols, 4
    feed = tiles_of(machine, *factors(1, M, M, M)).feed(0, 300)
    periods = set(np.diff(np.flatnonzero(feed.first)).tolist())
    expected = M + 2 * rows + cols - 2
    if machine.weights == "shadow":
        needed = rows if machine.load == "skewed" else 2 * rows + cols - 2
        expected = max(M, needed)
    assert periods <= {expected}
    assert periods or machine.multipliers >= M * M


def closest(machine: Systolic) -> int:
    """Edges that two tiles keep apart however few their items are."""
    return machine.rows if machine.load == "skewed" else 2 * machine.rows + machine.cols - 2


SHADOW = [machine for machine in ARRAYS if machine.weights == "shadow"]
TIGHT = [(m, M) for m in SHADOW for M in range(1, 9) if closest(m) > M]


@pytest.mark.parametrize(
    ("machine", "M"), TIGHT, ids=[f"{m.name}-{M}" for m, M in TIGHT]
)  # fmt: skip
def test_tiles_that_follow_one_edge_closer_go_wrong(machine, M, monkeypatch):
    streamed = {"M": M, "N": 2 * machine.cols + 1}
    if machine.dataflow == "is":
        streamed = {"M": 2 * machine.cols + 1, "N": M}
    product = factors(1, K=2 * machine.rows + 1, **streamed)
    assert noticed(register_level.run, machine, *product) == set()
    kept = control.period
    monkeypatch.setattr(control, "period", lambda *given: kept(*given) - 1)
    signs = noticed(register_level.run, machine, *product)
    assert signs & {"sums", "lost"}


@pytest.mark.parametrize("machine", machines(3, 2), ids=name)
def test_tiles_may_follow_later(machine, monkeypatch):
    """The numbers stay: what a longer period costs are cycles."""
    product = factors(1, 4, 7, 5)
    kept = control.period
    monkeypatch.setattr(control, "period", lambda *given: kept(*given) + 1)
    found = register_level.run(machine, *product)
    assert np.array_equal(found.sums, exact(*product))
    assert noticed(register_level.run, machine, *product) == {"counters"}
