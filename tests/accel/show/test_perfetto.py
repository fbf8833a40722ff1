"""A drawn run is what its report says: nothing lost, nothing twice, nothing overlapping."""

import copy
import json
import subprocess
import sys
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest

from accel.machines.counters import FETCHES, PHASES, total
from accel.machines.machine import Dot, Systolic
from accel.predict import timing
from accel.show import perfetto
from accel.simulate import trace
from configs.errors import InputError
from configs.network import Conv, Dense, Flatten, Network, Pool

HOSTILE = [
    '","ph":"X","args":{}},{"name":"',
    "</script><img src=x onerror=alert(1)>",
    "a\nb\tc\\ \u2028 \0 \ud800",
    "名前",
    "",
]
NETWORK = Network(
    input_shape=(8, 8, 2),
    layers=(Conv(features=5), Pool(), Flatten(), Dense(features=7)),
)
SHADOW = Systolic(rows=4, cols=3, weights="shadow", load="global")


def report_of(machine, images: int = 5, batch: int = 2) -> dict:
    """What a run reports, as far as it is drawn; the counts are the closed forms'."""
    found = list(timing.layers(machine, NETWORK, images, batch))
    whole = total([counters for _, counters in found])
    layers = [
        {
            "name": gemm.name,
            **{size: getattr(gemm, size) for size in "MKN"},
            **{name: getattr(counters, name) for name in ("tiles", "macs", *FETCHES)},
            "cycles_simulated": counters.cycles,
            "utilization": counters.utilization,
            "phases": {phase: getattr(counters, phase) for phase in PHASES},
        }
        for gemm, counters in found
    ]
    return {
        "machine": machine.name,
        "images": images,
        "batch": batch,
        "layers": layers,
        "total_cycles": whole.cycles,
    }


def drawn(content: bytes) -> tuple[dict, dict[str, list], dict[str, list]]:
    """The file's facts, its slices by the name of their track, its counters by name."""
    file = json.loads(content)
    events = file.pop("traceEvents")
    assert {event["pid"] for event in events} == {1}
    names = {
        event["tid"]: event["args"]["name"]
        for event in events
        if event["name"] == "thread_name" and event["ph"] == "M"
    }
    tracks, counters = {name: [] for name in names.values()}, defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            tracks[names[event["tid"]]].append(event)
        elif event["ph"] == "C":
            counters[event["name"]].append((event["ts"], event["args"]))
    return file, tracks, counters


def end(one: dict) -> int:
    return one["ts"] + one["dur"]


def one_after_the_other(track: list) -> bool:
    return all(end(before) <= after["ts"] for before, after in pairwise(track))


def faithful(content: bytes, report: dict) -> bool:
    """Slices touch, nest, and have the durations of the report."""
    _, tracks, _ = drawn(content)
    layers, phases = tracks["layers"], tracks["phases of each layer"]
    good = layers[0]["ts"] == 0 and end(layers[-1]) == report["total_cycles"]
    good &= all(end(before) == after["ts"] for before, after in pairwise(layers))
    good &= one_after_the_other(phases) and len(layers) == len(report["layers"])
    for one, layer in zip(layers, report["layers"], strict=False):
        inside = [p for p in phases if one["ts"] <= p["ts"] and end(p) <= end(one)]
        durations = {p["name"]: p["dur"] for p in inside}
        good &= durations == {p: n for p, n in layer["phases"].items() if n}
        good &= sum(durations.values()) == one["dur"] and len(inside) == len(durations)
        good &= all(p["args"]["layer"] == layer["name"] for p in inside)
    return good & (sum(p["dur"] for p in phases) == report["total_cycles"])


@pytest.mark.parametrize("machine", [Systolic(rows=3, cols=4), SHADOW, Dot(multipliers=6)])
def test_slices_nest_and_add_up_to_the_cycles_of_the_report(machine):
    report = report_of(machine)
    assert len(report["layers"]) == 2
    assert faithful(perfetto.encode(report), report)


