"""Every planted fault of an array is located: layer, tile, cycle, PE, register, values."""

import dataclasses

import integers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import machines
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.machines.machine import Dot, Systolic
from accel.simulate import (
    batched_tiles,
    control,
    ideal,
    output_stationary,
    register_level,
    register_renaming,
    systolic,
    trace,
    weight_stationary,
    wires,
)
from accel.simulate.control import HeldTiles
from accel.simulate.faults import Fault
from accel.simulate.simulation import LostResultError
from accel.verify import locate, verify
from accel.verify.run import Setup
from configs.network import Conv, Dense, Flatten, Network
from quant import execute

# A convolution of 9 rows an image, K = 18, N = 4, and a dense layer of K = 36, N = 3.
NETWORK = integers.filled(
    Network(
        input_shape=(5, 5, 2),
        layers=(Conv(features=4), Flatten(), Dense(features=3, activation="identity")),
    )
)
PIXELS = integers.images(NETWORK.network, 2)
ROWS, COLS = 3, 2
ARRAYS = {machine.name: machine for machine in machines(ROWS, COLS)}
WS, IS, OS = (ARRAYS[f"systolic_{flow}_3x2"] for flow in ("ws", "is", "os"))
SKEWED, GLOBAL = (ARRAYS[f"systolic_ws_3x2_shadow_{load}"] for load in ("skewed", "global"))
HELD = [machine for machine in ARRAYS.values() if machine.dataflow != "os"]
name = lambda machine: machine.name
# Of the first layer's first run; ROWS of K and COLS of N, or for `is` of M.
TILE = {
    "ws": "M 0..17, K {0}..{1}, N {2}..{3}",
    "is": "M {2}..{3}, K {0}..{1}, N 0..3",
    "os": "M 0..2, K 0..17, N 0..1",
}


pytestmark = pytest.mark.usefixtures("small_programs")


@pytest.fixture
def rebuilt(monkeypatch):
    """The arrays are compiled anew, with what a test has put into them."""

    def held(step, keep):
        def function(start, feed, faults, *, scheme):
            edge = lambda s, f: keep(weight_stationary.edge(s, f, scheme, faults))
            return jax.lax.scan(edge, start, feed)

        return jax.jit(function, static_argnames="scheme")

    def staying(step, keep):
        def function(start, feed, faults):
            edge = lambda s, f: keep(output_stationary.edge(s, f, faults))
            return jax.lax.scan(edge, start, feed)

        return jax.jit(function)

    kept = {"run": lambda after: after, "record": lambda after: (after[0], after)}
    for step, keep in kept.items():
        monkeypatch.setattr(weight_stationary, step, held(step, keep))
        monkeypatch.setattr(output_stationary, step, staying(step, keep))
    stream = register_renaming.stream.__wrapped__
    monkeypatch.setattr(register_renaming, "stream", jax.jit(lambda *given: stream(*given)))


def located(machine, *, literal=True, faults=(), network=NETWORK):
    """The mismatch, whose sentence and dump say what its fields say."""
    setup = Setup(machine=machine, batch=2, literal=literal, faults=tuple(faults))
    found = verify.verify(network, PIXELS, setup)
    assert not found.holds
    assert found.wrong
    wrong = found.mismatch
    assert wrong.found != wrong.expected
    sentence = wrong.sentence()
    assert f"`{wrong.layer}`, image {wrong.image}, row {wrong.m}" in sentence
    assert f"{wrong.found} instead of {wrong.expected}; {wrong.cause}" in sentence
    if wrong.cycle is not None:
        assert wrong.register_found != wrong.register_expected
        assert f"cycle {wrong.cycle}: {wrong.register} of PE ({wrong.row}, " in sentence
        at = [i for i, line in enumerate(wrong.dump) if f"cycle {wrong.cycle} " in line]
        values = f"{wrong.register_found} (not {wrong.register_expected})"
        below = wrong.dump[at[0] + 1 : at[0] + 1 + ROWS]
        (row,) = [line for line in below if f"  ({wrong.row},0) " in line]
        cell = row.split(" | ")[wrong.col]
        short = {"weight": "w", "input": "x", "sum": "s"}.get(wrong.register)
        assert f"({wrong.row},{wrong.col}) " in cell
        assert (f"{short}={values}" in cell) if short else cell.endswith("!")
        assert sum("(not" in line for line in wrong.dump) == bool(short)
    return wrong


