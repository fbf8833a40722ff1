"""A whole sweep: unit after unit on all devices, with a memory that does not grow.

The device throws away what the front already beats; what is left is evaluated again,
filtered exactly on the host and added to the front. Neither the number of devices nor an
interruption changes the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np

from accel.cost.energy_table import EnergyTable
from accel.cost.fixed_mapping import fixed, kept
from accel.cost.too_small import TooSmall
from accel.sweep import front as fronts
from accel.sweep import plan as plans
from accel.sweep import program, state
from accel.sweep.front import Front
from accel.sweep.metrics import HEAT, METRICS
from accel.sweep.space import Space
from accel.sweep.summary import summary
from accel.workload.layer import LayerWorkload
from configs.errors import InputError

# Points of the front that the device compares with, and rows evaluated in one go.
_FILTER, _ROWS = 64, 64
# Designs of a step on one device: some tenths of a second.
_STEP = 1 << 22
# Units spread over the space whose points the front begins with.
_SEEDS = 24
_SAVE_S = 5.0


def sweep(
    works: Sequence[LayerWorkload],
    space: Space,
    preset: EnergyTable,
    *,
    objectives: Sequence[str] = fronts.DEFAULT,
    state_path: Path | None = None,
    longest_s: float | None = None,
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int], None] = lambda done, size: None,
    devices: Sequence[jax.Device] | None = None,
) -> dict[str, Any]:
    """Evaluates every design of a space; gives back a summary for JSON.

    Args:
      state_path: file to go on from if it is there, written every few seconds.
      longest_s: refuses a sweep that would take longer, once it has been timed.
      say, progress: told size and estimated time first; designs done and the size.

    Raises:
      InputError: a count could overflow, no design is legal, the sweep would take too
        long, or the state is another sweep's.
    """
    names = fronts.check_objectives(objectives)
    if not works:
        raise InputError("`works` (=[]) must hold a layer with weights.")
    plan = plans.make(works, space, preset)
    if not plan.choices.legal.any():
        _refuse(works, space)
    key = state.identity(works, space, preset, names)
    began = time.perf_counter()
    with jax.enable_x64(True):
        runner = _Runner(plan, names, list(devices or jax.local_devices()))
        start = _run(runner, state_path, key, longest_s, say, progress)
        found = runner.finish()
    took = time.perf_counter() - began
    clocked = {"wall_s": took, "designs_per_s": runner.rate, "resumed_at": start}
    more = {"devices": len(runner.devices), "identity": key}
    return summary(plan, works, preset, names, found, clocked) | more


def _run(runner, state_path, key, longest_s, say, progress) -> int:
    """All steps that are left; gives back how many designs were done before."""
    size = runner.plan.space.size
    if state_path is not None and state_path.exists():
        runner.state = state.load(state_path, key)
        say(f"going on after {runner.done:,} of {size:,} designs")
    start = runner.done
    layers = len(runner.plan.tables.K)
    say(f"{size:,} designs of {layers} layer{'s' if layers > 1 else ''}")
    runner.begin()
    saved, timed = time.perf_counter(), False
    while runner.state.position < runner.plan.units:
        runner.step()
        progress(runner.done, size)
        if not timed:
            timed, left = True, (size - runner.done) / runner.rate
            say(f"{runner.rate / 1e6:.3g} million a second: {_duration(left)} to go")
            if longest_s is not None and left > longest_s:
                raise InputError(
                    f"`Space` (={size:,} designs) takes {_duration(left)}, longer than "
                    f"the {_duration(longest_s)} allowed; use shorter axes, or allow it."
                )
        if state_path is not None and time.perf_counter() - saved > _SAVE_S:
            state.save(state_path, runner.state, key)
            saved = time.perf_counter()
    if state_path is not None:
        state.save(state_path, runner.state, key)
    return start


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _refuse(works: Sequence[LayerWorkload], space: Space) -> NoReturn:
    """No design is legal: says so of the one with the largest buffers."""
    last = {name: getattr(space, name)[-1] for name in plans.rule.REASONS[:3]}
    design = replace(space.design(0), **last)
    try:
        for work, places in zip(works, kept(list(works), design.memory), strict=True):
            fixed(work, design.machine, design.memory, places)
    except TooSmall as error:
        raise error.at_most() from None
    raise RuntimeError("no design is legal, though all layers of one have a mapping")


class _Runner:
    """Steps through the units; what it has found is in `state`."""

    def __init__(self, plan: plans.Plan, names: tuple[str, ...], devices: list) -> None:
        self.plan, self.names, self.devices = plan, names, devices
        mesh = jax.sharding.Mesh(np.array(devices), ("all",))
        shared = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        self._tables = jax.device_put(plan.tables, shared)
        self._alone = jax.device_put(plan.tables, devices[0])
        self._sweep = program.sweeper(mesh, names)
        unit = plan.space.buffers * plan.rate_block
        self._each = max(1, min(_STEP // unit, -(-plan.units // len(devices))))
        self._bounds = None
        self._useful = np.zeros(0)
        self._seconds, self._counted = 0.0, 0
        self.state = state.State.begin(plan.space)

    @property
    def done(self) -> int:
        """Designs done."""
        blocks, rest = divmod(self.state.position, self.plan.rate_blocks)
        rates = blocks * self.plan.space.rates
        rates += min(rest * self.plan.rate_block, self.plan.space.rates)
        return rates * self.plan.space.buffers

    @property
    def rate(self) -> float:
        """Designs a second, without compilation."""
        return self._counted / self._seconds if self._seconds else 0.0

    def begin(self) -> None:
        """Compiles, and fills the front from units all over the space."""
        self._useful = np.zeros(len(self.state.front.index))
        units = np.linspace(0, self.plan.units - 1, _SEEDS).astype(np.int64)
        most = min(self._each * len(self.devices), 8)
        for some in np.split(units, range(most, _SEEDS, most)):
            self._absorb(some, self._found(some))

    def step(self) -> None:
        """The next units, on all devices."""
        began, before = time.perf_counter(), self.done
        most = self._each * len(self.devices)
        units = np.arange(self.state.position, self.state.position + most)
        units = units[units < self.plan.units]
        found = self._found(units)
        self._check(found)
        self._count(units, found)
        self._absorb(units, found)
        self.state.position += len(units)
        self._seconds += time.perf_counter() - began
        self._counted += self.done - before

    def _found(self, units: np.ndarray) -> program.Found:
        """What the device says of some units, [units]; the last one fills up the step."""
        shape = (len(self.devices), self._each)
        full = np.full(shape[0] * shape[1], units[-1])
        full[: len(units)] = units
        found = self._sweep(self._tables, self._filter(), full.reshape(shape))
        flat = (np.asarray(v).reshape(-1, *v.shape[2:])[: len(units)] for v in found)
        return program.Found(*flat)

    def _filter(self) -> np.ndarray:
        """Points of the front for the device, [objectives, _FILTER]."""
        values = self.state.front.objectives(self.names)
        if len(values) > _FILTER:
            # Those that beat most so far; among equals those spread over the front.
            spread = np.argsort(values[:, 0], kind="stable")
            spread = spread[np.linspace(0, len(values) - 1, _FILTER // 2).astype(int)]
            useful = np.argsort(-self._useful, kind="stable")
            useful = useful[~np.isin(useful, spread)][: _FILTER - len(np.unique(spread))]
            values = values[np.concatenate([np.unique(spread), useful])]
        chosen = np.full((len(self.names), _FILTER), np.inf)
        chosen[:, : len(values)] = values.T
        return chosen

    def _check(self, found: program.Found) -> None:
        """What was proved before the run, once more from what came out of it."""
        if self._bounds is None:
            self._bounds = self.plan.bounds
        if (found.most > self._bounds).any():
            raise RuntimeError(
                f"counts reach {found.most.max(0)}, beyond the proved {self._bounds}"
            )

    def _count(self, units: np.ndarray, found: program.Found) -> None:
        now, rates = self.state, self.plan.rates_of(units)
        expected = self.plan.legal_rows(units)
        if (found.legal != expected).any():
            raise RuntimeError("the device found other designs legal than the rule")
        now.legal += int((found.legal * rates).sum())
        arrays = units // self.plan.rate_blocks
        for at, name in enumerate(HEAT):
            np.minimum.at(now.heat[at], arrays, found.least[:, METRICS.index(name)])
        best = found.least.argmin(0)
        each = np.arange(len(METRICS))
        value = found.least[best, each]
        better = value < now.least
        now.least = np.where(better, value, now.least)
        now.unit = np.where(better, units[best], now.unit)
        now.row = np.where(better, found.at[best, each], now.row)

    def _absorb(self, units: np.ndarray, found: program.Found) -> None:
        """Adds to the front what the device did not throw away."""
        for unit, maybe, ideal in zip(units, found.maybe, found.ideal, strict=True):
            rows = np.flatnonzero(maybe)
            while len(rows):
                rows = rows[self._open(ideal[:, rows])]
                some, rows = rows[:_ROWS], rows[_ROWS:]
                if len(some):
                    self._add(self._points(unit, some))

    def _open(self, ideal: np.ndarray) -> np.ndarray:
        """Whether nothing in the front beats the ideal point of a row."""
        values = self.state.front.objectives(self.names)
        here, there = ideal.T[:, None], values[None]
        beats = (there <= here).all(-1) & (there < here).any(-1)
        self._useful[: len(values)] += beats.sum(0)
        return ~beats.any(1)

    def _points(self, unit: int, rows: np.ndarray) -> Front:
        """Points of some rows of a unit that may be on the front."""
        full = np.full(_ROWS, rows[-1])
        full[: len(rows)] = rows
        values, maybe = program.detail(
            self._alone, self._filter(), np.int64(unit), full, self.names
        )
        row, rate = np.nonzero(np.asarray(maybe)[: len(rows)])
        index = self.plan.index(unit, rows[row], rate)
        return Front(index, np.asarray(values)[:, row, rate].T)

    def _add(self, points: Front) -> None:
        before = self.state.front
        after = fronts.merged(before, points, self.names)
        if after is not before:
            # Scores stay with their points.
            at = np.searchsorted(after.index, before.index).clip(0, len(after.index) - 1)
            same = after.index[at] == before.index
            useful = np.zeros(len(after.index))
            useful[at[same]] = self._useful[: len(before.index)][same]
            self.state.front, self._useful = after, useful

    def finish(self) -> dict[str, Any]:
        """The state, and the design behind each smallest value."""
        least = {}
        for at, name in enumerate(METRICS):
            unit, row = int(self.state.unit[at]), int(self.state.row[at])
            values, _ = program.detail(
                self._alone, self._filter(), np.int64(unit), np.full(_ROWS, row), self.names
            )
            rate = int(np.asarray(values)[at, 0].argmin())
            least[name] = {
                "value": float(self.state.least[at]),
                "index": int(self.plan.index(unit, row, rate)),
            }
        return {"state": self.state, "least": least}
