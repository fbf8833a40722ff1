"""Which blocks are blocks of a layer, and what they need of the buffers."""

import numpy as np
import pytest

from accel.cost.mapping import Blocks, Mapping, capacity, trips
from accel.machines.memory import Memory
from accel.workload.layer import LayerWorkload
from configs.errors import InputError

WORK = LayerWorkload(
    name="conv1", images=4, out_rows=6, out_cols=5, kernel_rows=3, row_bytes=14, K=18, N=8
)


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"strip": 4}, "strip"), ({"strip": 3, "images": 2}, "images"),
     ({"images": 5}, "images"), ({"K": 19}, "K"), ({"N": 9}, "N")],
)  # fmt: skip
def test_blocks_that_are_none_of_the_layer(fields: dict, named: str) -> None:
    """Strips divide the rows, only whole images come together, none is too large."""
    with pytest.raises(InputError, match=f"`{named}`"):
        Mapping(**({"strip": 6, "K": 18, "N": 8} | fields)).require_fit(WORK)


def test_a_buffer_holds_two_blocks_where_blocks_change() -> None:
    """Bytes by hand: strips of 2 rows, all weights in one block."""
    mapping = Mapping(strip=2, K=18, N=8)
    memory = Memory()
    assert mapping.trips(WORK) == {"M": 12, "K": 1, "N": 1}
    assert mapping.capacity(WORK, memory) == {
        "activation_bytes": 2 * 4 * 14, "weight_bytes": 18 * 8, "sum_bytes": 2 * 4 * 10 * 8
    }  # fmt: skip
    single = Memory(double_buffered=False)
    assert mapping.capacity(WORK, single)["sum_bytes"] == 4 * 10 * 8


@pytest.mark.parametrize(
    ("kept", "strip", "input_bytes"),
    [(("inputs_kept",), 2, 4 * 8 * 14), (("inputs_kept", "outputs_kept"), 2, 4 * 8 * 14),
     (("outputs_kept",), 2, 2 * 4 * 14), (("outputs_kept",), 6, 2 * 8 * 14)],
)  # fmt: skip
def test_kept_maps_lie_there_whole(kept: tuple, strip: int, input_bytes: int) -> None:
    """A kept input of 8 rows an image, or two blocks of one that comes, and the output."""
    need = input_bytes + WORK.output_bytes
    mapping, flags = Mapping(strip=strip, K=18, N=8), dict.fromkeys(kept, True)
    assert mapping.capacity(WORK, Memory(), **flags)["activation_bytes"] == need
    small = Memory(activation_bytes=need - 1)
    with pytest.raises(InputError, match=f"take {need:,} bytes"):
        mapping.require_legal(WORK, small, **flags)
    mapping.require_legal(WORK, Memory(activation_bytes=need), **flags)


def test_arrays_of_blocks_are_the_same_one_by_one() -> None:
    """Trips and capacities of many mappings at once."""
    table = [(1, 1, 18, 8), (1, 3, 7, 2), (3, 6, 18, 1), (4, 6, 5, 8)]
    arrays = Blocks(*np.array(table, np.int64).T)
    for memory in (Memory(), Memory(double_buffered=False)):
        together = trips(WORK, arrays) | capacity(WORK, memory, arrays, outputs_kept=True)
        for i, (images, strip, K, N) in enumerate(table):
            one = Mapping(images=images, strip=strip, K=K, N=N)
            alone = one.trips(WORK) | one.capacity(WORK, memory, outputs_kept=True)
            assert {k: int(np.broadcast_to(v, 4)[i]) for k, v in together.items()} == alone
