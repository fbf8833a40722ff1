"""What SCALE-Sim 3 reports for the same array: our closed forms and three named terms.

SCALE-Sim 3.0.0 counts as `closed_forms` does, but
 1. prints the index of its last cycle, counted from 0: one less for every product
    (scalesim-project/SCALE-Sim#125);
 2. leaves the drain of the output-stationary array out: `rows` less for every tile
    (scalesim-project/scale-sim-v3#4);
 3. counts rows + cols writes too many for every output-stationary tile
    (scalesim-project/SCALE-Sim#166).
The first two are terms of its cycles, the third one of its memory traffic.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from accel.machines.counters import Counters
from accel.predict import closed_forms as forms
from configs.errors import InputError


class Figures(NamedTuple):
    """One product on one array, as SCALE-Sim reports it; words of one operand."""

    total_cycles: int
    compute_cycles_unstalled: int
    # Exact; the tool prints four decimals.
    util_pct: Fraction
    mapping_eff_pct: Fraction
    ifmap_sram_reads: int
    filter_sram_reads: int
    ofmap_sram_writes: int


def count(M: int, K: int, N: int, *, rows: int, cols: int, dataflow: str) -> Counters:
    """The checked closed forms of the array that SCALE-Sim models: no shadow registers."""
    if dataflow == "os":
        return forms.output_stationary(M, K, N, rows=rows, cols=cols)
    if dataflow == "is":
        held = forms.weight_stationary(N, K, M, rows=rows, cols=cols)
        return forms.transposed(held)
    return forms.weight_stationary(M, K, N, rows=rows, cols=cols)


def figures(
    M: int, K: int, N: int, *, rows: int, cols: int, dataflow: str, stall_cycles: int = 0
) -> Figures:
    """Its report of the product [M, K] x [K, N].

        unstalled   = cycles - 1 - drain (of os alone)
        utilisation = macs / (total * rows * cols)
        mapping     = macs / (stream * rows * cols), the share of PEs that tiles cover

    It writes partial sums to memory and never reads them back. `stall_cycles`, which come
    from its memory model and not from the array, are taken as they are.

    Raises:
      InputError: the total is 0 (os, one multiplication, one PE).
    """
    counters = count(M, K, N, rows=rows, cols=cols, dataflow=dataflow)
    counted_from_zero = 1
    omitted_drain = counters.drain if dataflow == "os" else 0
    surplus_writes = counters.tiles * (rows + cols) if dataflow == "os" else 0
    unstalled = counters.cycles - counted_from_zero - omitted_drain
    total = unstalled + stall_cycles
    if total == 0:
        raise InputError(
            f"{M}x{K}x{N} on {rows}x{cols} {dataflow} takes 0 cycles in SCALE-Sim's count, "
            f"which leaves its utilisation undefined; take a larger product or array."
        )
    return Figures(
        total_cycles=total,
        compute_cycles_unstalled=unstalled,
        util_pct=_percent(counters.macs, total * rows * cols),
        mapping_eff_pct=_percent(counters.macs, counters.stream * rows * cols),
        ifmap_sram_reads=counters.input_fetches,
        filter_sram_reads=counters.weight_fetches,
        ofmap_sram_writes=counters.output_writes + counters.sum_writes + surplus_writes,
    )


def compute_util_pct(
    M: int, K: int, N: int, *, rows: int, cols: int, dataflow: str
) -> Fraction:
    """Its "Compute Util %": what tiles cover, times the items of a tile over its cycles.

        ws, is: items / (items + 2 rows + 2 cols - 3), os: K / (K + rows + cols - 2)

    The skew of the columns stands in it twice, but for os. Items are M, or N for is.
    """
    counters = count(M, K, N, rows=rows, cols=cols, dataflow=dataflow)
    items = {"ws": M, "os": K, "is": N}[dataflow]
    # Per tile as it counts them: with neither the drain of os nor the index from 0.
    cycles = counters.cycles // counters.tiles - (rows if dataflow == "os" else 0)
    skew = 0 if dataflow == "os" else cols - 1
    covered = Fraction(counters.macs, counters.stream * rows * cols)
    return 100 * covered * Fraction(items, cycles + skew)


def convolution(
    height: int,
    width: int,
    *,
    kernel: tuple[int, int],
    channels: int,
    filters: int,
    stride: int,
) -> tuple[int, int, int]:
    """(M, K, N) of a convolution as it lowers one: no padding, rounded up.

    M = P * Q with P = ceil((height - kernel[0] + stride) / stride) and Q alike; K = kernel
    area * channels. Where the stride does not divide, a window hangs over the edge, which
    Lockstep leaves out. The kernel must fit into the image.
    """
    P, Q = (
        forms.ceil_divide(size - window + stride, stride)
        for size, window in zip((height, width), kernel, strict=True)
    )
    return P * Q, kernel[0] * kernel[1] * channels, filters


def _percent(part: int, whole: int) -> Fraction:
    return Fraction(100 * part, whole)
