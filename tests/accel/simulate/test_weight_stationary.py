"""Every register after every edge, drawn by hand, and faults of the wiring noticed."""

import jax
import numpy as np
import pytest
from arrays import drawn, factors, machines, noticed

from accel.machines.counters import PHASES
from accel.machines.machine import Systolic
from accel.simulate import register_level, weight_stationary, wires
from accel.simulate.control import HeldTiles
from accel.simulate.phases import Bits, labels

HELD = machines(3, 2)[:-1]
name = lambda machine: machine.name

# 2 x 2 PEs, rows between slashes, a point for nothing. `skew` is the register in front of
# row 1, `top_skew` the one above column 1, `take_skew` that of the bit that holds weights.

# x = (1 2 / 3 4), w = (5 6 / 7 8): sums (19 22 / 43 50).
SINGLE = """
weight    | skew | input     | valid     | first     | sum
7 8 / . . | .    | . . / . . | . . / . . | . . / . . |  .  . /  .  .
5 6 / 7 8 | .    | . . / . . | . . / . . | . . / . . |  .  . /  .  .
5 6 / 7 8 | 2    | 1 . / . . | 1 . / . . | 1 . / . . |  5  . /  .  .
5 6 / 7 8 | 4    | 3 1 / 2 . | 1 1 / 1 . | . 1 / 1 . | 15  6 / 19  .
5 6 / 7 8 | .    | . 3 / 4 2 | . 1 / 1 1 | . . / . 1 |  . 18 / 43 22
5 6 / 7 8 | .    | . . / . 4 | . . / . 1 | . . / . . |  .  . /  . 50
"""

# The same product with x held, transposed, and w streamed, column by column.
INPUTS = """
weight    | skew | input     | valid     | first     | sum
2 4 / . . | .    | . . / . . | . . / . . | . . / . . |  .  . /  .  .
1 3 / 2 4 | .    | . . / . . | . . / . . | . . / . . |  .  . /  .  .
1 3 / 2 4 | 7    | 5 . / . . | 1 . / . . | 1 . / . . |  5  . /  .  .
1 3 / 2 4 | 8    | 6 5 / 7 . | 1 1 / 1 . | . 1 / 1 . |  6 15 / 19  .
1 3 / 2 4 | .    | . 6 / 8 7 | . 1 / 1 1 | . . / . 1 |  . 18 / 22 43
1 3 / 2 4 | .    | . . / . 8 | . . / . 1 | . . / . . |  .  . /  . 50
"""

