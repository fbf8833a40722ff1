"""Finds where a machine first went wrong: layer, tile, clock cycle, PE and register.

A sum that differs is taken apart: each tile that contributes to it is stepped again by
itself and compared with numpy. If a tile is wrong, the registers of the array are compared,
edge by edge, with what each of them should hold, which `ideal.py` writes down without
stepping anything. If no tile is wrong, they were not added up right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from accel import ideal, trace
from accel.machine import Systolic
from accel.matmul import Setup, Work
from accel.simulation import Lost
from configs.errors import InputError
from configs.network import Conv
from quant import execute, normative
from quant.network import IntLayer

# Edges and PEs on each side of the first wrong register that a dump shows.
_AROUND = 2


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """The first value that is not what it should be."""

    layer: str
    # Number of the image among all.
    image: int
    # Row and column of the value in the layer's product, for that image.
    m: int
    n: int
    found: int
    expected: int
    # What went wrong, one sentence.
    cause: str
    # The tile, as ranges of M, K and N within the run.
    tile: str = ""
    # Clock edge of the tile, counted from 1, and the PE's register that first differs.
    cycle: int | None = None
    row: int | None = None
    col: int | None = None
    register: str = ""
    register_found: int | None = None
    register_expected: int | None = None
    # Registers around it, as lines of text.
    dump: tuple[str, ...] = ()

    def sentence(self) -> str:
        """The whole in one line."""
        where = f"`{self.layer}`, image {self.image}, row {self.m}, column {self.n}"
        what = f"{where}: {self.found} instead of {self.expected}; {self.cause}"
        tile = f"; tile {self.tile}" if self.tile else ""
        if self.cycle is None:
            return what + tile
        return (
            f"{what}{tile}, cycle {self.cycle}: {self.register} of PE ({self.row}, "
            f"{self.col}) is {self.register_found}, not {self.register_expected}"
        )


def locate(
    setup: Setup,
    step: normative.Step,
    found: execute.Result,
    *,
    start: int,
    before: int,
) -> Mismatch:
    """Where a layer whose input was right first differs.

    Args:
      step: the judge's values of some images.
      found: the machine's values of a chunk of images.
      start: number of the step's first image in the chunk.
      before: number of the chunk's first image among all.
    """
    layer, work = step.layer, found.counters.get(step.layer.name)
    images = slice(start, start + len(step.output))
    cause = "the layer itself is wrong"
    if work is not None:
        inside = _weighted(setup, step, work, images, before)
        if inside is not None:
            return inside
        cause = "its sums are right: bias, requantisation or table went wrong"
    output = np.asarray(found.outputs[layer.name][images])
    return _first(layer, output, step.output, images, before, cause)


def _first(
    layer: IntLayer,
    found: np.ndarray,
    expected: np.ndarray,
    images: slice,
    before: int,
    cause: str,
) -> Mismatch:
    """The first of the values (images, ..., N) that differs."""
    width = found.shape[-1]
    found, expected = (a.reshape(len(found), -1, width) for a in (found, expected))
    image, m, n = (int(i) for i in np.argwhere(found != expected)[0])
    return Mismatch(
        layer=layer.name,
        image=before + images.start + image,
        m=m,
        n=n,
        found=int(found[image, m, n]),
        expected=int(expected[image, m, n]),
        cause=cause,
    )


def _weighted(
    setup: Setup, step: normative.Step, work: Work, images: slice, before: int
) -> Mismatch | None:
    """The same for the operands and the products of a layer; None if they are right."""
    layer, spec = step.layer, step.layer.info.spec
    count, rows_MK = len(step.input), step.input.astype(np.int64)
    if isinstance(spec, Conv):
        rows_MK = normative.im2col(normative.pad(rows_MK, spec), spec)
    positions = len(rows_MK) // count
    given = work.x_MK[images.start * positions : images.stop * positions]
    if (given != rows_MK).any():
        cause = "the operands are not those of the layer's input (im2col or padding)"
        given, right = (a.reshape(count, positions, -1) for a in (given, rows_MK))
        return _first(layer, given, right, images, before, cause)
    sums = work.sums_MN.reshape(-1, positions, work.sums_MN.shape[1])[images]
    right = step.products.reshape(count, positions, -1)
    if not (sums != right).any():
        return None
    first = _first(layer, sums, right, images, before, "the sum of products is wrong")
    in_chunk = first.image - before
    run = in_chunk // setup.batch * setup.batch
    x_MK = work.x_MK[run * positions : (run + setup.batch) * positions]
    m = (in_chunk - run) * positions + first.m
    if not isinstance(setup.machine, Systolic):
        return first
    return _in_array(setup, layer, x_MK, m, first)


@dataclass(frozen=True)
class _Tile:
    """What a tile takes of a product."""

    M: slice
    K: slice
    N: slice

    def of(self, x_MK: np.ndarray, w_KN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return x_MK[self.M, self.K], w_KN[self.K, self.N]

    def __str__(self) -> str:
        spans = ((axis, getattr(self, axis)) for axis in "MKN")
        return ", ".join(f"{axis} {s.start}..{s.stop - 1}" for axis, s in spans)


def _tiles(machine: Systolic, shape: tuple[int, int, int], m: int, n: int) -> list[_Tile]:
    """The tiles that contribute to sum (m, n), in order."""
    M, K, N = shape

    def around(index: int, side: int, size: int) -> slice:
        start = index // side * side
        return slice(start, min(start + side, size))

    if machine.dataflow == "os":
        M_tile, N_tile = around(m, machine.rows, M), around(n, machine.cols, N)
        return [_Tile(M_tile, slice(0, K), N_tile)]
    M_tile, N_tile = slice(0, M), around(n, machine.cols, N)
    if machine.dataflow == "is":
        M_tile, N_tile = around(m, machine.cols, M), slice(0, N)
    starts = range(0, K, machine.rows)
    return [_Tile(M_tile, around(k, machine.rows, K), N_tile) for k in starts]


def _in_array(
    setup: Setup, layer: IntLayer, x_MK: np.ndarray, m: int, first: Mismatch
) -> Mismatch:
    """Which tile of a wrong sum is wrong, and where in the array; else how they add up."""
    w_KN, shares = layer.weighted.matrix, []
    for tile in _tiles(setup.machine, (*x_MK.shape, w_KN.shape[1]), m, first.n):
        x, w = tile.of(x_MK, w_KN)
        right = x.astype(np.int64) @ w.astype(np.int64)
        found = setup.simulate(x[None], w, layer).sums[0]
        if (found != right).any():
            cause = "the product of one tile is wrong"
            named = replace(first, tile=str(tile), cause=cause)
            return _in_registers(setup, layer, x, w, found, right, named)
        shares.append((tile, int(right[m - tile.M.start, first.n - tile.N.start])))
    return replace(first, cause=_addition(shares, first.found - first.expected))


def _addition(shares: list[tuple[_Tile, int]], difference: int) -> str:
    """What was done to tiles that are right one by one but not together."""
    whole = "each tile is right by itself, but"
    for tile, share in shares:
        if difference == -share:
            return f"{whole} the one of {tile} was not added"
        if difference == share:
            return f"{whole} the one of {tile} was added twice"
    return f"{whole} what was added does not belong to this sum"


def _in_registers(
    setup: Setup,
    layer: IntLayer,
    x_MK: np.ndarray,
    w_KN: np.ndarray,
    found: np.ndarray,
    right: np.ndarray,
    first: Mismatch,
) -> Mismatch:
    """The first register of a wrong tile that does not hold what it should."""
    machine = setup.machine
    streamed = {"ws": 0, "is": 1}.get(machine.dataflow)
    if streamed is not None:
        # A few items before the first wrong one and behind it are enough to see it again.
        item = int(np.argwhere(found != right)[:, streamed].min())
        low = max(0, item - machine.rows - machine.cols)
        part = slice(low, item + machine.rows + machine.cols)
        x_MK, w_KN = (x_MK[part], w_KN) if streamed == 0 else (x_MK, w_KN[:, part])
        if low:
            first = replace(first, tile=f"{first.tile}, from item {low} on")
    try:
        recorded = trace.record(machine, x_MK, w_KN, setup.masks(layer))
    except InputError:
        return replace(first, cause=f"{first.cause}; the array is too large to dump")
    except Lost as lost:
        return replace(first, cause=f"{first.cause}; {lost}")
    place = ideal.first_difference(recorded)
    if place is None:
        cause = f"{first.cause}, but register by register it is right"
        return replace(first, cause=cause)
    return replace(
        first,
        cycle=place.cycle,
        row=place.row,
        col=place.col,
        register=place.register,
        register_found=place.found,
        register_expected=place.expected,
        dump=tuple(_dump(recorded, place)),
    )


def _dump(recorded: trace.Trace, place: ideal.Place) -> Iterator[str]:
    """Registers of the PEs around a place, on the edges around it."""
    rows = _window(place.row, recorded.machine.rows)
    cols = _window(place.col, recorded.machine.cols)
    for edge in _window(place.cycle - 1, recorded.cycles):
        yield f"cycle {edge + 1} ({recorded.phases[edge]})"
        for row in rows:
            cells = []
            for col in cols:
                weight, value, total, valid = (
                    recorded.registers[name][edge, row, col]
                    for name in ("weight", "input", "sum", "valid")
                )
                mark = "*" if valid else " "
                cells.append(f"({row},{col}) w={weight:<4} x={value:<4} s={total:<9}{mark}")
            yield "  " + " | ".join(cells)


def _window(index: int, size: int) -> range:
    return range(max(0, index - _AROUND), min(size, index + _AROUND + 1))
