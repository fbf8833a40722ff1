"""Products in groups (depthwise convolutions) on an array: three ways, and which is used.

    channels   one group after the other, each a product [M, K] x [K, N] of its own
    diagonal   p groups in one product [M, p*K] x [p*K, p*N], their weights the blocks on
               its diagonal, zeros beside them
    vector     a vector unit beside the array: V multiply-accumulates a cycle, the K inputs
               of V sums one after the other

The zeros of a diagonal are loaded like weights and multiplied, but a multiplication by one
is not useful: it counts among the slots, not among the MACs. `auto` takes the fewest
predicted cycles for a full batch, in this order if they are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from accel.machines.counters import Counters, times, total
from accel.machines.machine import Direct, Machine, Systolic
from accel.predict import closed_forms as forms
from accel.workload.gemm import Gemm

Way = Literal["channels", "diagonal", "vector"]
# What a machine counts for one product.
Once = Callable[[Gemm], Counters]


@dataclass(frozen=True)
class Plan:
    """How the repeats of a product are done."""

    way: Way = "channels"
    # Repeats in one product of the machine: 1, or those that share the diagonal.
    together: int = 1

    @property
    def name(self) -> str:
        """
        >>> Plan().name, Plan("diagonal", 8).name
        ('channels', 'diagonal 8')
        """
        return f"{self.way} {self.together}" if self.way == "diagonal" else self.way


def plan(machine: Machine, gemm: Gemm, once: Once) -> Plan:
    """How a machine does the repeats of a product; `gemm` is that of a full batch."""
    if gemm.repeats == 1 or gemm.sharing != 1 or not isinstance(machine, Systolic):
        return Plan()
    plans = {
        "channels": [Plan()],
        "diagonal": list(_diagonals(machine, gemm)),
        "vector": [Plan("vector")] if machine.vector_width else [],
    }
    wanted = plans if machine.depthwise == "auto" else {machine.depthwise}
    open_to_it = [one for way in plans if way in wanted for one in plans[way]]
    return min(
        open_to_it or [Plan()],
        key=lambda one: counted(machine, gemm, one, once).cycles,
    )


def _diagonals(machine: Systolic, gemm: Gemm) -> Iterator[Plan]:
    """Numbers of groups that one tile has columns (for `is`: rows) for, or two."""
    fitting = {
        "ws": machine.cols // gemm.N,
        "os": machine.cols // gemm.N,
        "is": machine.rows // gemm.K,
    }[machine.dataflow]
    kept = machine.accumulators
    for together in range(2, min(gemm.repeats, max(2, fitting)) + 1):
        holds = kept is None or machine.dataflow != "is" or together * gemm.N <= kept
        if holds:
            yield Plan("diagonal", together)


def packed(gemm: Gemm, together: int) -> Gemm:
    """The product that does so many repeats on its diagonal."""
    return replace(gemm, K=together * gemm.K, N=together * gemm.N, repeats=1)


def counted(machine: Machine, gemm: Gemm, plan: Plan, once: Once) -> Counters:
    """What a machine counts for all repeats of a product in one run."""
    if plan.way == "vector":
        columns = gemm.repeats * gemm.N
        return forms.vector(gemm.M, gemm.K, columns, width=machine.vector_width)
    if isinstance(machine, Direct):
        return beside([once(gemm)] * gemm.repeats)
    whole, rest = divmod(gemm.repeats, plan.together)
    parts = [times(_useful(once, gemm, plan.together), whole)]
    if rest:
        parts.append(_useful(once, gemm, rest))
    return total(parts)


def _useful(once: Once, gemm: Gemm, together: int) -> Counters:
    return useful(once(packed(gemm, together)), together)


def useful(counters: Counters, together: int) -> Counters:
    """Counters of a product whose weights stand on the diagonal: a block of so many."""
    return counters._replace(macs=counters.macs // together)


def beside(counters: list[Counters]) -> Counters:
    """Repeats of `direct`: every connection has its multiplier, so that they stand side by
    side and share the cycles."""
    once = counters[0]
    every = total(counters)
    return every._replace(fill=once.fill, stream=once.stream, tiles=once.tiles)
