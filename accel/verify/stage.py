"""The accelerator stage: from a quantised run to `runs/<name>/accel/`."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import jinja2

from accel.machines.machine import Dataflow, Systolic
from accel.predict import timing
from accel.show import graph, page, perfetto, step, vcd
from accel.show.flow import Flow
from accel.simulate.faults import Fault
from accel.verify import compare, quantised_run, report
from accel.verify import faults as campaign
from accel.verify.quantised_run import QuantisedRun
from accel.verify.run import Setup
from accel.verify.verify import verify
from configs.checks import brief
from configs.errors import InputError
from quant import normative
from quant.network import IntNetwork
from train import rundir
from train.probe import table
from train.versions import versions
from train.where import Where

DATAFLOWS: tuple[Dataflow, ...] = get_args(Dataflow)
PACKAGES = ("jax", "jaxlib", "numpy")
COMPARISON = "compare.json"
# What a verification may write.
REPORT, PAGE, STEPS = "report.json", "report.html", "step.html"
TIMELINE, WAVES = "trace.json", "tile.vcd"
# Result of another command in the same folder.
FAULTS = "faults.json"
# Files of a verification that are written, but not yet in place.
_NEW = ".new"


def run_verify(
    folder: Path,
    setup: Setup,
    *,
    images: int | None,
    where: Where | None = None,
    clock_mhz: float = report.CLOCK_MHZ,
    command: str = "",
    overwrite: bool = False,
    begin: Callable[[str, int], None] = lambda text, total: None,
    done: Callable[[int], None] = lambda cycles: None,
) -> dict[str, Any]:
    """Verifies a quantised run on a machine and writes what was found; returns report.json.

    Args:
      images: test images; None for all.
      where: the data is now, if not where it was trained on.
      command: what reproduces the report.
      begin: told what is about to be stepped, and how many cycles that is.
      done: told the cycles of each layer when they are stepped.

    Raises:
      InputError: run and machine do not go together, or a report exists, or it cannot
        be written; what was there stays.
      LostResultError: a result did not come out of the machine.
    """
    out = folder / "accel" / setup.machine.name
    there = f"a report of {setup.machine.name}"
    refuse_existing(out / REPORT, folder, there, overwrite)
    given = quantised_run.load(folder, images, where)
    layers = timing.layers(
        setup.machine, given.network.network, len(given.images), setup.batch
    )
    with rundir.lock(out):
        # Once more: another process may have written it since.
        refuse_existing(out / REPORT, folder, there, overwrite)
        begin(setup.machine.name, sum(counters.cycles for _, counters in layers))
        found = _found(given, setup, clock_mhz, done) | {"command": command}
        _replace(out, _files(folder, setup, given, found), found)
    return found


def _found(
    given: QuantisedRun, setup: Setup, clock_mhz: float, done: Callable[[int], None]
) -> dict[str, Any]:
    began = time.monotonic()
    verified = verify(given.network, given.images, setup, done=done)
    wall_s = time.monotonic() - began
    return report.report(given, verified, clock_mhz=clock_mhz, wall_s=wall_s) | {
        "peak_memory_bytes": peak_memory_bytes(),
        "versions": versions(PACKAGES),
    }


def peak_memory_bytes() -> int:
    """Most memory that this process has held; `ru_maxrss` is in KiB, on macOS in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def refuse_existing(path: Path, folder: Path, what: str, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise InputError(
            f"`--run` (={folder}) already holds {what}; replace it with --overwrite."
        )


def _replace(out: Path, contents: Mapping[str, bytes], found: Mapping[str, Any]) -> None:
    """Puts all files of a verification in the place of those of the one before.

    They are renamed when all of them are on the disk: what fails before leaves the old
    ones as they are. The report is the last.
    """
    new = out / _NEW
    shutil.rmtree(new, ignore_errors=True)
    try:
        for name, content in contents.items():
            rundir.write_bytes(new / name, content)
        rundir.write_json(new / REPORT, found)
        names = [*contents, REPORT]
        with rundir.writing(out):
            for name in names:
                os.replace(new / name, out / name)
        rundir.clear(out, keep=(FAULTS, *names))
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _files(
    folder: Path, setup: Setup, given: QuantisedRun, found: Mapping[str, Any]
) -> dict[str, bytes]:
    """All files for people and their viewers."""
    contents = {TIMELINE: perfetto.encode(dict(found))}
    machine = setup.machine
    if isinstance(machine, Systolic):
        examples = step_examples(machine, given.network, given.images)
        contents[STEPS] = step.page(examples).encode()
        own = [e for e in examples if e.trace.machine.dataflow == machine.dataflow][-1]
        contents[WAVES] = vcd.encode(
            own.trace, name=machine.name, clock_mhz=found["clock_mhz"]
        )
    compared = _if_there(folder / "accel" / COMPARISON)
    if compared and compared.get("manifest_sha256") != given.sha256:
        # Of another network.
        compared = None
    contents[PAGE] = _page(folder, given, found, compared, STEPS in contents)
    return contents


def _page(
    folder: Path,
    given: QuantisedRun,
    found: Mapping[str, Any],
    compared: Mapping[str, Any] | None,
    steps: bool,
) -> bytes:
    return page.report(
        found,
        flow=_flow(given),
        compare=compared,
        probes=_probes(folder),
        step_href=STEPS if steps else None,
    ).encode()


def step_examples(
    machine: Systolic | None, network: IntNetwork | None = None, images: Any = ()
) -> list[step.Example]:
    """The lecture's walk-through in all dataflows, and what the machine's array adds.

    That is a tile of each of a network's first two layers; without a network, the
    walk-through on an array of that size.
    """
    small = [step.small_example(dataflow) for dataflow in DATAFLOWS]
    if machine is None:
        return small
    if network is None:
        size = (machine.rows, machine.cols)
        own = [step.small_example(d, *size) for d in DATAFLOWS]
        return small if size == (3, 3) else small + own
    sides = {s: min(getattr(machine, s), step.LARGEST) for s in ("rows", "cols")}
    names = list(network.program.titles().values())[:2]
    return small + [
        step.tile_of(network, name, images, Systolic(dataflow=dataflow, **sides))
        for name in reversed(names)
        for dataflow in DATAFLOWS
    ]


def _flow(given: QuantisedRun) -> Flow:
    """One image and what every layer makes of it."""
    steps, program = list(normative.steps(given.network, given.images[:1])), None
    outputs, whole = steps[-1].output[0], len(steps)
    if graph.forks(given.network.program):
        program = given.network.program
    if whole > graph.MOST:
        steps = [s for s in steps if s.layer.name == s.layer.step.nodes[-1].layer]
    names = given.network.classes or tuple(f"output {i}" for i in range(len(outputs)))
    label = None if given.labels is None else names[given.labels[0]]
    return Flow(
        image=given.images[0],
        layers=[
            (s.layer.name, s.output[0], s.layer.output.low, s.layer.output.high)
            for s in steps
        ],
        scores=[(name, int(v)) for name, v in zip(names, outputs, strict=True)],
        label=label,
        graph=graph.draw(program) if program else None,
        left_out=whole - len(steps),
    )


def _probes(folder: Path) -> dict[str, dict[str, Any]]:
    """Robustness probes of the stages, where they were run."""
    found = {}
    for stage in ("train", "quant"):
        path = folder / stage / "probes.json"
        probes = _if_there(path)
        if probes is not None:
            table.check(probes, str(path))
            found[stage] = probes
    return found


def _if_there(path: Path) -> dict[str, Any] | None:
    return rundir.read_json(path) if path.exists() else None


def run_compare(
    folder: Path,
    *,
    rows: int,
    cols: int,
    images: int | None,
    where: Where | None = None,
    batch: int,
    clock_mhz: float = report.CLOCK_MHZ,
    most_cycles: int = compare.MOST_CYCLES,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Puts all machines side by side on a quantised run; writes and returns compare.json.

    The pages of earlier verifications show it from then on.

    Raises:
      InputError, LostResultError: as `run_verify`.
    """
    path = folder / "accel" / COMPARISON
    refuse_existing(path, folder, "a comparison", overwrite)
    given = quantised_run.load(folder, images, where)
    with rundir.lock(path.parent):
        refuse_existing(path, folder, "a comparison", overwrite)
        found = compare.compare(
            given, rows=rows, cols=cols, batch=batch, clock_mhz=clock_mhz,
            most_cycles=most_cycles, say=say,
        )  # fmt: skip
        found |= {"manifest_sha256": given.sha256, "versions": versions(PACKAGES)}
        rundir.write_json(path, found)
        for made in sorted(path.parent.glob(f"*/{REPORT}")):
            say(_shown_in(folder, made.parent, given, found))
    return found


def _shown_in(
    folder: Path, out: Path, given: QuantisedRun, compared: Mapping[str, Any]
) -> str:
    """Shows a comparison in the page of an earlier verification; says whether it could."""
    try:
        with rundir.lock(out):
            found = rundir.read_json(out / REPORT)
            if found.get("manifest_sha256") != given.sha256:
                return f"{out / PAGE} stays as it is: it is of another network."
            steps = (out / STEPS).exists()
            rundir.write_bytes(out / PAGE, _page(folder, given, found, compared, steps))
    except InputError as error:
        return f"{out / PAGE} stays as it is: {error}"
    except (LookupError, TypeError, jinja2.UndefinedError) as error:
        return (
            f"{out / PAGE} stays as it is: its report is of another version "
            f"({brief(error)})."
        )
    return f"{out / PAGE} shows the comparison."


def run_faults(
    folder: Path,
    setup: Setup,
    faults: Sequence[Fault],
    *,
    images: int | None,
    where: Where | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Follows faults through a quantised run; writes and returns faults.json.

    Raises:
      InputError, LostResultError: as `run_verify`.
    """
    machine = setup.machine
    for fault in faults:
        fault.require_inside(machine)
    out, there = folder / "accel" / machine.name, f"faults of {machine.name}"
    refuse_existing(out / FAULTS, folder, there, overwrite)
    given = quantised_run.load(folder, images, where)
    timing.layers(machine, given.network.network, len(given.images), setup.batch)
    with rundir.lock(out):
        refuse_existing(out / FAULTS, folder, there, overwrite)
        found = campaign.run(given, setup, faults, say=say)
        found |= {"manifest_sha256": given.sha256, "versions": versions(PACKAGES)}
        rundir.write_json(out / FAULTS, found)
    return found
