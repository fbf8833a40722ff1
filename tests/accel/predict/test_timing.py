"""Predictions equal a walk over tiles, edges and words; what does not fit is refused."""

import dataclasses
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from walks import GEMMS, MACHINES, SIDES, SIZES, pieces, walk

from accel.machines.counters import Counters, times
from accel.machines.machine import Direct, Dot, Mac, Systolic, Tile
from accel.predict import timing
from accel.workload.gemm import Gemm
from configs.errors import InputError
from configs.network import Conv, Dense, Flatten, LstmCell, Network


@given(machine=MACHINES, gemm=GEMMS)
def test_every_field_equals_the_walk(machine, gemm):
    assert timing.predict(machine, gemm)._asdict() == walk(machine, gemm)._asdict()


@given(machine=MACHINES, gemm=GEMMS)
def test_no_machine_does_more_than_its_multipliers_can(machine, gemm):
    found = timing.predict(machine, gemm)
    multipliers = gemm.positions * gemm.K * gemm.N
    if not isinstance(machine, Direct):
        multipliers = machine.multipliers
    assert found.cycles >= Fraction(gemm.macs, multipliers)
    assert found.macs == gemm.macs
    assert found.idle >= 0
    assert all(type(value) is int and value >= 0 for value in found)


@given(machine=MACHINES, gemm=GEMMS)
def test_more_images_never_take_fewer_cycles(machine, gemm):
    more = dataclasses.replace(gemm, images=gemm.images + 1)
    before, after = timing.predict(machine, gemm), timing.predict(machine, more)
    assert all(a <= b for a, b in zip(before, after, strict=True) if a is not before.stall)
    assert before.cycles <= after.cycles


# --- The contract's table, written once more. ---


def ceil(a, b):
    return a // b + (a % b > 0)


@given(st.data(), SIDES, SIDES, SIZES, SIZES, SIZES)
def test_cycles_are_those_of_the_contract(data, rows, cols, M, K, N):
    gemm = Gemm("layer", M, 1, K, N)
    cycles = lambda machine: timing.predict(machine, gemm).cycles
    size = {"rows": rows, "cols": cols}
    T = ceil(K, rows) * ceil(N, cols)
    assert cycles(Systolic(**size)) == T * (2 * rows + M + cols - 2)
    for load, P in (("skewed", max(M, rows)), ("global", max(M, 2 * rows + cols - 2))):
        shadow = Systolic(**size, weights="shadow", load=load)
        assert cycles(shadow) == rows + (T - 1) * P + M + rows + cols - 2
    T = ceil(M, rows) * ceil(N, cols)
    assert cycles(Systolic(**size, dataflow="os")) == T * (K + 2 * rows + cols - 2)
    assert cycles(Mac()) == M * K * N
    multipliers = data.draw(st.integers(1, 40))
    latency = 1 + (multipliers - 1).bit_length()
    assert cycles(Dot(multipliers=multipliers)) == M * N * ceil(K, multipliers) + latency
    tile = Tile(inputs=rows, outputs=cols)
    latency = 1 + (rows - 1).bit_length()
    assert cycles(tile) == M * ceil(K, rows) * ceil(N, cols) + latency


@given(gemm=GEMMS)
def test_a_tile_of_the_whole_layer_is_done_in_one_go(gemm):
    found = timing.predict(Tile(inputs=gemm.K, outputs=gemm.N), gemm)
    assert found.tiles == found.stream == gemm.M
    assert found.sum_reads == found.sum_writes == 0


@given(gemm=GEMMS, side=SIDES)
def test_fetches_of_inputs_at_equal_multipliers(gemm, side):
    """What tiling does about "each input is fetched many times"."""
    M, K, N, multipliers = gemm.M, gemm.K, gemm.N, side * side
    fetches = lambda i, o: timing.predict(Tile(inputs=i, outputs=o), gemm).input_fetches
    assert fetches(multipliers, 1) == M * K * N
    assert fetches(1, multipliers) == M * K * ceil(N, multipliers)
    assert fetches(side, side) == M * K * ceil(N, side)
    stored = timing.predict(Tile(inputs=side, outputs=side, loop="inputs"), gemm)
    assert stored.input_fetches == M * K
    partial = 2 * N * (ceil(K, side) - 1)
    assert stored.sum_reads + stored.sum_writes == M * partial


