"""Rows too long for the buffers: pieces of columns, exact, where it takes them."""

import math
import random
from dataclasses import replace

import pytest
from cost_cases import case, machine, memory

from accel.cost import stepped
from accel.cost.cost import cost
from accel.cost.energy_tables import TABLES
from accel.cost.fixed_mapping import fixed
from accel.cost.mapper import choose, evaluate
from accel.cost.mapping import Mapping, narrower
from accel.cost.reference import Residency, walk
from accel.cost.too_small import TooSmall
from accel.machines.chip_file import find
from accel.machines.machine import Systolic
from accel.machines.memory import Memory
from accel.workload import from_scalesim
from accel.workload.from_network import works
from accel.workload.layer import LayerWorkload
from accel.workload.workload import Workload
from configs.errors import InputError
from configs.network import Conv, Network

# Windows 3 wide, 2 apart, of 5 channels: 9 columns of output need 19 of input.
WORK = LayerWorkload(name="wide", images=2, out_rows=4, out_cols=9, kernel_rows=3, stride=1,
                     row_bytes=19 * 5, col_bytes=2 * 5, K=45, N=6)  # fmt: skip
ARRAY = Systolic(rows=4, cols=4)
HEADER = (
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, "
    "Num Filter, Strides,"
)


def pieces_at_random(draw: random.Random):
    """A random layer with windows of some width, and a mapping in pieces of columns."""
    one = case(draw)
    step, window, cols = draw.randint(1, 3), draw.randint(1, 4), draw.randint(2, 9)
    work = replace(
        one.work, out_cols=cols, col_bytes=step, row_bytes=(cols - 1) * step + window
    )
    mapping = replace(one.mapping, cols=draw.randint(1, cols - 1))
    return work, mapping, one.places


def by_hand(work: LayerWorkload, mapping: Mapping, window: int) -> list[LayerWorkload]:
    """The pieces as layers written out: what each output column looks at."""
    step, found = work.col_bytes, []
    for first in range(0, work.out_cols, mapping.cols):
        cols = range(first, min(first + mapping.cols, work.out_cols))
        seen = {cols[i] * step + at for i in range(len(cols)) for at in range(window)}
        gaps = range(min(seen), max(seen) + 1)
        found.append(replace(work, out_cols=len(cols), row_bytes=len(gaps)))
    return found


def test_the_walk_is_that_of_layers_written_out() -> None:
    """Cycles, bytes and counters are the sums over pieces that share nothing."""
    draw = random.Random(11)
    for _ in range(60):
        work, mapping, places = pieces_at_random(draw)
        array, around = machine(draw), memory(draw)
        window = work.row_bytes - (work.out_cols - 1) * work.col_bytes
        whole = replace(mapping, cols=None)
        layers = by_hand(work, mapping, window)
        apart = [walk(array, one, around, whole, places) for one in layers]
        got = walk(array, work, around, mapping, places)
        assert got[:-1] == tuple(map(sum, zip(*(a[:-1] for a in apart), strict=True)))
        counted = zip(*(a.counters for a in apart), strict=True)
        assert tuple(got.counters) == tuple(map(sum, counted))
        assert got.counters.macs == work.macs


def test_the_closed_form_and_the_stepped_machine_equal_the_walk() -> None:
    draw = random.Random(12)
    for at in range(60):
        work, mapping, places = pieces_at_random(draw)
        array, around = machine(draw), memory(draw)
        want = walk(array, work, around, mapping, places)
        got = evaluate(work, array, around, mapping, places)
        assert tuple(work.repeats * n for n in got.totals) == want[:-1]
        assert tuple(work.repeats * n for n in got.counters) == tuple(want.counters)
        if at < 3:
            seen = walk(array, work, around, mapping, places, stepped.cycles)
            assert seen == want


def test_a_piece_is_the_layer_of_a_narrower_map(tmp_path) -> None:
    """By way of a network and of a topology: 27 columns cut to 5 of output are 11."""

    def by_network(width: int) -> LayerWorkload:
        conv = Conv(features=4, kernel=(3, 3), stride=(1, 2), padding="valid")
        return works(Network(input_shape=(9, width, 5), layers=(conv,)))[0]

    def by_topology(width: int) -> LayerWorkload:
        path = tmp_path / f"{width}.csv"
        path.write_text(f"{HEADER}\nc, 9, {width}, 3, 3, 5, 4, 2,\n")
        return from_scalesim.workload(path).works[0]

    for layer in (by_network, by_topology):
        assert layer(27).out_cols == 13
        assert layer(27).piece(5) == layer(11)