# Two tiles: x = (1 2 3 4 / 4 3 2 1), w = (1 2 / 3 4 / 5 6 / 7 8).
# The first gives (7 10 / 13 20), the second (43 50 / 17 20).
SKEWED = """
top_skew | waiting   | passing   | take_skew | take      | weight    | skew
4        | 3 . / . . | . . / . . | .         | . . / . . | . . / . . | .
2        | 1 4 / . . | 3 . / . . | 1         | 1 . / . . | 1 . / . . | .
8        | 7 2 / 3 . | 1 4 / . . | .         | . 1 / 1 . | 1 2 / 3 . | 2
6        | 5 8 / 1 4 | 7 2 / 3 . | 1         | 1 . / . 1 | 5 2 / 3 4 | 3
.        | . 6 / 7 2 | 5 8 / 1 4 | .         | . 1 / 1 . | 5 6 / 7 4 | 4
.        | . . / 5 8 | . 6 / 7 2 | .         | . . / . 1 | 5 6 / 7 8 | 1
.        | . . / . 6 | . . / 5 8 | .         | . . / . . | 5 6 / 7 8 | .
.        | . . / . . | . . / . 6 | .         | . . / . . | 5 6 / 7 8 | .
"""
SKEWED_WORK = """
input     | valid     | first     | sum
. . / . . | . . / . . | . . / . . |  .  . /  .  .
. . / . . | . . / . . | . . / . . |  .  . /  .  .
1 . / . . | 1 . / . . | 1 . / . . |  1  . /  .  .
4 1 / 2 . | 1 1 / 1 . | . 1 / 1 . |  4  2 /  7  .
3 4 / 3 2 | 1 1 / 1 1 | 1 . / . 1 | 15  8 / 13 10
2 3 / 4 3 | 1 1 / 1 1 | . 1 / 1 . | 10 18 / 43 20
. 2 / 1 4 | . 1 / 1 1 | . . / . 1 |  . 12 / 17 50
. . / . 1 | . . / . 1 | . . / . . |  .  . /  . 20
"""
GLOBAL = """
waiting   | weight    | skew | input     | valid     | first     | sum
3 4 / . . | . . / . . | .    | . . / . . | . . / . . | . . / . . |  .  . /  .  .
1 2 / 3 4 | . . / . . | .    | . . / . . | . . / . . | . . / . . |  .  . /  .  .
1 2 / 3 4 | 1 . / . . | 2    | 1 . / . . | 1 . / . . | 1 . / . . |  1  . /  .  .
1 2 / 3 4 | 1 2 / 3 . | 3    | 4 1 / 2 . | 1 1 / 1 . | . 1 / 1 . |  4  2 /  7  .
7 8 / 1 2 | 1 2 / 3 4 | .    | . 4 / 3 2 | . 1 / 1 1 | . . / . 1 |  .  8 / 13 10
5 6 / 7 8 | 1 2 / 3 4 | .    | . . / . 3 | . . / . 1 | . . / . . |  .  . /  . 20
5 6 / 7 8 | 5 2 / 3 4 | 4    | 3 . / . . | 1 . / . . | 1 . / . . | 15  . /  .  .
5 6 / 7 8 | 5 6 / 7 4 | 1    | 2 3 / 4 . | 1 1 / 1 . | . 1 / 1 . | 10 18 / 43  .
5 6 / 7 8 | 5 6 / 7 8 | .    | . 2 / 1 4 | . 1 / 1 1 | . . / . 1 |  . 12 / 17 50
5 6 / 7 8 | 5 6 / 7 8 | .    | . . / . 1 | . . / . 1 | . . / . . |  .  . /  . 20
"""
SMALL = np.array([[1, 2], [3, 4]], np.uint8), np.array([[5, 6], [7, 8]], np.int8)
TWO_TILES = (
    np.array([[1, 2, 3, 4], [4, 3, 2, 1]], np.uint8),
    np.array([[1, 2], [3, 4], [5, 6], [7, 8]], np.int8),
)
# Kind of array, left and right factor, tables, and the phases by their first letters.
DRAWN = {
    "ws": ({}, *SMALL, [SINGLE], "llfssd"),
    "is": ({"dataflow": "is"}, SMALL[1].T, SMALL[0].T, [INPUTS], "llfssd"),
    "skewed": ({"weights": "shadow"}, *TWO_TILES, [SKEWED, SKEWED_WORK], "llfssssd"),
    "global": ({"weights": "shadow", "load": "global"}, *TWO_TILES, [GLOBAL], "llfss  ssd"),
}


@pytest.mark.parametrize("case", DRAWN)
def test_every_register_after_every_edge(case):
    kind, left, right, tables, phases = DRAWN[case]
    machine = Systolic(rows=2, cols=2, **kind)
    tiles = HeldTiles.cut(machine, left[None], right[None])
    state, advance = register_level.start(tiles, record=True)
    _, (registers, seen) = jax.device_get(advance(state, tiles.feed(0, tiles.edges)))
    edges = [{}] * tiles.edges
    for table in tables:
        edges = [a | b for a, b in zip(edges, drawn(table), strict=True)]
    shown = {"skew": (0, 1), "top_skew": (0, 1), "take_skew": (0,)}
    for edge, planes in enumerate(edges):
        for register, expected in planes.items():
            found = getattr(registers, register)[edge][shown.get(register, ...)]
            assert np.array_equal(found.reshape(expected.shape), expected), (edge, register)
        bottom = np.where(seen.result[edge], seen.bottom[edge, :, 0], 0)
        assert np.array_equal(bottom, planes["sum"][1])
        assert np.array_equal(seen.result[edge], planes["valid"][1])
    found = labels(Bits(*seen.bits), overlapped=machine.weights == "shadow")
    initial = {phase: phase[0] for phase in PHASES} | {"stall": " "}
    assert "".join(initial[PHASES[label]] for label in found) == phases


# --- Faults of the array and of its controller. ---


@pytest.fixture(scope="module", autouse=True)
def small_programs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(register_level, "_PIECE", 32)
        patch.setattr(register_level, "_PLANE", 1)
        yield


@pytest.fixture
def rebuilt(monkeypatch):
    """The array is compiled anew, with what a test has put into it."""

    def run(start, feed, faults, *, scheme):
        step = lambda state, inputs: weight_stationary.edge(state, inputs, scheme, faults)
        return jax.lax.scan(step, start, feed)

    monkeypatch.setattr(weight_stationary, "run", jax.jit(run, static_argnames="scheme"))


