"""What a machine will count for a product or a whole network, by the closed forms."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from accel.machines.counters import Counters, times, total
from accel.machines.machine import Direct, Dot, Mac, Machine, Systolic, Tile
from accel.predict import closed_forms as forms
from accel.predict import grouped
from accel.predict.grouped import Plan
from accel.workload.gemm import Gemm, batches, gemms
from configs.errors import InputError, unknown
from configs.network import Network

_TILE_LOOPS = {"outputs": forms.tile_outputs, "inputs": forms.tile_inputs}


def predict(machine: Machine, gemm: Gemm) -> Counters:
    """What the machine counts in one run: the product of a layer for `gemm.images`.

    It is that of one product, whatever `gemm.repeats` is.
    """
    M, K, N = gemm.M, gemm.K, gemm.N
    match machine:
        case Systolic():
            return _systolic(machine, M, K, N)
        case Mac(dram=True):
            return forms.mac_dram(M, K, N, access_cycles=machine.access_cycles)
        case Mac():
            return forms.mac(M, K, N)
        case Dot():
            return forms.dot(M, K, N, multipliers=machine.multipliers)
        case Tile():
            form = _TILE_LOOPS[machine.loop]
            return form(M, K, N, inputs=machine.inputs, outputs=machine.outputs)
        case Direct():
            return forms.direct(gemm.images, gemm.positions, K, N)
    raise unknown(machine, "accel.predict.timing")


def layers(
    machine: Machine, network: Network, images: int, batch: int
) -> list[tuple[Gemm, Counters]]:
    """Per layer with weights: its product for the largest batch, and the total of all.

    The `images` are done `batch` at a time, one batch after the other, the last one as
    ragged as it comes. Repeats of a product follow each other too, but for those of
    `Direct`, which stand side by side.

    Raises:
      InputError: `images` or `batch` is not positive, or a product does not fit the
        machine's stated memory.
    """
    for field, value in (("images", images), ("batch", batch)):
        if value < 1:
            raise InputError(f"`{field}` (={value}) must be positive; use 1 or more.")
    sizes = batches(images, batch)
    largest = max(size for size, _ in sizes)
    found = []
    for gemm in gemms(network, largest):
        require_memory(machine, gemm)
        way = plan(machine, replace(gemm, images=batch))
        runs = [(replace(gemm, images=size), count) for size, count in sizes]
        done = [times(repeated(machine, run, way), count) for run, count in runs]
        found.append((gemm, total(done)))
    return found


def plan(machine: Machine, gemm: Gemm) -> Plan:
    """How a machine does the repeats of a product, that of a full batch."""
    return grouped.plan(machine, gemm, partial(predict, machine))


def repeated(machine: Machine, gemm: Gemm, way: Plan) -> Counters:
    """All repeats of a product in one run."""
    return grouped.counted(machine, gemm, way, partial(predict, machine))


def require_memory(machine: Machine, gemm: Gemm) -> None:
    """Refuses a product that needs more partial sums kept than the machine states.

    Weight stationary keeps M a column, input stationary N, a tile machine of loop
    `inputs` all N, since every sum passes through that storage, finished ones too.
    """
    field, needed, stated = "accumulators", 0, None
    match machine:
        case Systolic(dataflow="ws" | "is"):
            needed = gemm.M if machine.dataflow == "ws" else gemm.N
            stated = machine.accumulators
        case Tile(loop="inputs"):
            field, needed, stated = "sum_words", gemm.N, machine.sum_words
    if stated is not None and needed > stated:
        column = " in each column" if isinstance(machine, Systolic) else ""
        # Only weight stationary keeps the sums of several images.
        fewer = " or a smaller --batch" if column and machine.dataflow == "ws" else ""
        raise InputError(
            f"`{field}` (={stated}) of {machine.name} is too small for layer "
            f"{gemm.name}, which keeps {needed} partial sums{column}; use {needed} or "
            f"more{fewer if gemm.images > 1 else ''}."
        )


def _systolic(machine: Systolic, M: int, K: int, N: int) -> Counters:
    rows, cols = machine.rows, machine.cols
    if machine.dataflow == "os":
        return forms.output_stationary(M, K, N, rows=rows, cols=cols)
    if machine.dataflow == "is":
        return forms.transposed(_held(machine, N, K, M))
    return _held(machine, M, K, N)


def _held(machine: Systolic, M: int, K: int, N: int) -> Counters:
    """Weight stationary, by how the weights get in."""
    rows, cols = machine.rows, machine.cols
    if machine.weights == "single":
        return forms.weight_stationary(M, K, N, rows=rows, cols=cols)
    if machine.load == "skewed":
        period = forms.skewed_period(M, rows)
    else:
        period = forms.global_period(M, rows, cols)
    return forms.weight_stationary_shadow(M, K, N, rows=rows, cols=cols, period=period)
