"""The fixed rule that the sweep maps every design by, written plainly.

Loops M, N, K with K whole: no partial sum leaves the chip. All weights stay if they fit,
else one tile of the array's columns at a time; blocks of rows are as large as they can be.
"""

from __future__ import annotations

from typing import NoReturn

from accel.cost.mapping import Mapping
from accel.cost.memory import Memory
from accel.cost.too_small import require_room
from accel.cost.walk import Places
from accel.cost.work import Work
from accel.machine import Machine, Systolic, Tile

# Where maps lie if nothing else is said.
_DRAM = Places()


def sides(machine: Machine) -> tuple[int, int]:
    """Terms of K and outputs of N that a machine works on at a time."""
    match machine:
        case Systolic():
            return machine.rows, machine.cols
        case Tile():
            return machine.inputs, machine.outputs
    return getattr(machine, "multipliers", 1), 1


def kept(works: list[Work], memory: Memory) -> list[Places]:
    """Which maps stay on the chip: between chained works that both fit, input and output.

    The network's input and its output never stay.
    """
    fits = [w.input_bytes + w.output_bytes <= memory.activation_bytes for w in works]
    stays = [after.chained and fits[i] and fits[i + 1] for i, after in enumerate(works[1:])]
    before, after = [False, *stays], [*stays, False]
    return [
        Places(inputs_kept=i, outputs_kept=o) for i, o in zip(before, after, strict=False)
    ][: len(works)]


def fixed(work: Work, machine: Machine, memory: Memory, places: Places = _DRAM) -> Mapping:
    """The mapping of a layer by the rule.

    Raises:
      InputError: not even the smallest blocks of the rule fit.
    """
    narrow = min(sides(machine)[1], work.N)
    widths = [work.N] if memory.weight_bytes >= work.K * work.N else []
    for N in (*widths, narrow):
        found = _largest(work, memory, N, places)
        if found:
            return found
    _refuse(work, memory, narrow, places)


def _rows(work: Work) -> list[tuple[int, int]]:
    """(images, strip) of the blocks tried, by rising number of rows."""
    strips = [(1, rows) for rows in range(1, work.out_rows + 1) if not work.out_rows % rows]
    images = 2
    while images < work.images:
        strips.append((images, work.out_rows))
        images *= 2
    return strips + ([(work.images, work.out_rows)] if work.images > 1 else [])


def _largest(work: Work, memory: Memory, N: int, places: Places) -> Mapping | None:
    for images, strip in reversed(_rows(work)):
        mapping = Mapping(images=images, strip=strip, K=work.K, N=N)
        needed = mapping.capacity(work, memory, **vars(places))
        if all(need <= getattr(memory, name) for name, need in needed.items()):
            return mapping
    return None


def _refuse(work: Work, memory: Memory, N: int, places: Places) -> NoReturn:
    smallest = Mapping(strip=1, K=work.K, N=N)
    needed = smallest.capacity(work, memory, **vars(places))
    what = f"the smallest blocks of {work.name} by the fixed rule"
    require_room(memory, needed, what, "the mapper")
    raise RuntimeError(f"nothing of {work.name} fits, though its smallest blocks do")
