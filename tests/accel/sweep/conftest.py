"""A tiny network whose blocks are cut in every way, and a space that does so."""

from dataclasses import replace

import pytest

from accel.cost.energy_tables import TABLES
from accel.machines.provenance import Provenance
from accel.sweep.space import Space
from accel.workload.layer import LayerWorkload


@pytest.fixture(scope="session")
def works():
    """Strips, pieces of rows, whole images in ragged blocks, slices of K, groups, chained
    and unchained layers."""
    conv = {"images": 7, "kernel_rows": 3}
    return [
        LayerWorkload(
            name="conv1",
            **conv,
            out_rows=12,
            out_cols=10,
            row_bytes=36,
            K=27,
            N=5,
            col_bytes=3,
        ),
        LayerWorkload(
            name="conv2",
            **conv,
            out_rows=6,
            out_cols=4,
            row_bytes=30,
            K=45,
            N=22,
            chained=True,
            col_bytes=5,
        ),
        LayerWorkload(
            name="groups",
            **conv,
            out_rows=3,
            out_cols=2,
            row_bytes=44,
            stride=2,
            K=33,
            N=11,
            repeats=2,
            chained=True,
            col_bytes=22,
            weight_bits=3,
            activation_bits=5,
            output_bits=7,
        ),
        LayerWorkload(name="side", **conv, out_rows=4, out_cols=4, row_bytes=18, K=27, N=9),
        LayerWorkload(
            name="dense1",
            images=7,
            row_bytes=96,
            K=96,
            N=40,
            chained=True,
            weight_bits=4,
            activation_bits=4,
            output_bits=2,
        ),
        LayerWorkload(name="dense2", images=7, row_bytes=40, K=40, N=10, chained=True),
    ]


@pytest.fixture(scope="session")
def space():
    return Space(
        rows=(1, 3, 8, 32),
        cols=(2, 3, 4, 9, 64),
        dram_mb_per_s=(7, 300, 1600, 64000),
        clock_mhz=(33, 700, 1000),
        activation_bytes=(300, 700, 1500, 4000, 20000),
        weight_bytes=(200, 450, 900, 2000, 8000),
        sum_bytes=(160, 500, 2000, 9000, 60000),
    )


@pytest.fixture(scope="session")
def small_space():
    return Space(
        dataflow=("os", "ws"),
        rows=(2, 8),
        cols=(4, 16),
        dram_mb_per_s=(50, 3000),
        clock_mhz=(100, 700),
        activation_bytes=(500, 4000),
        weight_bytes=(4, 8000),
        sum_bytes=(400, 9000),
    )


@pytest.fixture(scope="session")
def preset():
    """With static power, so that the clock counts."""
    power = Provenance(value=0.02, unit="W", source="this test", status="assumed")
    return replace(TABLES["horowitz_45nm"], static=power)
