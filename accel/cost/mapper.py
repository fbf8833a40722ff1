"""The mapper: tries all mappings of a layer that fit, and says why the best one won.

All are evaluated by the closed form at once; the winner is evaluated once more in Python
integers, which cannot overflow, so that what wins is what is said.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Literal, NamedTuple, NoReturn

import numpy as np

from accel.cost import closed_form, mapspace
from accel.cost.access_counts import accumulations, held, moved
from accel.cost.closed_form import Cut, Totals, cut
from accel.cost.energy import Prices, energy
from accel.cost.explain import reasons
from accel.cost.fixed_mapping import sides, slice_of
from accel.cost.mapping import Blocks, Mapping, narrower
from accel.cost.reference import Residency, port_cycles
from accel.cost.too_small import require_room
from accel.cost.traffic import Traffic
from accel.machines.counters import Counters
from accel.machines.machine import Machine
from accel.machines.memory import Memory
from accel.predict import timing
from accel.workload.gemm import Gemm
from accel.workload.layer import LayerWorkload
from configs.errors import InputError

# What is made small. balanced: DRAM bytes among the mappings that take at most 1 % more
# cycles than the fastest; cycles, ties by DRAM bytes; energy; energy times cycles.
Objective = Literal["balanced", "cycles", "energy", "edp"]
OBJECTIVES = {
    "balanced": "the fewest DRAM bytes within 1 % of the fewest cycles",
    "cycles": "the fewest cycles",
    "energy": "the least energy",
    "edp": "the least energy times cycles",
}
# Cycles more than the fewest that "balanced" allows: one in so many.
_SLACK = 100
# Where maps lie if nothing else is said.
_DRAM = Residency()


class Evaluated(NamedTuple):
    """One repeat of a layer; ints, or int64 arrays over mappings."""

    totals: Totals
    # Of the array, all blocks together.
    counters: Counters
    # Thousandths of the preset's unit, or None without prices.
    energy: int | np.ndarray | None


class Choice(NamedTuple):
    """A layer's mapping, what it costs, and why it was chosen."""

    mapping: Mapping
    totals: Totals
    counters: Counters
    # Mappings there are, were looked at, fit the buffers, and were evaluated: of orders
    # that cannot differ one stands for all.
    everything: int
    candidates: int
    legal: int
    evaluated: int
    why: str


def choose(
    work: LayerWorkload,
    machine: Machine,
    memory: Memory,
    places: Residency = _DRAM,
    *,
    objective: Objective = "balanced",
    prices: Prices | None = None,
) -> Choice:
    """The best legal mapping of a layer; `prices` for an objective that needs energy.

    Raises:
      InputError: no mapping fits, or the layer's counts pass 2^63.
    """
    if objective in ("energy", "edp") and prices is None:
        raise ValueError(f"objective {objective!r} needs prices")
    space = _space(work, machine, memory, places)
    cols = space.blocks.cols
    piece = work if cols is None else work.piece(cols)
    found = [
        (order, group, *_key(got, objective))
        for group in mapspace.groups(piece, space.blocks)
        for order in group.orders
        for got in [_group(piece, machine, memory, places, group, order, prices)]
    ]
    ranked = _ranked(found, balanced=objective == "balanced")
    mapping = _mapping(space.blocks, *ranked.first)
    exact = evaluate(piece, machine, memory, mapping, places, prices)
    fastest = _mapping(space.blocks, *ranked.least)
    least = evaluate(piece, machine, memory, fastest, places, prices)
    keys = _key(exact, objective), _key(least, objective)
    if keys != (ranked.key, ranked.least_key):
        raise InputError(
            f"`{work.name}` ({work.macs} multiplications) is too large: its counts pass "
            f"2^63; use a smaller --batch."
        )
    rival = None
    if ranked.second:
        other = _mapping(space.blocks, *ranked.second)
        rival = other, evaluate(piece, machine, memory, other, places, prices).totals
    counts = (space.everything, space.candidates, space.legal, ranked.evaluated)
    why = reasons(piece, mapping, exact.totals, rival, ranked.equals)
    if cols is not None:
        mapping = replace(mapping, cols=cols)
        why = f"{cut_up(work, mapping)}{why}"
        exact = evaluate(work, machine, memory, mapping, places, prices)
    return Choice(mapping, exact.totals, exact.counters, *counts, why)


def cut_up(work: LayerWorkload, mapping: Mapping) -> str:
    """What is said before the reasons of a layer, which are those of one of its pieces."""
    if mapping.cols is None:
        return ""
    pieces = mapping.column_pieces(work)
    return (
        f"no row of {work.out_cols:,} columns fits: cut into {pieces:,} pieces of "
        f"{mapping.cols:,} columns, one after the other, each "
    )


def _space(work, machine, memory, places) -> mapspace.Space:
    """Of the layer; with slices of K lower than the array where no others fit; of its
    widest pieces that fit where no whole row does."""
    height, width = sides(machine)
    depth = slice_of(work, height, min(width, work.N), memory)
    depths = (None, depth) if depth < height else (None,)
    for cols, K in product((None, *narrower(work)), depths):
        space = mapspace.space(work, (height, width), memory, places, cols, K)
        if space.legal:
            return space
    _refuse(work, machine, memory, places)


