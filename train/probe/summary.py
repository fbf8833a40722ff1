"""The tables at the end of a probe: one column a network, the headline in bold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from configs.tables import Figures
from train.probe.table import Line, lines, notes


def print_summary(found: dict[str, Any], folder: Path, following: str) -> None:
    """The tables of probes.json `found`, flags, and what was written, on stdout."""
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = 200
    models = list(found["models"])
    for part in lines(found):
        if part:
            console.print(_table(part, models))
            console.print()
    for line in notes(found):
        console.print(Text(line))
    console.print(Text(f"gates    {len(found['gates'])} passed"))
    for flag in found["flags"]:
        console.print(Text(f"flag     {flag['model']}: {flag['flag']}"), soft_wrap=True)
    if not found["flags"]:
        console.print(Text("flags    none"))
    files = ["probes.json", *found["files"]]
    console.print(Text(f"time     {found['wall_s']:,.1f} s"))
    console.print(Text(f"written  {folder}/{', '.join(files)}"), soft_wrap=True)
    console.print(Text(f"next     {following}"), soft_wrap=True)


def _table(part: Sequence[Line], models: Sequence[str]) -> Figures:
    shares = [f"{model} %" for model in models]
    table = Figures("probe", "how", "images", *shares, words=2, least=["images"])
    for line in part:
        style = "bold" if line.bold else ""
        cells = [Text(line.what), Text(line.how), f"{line.n:,}", *line.shares(models)]
        table.add_row(*cells, style=style)
    return table
