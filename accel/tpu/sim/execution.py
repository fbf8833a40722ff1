"""A user's int8 network on the TPU: compiled, executed, every bit and cycle compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from accel.tpu.isa.compiler import compile_network
from accel.tpu.isa.layout import place
from accel.tpu.machine import TpuMachine
from accel.tpu.sim import maxplus
from accel.tpu.sim.counts import Counts
from accel.tpu.sim.executor import execute
from accel.tpu.sim.schedule import steps
from accel.verify.quantised_run import QuantisedRun
from accel.workload.gemm import batches
from quant import normative
from quant.network import IntNetwork


def executed(
    given: QuantisedRun,
    batch: int,
    machine: TpuMachine,
    *,
    done: Callable[[int], None] = lambda images: None,
) -> dict[str, Any]:
    """Runs all images, `batch` at a time, and compares every output of every step with
    the normative integers and every program's cycles with the closed form.

    Where the layers' outputs do not all fit the unified buffer together, only the logits
    are compared; `compared` says which.

    Args:
      done: told how many images have been executed since it was told last.

    Raises:
      InputError: the network does not fit the machine.
    """
    network, at = given.network, 0
    counted: list[Counts] = []
    predicted, compared, wrong, hits = 0, 0, 0, 0
    first, layers = None, True
    for size, count in batches(len(given.images), batch):
        keep = keeps(network, size, machine)
        layers = layers and keep
        program = compile_network(network, size, machine, keep=keep)
        todo = steps(network.network, size, machine, whole=True)
        form = maxplus.predict(todo, machine)
        for _ in range(count):
            images = given.images[at : at + size]
            result = execute(program, images, machine)
            ours = result.outputs if keep else {program.layers[-1]: result.logits}
            differs, values, place_ = _differences(network, images, ours, at)
            wrong, compared, first = wrong + differs, compared + values, first or place_
            hits += _hits(given, result.logits, at)
            counted.append(result.counts)
            predicted, at = predicted + form, at + size
            done(size)
    total = Counts(
        **{name: sum(getattr(one, name) for one in counted) for name in vars(counted[0])}
    )
    return {
        "images": len(given.images),
        "batch": batch,
        "compared": compared,
        "layers_compared": layers,
        "mismatches": wrong,
        "mismatch": first,
        "verified": wrong == 0 and total.cycles == predicted,
        "accuracy": hits / len(given.images) if given.labels is not None else None,
        "counts": vars(total) | {"non_matrix": total.non_matrix},
        "cycles": total.cycles,
        "cycles_closed_form": predicted,
        "tops": total.tops(machine.clock_hz),
        "images_per_s": len(given.images) * machine.clock_hz / total.cycles,
    }


def keeps(network: IntNetwork, images: int, machine: TpuMachine) -> bool:
    """Whether the outputs of all layers of a batch fit the unified buffer together."""
    layout = place(network.program, images, machine.side, keep=True)
    return layout.rows <= machine.unified_buffer_rows


def _differences(
    network: IntNetwork, images: np.ndarray, ours: dict[str, np.ndarray], at: int
) -> tuple[int, int, str | None]:
    """How many values differ, of how many, and the first of them in words."""
    wrong, compared, first = 0, 0, None
    for step in normative.steps(network, images, matmul=normative.matmul_blas):
        if step.layer.name not in ours:
            continue
        found = ours[step.layer.name].astype(np.int64)
        expected = step.output.astype(np.int64).reshape(found.shape)
        differs = found != expected
        compared += differs.size
        wrong += int(differs.sum())
        if first is None and differs.any():
            image, *index = (int(i) for i in np.argwhere(differs)[0])
            first = (
                f"image {at + image}, {step.layer.name}{index}: "
                f"{found[image, *index]} instead of {expected[image, *index]}"
            )
    return wrong, compared, first


def _hits(given: QuantisedRun, logits: np.ndarray, at: int) -> int:
    if given.labels is None:
        return 0
    labels = given.labels[at : at + len(logits)]
    return int((logits.astype(np.int64).argmax(-1) == labels).sum())
