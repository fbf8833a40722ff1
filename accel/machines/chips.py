"""Machines by name: the array, the memory around it, and how sure each number is."""

from __future__ import annotations

from typing import Any, NamedTuple

from accel.cost.energy import Capacities
from accel.machines.machine import Dot, Mac, Systolic, Tile, settings
from accel.machines.memory import KIB, MIB, Memory
from accel.machines.provenance import Provenance, Status

_TPU = "Jouppi et al., ISCA 2017, section 2 and table 2"
_GEMMINI = "Genc et al., Gemmini, arXiv:1911.09925, default Configs.scala"
_OURS = "our choice: nothing is known"


class Chip(NamedTuple):
    """A machine with its memory, the energies that go with it, and the sources of both."""

    name: str
    machine: Systolic | Tile | Dot | Mac
    memory: Memory
    # Name of an energy preset.
    energy: str
    # By field of the machine or of `Memory`.
    sources: dict[str, Provenance]

    @property
    def capacities(self) -> Capacities:
        """Of the SRAM of each operand; outputs lie beside inputs."""
        memory = self.memory
        maps = memory.activation_bytes
        return Capacities(maps, memory.weight_bytes, memory.sum_bytes, maps)

    @property
    def multipliers(self) -> int:
        return self.machine.multipliers

    @property
    def macs_per_s(self) -> int:
        """At its peak."""
        return self.multipliers * self.memory.clock_mhz * 10**6

    @property
    def ridge(self) -> float:
        """MACs a DRAM byte from which on the array is the bound."""
        return self.macs_per_s / (self.memory.dram_mb_per_s * 10**6)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "machine": self.machine.name,
            "multipliers": self.multipliers,
            **settings(self.machine),
            **vars(self.memory),
            "energy": self.energy,
            "sources": {name: number.to_dict() for name, number in self.sources.items()},
        }


# Numbers of a machine that have a source: how many of what stand side by side.
SIDES = ("rows", "cols", "inputs", "outputs", "multipliers")


def _sourced(machine, memory: Memory, said: dict[str, tuple[str, Status]]):
    units = dict.fromkeys((name for name in SIDES if name in vars(machine)), "")
    units |= {"dram_mb_per_s": "MB/s", "clock_mhz": "MHz"}
    found = {}
    for name in (*units, "activation_bytes", "weight_bytes", "sum_bytes"):
        value = getattr(machine if name in vars(machine) else memory, name)
        source, status = said.get(name, (_OURS, "assumed"))
        unit = units.get(name, "bytes")
        found[name] = Provenance(value=value, unit=unit, source=source, status=status)
    return found


def _tpu_v1() -> Chip:
    machine = Systolic(rows=256, cols=256, weights="shadow")
    memory = Memory(
        activation_bytes=24 * MIB,
        # The weight FIFO: 4 tiles of 256 x 256.
        weight_bytes=4 * 64 * KIB,
        sum_bytes=4 * MIB,
        dram_mb_per_s=34_000,
        clock_mhz=700,
    )
    names = ("rows", "cols", "activation_bytes", "weight_bytes", "sum_bytes",
             "dram_mb_per_s", "clock_mhz")  # fmt: skip
    said: dict[str, tuple[str, Status]] = {name: (_TPU, "confirmed") for name in names}
    said["weight_bytes"] = (f"{_TPU}: 4 tiles of 64 KiB", "derived")
    # The process is 28 nm; no table is of that.
    return Chip("tpu_v1", machine, memory, "horowitz_45nm", _sourced(machine, memory, said))


def _gemmini() -> Chip:
    machine = Systolic(rows=16, cols=16, weights="shadow")
    memory = Memory(
        activation_bytes=128 * KIB,
        weight_bytes=128 * KIB,
        sum_bytes=64 * KIB,
        dram_mb_per_s=12_800,
        clock_mhz=1000,
    )
    split = f"{_GEMMINI}: 256 KiB scratchpad; half for each is our choice"
    said: dict[str, tuple[str, Status]] = {
        "rows": (_GEMMINI, "confirmed"),
        "cols": (_GEMMINI, "confirmed"),
        "activation_bytes": (split, "assumed"),
        "weight_bytes": (split, "assumed"),
        "sum_bytes": (_GEMMINI, "confirmed"),
    }
    sources = _sourced(machine, memory, said)
    return Chip("gemmini_16x16", machine, memory, "horowitz_45nm", sources)


def _small(name: str, machine: Systolic | Tile | Dot | Mac) -> Chip:
    """One of the lecture's machines; all of them have the same memory."""
    memory = Memory()
    return Chip(name, machine, memory, "horowitz_45nm", _sourced(machine, memory, {}))


_SMALL = (
    _small("small_16x16", Systolic()),
    _small("tile_16x16", Tile()),
    _small("tile_inputs_16x16", Tile(loop="inputs")),
    _small("dot_256", Dot()),
    _small("mac", Mac()),
)
CHIPS = {chip.name: chip for chip in (_tpu_v1(), _gemmini(), *_SMALL)}
