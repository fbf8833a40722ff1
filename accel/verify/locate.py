"""Finds where a machine first went wrong: layer, tile, clock cycle, PE and register.

A sum that differs is taken apart: each tile that contributes to it is stepped again by
itself and compared with numpy. If a tile is wrong, the registers of the array are compared,
edge by edge, with what each of them should hold, which `ideal.py` writes down without
stepping anything. If no tile is wrong, either they were wrong one after the other, which
the registers show too, or they were not added up right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from jaxtyping import Int8, Int64, Integer

from accel.machines.machine import Systolic
from accel.simulate import ideal, trace
from accel.simulate.simulation import LostResultError
from accel.verify import explain
from accel.verify.explain import Values
from accel.verify.mismatch import Mismatch, cycle, dump
from accel.verify.pieces import Piece, pieces
from accel.verify.run import LayerRun, Setup
from configs.errors import InputError
from quant import execute, normative
from quant.network import IntNetwork, IntStep


def locate(
    setup: Setup,
    step: normative.Step,
    found: execute.Result,
    given: Mapping[str, np.ndarray],
    network: IntNetwork,
    *,
    start: int,
    before: int,
) -> Mismatch:
    """Where a layer whose input was right first differs.

    Args:
      step: the judge's values of some images.
      found: the machine's values of a chunk of images.
      given: what no step makes, of the same chunk: pixels and states.
      start: number of the step's first image in the chunk.
      before: number of the chunk's first image among all.
    """
    layer, work = step.layer, found.counters.get(step.layer.name)
    images = slice(start, start + len(step.output))
    arrays = {n: np.asarray(a)[images] for n, a in (*given.items(), *found.outputs.items())}
    values = Values(network, arrays)
    if work is not None:
        inside = _weighted(setup, step, work, values, images, before)
        if inside is not None:
            return inside
        cause = "its sums are right: bias, requantisation or table went wrong"
    else:
        cause = "the layer itself is wrong"
        cause += explain.step(step, arrays[layer.name], values)
    output = arrays[layer.name]
    return _first(layer, output, step.output, images, before, cause)


def _first(
    layer: IntStep,
    found: Integer[np.ndarray, "b ..."],
    expected: Integer[np.ndarray, "b ..."],
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
    setup: Setup,
    step: normative.Step,
    work: LayerRun,
    values: Values,
    images: slice,
    before: int,
) -> Mismatch | None:
    """The same for the operands and the products of a layer; None if they are right."""
    layer, node, count = step.layer, step.layer.product, len(step.input)
    rows_MK = explain.operands(layer, step.input)
    positions = node.positions
    given = work.x_MK[images.start * positions : images.stop * positions]
    if (given != rows_MK).any():
        cause = "the operands are not those of the layer's input (im2col or padding)"
        cause += explain.rows(step, given, rows_MK, values)
        given, right = (a.reshape(count, positions, -1) for a in (given, rows_MK))
        return _first(layer, given, right, images, before, cause)
    sums = work.sums_MN.reshape(-1, positions, work.sums_MN.shape[1])[images]
    right = step.products.reshape(count, positions, -1)
    if not (sums != right).any():
        return None
    first = _first(layer, sums, right, images, before, "the sum of products is wrong")
    if not np.array_equal(work.w_KN, layer.weighted.matrix):
        cause = "the weights given are not those of the layer"
        cause += explain.weights(node, work.w_KN, layer.weighted.matrix)
        return replace(first, cause=cause)
    plan = setup.plan(layer)
    if plan.way == "vector":
        return replace(first, cause="the sum of a lane of the vector unit is wrong")
    if not isinstance(setup.machine, Systolic):
        return first
    in_chunk = first.image - before
    run = in_chunk // setup.batch * setup.batch
    rows = slice(run * positions, (run + setup.batch) * positions)
    m = (in_chunk - run) * positions + first.m
    piece = next(
        piece
        for piece in pieces(node, plan, work.w_KN)
        if piece.columns.start <= first.n < piece.columns.stop
    )
    found = _in_array(
        setup,
        layer,
        piece,
        work.x_MK[rows, piece.inputs],
        work.sums_MN[rows, piece.columns],
        m,
        first,
    )
    if found.tile and node.repeats > 1:
        return replace(found, tile=f"{piece.name}, {found.tile}")
    return found


@dataclass(frozen=True)
class _Tile:
    """What a tile takes of a product."""

    M: slice
    K: slice
    N: slice

    def of(
        self, x_MK: Integer[np.ndarray, "m k"], w_KN: Int8[np.ndarray, "k n"]
    ) -> tuple[np.ndarray, np.ndarray]:
        return x_MK[self.M, self.K], w_KN[self.K, self.N]

    def gives(self, m: int, n: int) -> bool:
        """Whether it contributes to a sum."""
        return self.M.start <= m < self.M.stop and self.N.start <= n < self.N.stop

    def __str__(self) -> str:
        spans = ((axis, getattr(self, axis)) for axis in "MKN")
        return ", ".join(f"{axis} {s.start}..{s.stop - 1}" for axis, s in spans)


def _tiles(machine: Systolic, shape: tuple[int, int, int]) -> Iterator[_Tile]:
    """All tiles of a product, those of one sum in their order."""
    M, K, N = shape
    sides = {
        "ws": (M, machine.rows, machine.cols),
        "is": (machine.cols, machine.rows, N),
        "os": (machine.rows, K, machine.cols),
    }[machine.dataflow]
    cuts = (
        [slice(start, min(start + side, size)) for start in range(0, size, side)]
        for size, side in zip(shape, sides, strict=True)
    )
    return (_Tile(*part) for part in product(*cuts))


def _exact(x_MK: np.ndarray, w_KN: np.ndarray) -> Int64[np.ndarray, "m n"]:
    return normative.matmul_blas(x_MK.astype(np.int64), w_KN.astype(np.int64))


def _in_array(
    setup: Setup,
    layer: IntStep,
    piece: Piece,
    x_MK: Integer[np.ndarray, "m k"],
    sums_MN: Integer[np.ndarray, "m n"],
    m: int,
    first: Mismatch,
) -> Mismatch:
    """Which tile of a wrong sum is wrong, and where in the array; else how they add up."""
    w_KN, n = piece.w_KN, first.n - piece.columns.start
    tiles = list(_tiles(setup.machine, (*x_MK.shape, w_KN.shape[1])))
    own = [tile for tile in tiles if tile.gives(m, n)]
    for tile in own:
        x, w = tile.of(x_MK, w_KN)
        right = _exact(x, w)
        named = replace(first, tile=str(tile), cause="the product of one tile is wrong")
        try:
            found = setup.simulate(x[None], w, layer).sums[0]
        except LostResultError as lost:
            return replace(named, cause=f"{named.cause}: {lost}")
        if (found != right).any():
            return _in_registers(setup, layer, x, w, found, right, named)
    if setup.machine.weights == "shadow":
        x, w = _up_to(own[-1], setup.machine).of(x_MK, w_KN)
        recorded = _recorded(setup, layer, x, w)
        place = None if isinstance(recorded, str) else ideal.first_difference(recorded)
        if place:
            cause = "each tile is right by itself, but not while the next one loads"
            return _placed(replace(first, cause=cause), recorded, place)
    difference = sums_MN - _exact(x_MK, w_KN)
    return replace(first, cause=_addition(own, tiles, x_MK, w_KN, difference))


def _up_to(last: _Tile, machine: Systolic) -> _Tile:
    """All tiles of a sum and of the sums before it."""
    start = max(0, (last.M if machine.dataflow == "is" else last.N).start - machine.cols)
    M = slice(start, last.M.stop) if machine.dataflow == "is" else last.M
    N = slice(start, last.N.stop) if machine.dataflow == "ws" else last.N
    return _Tile(M, slice(0, last.K.stop), N)


def _addition(
    own: list[_Tile],
    tiles: list[_Tile],
    x_MK: Integer[np.ndarray, "m k"],
    w_KN: Int8[np.ndarray, "k n"],
    difference: Int64[np.ndarray, "m n"],
) -> str:
    """What was done to tiles that are right one by one but not together."""
    whole, wrong = "each tile is right by itself, but", difference[own[0].M, own[0].N]
    shares = [(tile, _exact(*tile.of(x_MK, w_KN))) for tile in own]
    for tile, share in shares:
        if np.array_equal(wrong, -share):
            return f"{whole} the one of {tile} was not added"
        if np.array_equal(wrong, share):
            return f"{whole} the one of {tile} was added twice"
    for tile in tiles:
        if tile in own:
            continue
        other = _resized(_exact(*tile.of(x_MK, w_KN)), wrong.shape)
        if np.array_equal(wrong, other):
            return f"{whole} the one of {tile} was added to a sum that is not its own"
        for mine, share in shares:
            if np.array_equal(wrong, other - share):
                return f"{whole} the one of {tile} was added instead of that of {mine}"
    return f"{whole} what was added does not belong to this sum"


def _resized(share: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A tile's share as it would stand in a place of some other size, zeros behind it."""
    full = np.zeros(shape, np.int64)
    part = share[: shape[0], : shape[1]]
    full[: part.shape[0], : part.shape[1]] = part
    return full


