"""The result of a sweep as data for JSON: front, named designs, heat maps, what it took."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from accel.cost.energy_table import EnergyTable
from accel.sweep.choices import REASONS
from accel.sweep.front import Front, knees
from accel.sweep.metrics import HEAT, METRICS, WHOLE
from accel.sweep.space import Space
from accel.workload.layer import LayerWorkload

RULE = (
    "Fixed mapping rule: loops M, N, K; all of N if the weights fit, else one array of "
    "columns, of all of K or, where that does not fit, slices of it whose sums stay; the "
    "largest blocks of rows that fit, or pieces of one row. Double buffered, no ports. "
    "Area is a proxy: multipliers + bytes of buffers and shadow registers. Bandwidth and "
    "clock have no area, and the energy of a byte does not depend on them."
)


def row(space: Space, index: int, values: np.ndarray) -> dict[str, Any]:
    """One design: where it stands, its axes and all metrics; counts are whole."""
    design = dataclasses.asdict(space.design(int(index)))
    metrics = {
        name: int(value) if name in WHOLE else float(value)
        for name, value in zip(METRICS, values, strict=True)
    }
    return {"index": int(index)} | design | metrics


def summary(
    plan: Any,
    works: Sequence[LayerWorkload],
    preset: EnergyTable,
    objectives: Sequence[str],
    found: dict[str, Any],
    clocked: dict[str, float],
) -> dict[str, Any]:
    """Everything about a finished sweep."""
    space, state = plan.space, found["state"]
    front: Front = state.front
    rows = [row(space, *one) for one in zip(front.index, front.values, strict=True)]
    others = len(space.dataflow) * len(space.rows) * space.rates
    reasons = plan.choices.reasons.reshape(len(REASONS), -1).sum(1) * others
    named = {name: rows[at] for name, at in knees(front).items()}
    return {
        "designs": space.size,
        "legal": state.legal,
        "illegal": space.size - state.legal,
        # A design may fail by several buffers.
        "too_small": dict(zip(REASONS, map(int, reasons), strict=True)),
        "objectives": list(objectives),
        "energy_unit": preset.small_unit,
        "preset": preset.name,
        "layers": len(works),
        "macs": sum(work.macs for work in works),
        "space": dataclasses.asdict(space),
        "bounds": {"cycles": plan.bounds[0], "energy": plan.bounds[1]},
        "rule": RULE,
        "front": rows,
        "named": named,
        "least": found["least"],
        "heat": _heat(space, state.heat),
        **clocked,
    }


def _heat(space: Space, heat: np.ndarray) -> dict[str, Any]:
    """Best value of every array over dataflows, rates and buffers, [rows][cols]; None if
    no design of it is legal."""
    maps = heat.reshape(len(HEAT), *space.shape[:3]).min(1)
    return {
        name: [[float(v) if np.isfinite(v) else None for v in line] for line in values]
        for name, values in zip(HEAT, maps, strict=True)
    }
