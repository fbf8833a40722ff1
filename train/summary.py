"""The table at the end of a training run."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console
from rich.table import Table

from configs.tables import count


def print_summary(metrics: dict, folder: Path) -> None:
    """Results, what was written where, and what to do next, on stdout."""
    data = metrics["dataset"]
    table = Table(show_header=False, box=None, pad_edge=False)
    if metrics["test_accuracy"] is not None:
        right = round(metrics["test_accuracy"] * data["test"])
        result = f"{100 * metrics['test_accuracy']:.2f} %  ({right:,} of {data['test']:,})"
        table.add_row("test accuracy", result)
    else:
        table.add_row("test squared error", f"{metrics['test_mse']:.3e}")
    sizes = f"{data['train']:,} to train, {data['test']:,} to test"
    table.add_row("data", f"{data['name']} ({data['source']}): {sizes}")
    size = f"{metrics['parameters']:,} parameters, {metrics['macs']:,} MACs an image"
    table.add_row("network", size)
    speed = f"{count(metrics['epochs'], 'epoch')} in {metrics['wall_s']:.1f} s"
    rate = f"{metrics['images_per_s']:,.0f} images/s"
    table.add_row("training", f"{speed}; {rate} without compiling and testing")
    stage = folder / "train"
    table.add_row("written", f"{stage}/metrics.json, log.jsonl, checkpoint/")
    pictures = sorted(path.name for path in stage.glob("*.png"))
    table.add_row("pictures", ", ".join(pictures))
    table.add_row("next", f"python -m quant --run {shlex.quote(str(folder))}")
    # No markup, and no width in a pipe: a path must come out whole and as it is.
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 100_000
    console.print(table)
