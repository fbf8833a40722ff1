"""The memory around an array: DRAM, three buffers, and the clock, as data.

                 +-- activations (uint8 maps) --+
    DRAM --DMA-- +-- weights (int8)           --+-- array
                 +-- sums (int32)             --+

One DMA channel moves everything between DRAM and the buffers, writes first.
"""

from __future__ import annotations

from dataclasses import dataclass

from configs.checks import check_types, require, require_positive

KIB, MIB = 1 << 10, 1 << 20
# Largest buffer and rates: beyond any chip; they keep all counts far below 2^63.
_MOST_BYTES = 1 << 40
_MOST_RATE = 10**9


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Capacities, ports and rates; whole numbers, so that every cycle is exact."""

    # Capacities, bytes.
    activation_bytes: int = 256 * KIB
    weight_bytes: int = 128 * KIB
    sum_bytes: int = 64 * KIB
    # DRAM, megabytes (10^6) a second, both directions together.
    dram_mb_per_s: int = 12_800
    clock_mhz: int = 700
    # Buffers hold two blocks: one is used while the next one comes in.
    double_buffered: bool = True
    # Bytes a cycle that each buffer passes to and from the array; None: all it wants.
    activation_port: int | None = None
    weight_port: int | None = None
    sum_port: int | None = None

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, "activation_bytes", "weight_bytes", "sum_bytes")
        require_positive(self, "dram_mb_per_s", "clock_mhz")
        for name in ("activation_bytes", "weight_bytes", "sum_bytes"):
            fits = getattr(self, name) <= _MOST_BYTES
            require(self, fits, name, "must be at most 1 TiB.")
        for name in ("dram_mb_per_s", "clock_mhz"):
            fits = getattr(self, name) <= _MOST_RATE
            require(self, fits, name, f"must be at most {_MOST_RATE:,}.")
        for name in ("activation_port", "weight_port", "sum_port"):
            given = getattr(self, name)
            require(self, given is None or given >= 1, name, "must be 1 or more bytes.")

    def dma_cycles(self, moved_bytes: int) -> int:
        """Cycles in which DRAM moves some bytes: ceil(bytes * clock / bandwidth)."""
        return -(-moved_bytes * self.clock_mhz // self.dram_mb_per_s)
