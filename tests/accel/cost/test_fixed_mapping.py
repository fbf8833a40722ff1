"""The fixed rule: what it keeps, which blocks it takes, what it refuses."""

from dataclasses import replace

import pytest

from accel.cost.fixed_mapping import fixed, kept
from accel.cost.reference import Residency, walk
from accel.machines.machine import Systolic
from accel.machines.memory import Memory
from accel.workload.layer import LayerWorkload
from configs.errors import InputError

ARRAY = Systolic(rows=4, cols=4)
WORK = LayerWorkload(
    name="conv1", images=6, out_rows=6, out_cols=5, kernel_rows=3, row_bytes=14, K=18, N=8
)


def test_maps_stay_between_chained_works_that_fit() -> None:
    """The middle one is too large: what is next to it goes to DRAM."""
    sizes = ((4, 4), (4, 4), (90, 90), (4, 4), (4, 4))
    layers = [
        LayerWorkload(name=f"l{i}", row_bytes=K, K=K, N=N, chained=i > 0)
        for i, (K, N) in enumerate(sizes)
    ]
    found = kept(layers, Memory(activation_bytes=100))
    flags = [(p.inputs_kept, p.outputs_kept) for p in found]
    assert flags == [(False, True), (True, False), (False, False), (False, True),
                     (True, False)]  # fmt: skip
    loose = [LayerWorkload(name="l", row_bytes=4, K=4, N=4)] * 2
    assert kept(loose, Memory()) == [Residency(), Residency()]


@pytest.mark.parametrize(
    ("sums", "rows"),
    [(10**6, (6, 6)), (2 * 4 * 2 * 30 * 8, (2, 6)), (2 * 4 * 15 * 8, (1, 3)),
     (2 * 4 * 5 * 8, (1, 1))],
)  # fmt: skip
def test_the_largest_block_of_rows_that_fits(sums: int, rows: tuple[int, int]) -> None:
    """All images, a power of two of them, or a strip."""
    found = fixed(WORK, ARRAY, Memory(sum_bytes=sums))
    assert (found.images, found.strip) == rows
    assert (found.K, found.N, found.order) == (18, 8, "MNK")


def test_weights_are_cut_where_they_do_not_fit() -> None:
    """To the array's columns, two blocks of them; also where no sums of all of N fit."""
    wide = LayerWorkload(name="dense1", images=2, row_bytes=18, K=18, N=12)
    assert fixed(wide, ARRAY, Memory(weight_bytes=18 * 12)).N == 12
    assert fixed(wide, ARRAY, Memory(weight_bytes=18 * 12 - 1)).N == 4
    assert fixed(wide, ARRAY, Memory(sum_bytes=2 * 4 * 4)).N == 4


def test_a_kept_output_leaves_less_room_for_the_input() -> None:
    """Two strips of 2 under a kernel of 5 take 12 input rows, of which the map has 10."""
    one = LayerWorkload(**(vars(WORK) | {"images": 1, "kernel_rows": 5}))
    room = one.output_bytes + 12 * 14
    for more, strip in ((0, 2), (-1, 1)):
        tight = Memory(activation_bytes=room + more, sum_bytes=2 * 4 * 10 * 8)
        assert tight.activation_bytes > one.input_bytes + one.output_bytes
        assert fixed(one, ARRAY, tight).strip == 2
        assert fixed(one, ARRAY, tight, Residency(outputs_kept=True)).strip == strip
        both = Residency(inputs_kept=True, outputs_kept=True)
        assert fixed(one, ARRAY, tight, both).strip == 2


def test_too_small_buffers_are_refused() -> None:
    """With the buffer, the layer, and the bytes of the smallest blocks."""
    with pytest.raises(InputError, match=r"`--weight-kib` \(=0.00683594\).*conv1.*take 8 "):
        fixed(WORK, ARRAY, Memory(weight_bytes=7))
    with pytest.raises(InputError, match=r"`--sum-kib` \(=0.00976562\)"):
        fixed(WORK, ARRAY, Memory(sum_bytes=10))


@pytest.mark.parametrize(
    ("weights", "K"),
    [(18 * 4 * 2, 18), (18 * 4 * 2 - 1, 16), (2 * 4 * 7, 4), (2 * 4 * 3, 3)],
)
def test_k_is_cut_where_it_does_not_fit(weights: int, K: int) -> None:
    """Whole rows of the array, twice; less than one where no more fits. No partial sum
    leaves the chip, and the input comes once."""
    work, memory = replace(WORK, N=12), Memory(weight_bytes=weights)
    found = fixed(work, ARRAY, memory)
    assert (found.K, found.N, found.order) == (K, 4, "MNK")
    got = walk(ARRAY, work, memory, found)
    assert got.dram_sums_written == got.dram_sums_read == 0
    assert got.dram_inputs == work.input_bytes
    assert got.dram_weights == 18 * 12 * found.trips(work)["M"]
