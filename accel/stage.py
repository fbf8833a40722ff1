"""The accelerator stage: from a quantised run to `runs/<name>/accel/`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from accel import campaign, compare, page, perfetto, report, step, subject, timing, vcd
from accel.faults import Fault
from accel.flow import Flow
from accel.machine import Systolic
from accel.matmul import Setup
from accel.subject import Subject
from accel.verify import verify
from configs.errors import InputError
from quant import normative
from quant.network import IntNetwork
from train import rundir
from train.versions import versions

PACKAGES = ("jax", "jaxlib", "numpy")
COMPARISON = "compare.json"
# What a verification may write, beside report.json.
REPORT, PAGE, STEPS = "report.json", "report.html", "step.html"
TIMELINE, WAVES = "trace.json", "tile.vcd"
FAULTS = "faults.json"


def run_verify(
    folder: Path,
    setup: Setup,
    *,
    images: int | None,
    clock_mhz: float = report.CLOCK_MHZ,
    command: str = "",
    overwrite: bool = False,
    begin: Callable[[str, int], None] = lambda text, total: None,
    done: Callable[[int], None] = lambda cycles: None,
) -> dict[str, Any]:
    """Verifies a quantised run on a machine and writes what was found; returns report.json.

    Args:
      images: test images; None for all.
      command: what reproduces the report.
      begin: told what is about to be stepped, and how many cycles that is.
      done: told the cycles of each layer when they are stepped.

    Raises:
      InputError: run and machine do not go together, or a report exists; nothing is
        written.
      Lost: a result did not come out of the machine.
    """
    out = folder / "accel" / setup.machine.name
    if (out / REPORT).exists() and not overwrite:
        raise InputError(
            f"`--run` (={folder}) already holds a report of {setup.machine.name}; replace "
            f"it with --overwrite."
        )
    given = subject.load(folder, images)
    layers = timing.layers(
        setup.machine, given.network.network, len(given.images), setup.batch
    )
    begin(setup.machine.name, sum(counters.cycles for _, counters in layers))
    began = time.monotonic()
    verified = verify(given.network, given.images, setup, done=done)
    found = report.report(
        given, verified, clock_mhz=clock_mhz, wall_s=time.monotonic() - began
    )
    found |= {"command": command, "versions": versions(PACKAGES)}
    contents = _pages(folder, setup, given, found)
    with rundir.lock(out):
        if overwrite:
            rundir.clear(out, keep=(FAULTS,))
        for name, content in contents.items():
            rundir.write_bytes(out / name, content)
        rundir.write_json(out / REPORT, found)
    return found


def _pages(
    folder: Path, setup: Setup, given: Subject, found: Mapping[str, Any]
) -> dict[str, bytes]:
    """All files for people and their viewers."""
    contents = {TIMELINE: perfetto.encode(dict(found))}
    machine = setup.machine
    if isinstance(machine, Systolic):
        examples = step_examples(machine, given.network, given.images)
        contents[STEPS] = step.page(examples).encode()
        own = [e for e in examples if e.trace.machine.dataflow == machine.dataflow][-1]
        contents[WAVES] = vcd.encode(own.trace, name=machine.name)
    contents[PAGE] = page.report(
        found,
        flow=_flow(given),
        compare=_if_there(folder / "accel" / COMPARISON),
        probes=_probes(folder),
        step_href=STEPS if STEPS in contents else None,
    ).encode()
    return contents


def step_examples(
    machine: Systolic, network: IntNetwork | None = None, images: Any = ()
) -> list[step.Example]:
    """The lecture's walk-through in all dataflows, and a tile of each of two layers."""
    small = [step.small_example(dataflow) for dataflow in ("ws", "os", "is")]
    if network is None:
        return small
    sides = {s: min(getattr(machine, s), step.LARGEST) for s in ("rows", "cols")}
    names = list(network.weighted)[:2]
    return small + [
        step.tile_of(network, name, images, Systolic(dataflow=dataflow, **sides))
        for name in reversed(names)
        for dataflow in ("ws", "os", "is")
    ]


def _flow(given: Subject) -> Flow:
    """One image and what every layer makes of it."""
    steps = list(normative.steps(given.network, given.images[:1]))
    outputs = steps[-1].output[0]
    names = given.network.classes or tuple(f"output {i}" for i in range(len(outputs)))
    label = None if given.labels is None else given.network.classes[given.labels[0]]
    return Flow(
        image=given.images[0],
        layers=[
            (s.layer.name, s.output[0], s.layer.output.low, s.layer.output.high)
            for s in steps
        ],
        scores=[(name, int(v)) for name, v in zip(names, outputs, strict=True)],
        label=label,
    )


def _probes(folder: Path) -> dict[str, dict[str, Any]]:
    """Robustness probes of the stages, where they were run."""
    found = {s: _if_there(folder / s / "probes.json") for s in ("train", "quant")}
    return {stage: probes for stage, probes in found.items() if probes is not None}


def _if_there(path: Path) -> dict[str, Any] | None:
    return rundir.read_json(path) if path.exists() else None


def run_compare(
    folder: Path,
    *,
    rows: int,
    cols: int,
    images: int,
    batch: int,
    clock_mhz: float = report.CLOCK_MHZ,
    most_cycles: int = compare.MOST_CYCLES,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Puts all machines side by side on a quantised run; writes and returns compare.json.

    Raises:
      InputError, Lost: as `run_verify`.
    """
    path = folder / "accel" / COMPARISON
    if path.exists() and not overwrite:
        raise InputError(
            f"`--run` (={folder}) already holds a comparison; replace it with --overwrite."
        )
    given = subject.load(folder, images)
    found = compare.compare(
        given, rows=rows, cols=cols, batch=batch, clock_mhz=clock_mhz,
        most_cycles=most_cycles, say=say,
    )  # fmt: skip
    found |= {"manifest_sha256": given.sha256, "versions": versions(PACKAGES)}
    with rundir.lock(folder / "accel"):
        rundir.write_json(path, found)
    return found


def run_faults(
    folder: Path,
    setup: Setup,
    faults: Sequence[Fault],
    *,
    images: int,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Follows faults through a quantised run; writes and returns faults.json.

    Raises:
      InputError, Lost: as `run_verify`.
    """
    out = folder / "accel" / setup.machine.name
    if (out / FAULTS).exists() and not overwrite:
        raise InputError(
            f"`--run` (={folder}) already holds faults of {setup.machine.name}; replace "
            f"them with --overwrite."
        )
    given = subject.load(folder, images)
    found = campaign.run(given, setup, faults, say=say)
    found |= {"manifest_sha256": given.sha256, "versions": versions(PACKAGES)}
    with rundir.lock(out):
        rundir.write_json(out / FAULTS, found)
    return found
