"""Where the cycles of the TPU go for a network: the rows of table 3, layer by layer.

The dictionary that `explain` makes is what `python -m accel tpu --json` prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accel.tpu.isa.layout import place
from accel.tpu.machine import TpuMachine
from accel.tpu.paper import calibration, latency, paper
from accel.tpu.paper.latency import Response
from accel.tpu.paper.paper import App
from accel.tpu.sim import clock, maxplus, work
from accel.tpu.sim import table as kinds
from accel.tpu.sim.counts import Counts, count
from accel.tpu.sim.schedule import is_placed, steps, with_tiles
from accel.tpu.sim.table import Table, table
from accel.workload.gemm import Gemm
from configs.errors import InputError
from configs.network import Network
from configs.program import Program
from configs.registry import load_network

# Products that are timed; half a minute.
_MOST_PRODUCTS = 2_000_000
# Batches whose response times are put side by side.
_BATCHES = (1, 4, 16, 64, 256, 1024)
_ROWS = (
    "active", "weight_stall", "weight_shift", "raw_stall", "input_stall",
    "accumulator_stall", "drain",
)  # fmt: skip


def explain(
    subject: App | Network | Sequence[Gemm],
    batch: int,
    machine: TpuMachine,
    *,
    batches: int = calibration.BATCHES,
    speed: int = 1,
) -> dict[str, Any]:
    """Cycles, shares, layers and roofline of `batches` batches back to back.

    An application of the paper has tiles by its declared fill and its own `speed`.

    `agrees` says that the clock and the closed form count the same cycles.

    Raises:
      InputError: `batch` or `batches` is not positive, or there is too much to time.
    """
    speed = subject.speed.value if isinstance(subject, App) else speed
    todo = workload(subject, machine, speed)(batch, batches)
    _require_short(todo, batch, machine)
    rows = table(work.rows(todo, machine))
    times = clock.run(rows, fifo=machine.fifo_tiles)
    counts = count(rows, times, side=machine.side)
    macs, weights = calibration.macs(todo), _weights(todo)
    seconds = counts.cycles / machine.clock_hz
    found: dict[str, Any] = {
        "machine": {**vars(machine), "name": machine.name},
        "batch": batch,
        "batches": batches,
        "speed": speed,
        **_cycles(counts, maxplus.predict(todo, machine)),
        "ms_per_batch": 1e3 * seconds / batches,
        "inferences_per_s": batch * batches / seconds,
        "macs_per_batch": macs // batches,
        "weights": weights,
        "shares": _shares(counts),
        "layers": _layers(todo, rows, times, machine),
        "roofline": _roofline(macs // batches, weights, 2 * macs / seconds, machine),
        "balance": balance(weights, macs // batches / batch, machine),
        "unified_buffer": _buffer(subject, batch, machine, speed),
    }
    if isinstance(subject, App):
        found["published"] = _published(subject)
    return found


def _require_short(todo: Sequence[work.Step], batch: int, machine: TpuMachine) -> None:
    products = (step for step in todo if isinstance(step, work.Product))
    count = sum(step.tiles * -(-step.rows // machine.half_rows) for step in products)
    if count > _MOST_PRODUCTS:
        raise InputError(
            f"`batch` (={batch}) needs {count:,} products of rows and tiles, and at most "
            f"{_MOST_PRODUCTS:,} are timed; use a smaller batch, or a larger array."
        )


def workload(
    subject: App | Network | Sequence[Gemm],
    machine: TpuMachine,
    speed: int = 1,
    *,
    whole: bool = False,
) -> latency.Workload:
    """(batch, batches) -> steps; a list of products has the one batch it is made for."""
    app = subject if isinstance(subject, App) else None
    network = load_network(app.config) if app else subject

    def todo(batch: int, batches: int) -> list[work.Step]:
        found = steps(network, batch, machine, speed=speed, batches=batches, whole=whole)
        if app is None:
            return found
        return with_tiles(found, app.weights.value, app.tiles(machine.tile_bytes))

    return todo


def respond(
    subject: App | Network,
    batch: int,
    machine: TpuMachine,
    *,
    load: float = latency.LOAD,
    limit_ms: float = paper.LIMIT_MS.value,
    whole: bool = False,
) -> dict[str, Any]:
    """Response time against batch under a load, and the largest batch within a limit.

    `whole`: all that the compiled program does, of a network that is no chain too
    (`accel.tpu.sim.schedule.steps`).
    """
    speed = subject.speed.value if isinstance(subject, App) else 1
    todo = workload(subject, machine, speed, whole=whole)
    most = _most(subject, machine, whole)
    best = latency.largest_batch(todo, machine, limit_ms, load=load, most=most)
    found = {
        "limit_ms": limit_ms,
        "load": load,
        "response": _response(latency.response(todo, batch, machine, load=load)),
        "largest_batch": _response(best) if best else None,
        "largest_batch_that_fits": most,
        "batches": [
            _response(latency.response(todo, size, machine, load=load))
            for size in sorted({size for size in _BATCHES if size <= most} | {batch})
        ],
    }
    if isinstance(subject, App) and subject.name == "MLP0":
        found["table_4"] = [
            {
                "batch": row.batch,
                "per_second": row.per_second.value,
                "published_ms": row.response_ms.value,
                "of_largest_percent": row.of_largest.value,
                "at_that_rate": _response(
                    latency.response_at_rate(
                        todo, row.batch, machine, per_second=row.per_second.value
                    )
                ),
            }
            for row in paper.TABLE_4
            if row.die == "TPU"
        ]
    return found


def balance(weights: int, macs: float, machine: TpuMachine) -> dict[str, float]:
    """Time to read all weights, to do one image's MACs at peak, and where they meet."""
    weights_s = weights / machine.weight_bandwidth
    macs_s = macs / (machine.multipliers * machine.clock_hz)
    return {
        "weights_ms": 1e3 * weights_s,
        "macs_ms_per_image": 1e3 * macs_s,
        "batch": weights_s / macs_s,
    }


