"""The rule over all buffers at once is the rule of one design, tolerance zero."""

from dataclasses import replace

import numpy as np
import pytest

from accel.cost import fixed_mapping
from accel.sweep import choices, plan, reference
from accel.sweep.choices import Options
from accel.sweep.metrics import METRICS
from accel.sweep.space import Space
from accel.workload.layer import LayerWorkload
from configs.errors import InputError

# A kernel as high as the map: two strips take more rows than the map has.
TALL = [
    LayerWorkload(
        name="conv", out_rows=6, out_cols=2, kernel_rows=5, row_bytes=9, K=45, N=4
    ),
    LayerWorkload(
        name="conv2",
        out_rows=3,
        out_cols=2,
        kernel_rows=3,
        row_bytes=8,
        K=24,
        N=6,
        chained=True,
    ),
]
SPACE = Space(
    dataflow=("ws",), rows=(4,), cols=(2, 4), dram_mb_per_s=(100,), clock_mhz=(100,),
    activation_bytes=(*range(100, 170, 3), 400), weight_bytes=(200, 1000),
    sum_bytes=(60, 128, 140, 500),
)  # fmt: skip


def mapped(works, space, index):
    """(blocks of rows, rows in each, whole N, kept, pieces, K) of every layer, or None."""
    made = choices.choose(works, space)
    col = space.cols.index(space.design(index).cols)
    buffers = index % space.buffers
    if not made.legal[col, buffers]:
        return None
    found = []
    for layer, option in enumerate(made.chosen[col, :, buffers]):
        o = Options(*(
            [0] if field is None else field[layer, :, option].tolist()
            for field in made.options
        ))  # fmt: skip
        design, work = space.design(index), works[layer]
        n = work.N if o.whole[0] else min(design.cols, work.N)
        room, K = 8 * (o.room[0] // 2) // (work.weight_bits * n), work.K
        if o.room[0]:
            K = room // design.rows * design.rows if room >= design.rows else room
        flags = bool(o.whole[0]), bool(o.inputs_kept[0]), bool(o.outputs_kept[0])
        found.append((o.trips[0], o.rows[0], *flags, sum(o.count), K))
    return found


def wanted(works, design):
    """The same by `accel.cost.fixed_mapping`, one layer after the other."""
    found = []
    for work, places in zip(works, fixed_mapping.kept(works, design.memory), strict=True):
        try:
            one = fixed_mapping.fixed(work, design.machine, design.memory, places)
        except InputError:
            return None
        rows = one.images * one.strip * (one.cols or work.out_cols)
        whole, cut = one.N == work.N, (one.column_pieces(work), one.K)
        found.append((one.trips(work)["M"], rows, whole, *vars(places).values(), *cut))
    return found


def differing(works, space):
    wrong = 0
    for index in range(space.size):
        got, want = mapped(works, space, index), wanted(works, space.design(index))
        if want is not None and got is not None:
            # A layer as narrow as the array is whole either way.
            narrow = [space.design(index).cols >= work.N for work in works]
            got = [(*g[:2], g[2] or n, *g[3:]) for g, n in zip(got, narrow, strict=True)]
        wrong += got != want
    return wrong


def test_slices_and_pieces_are_those_of_the_rule(works, space):
    """Of a space in which many designs need one or the other."""
    some = replace(
        space, dataflow=("ws",), rows=(3,), cols=(2, 9), dram_mb_per_s=(100,),
        clock_mhz=(100,), activation_bytes=(300, 4000), weight_bytes=(200, 450, 2000),
        sum_bytes=(300, 500, 9000),
    )  # fmt: skip
    assert differing(works, some) == 0
    found = [wanted(works, some.design(i)) for i in range(some.size)]
    every = [one for layers in found if layers for one in layers]
    assert sum(one[5] > 1 for one in every) > 5
    sliced = [layers for layers in found if layers and layers[4][6] < works[4].K]
    assert len(sliced) > 5


def test_every_design_gets_the_blocks_of_the_rule():
    """Also where a kept output leaves no room for two strips of the input."""
    assert differing(TALL, SPACE) == 0
    kept = [wanted(TALL, SPACE.design(i)) for i in range(SPACE.size)]
    assert any(one and one[0][4] for one in kept)


def test_planted_an_output_that_takes_no_room_is_seen(monkeypatch):
    """The first layer's strips then are too many."""
    real = choices._layer
    monkeypatch.setattr(
        choices, "_layer", lambda w, c, s, i, o: real(w, c, s, i, np.zeros_like(o))
    )
    assert differing(TALL, SPACE) > 0


@pytest.mark.parametrize(("kernel", "stride"), [(1, 3), (3, 1), (2, 2)])
def test_no_design_passes_the_bounds(kernel, stride, preset):
    """Inputs decide: strips that overlap, that touch, and that skip rows."""
    layer = LayerWorkload(
        name="l", out_rows=8, kernel_rows=kernel, stride=stride, row_bytes=5000, K=1, N=1
    )
    space = replace(
        SPACE, dram_mb_per_s=(1,), activation_bytes=(1 << 14, 1 << 20), rows=(1,), cols=(1,)
    )
    _below(plan.bounds([layer], space, preset), [layer], space, preset)


@pytest.mark.parametrize("dear", ["register", "hop", "mac", "dram", "static"])
def test_no_energy_passes_the_bounds(dear, preset):
    """One price decides, on arrays that hold weights, sums and inputs."""
    nothing = {"register": 0, "hop": 0, "dram": 0, "static": 0, "mac": 0.001}
    values = nothing | {dear: 900}
    numbers = {
        name: replace(getattr(preset, name), value=value) for name, value in values.items()
    }
    point = replace(preset.sram[0][1], value=0.001)
    one = replace(preset, sram=((1024, point),), **numbers)
    space = replace(SPACE, dataflow=("ws", "os", "is"), activation_bytes=(150, 400))
    _below(plan.bounds(TALL, space, one), TALL, space, one)


def _below(most, works, space, preset):
    """Every legal design of a space; there are some."""
    legal = 0
    for index in range(space.size):
        try:
            got = reference.metrics(works, space.design(index), preset)
        except InputError:
            continue
        legal += 1
        assert got.keys() == set(METRICS)
        assert got["cycles"] <= most[0]
        assert got["energy"] <= most[1]
    assert legal
