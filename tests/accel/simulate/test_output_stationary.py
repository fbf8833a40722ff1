"""Every register after every edge, drawn by hand, and faults of the wiring noticed."""

import jax
import numpy as np
import pytest
from arrays import drawn, factors, noticed

from accel.machines.counters import PHASES
from accel.machines.machine import Systolic
from accel.simulate import output_stationary, register_level, wires
from accel.simulate.control import SumTiles
from accel.simulate.phases import Bits, labels

MACHINE = Systolic(rows=3, cols=2, dataflow="os")

# 2 x 2 PEs; x = (1 2 3 / 4 5 6), w = (1 2 / 3 4 / 5 6): sums (22 28 / 49 64). `skew` is the
# register in front of row 1, `top_skew` the one above column 1.
OPERANDS = """
skew | top_skew | input     | weight    | sum           | drain
4    | 2        | 1 . / . . | 1 . / . . |  1  . /  .  . | . .
5    | 4        | 2 1 / 4 . | 3 2 / 1 . |  7  2 /  4  . | . .
6    | 6        | 3 2 / 5 4 | 5 4 / 3 2 | 22 10 / 19  8 | . .
.    | .        | . 3 / 6 5 | . 6 / 5 4 | 22 28 / 49 28 | . .
.    | .        | . . / . 6 | . . / . 6 | 22 28 / 49 64 | . .
.    | .        | . . / . . | . . / . . |  .  . / 22 28 | 1 .
.    | .        | . . / . . | . . / . . |  .  . /  .  . | . 1
"""
BITS = """
valid     | first     | last      | captured
1 . / . . | 1 . / . . | . . / . . |  .  .
1 1 / 1 . | . 1 / 1 . | . . / . . |  .  .
1 1 / 1 1 | . . / . 1 | 1 . / . . |  .  .
. 1 / 1 1 | . . / . . | . 1 / 1 . |  .  .
. . / . 1 | . . / . . | . . / . 1 |  .  .
. . / . . | . . / . . | . . / . . | 49 64
. . / . . | . . / . . | . . / . . | 22 28
"""


def test_every_register_after_every_edge():
    machine = Systolic(rows=2, cols=2, dataflow="os")
    x = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    w = np.array([[1, 2], [3, 4], [5, 6]], np.int8)
    tiles = SumTiles.cut(machine, x[None], w)
    state, advance = register_level.start(tiles, record=True)
    _, (registers, seen) = jax.device_get(advance(state, tiles.feed(0, tiles.edges)))
    edges = [a | b for a, b in zip(drawn(OPERANDS), drawn(BITS), strict=True)]
    assert len(edges) == tiles.edges
    for edge, planes in enumerate(edges):
        captured = planes.pop("captured")[0]
        found = np.where(seen.result[edge], seen.bottom[edge, :, 0], 0)
        assert np.array_equal(found, captured), edge
        assert seen.result[edge].all() == seen.result[edge].any() == captured.any()
        for register, expected in planes.items():
            found = getattr(registers, register)[edge]
            found = found[0, 1] if register.endswith("skew") else found
            assert np.array_equal(found.reshape(expected.shape), expected), (edge, register)
    found = [PHASES[label] for label in labels(Bits(*seen.bits))]
    assert found == ["fill"] * 2 + ["stream"] * 3 + ["drain"] * 2


# --- Faults of the array and of its controller. ---


@pytest.fixture(scope="module", autouse=True)
def small_programs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(register_level, "_PIECE", 32)
        patch.setattr(register_level, "_PLANE", 1)
        yield


def product():
    return factors(2, 4, 5, 5)


@pytest.fixture
def rebuilt(monkeypatch):
    """The array is compiled anew, with what a test has put into it."""

    def run(start, feed, faults):
        step = lambda state, inputs: output_stationary.edge(state, inputs, faults)
        return jax.lax.scan(step, start, feed)

    monkeypatch.setattr(output_stationary, "run", jax.jit(run))


def test_nothing_is_noticed_without_a_fault(rebuilt):
    assert noticed(register_level.run, MACHINE, *product()) == set()


@pytest.mark.parametrize("places", [MACHINE.rows, MACHINE.cols])
def test_a_dropped_skew_register_is_noticed(places, rebuilt, monkeypatch):
    def delayed(line, entering):
        after, found = wires.delayed(line, entering)
        if entering.shape[0] == places:
            found = found.at[1].set(entering[1])
        return after, found

    monkeypatch.setattr(output_stationary, "delayed", delayed)
    assert "sums" in noticed(register_level.run, MACHINE, *product())


def feed_changed(monkeypatch, change):
    kept = SumTiles.feed
    feed = lambda tiles, start, stop: change(kept(tiles, start, stop), np.r_[start:stop])
    monkeypatch.setattr(SumTiles, "feed", feed)


def without(field, edge):
    return lambda feed, edges: feed._replace(
        **{field: getattr(feed, field) & (edges != edge)}
    )


def test_an_operand_that_is_taken_for_none_is_noticed(monkeypatch):
    feed_changed(monkeypatch, without("valid", 2))
    assert "sums" in noticed(register_level.run, MACHINE, *product())


def test_sums_that_nothing_tells_to_move_are_noticed(monkeypatch):
    feed_changed(monkeypatch, without("last", 4))
    assert noticed(register_level.run, MACHINE, *product()) == {"lost"}


def test_one_flipped_bit_of_one_weight_is_noticed(monkeypatch):
    def flip(feed, edges):
        flipped = (edges == 1)[:, None, None] & (np.arange(2) == 0)[:, None]
        return feed._replace(weights=feed.weights ^ flipped.astype(np.int8))

    feed_changed(monkeypatch, flip)
    assert noticed(register_level.run, MACHINE, *product()) == {"sums"}


def test_sums_that_move_before_their_last_product_are_noticed(monkeypatch):
    feed_changed(monkeypatch, lambda feed, edges: feed._replace(last=feed.valid))
    assert noticed(register_level.run, MACHINE, *product())


def test_arrays_side_by_side_do_not_meet(monkeypatch):
    monkeypatch.setattr(register_level, "_PLANE", 2 * MACHINE.multipliers)
    assert noticed(register_level.run, MACHINE, *factors(3, 4, 5, 5, seed=1)) == set()
