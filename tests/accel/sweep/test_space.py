"""A space is a checked product; a number stands for one design and back."""

import dataclasses
from dataclasses import replace

import pytest

from accel.sweep.space import Design, Space, around
from accel.workload.layer import LayerWorkload
from configs.errors import InputError


def test_points_and_numbers_are_each_other(small_space):
    assert small_space.size == 2**8 == small_space.arrays * 32
    designs = [small_space.design(i) for i in range(small_space.size)]
    assert len(set(designs)) == small_space.size
    assert [small_space.index(design) for design in designs] == list(range(2**8))
    first, last = designs[0], designs[-1]
    assert dataclasses.astuple(first) == ("os", 2, 4, 50, 100, 500, 4, 400)
    assert dataclasses.astuple(last) == ("ws", 8, 16, 3000, 700, 4000, 8000, 9000)
    assert last.area == 8 * 16 + 4000 + 8000 + 9000
    # The capacities run fastest, the dataflow slowest.
    assert designs[1].sum_bytes == 9000
    assert designs[128].dataflow == "ws"


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ({"rows": ()}, r"`rows` \(=\(\)\) of Space must have 1 to 1024 values"),
        ({"rows": (8, 8)}, "`rows` .* must be positive and strictly ascending"),
        ({"rows": (16, 8)}, "`rows` .* must be positive and strictly ascending"),
        ({"cols": (0, 8)}, "`cols` .* must be positive and strictly ascending"),
        ({"cols": (8, 2000)}, r"`cols` \(=2000\) of Systolic must be in 1..1024"),
        ({"cols": [8]}, "`cols` .* must be a tuple"),
        ({"weight_bytes": (-1, 2)}, "`weight_bytes` .* strictly ascending"),
        ({"weight_bytes": (1, 1 << 41)}, "`weight_bytes` .* at most 1 TiB"),
        ({"dataflow": ("ws", "ws")}, "`dataflow` .* must name each dataflow once"),
        ({"dataflow": ("rs",)}, "`dataflow.* must be one of ws, os, is"),
        ({"sum_bytes": tuple(range(1, 1001)), "weight_bytes": tuple(range(1, 1001))},
         "`sum_bytes` .* combinations; 262,144 at most"),
        ({"clock_mhz": tuple(range(1, 1001)), "dram_mb_per_s": tuple(range(1, 1001))},
         "`clock_mhz` .* combinations; 65,536 at most"),
    ],
)  # fmt: skip
def test_wrong_axes_are_refused(axis, message):
    with pytest.raises(InputError, match=message):
        Space(**axis)


def test_designs_outside_are_refused(small_space):
    for index in (-1, small_space.size):
        with pytest.raises(InputError, match=r"`index` .* must be in 0\.\.255"):
            small_space.design(index)
    other = dataclasses.replace(small_space.design(0), rows=5)
    with pytest.raises(InputError, match=r"`rows` \(=5\) must be in \(2, 8\)"):
        small_space.index(other)


def test_the_default_space_holds_the_network(works):
    found = around(works)
    last = found.design(found.size - 1)
    assert last.activation_bytes >= max(w.input_bytes + w.output_bytes for w in works)
    assert last.weight_bytes >= max(w.K * w.N for w in works)
    assert last.sum_bytes >= max(4 * w.M * w.N for w in works)
    assert found.sum_bytes[0] < 1000 < found.sum_bytes[-1]


def test_capacities_of_a_huge_layer_stay_few():
    huge = LayerWorkload(name="dense", images=1 << 20, row_bytes=9, K=9, N=1 << 10)
    assert len(around([huge]).sum_bytes) == 12


def test_shadow_registers_are_a_machine_and_take_room() -> None:
    """The next tile loads meanwhile; two bytes more a PE."""
    sides = {"rows": 4, "cols": 6, "dram_mb_per_s": 100, "clock_mhz": 100}
    buffers = {"activation_bytes": 100, "weight_bytes": 10, "sum_bytes": 1}
    single, shadow = (
        Design(dataflow=flow, **sides, **buffers) for flow in ("is", "is_shadow")
    )
    assert shadow.machine == replace(single.machine, weights="shadow")
    assert (single.area, shadow.area) == (24 + 111, 72 + 111)
    assert set(Space().dataflow) == {"ws", "os", "is", "ws_shadow", "is_shadow"}
