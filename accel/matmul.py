"""Any machine as the matrix product that `quant.execute.run` takes, and that counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int8, Integer

from accel import direct, loops, systolic
from accel.counters import Counters, total
from accel.faults import NONE, Fault, Masks, masks
from accel.gemm import batches
from accel.machine import Direct, Machine, Systolic
from accel.simulation import Run
from configs.checks import require
from quant.execute import Matmul
from quant.network import IntLayer


class Work(NamedTuple):
    """What one layer was given, what its products became, and what was counted."""

    x_MK: np.ndarray
    # int32 (M, N).
    sums_MN: np.ndarray
    counters: Counters


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A machine and how it is used."""

    machine: Machine
    # Images that share a load of held operands: one run.
    batch: int = 1
    # What is broken in a systolic array.
    faults: tuple[Fault, ...] = ()
    # Step register by register where there is a faster form that holds the same.
    literal: bool = False

    def __post_init__(self) -> None:
        require(self, self.batch >= 1, "batch", "must be 1 or more.")
        systolic_only = isinstance(self.machine, Systolic) or not self.faults
        require(self, systolic_only, "faults", "need a systolic machine.")
        for fault in self.faults:
            fault.require_inside(self.machine)

    def simulate(
        self,
        x_GMK: Integer[np.ndarray, "g m k"],
        w_KN: Int8[np.ndarray, "k n"],
        layer: IntLayer,
    ) -> Run:
        """G runs of (part of) a layer's product, every cycle stepped.

        Raises:
          Lost: a result did not come out.
        """
        if isinstance(self.machine, Systolic):
            broken = self.masks(layer)
            return systolic.run(self.machine, x_GMK, w_KN, broken, literal=self.literal)
        if isinstance(self.machine, Direct):
            positions = prod(layer.info.output_shape[:-1])
            return direct.run(self.machine, x_GMK, w_KN, positions=positions)
        return loops.run(self.machine, x_GMK, w_KN)

    def masks(self, layer: IntLayer) -> Masks:
        """The faults as they act in a layer, whose inputs may be signed or not."""
        if not self.faults:
            return NONE
        signed = {"weight": True, "input": layer.input.signed, "sum": True}
        found = masks(self.faults, self.machine, signed)
        if self.machine.dataflow != "is":
            return found
        # The array calls what it holds "weight", and what moves right "input".
        names = {"weight": "input", "input": "weight", "sum": "sum"}
        return Masks(*({names[n]: plane for n, plane in one.items()} for one in found))

    def matmul(self, done: Callable[[int], None] = lambda cycles: None) -> Matmul:
        """The product for `quant.execute.run`, outside `jit`; its counters are `Work`.

        Images go through in batches, one run each; a ragged last batch is a run of its
        own.

        Args:
          done: told the cycles of each layer when they are stepped.
        """

        def product(x_MK, w_KN, layer: IntLayer):
            x, w = np.asarray(x_MK), np.asarray(w_KN)
            runs, first = [], 0
            positions = prod(layer.info.output_shape[:-1])
            for size, count in batches(len(x) // positions, self.batch):
                rows = x[first : first + size * positions * count]
                first += len(rows)
                runs.append(self.simulate(rows.reshape(count, -1, x.shape[1]), w, layer))
            sums = np.concatenate([run.sums.reshape(-1, w.shape[1]) for run in runs])
            counters = total([run.counters for run in runs])
            done(counters.cycles)
            return jnp.asarray(sums), Work(x, sums, counters)

        return product
