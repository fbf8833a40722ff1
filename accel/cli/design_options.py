"""What `python -m accel cost`, `sweep` and `tpu` can be asked.

Reading this file needs no JAX; a mistake is refused before it is imported.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from accel.machines.machine import Dataflow
from accel.workload.source import Source
from configs.checks import require
from configs.errors import InputError
from train.where import Where

# A million, more than anybody runs at a time; blocks of more images are too many to list.
_MOST_IMAGES = 1 << 20
# A terabyte, a terahertz and a petabyte a second, beyond any chip.
_MOST_BYTES = 1 << 40
_MOST_MHZ, _MOST_MB_PER_S = 10**6, 10**9


Registers = Literal["single", "shadow"]


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Changes of the machine; what is left out stays as the machine has it."""

    # Rows of PEs, of a systolic machine.
    rows: int | None = None
    # Columns of PEs, of a systolic machine.
    cols: int | None = None
    # What stays in the PEs of a systolic machine: ws weights, os sums, is inputs.
    dataflow: Dataflow | None = None
    # Registers of the operand that stays, of a systolic machine: single, or shadow, which
    # loads the next tile meanwhile.
    weights: Registers | None = None
    # Buffer of the activations, KiB.
    activation_kib: float | None = None
    # Buffer of the weights, KiB.
    weight_kib: float | None = None
    # Buffer of the sums, KiB.
    sum_kib: float | None = None
    # Bandwidth of the DRAM, both directions together, MB/s.
    dram_mb_per_s: int | None = None
    # Clock, MHz.
    clock_mhz: int | None = None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cycles, stalls, traffic, energy and roofline of a network on a machine with memory,
    layer by layer: which loop order and blocks a mapper chose, and why. Computes; steps
    nothing. (`accel tpu` models the first TPU by its program, which `--machine tpu_v1` is
    not: see the note under its result.)"""

    # tpu_v1, gemmini_16x16, small_16x16, tile_16x16, tile_inputs_16x16, dot_256, mac, or a
    # .toml file that describes a machine.
    machine: str = "small_16x16"
    # Images at a time.
    batch: int = 1
    # Width of the weights, 1 to 8 bits [that of the run if it is quantised, else 8].
    weight_bits: int | None = None
    # Width of the activations but the first input and the last output, 1 to 8 bits [that of
    # the run if it is quantised, else 8].
    activation_bits: int | None = None
    # horowitz_45nm, tpuv4i_7nm, eyeriss_65nm_relative, zigzag_tpu_like, or a .toml file of
    # energies [the machine's own].
    energy: str | None = None
    # Energy of DRAM, pJ a bit [the table's own].
    dram_pj_per_bit: float | None = None
    # Power drawn in every cycle, W; 28 for an idle first TPU [the table's own].
    static_w: float | None = None
    # Blocks and loop order: the best of all, or by the fixed rule of `sweep`.
    mapping: Literal["mapper", "fixed"] = "mapper"
    # What the best mapping is best in. balanced: the fewest bytes of DRAM within 1 % of the
    # fewest cycles.
    objective: Literal["balanced", "cycles", "energy", "edp"] = "balanced"
    # Folder for cost.json and pictures; nothing is written without it.
    out: str | None = None
    # Replace what is there.
    overwrite: bool = False
    # Print one JSON document.
    json: bool = False
    source: Annotated[Source, tyro.conf.arg(name="")] = field(default_factory=Source)
    changes: Annotated[Changes, tyro.conf.arg(name="")] = field(default_factory=Changes)

    def __post_init__(self) -> None:
        _require_batch(self)
        _require_price(self)
        _require_place(self)
        _require_widths(self)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Evaluates every design of a space on a network, millions a second: cycles, stalls,
    traffic and energy by a fixed mapping rule; then the best of them with the mapper.
    Writes the Pareto front as CSV, Parquet and pictures."""

    # Images at a time.
    batch: int = 1
    # Width of the weights, 1 to 8 bits [that of the run if it is quantised, else 8].
    weight_bits: int | None = None
    # Width of the activations but the first input and the last output, 1 to 8 bits [that of
    # the run if it is quantised, else 8].
    activation_bits: int | None = None
    # Axis: what stays in the PEs, in ascending order as all axes; left out, an axis suits
    # the network.
    dataflow: tuple[Dataflow, ...] | None = None
    # Axis: registers of the operand that stays: single, or shadow, which loads the next
    # tile meanwhile [both].
    weights: tuple[Registers, ...] | None = None
    # Axis: rows of PEs.
    rows: tuple[int, ...] | None = None
    # Axis: columns of PEs.
    cols: tuple[int, ...] | None = None
    # Axis: bandwidth of the DRAM, MB/s.
    dram_mb_per_s: tuple[int, ...] | None = None
    # Axis: clock, MHz.
    clock_mhz: tuple[int, ...] | None = None
    # Axis: buffer of the activations, KiB.
    activation_kib: tuple[float, ...] | None = None
    # Axis: buffer of the weights, KiB.
    weight_kib: tuple[float, ...] | None = None
    # Axis: buffer of the sums, KiB.
    sum_kib: tuple[float, ...] | None = None
    # What the front is of: time_us, energy, area, dram_bytes, cycles, stall.
    objectives: tuple[str, ...] = ("time_us", "energy", "area")
    # horowitz_45nm, tpuv4i_7nm, eyeriss_65nm_relative, zigzag_tpu_like, or a .toml file of
    # energies.
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
        _require_batch(self)
        require(self, self.longest_s > 0, "longest_s", "must be more than 0.")
        for name, axis in vars(self).items():
            some = axis != ()
            require(self, some, name, "is empty; give values, or leave it out.")
        _require_price(self)
        _require_place(self)
        _require_widths(self)


