"""The mapping rule over all buffers: which blocks each layer gets, before anything runs.

The rule (`accel.cost.fixed_mapping`) looks at capacities and the array's columns only. Few
mappings come out, however many capacities there are: a layer's `options`, which the device
prices once for an array and bandwidth; every design then looks up its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from accel.cost.mapping import Mapping, narrower
from accel.cost.reference import SUM_BYTES
from accel.sweep.space import Space
from accel.workload.layer import LayerWorkload, packed
from configs.errors import InputError

# Blocks of weights: columns of the array, all of them, slices for the first capacity on.
_COLUMNS, _ALL, _SLICES = range(3)
# Most bytes of the table of options; beyond it the space has too many buffers.
_MOST_BYTES = 1 << 28
REASONS = ("activation_bytes", "weight_bytes", "sum_bytes", "together")


class Options(NamedTuple):
    """Mappings that designs of a space choose from, [layers, parts, options]; int64.

    The second part is the last piece of a layer whose rows are cut; there is only one part
    where no layer's are.
    """

    # Blocks of rows: how many, rows of the product in each and in the last.
    trips: np.ndarray
    rows: np.ndarray
    rows_last: np.ndarray
    # Bytes of the input of a block and of the last one.
    inputs: np.ndarray
    inputs_last: np.ndarray
    # 1 where N is whole (else as wide as the array), where maps stay on the chip.
    whole: np.ndarray
    inputs_kept: np.ndarray
    outputs_kept: np.ndarray
    # How often a part is done.
    count: np.ndarray
    # Bytes of weights that slices of K are cut for, 0 where K is whole; None: everywhere.
    room: np.ndarray | None


class Choices(NamedTuple):
    """What the rule chooses for every design."""

    options: Options
    # Option of a layer, [cols, layers, buffers]; the last one stands for none.
    chosen: np.ndarray
    # Whether every layer has a mapping, [cols, buffers].
    legal: np.ndarray
    # For each of `REASONS`: a layer's smallest blocks do not fit, [reasons, cols, buffers].
    reasons: np.ndarray


class _Candidates(NamedTuple):
    """Blocks of rows of one layer, ascending; [parts, candidates]."""

    trips: np.ndarray
    rows: np.ndarray
    rows_last: np.ndarray
    inputs: np.ndarray
    inputs_last: np.ndarray
    count: np.ndarray


def candidates(work: LayerWorkload) -> list[Mapping]:
    """Blocks of rows that the rule tries, ascending: pieces of one row, strips, then whole
    images."""
    size = {"K": work.K, "N": work.N}
    pieces = [Mapping(strip=1, cols=cols, **size) for cols in narrower(work)[::-1]]
    strips = [s for s in range(1, work.out_rows + 1) if work.out_rows % s == 0]
    blocks = [Mapping(strip=strip, **size) for strip in strips]
    images = [1 << bit for bit in range(1, work.images.bit_length())]
    images = sorted({i for i in images if i < work.images} | {work.images} - {1})
    whole = [Mapping(images=i, strip=work.out_rows, **size) for i in images]
    return pieces + blocks + whole


def _cut(work: LayerWorkload) -> _Candidates:
    found = []
    for mapping in candidates(work):
        parts = [_part(mapping, *part) for part in mapping.pieces(work)]
        none = (*parts[0][:-1], 0)
        found.append([*parts, none][:2])
    return _Candidates(*np.array(found, np.int64).transpose(2, 1, 0))


def _part(mapping: Mapping, work: LayerWorkload, count: int) -> tuple[int, ...]:
    image = mapping.strip * work.out_cols
    trips = mapping.trips(work)["M"]
    strips = mapping.strip < work.out_rows
    left = 1 if strips else work.images - (trips - 1) * mapping.images
    strip = work.strip_bytes(mapping.strip)
    rows = mapping.images * image
    return trips, rows, left * image, mapping.images * strip, left * strip, count


def kept(works: Sequence[LayerWorkload], activation_bytes: np.ndarray) -> tuple:
    """Whether inputs and outputs stay on the chip, [layers, capacities] each.

    Between chained neighbours, both of which fit: input and output bytes <= capacity.
    """
    need = np.array([work.input_bytes + work.output_bytes for work in works])
    fits = need[:, None] <= activation_bytes
    chained = np.array([work.chained for work in works])[1:, None]
    between = fits[:-1] & fits[1:] & chained
    none = np.zeros_like(fits[:1])
    return np.concatenate([none, between]), np.concatenate([between, none])


def choose(works: Sequence[LayerWorkload], space: Space) -> Choices:
    """Applies the rule to every combination of capacities and columns.

    Raises:
      InputError: the table would take too much memory.
    """
    size = len(space.cols) * len(works) * space.buffers * 2
    if size > _MOST_BYTES:
        raise InputError(
            f"`Space` (={space.buffers:,} combinations of buffers, {len(space.cols)} cols) "
            f"is too large for {len(works)} layers; use fewer capacities in one sweep."
        )
    inputs_kept, outputs_kept = kept(works, np.array(space.activation_bytes))
    tables, codes, blamed = [], [], False
    for at, work in enumerate(works):
        cut = _cut(work)
        code, reasons = _layer(work, cut, space, inputs_kept[at], outputs_kept[at])
        code = _with_kept(code, inputs_kept[at], outputs_kept[at])
        tables.append(cut)
        codes.append(code)
        blamed = blamed | reasons
    return _gathered(tables, codes, blamed, space)


def _layer(
    work: LayerWorkload, cut: _Candidates, space: Space, inputs_kept, outputs_kept
) -> tuple:
    """Candidate and weights of one layer, as `_code` joins them, or -1, [cols, A, W, S];
    and why there is none."""
    A, W, S = (np.array(getattr(space, n)) for n in REASONS[:3])
    many = np.where(cut.trips[0] > 1, 2, 1)
    beside = work.output_bytes * outputs_kept[:, None]
    fits_A = inputs_kept[:, None] | (cut.inputs[0] * many + beside <= A[:, None])
    pieces = len(narrower(work))
    found, reasons = [], []
    for cols in space.cols:
        narrow = min(cols, work.N)
        wide = narrow < work.N
        sums = SUM_BYTES * cut.rows[0]
        fits_S = sums * narrow * (2 if wide else many) <= S[:, None]
        by_columns = _last(fits_A[:, None, :] & fits_S)[:, None, :]
        all_held = _last(fits_A[:, None, :] & (sums * work.N * many <= S[:, None]))
        # All of K of some columns, or slices of it.
        held = packed(work.weight_bits, work.K * narrow) * (1 + wide) <= W
        some = held | (2 * packed(work.weight_bits, narrow) <= W)
        columns = np.where(some[:, None], by_columns, -1)
        every = np.where(
            (packed(work.weight_bits, work.K * work.N) <= W)[:, None],
            all_held[:, None, :],
            -1,
        )
        kinds = np.where(held, _COLUMNS, _SLICES + np.arange(len(W)))[:, None]
        # Pieces of rows are what is left when neither fits with whole rows.
        takes = (every >= pieces) | ((columns < pieces) & (every >= columns))
        best = np.where(takes, every, columns)
        kind = np.where(takes, _ALL, kinds)
        found.append(np.where(best < 0, -1, _code(best, kind, len(W))))
        reasons.append(_blame(fits_A, fits_S, some, by_columns >= 0))
    # A layer that has a mapping blames nothing.
    code = np.stack(found)
    return code, np.stack(reasons, axis=1) & (code < 0)


def _code(candidate, kind, capacities: int):
    return candidate * (_SLICES + capacities) + kind


def _last(fits: np.ndarray) -> np.ndarray:
    """Largest candidate that fits, on the last axis; -1 if none."""
    places = np.arange(fits.shape[-1])
    return np.where(fits, places, -1).max(-1)


def _blame(fits_A, fits_S, held, some) -> np.ndarray:
    """[reasons, A, W, S]: buffers in which not even the smallest blocks fit."""
    A, S = ~fits_A.any(-1)[:, None, None], ~fits_S.any(-1)
    shape = (len(fits_A), len(held), len(fits_S))
    together = ~some & ~A & ~S
    parts = (A, ~held[:, None], S, together)
    return np.stack([np.broadcast_to(part, shape) for part in parts])


def _with_kept(code, inputs_kept, outputs_kept) -> np.ndarray:
    stay = (2 * inputs_kept + outputs_kept)[:, None, None]
    return np.where(code < 0, -1, 4 * code + stay)


def _gathered(tables, codes, blamed, space: Space) -> Choices:
    """Options that occur, and each design's number among them."""
    lists = [np.unique(code[code >= 0]) for code in codes]
    most = max(len(codes) for codes in lists)
    kinds = _SLICES + len(space.weight_bytes)
    capacities = np.array([*[0] * _SLICES, *space.weight_bytes], np.int64)
    columns = []
    for cut, used in zip(tables, lists, strict=True):
        used = np.pad(used, (0, most - len(used)), constant_values=0)
        *blocks, count = (field[:, used // (4 * kinds)] for field in cut)
        kind = used // 4 % kinds
        rest = (kind == _ALL, used // 2 % 2, used % 2, count, capacities[kind])
        columns.append([np.broadcast_to(v, count.shape) for v in (*blocks, *rest)])
    options = Options(
        *(np.stack(field).astype(np.int64) for field in zip(*columns, strict=True))
    )
    if (options.count == [[1], [0]]).all():
        options = Options(*(field[:, :1] for field in options))
    if not options.room.any():
        options = options._replace(room=None)
    flat = [code.reshape(len(space.cols), -1) for code in codes]
    chosen = [
        np.where(code < 0, most, np.searchsorted(used, code)).astype(np.int16)
        for code, used in zip(flat, lists, strict=True)
    ]
    legal = np.all([code >= 0 for code in flat], axis=0)
    reasons = blamed.reshape(len(REASONS), len(space.cols), -1)
    return Choices(options, np.stack(chosen, axis=1), legal, reasons)