@pytest.mark.parametrize(
    ("machine", "shape", "cycles"),
    [
        # One tile, and a product of several, as stepped by other simulators.
        (Systolic(rows=128, cols=128), (196, 128, 128), 578),
        (Systolic(rows=32, cols=32, dataflow="os"), (64, 64, 64), 4 * (64 + 94)),
        # A convolution of 3x3x16 to 32 on 11x11 positions: 18 tiles of 30 + 121 + 16.
        (Systolic(), (121, 144, 32), 18 * 167),
        (Systolic(weights="shadow"), (1, 800, 64), 16 + 199 * 16 + 1 + 16 + 16 - 2),
        # The lecture's layer of 1000 x 1000, one multiplication after the other.
        (Mac(), (1, 1000, 1000), 1_000_000),
        (Mac(dram=True), (1, 1000, 1000), 3_999_000),
        (Dot(multipliers=256), (1, 1000, 1000), 4 * 1000 + 9),
        (Tile(inputs=16, outputs=16), (1, 1000, 1000), 63 * 63 + 5),
    ],
)
def test_figures_worked_out_by_hand(machine, shape, cycles):
    M, K, N = shape
    assert timing.predict(machine, Gemm("layer", M, 1, K, N)).cycles == cycles


# --- Networks and memory. ---

NETWORK = Network(
    input_shape=(6, 5, 2),
    layers=(Conv(features=4, kernel=(3, 3)), Flatten(), Dense(features=3)),
)


@given(machine=MACHINES, images=st.integers(1, 12), batch=st.integers(1, 5))
def test_a_network_is_the_sum_of_its_batches(machine, images, batch):
    sizes = [len(piece) for piece in pieces(images, batch)]
    shapes = {"conv1": (12, 18, 4), "dense1": (1, 48, 3)}
    found = timing.layers(machine, NETWORK, images, batch)
    assert [gemm.name for gemm, _ in found] == list(shapes)
    for gemm, counters in found:
        assert (gemm.positions, gemm.K, gemm.N) == shapes[gemm.name]
        assert gemm.images == sizes[0]
        runs = [Gemm("layer", size, *shapes[gemm.name]) for size in sizes]
        each = [timing.predict(machine, run) for run in runs]
        assert counters == Counters(*map(sum, zip(*each, strict=True)))


GROUPED = Network(
    input_shape=(6, 5, 4),
    layers=(Conv(features=6, groups=2), Flatten(), LstmCell(features=3)),
)


@given(machine=MACHINES, images=st.integers(1, 7), batch=st.integers(1, 3))
def test_repeats_follow_each_other(machine, images, batch):
    """But on a machine with a multiplier for every connection they share the cycles."""
    if isinstance(machine, Systolic):
        machine = dataclasses.replace(machine, depthwise="channels")
    found = dict((gemm.name, counted) for gemm, counted in timing.layers(
        machine, GROUPED, images, batch
    ))  # fmt: skip
    sizes = [len(piece) for piece in pieces(images, batch)]
    each = [timing.predict(machine, Gemm("", size, 12, 18, 3)) for size in sizes]
    once = Counters(*map(sum, zip(*each, strict=True)))
    twice = Counters(*(2 * value for value in once))
    if isinstance(machine, Direct):
        assert found["conv1"].cycles == once.cycles
        assert found["conv1"].utilization == once.utilization
        for field in ("macs", "slots", "input_fetches", "output_writes"):
            assert getattr(found["conv1"], field) == getattr(twice, field)
    else:
        assert found["conv1"] == twice
    each = [timing.predict(machine, Gemm("", size, 1, 75, 12)) for size in sizes]
    assert found["lstmcell1"] == Counters(*map(sum, zip(*each, strict=True)))


