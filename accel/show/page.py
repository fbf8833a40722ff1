"""The page that a verification writes: one HTML file, nothing to fetch, no script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2
from markupsafe import Markup

from accel.machines.counters import PHASES
from accel.show import bars, flow, roofline
from accel.show.flow import Flow
from accel.show.inline import source_hash, template
from accel.show.probes import section

_MOST_SCORES = 20


def report(
    report: Mapping[str, Any],
    *,
    flow: Flow | None,
    compare: Mapping[str, Any] | None,
    probes: Mapping[str, Mapping[str, Any]],
    step_href: str | None,
) -> str:
    """report.html of a run, from report.json, compare.json and the stages' probes.json.

    Names and classes come from outside and are escaped; the page's policy lets no script
    and no address in, and names its one style sheet by hash. What is None is left out.
    """
    style = template("report.css")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"n": _count, "pct": _percent, "num": _number, "text": _text}
    return environment.get_template("report.html").render(
        policy=(
            f"default-src 'none'; style-src '{source_hash(style)}'; img-src data:; "
            f"base-uri 'none'; form-action 'none'"
        ),
        style=Markup(style),
        report=report,
        **_verdict(report),
        layers=[_layer(layer, report) for layer in report["layers"]],
        phases=_phases(report),
        phase_names=[p for p in PHASES if report["phases"][p]],
        bars=bars,
        roof=_roof(report),
        flow=None if flow is None else _flow(flow),
        compare=None if compare is None else _compare(compare, report["machine"]),
        probes={stage: section(probe) for stage, probe in probes.items()},
        step_href=step_href,
    )


def _verdict(report: Mapping[str, Any]) -> dict[str, Any]:
    """Totals, and every reason against; the page says verified only if there is none."""
    layers = report["layers"]
    differing = [layer for layer in layers if layer["mismatches"]]
    uneven = [
        layer
        for layer in layers
        if layer["cycles_simulated"] != layer["cycles_closed_form"]
    ]
    reasons = [
        f"{_count(layer['mismatches'])} of {_count(layer['compared'])} values of layer "
        f"{layer['name']} differ from the normative network."
        for layer in differing
    ] + [
        f"Layer {layer['name']} took {_count(layer['cycles_simulated'])} cycles; its "
        f"closed form says {_count(layer['cycles_closed_form'])}."
        for layer in uneven
    ]
    reasons += [
        f"{_count(other['mismatches'])} of {_count(other['compared'])} outputs of layer "
        f"{other['name']} differ from the normative network."
        for other in report["others"]
        if other["mismatches"]
    ]
    reasons += [
        f"Layer {name} counted something else than its closed form."
        for name in report["miscounted"]
    ]
    if not report["verified"] and not reasons:
        reasons = ["The report does not call this run verified."]
    return {
        "reasons": reasons,
        "compared": report["compared"],
        "stepped": sum(layer["stepped"] for layer in layers),
        "simulated": sum(layer["cycles_simulated"] for layer in layers),
    }


def _layer(layer: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    """A layer of the report, with what the tables say of it besides."""
    whole = sum(one["cycles_simulated"] for one in report["layers"])
    share = layer["cycles_simulated"] / whole
    name, images = layer["name"], report["images"]
    parts = [(phase, layer["phases"][phase]) for phase in PHASES]
    told = ", ".join(f"{phase} {_count(count)}" for phase, count in parts if count)
    K, N, macs = layer["K"], layer["N"], layer["macs"]
    return {
        "repeats": 0,
        **layer,
        "share": share,
        "share_bar": bars.bar(share, f"{name}: {_percent(share)} of the cycles"),
        "utilization_bar": bars.bar(
            layer["utilization"],
            f"{name}: utilisation {_percent(layer['utilization'])}",
            "used",
        ),
        "phases_bar": bars.phases_bar(parts, f"{name}: {told}"),
        # Of all images: M * K inputs are macs / N, and M * N sums are macs / K.
        "each_input": layer["input_fetches"] / (macs / N),
        "each_weight": layer["weight_fetches"] / (K * N * layer.get("repeats", 1) * images),
        "each_sum": (layer["sum_reads"] + layer["sum_writes"]) / (macs / K),
    }


def _phases(report: Mapping[str, Any]) -> dict[str, Any]:
    counts = [(phase, report["phases"][phase]) for phase in PHASES]
    told = ", ".join(f"{phase} {_count(count)}" for phase, count in counts if count)
    return {"counts": dict(counts), "bar": bars.phases_bar(counts, f"All layers: {told}")}


def _roof(report: Mapping[str, Any]) -> dict[str, Any] | None:
    roof = roofline.roof(report["settings"], report["multipliers"])
    if roof is None:
        return None
    # The vector unit has a roof of its own.
    layers = [layer for layer in report["layers"] if layer.get("way") != "vector"]
    if not layers:
        return None
    dots = [roofline.point(layer) for layer in layers]
    rows = [
        {
            "dot": dot,
            "bound": roof.bound(dot.intensity),
            "slope": roof.bound(dot.intensity) < roof.multipliers,
            "reached": dot.macs_per_cycle / roof.bound(dot.intensity),
        }
        for dot in dots
    ]
    return {"roof": roof, "rows": rows, "figure": roofline.draw(roof, dots)}


def _flow(shown: Flow) -> dict[str, Any]:
    logits = [logit for _, logit in shown.scores]
    low, high = min([0, *logits]), max([0, *logits])
    scores = [
        {
            "name": name,
            "logit": logit,
            "bar": bars.signed_bar(logit, low, high, f"{name}: {_count(logit)}"),
            "best": logit == max(logits),
        }
        for name, logit in shown.scores
    ]
    if len(scores) > _MOST_SCORES:
        scores = sorted(scores, key=lambda one: -one["logit"])[:_MOST_SCORES]
    return {
        "image": flow.image(shown.image),
        "size": " × ".join(map(str, shown.image.shape)),
        "label": shown.label,
        "graph": shown.graph,
        "left_out": shown.left_out,
        "layers": [
            {
                "name": name,
                "picture": flow.activations(values),
                "size": " × ".join(map(str, values.shape)),
                "least": int(values.min()),
                "largest": int(values.max()),
                "low": low,
                "high": high,
            }
            for name, values, low, high in shown.layers
        ],
        "scores": scores,
        "classes": len(shown.scores),
    }


def _compare(compare: Mapping[str, Any], own: str) -> dict[str, Any] | None:
    machines = compare["machines"]
    if not machines:
        return None
    scale = bars.decades(one["cycles_per_image"] for one in machines)
    rows = [
        {
            **one,
            "own": one["machine"] == own,
            "bar": bars.bar(
                scale.share(one["cycles_per_image"]),
                f"{one['machine']}: {_number(one['cycles_per_image'])} cycles per image",
            ),
        }
        for one in machines
    ]
    return {"rows": rows, "axis": bars.axis(scale)}


def _count(value: int) -> str:
    """A whole number with its thousands apart, and a true minus sign."""
    return f"{value:,}".replace("-", "−")


def _number(value: float) -> str:
    """Whole as it is, large without decimals, small with three figures."""
    if value == int(value) or abs(value) >= 1000:
        return _count(round(value))
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:#.3g}"


def _percent(fraction: float) -> str:
    """One decimal; what is not all is not called 100 %, nor what is not none 0 %."""
    text = f"{100 * fraction:.1f}"
    if text == "100.0" and fraction < 1:
        text = "99.9"
    if text == "0.0" and fraction > 0:
        text = "< 0.1"
    return f"{text} %"


def _text(value: Any) -> str:
    """A value of any kind, as a table shows it."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return _count(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
