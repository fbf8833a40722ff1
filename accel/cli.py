"""The command line of `python -m accel`.

As in `train.cli`, nothing here imports JAX before the command is known to be right.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from accel.faults import REGISTERS, Kind, Register
from accel.machine import Systolic
from accel.options import MachineOptions
from configs.checks import require
from configs.errors import InputError
from quant.cli import all_cores
from train.cli import guarded, stdout_kept_clean

_DESCRIPTION = """Runs the integer network of a run on simulated machines, clock edge by
clock edge.

  verify   one machine: compare every bit, count every cycle, write a report
  compare  all machines side by side
  faults   break registers of a systolic array and see how far that travels
  step     a page to step through a small systolic array, no run needed
  parity   recompute SCALE-Sim's figures from a CSV file

Each has --help."""


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Runs a quantised network on a machine and compares every sum and every output with
    the normative integers. Writes accel/<machine>/ into the run directory. Exit status 1 if
    a single bit or count is wrong."""

    # Run directory with a quantised network, such as runs/mnist_cnn.
    run: str
    # Test images, or all.
    images: int | Literal["all"] = 100
    # Images that share a load of held operands: one run of the machine.
    batch: int = 1
    # Clock at which images/s are stated; that of the first TPU.
    clock_mhz: float = 700.0
    # Step register by register where a faster form holds the same.
    literal: bool = False
    # Replace the report that is there.
    overwrite: bool = False
    # Print report.json.
    json: bool = False
    options: Annotated[MachineOptions, tyro.conf.arg(name="")] = field(
        default_factory=MachineOptions
    )

    def __post_init__(self) -> None:
        require(self, self.clock_mhz > 0, "clock_mhz", "must be more than 0.")
        some = self.images == "all" or self.images >= 1
        require(self, some, "images", "must be 1 or more, or all.")


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Puts all machines side by side on the network of a run: all but the first two rows
    have rows * cols multipliers. Writes accel/compare.json."""

    # Run directory with a quantised network.
    run: str
    rows: int = 16
    cols: int = 16
    # Test images.
    images: int = 1
    # Images that share a load of held operands.
    batch: int = 1
    # Clock at which images/s are stated; that of the first TPU.
    clock_mhz: float = 700.0
    # A machine that takes more cycles than this is predicted and not stepped.
    most_cycles: int = 20_000_000
    # Replace the comparison that is there.
    overwrite: bool = False
    # Print compare.json.
    json: bool = False

    def __post_init__(self) -> None:
        require(self, self.clock_mhz > 0, "clock_mhz", "must be more than 0.")
        require(self, self.images >= 1, "images", "must be 1 or more.")


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Breaks registers of a systolic array, one fault at a time, and follows what comes of
    it: sums, outputs of layers, logits, classes. Either one fault, by --register, --row,
    --col, --bit and --kind, or --random of them. Writes accel/<machine>/faults.json."""

    # Run directory with a quantised network.
    run: str
    # Test images.
    images: int = 100
    # Images that share a load of held operands.
    batch: int = 1
    # Faults to draw; 0: the one that is named.
    random: int = 0
    # Of the drawing.
    seed: int = 0
    # The register of a PE; with --random all, if it is left out.
    register: Register | None = None
    row: int = 0
    col: int = 0
    # 0 is the least significant.
    bit: int = 0
    # Stuck at 0 or 1, or always the wrong way round.
    kind: Kind = "flip"
    # Replace the result that is there.
    overwrite: bool = False
    # Print faults.json.
    json: bool = False
    options: Annotated[MachineOptions, tyro.conf.arg(name="")] = field(
        default_factory=MachineOptions
    )

    def __post_init__(self) -> None:
        require(self, self.images >= 1, "images", "must be 1 or more.")
        require(self, self.random >= 0, "random", "must be 0 (the named fault) or more.")
        named = self.random > 0 or self.register is not None
        require(self, named, "register", "must name a register, or give --random.")


