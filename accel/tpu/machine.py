"""The TPU as data: sizes and speeds, all of which may be changed. Needs no JAX."""

from __future__ import annotations

from dataclasses import dataclass

from accel.tpu import constants
from configs.checks import check_types, require, require_positive

# 2 bytes of an instruction address the accumulators.
_MOST_ACCUMULATOR_ROWS = 1 << 16
_LARGEST_SIDE = 1024


@dataclass(frozen=True, kw_only=True)
class TpuMachine:
    """A weight-stationary array fed by a unified buffer and a FIFO of weight tiles.

    The defaults are the machine of the paper, with its peak weight bandwidth.
    """

    # Rows and columns of the array; bytes of a unified buffer row.
    side: int = constants.SIDE.value
    clock_hz: int = constants.CLOCK.value
    unified_buffer_bytes: int = constants.UNIFIED_BUFFER.value
    # Rows of `side` int32 sums, in two halves.
    accumulator_rows: int = constants.ACCUMULATOR_ROWS.value
    # Weight tiles between the weight memory and the array.
    fifo_tiles: int = constants.FIFO_TILES.value
    # Bytes a second from the weight memory.
    weight_bandwidth: int = constants.WEIGHT_BANDWIDTH.value
    weight_memory_bytes: int = constants.WEIGHT_MEMORY.value
    # Bytes a second to the host, and as many from it.
    host_bandwidth: int = constants.HOST_BANDWIDTH.value

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, *(name for name in vars(self)))
        fits = self.side <= _LARGEST_SIDE
        require(self, fits, "side", f"must be in 1..{_LARGEST_SIDE}.")
        halves = self.accumulator_rows % 2 == 0
        require(self, halves, "accumulator_rows", "must be even: it has two halves.")
        fits = self.accumulator_rows <= _MOST_ACCUMULATOR_ROWS
        rule = f"must be at most {_MOST_ACCUMULATOR_ROWS}, what 2 bytes address."
        require(self, fits, "accumulator_rows", rule)
        whole = self.unified_buffer_bytes % self.side == 0
        rule = f"must be whole rows of `side` ({self.side}) bytes."
        require(self, whole, "unified_buffer_bytes", rule)
        # Byte addresses are int32 in the executor.
        fits = self.unified_buffer_bytes < 2**31 and self.unified_buffer_rows <= 1 << 24
        require(self, fits, "unified_buffer_bytes", "must be below 2 GiB and 2^24 rows.")
        holds = self.weight_tiles >= 1
        require(self, holds, "weight_memory_bytes", "must hold a tile of side^2 bytes.")

    @property
    def name(self) -> str:
        return f"tpu_{self.side}x{self.side}"

    @property
    def half_rows(self) -> int:
        """Accumulator rows of one half: the most rows that one matmul makes."""
        return self.accumulator_rows // 2

    @property
    def multipliers(self) -> int:
        return self.side * self.side

    @property
    def tile_bytes(self) -> int:
        return self.side * self.side

    @property
    def weight_tiles(self) -> int:
        """Tiles that the weight memory holds."""
        return self.weight_memory_bytes // self.tile_bytes

    @property
    def unified_buffer_rows(self) -> int:
        return self.unified_buffer_bytes // self.side

    @property
    def fetch_cycles(self) -> int:
        """Cycles to fetch one weight tile, rounded up.

        >>> TpuMachine().fetch_cycles
        1350
        """
        return -(-self.tile_bytes * self.clock_hz // self.weight_bandwidth)

    def host_cycles(self, transfer_bytes: int) -> int:
        """Cycles to move bytes from or to the host, rounded up.

        >>> TpuMachine().host_cycles(100)
        5
        """
        return -(-transfer_bytes * self.clock_hz // self.host_bandwidth)
