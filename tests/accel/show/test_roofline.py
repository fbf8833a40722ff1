"""The roof is above every layer of every machine, and the figure is drawn to scale."""

import dataclasses
import re

import numpy as np
import pytest
from reports import layer

from accel.machines.machine import Direct, Dot, Mac, Systolic, Tile
from accel.show import roofline

MACHINES = [
    Systolic(),
    Systolic(rows=1, cols=5),
    Systolic(dataflow="is"),
    Systolic(dataflow="os", rows=4),
    Systolic(weights="shadow"),
    Systolic(weights="shadow", load="global", dataflow="is"),
    Mac(),
    Mac(dram=True, access_cycles=10),
    Dot(),
    Tile(),
    Tile(loop="inputs", inputs=8, outputs=32),
]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_no_layer_is_above_the_roof(machine):
    roof = roofline.roof(dataclasses.asdict(machine), machine.multipliers)
    sizes = [
        (1, 1, 1),
        (1, 800, 64),
        (676, 9, 16),
        (4000, 300, 33),
        (3000, 16, 16),
        (7, 1, 90),
    ]
    sizes += [(900, 1024, 1), (1, 1, 5000), (20_000, 512, 256), (256, 16, 20_000)]
    points = [roofline.point(layer(machine, "layer", *size)) for size in sizes]
    reached = [one.macs_per_cycle / roof.bound(one.intensity) for one in points]
    assert max(reached) <= 1
    # And the roof is near what some layer reaches: a roof twice as high would be no bound.
    assert max(reached) > 0.5


def test_the_network_mapped_straight_to_hardware_has_no_roof():
    assert roofline.roof(dataclasses.asdict(Direct()), 1000) is None


def test_the_roofline_is_drawn_to_scale():
    roof = roofline.Roof(multipliers=100, words=10.0, meaning="ten")
    points = [
        roofline.Point("a", 1, 1),
        roofline.Point("b", 10, 10),
        roofline.Point("c", 10, 100),
    ]
    svg = str(roofline.draw(roof, points))
    dots = re.findall(r'<title>(\w): .*?cx="([\d.]+)" cy="([\d.]+)"', svg)
    at = {name: (float(x), float(y)) for name, x, y in dots}
    line = re.search(r'points="([\d., ]+)"', svg)[1]
    corners = [tuple(map(float, pair.split(","))) for pair in line.split()]
    assert at["c"] == corners[1], "ten MACs per word at ten words a cycle"
    assert at["b"][0] == at["c"][0] > at["a"][0]
    assert at["a"][1] - at["b"][1] == pytest.approx(at["b"][1] - at["c"][1], abs=0.2)
    # Log-log: the slope rises by a decade for each decade.
    decade_x, decade_y = at["b"][0] - at["a"][0], at["a"][1] - at["b"][1]
    (x0, y0), (x1, y1), (_, y2) = corners
    assert (x1 - x0) / decade_x == pytest.approx((y0 - y1) / decade_y, abs=0.01)
    assert y1 == y2


def test_labels_of_layers_in_one_place_do_not_cover_each_other():
    points = [roofline.Point(f"layer{i}", 2.0, 50.0) for i in range(5)]
    svg = str(roofline.draw(roofline.Roof(100, 10.0, "ten"), points))
    heights = [float(y) for y in re.findall(r'class="label" x="[\d.]+" y="([\d.]+)"', svg)]
    assert len(heights) == 5
    assert np.diff(sorted(heights)).min() >= 12
