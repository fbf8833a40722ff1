"""A sweep made ready: tables for the device, and the proof that nothing overflows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from accel.cost import narrow, sram
from accel.cost.energy import Capacities, Prices, prices, static_per_cycle
from accel.cost.energy_table import EnergyTable
from accel.cost.mapping import narrower
from accel.cost.reference import SUM_BYTES
from accel.sweep import choices as rule
from accel.sweep.program import BLOCK, Tables
from accel.sweep.space import FLOWS, Space, area_of_pe
from accel.workload.layer import LayerWorkload
from configs.errors import InputError

# Rates evaluated together.
_RATES = 256
# Largest product of bytes and MHz, and largest count, that float64 takes exactly here.
_MOST_PRODUCT, _MOST_COUNT = 1 << 49, 1 << 53


class Plan(NamedTuple):
    """A space and a network as the device takes them."""

    space: Space
    tables: Tables
    choices: rule.Choices
    # Blocks of rates, and how many rates in each but perhaps the last.
    rate_blocks: int
    rate_block: int
    # Most cycles and energy of any design, proved.
    bounds: tuple[int, int]

    @property
    def units(self) -> int:
        return self.space.arrays * self.rate_blocks

    def index(self, unit, row, rate):
        """Where points stand in the space; a rate of the padding is the last one."""
        array, block = np.divmod(unit, self.rate_blocks)
        rate = np.minimum(block * self.rate_block + rate, self.space.rates - 1)
        return (array * self.space.rates + rate) * self.space.buffers + row

    def rates_of(self, units: np.ndarray) -> np.ndarray:
        """Rates of each unit, without padding."""
        begun = units % self.rate_blocks * self.rate_block
        return np.minimum(self.rate_block, self.space.rates - begun)

    def legal_rows(self, units: np.ndarray) -> np.ndarray:
        """Combinations of buffers with a mapping, of each unit."""
        cols = self.tables.cols_at[units // self.rate_blocks]
        return self.choices.legal.sum(1)[cols]


def make(works: Sequence[LayerWorkload], space: Space, preset: EnergyTable) -> Plan:
    """Everything that is known before the first design.

    Raises:
      InputError: a count could pass what float64 holds exactly.
    """
    proved = require_exact(works, space, preset)
    chosen = rule.choose(works, space)
    rates, size = _rates(space, preset)
    column = {
        name: np.array([[getattr(work, name)] for work in works], np.int64)
        for name in ("K", "N", "repeats", "weight_bits", "activation_bits", "output_bits")
    }
    rows, cols = (np.array(axis, np.int64) for axis in (space.rows, space.cols))
    flow, row, col = (
        grid.ravel() for grid in np.indices((len(space.dataflow), len(rows), len(cols)))
    )
    flows = np.array([FLOWS.index(name) for name in space.dataflow])
    areas = np.array([area_of_pe(name) for name in space.dataflow], np.float64)
    tables = Tables(
        **column,
        options=chosen.options,
        chosen=_in_blocks(chosen),
        sides=np.stack([rows[row], cols[col]], axis=1),
        cols_at=col.astype(np.int32),
        dataflow=flows[flow].astype(np.int32),
        area_of_pe=areas[flow],
        rates=rates,
        **_buffers(space, preset),
        prices=_plain_prices(works, preset),
    )
    return Plan(space, tables, chosen, len(rates), size, proved)


def _in_blocks(chosen: rule.Choices) -> np.ndarray:
    """[cols, blocks, layers, BLOCK]; what fills the last block has no mapping."""
    none = chosen.options.rows.shape[2]
    short = -chosen.chosen.shape[-1] % BLOCK
    full = np.pad(chosen.chosen, ((0, 0), (0, 0), (0, short)), constant_values=none)
    cols, layers, _ = full.shape
    blocked = full.reshape(cols, layers, -1, BLOCK).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(blocked.astype(np.int32))


def _rates(space: Space, preset: EnergyTable) -> tuple[np.ndarray, int]:
    """[blocks, 6, rates]: see `Tables.rates`."""
    bandwidth, clock = (
        grid.ravel().astype(np.float64)
        for grid in np.meshgrid(space.dram_mb_per_s, space.clock_mhz, indexing="ij")
    )
    static = static_per_cycle(preset, clock.astype(np.int64)).astype(np.float64)
    rows = np.stack(
        [clock / bandwidth, 0.5 / bandwidth, clock, bandwidth, static, 1 / clock]
    )
    size = min(_RATES, space.rates)
    rows = np.pad(rows, ((0, 0), (0, -space.rates % size)), mode="edge")
    return np.ascontiguousarray(rows.reshape(6, -1, size).transpose(1, 0, 2)), size


def _buffers(space: Space, preset: EnergyTable) -> dict[str, np.ndarray]:
    """[blocks, BLOCK] each, float64."""
    axes = [np.array(getattr(space, name), np.int64) for name in rule.REASONS[:3]]
    grids = [grid.ravel() for grid in np.meshgrid(*axes, indexing="ij")]
    a, w, s = (sram.whole(grid, preset.sram_points) for grid in grids)
    named = {
        "stored": sum(grids), "price_activation": a, "price_weight": w, "price_sum": s
    }  # fmt: skip
    short = -space.buffers % BLOCK
    return {
        name: np.pad(v, (0, short), mode="edge").reshape(-1, BLOCK).astype(np.float64)
        for name, v in named.items()
    }


def _plain_prices(works: Sequence[LayerWorkload], preset: EnergyTable) -> Prices:
    """Prices without buffers and static power, which depend on other axes; of a MAC by
    layer, [layers, 1]."""
    full = prices(preset, Capacities(1, 1, 1, 1), clock_mhz=1)
    names = [name for name in Prices._fields if name.startswith("buffer")]
    macs = [[narrow.priced(full, preset, work.bits).mac] for work in works]
    none = dict.fromkeys(names, 0)
    return full._replace(static=0, mac=np.array(macs, np.int64), **none)


def require_exact(
    works: Sequence[LayerWorkload], space: Space, preset: EnergyTable
) -> tuple[int, int]:
    """Bounds every count of every design, in Python integers: most cycles and energy."""
    clock = space.clock_mhz[-1]
    most = max(w.input_bytes + w.K * w.N + 2 * w.output_bytes for w in works)
    _require("a transfer in bytes, times MHz", most * clock, _MOST_PRODUCT)
    cycles, joules = bounds(works, space, preset)
    _require("the cycles of a design", cycles, _MOST_COUNT)
    _require("the energy of a design in thousandths of its unit", joules, _MOST_COUNT)
    return cycles, joules


def bounds(
    works: Sequence[LayerWorkload], space: Space, preset: EnergyTable
) -> tuple[int, int]:
    """Cycles and energy that no design of the space exceeds.

    Static power runs for busy cycles, which are longest at the slowest clock, and while
    bytes move, which takes longest at the lowest bandwidth.
    """
    slow, clocks = space.dram_mb_per_s[0], space.clock_mhz
    dearest = _dearest(space, preset)
    cycles = joules = 0
    for work in works:
        busy, buffers, moved, blocks = _most(work, space)
        busy += 3 * blocks
        cycles += (busy + moved * clocks[-1] // slow) * work.repeats
        each = dearest.mac + 9 * dearest.register + 6 * dearest.hop
        joules += work.macs * each
        joules += work.repeats * moved * dearest.dram
        joules += work.repeats * (buffers + moved) * max(dearest[4:8])
        waited = moved * (dearest.static * clocks[0] + clocks[-1]) // slow + 1
        joules += work.repeats * (busy * dearest.static + waited)
    return cycles, joules


def _most(work: LayerWorkload, space: Space) -> tuple[int, int, int, int]:
    """Most busy cycles, bytes between buffers and array, bytes of DRAM, and blocks.

    The smallest sides make the most tiles, the largest the longest; blocks of rows are
    one output row at least.
    """
    M, K, N = work.M, work.K, work.N
    side = 2 * space.rows[-1] + space.cols[-1]
    pieces, depth = _pieces(work, space), _depth(work, space)
    rows = work.images * work.out_rows * pieces
    slices = -(-K // depth)
    tiles_K, tiles_N = -(-K // min(depth, space.rows[0])), -(-N // space.cols[0])
    tiles_M = M // min(space.rows[0], space.cols[0]) + rows
    busy = max(
        tiles_K * tiles_N * (rows * side + M),
        tiles_M * tiles_N * (K + slices * side),
        tiles_K * tiles_M * (tiles_N * side + N),
    )
    buffers = tiles_N * M * K + tiles_M * K * N + 8 * M * N * tiles_K + 5 * M * N
    # Strips of one row overlap most, or, of a stride beyond the kernel, whole images skip
    # least.
    whole = work.strip_bytes(work.out_rows)
    inputs = work.images * pieces * max(work.out_rows * work.strip_bytes(1), whole)
    moved = inputs + rows * K * N + M * N
    return busy, buffers, moved, rows * tiles_N * slices


def _pieces(work: LayerWorkload, space: Space) -> int:
    """Most pieces that the rows of a layer are cut into, beside the smallest buffers."""
    wide = min(work.N, space.cols[-1])
    for cols in (work.out_cols, *narrower(work)):
        blocks = 2 * work.piece(cols).strip_bytes(1)
        # A kept output takes room too, but then there is room for the whole input.
        need = blocks + (0 if blocks <= work.input_bytes else work.output_bytes)
        sums = 2 * SUM_BYTES * cols * wide
        if need <= space.activation_bytes[0] and sums <= space.sum_bytes[0]:
            break
    return -(-work.out_cols // cols)


def _depth(work: LayerWorkload, space: Space) -> int:
    """Fewest terms of K in a block, beside the smallest weight buffer."""
    wide = min(work.N, space.cols[-1])
    room = 8 * (space.weight_bytes[0] // 2) // (work.weight_bits * wide)
    if room >= work.K:
        return work.K
    return max(1, min(room, space.rows[0]))


def _dearest(space: Space, preset: EnergyTable) -> Prices:
    """The highest of every price in the space, as far as its ends tell: prices of an SRAM
    rise or fall between table points, whose own prices count too."""
    capacities = {getattr(space, name)[end] for name in rule.REASONS[:3] for end in (0, -1)}
    found = [
        prices(preset, Capacities(*[size] * 4), clock_mhz=space.clock_mhz[0])
        for size in capacities | set(preset.sram_points)
    ]
    return Prices(*(max(values) for values in zip(*found, strict=True)))


def _require(what: str, bound: int, most: int) -> None:
    if bound >= most:
        raise InputError(
            f"`Space`: {what} may reach {bound:.3g}, beyond the {most:.3g} that stay exact "
            f"here; use a smaller --batch, less static power, or leave out the smallest "
            f"arrays, clocks and bandwidths."
        )