def stuck(layer, summed, start):
    """Every layer begins at 0."""
    return perfetto_layer(layer, summed, 0)


def short(layer, summed, start):
    """A phase too few."""
    return list(perfetto_layer(layer, summed, start))[:1]


perfetto_layer = perfetto._layer


@pytest.mark.parametrize("fault", [stuck, short])
def test_a_planted_fault_is_seen(fault, monkeypatch):
    report = report_of(SHADOW)
    monkeypatch.setattr(perfetto, "_layer", fault)
    assert not faithful(perfetto.encode(report), report)


def test_every_layer_shows_its_numbers_and_says_what_is_summed():
    report = report_of(SHADOW)
    _, tracks, _ = drawn(perfetto.encode(report))
    for one, layer in zip(tracks["layers"], report["layers"], strict=True):
        assert one["name"] == layer["name"]
        for name in ("M", "K", "N", "tiles", "macs", "utilization", *FETCHES):
            assert one["args"][name] == layer[name]
    tiles = {layer["name"]: layer["tiles"] for layer in report["layers"]}
    for one in tracks["layers"] + tracks["phases of each layer"]:
        count = tiles[one["args"].get("layer", one["name"])]
        summed = f"{count} tiles of 5 images in batches of 2, drawn as one"
        assert one["args"]["summed"] == summed
        assert one["args"]["tiles"] == count


def test_the_counters_are_rates_that_hold_for_a_layer_and_end_at_nothing():
    report = report_of(SHADOW)
    _, _, counters = drawn(perfetto.encode(report))
    assert set(counters) == {"utilization", "words per cycle"}
    start = 0
    for index, layer in enumerate(report["layers"]):
        share, words = {"useful share of slots": layer["utilization"]}, {}
        for name in FETCHES:
            words[name] = layer[name] / layer["cycles_simulated"]
        assert counters["utilization"][index] == (start, share)
        assert counters["words per cycle"][index] == (start, words)
        start += layer["cycles_simulated"]
    for values in counters.values():
        assert values[-1] == (report["total_cycles"], dict.fromkeys(values[-1][1], 0))
        assert len(values) == len(report["layers"]) + 1


def test_the_file_says_what_a_microsecond_is():
    facts, *_ = drawn(perfetto.encode(report_of(SHADOW)))
    assert facts["displayTimeUnit"] in ("ms", "ns"), "nothing else is in the format"
    assert facts["otherData"]["unit"] == "1 microsecond in the viewer is 1 clock cycle"
    assert facts["otherData"]["machine"] == SHADOW.name


@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_names(name):
    """The events are the same as with a harmless name, but for the name."""
    report = report_of(SHADOW)
    harmless = json.loads(perfetto.encode(report))
    report["machine"] = report["layers"][0]["name"] = name
    content = perfetto.encode(report)
    assert content.isascii()
    assert content.count(b"\n") == 1
    hostile = json.loads(content)
    _, tracks, _ = drawn(content)
    assert tracks["layers"][0]["name"] == name
    assert hostile["otherData"]["machine"] == name
    shapes = [[(e["ph"], e["tid"], e["ts"]) for e in file["traceEvents"]]
              for file in (harmless, hostile)]  # fmt: skip
    assert shapes[0] == shapes[1]


def test_a_layer_without_cycles_is_a_slice_without_length():
    report = report_of(SHADOW)
    empty = copy.deepcopy(report["layers"][0]) | {"name": "none", "cycles_simulated": 0}
    empty["phases"] = dict.fromkeys(PHASES, 0)
    report["layers"].insert(1, empty)
    _, tracks, counters = drawn(perfetto.encode(report))
    assert [one["name"] for one in tracks["layers"]][1] == "none"
    assert tracks["layers"][1]["dur"] == 0
    assert len(counters["utilization"]) == len(report["layers"])


def without(name):
    return lambda report: report["layers"][1].pop(name)


def with_value(name, value):
    return lambda report: report["layers"][1].update({name: value})


