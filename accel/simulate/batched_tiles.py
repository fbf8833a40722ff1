"""Runs products through `register_renaming.py`, many tiles side by side, on all cores.

Valid for arrays that work on one tile at a time (single weight registers): nothing is left
in the array between two tiles, so they may be stepped in any order and side by side; their
cycles add up. All tiles of one sum are stepped one after the other, the memory below the
array in the carry. Long tiles go in pieces, short ones several to a program.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int32, Integer

from accel.machines.counters import Counters, times, total
from accel.machines.machine import Systolic
from accel.simulate import register_renaming
from accel.simulate.control import padded, tile_count, whole
from accel.simulate.phases import Bits, phase_counts
from accel.simulate.register_level import SURPLUS
from accel.simulate.simulation import LostResultError, Run

# Sums that are stepped in one go, for speed: they stay in the second-level cache.
_SUMS = 8192
_MOST_LANES = 64
# Edges of a program, roughly.
_EDGES = 4096


@dataclass(frozen=True)
class Plan:
    """How the tiles of a product are shared out; B lanes times `blocks` in a program."""

    rows: int
    cols: int
    items: int
    lanes: int
    blocks: int
    # Edges of a piece, and how many pieces a tile takes.
    edges: int
    pieces: int

    @classmethod
    def made(cls, machine: Systolic, items: int, wanted: int) -> Plan:
        """For `wanted` sums (tiles of outputs) of `items` items each."""
        rows, cols = machine.rows, machine.cols
        needed = items + rows + cols - 2 + SURPLUS
        lanes = min(max(1, _SUMS // (rows * cols)), _MOST_LANES, _power_of_two(wanted))
        if needed > _EDGES:
            # Slots come back to their rows after a multiple of `rows` edges.
            edges = tile_count(_EDGES, rows) * rows
            return cls(rows, cols, items, lanes, 1, edges, tile_count(needed, edges))
        step = max(8, _power_of_two(needed) // 32)
        edges = tile_count(needed, step) * step
        blocks = min(max(1, _EDGES // edges), _power_of_two(tile_count(wanted, lanes)))
        return cls(rows, cols, items, lanes, blocks, edges, 1)

    @property
    def before(self) -> int:
        """Edges before a piece whose items are still on their way."""
        return self.rows + self.cols - 2


def _power_of_two(size: int) -> int:
    """The smallest that is not smaller."""
    return 1 << (size - 1).bit_length()


@dataclass(frozen=True)
class Product:
    """A product cut up; a factor that all G products share stands there once."""

    # (tiles of K, edges before + M + edges after, rows, G or 1).
    items: np.ndarray
    # (tiles of K, tiles of N, rows, cols, G or 1).
    held: np.ndarray
    # No padding, bool (tiles of K, rows) and (tiles of N, cols).
    live_rows: np.ndarray
    live_cols: np.ndarray

    @classmethod
    def cut(
        cls,
        plan: Plan,
        left_GMK: Integer[np.ndarray, "g m k"],
        right_GKN: Integer[np.ndarray, "h k n"],
    ) -> Product:
        count, size_M, size_K = left_GMK.shape
        after = plan.edges * plan.pieces - size_M
        deep = tile_count(size_K, plan.rows)
        items = np.zeros(
            (deep, plan.before + size_M + after, plan.rows, count), left_GMK.dtype
        )
        left = padded(left_GMK, 2, plan.rows).reshape(count, size_M, deep, plan.rows)
        items[:, plan.before : plan.before + size_M] = left.transpose(2, 1, 3, 0)
        right = padded(padded(right_GKN, 1, plan.rows), 2, plan.cols)
        held = right.reshape(len(right), deep, plan.rows, -1, plan.cols)
        return cls(
            items,
            held.transpose(1, 3, 2, 4, 0),
            whole(size_K, plan.rows),
            whole(right_GKN.shape[2], plan.cols),
        )


def run(
    machine: Systolic,
    left_GMK: Integer[np.ndarray, "g m k"],
    right_GKN: Integer[np.ndarray, "h k n"],
) -> Run:
    """Products on a weight-stationary array; `input` fetches are those of the left factor.

    Raises:
      LostResultError: results are missing, or come where none should.
    """
    count = max(len(left_GMK), len(right_GKN))
    wide = tile_count(right_GKN.shape[2], machine.cols)
    plan = Plan.made(machine, left_GMK.shape[1], count * wide)
    product = Product.cut(plan, left_GMK, right_GKN)
    sums = np.empty((count, plan.items, wide * plan.cols), np.int32)
    devices = jax.local_devices()
    groups = list(_groups(plan, count * wide))
    with ThreadPoolExecutor(len(devices)) as pool:
        jobs = [
            pool.submit(_group, plan, product, group, sums, devices[i % len(devices)])
            for i, group in enumerate(groups)
        ]
        counters = total([job.result() for job in jobs])
    counters = counters._replace(slots=machine.multipliers * counters.cycles)
    return Run(sums[..., : right_GKN.shape[2]], counters)


def _groups(plan: Plan, wanted: int) -> Iterator[np.ndarray]:
    """Numbers of the sums that one program steps, (blocks * lanes,) or fewer."""
    each = plan.blocks * plan.lanes
    for first in range(0, wanted, each):
        yield np.arange(first, min(first + each, wanted))


def _group(plan: Plan, product: Product, group, sums, device) -> Counters:
    """Steps all tiles of some sums, and puts these where they belong."""
    wide, g = np.divmod(group, len(sums))
    with jax.default_device(device):
        size = (plan.blocks, plan.edges, plan.cols, plan.lanes)
        below = [jnp.zeros(size, jnp.int32) for _ in range(plan.pieces)]
        counters = []
        deep = len(product.items)
        read = None
        for k in range(deep):
            below, bits, loads = _tile(plan, product, k, wide, g, below)
            if read is None or not read.of(bits, loads):
                read = _Read.made(plan, bits, loads)
            counted = _counted(plan, product, k, wide, read)
            results = counted.output_writes
            counted = counted._replace(
                sum_reads=results if k else 0,
                sum_writes=results if k < deep - 1 else 0,
                output_writes=results if k == deep - 1 else 0,
            )
            counters.append(counted)
        _put(plan, below, _first_result(plan, bits), wide, g, sums)
    return total(counters)


def _tile(plan: Plan, product: Product, k: int, wide, g, below: list) -> tuple:
    """One tile of every sum: what then stands below, valid bits, loads."""
    held = _spread(product.held[k, wide, ..., g % product.held.shape[-1]], plan, 0)
    enable = np.ones(plan.rows, bool)
    weights = register_renaming.load(held, enable)
    state = register_renaming.empty(plan.blocks, plan.rows, plan.cols, plan.lanes)
    after, bits = [], []
    shared = product.items.shape[-1] == 1
    columns = slice(0, 1) if shared else _index(g)
    for piece, under in enumerate(below):
        start = piece * plan.edges
        window = product.items[k, start : start + plan.edges + plan.before, :, columns]
        if not isinstance(columns, slice):
            window = np.moveaxis(window, 0, -1)
        items = window[None] if shared else _spread(window, plan, -1)
        valid = np.arange(start, start + plan.edges) < plan.items
        state, under, seen = register_renaming.stream(state, weights, items, valid, under)
        after.append(under)
        bits.append(seen)
    return after, np.concatenate([np.asarray(b) for b in bits], 1), enable


def _index(numbers: np.ndarray) -> slice | np.ndarray:
    """Consecutive numbers as a slice, which copies faster."""
    first, last = int(numbers[0]), int(numbers[-1])
    if last - first == len(numbers) - 1 and (np.diff(numbers) == 1).all():
        return slice(first, last + 1)
    return numbers


def _spread(array: np.ndarray, plan: Plan, axis: int) -> np.ndarray:
    """(blocks, ..., lanes) from an axis over sums; what is left over stays 0."""
    array = np.moveaxis(array, axis, -1)
    if array.shape[-1] == plan.lanes and plan.blocks == 1:
        return np.ascontiguousarray(array)[None]
    whole = np.zeros((*array.shape[:-1], plan.blocks * plan.lanes), array.dtype)
    whole[..., : array.shape[-1]] = array
    whole = whole.reshape(*array.shape[:-1], plan.blocks, plan.lanes)
    return np.ascontiguousarray(np.moveaxis(whole, -2, 0))


def _first_result(plan: Plan, bits: np.ndarray) -> int:
    """Edge on which the first result falls out of column 0, by the valid bits.

    Raises:
      LostResultError: not every column gives all results, each an edge after its left
        neighbour.
    """
    out = bits[:, :, plan.rows - 1 :]
    first = int(out[0, :, 0].argmax())
    edge, column = np.indices(out.shape[1:])
    due = (edge >= first + column) & (edge < first + column + plan.items)
    if not ((out == due).all() and (due.sum(0) == plan.items).all()):
        raise LostResultError(
            f"the valid bits of a {plan.rows}x{plan.cols} array do not announce "
            f"{plan.items} results a column within {out.shape[1]} edges"
        )
    return first


@dataclass(frozen=True)
class _Read:
    """What the bits of one tile say; tiles of one product mostly say the same."""

    bits: np.ndarray
    loads: np.ndarray
    phases: Counters
    # Edges on which the PEs with r + c = d had a valid operand, (rows + cols - 1,).
    seen: np.ndarray

    @classmethod
    def made(cls, plan: Plan, bits: np.ndarray, loads: np.ndarray) -> _Read:
        line = bits[0]
        if not (bits == line).all():
            raise LostResultError("arrays side by side went out of step")
        idle, streaming = np.zeros((len(loads), 4), bool), np.zeros((len(line), 4), bool)
        idle[:, 0] = loads
        streaming[:, 1] = line.any(1)
        streaming[:, 2] = line[:, plan.rows - 1]
        streaming[:, 3] = line[:, plan.rows - 1 :].any(1)
        phases = phase_counts(Bits(*np.concatenate([idle, streaming]).T))
        return cls(bits, loads, phases, line.sum(0))

    def of(self, bits: np.ndarray, loads: np.ndarray) -> bool:
        """Whether these are the same bits."""
        return np.array_equal(bits, self.bits) and np.array_equal(loads, self.loads)


def _counted(
    plan: Plan, product: Product, k: int, wide: np.ndarray, read: _Read
) -> Counters:
    """What the valid bits of one tile of some sums say, for all of them together."""
    seen, counters = read.seen, []
    for n, sums in zip(*np.unique(wide, return_counts=True), strict=True):
        rows, cols = product.live_rows[k], product.live_cols[n]
        live = np.add.outer(np.flatnonzero(rows), np.flatnonzero(cols))
        one = read.phases._replace(
            macs=int(seen[live].sum()),
            input_fetches=int(seen[0]) * int(rows.sum()),
            weight_fetches=int(read.loads[::-1][rows].sum()) * int(cols.sum()),
            output_writes=int(seen[plan.rows - 1 :][cols].sum()),
            tiles=1,
        )
        counters.append(times(one, int(sums)))
    return total(counters)


def _put(plan: Plan, below: list, first: int, wide, g, sums: np.ndarray) -> None:
    """Brings results into line and to their places."""
    nothing = jnp.zeros_like(below[0])
    found: Int32[np.ndarray, "..."]
    for piece, under in enumerate(below):
        after = below[piece + 1] if piece + 1 < len(below) else nothing
        # (blocks, cols, edges, lanes), by item from the first result on.
        found = np.asarray(register_renaming.unskewed(under, after))
        start = piece * plan.edges - first
        low, high = max(start, 0), min(start + plan.edges, plan.items)
        if low >= high:
            continue
        part = found[:, :, low - start : high - start]
        for i, (n, one) in enumerate(zip(wide, g, strict=True)):
            block, lane = divmod(i, plan.lanes)
            columns = slice(n * plan.cols, (n + 1) * plan.cols)
            sums[one, low:high, columns] = part[block, :, :, lane].T
