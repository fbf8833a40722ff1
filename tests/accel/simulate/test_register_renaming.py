"""Slots whose rows rotate hold what the literal registers hold, after every edge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import SHAPES, exact, factors

from accel.machines.machine import Systolic
from accel.simulate import register_renaming, weight_stationary
from accel.simulate.control import HeldTiles
from accel.simulate.faults import NONE

M, B = 5, 2
SURPLUS = 3


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: "{}x{}".format(*shape))
def literal(request):
    """B products of one tile each: factors, and every literal register after every edge."""
    rows, cols = request.param
    x, _ = factors(B, M, rows, 1)
    w = np.stack([factors(1, 1, rows, cols, seed=lane)[1] for lane in range(B)])
    tiles = HeldTiles.cut(Systolic(rows=rows, cols=cols), x, w)
    state = weight_stationary.reset(rows, cols, "single", item_lanes=B, weight_lanes=B)
    feed = tiles.feed(0, tiles.edges + SURPLUS)
    _, (registers, _) = weight_stationary.record(state, feed, NONE, scheme="single")
    return x, w, jax.device_get(registers)


def held(w: np.ndarray) -> np.ndarray:
    """(1, rows, cols, B)"""
    return w.transpose(1, 2, 0)[None]


def presented(x: np.ndarray, cols: int) -> tuple[np.ndarray, np.ndarray]:
    """Items (1, window, rows, B) and whether one is presented, (edges,)."""
    rows, before = x.shape[2], x.shape[2] + cols - 2
    edges = M + rows + cols - 2 + SURPLUS
    items = np.zeros((1, before + edges, rows, B), x.dtype)
    items[0, before : before + M] = x.transpose(1, 2, 0)
    return items, np.arange(edges) < M


def by_column_and_slot(array: np.ndarray, rows: int) -> np.ndarray:
    """(cols, slots, B), the first column first."""
    return array.reshape(len(array), rows, B)[::-1]


def test_slots_while_loading_are_the_shifting_weights(literal):
    _, w, registers = literal
    rows = w.shape[1]
    for edges in range(rows + 1):
        found = np.asarray(register_renaming.load(held(w), np.arange(rows) < edges))
        assert np.array_equal(found[:, :, :rows], found[:, :, rows:])
        slots = by_column_and_slot(found[0, :, :rows].reshape(w.shape[2], -1), rows)
        before = registers.weight[edges - 1] if edges else 0 * registers.weight[0]
        for row in range(rows):
            # Slot s holds row (edges - s) mod rows.
            assert np.array_equal(slots[:, (edges - row) % rows], before[row])


def recorded(literal):
    """Each edge of a stream: state, what fell out, and what the slots met."""
    x, w, registers = literal
    (_, rows, cols), (items, valid) = w.shape, presented(x, w.shape[2])
    weights = register_renaming.load(held(w), np.ones(rows, bool))

    def step(carry, entering):
        state, t, windows = carry
        state, fallen = register_renaming.edge(state, windows, t, entering)
        return (state, t + 1, windows), (state, fallen, windows.at(t, rows))

    def steps(weights, items, valid):
        windows = register_renaming.Windows.over(
            weights, register_renaming.skewed(items, rows, B)
        )
        start = register_renaming.State(
            jnp.zeros((cols, rows * B), jnp.int32), jnp.zeros(rows + cols - 1, bool)
        )
        return jax.lax.scan(step, (start, jnp.int32(1), windows), valid)[1]

    found = jax.device_get(jax.jit(steps)(weights[0], items[0], valid))
    # The literal array has loaded its weights before.
    return found, jax.tree.map(lambda plane: plane[rows:], registers)


def test_slots_hold_what_the_registers_hold_after_every_edge(literal):
    (state, fallen, (weights, operands, keep)), registers = recorded(literal)
    rows, cols = registers.weight.shape[1:3]
    assert len(registers.sum) == len(state.sums)
    for edge in range(len(state.sums)):
        t = edge + 1
        sums = by_column_and_slot(state.sums[edge], rows)
        met = by_column_and_slot(weights[edge], rows)
        wires = by_column_and_slot(operands[edge], rows)
        for slot in range(rows):
            row = (t - 1 - slot) % rows
            assert np.array_equal(sums[:, slot], registers.sum[edge, row])
            assert np.array_equal(met[:, slot], registers.weight[edge, row])
            # An input register takes what stands on its wire.
            assert np.array_equal(wires[:, slot], registers.input[edge, row])
            assert (keep[edge].reshape(rows, B)[slot] == (row != 0)).all()
        assert np.array_equal(fallen[edge][::-1], registers.sum[edge, -1])
        for r, c in np.ndindex(rows, cols):
            assert state.line[edge, r + c] == registers.valid[edge, r, c]
    assert registers.valid.any()
    assert registers.sum.any()


def test_a_stream_is_its_edges(literal):
    """`stream` gives what `edge` gave one by one, added to what stood below."""
    (state, fallen, _), _ = recorded(literal)
    x, w, _ = literal
    (_, rows, cols), (items, valid) = w.shape, presented(x, w.shape[2])
    below = np.random.default_rng(0).integers(-99, 99, (1, len(valid), cols, B))
    below = below.astype(np.int32)
    after, found, bits = register_renaming.stream(
        register_renaming.empty(1, rows, cols, B),
        register_renaming.load(held(w), np.ones(rows, bool)),
        items,
        valid,
        jnp.asarray(below),
    )
    assert np.array_equal(after.sums[0].reshape(cols, -1), state.sums[-1])
    assert np.array_equal(after.line[0], state.line[-1])
    assert np.array_equal(found[0], below[0] + fallen)
    assert np.array_equal(bits[0], state.line)


@pytest.mark.parametrize("shape", [(3, 2), (2, 4)])
def test_blocks_and_pieces(shape):
    """Blocks stand for themselves; pieces of a multiple of `rows` edges go on."""
    rows, cols = shape
    x, _ = factors(2, 9, rows, 1)
    w = np.stack([factors(1, 1, rows, cols, seed=block)[1] for block in range(2)])
    before, piece, pieces = rows + cols - 2, 2 * rows, 9
    items = np.zeros((2, before + piece * pieces, rows, 1), np.uint8)
    items[:, before : before + 9] = x[..., None]
    weights = register_renaming.load(w[..., None], np.ones(rows, bool))
    state, found = register_renaming.empty(2, rows, cols, 1), []
    for start in range(0, piece * pieces, piece):
        window = items[:, start : start + piece + before]
        valid = np.arange(start, start + piece) < 9
        below = jnp.zeros((2, piece, cols, 1), jnp.int32)
        state, below, _ = register_renaming.stream(state, weights, window, valid, below)
        found.append(np.asarray(below))
    found = np.concatenate(found, 1)[..., 0]
    for block in range(2):
        expected = exact(x[block], w[block])
        for c in range(cols):
            first = rows - 1 + c
            column = found[block, :, cols - 1 - c]
            assert np.array_equal(column[first : first + 9], expected[:, c])
            assert not column[:first].any()


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_skewed_operands(rows):
    """Row r of slot (-r) mod rows is what was presented r edges before; slots twice."""
    items = factors(1, 9, rows, 1)[0][0][..., None]
    found = np.asarray(register_renaming.skewed(jnp.asarray(items), rows, 1))
    assert found.shape == (9 - rows + 1, 2 * rows, 1)
    for edge, slot in np.ndindex(*found.shape[:2]):
        row = -slot % rows
        assert found[edge, slot, 0] == items[edge + rows - 1 - row, row, 0]


def test_results_are_brought_into_line():
    blocks, edges, cols, lanes = size = (2, 6, 3, 2)
    both = np.random.default_rng(0).integers(0, 99, (2, *size)).astype(np.int32)
    found = np.asarray(register_renaming.unskewed(both[0], both[1]))
    line = np.concatenate(both, 1)
    for c in range(cols):
        expected = line[:, c : c + edges, cols - 1 - c]
        assert np.array_equal(found[:, c], expected)
    assert found.shape == (blocks, cols, edges, lanes)
