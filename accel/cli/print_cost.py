"""What the cost command prints: where the time goes, layer by layer, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from accel.cost.explain import megabytes
from accel.cost.mapper import OBJECTIVES
from accel.workload.workload import counted, each, listed, plural
from configs.tables import Figures
from quant.summary import console, plain

# Larger units of the thousandths that energies are in.
_STEPS = {"fJ": (("J", 10**15), ("mJ", 10**12), ("uJ", 10**9), ("nJ", 10**6))}

_OTHER_MODEL = (
    "Note: `python -m accel tpu` models the same chip by its program: maps stay in the "
    "unified buffer and only weights come from DRAM, in whole tiles of 256 x 256, spills "
    "left out; here maps that do not fit go out and back over the same DRAM, and weights "
    "come as many as there are."
)


def print_cost(report: Mapping[str, Any]) -> None:
    """Totals, the layers, the reasons of the mappings, and what is not counted."""
    out, found = console(), plain()
    chip, roof = report["machine"], report["roofline"]
    unit = report["workload"]["unit"]
    clock, rate = chip["clock_mhz"], chip["dram_mb_per_s"] / 1000
    found.add_row(
        "machine",
        f"{chip['name']}: {chip['machine']}, {clock} MHz, DRAM {rate:g} GB/s",
    )
    objective = report["objective"]
    each_with = f"{objective}: each layer with {OBJECTIVES.get(objective)}"
    found.add_row("mapping", each_with if objective else "the fixed rule")
    found.add_row(
        "time",
        f"{report['latency_ms']:.4g} ms for "
        f"{counted(report['images'], unit)}: {report['images_per_s']:,.0f} "
        f"{plural(unit)}/s, {report['cycles']:,} cycles, "
        f"{report['stall_cycles']:,} of them waiting for DRAM",
    )
    found.add_row(
        "multipliers",
        f"{chip['multipliers']:,}, busy {100 * report['utilization']:.1f} % of the time",
    )
    found.add_row("numbers", report["workload"]["widths"])
    found.add_row("traffic", _traffic(report))
    found.add_row("energy", _energy(report))
    found.add_row(
        "roofline",
        f"weights once {roof['weights_ms']:.3g} ms, MACs at the peak "
        f"{roof['macs_ms_per_image']:.3g} ms {each(unit)}: balance at batch "
        f"{roof['balance_batch']:.4g}; ridge {roof['ridge_macs_per_byte']:,.4g} MAC/byte",
    )
    out.print(found)
    out.print()
    out.print(_layers(report))
    out.print()
    out.print(_reasons(report))
    out.print()
    out.print(report["dram"]["explained"])
    out.print()
    for line in report["notes"]:
        out.print(f"Note: {line}")
    for line in report["workload"]["remarks"]:
        out.print(f"Note: {line}")
    counts = report["workload"]["operators"]
    if counts:
        out.print(f"Counted: {listed(counts.items())}.")
    for line in report["not_counted"]:
        out.print(f"Not counted: {line[0].lower()}{line[1:]}")
    if chip["name"].startswith("tpu_v1"):
        out.print(_OTHER_MODEL)
    others = report["workload"]["not_counted"]
    if others:
        out.print(f"Not counted: {listed(others.items())}.")


def amount(value: float, unit: str) -> str:
    """An energy in thousandths of a preset's unit, as people say it.

    >>> amount(2_500_000, "fJ"), amount(12, "fJ")
    ('2.5 nJ', '12 fJ')
    """
    for name, size in _STEPS.get(unit, ()):
        if value >= size:
            return f"{value / size:.4g} {name}"
    return f"{value:,.4g} {unit}"


def _traffic(report: Mapping[str, Any]) -> str:
    parts = report["traffic"]["dram"].items()
    said = ", ".join(f"{name} {megabytes(size)}" for name, size in parts if size)
    return f"DRAM {megabytes(report['dram_bytes'])} ({said})"


def _energy(report: Mapping[str, Any]) -> str:
    energy = report["energy"]
    shares = [
        f"{level} {100 * value / energy['total']:.1f} %"
        for level, value in energy["by_level"].items()
        if value
    ]
    one = each(report["workload"]["unit"])
    whole = amount(report["energy_per_image"], energy["unit"])
    return f"{whole} {one} by {report['preset']}: {', '.join(shares)}"


def _layers(report: Mapping[str, Any]) -> Table:
    table = Figures(
        "layer", "M x K x N", "cycles", "waits %", "busy %", "bound by", "DRAM",
        "MAC/byte", "roofline", "energy", "order", "images", "rows", "K", "N",
        least=("images", "rows", "K", "N", "order", "roofline", "MAC/byte", "M x K x N",
               "DRAM", "busy %", "waits %"),
    )  # fmt: skip
    for row in report["layers"]:
        times = f" x {row['repeats']}" if row["repeats"] > 1 else ""
        blocks, intensity = row["mapping"], row["macs_per_dram_byte"]
        table.add_row(
            row["name"],
            f"{row['M']:,} x {row['K']:,} x {row['N']:,}{times}",
            f"{row['cycles']:,}",
            f"{100 * row['stall_cycles'] / row['cycles']:.1f}",
            f"{100 * row['utilization']:.1f}",
            row["bound"],
            megabytes(row["dram_bytes"]),
            "" if intensity is None else f"{intensity:,.1f}",
            row["roofline_side"],
            amount(row["energy"]["total"], row["energy"]["unit"]),
            *(f"{blocks[name]}" for name in ("order", "images", "strip", "K", "N")),
        )
    return table


def _reasons(report: Mapping[str, Any]) -> Table:
    table = plain()
    for row in report["layers"]:
        table.add_row(row["name"], row["why"])
    return table
