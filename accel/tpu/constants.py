"""What is known of the first TPU, each number with where it stands.

Reference: Jouppi et al., "In-Datacenter Performance Analysis of a Tensor Processing
Unit", ISCA 2017, arXiv 1704.04760.
"""

from __future__ import annotations

from accel.machines.provenance import Provenance

_PAPER = "TPU paper (arXiv 1704.04760)"

# Rows and columns of the array; also the bytes of a row of the unified buffer.
SIDE = Provenance(value=256, unit="PE", source=f"{_PAPER}, section 2", status="confirmed")
CLOCK = Provenance(
    value=700_000_000, unit="Hz", source=f"{_PAPER}, table 2", status="confirmed"
)
UNIFIED_BUFFER = Provenance(
    value=24 * 2**20, unit="B", source=f"{_PAPER}, section 2", status="confirmed"
)
# Of one int32 in each column; two halves, one fills while the other is read.
ACCUMULATOR_ROWS = Provenance(
    value=4096, unit="rows", source=f"{_PAPER}, section 2", status="confirmed"
)
FIFO_TILES = Provenance(
    value=4, unit="tiles", source=f"{_PAPER}, section 2", status="confirmed"
)
# The peak of table 2; what programs get is less.
WEIGHT_BANDWIDTH = Provenance(
    value=34_000_000_000, unit="B/s", source=f"{_PAPER}, table 2", status="confirmed"
)
WEIGHT_MEMORY = Provenance(
    value=8 * 2**30, unit="B", source=f"{_PAPER}, section 2", status="confirmed"
)
# 16 lanes x 8 GT/s x 128/130, a byte being 8 bits.
HOST_PEAK = Provenance(
    value=15_753_846_153,
    unit="B/s",
    source="PCIe Gen3 x16, each way: 16 * 8e9 * 128/130 / 8",
    status="derived",
)
# What is left after packet headers: the paper names the link, not what it carried.
HOST_BANDWIDTH = Provenance(
    value=14_000_000_000,
    unit="B/s",
    source="PCIe Gen3 x16, each way, about 89 % of its peak",
    status="assumed",
)
INSTRUCTION_BYTES = Provenance(
    value=12, unit="B", source=f"{_PAPER}, section 2", status="confirmed"
)

ALL = {
    name.lower(): value
    for name, value in list(globals().items())
    if isinstance(value, Provenance)
}
