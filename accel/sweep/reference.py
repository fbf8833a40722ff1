"""One design, slowly: the fixed rule, then every layer walked block by block.

What `program` computes for millions at a time must equal this, tolerance zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from accel.cost import fixed_mapping
from accel.cost.access_counts import held, moved
from accel.cost.energy import energy
from accel.cost.energy_table import EnergyTable
from accel.cost.narrow import priced
from accel.cost.reference import walk
from accel.sweep.refine import energy_prices
from accel.sweep.space import Design
from accel.workload.layer import LayerWorkload


def metrics(
    works: Sequence[LayerWorkload], design: Design, preset: EnergyTable
) -> dict[str, float]:
    """All of `accel.sweep.metrics.METRICS`.

    Raises:
      InputError: some layer has no mapping.
    """
    machine, memory = design.machine, design.memory
    names = ("cycles", "compute", "dram_inputs", "dram_weights", "dram_outputs")
    found = dict.fromkeys((*names, "energy", "chip_bytes"), 0)
    for work, places in zip(works, fixed_mapping.kept(list(works), memory), strict=True):
        mapping = fixed_mapping.fixed(work, machine, memory, places)
        walked = walk(machine, replace(work, repeats=1), memory, mapping, places)
        kind = {"held": held(machine), "bits": work.bits}
        traffic = moved(walked.counters, walked, sums=work.M * work.N, **kind)
        spent = energy(
            traffic,
            macs=walked.counters.macs,
            cycles=walked.cycles,
            prices=priced(energy_prices(design, preset), preset, work.bits),
        )
        for name in names:
            found[name] += work.repeats * getattr(walked, name)
        found["energy"] += work.repeats * spent.total
        found["chip_bytes"] += work.repeats * traffic.buffer
    time_us = found["cycles"] * (1 / design.clock_mhz)
    return found | {
        "stall": found["cycles"] - found["compute"],
        "time_us": time_us,
        "edp": found["energy"] * time_us,
        "dram_bytes": sum(found[name] for name in names[2:]),
        "area": design.area,
        "dram_mb_per_s": design.dram_mb_per_s,
        "clock_mhz": design.clock_mhz,
    }
