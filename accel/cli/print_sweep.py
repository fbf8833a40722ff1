"""What the sweep shows when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accel.cost.mapper import OBJECTIVES
from accel.sweep.refine import OBJECTIVE
from configs.tables import count
from quant.summary import console, plain, right


def print_sweep(summary: Mapping[str, Any]) -> None:
    """How much was evaluated, what failed, and the designs with a name."""
    out, table = console(), plain()
    table.add_row(
        "designs",
        f"{summary['designs']:,} of {count(summary['layers'], 'layer')}, "
        f"{summary['legal']:,} "
        f"legal, {_rate(summary)}{summary['wall_s']:.1f} s in all",
    )
    small = {k: v for k, v in summary["too_small"].items() if v}
    if small:
        text = ", ".join(f"{name} {count:,}" for name, count in small.items())
        table.add_row("too small", f"{text} (a design may fail by several)")
    table.add_row(
        "front", f"{len(summary['front']):,} designs: {', '.join(summary['objectives'])}"
    )
    out.print(table)
    out.print(_named(summary))
    out.print(f"\n{summary['rule']}")
    if "refined" in summary:
        out.print(
            f"The best of {count(len(summary['refined']), 'member')} of the front, each "
            f"layer with {OBJECTIVES[OBJECTIVE]}; rule us is what the fixed rule takes."
        )
    out.print(f"Energies: {summary['preset']}.")
    fastest = summary["named"]["fastest"]
    for command in (fastest.get("cost"), fastest.get("verify")):
        if command:
            out.print(f"next  {command}")


def _rate(summary: Mapping[str, Any]) -> str:
    """Nothing where all designs were done before."""
    rate = summary["designs_per_s"] / 1e6
    devices = count(summary["devices"], "device")
    on = f"{rate:.1f} million a second after compiling on {devices}, "
    return on if rate else ""


def _named(summary: Mapping[str, Any]):
    energy = {"fJ": "energy uJ"}.get(summary["energy_unit"], "energy (million ALU ops)")
    ruled = "refined" in summary
    table = right("", "array", "MHz", "MB/s", "buffers KiB a/w/s", "us", "stall %", energy,
                  "DRAM KiB", "area", *(["rule us"] if ruled else []),
                  least=("DRAM KiB", "area", "stall %", "buffers KiB a/w/s"))  # fmt: skip
    for name, row in summary["named"].items():
        buffers = (row[f"{name}_bytes"] / 1024 for name in ("activation", "weight", "sum"))
        table.add_row(
            name,
            f"{row['dataflow']} {row['rows']}x{row['cols']}",
            f"{row['clock_mhz']:,}",
            f"{row['dram_mb_per_s']:,}",
            "/".join(f"{size:g}" for size in buffers),
            f"{row['time_us']:,.1f}",
            f"{100 * row['stall'] / row['cycles']:.1f}",
            f"{row['energy'] / 1e9:,.2f}",
            f"{row['dram_bytes'] / 1024:,.0f}",
            f"{row['area']:,}",
            *([f"{row['rule']['time_us']:,.1f}"] if ruled else []),
        )
    return table