def _in_registers(
    setup: Setup,
    layer: IntStep,
    x_MK: Integer[np.ndarray, "m k"],
    w_KN: Int8[np.ndarray, "k n"],
    found: Integer[np.ndarray, "m n"],
    right: Int64[np.ndarray, "m n"],
    first: Mismatch,
) -> Mismatch:
    """The first register of a wrong tile that does not hold what it should."""
    machine, part = setup.machine, slice(None)
    if machine.dataflow != "os":
        # A few items before the first wrong one and behind it are enough to see it again.
        around = machine.rows + machine.cols
        axis = 1 if machine.dataflow == "is" else 0
        item = int(np.argwhere(found != right)[:, axis].min())
        part = slice(max(0, item - around), item + around)
    if machine.dataflow == "is":
        w_KN, found, right = w_KN[:, part], found[:, part], right[:, part]
    else:
        x_MK, found, right = x_MK[part], found[part], right[part]
    recorded = _recorded(setup, layer, x_MK, w_KN)
    if isinstance(recorded, str):
        return replace(first, cause=f"{first.cause}; {recorded}")
    place = ideal.first_difference(recorded)
    if place is None:
        cause = f"{first.cause}, though stepped register by register it is right"
        first = replace(first, cause=cause)
        place = ideal.first_result(machine, found, right, x_MK.shape[1])
    return _placed(first, recorded, place, part.start or 0)


def _recorded(
    setup: Setup,
    layer: IntStep,
    x_MK: Integer[np.ndarray, "m k"],
    w_KN: Int8[np.ndarray, "k n"],
) -> trace.Trace | str:
    """All registers while they work on a product, or why they cannot be had."""
    try:
        return trace.record(setup.machine, x_MK, w_KN, setup.masks(layer))
    except InputError:
        return "the array is too large to dump"
    except LostResultError as lost:
        return str(lost)


def _placed(
    first: Mismatch, recorded: trace.Trace, place: ideal.Place, skipped: int = 0
) -> Mismatch:
    """The mismatch with its place; `skipped` items were not recorded."""
    return replace(
        first,
        cycle=cycle(recorded, place.cycle, skipped),
        row=place.row,
        col=place.col,
        register=place.register,
        register_found=place.found,
        register_expected=place.expected,
        dump=tuple(dump(recorded, place, skipped)),
    )