def of_tile(wrong, machine, k: int = 0, column: int = 0) -> bool:
    spans = k * ROWS, k * ROWS + ROWS - 1, column * COLS, column * COLS + COLS - 1
    return wrong.tile == TILE[machine.dataflow].format(*spans)


def place(wrong) -> tuple:
    return wrong.cycle, wrong.register, wrong.row, wrong.col


@pytest.mark.parametrize("machine", ARRAYS.values(), ids=name)
def test_nothing_is_found_without_a_fault(machine, rebuilt):
    for literal in (True, False):
        setup = Setup(machine=machine, batch=2, literal=literal)
        assert verify.verify(NETWORK, PIXELS, setup).holds


# --- The array. ---


@pytest.mark.parametrize("machine", HELD, ids=name)
def test_a_dropped_skew_register(machine, rebuilt, monkeypatch):
    """The last row meets the second item where it should meet the first."""

    def delayed(line, entering):
        line, found = wires.delayed(line, entering)
        if line.ndim == 3 and line.shape[1] == ROWS:
            line = line.at[1, -1].set(entering[-1])
        return line, found

    monkeypatch.setattr(weight_stationary, "delayed", delayed)
    wrong = located(machine)
    assert wrong.layer == "conv1"
    assert of_tile(wrong, machine)
    moving = "weight" if machine.dataflow == "is" else "input"
    assert place(wrong) == (2 * ROWS, moving, ROWS - 1, 0)
    matrix = NETWORK.weighted["conv1"].matrix
    operands = (PIXELS[0, :3, :, :].astype(int), matrix.astype(int))
    if machine.dataflow == "is":
        expected = operands[1][2, 0], operands[1][2, 1]
    else:
        # im2col: k = 2 is column 1, channel 0 of the patch; the next patch begins at 1.
        expected = operands[0][0, 1, 0], operands[0][0, 2, 0]
    assert (wrong.register_expected, wrong.register_found) == expected


def test_a_dropped_skew_register_where_sums_stay(rebuilt, monkeypatch):
    def delayed(line, entering):
        after, found = wires.delayed(line, entering)
        if entering.shape[0] == ROWS:
            found = found.at[1].set(entering[1])
        return after, found

    monkeypatch.setattr(output_stationary, "delayed", delayed)
    wrong = located(OS)
    assert of_tile(wrong, OS)
    assert place(wrong) == (2, "input", 1, 0)


@pytest.mark.parametrize("machine", [WS, IS], ids=name)
def test_a_dropped_skew_register_of_the_rotating_form(machine, rebuilt, monkeypatch):
    """The literal registers are right: the sums of the faster form give it away."""
    skewed = register_renaming.skewed

    def early(items, rows, lanes):
        changed = items.at[:-1, rows - 1].set(items[1:, rows - 1])
        return skewed(changed, rows, lanes)

    monkeypatch.setattr(register_renaming, "skewed", early)
    wrong = located(machine, literal=False)
    assert "though stepped register by register it is right" in wrong.cause
    assert of_tile(wrong, machine)
    # The first result of the tile's first column.
    assert place(wrong) == (2 * ROWS, "sum", ROWS - 1, 0)


def late(array):
    return np.concatenate([array[:1], array[:-1]])


def feed_changed(monkeypatch, change):
    """The controller presents something else."""
    kept = HeldTiles.feed

    def feed(tiles, start, stop):
        before = kept(tiles, start - 1, stop)
        return type(before)(*(a[1:] for a in change(before, start - 1)))

    monkeypatch.setattr(HeldTiles, "feed", feed)


