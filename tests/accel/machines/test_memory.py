"""Transfers take whole cycles; capacities and rates are checked."""

import pytest

from accel.machines.memory import Memory
from configs.errors import InputError


def test_a_transfer_is_rounded_up_to_a_cycle() -> None:
    """34 GB/s at 700 MHz: a tile of 64 KiB takes 1349.27, so 1350 cycles."""
    memory = Memory(dram_mb_per_s=34_000, clock_mhz=700)
    assert [memory.dma_cycles(n) for n in (0, 1, 48, 49, 65_536)] == [0, 1, 1, 2, 1350]


@pytest.mark.parametrize(
    ("field", "value"),
    [("activation_bytes", 0), ("weight_bytes", -1), ("sum_bytes", 1 << 41),
     ("dram_mb_per_s", 0), ("clock_mhz", 10**10), ("sum_port", 0)],
)  # fmt: skip
def test_impossible_values_are_refused(field: str, value: int) -> None:
    """Zero, negative, and beyond any chip."""
    with pytest.raises(InputError, match=f"`{field}`"):
        Memory(**{field: value})
