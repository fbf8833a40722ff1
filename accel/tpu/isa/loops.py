"""How rows and tiles of a product are gone through. Needs no JAX.

    for n in tiles of N:
      for pair in pairs of chunks of M's rows, a chunk in each half of the accumulators:
        for k in tiles of K:
          for chunk in pair:
            multiply its rows by tile (k, n), adding to its sums where k > 0
            after the last k: activate them

A tile is read once for a pair: the first chunk takes it, the second uses it again. Where
K has one tile, that tile stays live over all chunks, which come one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from accel.tpu.machine import TpuMachine


@dataclass(frozen=True, kw_only=True)
class Part:
    """One product: the rows of a chunk by one tile."""

    # Tile of the layer, those of one block of output columns one after the other.
    tile: int
    # Block of output columns, and where the tile lies along K.
    n: int
    k: int
    first_row: int
    rows: int
    # Half of the accumulators that holds the sums.
    half: int
    # The tile comes out of the FIFO, or it is still live.
    new_tile: bool
    # The sums are complete: they are activated.
    last: bool


def chunk_rows(rows: int, machine: TpuMachine) -> int:
    """Rows of a chunk: as few chunks as fit into half the accumulators, of even length.

    The halves wait for each other least if their chunks are equal; the last one may be
    shorter.
    """
    chunks = -(-rows // machine.half_rows)
    return -(-rows // chunks)


def pairs(
    rows: int, k_tiles: int, machine: TpuMachine
) -> list[tuple[tuple[int, ...], int]]:
    """Lengths of the chunks that share a tile, and how often they come, in order."""
    length = chunk_rows(rows, machine)
    whole, rest = divmod(rows, length)
    if k_tiles == 1:
        found = [((length,), whole), ((rest,), min(rest, 1))]
    else:
        couples, odd = divmod(whole, 2)
        left = (length,) * odd + (rest,) * min(rest, 1)
        found = [((length, length), couples), (left, min(len(left), 1))]
    return [(lengths, count) for lengths, count in found if count]


def parts(
    rows: int, blocks: Sequence[tuple[int, int]], machine: TpuMachine
) -> Iterator[Part]:
    """All products of a layer in order; `blocks` are (tiles of K, tiles of N).

    Halves take turns, and the one that was filled first is used again first.
    """
    tile, n, half = 0, 0, 0
    for k_tiles, n_tiles in blocks:
        order = [one for one, count in pairs(rows, k_tiles, machine) for _ in range(count)]
        for _ in range(n_tiles):
            first_row = 0
            for lengths in order:
                begins = (0, lengths[0])
                for k in range(k_tiles):
                    for number, length in enumerate(lengths):
                        yield Part(
                            tile=tile + k,
                            n=n,
                            k=k,
                            first_row=first_row + begins[number],
                            rows=length,
                            half=half ^ number,
                            new_tile=number == 0 and (k_tiles > 1 or first_row == 0),
                            last=k == k_tiles - 1,
                        )
                first_row += sum(lengths)
                half ^= len(lengths) % 2
            tile, n = tile + k_tiles, n + 1
