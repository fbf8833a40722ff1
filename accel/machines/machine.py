"""The machines as data: what each is made of. Nothing here computes or counts.

Dimensions of a matrix product: [M, K] x [K, N]. Arrays have `rows` and `cols` of
processing elements (PE), each with one multiplier. Reading this file needs no JAX.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from configs.checks import check_types, require, require_positive

Dataflow = Literal["ws", "os", "is"]
Registers = Literal["single", "shadow"]
Load = Literal["skewed", "global"]
Loop = Literal["outputs", "inputs"]
Depthwise = Literal["auto", "channels", "diagonal", "vector"]

# No machine of this kind was ever built larger; bounds what is allocated.
_LARGEST_SIDE = 1024
_MOST_MULTIPLIERS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Systolic:
    """A grid of PEs that hand their operands to their neighbours, one register a hop.

    `ws` holds a tile of weights, `is` a tile of inputs, `os` a tile of sums.
    """

    rows: int = 16
    cols: int = 16
    dataflow: Dataflow = "ws"
    # Held operands: one register a PE, or a second that loads while the first works.
    weights: Registers = "single"
    # How shadow registers load: with the data, diagonal by diagonal, or all at once.
    load: Load = "skewed"
    # Partial sums kept for each column below the array; None: as many as it takes.
    accumulators: int | None = None
    # How products in groups are done (`predict.grouped`); auto: in the fewest cycles.
    depthwise: Depthwise = field(default="auto", metadata={"added": True})
    # Multiply-accumulates a cycle of a vector unit beside the array; None: there is none.
    vector_width: int | None = field(default=None, metadata={"added": True})

    def __post_init__(self) -> None:
        check_types(self)
        for side in ("rows", "cols"):
            fits = 1 <= getattr(self, side) <= _LARGEST_SIDE
            require(self, fits, side, f"must be in 1..{_LARGEST_SIDE}.")
        held = self.weights == "single" or self.dataflow != "os"
        require(self, held, "weights", "must be single for os, which holds no weights.")
        plenty = self.accumulators is None or self.accumulators >= 1
        require(self, plenty, "accumulators", "must be 1 or more, or left out.")
        self._check_groups()

    def _check_groups(self) -> None:
        width, way = self.vector_width, self.depthwise
        fits = width is None or 1 <= width <= _LARGEST_SIDE
        require(self, fits, "vector_width", f"must be in 1..{_LARGEST_SIDE}, or left out.")
        stated = width is not None or way != "vector"
        rule = "needs a vector unit for 'vector'; state its `vector_width`."
        require(self, stated, "depthwise", rule)
        used = width is None or way in ("auto", "vector")
        rule = f"has no use with `depthwise` {way!r}; leave it out, or use 'auto'."
        require(self, used, "vector_width", rule)

    @property
    def name(self) -> str:
        scheme = f"_shadow_{self.load}" if self.weights == "shadow" else ""
        way = f"_{self.depthwise}" if self.depthwise != "auto" else ""
        width = f"_v{self.vector_width}" if self.vector_width else ""
        return f"systolic_{self.dataflow}_{self.rows}x{self.cols}{scheme}{way}{width}"

    @property
    def multipliers(self) -> int:
        return self.rows * self.cols


@dataclass(frozen=True, kw_only=True)
class Mac:
    """One multiply-accumulate unit: the sequential loop over outputs and inputs."""

    # Every operand and every partial sum comes from and goes to memory, one word at a
    # time; else operands arrive in time and the sum stays in its register.
    dram: bool = False
    # Cycles that each of these accesses takes.
    access_cycles: int = 1

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, "access_cycles")
        used = self.dram or self.access_cycles == 1
        require(self, used, "access_cycles", "has a meaning with `dram` only.")

    @property
    def name(self) -> str:
        slow = f"_x{self.access_cycles}" if self.access_cycles > 1 else ""
        return f"mac_dram{slow}" if self.dram else "mac"

    @property
    def multipliers(self) -> int:
        return 1


@dataclass(frozen=True, kw_only=True)
class Dot:
    """N_HW multipliers and an adder tree: a slice of one output's sum each cycle."""

    multipliers: int = 256

    def __post_init__(self) -> None:
        check_types(self)
        fits = 1 <= self.multipliers <= _MOST_MULTIPLIERS
        require(self, fits, "multipliers", f"must be in 1..{_MOST_MULTIPLIERS}.")

    @property
    def name(self) -> str:
        return f"dot_{self.multipliers}"


@dataclass(frozen=True, kw_only=True)
class Tile:
    """T_in x T_out multipliers: a slice of several outputs' sums each cycle.

    `outputs` finishes a tile of outputs before the next and holds its sums; `inputs`
    uses up a tile of inputs before the next and keeps the partial sums of all outputs.
    """

    inputs: int = 16
    outputs: int = 16
    loop: Loop = "outputs"
    # Partial sums that the storage holds; None: as many as it takes.
    sum_words: int | None = None

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, "inputs", "outputs")
        for side in ("inputs", "outputs"):
            fits = self.multipliers <= _MOST_MULTIPLIERS
            require(self, fits, side, f"times the other must be in 1..{_MOST_MULTIPLIERS}.")
        words = self.sum_words
        enough = words is None or words >= self.outputs
        require(self, enough, "sum_words", f"must hold a tile of {self.outputs} sums.")

    @property
    def name(self) -> str:
        return f"tile_{self.loop}_{self.inputs}x{self.outputs}"

    @property
    def multipliers(self) -> int:
        return self.inputs * self.outputs


@dataclass(frozen=True, kw_only=True)
class Direct:
    """A multiplier for every connection of a layer: the network mapped to hardware."""

    @property
    def name(self) -> str:
        return "direct"


Machine = Systolic | Mac | Dot | Tile | Direct


def settings(machine: Machine) -> dict[str, Any]:
    """What a machine was made with; what came later only where it has a say."""
    return {
        field.name: getattr(machine, field.name)
        for field in fields(machine)
        if not field.metadata.get("added") or getattr(machine, field.name) != field.default
    }
