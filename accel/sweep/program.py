"""The sweep on the device: one unit of designs after the other, reduced where it is made.

A unit is one array (dataflow, rows, cols) with some rates and all buffers, points that
follow each other in the space. What depends on the array only is computed once (`_priced`);
the cycles of each option of each layer once for every rate; a design then adds up its
layers. Reductions: smallest value of each metric, and which combinations of buffers may
hold a point of the front.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from accel.cost.access_counts import moved
from accel.cost.closed_form import Totals
from accel.cost.energy import Prices, energy
from accel.machines.counters import Counters
from accel.sweep import forms
from accel.sweep.choices import Options
from accel.sweep.metrics import METRICS
from accel.sweep.space import Flow
from accel.workload.layer import Bits

Array = Any

_HELD: dict[Flow, Any] = {
    "ws": "weights",
    "os": "sums",
    "is": "inputs",
    "ws_shadow": "weights",
    "is_shadow": "inputs",
}
# Combinations of buffers evaluated together: with the rates, what the L1 cache holds.
BLOCK = 32
_NO_CYCLES = 1e100


class Tables(NamedTuple):
    """The space and the network as arrays."""

    # [layers, 1]
    K: Array
    N: Array
    repeats: Array
    weight_bits: Array
    activation_bits: Array
    output_bits: Array
    # [layers, parts, options]
    options: Options
    # [cols, blocks, layers, BLOCK], option of a layer, the last for none.
    chosen: Array
    # Values of the axes: [arrays, 2]; number of the columns' axis and of the dataflow.
    sides: Array
    cols_at: Array
    dataflow: Array
    # Of one PE, [arrays].
    area_of_pe: Array
    # [rate blocks, rates]; cycles a byte, half of it, MHz, MB/s, fJ a cycle, us a cycle.
    rates: Array
    # [blocks, BLOCK]: bytes of all buffers; thousandths of the energy unit a byte.
    stored: Array
    price_activation: Array
    price_weight: Array
    price_sum: Array
    # Prices of what no buffer moves.
    prices: Prices


class Priced(NamedTuple):
    """What an array makes of the options of every layer, at any rate; [layers, options]."""

    compute: Array
    dram_inputs: Array
    dram_weights: Array
    dram_outputs: Array
    # Energy of all that has one price; bytes at the buffers.
    fixed: Array
    activation: Array
    weight: Array
    sum: Array
    chip_bytes: Array


def blocks(tables: Tables, rows: Array, cols: Array) -> forms.Blocks:
    """The blocks of every option on an array so large, [layers, parts * options]."""
    layers = len(tables.K)
    o = jax.tree.map(lambda field: field.reshape(layers, -1), tables.options)
    inputs = 1 - o.inputs_kept
    n = jnp.where(o.whole == 1, tables.N, jnp.minimum(tables.N, cols))
    T_N = -(-tables.N // n)
    whole = forms.Blocks(
        T_M=o.trips, T_N=T_N, m=o.rows, m_last=o.rows_last, n=n,
        n_last=tables.N - (T_N - 1) * n, K=tables.K,
        inputs=o.inputs * inputs, inputs_last=o.inputs_last * inputs,
        leaves=1 - o.outputs_kept, weight_bits=tables.weight_bits,
        output_bits=tables.output_bits,
    )  # fmt: skip
    if o.room is None:
        return whole
    # Options of other arrays have no meaning here; at least one term keeps them numbers.
    room = jnp.maximum(8 * (o.room // 2) // (tables.weight_bits * n), 1)
    slices = jnp.where(room >= rows, room // rows * rows, room)
    K = jnp.where(o.room > 0, jnp.minimum(slices, tables.K), tables.K)
    T_K = -(-tables.K // K)
    return whole._replace(T_K=T_K, K=K, K_last=tables.K - (T_K - 1) * K)


def _counted(
    b: forms.Blocks, dataflow: Flow, rows, cols
) -> tuple[list[forms.BlockCycles], Counters]:
    """Cycles of the array in each kind of block, and its counters over all blocks.

    Where K is cut, of blocks of a full slice first, then of the last one.
    """
    m, n, count = forms.places(b)
    kinds = [(b.K, count)]
    if b.T_K is not None:
        kinds = [(b.K, count * (b.T_K - 1)[None]), (b.K_last, count)]
    works, total = [], None
    for K, times in kinds:
        counters = forms.array_counters(dataflow, m, K[None], n, rows=rows, cols=cols)
        some = Counters(*(
            jnp.sum(jnp.broadcast_to(value, times.shape) * times, axis=0)
            for value in counters
        ))  # fmt: skip
        works.append(forms.BlockCycles(*jnp.broadcast_to(counters.cycles, count.shape)))
        total = some if total is None else Counters(*map(jnp.add, total, some))
    return works, total


def _joined(tables: Tables, value: Array) -> Array:
    """[layers, parts * options, ...] as the sums over parts, [layers, options, ...]."""
    count = tables.options.count
    apart = value.reshape(*count.shape, *value.shape[2:])
    times = count.reshape(*count.shape, *(1 for _ in value.shape[2:]))
    return (apart * times.astype(value.dtype)).sum(1)


def _priced(tables: Tables, b: forms.Blocks, dataflow: Flow, rows, cols) -> tuple:
    """Work of the blocks, and what the options of all layers cost."""
    works, counted = _counted(b, dataflow, rows, cols)
    sums = ((b.T_M - 1) * b.m + b.m_last) * tables.N

    def joined(value: Array) -> Array:
        return _joined(tables, jnp.broadcast_to(value, b.m.shape))

    counted, sums, inputs, weights, outputs = jax.tree.map(joined, (
        counted,
        sums,
        (b.T_M - 1) * b.inputs + b.inputs_last,
        forms.all_weights(b),
        forms.all_outputs(b),
    ))  # fmt: skip
    zero = jnp.zeros_like(counted.macs)
    dram = Totals(
        cycles=zero,
        compute=counted.cycles,
        dram_inputs=inputs,
        dram_weights=weights,
        dram_sums_read=zero,
        dram_sums_written=zero,
        dram_outputs=outputs,
    )
    bits = Bits(tables.weight_bits, tables.activation_bits, tables.output_bits)
    traffic = moved(counted, dram, sums=sums, held=_HELD[dataflow], bits=bits)
    spent = energy(traffic, macs=counted.macs, cycles=0, prices=tables.prices)
    one = Prices(0, 0, 0, 0, 1, 1, 1, 1, 0)
    at = energy(traffic, macs=0, cycles=0, prices=one)
    priced = Priced(
        compute=dram.compute, dram_inputs=dram.dram_inputs, dram_weights=dram.dram_weights,
        dram_outputs=dram.dram_outputs, fixed=spent.total,
        activation=at.buffer_inputs + at.buffer_outputs, weight=at.buffer_weights,
        sum=at.buffer_sums, chip_bytes=traffic.buffer,
    )  # fmt: skip
    whole = (v * tables.repeats for v in priced)
    return works, Priced(*(v.astype(jnp.float64) for v in whole))


def _periods(
    b: forms.Blocks, works: list[forms.BlockCycles]
) -> tuple[list[forms.Period], list]:
    """Of the options whose K is whole, and of those where it is cut."""
    found, ends = forms.periods(b, works[0])
    if b.T_K is None:
        return found, ends
    sliced = forms.flag(b.T_K > 1)
    cut = forms.sliced_periods(b, *works)
    found = [one._replace(count=one.count * (1 - sliced)) for one in found]
    return found + [one._replace(count=one.count * sliced) for one in cut], ends


def table(tables: Tables, array: Array, at_rates: Array) -> tuple[Array, Array]:
    """Cycles [layers, options + 1, rates] and `Priced` [fields, layers, options + 1].

    The option more is what a layer without a mapping gets: no finite figures, and cycles
    that remain numbers in every product.
    """
    rows, cols = tables.sides[array]
    b = blocks(tables, rows, cols)
    branches = [lambda b, d=d: _priced(tables, b, d, rows, cols) for d in _HELD]
    works, priced = lax.switch(tables.dataflow[array], branches, b)
    rates = forms.Rates(at_rates[0], at_rates[1])
    cycles = _joined(tables, forms.cycles(*_periods(b, works), rates))
    cycles = cycles * tables.repeats[..., None].astype(jnp.float64)
    fields = jnp.stack(priced)
    return (
        jnp.pad(cycles, ((0, 0), (0, 1), (0, 0)), constant_values=_NO_CYCLES),
        jnp.pad(fields, ((0, 0), (0, 0), (0, 1)), constant_values=jnp.inf),
    )


def points(tables, array, at_rates, cycles_of, priced, chosen, block) -> dict[str, Array]:
    """Every metric of a block of designs, [BLOCK, rates] or what broadcasts to it.

    Those of designs without a mapping mean nothing, but that `compute` is infinite.
    """
    layers = range(len(tables.K))
    cycles = sum(cycles_of[layer][chosen[layer]] for layer in layers)
    sums = sum(priced[:, layer][:, chosen[layer]] for layer in layers)
    found = Priced(*(value[:, None] for value in sums))
    stored, a, w, s = (v[:, None] for v in block)
    sides = tables.sides[array].astype(jnp.float64)
    clock, bandwidth, static, tick_us = at_rates[2:][:, None]
    spent = found.fixed + found.activation * a + found.weight * w + found.sum * s
    time_us = cycles * tick_us
    joules = spent + cycles * static
    return {
        "cycles": cycles,
        "stall": cycles - found.compute,
        "time_us": time_us,
        "energy": joules,
        "edp": joules * time_us,
        "compute": found.compute,
        "dram_inputs": found.dram_inputs,
        "dram_weights": found.dram_weights,
        "dram_outputs": found.dram_outputs,
        "dram_bytes": found.dram_inputs + found.dram_weights + found.dram_outputs,
        "chip_bytes": found.chip_bytes,
        "area": stored + tables.area_of_pe[array] * sides[0] * sides[1],
        "dram_mb_per_s": bandwidth,
        "clock_mhz": clock,
    }


def beaten(ideal: Array, front: Array) -> Array:
    """Whether a point of the front is better than the ideal one of a row, [rows].

    ideal [objectives, rows], front [objectives, points]: nowhere worse, once better.
    """
    here, there = ideal[:, None, :], front[:, :, None]
    return ((there <= here).all(0) & (there < here).any(0)).any(0)


class Found(NamedTuple):
    """What a unit gives back."""

    # Combinations of buffers that may hold a point of the front, [buffers].
    maybe: Array
    # Smallest of each objective over the rates, [objectives, buffers].
    ideal: Array
    # Smallest of each metric, and where; [METRICS].
    least: Array
    at: Array
    # Combinations with a mapping; largest cycles and energy, which must be in bounds.
    legal: Array
    most: Array


def _unit(tables: Tables, front: Array, unit: Array, names: tuple[str, ...]) -> Found:
    parts = tables.rates.shape[0]
    array, at_rates = unit // parts, tables.rates[unit % parts]
    cycles_of, priced = table(tables, array, at_rates)

    def step(_, block):
        chosen, *rest = block
        found = points(tables, array, at_rates, cycles_of, priced, chosen, rest)
        legal = jnp.isfinite(found["compute"][:, 0])
        least = {n: jnp.where(legal, found[n].min(1), jnp.inf) for n in METRICS}
        ideal = jnp.stack([least[name] for name in names])
        most = [
            jnp.where(legal, found[name].max(1), 0).max() for name in ("cycles", "energy")
        ]
        maybe = ~beaten(ideal, front) & legal
        every = jnp.stack([least[name] for name in METRICS])
        return None, (maybe, ideal, every, legal.sum(), jnp.stack(most))

    over = (tables.chosen[tables.cols_at[array]], *_buffers(tables))
    _, (maybe, ideal, every, legal, most) = lax.scan(step, None, over)
    ideal, every = (jnp.moveaxis(v, 1, 0).reshape(v.shape[1], -1) for v in (ideal, every))
    return Found(
        maybe.reshape(-1), ideal, every.min(1), every.argmin(1), legal.sum(), most.max(0)
    )


def _buffers(tables: Tables) -> tuple[Array, ...]:
    return (
        tables.stored, tables.price_activation, tables.price_weight, tables.price_sum
    )  # fmt: skip


@cache
def sweeper(
    mesh: jax.sharding.Mesh, names: tuple[str, ...]
) -> Callable[[Tables, Array, Array], Found]:
    """Units [devices, some] and a front [objectives, points] -> `Found`, [devices, some].

    Every device takes its row of units; all have the tables and the front.
    """
    P = jax.sharding.PartitionSpec

    def local(tables: Tables, front: Array, units: Array) -> Found:
        found = lax.map(lambda unit: _unit(tables, front, unit, names), units[0])
        return jax.tree.map(lambda v: v[None], found)

    spread = jax.shard_map(
        local, mesh=mesh, in_specs=(P(), P(), P("all")), out_specs=P("all"), check_vma=False
    )
    return jax.jit(spread)


def _in_row(values: Array) -> Array:
    """Whether another rate of a row is better; values [objectives, rows, rates]."""
    here, there = values[:, :, :, None], values[:, :, None, :]
    return ((there <= here).all(0) & (there < here).any(0)).any(-1)


@partial(jax.jit, static_argnums=4)
def detail(
    tables: Tables, front: Array, unit: Array, rows: Array, names: tuple[str, ...]
) -> tuple[Array, Array]:
    """All metrics [METRICS, rows, rates] of some combinations of buffers of a unit, and
    which of these points may be on the front."""
    parts = tables.rates.shape[0]
    array, at_rates = unit // parts, tables.rates[unit % parts]
    cycles_of, priced = table(tables, array, at_rates)
    chosen = tables.chosen[tables.cols_at[array]][rows // BLOCK, :, rows % BLOCK].T
    some = [value.reshape(-1)[rows] for value in _buffers(tables)]
    found = points(tables, array, at_rates, cycles_of, priced, chosen, some)
    shape = (len(rows), at_rates.shape[1])
    found = {name: jnp.broadcast_to(value, shape) for name, value in found.items()}
    aims = jnp.stack([found[name] for name in names])
    lost = beaten(aims.reshape(len(names), -1), front).reshape(shape) | _in_row(aims)
    legal = jnp.isfinite(found["compute"])
    values = jnp.stack([found[name] for name in METRICS])
    return jnp.where(legal[None], values, jnp.inf), ~lost & legal
