"""The mappings that the mapper tries: block sizes as arrays, and orders that differ."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from accel.cost.mapping import Blocks, Order, capacity, narrower, trips
from accel.cost.reference import Residency
from accel.machines.memory import Memory
from accel.workload.layer import LayerWorkload

ORDERS: tuple[Order, ...] = ("MNK", "NMK", "MKN", "NKM", "KMN", "KNM")
# Block sizes tried for a layer; if there are more, sizes are thinned geometrically.
MOST_BLOCKS = 4096


class Space(NamedTuple):
    """Legal block sizes of one layer, and how many mappings there were."""

    # int64 arrays of equal length.
    blocks: Blocks
    # All mappings, six orders each; those that were looked at; those of them that fit.
    everything: int
    candidates: int
    legal: int


class Group(NamedTuple):
    """Blocks that are cut alike: sizes, their indices, orders that make a difference."""

    blocks: Blocks
    index: np.ndarray
    # Blocks in each dimension; an int where there are one or two in all of them.
    trips: dict[str, int | np.ndarray]
    orders: tuple[Order, ...]


def space(
    work: LayerWorkload,
    sides: tuple[int, int],
    memory: Memory,
    places: Residency,
    cols: int | None = None,
    depth: int | None = None,
) -> Space:
    """The legal blocks of a layer, or of its pieces of `cols`, on an array of some sides.

    Strips are divisors of the output rows, or whole images; slices of K and of N are
    multiples of the array's sides, and the whole. Beyond `MOST_BLOCKS`, slices are powers
    of two of the sides, the largest that fit, and the whole; images are powers of two.
    Slices of K are `depth` instead, if it is given.
    """
    strips = [d for d in range(1, work.out_rows + 1) if not work.out_rows % d]
    images = list(range(2, work.images + 1))
    Ks, Ns = _multiples(work.K, sides[0]), _multiples(work.N, sides[1])
    everything = (len(strips) + len(images)) * len(Ks) * len(Ns)
    if everything > MOST_BLOCKS:
        images = [n for n in images if n & (n - 1) == 0 or n == work.images]
        Ks, Ns = _thinned(work, sides, memory)
    Ks = Ks if depth is None else [depth]
    rows = [(1, d) for d in strips] + [(n, work.out_rows) for n in images]
    table = [(i, s, K, N) for (i, s), K, N in product(rows, Ks, Ns)]
    blocks = Blocks(*np.array(table, np.int64).T, cols=cols)
    fits = np.ones(len(table), bool)
    for name, need in capacity(work, memory, blocks, **vars(places)).items():
        fits &= need <= getattr(memory, name)
    legal = Blocks(*(size[fits] for size in blocks[:4]), cols=cols)
    return Space(legal, 6 * everything, 6 * len(table), 6 * int(fits.sum()))


def smallest(work: LayerWorkload, sides: tuple[int, int]) -> Blocks:
    """The smallest blocks that are ever tried."""
    cols = next(reversed(narrower(work)), None)
    return Blocks(1, 1, 1, min(sides[1], work.N), cols)


def groups(work: LayerWorkload, blocks: Blocks) -> Iterator[Group]:
    """The blocks by whether there are one, two or more in each dimension.

    A loop of one block may stand anywhere: of the orders that differ in its place only,
    one stands for all.
    """
    count = {d: np.asarray(T) for d, T in trips(work, blocks).items()}
    kind = {d: np.minimum(T, 3) for d, T in count.items()}
    for kinds in product((1, 2, 3), repeat=3):
        wanted = dict(zip("MKN", kinds, strict=True))
        chosen = np.logical_and.reduce([kind[d] == wanted[d] for d in wanted])
        index = np.flatnonzero(chosen)
        if not index.size:
            continue
        known = {d: wanted[d] if wanted[d] < 3 else count[d][index] for d in wanted}
        some = Blocks(*(size[index] for size in blocks[:4]), cols=blocks.cols)
        yield Group(some, index, known, _orders(wanted))


def _orders(kinds: dict[str, int]) -> tuple[Order, ...]:
    found: dict[str, Order] = {}
    for order in ORDERS:
        found.setdefault("".join(d for d in order if kinds[d] > 1), order)
    return tuple(found.values())


def _multiples(whole: int, side: int) -> list[int]:
    return [*range(side, whole, side), whole]


def _thinned(
    work: LayerWorkload, sides: tuple[int, int], memory: Memory
) -> tuple[list, list]:
    """Slices of K and of N: powers of two, the largest that fit beside them, the whole."""
    most = 8 * (memory.weight_bytes // (2 if memory.double_buffered else 1))
    most //= work.weight_bits
    wholes = (work.K, work.N)
    sizes = [
        {side << i for i in range((whole // side).bit_length()) if side << i < whole}
        | {whole}
        for whole, side in zip(wholes, sides, strict=True)
    ]
    fitting = [
        {most // other // side * side for other in sizes[1 - axis]}
        for axis, side in enumerate(sides)
    ]
    for axis, whole in enumerate(wholes):
        sizes[axis] |= {size for size in fitting[axis] if 0 < size < whole}
    return sorted(sizes[0]), sorted(sizes[1])