def _cycles(counts: Counts, predicted: int) -> dict[str, Any]:
    return {
        "cycles": counts.cycles,
        "cycles_closed_form": predicted,
        "agrees": predicted == counts.cycles,
    }


def _weights(todo: Sequence[work.Step]) -> int:
    """Weights of the network; layers come again in every batch."""
    named = {step.name: step.weights for step in todo if isinstance(step, work.Product)}
    return sum(named.values())


def _shares(counts: Counts) -> dict[str, float]:
    """Parts of all cycles; the first row and rows 4, 5 and 6 of table 3 add up to 1."""
    shares = {name: counts.share(name) for name in _ROWS}
    slots = counts.useful_slots + counts.unused_slots
    useful = counts.useful_slots / slots * shares["active"]
    return shares | {
        "useful": useful,
        "unused": shares["active"] - useful,
        "non_matrix": counts.share("non_matrix"),
    }


def _layers(
    todo: Sequence[work.Step], rows: Table, times: clock.Times, machine: TpuMachine
) -> list[dict[str, Any]]:
    """A layer's cycles are those from the end of the product before it to its last end."""
    found: dict[str, dict[str, Any]] = {}
    begin, reached, all_cycles = 0, 0, int(times.end.max())
    for step in todo:
        end = begin + sum(1 for _ in work.rows([step], machine))
        if isinstance(step, work.Product):
            part = Table(*(column[begin:end] for column in rows))
            products = part.kind == kinds.MATMUL
            last = int(times.end[begin:end][products].max())
            layer = found.setdefault(step.name, _layer(step, part, machine))
            layer["cycles"] += last - reached
            reached = last
        begin = end
    for layer in found.values():
        layer["share"] = layer["cycles"] / all_cycles
    return list(found.values())


def _layer(step: work.Product, part: Table, machine: TpuMachine) -> dict[str, Any]:
    """What one batch asks of the units; the largest of the three binds the layer."""
    products = part.kind == kinds.MATMUL
    fetched = int((part.kind == kinds.READ_WEIGHTS).sum())
    bounds = {
        "fetch": fetched * machine.fetch_cycles,
        "shift": fetched * machine.side,
        "rows": int(part.duration[products].sum()),
    }
    return {
        "name": step.name,
        "rows": step.rows,
        "k_tiles": step.groups[0][0],
        "n_tiles": sum(n for _, n in step.groups),
        "tiles": step.tiles,
        "fetched_tiles": fetched,
        "weights": step.weights,
        "fill": step.weights / (step.tiles * machine.tile_bytes),
        "macs": step.macs,
        "bounds": bounds,
        "bound": max(bounds, key=bounds.__getitem__),
        "cycles": 0,
    }


def _roofline(
    macs: int, weights: int, operations_per_s: float, machine: TpuMachine
) -> dict[str, Any]:
    """MACs for each weight byte against the machine's ridge; 2 operations a MAC."""
    intensity, ridge = macs / weights, calibration.ridge(machine)
    peak = 2 * machine.multipliers * machine.clock_hz
    return {
        "macs_per_weight_byte": intensity,
        "ridge": ridge,
        "bound": "weights" if intensity < ridge else "MACs",
        "peak_tops": peak / 1e12,
        "roof_tops": min(peak, 2 * intensity * machine.weight_bandwidth) / 1e12,
        "tops": operations_per_s / 1e12,
    }


def _buffer(
    subject: Any, batch: int, machine: TpuMachine, speed: int, *, whole: bool = False
) -> dict | None:
    """What the compiler's layout needs of the unified buffer; None: maps not placed."""
    program = _placed(subject, whole)
    if program is None:
        return None
    layout = place(
        program, batch, machine.side, element_bytes=1 if speed == 1 else 2, own_input=True
    )
    needed = layout.rows * machine.side
    fits = needed <= machine.unified_buffer_bytes
    return {"needed_bytes": needed, "bytes": machine.unified_buffer_bytes, "fits": fits}


def _placed(subject: Any, whole: bool) -> Program | None:
    network = load_network(subject.config) if isinstance(subject, App) else subject
    return network.program if is_placed(network, whole) else None


def _most(subject: App | Network, machine: TpuMachine, whole: bool) -> int:
    """The largest batch whose maps fit the unified buffer, 0 if none does."""
    speed = subject.speed.value if isinstance(subject, App) else 1
    low, high = 0, latency.LARGEST_BATCH + 1
    if _placed(subject, whole) is None:
        return latency.LARGEST_BATCH
    while high - low > 1:
        middle = (low + high) // 2
        fits = _buffer(subject, middle, machine, speed, whole=whole)["fits"]
        low, high = (middle, high) if fits else (low, middle)
    return low


def _response(found: Response) -> dict[str, float]:
    return vars(found) | {"response_ms": found.response_ms}


def _published(app: App) -> dict[str, Any]:
    """Published figures and declared inputs, each with its source and status."""
    names = (
        "active", "useful", "unused", "weight_stall", "weight_shift", "non_matrix",
        "raw_stall", "input_stall", "tops", "model_error", "fill", "speed", "batch",
    )  # fmt: skip
    return {name: getattr(app, name).to_dict() for name in names}