def evaluate(
    work: LayerWorkload,
    machine: Machine,
    memory: Memory,
    mapping: Mapping,
    places: Residency = _DRAM,
    prices: Prices | None = None,
) -> Evaluated:
    """One mapping by the closed form; of a layer in pieces, the sum of them."""
    parts = [
        (count, *_run(piece, machine, memory, places, cut(piece, mapping), mapping.order))
        for piece, count in mapping.pieces(work)
    ]
    totals = Totals(*_summed([(count, one) for count, one, _ in parts]))
    counters = Counters(*_summed([(count, one) for count, _, one in parts]))
    form = cut(work, mapping)
    return _priced(work, machine, form, totals, counters, prices)


def _summed(parts: list[tuple[int, tuple]]) -> list[int]:
    """Each field of some tuples, all so many times."""
    fields = zip(*([count * v for v in one] for count, one in parts), strict=True)
    return [sum(values) for values in fields]


def _group(work, machine, memory, places, group, order, prices) -> Evaluated:
    form = cut(work, group.blocks)._replace(trips=group.trips)
    found = _run(work, machine, memory, places, form, order)
    return _priced(work, machine, form, *found, prices)


def _run(work, machine, memory, places, form, order) -> tuple[Totals, Counters]:
    def predict(m, k, n) -> Counters:
        return timing.predict(machine, Gemm(work.name, 1, m, k, n))

    totals = closed_form.totals(
        form,
        order,
        cycles=lambda m, k, n, begun: port_cycles(
            predict(m, k, n), memory, begun, work.bits
        ),
        dma=memory.dma_cycles,
        inputs_kept=int(places.inputs_kept),
        outputs_kept=int(places.outputs_kept),
        double_buffered=memory.double_buffered,
    )
    return totals, closed_form.counted(form, predict)


def _priced(work, machine, form, totals, counters, prices) -> Evaluated:
    if prices is None:
        return Evaluated(totals, counters, None)
    traffic = on_chip(work, machine, form, counters, totals)
    spent = energy(traffic, macs=counters.macs, cycles=totals.cycles, prices=prices)
    return Evaluated(totals, counters, spent.total)


def on_chip(
    work: LayerWorkload, machine: Machine, form: Cut, counters: Counters, totals: Totals
) -> Traffic:
    """What one repeat of a layer moves, at every level."""
    sums, slices = work.M * work.N, (form.trips["K"], form.size["K"], form.last["K"])
    added = accumulations(machine, macs=counters.macs, sums=sums, K=slices)
    kind = {"held": held(machine), "added": added, "bits": work.bits}
    return moved(counters, totals, sums=sums, **kind)


def _key(found: Evaluated, objective: Objective) -> tuple:
    """What is compared, first to last; smaller is better. Of "balanced" the other way
    round, among those that are fast enough."""
    dram = sum(found.totals[2:])
    if objective in ("balanced", "cycles"):
        return found.totals.cycles, dram
    if objective == "energy":
        return found.energy, found.totals.cycles
    # The product passes 2^63: compared in floating point.
    return found.energy * 1.0 * found.totals.cycles, found.totals.cycles


class _Ranked(NamedTuple):
    # Order and index of the best, its key, and the best of those that are worse.
    first: tuple[str, int]
    key: tuple
    # The same of the one with the smallest key, which is the best unless bytes decide.
    least: tuple[str, int]
    least_key: tuple
    second: tuple[str, int] | None
    # Others as good as the best; all evaluated.
    equals: int
    evaluated: int


def _ranked(found: list[tuple], *, balanced: bool) -> _Ranked:
    """Best first; of equals the one with the largest blocks, then the first order."""
    orders = np.concatenate(
        [np.full(g.index.size, mapspace.ORDERS.index(order)) for order, g, *_ in found]
    )
    index = np.concatenate([group.index for _, group, *_ in found])
    keys = [
        np.concatenate([np.broadcast_to(f[2 + i], f[1].index.shape) for f in found])
        for i in range(2)
    ]
    ranking = np.lexsort((orders, -index, keys[1], keys[0]))
    least = ranking[0]
    if balanced:
        slow = keys[0] - keys[0][least] > keys[0][least] // _SLACK
        ranking = np.lexsort((orders, -index, keys[0], keys[1], slow))
    best = ranking[0]

    def at(place: int) -> tuple[str, int]:
        return mapspace.ORDERS[orders[place]], int(index[place])

    def key(place: int) -> tuple:
        return tuple(values[place].item() for values in keys)

    same = int(((keys[0] == keys[0][best]) & (keys[1] == keys[1][best])).sum())
    second = at(ranking[same]) if same < ranking.size else None
    return _Ranked(
        at(best), key(best), at(least), key(least), second, same - 1, ranking.size
    )


def _mapping(blocks: Blocks, order: str, index: int) -> Mapping:
    images, strip, K, N = (int(size[index]) for size in blocks[:4])
    return Mapping(images=images, strip=strip, K=K, N=N, order=order)


def _refuse(
    work: LayerWorkload, machine: Machine, memory: Memory, places: Residency
) -> NoReturn:
    least = Mapping(**mapspace.smallest(work, sides(machine))._asdict())
    needed = least.capacity(work, memory, **vars(places))
    require_room(memory, needed, f"the smallest blocks of {work.name}", "a smaller --batch")
    raise RuntimeError(f"nothing of {work.name} fits, though its smallest blocks do")
