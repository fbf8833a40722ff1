"""What a network costs on a machine: cycles, traffic and energy, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from accel.cost import access_counts, narrow
from accel.cost import energy as energies
from accel.cost.closed_form import Totals, cut
from accel.cost.dram_ratio import dram_ratio, explain
from accel.cost.energy_table import EnergyTable
from accel.cost.explain import reasons
from accel.cost.fixed_mapping import fixed, kept
from accel.cost.mapper import (
    OBJECTIVES,
    Choice,
    Evaluated,
    Objective,
    choose,
    cut_up,
    evaluate,
    on_chip,
)
from accel.cost.mapping import Mapping
from accel.cost.reference import Residency
from accel.cost.too_small import TooSmall
from accel.cost.traffic import OPERANDS, Traffic, total
from accel.cost.widths import said
from accel.machines.chips import Chip
from accel.machines.counters import Counters
from accel.workload import from_network
from accel.workload.layer import Bits, LayerWorkload
from accel.workload.workload import Workload
from configs.errors import InputError

How = Literal["mapper", "fixed"]
LEVELS = ("dram", "fill", "drain", "buffer", "register", "hop")
NOT_COUNTED = from_network.NOT_COUNTED + access_counts.NOT_COUNTED


def cost(
    workload: Workload,
    chip: Chip,
    preset: EnergyTable,
    *,
    mapping: How = "mapper",
    objective: Objective = "balanced",
) -> dict[str, Any]:
    """Everything about a network on a chip, ready for JSON.

    Args:
      mapping: "mapper" tries all and takes the best by `objective`; "fixed" is the rule
        of the sweep.

    Raises:
      InputError: a choice is none, or no blocks of a layer fit.
    """
    _check(mapping, objective)
    try:
        return _cost(workload, chip, preset, mapping, objective)
    except TooSmall as error:
        raise error.in_file(chip.sources) from None


def _cost(workload, chip, preset, mapping: How, objective: Objective) -> dict[str, Any]:
    layers = workload.works
    prices = energies.prices(preset, chip.capacities, clock_mhz=chip.memory.clock_mhz)
    places = kept(list(layers), chip.memory)
    chosen: dict[tuple[LayerWorkload, Residency], Choice | None] = {}
    rows, traffics, spent = [], [], []
    for work, here in zip(layers, places, strict=True):
        key = replace(work, name="layer", chained=False), here
        price = narrow.priced(prices, preset, work.bits)
        if mapping == "mapper" and key not in chosen:
            kind = {"objective": objective, "prices": price}
            chosen[key] = choose(work, chip.machine, chip.memory, here, **kind)
        row, traffic, energy = _layer(work, here, chosen.get(key), chip, preset, price)
        rows.append(row)
        traffics.append(traffic)
        spent.append(energy)
    return {
        "machine": chip.to_dict(),
        **{"preset": preset.name, "mapping": mapping},
        "objective": objective if mapping == "mapper" else None,
        "workload": workload.to_dict() | {"widths": said(layers)},
        **_totals(workload, rows, total(traffics), chip, preset, spent),
        "dram": {**dram_ratio(preset)._asdict(), "explained": explain(preset)},
        "notes": energies.notes(preset, chip.capacities) + _widths(layers, preset),
        "not_counted": list(NOT_COUNTED),
        "layers": rows,
    }


def _widths(layers: Sequence[LayerWorkload], preset: EnergyTable) -> list[str]:
    """What a reader of a network of narrow numbers must know."""
    narrow_ones = sorted({work.bits for work in layers} - {Bits()})
    if not narrow_ones:
        return []
    notes = [
        "Narrow numbers are packed in DRAM and buffers, the last byte of a transfer filled "
        "up; sums are 32 bits. Cycles of the array do not change: it multiplies one pair "
        "at a time whatever its width."
    ]
    for widths in sorted({(bits.weights, bits.inputs) for bits in narrow_ones} - {(8, 8)}):
        one = narrow.mac(preset, Bits(*widths))
        notes.append(f"mac is {one.status}: {one.value} {one.unit} ({one.source}).")
    return notes


def table(traffic: Traffic) -> dict[str, dict[str, int]]:
    """Bytes by level and operand, reads and writes of sums together; of one run."""
    found = {level: dict.fromkeys(OPERANDS, 0) for level in LEVELS}
    for name, value in traffic._asdict().items():
        level, operand = name.split("_", 1)
        operand = "sums" if operand.startswith("sum") else operand
        found[level][operand] += int(value)
    return found


def _check(mapping: str, objective: str) -> None:
    known = (
        ("mapping", mapping, ("mapper", "fixed")),
        ("objective", objective, OBJECTIVES),
    )
    for field, value, names in known:
        if value not in names:
            raise InputError(f"`{field}` (={value!r}) must be one of {', '.join(names)}.")


def _layer(
    work, places, choice, chip, preset, prices
) -> tuple[dict, Traffic, energies.Energy]:
    machine, memory = chip.machine, chip.memory
    if choice is None:
        found = fixed(work, machine, memory, places)
        got = evaluate(work, machine, memory, found, places)
        piece, _ = found.pieces(work)[0]
        one = evaluate(piece, machine, memory, replace(found, cols=None), places)
        said = reasons(piece, found, one.totals, None, 0)
        why = f"the fixed rule; {cut_up(work, found)}{said}"
        tried = None
    else:
        found, got, why = choice.mapping, Evaluated(*choice[1:3], None), choice.why
        tried = {name: getattr(choice, name) for name in Choice._fields[3:7]}
    one = on_chip(work, machine, cut(work, found), got.counters, got.totals)
    traffic = one * work.repeats
    cycles, compute = (work.repeats * n for n in (got.totals.cycles, got.totals.compute))
    spent = energies.energy(traffic, macs=work.macs, cycles=cycles, prices=prices)
    return (
        {
            "name": work.name,
            **{name: getattr(work, name) for name in ("images", "M", "K", "N", "repeats")},
            "weight_bytes": work.weight_bytes,
            "bits": work.bits._asdict(),
            **_spent(got.totals, got.counters, chip.multipliers),
            "kept": vars(places),
            "mapping": _mapping(found),
            "column_pieces": found.column_pieces(work),
            "why": why,
            "mappings": tried,
            **_figures(work.macs, cycles, compute, traffic, chip),
            "energy": spent.to_dict(preset),
        },
        traffic,
        spent,
    )


def _spent(totals: Totals, counters: Counters, multipliers: int) -> dict[str, Any]:
    """Where the cycles of one repeat go, as shares of its multiplier slots; `bound` is the
    largest: the array at work, the DRAM it waits for, ports of the buffers, loading and
    filling and draining, or multipliers that a block leaves empty."""
    slots = totals.cycles * multipliers
    idle = counters.cycles - counters.stream
    parts = {
        "array": counters.macs,
        "DRAM": (totals.cycles - totals.compute) * multipliers,
        "ports": (totals.compute - counters.cycles) * multipliers,
        "fill and drain": idle * multipliers,
        "empty PEs": counters.stream * multipliers - counters.macs,
    }
    shares = {name: int(part) / slots for name, part in parts.items()}
    return {"bound": max(shares, key=shares.__getitem__), "spent_on": shares}


def _mapping(mapping: Mapping) -> dict[str, Any]:
    return dict(vars(mapping))


def _figures(macs: int, cycles: int, compute: int, traffic: Traffic, chip: Chip) -> dict:
    """What layers and the whole network have in common."""
    moved, weights = traffic.dram, traffic.dram_weights
    intensity = macs / moved if moved else None
    left = intensity is not None and intensity < chip.ridge
    return {
        "macs": macs,
        "cycles": cycles,
        "compute_cycles": compute,
        "stall_cycles": cycles - compute,
        "utilization": macs / (chip.multipliers * cycles),
        "dram_bytes": moved,
        "buffer_bytes": traffic.buffer,
        "traffic": table(traffic),
        # None where nothing comes from DRAM.
        "macs_per_dram_byte": intensity,
        "macs_per_weight_byte": macs / weights if weights else None,
        # Of the ridge, whatever the mapping makes of it.
        "roofline_side": "memory" if left else "compute",
        "time_ms": cycles / (chip.memory.clock_mhz * 1e3),
    }


def _totals(workload, rows, traffic, chip, preset, layers) -> dict[str, Any]:
    macs, cycles, compute = (
        sum(row[name] for row in rows) for name in ("macs", "cycles", "compute_cycles")
    )
    images = workload.inferences
    spent = energies.Energy(*map(sum, zip(*layers, strict=True)))
    figures = _figures(macs, cycles, compute, traffic, chip)
    seconds = cycles / (chip.memory.clock_mhz * 1e6)
    return {
        "images": images,
        **figures,
        "latency_ms": figures["time_ms"],
        "images_per_s": images / seconds,
        "energy": spent.to_dict(preset),
        "energy_per_image": spent.total / images,
        "roofline": _roofline(workload, chip),
    }


def _roofline(workload: Workload, chip: Chip) -> dict[str, Any]:
    """The two bounds without a mapping: all weights once, all MACs at the peak.

    At `balance_batch` inferences they take equally long.
    """
    weights = workload.weight_bytes
    weights_ms = weights / (chip.memory.dram_mb_per_s * 1e3)
    macs_ms = workload.macs / workload.inferences / chip.macs_per_s * 1e3
    return {
        "peak_macs_per_s": chip.macs_per_s,
        "ridge_macs_per_byte": chip.ridge,
        "weight_bytes": weights,
        "weights_ms": weights_ms,
        "macs_ms_per_image": macs_ms,
        "balance_batch": weights_ms / macs_ms,
    }
