"""In which order rows and tiles of a product meet, and in which half of the sums."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.tpu.isa.loops import chunk_rows, pairs, parts
from accel.tpu.machine import TpuMachine


def machine(half: int) -> TpuMachine:
    return TpuMachine(side=4, accumulator_rows=2 * half, unified_buffer_bytes=1 << 12)


@given(st.integers(1, 200), st.integers(1, 12))
def test_chunks_are_as_few_as_possible_and_even(rows, half):
    """Each fits its half; only the last is shorter."""
    length = chunk_rows(rows, machine(half))
    assert 1 <= length <= half
    assert -(-rows // length) == -(-rows // half)
    # A row less in each would need one more.
    assert length == 1 or -(-rows // (length - 1)) > -(-rows // half)


@pytest.mark.parametrize(
    ("rows", "several", "one"),
    [
        (5, [((5,), 1)], [((5,), 1)]),
        (8, [((8,), 1)], [((8,), 1)]),
        (11, [((6, 5), 1)], [((6,), 1), ((5,), 1)]),
        (16, [((8, 8), 1)], [((8,), 2)]),
        (17, [((6, 6), 1), ((5,), 1)], [((6,), 2), ((5,), 1)]),
        (24, [((8, 8), 1), ((8,), 1)], [((8,), 3)]),
        (31, [((8, 8), 1), ((8, 7), 1)], [((8,), 3), ((7,), 1)]),
        (80, [((8, 8), 5)], [((8,), 10)]),
    ],
)
def test_pairs(rows, several, one):
    """Chunks that share a tile, where K has several tiles, and where it has one."""
    assert pairs(rows, 3, machine(8)) == several
    assert pairs(rows, 1, machine(8)) == one


def test_a_pair_and_a_single_chunk():
    """The order to the letter: first row, tile of K, half; * takes a tile, ! ends a sum."""
    written = [
        f"{p.first_row}.{p.k}.{p.half}" + "*" * p.new_tile + "!" * p.last
        for p in parts(5, [(2, 2)], machine(2))
    ]
    # Two columns of tiles: a pair in halves 0 and 1, and a single chunk in 0, then in 1.
    column = ["0.0.0*", "2.0.1", "0.1.0*!", "2.1.1!", "4.0.0*", "4.1.0*!"]
    swapped = ["0.0.1*", "2.0.0", "0.1.1*!", "2.1.0!", "4.0.1*", "4.1.1*!"]
    assert written == column + swapped


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=3),
    st.integers(1, 9),
)
def test_every_row_meets_every_tile_once(rows, blocks, half):
    """And each half's sums are complete before others begin in it."""
    met, open_sums = set(), {}
    for part in parts(rows, blocks, machine(half)):
        met |= {
            (part.tile, row) for row in range(part.first_row, part.first_row + part.rows)
        }
        chunk = (part.n, part.first_row)
        assert (part.half in open_sums) == (part.k > 0)
        assert open_sums.setdefault(part.half, chunk) == chunk
        if part.last:
            del open_sums[part.half]
    tiles = sum(k * n for k, n in blocks)
    assert len(met) == tiles * rows
    assert not open_sums
    done = sum(part.rows for part in parts(rows, blocks, machine(half)))
    assert done == tiles * rows