@pytest.mark.parametrize("machine", HELD, ids=name)
def test_weights_that_load_one_cycle_late(machine, monkeypatch):
    feed_changed(monkeypatch, lambda feed, _: feed._replace(weights=late(feed.weights)))
    wrong = located(machine)
    assert of_tile(wrong, machine)
    # As soon as they move in; behind shadow registers, when they are swapped in.
    cycle = {"single": 1, "skewed": ROWS, "global": ROWS + 1}[control.scheme(machine)]
    held = "input" if machine.dataflow == "is" else "weight"
    assert place(wrong) == (cycle, held, 0, 0)


@pytest.mark.parametrize("machine", [WS, IS], ids=name)
def test_weights_that_load_one_cycle_late_in_the_rotating_form(machine, monkeypatch):
    load = register_renaming.load
    shifted = lambda w, enable: load(np.roll(w, -1, 1), enable)
    monkeypatch.setattr(register_renaming, "load", shifted)
    wrong = located(machine, literal=False)
    assert of_tile(wrong, machine)
    assert wrong.register == "sum"


@pytest.mark.parametrize("machine", HELD, ids=name)
def test_one_flipped_bit_of_one_weight(machine, monkeypatch):
    """Of tile 1, row 2, column 1, as the controller presents it."""

    def flip(feed, start):
        weights = feed.weights.copy()
        # Row 2 is presented first.
        firsts = np.flatnonzero(feed.load[1:] & ~feed.load[:-1]) + 1
        every = control.period(machine, items)
        for edge in firsts:
            if (start + edge) // every == tile and (start + edge) % every == 0:
                weights[edge, 1, 0] ^= np.array(1).astype(weights.dtype)
        return feed._replace(weights=weights)

    items, tile = (4 if machine.dataflow == "is" else 18), 0
    feed_changed(monkeypatch, flip)
    wrong = located(machine)
    assert wrong.layer == "conv1"
    assert of_tile(wrong, machine)
    held = "input" if machine.dataflow == "is" else "weight"
    if machine.weights == "single":
        # On its way down, in row 0 at first.
        assert place(wrong) == (1, held, 0, 1)
    else:
        early = machine.load == "skewed"
        assert place(wrong) == (ROWS + 1 + ROWS - 1 + 1 - early, held, ROWS - 1, 1)
    assert abs(wrong.register_found - wrong.register_expected) == 1


def test_drained_sums_that_are_not_what_they_were(rebuilt, monkeypatch):
    edge = output_stationary.edge

    def leaking(old, feed, faults):
        new, seen = edge(old, feed, faults)
        more = new.sum.at[1].add(1)
        return new._replace(sum=jnp.where(seen.bits.captured, more, new.sum)), seen

    monkeypatch.setattr(output_stationary, "edge", leaking)
    wrong = located(OS)
    assert of_tile(wrong, OS)
    # The first edge after the last product.
    assert place(wrong) == (18 + ROWS + COLS - 2 + 1, "sum", 1, 0)
    assert wrong.register_found == wrong.register_expected + 1
    assert any(f"cycle {wrong.cycle} (drain)" in line for line in wrong.dump)


FAULTS = st.builds(
    Fault,
    register=st.sampled_from(["weight", "input", "sum"]),
    row=st.integers(0, ROWS - 1),
    col=st.integers(0, COLS - 1),
    bit=st.integers(0, 7),
    kind=st.sampled_from(["flip", "stuck_0", "stuck_1"]),
)


def leads_nowhere(fault: Fault, machine) -> bool:
    """A register that hands its operand to nobody: behind the last PE."""
    moving = {"ws": {"input": "col"}, "is": {"weight": "col"}}
    both = {"input": "col", "weight": "row"}
    axis = moving.get(machine.dataflow, both).get(fault.register)
    return getattr(fault, axis) == {"row": ROWS, "col": COLS}[axis] - 1 if axis else False