@dataclass(frozen=True, kw_only=True)
class Step:
    """Writes a page that steps through small systolic arrays, register by register; with
    a run, through tiles of its network too."""

    # Where to write it.
    out: str = "step.html"
    # Run directory with a quantised network.
    run: str | None = None
    # Size of the array that takes the network's tiles, 1..16.
    rows: int = 8
    cols: int = 8
    # Replace the file that is there.
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Recomputes every row of a CSV file of SCALE-Sim's figures (weight-, output- and
    input-stationary) and compares. Exit status 1 if a figure differs."""

    # A file with the columns M, N, K, array_rows, array_cols, dataflow, total_cycles, ...
    file: Annotated[str, tyro.conf.Positional]
    # Print one JSON document.
    json: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; gives back the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    commands: dict[str, tuple[type, Callable]] = {
        "verify": (Verify, _verify),
        "compare": (Compare, _compare),
        "faults": (Faults, _faults),
        "step": (Step, _step),
        "parity": (Parity, _parity),
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
    return guarded(lambda: command(_parsed(kind, given[0], given[1:]), words))


def _parsed(kind: type, name: str, arguments: Sequence[str]):
    return tyro.cli(
        kind,
        args=list(arguments),
        prog=f"python -m accel {name}",
        description=kind.__doc__,
        config=(tyro.conf.AvoidSubcommands,),
    )


def _prepare() -> None:
    """One JAX device for each core, and its widest registers."""
    flag = "--xla_cpu_prefer_vector_width"
    if flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}=512".strip()
    all_cores()


def _verify(command: Verify, words: str) -> int:
    machine = command.options.build()
    _prepare()
    from accel.matmul import Setup
    from accel.simulation import Lost
    from accel.stage import run_verify
    from accel.summary import Cycles, print_report

    setup = Setup(machine=machine, batch=command.batch, literal=command.literal)
    folder = Path(command.run)
    try:
        with stdout_kept_clean(), Cycles() as shown:
            report = run_verify(
                folder,
                setup,
                images=None if command.images == "all" else command.images,
                clock_mhz=command.clock_mhz,
                command=words,
                overwrite=command.overwrite,
                begin=shown.begin,
                done=shown.done,
            )
    except Lost as lost:
        print(f"error: {machine.name}: {lost}", file=sys.stderr)
        return 1
    if command.json:
        print(json.dumps(report, sort_keys=True))
    else:
        print_report(report, folder)
    return 0 if report["verified"] else 1


def _compare(command: Compare, words: str) -> int:
    _prepare()
    from accel.simulation import Lost
    from accel.stage import run_compare
    from accel.summary import print_comparison
    from train.progress import Display

    try:
        with stdout_kept_clean():
            found = run_compare(
                Path(command.run),
                rows=command.rows,
                cols=command.cols,
                images=command.images,
                batch=command.batch,
                clock_mhz=command.clock_mhz,
                most_cycles=command.most_cycles,
                overwrite=command.overwrite,
                say=Display().say,
            )
    except Lost as lost:
        print(f"error: {lost}", file=sys.stderr)
        return 1
    if command.json:
        print(json.dumps(found, sort_keys=True))
    else:
        print_comparison(found, Path(command.run))
    return 0 if found["verified"] else 1


def _faults(command: Faults, words: str) -> int:
    machine = command.options.build()
    if not isinstance(machine, Systolic):
        raise InputError(
            f"`--machine` (={machine.name}) must be systolic: faults sit in its PEs."
        )
    _prepare()
    from accel import campaign
    from accel.faults import Fault
    from accel.matmul import Setup
    from accel.simulation import Lost
    from accel.stage import run_faults
    from accel.summary import print_faults
    from train.progress import Display

    if command.random:
        some = (command.register,) if command.register else REGISTERS
        faults = campaign.drawn(machine, command.random, seed=command.seed, registers=some)
    else:
        names = ("register", "row", "col", "bit", "kind")
        faults = [Fault(**{name: getattr(command, name) for name in names})]
    try:
        with stdout_kept_clean():
            found = run_faults(
                Path(command.run),
                Setup(machine=machine, batch=command.batch),
                faults,
                images=command.images,
                overwrite=command.overwrite,
                say=Display().say,
            )
    except Lost as lost:
        print(f"error: {machine.name}: {lost}", file=sys.stderr)
        return 1
    if command.json:
        print(json.dumps(found, sort_keys=True))
    else:
        print_faults(found, Path(command.run))
    return 0


def _step(command: Step, words: str) -> int:
    out = Path(command.out)
    if out.exists() and not command.overwrite:
        raise InputError(f"`--out` (={out}) exists; replace it with --overwrite.")
    from accel import step, subject
    from accel.stage import step_examples
    from train import rundir

    machine = Systolic(rows=command.rows, cols=command.cols)
    given = subject.load(Path(command.run), 1) if command.run else None
    with stdout_kept_clean():
        examples = step_examples(machine, *((given.network, given.images) if given else ()))
        rundir.write_bytes(out, step.page(examples).encode())
    print(f"written  {out}: open it in a browser")
    return 0


def _parity(command: Parity, words: str) -> int:
    from accel.parity import headline, parity, table
    from quant.summary import console

    found = parity(Path(command.file))
    if command.json:
        print(json.dumps(found.to_dict(), sort_keys=True))
        return 1 if found.differences else 0
    out = console()
    if found.differences:
        out.print(table(found))
    out.print(headline(found))
    return 1 if found.differences else 0