def in_phases(name, value):
    return lambda report: report["layers"][1]["phases"].update({name: value})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: r.pop("machine"), r"`machine` \(=None\) .* must be text"),
        (lambda r: r.update(images="5"), r"`images` \(='5'\) .* a whole number"),
        (lambda r: r.update(layers=[]), r"`layers` \(=\[\]\) .* a filled list"),
        (lambda r: r.update(layers=[1]), r"`layers\[0\].phases` \(=1\) .* an object"),
        (lambda r: r.update(total_cycles=9), r"`total_cycles` \(=9\) .* over its layers"),
        (without("name"), r"`layers\[1\].name` \(=None\) .* must be text"),
        (without("K"), r"`layers\[1\].K` \(=None\) .* must be a whole number"),
        (with_value("tiles", -1), r"`layers\[1\].tiles` \(=-1\)"),
        (with_value("macs", True), r"`layers\[1\].macs` \(=True\)"),
        (with_value("utilization", float("nan")), r"utilization` \(=nan\) .* in 0..1"),
        (with_value("cycles_simulated", 3), r"cycles_simulated` \(=3\) .* of its phases"),
        (in_phases("drain", 1.5), r"`layers\[1\].phases.drain` \(=1.5\) .* whole number"),
    ],
)
def test_a_damaged_report_is_refused_by_the_place(damage, message):
    report = report_of(SHADOW)
    damage(report)
    with pytest.raises(InputError, match=message + ".*; make the report again with"):
        perfetto.encode(report)


def recorded(dataflow: str) -> trace.Trace:
    draw = np.random.default_rng(7)
    x = draw.integers(0, 256, (5, 4), dtype=np.uint8)
    w = draw.integers(-127, 128, (4, 5), dtype=np.int8)
    return trace.record(Systolic(rows=3, cols=2, dataflow=dataflow), x, w)


def shows(content: bytes, run: trace.Trace) -> bool:
    """Every captured sum at its cycle and column, every cycle in its phase, and no more."""
    _, tracks, counters = drawn(content)
    phases = tracks.pop("phases")
    named = [one["name"] for one in phases for _ in range(one["dur"])]
    good = tuple(named) == run.phases and one_after_the_other(phases)
    good &= all(a["name"] != b["name"] for a, b in pairwise(phases))
    found = np.full(run.captured.shape, None)
    for column in range(run.machine.cols):
        track = tracks.pop(f"results of column {column}")
        good &= one_after_the_other(track) and all(one["dur"] == 1 for one in track)
        for one in track:
            found[one["ts"], column] = int(one["name"])
            seen = {"cycle": one["ts"], "column": column, "sum": int(one["name"])}
            good &= one["args"] == seen
    good &= np.array_equal(found, np.where(run.captured_valid, run.captured, None))
    working = [(at, args["PEs"]) for at, args in counters["working PEs"]]
    counts = [*run.registers["valid"].sum((1, 2)).tolist(), 0]
    return bool(good and not tracks and working == list(enumerate(counts)))


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_a_trace_is_drawn_cycle_by_cycle(dataflow):
    run = recorded(dataflow)
    content = perfetto.tiles(run)
    assert shows(content, run)
    results = json.loads(content)["otherData"]
    assert (results["M"], results["K"], results["N"]) == (5, 4, 5)
    at = tuple(np.argwhere(run.captured_valid)[3])
    run.captured[at] ^= 1
    assert not shows(content, run), "or the comparison proves nothing"


def test_a_trace_with_too_many_results_is_refused(monkeypatch):
    run = recorded("ws")
    monkeypatch.setattr(perfetto, "MOST_RESULTS", 60)
    perfetto.tiles(run)
    monkeypatch.setattr(perfetto, "MOST_RESULTS", 59)
    with pytest.raises(InputError, match=r"`trace` \(=60 results of .*at most 59.*; take"):
        perfetto.tiles(run)


def test_a_report_is_drawn_without_jax():
    code = "import sys, accel.show.perfetto; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