@given(machine=st.sampled_from(list(ARRAYS.values())), fault=FAULTS)
@settings(max_examples=16, deadline=None)
def test_a_broken_register_is_found_where_it_is(machine, fault):
    setup = Setup(machine=machine, batch=2, faults=(fault,))
    nowhere = leads_nowhere(fault, machine)
    if nowhere or fault.kind != "flip":
        holds = verify.verify(NETWORK, PIXELS, setup).holds
        assert holds or not nowhere
        if holds:
            return
    wrong = located(machine, faults=[fault])
    found = wrong.register, wrong.row, wrong.col
    assert found == (fault.register, fault.row, fault.col)
    values = wrong.register_found, wrong.register_expected
    assert values[0] ^ values[1] in (1 << fault.bit, -(1 << fault.bit))


# --- Between tiles. ---


def test_a_tile_that_follows_too_early(monkeypatch):
    """Its weights push those out that the last PE has yet to take over."""
    period = control.period
    early = lambda machine, streamed: period(machine, streamed) - 1
    small = integers.filled(
        Network(input_shape=(2, 2, 2), layers=(Flatten(), Dense(features=3)))
    )
    pixels = integers.images(small.network, 1)
    monkeypatch.setattr(control, "period", early)
    found = verify.verify(small, pixels, Setup(machine=GLOBAL))
    assert found.miscounted == ("dense1",)
    wrong = found.mismatch
    assert "each tile is right by itself, but not while the next one loads" in wrong.cause
    assert place(wrong) == (ROWS + 1 + ROWS + COLS - 2, "weight", ROWS - 1, COLS - 1)


@pytest.mark.parametrize("machine", [SKEWED, GLOBAL], ids=name)
def test_weights_that_are_never_swapped_in(machine, rebuilt, monkeypatch):
    """All tiles but the first of a product work with what the first one held."""
    field = "last" if machine.load == "skewed" else "first"

    def once(feed, start):
        edges = np.arange(start, start + len(feed.valid))
        return feed._replace(**{field: getattr(feed, field) & (edges <= ROWS)})

    feed_changed(monkeypatch, once)
    wrong = located(machine)
    assert "not while the next one loads" in wrong.cause
    early = machine.load == "skewed"
    assert place(wrong) == (ROWS + 1 + 18 - early, "weight", 0, 0)


def shares_changed(monkeypatch, change):
    """The memory below the array adds other shares, (tiles of N, tiles of K, ...)."""
    kept = register_level._accumulated

    def accumulated(results, tiles, wanted):
        deep = len(tiles.items)
        shape = (-1, deep, tiles.items_each, *results.shape[1:])
        shares = change(results.reshape(shape).copy())
        return kept(shares.reshape(results.shape), tiles, wanted)

    monkeypatch.setattr(register_level, "_accumulated", accumulated)


def skipped(shares):
    shares[:, 1:2] = 0
    return shares


def doubled(shares):
    shares[:, 1:2] *= 2
    return shares


def astray(shares):
    """The second tile of the second column of tiles goes to the first."""
    if min(shares.shape[:2]) > 1:
        shares[0, 1] += shares[1, 1]
        shares[1, 1] = 0
    return shares


def swapped(shares):
    if min(shares.shape[:2]) > 1:
        shares[:2, 1] = shares[1::-1, 1]
    return shares


@pytest.mark.parametrize("machine", HELD, ids=name)
@pytest.mark.parametrize("change", [skipped, doubled, astray, swapped])
def test_a_tile_that_is_added_up_wrongly(change, machine, monkeypatch):
    shares_changed(monkeypatch, change)
    wrong = located(machine)
    assert wrong.layer == "conv1"
    assert (wrong.image, wrong.m, wrong.n) == (0, 0, 0)
    own, other = (TILE[machine.dataflow].format(3, 5, first, first + 1) for first in (0, 2))
    said = {
        skipped: f"the one of {own} was not added",
        doubled: f"the one of {own} was added twice",
        astray: f"the one of {other} was added to a sum that is not its own",
        swapped: f"the one of {other} was added instead of that of {own}",
    }
    assert wrong.cause == f"each tile is right by itself, but {said[change]}"
    assert wrong.cycle is None


