"""The controller of a systolic array: what it presents on which edge of the clock.

Tile after tile, `period` edges apart. A tile [rows of K] x [cols of N] of a
weight-stationary array loads for `rows` edges, then its M items follow; of an
output-stationary array its K operands follow at once. Edges are counted from 0 here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int8, Integer

from accel.machines.machine import Systolic
from accel.simulate import output_stationary, weight_stationary


def scheme(machine: Systolic) -> str:
    """How the held operands get to their places."""
    return "single" if machine.weights == "single" else machine.load


def period(machine: Systolic, streamed: int) -> int:
    """Edges from a tile's start to the next one's.

    Args:
      streamed: items of a tile; for os the operands of a sum.
    """
    rows, cols = machine.rows, machine.cols
    if machine.dataflow == "os" or scheme(machine) == "single":
        return streamed + 2 * rows + cols - 2
    if machine.load == "skewed":
        return max(streamed, rows)
    return max(streamed, 2 * rows + cols - 2)


def tile_count(size: int, side: int) -> int:
    """Tiles of `side` that cover `size`.

    >>> tile_count(17, 16)
    2
    """
    return -(-size // side)


def padded(array: np.ndarray, axis: int, side: int) -> np.ndarray:
    """Zeros behind the end of an axis, up to whole tiles."""
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, -array.shape[axis] % side)
    return np.pad(array, widths)


@dataclass(frozen=True)
class HeldTiles:
    """Products on a weight-stationary array: columns of tiles, each with all its K.

    Tile number t = n * (tiles of K) + k. B is 1 for a factor that all arrays share.
    """

    machine: Systolic
    # Operands by tile of K, (tiles of K, M, rows, B), and what each tile holds, with its
    # padding, (tiles, rows, cols, B); no padding, bool (tiles of K, rows) and (tiles,
    # rows, cols).
    items: np.ndarray
    weights: np.ndarray
    live_rows: np.ndarray
    live: np.ndarray

    @classmethod
    def cut(
        cls,
        machine: Systolic,
        left_GMK: Integer[np.ndarray, "g m k"],
        right_GKN: Integer[np.ndarray, "h k n"],
    ) -> HeldTiles:
        """Cuts products; a factor given once belongs to all of them."""
        rows, cols = machine.rows, machine.cols
        x = padded(left_GMK, 2, rows)
        items = x.reshape(*x.shape[:2], -1, rows).transpose(2, 1, 3, 0)
        wanted = np.ones((1, *right_GKN.shape[1:]), bool)
        weights, live = (_cut(a, rows, cols) for a in (right_GKN, wanted))
        return cls(machine, items, weights, whole(left_GMK.shape[2], rows), live[..., 0])

    @property
    def count(self) -> int:
        return len(self.weights)

    @property
    def items_each(self) -> int:
        return self.items.shape[1]

    @property
    def edges(self) -> int:
        """Edges after which the last result should be out."""
        m, rows, cols = self.machine, self.machine.rows, self.machine.cols
        last = (self.count - 1) * period(m, self.items_each)
        return last + rows + self.items_each + rows + cols - 2

    def feed(self, start: int, stop: int) -> weight_stationary.Feed:
        """What is presented on edges start..stop - 1."""
        every, rows = period(self.machine, self.items_each), self.machine.rows
        edge = np.arange(start, stop)
        tile, row = np.divmod(edge, every)
        load = (tile < self.count) & (row < rows)
        t, r = np.where(load, tile, 0), np.where(load, rows - 1 - row, 0)
        weights = np.where(load[:, None, None], self.weights[t, r], 0)
        tile, item = np.divmod(edge - rows, every)
        valid = (tile >= 0) & (tile < self.count) & (item < self.items_each)
        k = np.where(valid, tile % len(self.items), 0)
        items = self.items[k, np.where(valid, item, 0)]
        return weight_stationary.Feed(
            items=np.where(valid[:, None, None], items, 0),
            live_items=valid[:, None] & self.live_rows[k],
            valid=valid,
            first=valid & (item == 0),
            weights=weights,
            live=load[:, None] & self.live[t, r],
            load=load,
            last=load & (row == rows - 1),
        )


def whole(size: int, side: int) -> np.ndarray:
    """What of each tile is no padding, bool (tiles, side)."""
    return (np.arange(tile_count(size, side) * side) < size).reshape(-1, side)


def _cut(a_GKN: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """(tiles, rows, cols, G), tiles of K first."""
    a = padded(padded(a_GKN, 1, rows), 2, cols)
    count, deep, wide = a.shape
    a = a.reshape(count, deep // rows, rows, wide // cols, cols)
    return a.transpose(3, 1, 2, 4, 0).reshape(-1, rows, cols, count)


@dataclass(frozen=True)
class SumTiles:
    """A product on an output-stationary array: tile number t = n * (tiles of M) + m."""

    machine: Systolic
    # Operands by edge: (tiles of M, K, rows, B) and (tiles of N, K, cols, 1); sums that are
    # wanted: (tiles, rows, cols).
    items: np.ndarray
    weights: np.ndarray
    live: np.ndarray
    # Of the tiles of M and of N, bool (tiles, rows) and (tiles, cols).
    live_rows: np.ndarray
    live_cols: np.ndarray

    @classmethod
    def cut(
        cls,
        machine: Systolic,
        x_GMK: Integer[np.ndarray, "g m k"],
        w_KN: Int8[np.ndarray, "k n"],
    ) -> SumTiles:
        """Cuts G products with the same weights."""
        rows, cols = machine.rows, machine.cols
        x, w = padded(x_GMK, 1, rows), padded(w_KN, 1, cols)
        items = x.reshape(len(x), -1, rows, x.shape[2]).transpose(1, 3, 2, 0)
        weights = w.reshape(len(w), -1, cols).transpose(1, 0, 2)
        size_M, size_N = x_GMK.shape[1], w_KN.shape[1]
        return cls(
            machine,
            items,
            weights[..., None],
            _cut(np.ones((1, size_M, size_N), bool), rows, cols)[..., 0],
            whole(size_M, rows),
            whole(size_N, cols),
        )

    @property
    def count(self) -> int:
        return len(self.live)

    @property
    def items_each(self) -> int:
        return self.items.shape[1]

    @property
    def edges(self) -> int:
        """Edges after which the last result should be out."""
        return self.count * period(self.machine, self.items_each)

    def feed(self, start: int, stop: int) -> output_stationary.Feed:
        """What is presented on edges start..stop - 1."""
        tile, k = np.divmod(np.arange(start, stop), period(self.machine, self.items_each))
        inside = tile < self.count
        valid = inside & (k < self.items_each)
        tile, k = np.where(inside, tile, 0), np.where(valid, k, 0)
        n, m = np.divmod(tile, len(self.items))
        return output_stationary.Feed(
            items=np.where(valid[:, None, None], self.items[m, k], 0),
            weights=np.where(valid[:, None, None], self.weights[n, k], 0),
            live_items=valid[:, None] & self.live_rows[m],
            live_weights=valid[:, None] & self.live_cols[n],
            valid=valid,
            first=valid & (k == 0),
            last=valid & (k == self.items_each - 1),
            live=self.live[tile] & inside[:, None, None],
        )
