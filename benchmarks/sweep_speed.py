"""Designs a second of the sweep on a network of eight layers, and its memory.

    make bench-sweep                                AlexNet, 100 million designs
    make bench-sweep ARGS="--config mnist_cnn --cores 1 --designs 1e7"

A design is evaluated in full (cycles, stalls, bytes by operand, energy, time, area), takes
part in every minimum and heat map, and is compared with the front. Before anything is
timed, random designs are computed once more by the slow reference, block by block, and
must be equal in every field. Memory is the process's resident set, looked at after every
step. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sys
from pathlib import Path

from benchmarks import figures
from configs.errors import InputError
from train.console import guarded

# Designs a second on two cores that the sweep should reach.
AIM = 20e6
# Clocks of a space that is made larger.
_MHZ = range(100, 1100, 10)


def wide(space, designs: float):
    """The space with more clocks, until it has so many designs."""
    from dataclasses import replace

    for more in range(len(_MHZ) + 1):
        clocks = tuple(sorted({*space.clock_mhz, *_MHZ[:more]}))
        found = replace(space, clock_mhz=clocks)
        if found.size >= designs:
            return found
    raise InputError(f"`--designs` (={designs:g}) must be at most {found.size:g} here.")


def checked(works, space, preset, points: int) -> int:
    """Compares random designs with the slow reference; how many of them are legal."""
    import jax
    import numpy as np

    from accel.sweep import plan, program, reference
    from accel.sweep.metrics import METRICS

    draw, made, legal = random.Random(0), plan.make(works, space, preset), 0
    front = np.full((1, 1), np.inf)
    for _ in range(points):
        unit, row = draw.randrange(made.units), draw.randrange(space.buffers)
        with jax.enable_x64(True):
            values, _ = program.detail(
                made.tables, front, np.int64(unit), np.array([row]), ("time_us",)
            )
        rate = draw.randrange(made.rate_block)
        design = space.design(int(made.index(unit, row, rate)))
        found = dict(zip(METRICS, np.asarray(values)[:, 0, rate].tolist(), strict=True))
        try:
            wanted = reference.metrics(works, design, preset)
        except InputError:
            wanted = dict.fromkeys(METRICS, np.inf)
        else:
            legal += 1
        if found != wanted:
            raise SystemExit(f"{design}: {found} is not {wanted}")
    return legal


def resident() -> int:
    """Bytes of memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def measure(options: argparse.Namespace) -> dict:
    """Speed and memory of one sweep."""
    import jax

    jax.config.update("jax_num_cpu_devices", options.cores)
    from accel.cost.energy_tables import find
    from accel.sweep import run
    from accel.sweep.space import around
    from accel.workload.from_network import works
    from configs.registry import load_network

    layers = works(load_network(options.config), options.images)
    space, preset = wide(around(layers), options.designs), find("horowitz_45nm")
    legal = checked(layers, space, preset, options.check)
    print(f"{options.check} designs equal the reference, {legal} legal", file=sys.stderr)
    memory = []
    found = run.sweep(
        layers,
        space,
        preset,
        say=lambda text: print(text, file=sys.stderr, flush=True),
        progress=lambda done, size: memory.append((done, resident())),
    )
    early, late = memory[len(memory) // 10], memory[-1]
    return {
        "cores": options.cores,
        "config": options.config,
        "layers": len(layers),
        "designs": found["designs"],
        "legal": found["legal"],
        "front": len(found["front"]),
        "designs_per_s": round(found["designs_per_s"]),
        "wall_s": round(found["wall_s"], 2),
        "checked": options.check,
        "checked_legal": legal,
        "resident_after_a_tenth": early[1],
        "resident_at_the_end": late[1],
    }


def arguments() -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    take = parser.add_argument
    take("--config", default="alexnet", help="known name of a network")
    take("--images", type=int, default=1)
    take("--cores", type=int, default=2)
    take("--designs", type=float, default=1e8, help="at least so many")
    take("--check", type=int, default=1000, help="random designs computed twice")
    take("--smoke", action="store_true", help="few designs, few checks")
    options = parser.parse_args()
    there = len(os.sched_getaffinity(0))
    if not 1 <= options.cores <= there:
        raise InputError(
            f"`--cores` (={options.cores}) must be in 1..{there}, what there is."
        )
    for name in ("images", "designs", "check"):
        value = getattr(options, name)
        if not 1 <= value < 1e12:
            raise InputError(f"`--{name}` (={value}) must be 1 or more, below 1e12.")
    if options.smoke:
        options.designs, options.check = 1, min(options.check, 20)
    return options


def main() -> int:
    options = arguments()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    found = measure(options)
    grown = found["resident_at_the_end"] / found["resident_after_a_tenth"]
    result = {
        "benchmark": "sweep_speed",
        "ratios": {
            "aim": round(found["designs_per_s"] / AIM, 3),
            "memory_end_to_a_tenth": round(grown, 3),
        },
        "figures": found | {"machine": figures.machine(), "load": os.getloadavg()[0]},
    }
    print(json.dumps(result, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