def test_sums_of_tiles_that_nothing_explains(monkeypatch):
    shares_changed(monkeypatch, lambda shares: shares + (shares.shape[1] > 1))
    assert "what was added does not belong to this sum" in located(WS).cause


@pytest.mark.parametrize("machine", [WS, IS], ids=name)
@pytest.mark.parametrize(("count", "said"), [(0, "was not added"), (2, "was added twice")])
def test_a_tile_of_the_rotating_form(count, said, machine, monkeypatch):
    kept = batched_tiles._tile

    def tile(plan, product, k, wide, g, below):
        after, bits, loads = kept(plan, product, k, wide, g, [b + 0 for b in below])
        if k == 1:
            share = [a - b for a, b in zip(after, below, strict=True)]
            after = [b + count * s for b, s in zip(below, share, strict=True)]
        return after, bits, loads

    monkeypatch.setattr(batched_tiles, "_tile", tile)
    wrong = located(machine, literal=False)
    own = TILE[machine.dataflow].format(3, 5, 0, 1)
    assert wrong.cause == f"each tile is right by itself, but the one of {own} {said}"


@pytest.mark.parametrize("machine", [WS, IS], ids=name)
def test_a_tile_of_the_rotating_form_in_the_wrong_place(machine, monkeypatch):
    kept = batched_tiles._tile

    def tile(plan, product, k, wide, g, below):
        # The first two columns of tiles hold what is the other's.
        pairs = k == 1 and product.held.shape[1] > 1
        other = np.where(wide < 2, wide ^ 1, wide) if pairs else wide
        return kept(plan, product, k, other, g, below)

    monkeypatch.setattr(batched_tiles, "_tile", tile)
    own, other = (TILE[machine.dataflow].format(3, 5, first, first + 1) for first in (0, 2))
    said = f"the one of {other} was added instead of that of {own}"
    assert located(machine, literal=False).cause.endswith(said)


# --- What the array was given, and what cannot be looked at. ---


def flipped_weight(network, layer: str):
    """The same network but for one bit of the weights of one output."""
    w = network.weighted[layer]
    weights = w.weights.copy()
    weights[..., 0] ^= 1
    changed = dataclasses.replace(w, weights=weights)
    return dataclasses.replace(network, weighted={**network.weighted, layer: changed})


@pytest.mark.parametrize("machine", [WS, Dot(multipliers=5)], ids=name)
@pytest.mark.parametrize("layer", ["conv1", "dense1"])
def test_weights_that_are_not_the_layers(layer, machine, monkeypatch):
    run, other = execute.run, flipped_weight(NETWORK, layer)
    monkeypatch.setattr(execute, "run", lambda _, *given: run(other, *given))
    wrong = located(machine, literal=False)
    assert wrong.layer == layer
    assert wrong.cause == "the weights given are not those of the layer"


@pytest.mark.parametrize("literal", [True, False])
def test_one_bit_of_the_operand_that_the_array_gets(literal, monkeypatch):
    """Registers do what they should with what they were given."""
    run = systolic.run

    def flip(machine, x_GMK, w_KN, *given, **kwargs):
        w_KN = w_KN.copy()
        w_KN[0, 1] ^= 1
        return run(machine, x_GMK, w_KN, *given, **kwargs)

    monkeypatch.setattr(systolic, "run", flip)
    wrong = located(WS, literal=literal)
    assert (wrong.layer, wrong.n) == ("conv1", 1)
    assert of_tile(wrong, WS)
    assert "though stepped register by register it is right" in wrong.cause
    assert place(wrong) == (2 * ROWS + 1, "sum", ROWS - 1, 1)


