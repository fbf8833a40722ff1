"""The TPU's figures as tables: on a terminal, and in markdown for the README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from accel.tpu.paper import paper
from accel.tpu.paper.calibration import Predicted
from quant.summary import console, plain, right

_SHARES = {
    "active": "array active",
    "useful": "  useful MACs",
    "unused": "  unused MACs",
    "weight_stall": "weight stall",
    "weight_shift": "weight shift",
    "non_matrix": "non-matrix",
    "raw_stall": "  RAW stall",
    "input_stall": "  input stall",
    "accumulator_stall": "  accumulator stall",
    "drain": "  drain",
}

_OTHER_MODEL = (
    "`python -m accel cost --machine tpu_v1` models the same chip by its memory: there "
    "maps share the DRAM with the weights, go out and back where they do not fit, and "
    "weights are as many bytes as there are; here they come in whole tiles."
)


def show(found: Mapping[str, Any], out: Console | None = None) -> None:
    """What `explain` found: shares, layers, roofline."""
    out = out or console()
    roof, head = found["roofline"], plain()
    head.add_row("machine", _machine(found["machine"]))
    head.add_row(
        "time",
        f"{found['ms_per_batch']:.3f} ms a batch of {found['batch']}, "
        f"{found['inferences_per_s']:,.0f} inferences/s; {found['batches']} batches "
        f"back to back, {found['cycles']:,} cycles",
    )
    head.add_row(
        "roofline",
        f"{roof['macs_per_weight_byte']:,.1f} MACs a weight byte, ridge "
        f"{roof['ridge']:,.0f}: bound by {roof['bound']}; {roof['tops']:.2f} TOPS under "
        f"a roof of {roof['roof_tops']:.2f}",
    )
    if not found["agrees"]:
        head.add_row("DIFFERS", f"the closed form says {found['cycles_closed_form']:,}")
    balance = found["balance"]
    head.add_row(
        "balance",
        f"weights {balance['weights_ms']:.3g} ms, MACs {balance['macs_ms_per_image']:.3g} "
        f"ms an image at peak: equal at batch {balance['batch']:.1f}",
    )
    buffer = found["unified_buffer"]
    if buffer:
        verdict = "fits" if buffer["fits"] else "does NOT fit: cycles leave out the spills"
        needed, held = (buffer[name] / 2**20 for name in ("needed_bytes", "bytes"))
        head.add_row("buffer", f"{needed:.2f} MiB of {held:g}: {verdict}")
    out.print(head)
    out.print()
    out.print(_share_table(found))
    out.print()
    out.print(_layer_table(found["layers"]))
    out.print(f"\n{_OTHER_MODEL}")


def _machine(machine: Mapping[str, Any]) -> str:
    return (
        f"{machine['name']}, {machine['clock_hz'] / 1e6:g} MHz, weights at "
        f"{machine['weight_bandwidth'] / 1e9:.4g} GB/s"
    )


def _share_table(found: Mapping[str, Any]) -> Table:
    published = found.get("published", {})
    made = right("cycles", "ours", *(["published"] if published else []))
    for name, label in _SHARES.items():
        row = [label, f"{100 * found['shares'][name]:.1f} %"]
        if published:
            given = published.get(name)
            row.append(f"{given['value']:.1f} %" if given else "")
        made.add_row(*row)
    return made


def _layer_table(layers: Sequence[Mapping[str, Any]]) -> Table:
    made = right("layer", "rows", "tiles", "fill", "fetched", "bound by", "cycles", "share",
                 least=("rows", "tiles", "fetched", "fill"))  # fmt: skip
    for layer in layers:
        made.add_row(
            layer["name"],
            f"{layer['rows']:,}",
            f"{layer['tiles']:,}",
            f"{100 * layer['fill']:.1f} %",
            f"{layer['fetched_tiles']:,}",
            layer["bound"],
            f"{layer['cycles']:,}",
            f"{100 * layer['share']:.1f} %",
        )
    return made


def show_response(found: Mapping[str, Any], out: Console | None = None) -> None:
    """What `explain.respond` found."""
    out, table = out or console(), plain()
    out.print(_batches(found))
    out.print()
    table.add_row("response", _response(found["response"]))
    best = found["largest_batch"]
    limit = f"within {found['limit_ms']:g} ms at a load of {found['load']:.0%}"
    table.add_row("largest", f"{limit}: " + (_response(best) if best else "no batch"))
    for row in found.get("table_4", ()):
        table.add_row(
            "table 4",
            f"{_response(row['at_that_rate'])}; published {row['published_ms']:g} ms",
        )
    out.print(table)


def _batches(found: Mapping[str, Any]) -> Table:
    """A line for each batch: how long until an answer, and what that is made of."""
    limit = found["limit_ms"]
    made = right(
        "batch", "inferences/s", "fill ms", "wait ms", "run ms", "p99 ms", f"<= {limit:g}"
    )
    for row in found["batches"]:
        made.add_row(
            f"{row['batch']:,}",
            f"{row['per_second']:,.0f}",
            *(f"{row[name]:.2f}" for name in ("fill_ms", "wait_ms", "run_ms")),
            f"{row['response_ms']:.2f}",
            "yes" if row["response_ms"] <= limit else "no",
        )
    return made


def _response(found: Mapping[str, float]) -> str:
    return (
        f"batch {found['batch']}, {found['per_second']:,.0f} inferences/s (load "
        f"{found['load']:.1%}): {found['response_ms']:.2f} ms = fill "
        f"{found['fill_ms']:.2f} + wait {found['wait_ms']:.2f} + run {found['run_ms']:.2f}"
    )


def markdown(predicted: Sequence[Predicted]) -> str:
    """Published, ours, error, declared inputs, and the error of Google's own model."""
    head = (
        "", "TOPS published", "ours", "error", "active", "weight shift",
        "stall + non-matrix", "declared", "Google's model",
    )  # fmt: skip
    lines = [_line(head), _line(["---", *["--:"] * (len(head) - 1)])]
    lines += [_line(_cells(one)) for one in predicted]
    return "\n".join(lines) + "\n"


def _cells(one: Predicted) -> list[str]:
    app = one.app
    half = ", half speed" if app.speed.value > 1 else ""
    fitted = " (fitted)" if app.name == paper.FITTED else ""
    shares = [
        f"{one.published[name]:.1f} / {getattr(one, name):.1f} %"
        for name in ("active", "weight_shift", "stall_and_non_matrix")
    ]
    return [
        app.name,
        f"{app.tops.value:g}",
        f"{one.tops:.2f}{fitted}",
        f"{one.tops_error:+.1f} %",
        *shares,
        f"batch {app.batch.value}, fill {100 * app.fill.value:.1f} %{half}",
        f"{app.model_error.value:g} %",
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
