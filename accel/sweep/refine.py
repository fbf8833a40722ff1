"""Front points once more, each layer with the best mapping that there is.

The sweep maps all designs by one rule; the mapper looks at every legal mapping of a layer.
Layers are mapped one by one, and maps stay on the chip as in the sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from accel.cost import fixed_mapping, mapper, narrow
from accel.cost.energy import Capacities, prices
from accel.cost.energy_table import EnergyTable
from accel.sweep.front import Front, knees
from accel.sweep.metrics import METRICS, RATE
from accel.sweep.space import Design, Space
from accel.workload.layer import LayerWorkload

# What a mapping does not change.
_KEPT = ("area", *RATE)
# Members of the front that are mapped before the designs with a name are chosen.
MAPPED = 48
# What the mapper makes small here, as `cost` does if nothing else is asked.
OBJECTIVE: mapper.Objective = "balanced"


class LayerCost(NamedTuple):
    """One layer of a design, all its repeats."""

    name: str
    macs: int
    weight_bytes: int
    cycles: int
    compute: int
    dram_bytes: int
    energy: int


def layers(
    works: Sequence[LayerWorkload],
    design: Design,
    preset: EnergyTable,
    *,
    best: bool = False,
) -> list[LayerCost]:
    """What each layer costs by the fixed rule, or with the best mapping."""
    machine, memory = design.machine, design.memory
    price = energy_prices(design, preset)
    found = []
    for work, places in zip(works, fixed_mapping.kept(list(works), memory), strict=True):
        if best:
            chosen = mapper.choose(work, machine, memory, places, objective=OBJECTIVE)
            mapping = chosen.mapping
        else:
            mapping = fixed_mapping.fixed(work, machine, memory, places)
        paid = narrow.priced(price, preset, work.bits)
        cost = mapper.evaluate(work, machine, memory, mapping, places, paid)
        dram = sum(cost.totals[2:])
        figures = (cost.totals.cycles, cost.totals.compute, dram, cost.energy)
        totals = [int(value) * work.repeats for value in figures]
        found.append(LayerCost(work.name, work.macs, work.weight_bytes, *totals))
    return found


def energy_prices(design: Design, preset: EnergyTable):
    """Prices of a design's energies; inputs and outputs share a buffer."""
    a, w, s = design.activation_bytes, design.weight_bytes, design.sum_bytes
    return prices(preset, Capacities(a, w, s, a), clock_mhz=design.clock_mhz)


def spread(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Members of the front to be mapped: those with a name by the rule, and others evenly
    over the front by time, `MAPPED` in all; each once."""
    rows = {row["index"]: row for row in found["named"].values()}
    front = sorted(found["front"], key=lambda row: (row["time_us"], row["index"]))
    room = min(MAPPED - len(rows), len(front))
    for at in range(max(room, 0)):
        row = front[at * (len(front) - 1) // max(room - 1, 1)]
        rows.setdefault(row["index"], row)
    return list(rows.values())


def ranked(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The designs with a name among those that were mapped, by what the mapper makes of
    them: their rows have its figures, and the rule's under "rule"."""
    rows = {row["index"]: row for row in (*found["front"], *found["named"].values())}
    mapped = []
    for one in found["refined"]:
        row, best = rows[one["index"]], one["mapper"]
        kept = {n: v for n, v in row.items() if n not in METRICS or n in _KEPT}
        edp = best["energy"] * best["time_us"]
        mapped.append(kept | best | {"edp": edp, "rule": one["rule"]})
    values = [[row.get(name, np.nan) for name in METRICS] for row in mapped]
    index = np.array([row["index"] for row in mapped])
    front = Front(index, np.array(values, np.float64))
    return {name: mapped[at] for name, at in knees(front).items()}


def refine(
    front: Sequence[dict[str, Any]],
    works: Sequence[LayerWorkload],
    space: Space,
    preset: EnergyTable,
    *,
    progress: Callable[[int, int], None] = lambda done, size: None,
) -> list[dict[str, Any]]:
    """Rows of a summary's front with the mapper's figures beside the rule's.

    Returns:
      For each: `index`, `rule` and `mapper`, each with cycles, stall, time_us, energy and
      dram_bytes.
    """
    found = []
    for done, row in enumerate(front, 1):
        design = space.design(row["index"])
        best = layers(works, design, preset, best=True)
        cycles = sum(layer.cycles for layer in best)
        refined = {
            "cycles": cycles,
            "stall": cycles - sum(layer.compute for layer in best),
            "time_us": cycles * (1 / design.clock_mhz),
            "energy": sum(layer.energy for layer in best),
            "dram_bytes": sum(layer.dram_bytes for layer in best),
        }
        ruled = {name: row[name] for name in refined}
        found.append({"index": row["index"], "rule": ruled, "mapper": refined})
        progress(done, len(front))
    return found