def test_halves_quarters_and_so_on() -> None:
    assert narrower(replace(WORK, out_cols=9)) == [5, 3, 2, 1]
    assert narrower(replace(WORK, out_cols=1)) == []
    assert narrower(replace(WORK, col_bytes=None)) == []
    mapping = Mapping(strip=1, K=45, N=6, cols=2)
    assert mapping.column_pieces(WORK) == 5
    assert [(w.out_cols, w.row_bytes, n) for w, n in mapping.pieces(WORK)] == [
        (2, 5 * 5, 4), (1, 3 * 5, 1)
    ]  # fmt: skip


@pytest.mark.parametrize(("sums", "cols"), [(9, None), (8, 5), (5, 5), (4, 3), (1, 1)])
def test_as_few_pieces_as_it_takes(sums: int, cols: int | None) -> None:
    """Sums of one row, four wide and twice, for so many columns."""
    around = Memory(sum_bytes=2 * 4 * 4 * sums)
    mapped = choose(WORK, ARRAY, around)
    ruled = fixed(WORK, ARRAY, around)
    assert mapped.mapping.cols == ruled.cols == cols
    for mapping in (mapped.mapping, ruled):
        got = walk(ARRAY, WORK, around, mapping)
        assert got.counters.macs == WORK.macs
        assert got.dram_outputs == WORK.output_bytes
    assert mapped.totals.cycles == walk(ARRAY, WORK, around, mapped.mapping).cycles
    pieces = math.ceil(9 / (cols or 9))
    assert (f"into {pieces} pieces of" in mapped.why) == (cols is not None)


def test_inputs_too_long_are_cut_too() -> None:
    """Two blocks of three rows of input, of which 5 columns need 11 of 19."""
    wide, narrow = 2 * 3 * 19 * 5, 2 * 3 * 11 * 5
    assert choose(WORK, ARRAY, Memory(activation_bytes=wide)).mapping.cols is None
    assert choose(WORK, ARRAY, Memory(activation_bytes=wide - 1)).mapping.cols == 5
    assert fixed(WORK, ARRAY, Memory(activation_bytes=narrow)).cols == 5
    assert fixed(WORK, ARRAY, Memory(activation_bytes=narrow - 1)).cols == 3


def test_a_kept_output_lies_there_whole() -> None:
    """Beside the blocks of the pieces: not only the piece's own output."""
    places = Residency(outputs_kept=True)
    room = 2 * 3 * 11 * 5 + WORK.output_bytes
    around = Memory(activation_bytes=room, sum_bytes=2 * 4 * 4 * 5)
    assert fixed(WORK, ARRAY, around, places).cols == 5
    less = replace(around, activation_bytes=room - 1)
    assert fixed(WORK, ARRAY, less, places).cols == 3


def test_the_row_of_the_result_is_one_layer_and_says_so() -> None:
    chip = find("small_16x16")
    chip = chip._replace(memory=replace(chip.memory, sum_bytes=4 * 4 * 2 * 3))
    for how in ("mapper", "fixed"):
        found = cost(
            Workload(works=(WORK,)), chip, TABLES["horowitz_45nm"], mapping=how
        )  # fmt: skip
        (row,) = found["layers"]
        assert row["column_pieces"] == 5
        assert row["mapping"]["cols"] == 2
        assert "no row of 9 columns fits: cut into 5 pieces of 2 columns" in row["why"]
        assert row["macs"] == WORK.macs


def test_what_cannot_be_cut_is_refused() -> None:
    """Rows of which the step is not known; one column that is too much."""
    with pytest.raises(TooSmall, match="--sum-kib"):
        choose(replace(WORK, col_bytes=None), ARRAY, Memory(sum_bytes=64))
    for how in (choose, fixed):
        with pytest.raises(TooSmall, match="--activation-kib 1 or more"):
            how(WORK, ARRAY, Memory(activation_bytes=2 * 3 * 3 * 5 - 1))
    with pytest.raises(InputError, match=r"`cols` \(=9\).* must be in 1\.\.8 of wide"):
        walk(ARRAY, WORK, Memory(), Mapping(strip=1, K=45, N=6, cols=9))
    with pytest.raises(InputError, match="`col_bytes`"):
        LayerWorkload(name="l", out_cols=3, row_bytes=8, col_bytes=4, K=1, N=1)


def test_planted_pieces_without_a_halo_are_seen(monkeypatch) -> None:
    real = LayerWorkload.piece
    monkeypatch.setattr(
        LayerWorkload, "piece",
        lambda work, cols: replace(real(work, cols), row_bytes=cols * work.col_bytes),
    )  # fmt: skip
    with pytest.raises(AssertionError):
        test_the_walk_is_that_of_layers_written_out()
