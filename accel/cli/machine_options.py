"""A machine from command-line options."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from accel.machines.machine import (
    Dataflow,
    Depthwise,
    Direct,
    Dot,
    Load,
    Loop,
    Mac,
    Machine,
    Registers,
    Systolic,
    Tile,
)
from configs.errors import InputError

Kind = Literal["systolic", "mac", "mac_dram", "dot", "tile", "direct"]

# Options of each kind, and what the machine calls them.
_FIELDS = {
    "systolic": {
        "rows": "rows",
        "cols": "cols",
        "dataflow": "dataflow",
        "weights": "weights",
        "load": "load",
        "accumulators": "accumulators",
        "depthwise": "depthwise",
        "vector_width": "vector_width",
    },
    "mac": {},
    "mac_dram": {"access_cycles": "access_cycles"},
    "dot": {"multipliers": "multipliers"},
    "tile": {
        "tile_inputs": "inputs",
        "tile_outputs": "outputs",
        "loop": "loop",
        "sum_words": "sum_words",
    },
    "direct": {},
}
_KINDS = {
    "systolic": Systolic, "mac": Mac, "mac_dram": Mac, "dot": Dot, "tile": Tile,
    "direct": Direct,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """The machine; what is left out has the default in brackets."""

    # systolic: a grid of PEs. mac: one multiplier; mac_dram: every operand and sum from
    # and to memory. dot: multipliers and an adder tree. tile: several trees. direct: a
    # multiplier for every connection.
    machine: Kind = "systolic"
    # systolic: rows of PEs [16].
    rows: int | None = None
    # systolic: columns of PEs [16].
    cols: int | None = None
    # systolic: what stays in the PEs: ws weights, os sums, is inputs [ws].
    dataflow: Dataflow | None = None
    # systolic: one register for held operands, or a shadow that loads meanwhile [single].
    weights: Registers | None = None
    # systolic: shadow registers load diagonal by diagonal, or all at once [skewed].
    load: Load | None = None
    # systolic: partial sums kept below each column [as many as it takes].
    accumulators: int | None = None
    # systolic: products in groups, as of a depthwise convolution: one group after the
    # other, several on the diagonal of a tile, or by a vector unit; auto is the way of the
    # fewest predicted cycles [auto].
    depthwise: Depthwise | None = None
    # systolic: multiply-accumulates a cycle of a vector unit beside the array [none].
    vector_width: int | None = None
    # dot: multipliers [256].
    multipliers: int | None = None
    # tile: inputs at a time [16].
    tile_inputs: int | None = None
    # tile: outputs at a time [16].
    tile_outputs: int | None = None
    # tile: which loop is the outer one [outputs].
    loop: Loop | None = None
    # tile: partial sums that the storage holds [as many as it takes].
    sum_words: int | None = None
    # mac_dram: cycles of one access [1].
    access_cycles: int | None = None

    def build(self) -> Machine:
        """The machine.

        Raises:
          InputError: there is no such machine, or an option belongs to another kind.
        """
        fields = _FIELDS[self.machine]
        given: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "machine" or value is None:
                continue
            if field.name not in fields:
                kind = next(k for k, names in _FIELDS.items() if field.name in names)
                flag = field.name.replace("_", "-")
                raise InputError(
                    f"`--{flag}` (={value}) belongs to --machine {kind}, not to "
                    f"{self.machine}; leave it out."
                )
            given[fields[field.name]] = value
        self._refuse_idle()
        if self.machine == "mac_dram":
            given["dram"] = True
        return _KINDS[self.machine](**given)

    def _refuse_idle(self) -> None:
        """Refuses what a machine of the right kind has no use for."""
        idle = [
            ("load", "weights", "shadow", self.weights != "shadow"),
            ("accumulators", "dataflow", "ws or is", self.dataflow == "os"),
        ]
        for flag, other, needed, unused in idle:
            value = getattr(self, flag)
            if unused and value is not None:
                raise InputError(
                    f"`--{flag}` (={value}) has a meaning with --{other} {needed} only; "
                    f"leave it out."
                )
