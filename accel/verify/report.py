"""What a verification found, as the one record that people's pages and scripts read."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import numpy as np

from accel.machines.counters import FETCHES, PHASES, Counters
from accel.machines.machine import Direct, Machine, settings
from accel.predict import timing
from accel.verify.quantised_run import QuantisedRun
from accel.verify.run import Setup
from accel.verify.verify import LayerResult, Verified
from accel.workload.gemm import Gemm

# Clock at which images/s are stated. Hz; Jouppi et al., ISCA 2017, section 2: the clock of
# the first TPU; an assumption for any other machine.
CLOCK_MHZ = 700.0

NOT_COUNTED = (
    "Bias, requantisation, activation tables, pooling, im2col, and sums, products and moves"
    " of values, which happen between the matrix products.",
    "Moving data to and from DRAM and the host: operands stand at the machine's edge when "
    "it wants them (mac_dram alone counts its accesses).",
    "Set-up and control between layers: a layer starts when the one before it has ended.",
)


def counted(counters: Counters) -> dict[str, Any]:
    """The counts of one layer or several, by name."""
    return {
        "phases": {phase: getattr(counters, phase) for phase in PHASES},
        "macs": counters.macs,
        "idle": counters.idle,
        "utilization": counters.utilization,
        **{name: getattr(counters, name) for name in FETCHES},
    }


def report(
    subject: QuantisedRun, verified: Verified, *, clock_mhz: float, wall_s: float
) -> dict[str, Any]:
    """Everything about one verification, ready for JSON."""
    whole, machine = verified.total, verified.setup.machine
    per_image = whole.cycles / verified.images
    mismatch = verified.mismatch
    return {
        "name": subject.name,
        "machine": machine.name,
        "settings": settings(machine),
        "multipliers": multipliers(machine, verified.layers),
        "images": verified.images,
        "batch": verified.setup.batch,
        "clock_mhz": clock_mhz,
        "verified": verified.holds,
        "compared": verified.compared,
        "mismatches": verified.wrong,
        "miscounted": list(verified.miscounted),
        "mismatch": dataclasses.asdict(mismatch) if mismatch else None,
        "total_cycles": whole.cycles,
        "cycles_per_image": per_image,
        "images_per_s": clock_mhz * 1e6 / per_image,
        **counted(whole),
        "not_counted": list(NOT_COUNTED),
        "accuracy": _accuracy(subject, verified),
        "layers": [_layer(layer, verified.setup) for layer in verified.layers],
        "others": [
            {"name": name, "compared": compared, "mismatches": wrong}
            for name, (compared, wrong) in verified.others.items()
        ],
        "dataset": subject.dataset,
        "manifest_sha256": subject.sha256,
        "wall_s": round(wall_s, 3),
        "simulated_cycles_per_s": whole.cycles / wall_s,
    }


def multipliers(machine: Machine, layers: tuple[LayerResult, ...]) -> int:
    """Multipliers of the machine; `direct` has those of all layers together."""
    if isinstance(machine, Direct):
        return sum(layer.gemm.macs // layer.gemm.images for layer in layers)
    return machine.multipliers


def _layer(layer: LayerResult, setup: Setup) -> dict[str, Any]:
    gemm = layer.gemm
    return _repeats(gemm, setup) | {
        "name": gemm.name,
        "M": gemm.M,
        "K": gemm.K,
        "N": gemm.N,
        "tiles": layer.counted.tiles,
        "cycles_simulated": layer.counted.cycles,
        "cycles_closed_form": layer.predicted.cycles,
        "counters_equal": layer.counted == layer.predicted,
        # All of them: nothing here is predicted only.
        "stepped": layer.counted.cycles,
        "compared": layer.compared,
        "mismatches": layer.mismatches,
        "wrong_sums": layer.wrong_sums,
        "wrong_outputs": layer.wrong_outputs,
        **counted(layer.counted),
    }


def _repeats(gemm: Gemm, setup: Setup) -> dict[str, Any]:
    """How a product in groups was done; nothing of any other."""
    if gemm.repeats == 1:
        return {}
    plan = timing.plan(setup.machine, replace(gemm, images=setup.batch))
    return {"repeats": gemm.repeats, "way": plan.name}


def _accuracy(subject: QuantisedRun, verified: Verified) -> dict[str, float] | None:
    if subject.labels is None:
        return None
    return {
        who: float(np.mean(outputs.argmax(-1) == subject.labels))
        for who, outputs in (("machine", verified.outputs), ("integers", verified.expected))
    }
