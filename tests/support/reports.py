"""What a verification would report of a small CNN, by the closed forms; and an image."""

import dataclasses

import numpy as np

from accel.machines.counters import FETCHES, PHASES
from accel.machines.machine import Systolic
from accel.predict import timing
from accel.show.flow import Flow
from accel.workload.gemm import Gemm

IMAGES = 100
# Name, rows of one image, K, N: the products of mnist_cnn.
CNN = (
    ("conv1", 676, 9, 16),
    ("conv2", 121, 144, 32),
    ("dense1", 1, 800, 64),
    ("dense2", 1, 64, 10),
)


def layer(machine, name, positions, K, N) -> dict:
    counted = timing.predict(machine, Gemm(name, 1, positions, K, N))
    cycles = counted.cycles * IMAGES
    return {
        **{"name": name, "M": positions, "K": K, "N": N, "tiles": counted.tiles * IMAGES},
        **{"cycles_simulated": cycles, "cycles_closed_form": cycles, "stepped": cycles},
        **{"macs": counted.macs * IMAGES, "utilization": counted.utilization},
        **{"mismatches": 0, "compared": 2 * positions * N * IMAGES},
        "phases": {phase: getattr(counted, phase) * IMAGES for phase in PHASES},
        **{name: getattr(counted, name) * IMAGES for name in FETCHES},
    }


def report(machine=None, **changes) -> dict:
    machine = machine or Systolic()
    layers = [layer(machine, *one) for one in CNN]
    cycles = sum(one["cycles_simulated"] for one in layers)
    macs, multipliers = sum(one["macs"] for one in layers), machine.multipliers
    return {
        **{"name": "mnist_cnn", "machine": machine.name, "multipliers": multipliers},
        **{"settings": dataclasses.asdict(machine), "images": IMAGES, "batch": 1},
        **{"clock_mhz": 123.5, "verified": True, "total_cycles": cycles, "macs": macs},
        **{"cycles_per_image": cycles / IMAGES, "images_per_s": 9274.25},
        "utilization": macs / multipliers / cycles,
        "phases": {p: sum(one["phases"][p] for one in layers) for p in PHASES},
        "idle": multipliers * cycles - macs,
        "compared": sum(one["compared"] for one in layers) + IMAGES * 2704,
        **{"others": [{"name": "pool1", "compared": IMAGES * 2704, "mismatches": 0}]},
        "miscounted": [],
        "not_counted": ["Reading the images.", "Pooling."],
        "accuracy": {"machine": 0.9725, "integers": 0.9175},
        **{"layers": layers, "mismatch": None, "wall_s": 3.25, "seed": 17},
        **{"dataset": {"name": "mnist", "test": 10_000}, "versions": {"jax": "0.10.2"}},
        **{"simulated_cycles_per_s": 414_243.0, "command": "python -m accel verify"},
        **changes,
    }


MISMATCH = {
    **{"layer": "conv2", "image": 31, "tile": "k 1 of 9", "m": 71, "n": 13},
    **{"found": -12_345, "expected": 678, "cause": "A weight register is wrong."},
    **{"cycle": 131, "row": 5, "col": 6, "register": "sum", "register_found": -77},
    **{"register_expected": -76, "dump": ["cycle 130 131", "r5 c6  -2 -77"]},
}


def compare(*machines) -> dict:
    rows = []
    for machine in machines:
        made = report(machine)
        fetches = {name: sum(one[name] for one in made["layers"]) for name in FETCHES}
        keys = ("machine", "multipliers", "cycles_per_image", "utilization", "images_per_s")
        rows.append({key: made[key] for key in keys} | fetches)
        rows[-1] |= {"description": "what it is", "stepped": machine != machines[-1]}
    return {"machines": rows}


def walk(label="7") -> Flow:
    draw = np.random.default_rng(0)
    maps = draw.integers(0, 200, (5, 4, 3), dtype=np.uint8)
    last = np.array([-90, 3, 55], np.int8)
    scores = [("cat", -90), (label, 3), ("dog", 55)]
    image = draw.integers(0, 256, (8, 7, 1), dtype=np.uint8)
    layers = [("conv1", maps, 0, 255), ("dense1", last, -128, 127)]
    return Flow(image, layers, scores, label)