def product():
    return factors(2, 4, 7, 5)


@pytest.mark.parametrize("machine", HELD, ids=name)
def test_nothing_is_noticed_without_a_fault(machine, rebuilt):
    assert noticed(register_level.run, machine, *product()) == set()


@pytest.mark.parametrize("machine", HELD[:3], ids=name)
def test_a_dropped_skew_register_is_noticed(machine, rebuilt, monkeypatch):
    """The last row of the left edge enters one register further on."""

    def delayed(line, entering):
        line, found = wires.delayed(line, entering)
        if line.ndim == 3 and line.shape[1] == machine.rows:
            line = line.at[1, -1].set(entering[-1])
        return line, found

    monkeypatch.setattr(weight_stationary, "delayed", delayed)
    assert "sums" in noticed(register_level.run, machine, *product())


def test_a_register_dropped_above_a_column_is_noticed(rebuilt, monkeypatch):
    def delayed(line, entering):
        after, found = wires.delayed(line, entering)
        is_top = entering.shape[0] == 2
        return after, (entering if is_top else found)

    monkeypatch.setattr(weight_stationary, "delayed", delayed)
    assert "sums" in noticed(register_level.run, HELD[1], *product())


def test_a_valid_bit_without_its_skew_is_noticed(rebuilt, monkeypatch):
    def taps(line, entering):
        after, found = wires.taps(line, entering)
        return after, found.at[1].set(found[0])

    monkeypatch.setattr(weight_stationary, "taps", taps)
    for machine in (HELD[0], HELD[2]):
        assert noticed(register_level.run, machine, *product())


def feed_changed(monkeypatch, change):
    """The controller presents something else."""
    kept = HeldTiles.feed

    def feed(tiles, start, stop):
        # One edge more on either side, so that a change may move things in time.
        before = kept(tiles, start - 1, stop)
        return type(before)(*(a[1:] for a in change(before, start - 1)))

    monkeypatch.setattr(HeldTiles, "feed", feed)


def late(array):
    return np.concatenate([array[:1], array[:-1]])


@pytest.mark.parametrize("machine", HELD, ids=name)
def test_weights_presented_one_cycle_late_are_noticed(machine, monkeypatch):
    shift = lambda feed, start: feed._replace(weights=late(feed.weights))
    feed_changed(monkeypatch, shift)
    assert "sums" in noticed(register_level.run, machine, *product())


@pytest.mark.parametrize("machine", HELD, ids=name)
def test_a_whole_load_one_cycle_late_is_noticed(machine, monkeypatch):
    fields = ("weights", "live", "load", "last")
    feed_changed(
        monkeypatch,
        lambda feed, _: feed._replace(**{f: late(getattr(feed, f)) for f in fields}),
    )
    assert "sums" in noticed(register_level.run, machine, *product())


@pytest.mark.parametrize("bit", [0, 7])
@pytest.mark.parametrize("machine", HELD, ids=name)
def test_one_flipped_bit_of_one_weight_is_noticed(machine, bit, monkeypatch):
    def flip(feed, start):
        weights, edge = feed.weights.copy(), 1 - start
        if 0 <= edge < len(weights):
            weights[edge, 0, 0] ^= np.array(1 << bit).astype(weights.dtype)
        return feed._replace(weights=weights)

    feed_changed(monkeypatch, flip)
    assert noticed(register_level.run, machine, *product()) == {"sums"}


@pytest.mark.parametrize("machine", HELD, ids=name)
def test_a_dropped_valid_bit_is_noticed(machine, monkeypatch):
    def drop(feed, start):
        edge = np.arange(start, start + len(feed.valid))
        return feed._replace(valid=feed.valid & (edge != machine.rows + 1))

    feed_changed(monkeypatch, drop)
    assert noticed(register_level.run, machine, *product()) == {"lost"}


@pytest.mark.parametrize("machine", HELD, ids=name)
def test_a_bit_that_calls_padding_a_word_is_noticed(machine, monkeypatch):
    feed_changed(
        monkeypatch, lambda feed, _: feed._replace(live=feed.live | feed.load[:, None])
    )
    assert noticed(register_level.run, machine, *product()) == {"counters"}


@pytest.mark.parametrize("machine", HELD, ids=name)
def test_arrays_side_by_side_do_not_meet(machine, monkeypatch):
    monkeypatch.setattr(register_level, "_PLANE", 2 * machine.multipliers)
    for seed in (1, 2):
        assert (
            noticed(register_level.run, machine, *factors(3, 4, 7, 5, seed=seed)) == set()
        )
