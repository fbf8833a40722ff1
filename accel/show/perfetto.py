"""Where the cycles go, as a trace that chrome://tracing and ui.perfetto.dev open.

One microsecond in the viewer is one clock cycle. A run is drawn layer by layer, with the
phases of all tiles and batches of a layer summed, since a report holds no more; a trace
of a small product is drawn cycle by cycle.

Reference: Trace Event Format (Duffy and others, Google), sections "Complete Events",
"Counter Events" and "Metadata Events".
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from accel.machines.counters import FETCHES, PHASES
from configs.checks import brief
from configs.errors import InputError

if TYPE_CHECKING:
    # A trace comes from JAX, which reading a report does not need.
    from accel.simulate.trace import Trace

# Results of a drawn trace: about 100 bytes each in the file.
MOST_RESULTS = 1 << 19
_PROCESS = 1
_UNIT = "1 microsecond in the viewer is 1 clock cycle"
_SIZES = ("M", "K", "N", "tiles", "macs", "cycles_simulated", *FETCHES)

Event = dict[str, Any]


def encode(report: dict) -> bytes:
    """A run from the content of its report.json: a slice for every layer and phase.

    Raises:
      InputError: something is missing, or cycles do not add up.
    """
    _check(report)
    events = [*_named(report["machine"], {1: "layers", 2: "phases of each layer"})]
    images, start = f"{report['images']} images in batches of {report['batch']}", 0
    for layer in report["layers"]:
        events += _layer(layer, f"{layer['tiles']} tiles of {images}, drawn as one", start)
        start += layer["cycles_simulated"]
    events += _counters(start, 0.0, dict.fromkeys(FETCHES, 0.0))
    facts = {name: report[name] for name in ("machine", "images", "batch", "total_cycles")}
    return _file(events, facts)


def tiles(trace: Trace) -> bytes:
    """A small product cycle by cycle: phases, the results of each column, working PEs.

    Raises:
      InputError: there are more results than can be looked at.
    """
    machine, results = trace.machine, int(np.count_nonzero(trace.captured_valid))
    if results > MOST_RESULTS:
        raise InputError(
            f"`trace` (={results} results of {machine.name}) must have at most "
            f"{MOST_RESULTS} to be drawn; take fewer items or a smaller array."
        )
    columns = range(machine.cols)
    tracks = {1: "phases"} | {c + 2: f"results of column {c}" for c in columns}
    events = [*_named(machine.name, tracks)]
    for phase, group in groupby(range(trace.cycles), key=trace.phases.__getitem__):
        edges = list(group)
        events.append(_slice(1, phase, edges[0], len(edges), {"cycles": len(edges)}))
    for cycle, column in np.argwhere(trace.captured_valid).tolist():
        value = int(trace.captured[cycle, column])
        seen = {"cycle": cycle, "column": column, "sum": value}
        events.append(_slice(column + 2, str(value), cycle, 1, seen))
    working = trace.registers["valid"].sum((1, 2)).tolist()
    for cycle, count in enumerate([*working, 0]):
        events.append(_counter("working PEs", cycle, {"PEs": count}))
    (M, K), N = trace.x.shape, trace.w.shape[1]
    facts = {"machine": machine.name, "M": M, "K": K, "N": N, "total_cycles": trace.cycles}
    return _file(events, facts)


def _check(report: dict) -> None:
    for name in ("images", "batch", "total_cycles"):
        _require_count(report, "", name)
    _require(isinstance(report.get("machine"), str), "machine", report, "text")
    layers = report.get("layers")
    _require(isinstance(layers, list) and bool(layers), "layers", report, "a filled list")
    for index, layer in enumerate(layers):
        where = f"layers[{index}]."
        good = isinstance(layer, dict) and isinstance(layer.get("phases"), dict)
        _require(good, where + "phases", {"phases": layer}, "an object")
        _require(isinstance(layer.get("name"), str), where + "name", layer, "text")
        for name in _SIZES:
            _require_count(layer, where, name)
        for name in PHASES:
            _require_count(layer["phases"], where + "phases.", name)
        used = layer.get("utilization")
        fraction = type(used) in (int, float) and math.isfinite(used) and 0 <= used <= 1
        _require(fraction, where + "utilization", layer, "a number in 0..1")
        cycles = sum(layer["phases"][name] for name in PHASES)
        rule = f"the sum of its phases, {cycles}"
        fits = layer["cycles_simulated"] == cycles
        _require(fits, where + "cycles_simulated", layer, rule)
    cycles = sum(layer["cycles_simulated"] for layer in layers)
    rule = f"the sum over its layers, {cycles}"
    _require(report["total_cycles"] == cycles, "total_cycles", report, rule)


def _require_count(record: dict, where: str, name: str) -> None:
    good = type(record.get(name)) is int and record[name] >= 0
    _require(good, where + name, record, "a whole number, 0 or more")


def _require(rule: bool, path: str, record: dict, must: str) -> None:
    if not rule:
        value = record.get(path.rpartition(".")[2])
        raise InputError(
            f"`{path}` (={brief(value)}) of the report must be {must}; make the report "
            f"again with `python -m accel verify`."
        )


def _layer(layer: dict, summed: str, start: int) -> Iterator[Event]:
    cycles, at = layer["cycles_simulated"], start
    seen = {name: layer[name] for name in (*_SIZES, "utilization")}
    yield _slice(1, layer["name"], start, cycles, seen | {"summed": summed})
    for phase in PHASES:
        count = layer["phases"][phase]
        if count:
            seen = {"layer": layer["name"], "cycles": count, "tiles": layer["tiles"]}
            yield _slice(2, phase, at, count, seen | {"summed": summed})
        at += count
    if cycles:
        words = {name: layer[name] / cycles for name in FETCHES}
        yield from _counters(start, float(layer["utilization"]), words)


def _counters(at: int, utilization: float, words: dict[str, float]) -> Iterator[Event]:
    yield _counter("utilization", at, {"useful share of slots": utilization})
    yield _counter("words per cycle", at, words)


def _slice(track: int, name: str, at: int, cycles: int, seen: Event) -> Event:
    place = {"pid": _PROCESS, "tid": track, "ts": at, "dur": cycles}
    return {"ph": "X", "name": name, "cat": "cycles", **place, "args": seen}


def _counter(name: str, at: int, values: Event) -> Event:
    return {"ph": "C", "name": name, "pid": _PROCESS, "tid": 1, "ts": at, "args": values}


def _named(process: str, tracks: dict[int, str]) -> Iterator[Event]:
    yield _label("process_name", 1, name=process)
    yield _label("process_labels", 1, labels=_UNIT)
    for track, name in tracks.items():
        yield _label("thread_name", track, name=name)
        yield _label("thread_sort_index", track, sort_index=track)


def _label(kind: str, track: int, **values: str | int) -> Event:
    place = {"pid": _PROCESS, "tid": track, "ts": 0}
    return {"ph": "M", "name": kind, **place, "args": values}


def _file(events: list[Event], facts: Event) -> bytes:
    content = {
        "displayTimeUnit": "ms",
        "otherData": {"unit": _UNIT, "made_by": "Lockstep", **facts},
        "traceEvents": events,
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return (text + "\n").encode()