def test_gates_follow_each_other_whatever_groups_do():
    """They take the same inputs, and stand side by side in no other way."""
    layers = (LstmCell(features=3, gates="separate"),)
    network = Network(input_shape=(5,), layers=layers)
    machine = Systolic(rows=64, cols=64, vector_width=64)
    (x, h), once = timing.layers(machine, network, 2, 2), Gemm("", 2, 1, 5, 3)
    assert x[1] == times(timing.predict(machine, once), 4)
    assert h[1] == times(timing.predict(machine, dataclasses.replace(once, K=3)), 4)


@given(machine=MACHINES, gemm=GEMMS, repeats=st.integers(1, 5))
def test_a_prediction_is_that_of_one_product(machine, gemm, repeats):
    more = dataclasses.replace(gemm, repeats=repeats)
    assert timing.predict(machine, more) == timing.predict(machine, gemm)
    assert more.macs == repeats * gemm.macs


@pytest.mark.parametrize(
    ("fits", "short", "message"),
    [
        (
            Systolic(rows=4, accumulators=24),
            Systolic(rows=4, accumulators=23),
            r"`accumulators` \(=23\) of systolic_ws_4x16 is too small for layer conv1, "
            r"which keeps 24 partial sums in each column; use 24 or more or a smaller "
            r"--batch\.",
        ),
        (
            Systolic(rows=4, dataflow="is", accumulators=4),
            Systolic(rows=4, dataflow="is", accumulators=3),
            r"`accumulators` \(=3\) .* conv1, which keeps 4 .* use 4 or more\.$",
        ),
        (
            Tile(inputs=17, outputs=1, loop="inputs", sum_words=4),
            Tile(inputs=17, outputs=1, loop="inputs", sum_words=3),
            r"`sum_words` \(=3\) of tile_inputs_17x1 is .* conv1, which keeps 4 partial "
            r"sums; use 4 or more\.$",
        ),
    ],
)
def test_what_does_not_fit_the_stated_memory_is_refused(fits, short, message):
    assert timing.layers(fits, NETWORK, images=3, batch=2)
    with pytest.raises(InputError, match=message):
        timing.layers(short, NETWORK, images=3, batch=2)


@given(machine=MACHINES, gemm=GEMMS)
def test_memory_is_asked_for_by_machines_that_keep_sums_outside(machine, gemm):
    """Where it is not stated there is enough; one word is enough for one sum."""
    timing.require_memory(machine, gemm)
    match machine:
        case Systolic():
            machine = dataclasses.replace(machine, accumulators=1)
            kept = {"ws": gemm.M, "is": gemm.N, "os": 0}[machine.dataflow]
        case Tile():
            machine = dataclasses.replace(machine, outputs=1, sum_words=1)
            kept = gemm.N if machine.loop == "inputs" else 0
        case _:
            kept = 0
    if kept > 1:
        with pytest.raises(InputError, match=f"keeps {kept} partial sums"):
            timing.require_memory(machine, gemm)
    else:
        timing.require_memory(machine, gemm)


def test_one_image_has_no_smaller_batch_to_offer():
    machine = Systolic(rows=4, accumulators=5)
    with pytest.raises(InputError, match=r"use 12 or more\.$"):
        timing.layers(machine, NETWORK, images=1, batch=9)


@pytest.mark.parametrize(("images", "batch"), [(0, 1), (1, 0), (-1, 1), (5, -2)])
def test_no_images_are_refused(images, batch):
    field = "images" if images < 1 else "batch"
    with pytest.raises(InputError, match=rf"`{field}` \(=.*\) must be positive"):
        timing.layers(Mac(), NETWORK, images, batch)


def test_an_unknown_machine_has_no_form():
    with pytest.raises(InputError, match="`str` is a kind that"):
        timing.predict("array", Gemm("layer", 1, 1, 1, 1))
