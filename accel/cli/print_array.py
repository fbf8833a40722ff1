"""What the accelerator commands show while they work and when they are done."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from accel.machines.counters import PHASES
from accel.verify.mismatch import Mismatch
from configs.tables import count
from quant.summary import console, plain, right


class Cycles:
    """A bar of stepped cycles on a terminal; on stderr, so that stdout is for results."""

    def __init__(self, unit: str = "cycles") -> None:
        shown = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn(f"{{task.completed:,.0f}} of {{task.total:,.0f}} {unit}"),
            TimeRemainingColumn(),
            console=shown,
            transient=True,
            disable=not shown.is_terminal,
        )
        self._task = None

    def __enter__(self) -> Cycles:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, text: str, total: int) -> None:
        self._task = self._bar.add_task(text, total=total)

    def done(self, cycles: int) -> None:
        """So many more."""
        self._bar.advance(self._task, cycles)

    def reached(self, cycles: int) -> None:
        """So many in all."""
        self._bar.update(self._task, completed=cycles)


def print_report(report: Mapping[str, Any], folder: Path) -> None:
    """The verdict, the layers, where the cycles go, and what was written."""
    out, table = console(), plain()
    verdict = "VERIFIED" if report["verified"] else "NOT VERIFIED"
    table.add_row(
        verdict,
        f"{report['mismatches']:,} of {report['compared']:,} values differ, "
        f"{count(report['images'], 'image')} on {report['machine']}, batch "
        f"{report['batch']}",
    )
    if report["miscounted"]:
        layers = ", ".join(report["miscounted"])
        table.add_row("counts", f"those of {layers} are not what the closed form says")
    if report["mismatch"]:
        table.add_row("first", Mismatch(**report["mismatch"]).sentence())
    table.add_row(
        "cycles",
        f"{report['total_cycles']:,}, {report['cycles_per_image']:,.0f} an image: "
        f"{report['images_per_s']:,.0f} images/s at {report['clock_mhz']:g} MHz",
    )
    table.add_row(
        "multipliers",
        f"{report['multipliers']:,}, busy {100 * report['utilization']:.1f} % of the time",
    )
    if report["accuracy"]:
        table.add_row("accuracy", f"{100 * report['accuracy']['machine']:.2f} %")
    table.add_row(
        "stepped",
        f"{report['simulated_cycles_per_s']:,.0f} cycles/s in {report['wall_s']:.1f} s, "
        f"compiling and comparing included",
    )
    out.print(table)
    for line in (report["mismatch"] or {}).get("dump", ()):
        out.print(f"  {line}")
    out.print()
    out.print(_layers(report))
    out.print()
    written, place = plain(), folder / "accel" / report["machine"]
    names = sorted(path.name for path in place.iterdir() if not path.name.startswith("."))
    written.add_row("written", f"{place}/{', '.join(names)}")
    written.add_row("open", f"{place}/report.html")
    written.add_row("next", f"python -m accel compare --run {shlex.quote(str(folder))}")
    out.print(written)


def _layers(report: Mapping[str, Any]) -> Table:
    used = [phase for phase in PHASES if report["phases"][phase]]
    table = right(
        "layer", "M x K x N", "tiles", "simulated", "closed form", "busy %", *used,
        "differ",
        least=("M x K x N", *used, "tiles", "busy %"),
    )  # fmt: skip
    for layer in report["layers"]:
        table.add_row(
            layer["name"],
            f"{layer['M']:,} x {layer['K']:,} x {layer['N']:,}{_repeated(layer)}",
            f"{layer['tiles']:,}",
            f"{layer['cycles_simulated']:,}",
            f"{layer['cycles_closed_form']:,}",
            f"{100 * layer['utilization']:.1f}",
            *(f"{layer['phases'][phase]:,}" for phase in used),
            f"{layer['mismatches']:,}",
        )
    return table


def _repeated(layer: Mapping[str, Any]) -> str:
    """How often a product is done, and how, where it is in groups.

    >>> _repeated({"repeats": 64, "way": "diagonal 8"}), _repeated({})
    (' x 64, diagonal 8', '')
    """
    return f" x {layer['repeats']:,}, {layer['way']}" if "repeats" in layer else ""


def print_comparison(found: Mapping[str, Any], folder: Path) -> None:
    """All machines, one a line."""
    table = right("machine", "multipliers", "cycles/image", "images/s", "busy %", "inputs",
                  "weights", "sums", "bytes", "",
                  least=("inputs", "weights", "sums"))  # fmt: skip
    images = found["images"]
    for row in found["machines"]:
        sums = row["sum_reads"] + row["sum_writes"]
        verdict = {True: "stepped, verified", False: "WRONG", None: "predicted"}
        table.add_row(
            row["machine"],
            f"{row['multipliers']:,}",
            f"{row['cycles_per_image']:,.0f}",
            f"{row['images_per_s']:,.0f}",
            f"{100 * row['utilization']:.1f}",
            f"{row['input_fetches'] / images:,.0f}",
            f"{row['weight_fetches'] / images:,.0f}",
            f"{sums / images:,.0f}",
            f"{row['fetched_bytes'] / images:,.0f}",
            verdict[row["verified"]],
        )
    out = console()
    out.print(table)
    out.print(
        f"\nFetches are words an image, and their bytes at the widths of the run "
        f"({_widths(found['bits'])}); images/s at {found['clock_mhz']:g} MHz, batch "
        f"{found['batch']}."
    )
    predicted = sum(not row["stepped"] for row in found["machines"])
    if predicted:
        out.print(
            f"{predicted} of {len(found['machines'])} machines were not stepped: their "
            f"figures are what the closed forms predict."
        )
    out.print(f"written  {folder}/accel/compare.json")


def _widths(bits: Mapping[str, Sequence[int]]) -> str:
    """
    >>> _widths({"conv1": [8, 8], "dense1": [4, 4], "dense2": [4, 4]})
    'W4A4, W8A8'
    """
    return ", ".join(sorted({f"W{weights}A{inputs}" for weights, inputs in bits.values()}))


def print_faults(found: Mapping[str, Any], folder: Path) -> None:
    """Each fault, how far it went, and how many of each effect."""
    table = right("fault", "wrong sums", "outputs", "logits", "classes", "accuracy %")
    for one in found["faults"]:
        what = (
            f"{one['register']} ({one['row']},{one['col']}) bit {one['bit']} {one['kind']}"
        )
        sums = sum(layer["wrong_sums"] for layer in one["layers"])
        outputs = sum(layer["wrong_outputs"] for layer in one["layers"])
        classes, accuracy = one["changed_classes"], one["accuracy"]
        table.add_row(
            what,
            f"{sums:,}",
            f"{outputs:,}",
            f"{one['wrong_logits']:,}",
            "" if classes is None else f"{classes:,}",
            "" if accuracy is None else f"{100 * accuracy:.2f}",
        )
    out = console()
    out.print(table)
    effects = found["effects"]
    out.print(
        f"\n{count(len(found['faults']), 'fault')}, {count(found['images'], 'image')}: "
        f"{effects['none']} change nothing, {effects['absorbed']} are absorbed by rounding "
        f"and pooling, {effects['logits']} change logits only, {effects['classes']} change "
        f"classes"
    )
    out.print(f"written  {folder}/accel/{found['machine']}/faults.json")
