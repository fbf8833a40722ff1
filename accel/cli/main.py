"""The command line of `python -m accel`.

As in `train.cli`, nothing here imports JAX before the command is known to be right.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import tyro

from accel.cli.array_options import Compare, Faults, Parity, Step, Verify
from accel.cli.design_options import Cost, Sweep, Tpu
from accel.machines.machine import Systolic
from accel.simulate.faults import REGISTERS
from configs.errors import InputError
from train.console import all_cores, guarded, stdout_kept_clean

_DESCRIPTION = """Runs the integer network of a run on simulated machines, clock edge by
clock edge.

  verify   one machine: compare every bit, count every cycle, write a report
  compare  all machines side by side
  faults   break registers of a systolic array and see how far that travels
  step     a page to step through a small systolic array, no run needed
  parity   recompute SCALE-Sim's figures from a CSV file
  cost     cycles, traffic and energy of a network on a machine with its memory
  sweep    millions of machines on one network: the Pareto front of time, energy, area
  tpu      the first Google TPU: execute a run on it, explain a network, face its paper

Each has --help."""


# What a report of SCALE-Sim leaves out.
_PEER = ("topology", "rows", "cols", "dataflow")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; gives back the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    commands: dict[str, tuple[type, Callable]] = {
        "verify": (Verify, _verify),
        "compare": (Compare, _compare),
        "faults": (Faults, _faults),
        "step": (Step, _step),
        "parity": (Parity, _parity),
        "cost": (Cost, _cost),
        "sweep": (Sweep, _sweep),
        "tpu": (Tpu, _tpu),
    }
    if not given or given[0] in ("-h", "--help"):
        print(f"usage: python -m accel {{{','.join(commands)}}} ...\n\n{_DESCRIPTION}")
        return 0 if given else 2
    if given[0] not in commands:
        known = ", ".join(commands)
        print(f"error: there is no command {given[0]!r}; use {known}.", file=sys.stderr)
        return 2
    kind, command = commands[given[0]]
    words = shlex.join(["python", "-m", "accel", *given])
    return guarded(lambda: _whole(command, _parsed(kind, given[0], given[1:]), words))


def _parsed(kind: type, name: str, arguments: Sequence[str]):
    return tyro.cli(
        kind,
        args=list(arguments),
        prog=f"python -m accel {name}",
        description=kind.__doc__,
        config=(tyro.conf.AvoidSubcommands,),
    )


def _whole(command: Callable, options: object, words: str) -> int:
    """Runs a command; results that a machine lost are one line on stderr and status 1."""
    from accel.simulate.simulation import LostResultError

    try:
        return command(options, words)
    except LostResultError as lost:
        print(f"error: {lost}", file=sys.stderr)
        return 1


def _prepare() -> None:
    """One JAX device for each core, and its widest registers."""
    flag = "--xla_cpu_prefer_vector_width"
    if flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}=512".strip()
    all_cores()


def _verify(command: Verify, words: str) -> int:
    machine = command.options.build()
    _prepare()
    from accel.cli.print_array import Cycles, print_report
    from accel.verify.run import Setup
    from accel.verify.stage import run_verify

    setup = Setup(machine=machine, batch=command.batch, literal=command.literal)
    folder = Path(command.run)
    with stdout_kept_clean(), Cycles() as shown:
        report = run_verify(
            folder,
            setup,
            images=_count(command.images),
            where=command.data,
            clock_mhz=command.clock_mhz,
            command=words,
            overwrite=command.overwrite,
            begin=shown.begin,
            done=shown.done,
        )
    if command.json:
        print(json.dumps(report, sort_keys=True))
    else:
        print_report(report, folder)
    return 0 if report["verified"] else 1


def _tpu(command: Tpu, words: str) -> int:
    _prepare()
    from accel.cli import tpu

    return tpu.command(command, words)


def _cost(command: Cost, words: str) -> int:
    from accel.cli import cost

    return cost.command(command, words)


def _sweep(command: Sweep, words: str) -> int:
    _prepare()
    from accel.cli import sweep

    return sweep.command(command, words)


def _count(images: int | str) -> int | None:
    """How many images to take; None for all."""
    return None if images == "all" else images


def _compare(command: Compare, words: str) -> int:
    # A size that no array has is refused before JAX is imported.
    Systolic(rows=command.rows, cols=command.cols)
    _prepare()
    from accel.cli.print_array import print_comparison
    from accel.verify.stage import run_compare
    from train.progress import Display

    with stdout_kept_clean():
        found = run_compare(
            Path(command.run),
            rows=command.rows,
            cols=command.cols,
            images=_count(command.images),
            where=command.data,
            batch=command.batch,
            clock_mhz=command.clock_mhz,
            most_cycles=command.most_cycles,
            overwrite=command.overwrite,
            say=Display().say,
        )
    if command.json:
        print(json.dumps(found, sort_keys=True))
    else:
        print_comparison(found, Path(command.run))
    return 1 if found["verified"] is False else 0


def _faults(command: Faults, words: str) -> int:
    machine = command.options.build()
    if not isinstance(machine, Systolic):
        raise InputError(
            f"`--machine` (={machine.name}) must be systolic: faults sit in its PEs."
        )
    named = None if command.random else command.fault()
    if named:
        named.require_inside(machine)
    _prepare()
    from accel.cli.print_array import print_faults
    from accel.verify import faults as campaign
    from accel.verify.run import Setup
    from accel.verify.stage import run_faults
    from train.progress import Display

    some = (command.register,) if command.register else REGISTERS
    faults = (
        [named]
        if named
        else campaign.drawn(machine, command.random, seed=command.seed, registers=some)
    )
    with stdout_kept_clean():
        found = run_faults(
            Path(command.run),
            Setup(machine=machine, batch=command.batch),
            faults,
            images=_count(command.images),
            where=command.data,
            overwrite=command.overwrite,
            say=Display().say,
        )
    if command.json:
        print(json.dumps(found, sort_keys=True))
    else:
        print_faults(found, Path(command.run))
    return 0


def _step(command: Step, words: str) -> int:
    out = Path(command.out)
    if out.is_dir():
        raise InputError(f"`--out` (={out}) must be a file, and is a folder; name another.")
    if out.exists() and not command.overwrite:
        raise InputError(f"`--out` (={out}) exists; replace it with --overwrite.")
    from accel.show import step
    from accel.verify import quantised_run
    from accel.verify.stage import step_examples
    from train import rundir

    with stdout_kept_clean():
        given = (
            quantised_run.load(Path(command.run), 1, command.data) if command.run else None
        )
        network = (given.network, given.images) if given else ()
        page = step.page(step_examples(command.machine(), *network))
    try:
        rundir.write_bytes(out, page.encode())
    except InputError as error:
        # Of a file outside a run directory; it names --run.
        raise InputError(
            f"`--out` (={out}) cannot be written: {error.__cause__}; choose another file "
            f"with --out."
        ) from error
    print(f"written  {out}: open it in a browser")
    return 0


def _compared(command: Parity):
    """The comparison of a file that says what it was run with, or of a bare report."""
    from accel.predict import parity, reports

    path = Path(command.file)
    said = {name: getattr(command, name) for name in _PEER}
    report = reports.named(path)
    if report is None:
        for name, value in said.items():
            if value is not None:
                raise InputError(
                    f"`--{name}` (={value}) belongs to a COMPUTE_REPORT.csv of SCALE-Sim, "
                    f"and `{path}` is none; leave it out."
                )
        return parity.parity(path)
    missing = [f"--{name}" for name, value in said.items() if value is None]
    reports.require_readable(path, report, ", ".join(missing))
    run = reports.Run(**said | {"topology": Path(command.topology)})
    return reports.parity(path, report, run)


def _parity(command: Parity, words: str) -> int:
    from accel.predict.parity import headline, table
    from quant.summary import console

    found = _compared(command)
    if command.json:
        print(json.dumps(found.to_dict(), sort_keys=True))
        return 1 if found.differences else 0
    out = console()
    if found.differences:
        out.print(table(found))
    out.print(headline(found))
    return 1 if found.differences else 0