@dataclass(frozen=True, kw_only=True)
class Tpu:
    """Explains where the cycles of the first Google TPU go. With a run its int8 network is
    compiled to a TPU program and executed, every bit compared; without a network the six
    applications of the TPU paper are put beside its published figures. (`accel cost
    --machine tpu_v1` models the same chip by its memory: maps that do not fit go to DRAM.)
    """

    # An application of the paper: mlp0, mlp1, lstm0, lstm1, cnn0, cnn1.
    workload: Literal["mlp0", "mlp1", "lstm0", "lstm1", "cnn0", "cnn1"] | None = None
    # Images or vectors at a time [the paper's; 100 for a run, 1 for another network].
    batch: int | None = None
    # Test images of a run to execute, or all.
    images: int | Literal["all"] = 100
    # Weight memory, MB/s [34,000; for the paper's applications the fitted one].
    weight_mb_per_s: int | None = None
    # Side of the array, as in the paper's what-if.
    side: int = 256
    # Clock, MHz, as in the paper's what-if.
    clock_mhz: int = 700
    # Write the program as text to this file.
    assembly: str | None = None
    # The data of a run, if it is not where it was.
    data: Where = field(default_factory=Where)
    # Replace what is there.
    overwrite: bool = False
    # Print the table of the paper's applications in markdown.
    markdown: bool = False
    # Print one JSON document.
    json: bool = False
    source: Annotated[Source, tyro.conf.arg(name="")] = field(default_factory=Source)

    def __post_init__(self) -> None:
        _require_batch(self)
        some = self.images == "all" or self.images >= 1
        require(self, some, "images", "must be 1 or more, or all.")
        both = self.workload is not None and self.source.given() is not None
        require(self, not both, "workload", "is a network; leave out the other one.")
        asked = self.source.given()
        self.data.require_run(asked is not None and asked[0] == "run")
        self._require_machine()

    def _require_machine(self) -> None:
        """Said of the flags, which the machine's own checks do not know."""
        rows, rest = divmod(self.side, 3)
        odd = self.side if rest else rows
        whole = 2 <= self.side <= 1024 and odd & (odd - 1) == 0
        rule = "must be a power of two, or three times one, in 2..1024; use 256."
        require(self, whole, "side", rule)
        fits = 1 <= self.clock_mhz <= _MOST_MHZ
        require(self, fits, "clock_mhz", f"must be in 1..{_MOST_MHZ:,}; use 700.")
        fits = self.weight_mb_per_s is None or 1 <= self.weight_mb_per_s <= _MOST_MB_PER_S
        rule = f"must be in 1..{_MOST_MB_PER_S:,}; use 34000."
        require(self, fits, "weight_mb_per_s", rule)


def buffer_bytes(field: str, kib: float) -> int:
    """Bytes of a buffer that was given in KiB.

    Raises:
      InputError: they are not whole, not positive, or beyond any chip.
    """
    size = 1024 * kib
    # Written so that NaN fails too.
    if not (1 <= size <= _MOST_BYTES and size % 1 == 0):
        raise InputError(
            f"`--{field.replace('_', '-')}` (={kib:g}) must be whole bytes, more than 0 "
            f"and at most {_MOST_BYTES >> 30} GiB; use 64, or 0.5 for 512 bytes."
        )
    return int(size)


def _require_batch(command: Cost | Sweep | Tpu) -> None:
    fits = command.batch is None or 1 <= command.batch <= _MOST_IMAGES
    require(command, fits, "batch", f"must be in 1..{_MOST_IMAGES:,}; use 1.")


def _require_widths(command: Cost | Sweep) -> None:
    for name in ("weight_bits", "activation_bits"):
        given = getattr(command, name)
        fits = given is None or 1 <= given <= 8
        require(command, fits, name, "must be in 1..8; use 4.")


def _require_place(command: Cost | Sweep) -> None:
    require(
        command, command.out != "", "out", "must name a folder; give one, or leave it out."
    )


def _require_price(command: Cost | Sweep) -> None:
    price = command.dram_pj_per_bit
    some = price is None or 0 < price <= 1e5
    require(command, some, "dram_pj_per_bit", "must be more than 0 and at most 100,000.")