def test_late_items_are_named_by_their_cycle(monkeypatch):
    """The trace leaves out what came long before; its cycles are those of the tile."""

    def brighter(feed, start):
        edges = np.arange(start, start + len(feed.valid))
        # Item 12 of the first tile, row 0.
        items = feed.items.copy()
        items[edges == ROWS + 12 + shift[0], 0] ^= 1
        return feed._replace(items=items)

    shift, record = [0], trace.record

    def recorded(machine, x_MK, *given):
        # 18 items, of which the first 12 - ROWS - COLS are left out.
        assert len(x_MK) == 2 * (ROWS + COLS)
        shift[0] = -(12 - ROWS - COLS)
        return record(machine, x_MK, *given)

    monkeypatch.setattr(trace, "record", recorded)
    feed_changed(monkeypatch, brighter)
    wrong = located(WS)
    assert wrong.image == 1
    assert wrong.m == 3
    assert place(wrong) == (ROWS + 12 + 1, "input", 0, 0)
    assert wrong.register_found ^ wrong.register_expected == 1


def test_an_array_that_is_too_large_to_look_at(monkeypatch):
    fault = Fault(register="sum", row=1, col=1, bit=0, kind="flip")
    monkeypatch.setattr(trace, "_MOST_VALUES", 10)
    wrong = located(SKEWED, faults=[fault])
    assert wrong.cause == "the product of one tile is wrong; the array is too large to dump"
    assert of_tile(wrong, SKEWED)
    shares_changed(monkeypatch, skipped)
    assert "was not added" in located(SKEWED).cause


def test_a_tile_that_gives_nothing_by_itself(monkeypatch):
    """What the array says then is not lost."""
    shares_changed(monkeypatch, doubled)
    simulate = Setup.simulate

    def dead(setup, x_GMK, w_KN, layer):
        if w_KN.shape == (ROWS, COLS):
            raise LostResultError("no result came")
        return simulate(setup, x_GMK, w_KN, layer)

    monkeypatch.setattr(Setup, "simulate", dead)
    assert located(WS).cause == "the product of one tile is wrong: no result came"


@pytest.mark.parametrize(("more", "shows"), [(7000, True), (1, False)])
def test_one_wrong_sum_of_another_machine(more, shows, monkeypatch):
    """Also one that requantisation hides: no output shows it."""
    simulate = Setup.simulate

    def wrong_sum(setup, x_GMK, w_KN, layer):
        run = simulate(setup, x_GMK, w_KN, layer)
        if layer.name == "conv1":
            run.sums[0, -1, 2] += more
        return run

    monkeypatch.setattr(Setup, "simulate", wrong_sum)
    setup = Setup(machine=Dot(multipliers=5), batch=2)
    found = verify.verify(NETWORK, PIXELS, setup)
    assert not found.holds
    assert [layer.wrong_sums > 0 for layer in found.layers] == [True, shows]
    assert found.layers[0].wrong_sums == 1
    assert found.layers[0].wrong_outputs == shows
    wrong = found.mismatch
    assert (wrong.layer, wrong.image, wrong.m, wrong.n) == ("conv1", 1, 8, 2)
    assert wrong.found == wrong.expected + more
    assert wrong.cause == "the sum of products is wrong"


@pytest.mark.parametrize("machine", ARRAYS.values(), ids=name)
def test_tiles_cover_a_product_once(machine):
    shape, covered = (7, 8, 5), np.zeros((7, 8, 5), int)
    for tile in locate._tiles(machine, shape):
        covered[tile.M, tile.K, tile.N] += 1
    assert (covered == 1).all()
    assert isinstance(machine, Systolic)
    assert (
        ideal.first_result(machine, np.eye(2, dtype=int), np.eye(2, dtype=int), 1) is None
    )
