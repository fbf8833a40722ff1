"""Every register of a small array after every edge of the clock, for people to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Integer

from accel.machines.counters import PHASES
from accel.machines.machine import Systolic
from accel.simulate.control import HeldTiles, SumTiles
from accel.simulate.faults import NONE, Masks
from accel.simulate.phases import Bits, labels
from accel.simulate.register_level import SURPLUS, start
from configs.errors import InputError

# Values of all registers together: what a trace may take of memory and of a file.
_MOST_VALUES = 1 << 26


@dataclass(frozen=True)
class Trace:
    """One product on one array; time is the first axis, the state after each edge."""

    machine: Systolic
    # The product's factors, (M, K) and (K, N).
    x: np.ndarray
    w: np.ndarray
    # "weight", "input", "sum": int32 (cycles, rows, cols), whatever moves; "valid", bool:
    # the PE worked on a real operand on that edge. Where held operands load with the data
    # (`skewed`), an edge multiplies by what was held before it.
    registers: Mapping[str, np.ndarray]
    # What left the bottom row as a result, int32 (cycles, cols), and whether it did.
    captured: np.ndarray
    captured_valid: np.ndarray
    # One of PHASES for each cycle.
    phases: tuple[str, ...]

    @property
    def cycles(self) -> int:
        return len(self.phases)


def record(
    machine: Systolic,
    x_MK: Integer[np.ndarray, "m k"],
    w_KN: Integer[np.ndarray, "k n"],
    faults: Masks = NONE,
) -> Trace:
    """Steps a product through the literal array and keeps everything.

    Raises:
      InputError: the trace would be too large to look at.
      LostResultError: no result came out.
    """
    tiles = cut(machine, x_MK, w_KN)
    state, advance = start(tiles, faults, record=True)
    values = (tiles.edges + SURPLUS) * sum(plane.size for plane in state)
    if values > _MOST_VALUES:
        raise InputError(
            f"a trace of `{machine.name}` for {tiles.edges} cycles (={values} values) must "
            f"have at most {_MOST_VALUES}; take fewer items or a smaller array."
        )
    _, (planes, seen) = jax.device_get(advance(state, tiles.feed(0, tiles.edges + SURPLUS)))
    named = labels(Bits(*seen.bits), overlapped=machine.weights == "shadow")
    names = {"weight": planes.weight, "input": planes.input}
    if machine.dataflow == "is":
        names = {"weight": planes.input, "input": planes.weight}
    names |= {"sum": planes.sum}
    registers = {name: plane[: len(named), ..., 0] for name, plane in names.items()}
    return Trace(
        machine,
        x_MK,
        w_KN,
        registers | {"valid": planes.valid[: len(named)]},
        np.where(seen.result, seen.bottom[..., 0], 0)[: len(named)],
        seen.result[: len(named)],
        tuple(PHASES[label] for label in named),
    )


def cut(
    machine: Systolic,
    x_MK: Integer[np.ndarray, "m k"],
    w_KN: Integer[np.ndarray, "k n"],
) -> HeldTiles | SumTiles:
    """The tiles of one product, in the order in which the machine takes them."""
    if machine.dataflow == "os":
        return SumTiles.cut(machine, x_MK[None], w_KN)
    left, right = (x_MK, w_KN) if machine.dataflow == "ws" else (w_KN.T, x_MK.T)
    return HeldTiles.cut(machine, left[None], right[None])
