"""The TPU as data: what follows from its sizes, and what is no machine."""

import pytest

from accel.machines.provenance import Provenance
from accel.tpu import constants
from accel.tpu.machine import TpuMachine
from configs.errors import InputError


def test_the_machine_of_the_paper():
    """Sizes and speeds as published: 64 KiB tiles, 1350 cycles each, halves of 2048."""
    machine = TpuMachine()
    assert machine.tile_bytes == 64 * 1024
    assert machine.fetch_cycles == 1350
    assert machine.half_rows == 2048
    assert machine.unified_buffer_rows == 98_304
    assert machine.accumulator_rows * machine.side * 4 == 4 * 2**20
    assert machine.weight_tiles == 131_072
    # 92 TOPS of two operations a MAC, and 1349 MACs a weight byte at the ridge.
    assert 2 * machine.multipliers * machine.clock_hz == 91_750_400_000_000
    assert machine.multipliers * machine.clock_hz // machine.weight_bandwidth == 1349


@pytest.mark.parametrize(
    ("bandwidth", "cycles"), [(34_000_000_000, 1350), (45_875_200_000, 1000), (1, 65536)]
)
def test_fetches_round_up_in_integers(bandwidth, cycles):
    """A fetch that takes whole cycles takes no more; at 1 byte a second it is exact."""
    clock = 700_000_000 if bandwidth > 1 else 1
    machine = TpuMachine(weight_bandwidth=bandwidth, clock_hz=clock)
    assert machine.fetch_cycles == cycles


def test_host_transfers_round_up():
    """20 bytes a cycle at 14 GB/s."""
    machine = TpuMachine()
    assert [machine.host_cycles(size) for size in (0, 1, 20, 21)] == [0, 1, 1, 2]


def test_a_larger_array_has_larger_tiles():
    """Four times the bytes take four times as long, but for rounding."""
    assert TpuMachine(side=512).fetch_cycles == 5398
    assert TpuMachine(side=512).name == "tpu_512x512"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"side": 0}, "`side` (=0) of TpuMachine must be positive"),
        ({"side": 2048}, "must be in 1..1024"),
        ({"clock_hz": -1}, "`clock_hz` (=-1)"),
        ({"weight_bandwidth": 34e9}, "must be a whole number"),
        ({"accumulator_rows": 5}, "must be even"),
        ({"accumulator_rows": 1 << 17}, "must be at most 65536"),
        ({"unified_buffer_bytes": 1000}, "must be whole rows of `side` (256) bytes"),
        ({"unified_buffer_bytes": 1 << 31}, "must be below 2 GiB"),
        ({"weight_memory_bytes": 65535}, "must hold a tile"),
    ],
)
def test_no_machine(fields, words):
    """Every rule is said with the field and its value."""
    with pytest.raises(InputError) as refused:
        TpuMachine(**fields)
    assert words in str(refused.value)


def test_every_constant_says_where_it_stands():
    """Every default of the machine is one, and only the host's bandwidth is a guess."""
    values = {one.value for one in constants.ALL.values()}
    assert values >= set(vars(TpuMachine()).values())
    assert all(isinstance(one, Provenance) for one in constants.ALL.values())
    assumed = [name for name, one in constants.ALL.items() if one.status == "assumed"]
    assert assumed == ["host_bandwidth"]
    assert constants.HOST_BANDWIDTH.value < constants.HOST_PEAK.value
    assert constants.HOST_PEAK.value == 16 * 8 * 10**9 * 128 // 130 // 8
