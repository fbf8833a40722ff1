"""Response time against batch: what a user waits for, and the largest batch that keeps
a limit.

    response = fill + wait + run

fill: the first request of a batch waits until the others have come, (batch - 1) / rate.
wait: the batch waits for the device, the 99th percentile of M/D/1 (`waiting`).
run: one batch by itself, host in, device, host out, by the closed form.

Assumptions: requests come at random at `load` times what the device does at this batch
size, back to back; full batches then come at random too, which is worse than they would
(the gaps between full batches are smoother); every part takes its bad case at the same
time, so the sum is an upper bound of the 99th percentile under these arrivals. The host's
own work is not modelled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from accel.tpu.machine import TpuMachine
from accel.tpu.paper.waiting import LARGEST_LOAD, quantile, require_load
from accel.tpu.sim import maxplus
from accel.tpu.sim.work import Step
from configs.checks import brief
from configs.errors import InputError

PERCENTILE = 0.99
# Of what the device does at the same batch size. Table 4's 80 % are of the largest
# throughput of the die, at batch 250: compare by its rates, with `response_at_rate`.
LOAD = 0.8
# The steady time of a batch is that of as many more batches.
_STEADY = 8
LARGEST_BATCH = 1 << 14

# (batch, batches) -> steps of so many batches back to back.
Workload = Callable[[int, int], Sequence[Step]]


@dataclass(frozen=True, kw_only=True)
class Response:
    """A batch size under a load; times in milliseconds."""

    batch: int
    load: float
    # Inferences a second, at this load.
    per_second: float
    # From batch to batch, if they are back to back.
    service_ms: float
    fill_ms: float
    wait_ms: float
    run_ms: float

    @property
    def response_ms(self) -> float:
        return self.fill_ms + self.wait_ms + self.run_ms


def response(
    workload: Workload, batch: int, machine: TpuMachine, *, load: float = LOAD
) -> Response:
    """Response time of a batch size at a part of its largest throughput."""
    require_load(load)
    service_s = _service_s(workload, batch, machine)
    return _response(workload, batch, machine, load, service_s)


def response_at_rate(
    workload: Workload, batch: int, machine: TpuMachine, *, per_second: float
) -> Response:
    """The same for a stated number of inferences a second.

    Raises:
      InputError: more come than the machine can do.
    """
    service_s = _service_s(workload, batch, machine)
    load = per_second * service_s / batch
    if not 0 < load <= LARGEST_LOAD:
        raise InputError(
            f"`per_second` (={brief(per_second)}) must be more than 0 and at most 99 % of "
            f"the {batch / service_s:,.0f} that batches of {batch} reach; use less."
        )
    return _response(workload, batch, machine, load, service_s)


def largest_batch(
    workload: Workload,
    machine: TpuMachine,
    limit_ms: float,
    *,
    load: float = LOAD,
    most: int = LARGEST_BATCH,
) -> Response | None:
    """The largest batch up to `most` whose response keeps the limit, None if none does.

    A larger batch never responds sooner: each part grows with it.
    """

    def within(batch: int) -> bool:
        return response(workload, batch, machine, load=load).response_ms <= limit_ms

    if most < 1 or not within(1):
        return None
    low, high = 1, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if within(middle) else (low, middle)
    return response(workload, low, machine, load=load)


def _service_s(workload: Workload, batch: int, machine: TpuMachine) -> float:
    ends = [
        maxplus.predict(workload(batch, count), machine) for count in (_STEADY, 2 * _STEADY)
    ]
    return (ends[1] - ends[0]) / _STEADY / machine.clock_hz


def _response(
    workload: Workload, batch: int, machine: TpuMachine, load: float, service_s: float
) -> Response:
    per_second = load * batch / service_s
    run = maxplus.predict(workload(batch, 1), machine) / machine.clock_hz
    return Response(
        batch=batch,
        load=load,
        per_second=per_second,
        service_ms=1e3 * service_s,
        fill_ms=1e3 * (batch - 1) / per_second,
        wait_ms=1e3 * service_s * quantile(PERCENTILE, load),
        run_ms=1e3 * run,
    )
