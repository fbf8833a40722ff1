"""What `python -m accel` can be asked: the options of each command.

Reading this file needs no JAX; a mistake is refused before it is imported.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from accel.cli.machine_options import MachineOptions
from accel.machines.machine import Systolic
from accel.simulate.faults import Fault, Kind, Register
from configs.checks import require
from train.where import Where

# A terahertz, beyond any chip; keeps images/s finite.
_MOST_MHZ = 1e6


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
    # The data, if it is not where it was.
    data: Where = field(default_factory=Where)
    # Replace the report that is there.
    overwrite: bool = False
    # Print report.json.
    json: bool = False
    options: Annotated[MachineOptions, tyro.conf.arg(name="")] = field(
        default_factory=MachineOptions
    )

    def __post_init__(self) -> None:
        _require_use(self)
        _require_clock(self)


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Puts all machines side by side on the network of a run: all but the first two rows
    have rows * cols multipliers. Writes accel/compare.json."""

    # Run directory with a quantised network.
    run: str
    # Rows of PEs; a machine that is no array has rows * cols multipliers.
    rows: int = 16
    # Columns of PEs.
    cols: int = 16
    # Test images, or all.
    images: int | Literal["all"] = 1
    # Images that share a load of held operands.
    batch: int = 1
    # Clock at which images/s are stated; that of the first TPU.
    clock_mhz: float = 700.0
    # A machine that takes more cycles than this is predicted and not stepped; 0: all are.
    most_cycles: int = 20_000_000
    # The data, if it is not where it was.
    data: Where = field(default_factory=Where)
    # Replace the comparison that is there.
    overwrite: bool = False
    # Print compare.json.
    json: bool = False

    def __post_init__(self) -> None:
        _require_use(self)
        _require_clock(self)
        most = self.most_cycles >= 0
        require(self, most, "most_cycles", "must be 0 (step none) or more.")


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Breaks registers of a systolic array, one fault at a time, and follows what comes of
    it: sums, outputs of layers, logits, classes. Either one fault, by --register, --row,
    --col, --bit and --kind, or --random of them. Writes accel/<machine>/faults.json."""

    # Run directory with a quantised network.
    run: str
    # Test images, or all.
    images: int | Literal["all"] = 100
    # Images that share a load of held operands.
    batch: int = 1
    # Faults to draw; 0: the one that is named.
    random: int = 0
    # Of the drawing.
    seed: int = 0
    # The register of a PE; with --random all, if it is left out.
    register: Register | None = None
    # Row of the PE, from 0 [0].
    row: int | None = None
    # Column of the PE, from 0 [0].
    col: int | None = None
    # 0 is the least significant [0].
    bit: int | None = None
    # Stuck at 0 or 1, or always the wrong way round [flip].
    kind: Kind | None = None
    # The data, if it is not where it was.
    data: Where = field(default_factory=Where)
    # Replace the result that is there.
    overwrite: bool = False
    # Print faults.json.
    json: bool = False
    options: Annotated[MachineOptions, tyro.conf.arg(name="")] = field(
        default_factory=MachineOptions
    )

    def __post_init__(self) -> None:
        _require_use(self)
        require(self, self.random >= 0, "random", "must be 0 (the named fault) or more.")
        require(self, self.seed >= 0, "seed", "must be 0 or more.")
        named = self.random > 0 or self.register is not None
        require(self, named, "register", "must name a register, or give --random.")
        for name in ("row", "col", "bit", "kind"):
            drawn = self.random > 0 and getattr(self, name) is not None
            require(self, not drawn, name, "is drawn by --random; leave one of them out.")

    def fault(self) -> Fault:
        """The one that is named."""
        return Fault(
            register=self.register,
            row=self.row or 0,
            col=self.col or 0,
            bit=self.bit or 0,
            kind=self.kind or "flip",
        )


@dataclass(frozen=True, kw_only=True)
class Step:
    """Writes a page that steps through small systolic arrays, register by register: the
    lecture's 3x3 product, and one on an array of any other size up to 16x16; with a run,
    tiles of its network too."""

    # Where to write it.
    out: str = "step.html"
    # Run directory with a quantised network.
    run: str | None = None
    # Rows of the array beside the lecture's, 1..16 [with a run 8, else none].
    rows: int | None = None
    # Columns of the same, 1..16 [with a run 8, else none].
    cols: int | None = None
    # The data, if it is not where it was.
    data: Where = field(default_factory=Where)
    # Replace the file that is there.
    overwrite: bool = False

    def __post_init__(self) -> None:
        for side in ("rows", "cols"):
            given = getattr(self, side)
            require(self, given is None or 1 <= given <= 16, side, "must be in 1..16.")
        self.data.require_run(self.run is not None)

    def machine(self) -> Systolic | None:
        """The array beside the lecture's, if there is to be one."""
        if (self.run, self.rows, self.cols) == (None, None, None):
            return None
        return Systolic(rows=self.rows or 8, cols=self.cols or 8)


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Recomputes every row of a CSV file of SCALE-Sim's figures (weight-, output- and
    input-stationary) and compares: of its own COMPUTE_REPORT.csv, whose layers and array
    the options say, or of a file that says them. Exit status 1 if a figure differs."""

    # A file with the columns M, N, K, array_rows, array_cols, dataflow, total_cycles, ...;
    # or SCALE-Sim's COMPUTE_REPORT.csv or DETAILED_ACCESS_REPORT.csv.
    file: Annotated[str, tyro.conf.Positional]
    # For a report: the topology that SCALE-Sim was given.
    topology: str | None = None
    # For a report: ArrayHeight of its .cfg.
    rows: int | None = None
    # For a report: ArrayWidth of its .cfg.
    cols: int | None = None
    # For a report: Dataflow of its .cfg.
    dataflow: Literal["ws", "os", "is"] | None = None
    # Print one JSON document.
    json: bool = False


def _require_use(command: Verify | Compare | Faults) -> None:
    """Refuses a number of images or a batch that nothing can be run with."""
    some = command.images == "all" or command.images >= 1
    require(command, some, "images", "must be 1 or more, or all.")
    require(command, command.batch >= 1, "batch", "must be 1 or more.")


def _require_clock(command: Verify | Compare) -> None:
    fits = 0 < command.clock_mhz <= _MOST_MHZ
    sentence = (
        f"must be more than 0 and at most {_MOST_MHZ:,.0f}; the first TPU ran at 700."
    )
    require(command, fits, "clock_mhz", sentence)
