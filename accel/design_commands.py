"""What `python -m accel cost`, `sweep` and `tpu` can be asked.

Reading this file needs no JAX; a mistake is refused before it is imported.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from accel.machine import Dataflow
from configs.checks import require
from configs.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Source:
    """The network: exactly one of these."""

    # Name or .py file of an experiment or a network, such as vgg16.
    config: str | None = None
    # Run directory, such as runs/mnist_cnn.
    run: str | None = None
    # SCALE-Sim topology, a .csv file.
    topology: str | None = None
    # ONNX model with known shapes.
    onnx: str | None = None

    def given(self) -> tuple[str, str] | None:
        """Which one, and its value; None if there is none.

        Raises:
          InputError: there are several.
        """
        found = [(name, value) for name, value in vars(self).items() if value is not None]
        if len(found) > 1:
            flags = " and ".join(f"`--{name}` (={value})" for name, value in found)
            raise InputError(f"{flags} each name a network; give one of them.")
        return found[0] if found else None

    def require(self) -> tuple[str, str]:
        """The same; refuses none."""
        found = self.given()
        if found is None:
            flags = ", ".join(f"--{name}" for name in vars(self))
            raise InputError(f"`--config` is missing; name a network with one of {flags}.")
        return found


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Changes of the machine; what is left out stays as the machine has it."""

    # Array of PEs.
    rows: int | None = None
    cols: int | None = None
    dataflow: Dataflow | None = None
    # Buffers, KiB.
    activation_kib: int | None = None
    weight_kib: int | None = None
    sum_kib: int | None = None
    # DRAM, MB/s; clock, MHz.
    dram_mb_per_s: int | None = None
    clock_mhz: int | None = None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cycles, stalls, traffic, energy and roofline of a network on a machine with memory,
    layer by layer: which loop order and blocks a mapper chose, and why. Computes; steps
    nothing."""

    # Name of a machine, or a .toml file that describes one.
    machine: str = "small_16x16"
    # Images at a time.
    batch: int = 1
    # Energy table: a known name, or a .toml file [the machine's own].
    energy: str | None = None
    # Energy of DRAM, pJ a bit [the table's own].
    dram_pj_per_bit: float | None = None
    # Blocks and loop order: the best of all, or by the fixed rule of `sweep`.
    mapping: Literal["mapper", "fixed"] = "mapper"
    # What the best mapping is best in.
    objective: Literal["cycles", "energy", "edp"] = "cycles"
    # Folder for cost.json and pictures; nothing is written without it.
    out: str | None = None
    # Replace what is there.
    overwrite: bool = False
    # Print one JSON document.
    json: bool = False
    source: Annotated[Source, tyro.conf.arg(name="")] = field(default_factory=Source)
    changes: Annotated[Changes, tyro.conf.arg(name="")] = field(default_factory=Changes)

    def __post_init__(self) -> None:
        require(self, self.batch >= 1, "batch", "must be 1 or more.")
        _require_price(self)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Evaluates every design of a space on a network, millions a second: cycles, stalls,
    traffic and energy by a fixed mapping rule; then the best of them with the mapper.
    Writes the Pareto front as CSV, Parquet and pictures."""

    # Images at a time.
    batch: int = 1
    # Axes, each in ascending order; those left out suit the network.
    dataflow: tuple[Dataflow, ...] | None = None
    rows: tuple[int, ...] | None = None
    cols: tuple[int, ...] | None = None
    dram_mb_per_s: tuple[int, ...] | None = None
    clock_mhz: tuple[int, ...] | None = None
    activation_kib: tuple[int, ...] | None = None
    weight_kib: tuple[int, ...] | None = None
    sum_kib: tuple[int, ...] | None = None
    # What the front is of: time_us, energy, area, dram_bytes, cycles, stall.
    objectives: tuple[str, ...] = ("time_us", "energy", "area")
    # Energy table: a known name, or a .toml file.
    energy: str = "horowitz_45nm"
    # Energy of DRAM, pJ a bit [the table's own].
    dram_pj_per_bit: float | None = None
    # A sweep that would take longer than this is refused, s.
    longest_s: float = 600.0
    # Folder for the results [RUN/accel/sweep, or sweeps/NAME without a run].
    out: str | None = None
    # Go on with a sweep that was interrupted.
    resume: bool = False
    # Replace what is there.
    overwrite: bool = False
    # Print sweep.json.
    json: bool = False
    source: Annotated[Source, tyro.conf.arg(name="")] = field(default_factory=Source)

    def __post_init__(self) -> None:
        require(self, self.batch >= 1, "batch", "must be 1 or more.")
        require(self, self.longest_s > 0, "longest_s", "must be more than 0.")
        _require_price(self)


@dataclass(frozen=True, kw_only=True)
class Tpu:
    """Explains where the cycles of the first Google TPU go. With a run its int8 network is
    compiled to a TPU program and executed, every bit compared; without a network the six
    applications of the TPU paper are put beside its published figures."""

    # An application of the paper: mlp0, mlp1, lstm0, lstm1, cnn0, cnn1.
    workload: Literal["mlp0", "mlp1", "lstm0", "lstm1", "cnn0", "cnn1"] | None = None
    # Images or vectors at a time [the paper's; 100 for a run, 1 for another network].
    batch: int | None = None
    # Test images of a run to execute, or all.
    images: int | Literal["all"] = 100
    # Weight memory, MB/s [34,000; for the paper's applications the fitted one].
    weight_mb_per_s: int | None = None
    # Side of the array and clock, as in the paper's what-if.
    side: int = 256
    clock_mhz: int = 700
    # Write the program as text to this file.
    assembly: str | None = None
    # Replace what is there.
    overwrite: bool = False
    # Print one JSON document.
    json: bool = False
    source: Annotated[Source, tyro.conf.arg(name="")] = field(default_factory=Source)

    def __post_init__(self) -> None:
        some = self.batch is None or self.batch >= 1
        require(self, some, "batch", "must be 1 or more.")
        some = self.images == "all" or self.images >= 1
        require(self, some, "images", "must be 1 or more, or all.")
        both = self.workload is not None and self.source.given() is not None
        require(self, not both, "workload", "is a network; leave out the other one.")


def _require_price(command: Cost | Sweep) -> None:
    price = command.dram_pj_per_bit
    some = price is None or 0 < price <= 1e5
    require(command, some, "dram_pj_per_bit", "must be more than 0 and at most 100,000.")
