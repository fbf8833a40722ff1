"""What `sim_speed.py` times: the simulator, its parts, and the ceiling over it.

Imported by the process that is timed, after its cores and XLA's flags are fixed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from accel.machines.counters import times
from accel.machines.machine import Systolic
from accel.predict.timing import predict
from accel.simulate import register_renaming, systolic
from accel.simulate.batched_tiles import Plan
from accel.workload.gemm import Gemm
from benchmarks import scalesim_peer

# Rows of inputs, such as the 24 x 24 output positions of a convolution.
M = 576
# More tiles than are ever stepped side by side.
_MANY = 1 << 20
# Multipliers that `register_level.py` likes side by side, all arrays together.
_LITERAL_PLANE = 8192


class Turn(NamedTuple):
    """Something to time, and what it gets done."""

    # Cycles of the array, or PE-updates of the ceiling.
    count: int
    work: Callable[[], object]

    def rate(self) -> float:
        """Done a second."""
        began = time.perf_counter()
        self.work()
        return self.count / (time.perf_counter() - began)


class Peer(NamedTuple):
    """SCALE-Sim on a product, timed inside its own process."""

    python: str
    tiles: Tiles

    def rate(self) -> float:
        return scalesim_peer.rate(self.python, self.tiles.size, self.tiles.gemm)


class Tiles(NamedTuple):
    """Size of a product [M, K] x [K, N] in whole tiles of a square array."""

    size: int
    deep: int
    wide: int

    @property
    def gemm(self) -> Gemm:
        return Gemm("gemm", 1, M, self.deep * self.size, self.wide * self.size)

    @property
    def array(self) -> Systolic:
        return Systolic(rows=self.size, cols=self.size)

    @property
    def cycles(self) -> int:
        return predict(self.array, self.gemm).cycles


def side_by_side(size: int, cores: int, cycles: float) -> Tiles:
    """About so many cycles, with as many tiles of N as keep all lanes of `cores` busy."""
    plan = Plan.made(Systolic(rows=size, cols=size), M, _MANY)
    wide = cores * plan.blocks * plan.lanes
    return Tiles(size, max(1, round(cycles / Tiles(size, 1, wide).cycles)), wide)


def squarish(size: int, cycles: float) -> Tiles:
    """About so many cycles, with about as many tiles of K as of N."""
    tiles = max(1, int(cycles / Tiles(size, 1, 1).cycles))
    deep = int(tiles**0.5)
    return Tiles(size, deep, tiles // deep)


def product(tiles: Tiles, *, runs: int = 1, literal: bool = False) -> Turn:
    """Products of random integers from numpy arrays to numpy arrays, counters included.

    They are done once before, which compiles; that time every sum and every counter is
    compared.
    """
    gemm, draw = tiles.gemm, np.random.default_rng(0)
    x = draw.integers(0, 256, (runs, gemm.M, gemm.K), dtype=np.uint8)
    w = draw.integers(-127, 128, (gemm.K, gemm.N), dtype=np.int8)
    work = partial(systolic.run, tiles.array, x, w, literal=literal)
    found = work()
    wanted = x.astype(np.float64) @ w.astype(np.float64)
    if not np.array_equal(found.sums, wanted):
        raise SystemExit(f"{tiles.array.name}: sums of {gemm} are wrong")
    if found.counters != times(predict(tiles.array, gemm), runs):
        raise SystemExit(f"{tiles.array.name}: counters of {gemm} are not the closed form")
    return Turn(found.counters.cycles, work)


def literal(size: int, cycles: float) -> Turn:
    """The array that steps every register by itself, on as many runs as it likes."""
    runs = max(1, _LITERAL_PLANE // size**2)
    return product(squarish(size, cycles / runs), runs=runs, literal=True)


def inner_loop(size: int, cycles: float) -> Turn:
    """The device programs alone, on arrays that are there already, on every device.

    For each tile its load, its stream with all skew, and its results brought into line.
    """
    plan = Plan.made(Systolic(rows=size, cols=size), M, _MANY)
    each = Tiles(size, 1, plan.blocks * plan.lanes).cycles
    devices = jax.local_devices()
    repeats = max(1, round(cycles / (each * len(devices))))
    operands = [_operands(plan, device) for device in devices]

    def work(device: jax.Device, given: tuple) -> jax.Array:
        held, enable, items, valid = given
        with jax.default_device(device):
            below = jnp.zeros((plan.blocks, plan.edges, plan.cols, plan.lanes), jnp.int32)
            after = jnp.zeros_like(below)
            for _ in range(repeats):
                weights = register_renaming.load(held, enable)
                state = register_renaming.empty(
                    plan.blocks, plan.rows, plan.cols, plan.lanes
                )
                _, below, _ = register_renaming.stream(state, weights, items, valid, below)
                found = register_renaming.unskewed(below, after)
            return found.block_until_ready()

    return _everywhere(repeats * each, work, operands)


def _operands(plan: Plan, device: jax.Device) -> tuple:
    """A tile for each lane of each block, and items that stream through it."""
    draw = np.random.default_rng(0)
    held = (plan.blocks, plan.rows, plan.cols, plan.lanes)
    items = np.zeros(
        (plan.blocks, plan.before + plan.edges, plan.rows, plan.lanes), np.uint8
    )
    given = items[:, plan.before : plan.before + M]
    given[:] = draw.integers(0, 256, given.shape, dtype=np.uint8)
    return jax.device_put(
        (
            draw.integers(-127, 128, held, dtype=np.int8),
            np.ones(plan.rows, bool),
            items,
            np.arange(plan.edges) < M,
        ),
        device,
    )


def ceiling(size: int, updates: float) -> Turn:
    """PE-updates of a state as large as the simulator's, on every device, and no more.

    sum += weight * t on step t: an int32 multiply-accumulate in place, weights int8 as the
    arrays hold them. Nothing moves: no rotation, no operand but the number of the step, no
    valid bits, no results.
    """
    plan = Plan.made(Systolic(rows=size, cols=size), M, _MANY)
    shape = (plan.cols, plan.rows * plan.lanes)
    devices = jax.local_devices()
    each = plan.cols * plan.rows * plan.lanes
    steps = max(1, round(updates / (each * len(devices))))
    weights = np.random.default_rng(0).integers(-127, 128, shape, dtype=np.int8)
    operands = [(jax.device_put(weights, device),) for device in devices]

    def work(device: jax.Device, given: tuple) -> jax.Array:
        with jax.default_device(device):
            sums = jnp.zeros(shape, jnp.int32)
            return _accumulate(sums, *given, steps).block_until_ready()

    return _everywhere(steps * each, work, operands)


@partial(jax.jit, donate_argnums=0)
def _accumulate(sums: jax.Array, weights: jax.Array, steps: int) -> jax.Array:
    def step(t, sums):
        return sums + weights.astype(jnp.int32) * t

    return lax.fori_loop(0, steps, step, sums)


def _everywhere(count: int, work: Callable, operands: list) -> Turn:
    """The same on every device at once, a thread each; warmed up. Gives all results."""
    devices = jax.local_devices()

    def all_devices() -> list[jax.Array]:
        with ThreadPoolExecutor(len(devices)) as pool:
            return list(pool.map(work, devices, operands))

    all_devices()
    return Turn(count * len(devices), all_devices)
