"""What the quantisation commands print when they are done."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from configs.tables import Figures


def console() -> Console:
    """No markup, and no width in a pipe: a path must come out whole and as it is."""
    found = Console(highlight=False, markup=False, emoji=False)
    if not found.is_terminal:
        found.width = 100_000
    return found


def plain() -> Table:
    return Table(show_header=False, box=None, pad_edge=False)


def print_summary(metrics: dict, folder: Path) -> None:
    """Accuracy, the proof, the layers, and what was written where."""
    out, table = console(), plain()
    score = "accuracy" if metrics["task"] == "classification" else "mse"
    shown = [metrics[f"test_{score}_{what}"] for what in ("float", "qat", "int8")]
    percent = score == "accuracy"
    text = [f"{100 * value:.2f} %" if percent else f"{value:.3e}" for value in shown]
    label = "test accuracy" if percent else "test squared error"
    row = "float {}, fake-quantised {}, integers {}".format(*text)
    table.add_row(label, row)
    step, largest = metrics["logit_step"], metrics["fake_quant_logit_max_diff"]
    table.add_row(
        "fake-quantised",
        f"{metrics['fake_quant_logits_different']:,} of its logits differ from the "
        f"integers', by at most {largest:g} (one step is {step:g})",
    )
    size, before = metrics["size_bytes"], metrics["float_size_bytes"]
    packed = metrics.get("packed_bytes", size)
    narrow = f"; packed {packed:,} bytes, {before / packed:.1f}x" if packed < size else ""
    table.add_row("size", f"{size:,} bytes, {before / size:.1f}x less than float32{narrow}")
    out.print(table)
    out.print()
    out.print(_layers(metrics["layers"]))
    out.print()
    out.print(_runtimes(metrics["runtimes"]))
    for name, found in metrics["runtimes"].items():
        if found["mismatches"]:
            out.print(f"{name}: {found['first_mismatch']}")
    out.print()
    table, stage = plain(), folder / "quant"
    names = [name for name in metrics["files"] if "/" not in name]
    written = ["metrics.json", "manifest.json", "model.safetensors", *names]
    if any("/" in name for name in metrics["files"]):
        written.append("golden/")
    table.add_row("written", f"{stage}/{', '.join(written)}")
    pictures = sorted(path.name for path in stage.glob("*.png"))
    table.add_row("pictures", ", ".join(pictures))
    run = shlex.quote(str(folder))
    table.add_row("next", f"python -m accel verify --run {run}")
    table.add_row("", f"python -m quant predict --run {run} IMAGE.png")
    out.print(table)


def _layers(layers: Sequence[dict]) -> Table:
    table = right("layer", "bits w/a", "output", "multipliers", "shift", "sum bits",
                   "saturated %", "bytes")  # fmt: skip
    for one in layers:
        low, high = one["multipliers"]
        table.add_row(
            one["name"], f"{one['weight_bits']}/{one['activation_bits']}", one["output"],
            f"{low}..{high}", str(one["shift"]), str(one["accumulator_bits"]),
            f"{100 * one['saturation_rate']:.3f}", f"{one['size_bytes']:,}",
        )  # fmt: skip
    return table


def _runtimes(runtimes: dict) -> Table:
    table = right("runtime", "images", "logits", "mismatches")
    for name, found in runtimes.items():
        counts = (found["images"], found["logits"], found["mismatches"])
        table.add_row(name, *(f"{count:,}" for count in counts))
    return table


def right(first: str, *rest: str, least: Sequence[str] = ()) -> Figures:
    """A table of figures behind names; `least` are the columns that go first."""
    return Figures(first, *rest, least=least)


def print_checks(checks: dict[str, str], folder: Path) -> None:
    """One line for each thing that was checked: "ok", or what is wrong."""
    table = plain()
    for name, found in checks.items():
        table.add_row(name, found or "ok")
    out = console()
    out.print(table)
    wrong = sum(bool(found) for found in checks.values())
    verdict = f"{wrong} of {len(checks)} checks failed" if wrong else "everything agrees"
    out.print(f"\n{folder / 'quant'}: {verdict}")


def print_predictions(predictions: Sequence[dict]) -> None:
    """The most likely classes of each picture."""
    table = Figures("picture", "class", "probability", "then", words=2)
    for one in predictions:
        if "class" not in one:
            table.add_row(one["picture"], str(one["outputs"]), "", "")
            continue
        others = ", ".join(
            f"{o['class']} {100 * o['probability']:.1f} %" for o in one["then"]
        )
        probability = f"{100 * one['probability']:.1f} %"
        table.add_row(one["picture"], one["class"], probability, others)
    console().print(table)
    for one in predictions:
        if one["hint"]:
            console().print(f"hint     {one['picture']}: {one['hint']}")
        if "input" in one:
            console().print(f"written  {one['input']}: what the network saw")
