"""Small layers cut into blocks at random: what the cost models are compared on."""

import random
from typing import NamedTuple

from accel.cost.mapping import Mapping
from accel.cost.mapspace import ORDERS
from accel.cost.reference import Residency
from accel.machines.machine import Systolic
from accel.machines.memory import Memory
from accel.workload.layer import LayerWorkload


class Case(NamedTuple):
    work: LayerWorkload
    mapping: Mapping
    places: Residency


def case(draw: random.Random, largest: int = 9) -> Case:
    """Any layer of some sizes with any blocks, which always fit `memory()`."""
    rows, images = draw.choice([1, 2, 3, 4, 6, 12]), draw.randint(1, 6)
    work = LayerWorkload(
        name="layer",
        images=images,
        out_rows=rows,
        out_cols=draw.randint(1, 3),
        kernel_rows=draw.randint(1, 3),
        stride=draw.randint(1, 3),
        row_bytes=draw.randint(1, largest),
        K=draw.randint(1, largest),
        N=draw.randint(1, largest),
        repeats=draw.choice([1, 1, 3]),
    )
    strip = draw.choice([d for d in range(1, rows + 1) if rows % d == 0])
    mapping = Mapping(
        images=draw.randint(1, images) if strip == rows else 1,
        strip=strip,
        K=draw.randint(1, work.K),
        N=draw.randint(1, work.N),
        order=draw.choice(ORDERS),
    )
    places = Residency(
        inputs_kept=draw.random() < 0.3, outputs_kept=draw.random() < 0.3
    )  # fmt: skip
    return Case(work, mapping, places)


def memory(draw: random.Random, **fields) -> Memory:
    """Rates and ports at random."""
    given = dict(
        dram_mb_per_s=draw.choice([37, 100, 700, 5000]),
        clock_mhz=draw.choice([100, 333]),
        double_buffered=draw.random() < 0.6,
        activation_port=draw.choice([None, 1, 3]),
        weight_port=draw.choice([None, 2]),
        sum_port=draw.choice([None, 1, 7]),
    )
    return Memory(**(given | fields))


def machine(draw: random.Random) -> Systolic:
    dataflow = draw.choice(["ws", "os", "is"])
    shadow = draw.random() < 0.3 and dataflow != "os"
    return Systolic(
        rows=draw.randint(1, 4),
        cols=draw.randint(1, 4),
        dataflow=dataflow,
        weights="shadow" if shadow else "single",
    )
