"""What the TPU paper publishes and this model answers, side by side, as JSON."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from accel.tpu.machine import TpuMachine
from accel.tpu.paper import calibration, paper
from accel.tpu.paper.calibration import Predicted, WhatIf

_SHARES = ("active", "weight_shift", "stall_and_non_matrix")
# Square matrices of LSTM1 (section 7).
_SIZE = 600


def figures() -> dict[str, Any]:
    """Applications at the fitted bandwidth, what-ifs, matrices of 600 x 600, the ridge."""
    machine = calibration.fitted_machine()
    large = replace(machine, side=512)
    memory = replace(machine, weight_bandwidth=4 * machine.weight_bandwidth)
    fast = replace(machine, clock_hz=4 * machine.clock_hz)
    apps = {app.name: _app(app, machine) for app in paper.APPS}
    return {
        "bandwidth": calibration.effective_bandwidth().to_dict(),
        "batches": calibration.BATCHES,
        "apps": apps,
        "mean_tops": _means(apps),
        "google_model_mean_error": paper.MODEL_MEAN_ERROR.to_dict(),
        "what_if": {
            "memory_x4": _what_if(calibration.what_if(machine, memory)),
            "clock_x4": _what_if(calibration.what_if(machine, fast)),
            # The fill of a larger array is not published: tiles by shapes.
            "array_512": _what_if(calibration.what_if(machine, large, declared=False)),
        },
        "published_memory_x4": paper.MEMORY_X4.to_dict(),
        "matrix_600": {
            "peak": _squares(TpuMachine()),
            "fitted": _squares(machine),
            "published_us": {
                "256": paper.TIME_256.to_dict(),
                "512": paper.TIME_512.to_dict(),
            },
        },
        "ridge": {
            "ours": calibration.ridge(TpuMachine()),
            "published": paper.RIDGE.to_dict(),
        },
    }


def _app(app: paper.App, machine: TpuMachine) -> dict[str, Any]:
    """By declared tiles, and by shapes alone."""
    return {
        "declared": _predicted(calibration.predict(app, machine)),
        "shapes": _predicted(calibration.predict(app, machine, declared=False)),
        "declared_inputs": {
            "batch": app.batch.to_dict(),
            "fill": app.fill.to_dict(),
            "speed": app.speed.to_dict(),
        },
        "google_model_error": app.model_error.to_dict(),
    }


def _means(apps: dict[str, Any]) -> dict[str, Any]:
    """TOPS over the applications: all alike, as in table 3, and as often as deployed."""
    deployed = {app.name: app.deployed.value for app in paper.APPS}
    alike = dict.fromkeys(deployed, 1)
    found = {}
    for name, shares in (("arithmetic", alike), ("deployed", deployed)):
        found[name] = {
            who: sum(
                share * apps[app]["declared"]["tops"][who] for app, share in shares.items()
            )
            / sum(shares.values())
            for who in ("published", "ours")
        }
    return found


def _predicted(one: Predicted) -> dict[str, Any]:
    shares = {
        name: {
            "published": one.published[name],
            "ours": getattr(one, name),
            "points": one.points(name),
        }
        for name in _SHARES
    }
    return {
        "tiles": one.tiles,
        "tops": {
            "published": one.published["tops"],
            "ours": one.tops,
            "error_percent": one.tops_error,
        },
        **shares,
    }


def _what_if(found: WhatIf) -> dict[str, Any]:
    return dict(vars(found))


def _squares(machine: TpuMachine) -> dict[str, Any]:
    app = paper.app("LSTM1")
    rows, speed = app.batch.value, app.speed.value
    return {
        str(side): vars(calibration.square(_SIZE, rows, replace(machine, side=side), speed))
        for side in (256, 512)
    }
