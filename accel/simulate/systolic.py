"""Products on a systolic array: the fastest simulator for it, or the literal one."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int8, Integer

from accel.machines.machine import Systolic
from accel.simulate import batched_tiles, register_level
from accel.simulate.faults import NONE, Masks
from accel.simulate.simulation import Run


def run(
    machine: Systolic,
    x_GMK: Integer[np.ndarray, "g m k"],
    w_KN: Int8[np.ndarray, "k n"],
    faults: Masks = NONE,
    *,
    literal: bool = False,
) -> Run:
    """G products with the same weights, exact, every cycle stepped and counted.

    Args:
      literal: step every register by itself, as faults, shadow registers and os need;
        single held registers have a faster form that holds the same
        (`register_renaming.py`).

    Raises:
      LostResultError: results are missing.
    """
    rotates = machine.dataflow != "os" and machine.weights == "single"
    if literal or not rotates or faults.keep:
        return register_level.run(machine, x_GMK, w_KN, faults)
    if machine.dataflow == "ws":
        return batched_tiles.run(machine, x_GMK, w_KN[None])
    found = batched_tiles.run(machine, w_KN.T[None], x_GMK.transpose(0, 2, 1))
    counters = found.counters._replace(
        input_fetches=found.counters.weight_fetches,
        weight_fetches=found.counters.input_fetches,
    )
    return Run(found.sums.transpose(0, 2, 1), counters)
