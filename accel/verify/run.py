"""Any machine as the matrix product that `quant.execute.run` takes, and that counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int8, Int32, Integer

from accel.machines.counters import Counters, total
from accel.machines.machine import Direct, Machine, Systolic
from accel.predict import grouped, timing
from accel.predict.grouped import Plan
from accel.simulate import direct, loops, systolic, vector
from accel.simulate.faults import NONE, Fault, Masks, masks
from accel.simulate.simulation import LostResultError, Run
from accel.verify.pieces import pieces
from accel.workload import gemm as gemms
from accel.workload.gemm import batches
from configs.checks import require
from quant.execute import Matmul
from quant.network import IntStep


class LayerRun(NamedTuple):
    """What one layer was given, what its products became, and what was counted."""

    x_MK: Integer[np.ndarray, "m k"]
    w_KN: Int8[np.ndarray, "k n"]
    sums_MN: Int32[np.ndarray, "m n"]
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
        layer: IntStep,
    ) -> Run:
        """G runs of (part of) a layer's product, every cycle stepped.

        Raises:
          LostResultError: a result did not come out.
        """
        if isinstance(self.machine, Systolic):
            broken = self.masks(layer)
            return systolic.run(self.machine, x_GMK, w_KN, broken, literal=self.literal)
        if isinstance(self.machine, Direct):
            return direct.run(self.machine, x_GMK, w_KN, positions=layer.product.positions)
        return loops.run(self.machine, x_GMK, w_KN)

    def masks(self, layer: IntStep) -> Masks:
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

    def plan(self, layer: IntStep) -> Plan:
        """How the groups of a layer's product are done."""
        gemm = gemms.of(layer.product, layer.name, self.batch)
        return timing.plan(self.machine, gemm)

    def matmul(self, done: Callable[[int], None] = lambda cycles: None) -> Matmul:
        """The product for `quant.execute.run`, outside `jit`; its counters are `LayerRun`.

        Images go through in batches, one run each; a ragged last batch is a run of its
        own. Groups are done as `plan` says.

        Args:
          done: told the cycles of each layer when they are stepped.

        Raises:
          LostResultError: (the product) a result of some layer did not come out.
        """

        def product(
            x_MK: Integer[Array, "m gk"], w_KN: Int8[Array, "k n"], layer: IntStep
        ) -> tuple[Int32[Array, "m n"], LayerRun]:
            x, w = np.asarray(x_MK), np.asarray(w_KN)
            plan = self.plan(layer)
            try:
                runs = [self._grouped(g, w, layer, plan) for g in self._runs(x, layer)]
            except LostResultError as lost:
                raise LostResultError(f"layer `{layer.name}`: {lost}") from lost
            sums = np.concatenate([run.sums.reshape(-1, w.shape[1]) for run in runs])
            counters = total([run.counters for run in runs])
            done(counters.cycles)
            return jnp.asarray(sums), LayerRun(x, w, sums, counters)

        return product

    def _runs(
        self, x_MK: Integer[np.ndarray, "m gk"], layer: IntStep
    ) -> Iterator[Integer[np.ndarray, "g m gk"]]:
        """The rows of all runs of a layer, those of one size side by side."""
        first, positions = 0, layer.product.positions
        for size, count in batches(len(x_MK) // positions, self.batch):
            rows = x_MK[first : first + size * positions * count]
            first += len(rows)
            yield rows.reshape(count, -1, x_MK.shape[1])

    def _grouped(
        self,
        x_GMK: Integer[np.ndarray, "g m gk"],
        w_KN: Int8[np.ndarray, "k n"],
        layer: IntStep,
        plan: Plan,
    ) -> Run:
        """Runs of a layer with all groups of its product."""
        node = layer.product
        if plan.way == "vector":
            width = self.machine.vector_width
            return vector.run(width, x_GMK, w_KN, repeats=node.repeats)
        found: list[Counters] = []
        sums = np.empty((*x_GMK.shape[:2], w_KN.shape[1]), np.int32)
        for piece in pieces(node, plan, w_KN):
            run = self.simulate(x_GMK[:, :, piece.inputs], piece.w_KN, layer)
            sums[:, :, piece.columns] = run.sums
            found.append(grouped.useful(run.counters, len(piece.repeats)))
        side_by_side = isinstance(self.machine, Direct)
        return Run(sums, grouped.beside(found) if side_by_side else total(found))
