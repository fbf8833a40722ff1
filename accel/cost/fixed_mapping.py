"""The fixed rule that the sweep maps every design by, written plainly.

Loops M, N, K: no partial sum leaves the chip. All weights stay if they fit, else one tile
of the array's columns at a time, with all of K or, where that does not fit either, slices
of it, whose sums stay; blocks of rows are as large as they can be.
Where not even one row fits, the layer is cut into pieces of columns, as few as it takes,
whose blocks are one row of one image each.
"""

from __future__ import annotations

from itertools import product
from typing import NoReturn

from accel.cost.mapping import Mapping, narrower
from accel.cost.reference import Residency
from accel.cost.too_small import require_room
from accel.machines.machine import Dot, Mac, Machine, Systolic, Tile
from accel.machines.memory import Memory
from accel.workload.layer import LayerWorkload, packed
from configs.errors import unknown

# Where maps lie if nothing else is said.
_DRAM = Residency()


def sides(machine: Machine) -> tuple[int, int]:
    """Terms of K and outputs of N that a machine works on at a time."""
    match machine:
        case Systolic():
            return machine.rows, machine.cols
        case Tile():
            return machine.inputs, machine.outputs
        case Dot():
            return machine.multipliers, 1
        case Mac():
            return 1, 1
    raise unknown(machine, "accel.cost.fixed_mapping")


def kept(works: list[LayerWorkload], memory: Memory) -> list[Residency]:
    """Which maps stay on the chip: between chained works that both fit, input and output.

    The network's input and its output never stay.
    """
    fits = [w.input_bytes + w.output_bytes <= memory.activation_bytes for w in works]
    stays = [after.chained and fits[i] and fits[i + 1] for i, after in enumerate(works[1:])]
    before, after = [False, *stays], [*stays, False]
    return [
        Residency(inputs_kept=i, outputs_kept=o)
        for i, o in zip(before, after, strict=False)
    ][: len(works)]


def fixed(
    work: LayerWorkload, machine: Machine, memory: Memory, places: Residency = _DRAM
) -> Mapping:
    """The mapping of a layer by the rule.

    Raises:
      InputError: not even the smallest blocks of the rule fit.
    """
    choices = _weights(work, machine, memory)
    for K, N in choices:
        for images, strip in reversed(_rows(work)):
            found = Mapping(images=images, strip=strip, K=K, N=N)
            if _fits(found, work, memory, places):
                return found
    for cols, (K, N) in product(narrower(work), choices):
        found = Mapping(strip=1, K=K, N=N, cols=cols)
        if _fits(found, work, memory, places):
            return found
    _refuse(work, choices[-1], memory, places)


def _weights(
    work: LayerWorkload, machine: Machine, memory: Memory
) -> list[tuple[int, int]]:
    """(K, N) of the blocks of weights tried: all of them; else columns of the array, all
    of K or slices of it."""
    rows, cols = sides(machine)
    narrow = min(cols, work.N)
    slices = slice_of(work, rows, narrow, memory)
    held = packed(work.weight_bits, work.K * work.N) <= memory.weight_bytes
    whole = [(work.K, work.N)] if held else []
    return [*whole, (slices, narrow)]


def slice_of(work: LayerWorkload, rows: int, cols: int, memory: Memory) -> int:
    """Terms of K in a block of some columns: all if they fit; else whole rows of the array,
    as many as fit twice; else what fits, one at least."""
    twice = 2 if memory.double_buffered else 1
    size = packed(work.weight_bits, work.K * cols)
    if (1 if cols == work.N else twice) * size <= memory.weight_bytes:
        return work.K
    room = 8 * (memory.weight_bytes // twice) // (work.weight_bits * cols)
    return min(work.K, max(1, room // rows * rows if room >= rows else room))


def _rows(work: LayerWorkload) -> list[tuple[int, int]]:
    """(images, strip) of the blocks tried, by rising number of rows."""
    strips = [(1, rows) for rows in range(1, work.out_rows + 1) if not work.out_rows % rows]
    images = 2
    while images < work.images:
        strips.append((images, work.out_rows))
        images *= 2
    return strips + ([(work.images, work.out_rows)] if work.images > 1 else [])


def _fits(mapping: Mapping, work: LayerWorkload, memory: Memory, places: Residency) -> bool:
    needed = mapping.capacity(work, memory, **vars(places))
    return all(need <= getattr(memory, name) for name, need in needed.items())


def _refuse(work: LayerWorkload, weights, memory: Memory, places: Residency) -> NoReturn:
    K, N = weights
    cols = next(reversed(narrower(work)), None)
    smallest = Mapping(strip=1, K=K, N=N, cols=cols)
    needed = smallest.capacity(work, memory, **vars(places))
    what = f"the smallest blocks of {work.name} by the fixed rule"
    require_room(memory, needed, what, "the mapper")
    raise RuntimeError(f"nothing of {work.name} fits, though its smallest blocks do")
