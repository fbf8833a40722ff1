"""What `python -m accel tpu` prints of a run on the TPU, and of the TPU paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from quant.summary import console, plain, right

_ROWS = (
    ("active", "array active"),
    ("weight_stall", "weight stall"),
    ("weight_shift", "weight shift"),
    ("non_matrix", "non-matrix"),
    ("raw_stall", "  RAW stall"),
    ("input_stall", "  input stall"),
    ("accumulator_stall", "  accumulator stall"),
    ("drain", "  drain"),
)


_WHAT_IF = {
    "memory_x4": "memory x 4",
    "clock_x4": "clock x 4",
    "array_512": "array 512 x 512, tiles by shapes",
}


def print_execution(found: Mapping[str, Any]) -> None:
    """The verdict and the counters of a run."""
    out, table = console(), plain()
    verdict = "VERIFIED" if found["verified"] else "NOT VERIFIED"
    what = "outputs of all layers" if found["layers_compared"] else "logits"
    table.add_row(
        verdict,
        f"{found['mismatches']:,} of {found['compared']:,} values differ ({what}), "
        f"{found['images']:,} images on {found['machine']['name']}, batch {found['batch']}",
    )
    if found["mismatch"]:
        table.add_row("first", found["mismatch"])
    same = found["cycles"] == found["cycles_closed_form"]
    form = "the closed form" if same else f"closed form {found['cycles_closed_form']:,}"
    mhz = found["machine"]["clock_hz"] / 1e6
    table.add_row(
        "cycles",
        f"{found['cycles']:,} ({form}), {found['cycles'] / found['images']:,.0f} an image: "
        f"{found['images_per_s']:,.0f} images/s at {mhz:g} MHz, {found['tops']:.2f} TOPS",
    )
    if found["accuracy"] is not None:
        table.add_row("accuracy", f"{100 * found['accuracy']:.2f} %")
    out.print(table)
    out.print()
    out.print(_counters(found["counts"]))


def _counters(counts: Mapping[str, int]) -> Table:
    made = right("matrix unit", "cycles", "share")
    for name, label in _ROWS:
        share = 100 * counts[name] / counts["cycles"]
        made.add_row(label, f"{counts[name]:,}", f"{share:.1f} %")
    slots = counts["useful_slots"] + counts["unused_slots"]
    useful = 100 * counts["useful_slots"] / slots
    made.add_row("useful MACs", f"{counts['useful_slots']:,}", f"{useful:.1f} %")
    made.add_row("unused MACs", f"{counts['unused_slots']:,}", f"{100 - useful:.1f} %")
    return made


def print_figures(found: Mapping[str, Any]) -> None:
    """The applications of the paper and its examples, published beside ours."""
    out = console()
    fitted = found["bandwidth"]["value"] / 1e9
    out.print(
        f"One parameter, the effective weight bandwidth, is fitted to MLP0's TOPS: "
        f"{fitted:.2f} GB/s of 34.\nDeclared inputs: batch, the published tile fill, LSTMs "
        f"at half speed. Shares are published / ours, in percent of all cycles.\n"
    )
    out.print(_applications(found["apps"]))
    out.print()
    made = right("what if", *found["apps"], "mean", "geometric", "deployed")
    for name, label in _WHAT_IF.items():
        one = found["what_if"][name]
        values = (*one["speedups"].values(), one["arithmetic"], one["geometric"])
        made.add_row(label, *(f"{v:.2f}x" for v in (*values, one["weighted"])))
    out.print(made)
    out.print()
    out.print(_examples(found))


def _examples(found: Mapping[str, Any]) -> Table:
    table, squares = plain(), found["matrix_600"]
    for name, label in (("arithmetic", "mean"), ("deployed", "datacentre mix")):
        tops = found["mean_tops"][name]
        table.add_row(label, f"{tops['ours']:.1f} TOPS (published {tops['published']:.1f})")
    for side, published in squares["published_us"].items():
        fitted, peak = squares["fitted"][side], squares["peak"][side]
        table.add_row(
            "600 x 600",
            f"{side}x{side}: {fitted['tiles']} tiles, {fitted['time_us']:.1f} us, at peak "
            f"bandwidth {peak['time_us']:.1f} us (published {published['value']} us), fill "
            f"{100 * fitted['fill']:.1f} %",
        )
    ridge = found["ridge"]
    table.add_row(
        "ridge",
        f"{ridge['ours']:.0f} MACs a weight byte (published {ridge['published']['value']})",
    )
    vgg16 = found["vgg16"]
    table.add_row(
        "VGG-16",
        f"weights {vgg16['weights_ms']:.2f} ms at 34 GB/s, MACs "
        f"{vgg16['macs_ms_per_image']:.3f} ms at peak: balance at batch "
        f"{vgg16['batch']:.2f}",
    )
    return table


def _applications(apps: Mapping[str, Any]) -> Table:
    made = right(
        "", "TOPS", "ours", "error", "shapes alone", "active", "shift", "stall+other",
        "batch", "fill", "Google's model",
    )  # fmt: skip
    for name, app in apps.items():
        ours, inputs = app["declared"], app["declared_inputs"]
        half = ", half speed" if inputs["speed"]["value"] > 1 else ""
        shares = (ours[n] for n in ("active", "weight_shift", "stall_and_non_matrix"))
        made.add_row(
            name,
            f"{ours['tops']['published']:g}",
            f"{ours['tops']['ours']:.2f}",
            f"{ours['tops']['error_percent']:+.1f} %",
            f"{app['shapes']['tops']['ours']:.2f}",
            *(f"{share['published']:.1f} / {share['ours']:.1f}" for share in shares),
            f"{inputs['batch']['value']}{half}",
            f"{100 * inputs['fill']['value']:.1f} %",
            f"{app['google_model_error']['value']:g} %",
        )
    return made
