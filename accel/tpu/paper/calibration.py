"""One parameter fitted to one published figure, and everything else that follows.

The effective bandwidth of the weight memory is chosen so that MLP0 reaches its published
TOPS. Nothing else is adjusted: not for another application, not for another figure. A
server is modelled: batches run back to back, the input of the next one arrives while the
last layer works.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from math import prod

from accel.machines.provenance import Provenance
from accel.tpu.machine import TpuMachine
from accel.tpu.paper import paper
from accel.tpu.paper.paper import App
from accel.tpu.sim import clock, maxplus, work
from accel.tpu.sim.counts import Counts, count
from accel.tpu.sim.schedule import steps, with_tiles
from accel.tpu.sim.table import table
from configs.registry import load_network

# Back to back; the first input's arrival, which nothing hides, is 1 % of one batch.
BATCHES = 16
# Bytes a second between which the effective bandwidth is looked for.
_SLOWEST, _FASTEST = 10**9, 34 * 10**9


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """An application on a machine; shares in percent of all cycles, as in table 3."""

    app: App
    counts: Counts
    tiles: int
    tops: float
    active: float
    weight_shift: float
    # Weight stall and non-matrix together: the model does not say which is which.
    stall_and_non_matrix: float

    @property
    def published(self) -> dict[str, float]:
        rows = self.app
        return {
            "tops": rows.tops.value,
            "active": rows.active.value,
            "weight_shift": rows.weight_shift.value,
            "stall_and_non_matrix": rows.weight_stall.value + rows.non_matrix.value,
        }

    @property
    def tops_error(self) -> float:
        """Percent of the published TOPS."""
        return 100 * (self.tops / self.app.tops.value - 1)

    def points(self, share: str) -> float:
        """Percentage points above the published share."""
        return getattr(self, share) - self.published[share]


def app_steps(app: App, machine: TpuMachine, batches: int, *, declared: bool) -> list:
    """The application's work, with tiles by its declared fill or by its shapes."""
    network, speed = load_network(app.config), app.speed.value
    found = steps(network, app.batch.value, machine, speed=speed, batches=batches)
    if not declared:
        return found
    return with_tiles(found, app.weights.value, app.tiles(machine.tile_bytes))


@functools.cache
def seconds(app: App, machine: TpuMachine, *, declared: bool = True) -> float:
    """Time of all batches, by the closed form."""
    done = app_steps(app, machine, BATCHES, declared=declared)
    return maxplus.predict(done, machine) / machine.clock_hz


def macs(todo: list) -> int:
    return sum(step.macs for step in todo if isinstance(step, work.Product))


def tops(app: App, machine: TpuMachine, *, declared: bool = True) -> float:
    """10^12 operations a second, by the closed form."""
    todo = app_steps(app, machine, BATCHES, declared=declared)
    cycles = maxplus.predict(todo, machine)
    return 2 * macs(todo) * machine.clock_hz / cycles / 1e12


@functools.cache
def effective_bandwidth() -> Provenance:
    """The least whole number of bytes a second at which MLP0 reaches its TOPS.

    More bandwidth never takes longer, so halving the range finds it.
    """
    app = paper.app(paper.FITTED)
    low, high = _SLOWEST, _FASTEST
    if tops(app, TpuMachine(weight_bandwidth=high)) < app.tops.value:
        raise ArithmeticError(f"{high} B/s do not reach {app.tops.value} TOPS")
    while high - low > 1:
        middle = (low + high) // 2
        enough = tops(app, TpuMachine(weight_bandwidth=middle)) >= app.tops.value
        low, high = (low, middle) if enough else (middle, high)
    return Provenance(
        value=high,
        unit="B/s",
        source=f"{app.tops.source}: MLP0's {app.tops.value} TOPS, declared inputs",
        status="fitted",
    )


def fitted_machine() -> TpuMachine:
    return TpuMachine(weight_bandwidth=effective_bandwidth().value)


def predict(app: App, machine: TpuMachine, *, declared: bool = True) -> Predicted:
    """All figures of an application, counted by the clock."""
    todo = app_steps(app, machine, BATCHES, declared=declared)
    rows = table(work.rows(todo, machine))
    times = clock.run(rows, fifo=machine.fifo_tiles)
    counts = count(rows, times, side=machine.side)
    products = [step for step in todo if isinstance(step, work.Product)]
    return Predicted(
        app=app,
        counts=replace(counts, macs=macs(todo)),
        tiles=sum(product.tiles for product in products) // BATCHES,
        tops=counts.tops(machine.clock_hz),
        active=100 * counts.share("active"),
        weight_shift=100 * counts.share("weight_shift"),
        stall_and_non_matrix=100
        * (counts.share("weight_stall") + counts.share("non_matrix")),
    )


@dataclass(frozen=True, kw_only=True)
class WhatIf:
    """How many times faster each application becomes, and its means."""

    speedups: dict[str, float]
    # As in the last column of table 3.
    arithmetic: float
    geometric: float
    # By deployed work, each pair's share split evenly (assumed).
    weighted: float


def what_if(machine: TpuMachine, changed: TpuMachine, *, declared: bool = True) -> WhatIf:
    """Time on one machine over time on another, for the six applications."""
    speedups = {
        app.name: seconds(app, machine, declared=declared)
        / seconds(app, changed, declared=declared)
        for app in paper.APPS
    }
    values = list(speedups.values())
    shares = [app.deployed.value for app in paper.APPS]
    pairs = zip(values, shares, strict=True)
    return WhatIf(
        speedups=speedups,
        arithmetic=sum(values) / len(values),
        geometric=prod(values) ** (1 / len(values)),
        weighted=sum(value * share for value, share in pairs) / sum(shares),
    )


@dataclass(frozen=True, kw_only=True)
class Square:
    """A square matrix product on an array: tiles, how full they are, how long it takes."""

    side: int
    tiles: int
    fill: float
    time_us: float


def square(size: int, rows: int, machine: TpuMachine, speed: int = 1) -> Square:
    """A matrix of size x size in the steady state: tiles * period / clock."""
    tiles = (-(-size // machine.side)) ** 2
    period = maxplus.tile_period(rows, machine, speed)
    return Square(
        side=machine.side,
        tiles=tiles,
        fill=size**2 / (tiles * machine.tile_bytes),
        time_us=tiles * period * 1e6 / machine.clock_hz,
    )


def ridge(machine: TpuMachine) -> float:
    """MACs for each weight byte at which the array and the weight memory keep pace."""
    return machine.multipliers * machine.clock_hz / machine.weight_bandwidth
