"""Simulated cycles a second of the weight-stationary array, beside SCALE-Sim 3.

    make bench-sim                        sizes 8 to 256, one core and two
    make bench-sim ARGS="--sizes 8 16 --cores 1 --no-peer"

A cycle is a clock edge of one array, as the counters count it: load, skew and unskew
included. It updates rows * cols PEs. At each size, in one process:

    run        a product from numpy to numpy: cut up, stepped, results placed, all counted
    inner      its device programs alone, on arrays that are there already
    ceiling    an int32 multiply-accumulate in place of a state as large, and nothing else
    literal    the simulator that steps every register by itself (one core, 8 to 32)
    peer       SCALE-Sim on the same array and as many rows of inputs, with fewer tiles
               where `run`'s would take it minutes (one core: it has one thread)
    same       `run` on SCALE-Sim's product, short as that is for it

They take turns, pinned to the cores; ours is the median of the rounds, SCALE-Sim's the
best. Before anything is timed, every sum and counter is compared with numpy and the closed
form; SCALE-Sim's cycles must be ours less the one that it does not count. The last line
is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import figures, scalesim_peer
from configs.errors import InputError
from train.console import guarded

# Cycles a second on one core, and times SCALE-Sim's, that the simulator should reach.
AIMS = {8: 20e6, 16: 10e6, 32: 4e6, 64: 1.5e6, 128: 0.4e6, 256: 0.1e6}
PEER_AIMS = {8: 800, 16: 500, 32: 400, 128: 70, 256: 12}
# Roughly what SCALE-Sim and the literal simulator do, to give them as much to do.
PEER = {8: 30e3, 16: 25e3, 32: 18e3, 64: 12e3, 128: 8e3, 256: 4e3}
LITERAL = {8: 3e6, 16: 1e6, 32: 0.3e6}
_HEAD = (
    "size cores |  run M/s inner M/s  PE G/s ceiling  run/c inner/c | literal M/s | "
    "SCALE-Sim k/s   run/peer  same/peer"
)


def measure(size: int, cores: int, options: argparse.Namespace) -> dict:
    """All figures of one size, in the process that is timed."""
    from benchmarks import sim_turns

    cycles = 1.5 * options.seconds * AIMS[size]
    whole = sim_turns.side_by_side(size, max(options.cores), max(options.cores) * cycles)
    turns = {
        "run": sim_turns.product(whole),
        "inner": sim_turns.inner_loop(size, cores * cycles / 2),
        "ceiling": sim_turns.ceiling(size, cores * cycles * size**2 * 3),
    }
    found = {"gemm": [whole.gemm.M, whole.gemm.K, whole.gemm.N], "cycles": whole.cycles}
    if cores == 1 and size in LITERAL:
        turns["literal"] = sim_turns.literal(size, options.seconds * LITERAL[size])
    if cores == 1 and options.scalesim:
        peer = sim_turns.squarish(size, 3 * options.seconds * PEER[size])
        peer = whole if peer.cycles > whole.cycles else peer
        turns["same"] = sim_turns.product(peer)
        turns["peer"] = sim_turns.Peer(options.scalesim, peer)
        found["peer_gemm"] = [peer.gemm.M, peer.gemm.K, peer.gemm.N]
        found["peer_cycles"] = peer.cycles
    rates = {name: [] for name in turns}
    for _ in range(options.rounds):
        for name, turn in turns.items():
            time.sleep(0.05)  # lets the threads of the turn before go to sleep
            rates[name].append(turn.rate())
    pick = {name: max if name == "peer" else statistics.median for name in rates}
    found["rates"] = {name: pick[name](values) for name, values in rates.items()}
    found["spread"] = {name: [min(r), max(r)] for name, r in rates.items()}
    return found


def work(cores: int, options: argparse.Namespace) -> dict[str, dict]:
    """Figures of all sizes in this process, which takes so many cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    import jax

    jax.config.update("jax_num_cpu_devices", cores)
    found = {}
    for size in options.sizes:
        found[str(size)] = measure(size, cores, options)
        print(row(size, cores, found[str(size)]["rates"]), file=sys.stderr, flush=True)
    return found


def worked(cores: int, options: argparse.Namespace) -> dict[str, dict]:
    """The same in a process of its own: cores and XLA's flags are fixed when it starts."""
    environment = os.environ | {
        "XLA_FLAGS": "--xla_cpu_prefer_vector_width=512",  # as `python -m accel` has it
        "JAX_PLATFORMS": "cpu",
    }
    given = json.dumps(vars(options) | {"cores_here": cores})
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sim_speed", "--worker", given],
        cwd=Path(__file__).parents[1],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"the process on {cores} cores failed, status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def row(size: int, cores: int, rates: dict[str, float]) -> str:
    """A line under `_HEAD`."""
    updates, inner = rates["run"] * size**2, rates["inner"] * size**2
    text = (
        f"{size:>4} {cores:>5} | {rates['run'] / 1e6:>8.3f} {rates['inner'] / 1e6:>9.3f} "
        f"{updates / 1e9:>7.1f} {rates['ceiling'] / 1e9:>7.1f} "
        f"{updates / rates['ceiling']:>6.0%} {inner / rates['ceiling']:>7.0%} | "
    )
    text += (
        f"{rates['literal'] / 1e6:>11.3f} | " if "literal" in rates else " " * 11 + " | "
    )
    if "peer" in rates:
        text += f"{rates['peer'] / 1e3:>13.1f} {rates['run'] / rates['peer']:>9.0f}x "
        text += f"{rates['same'] / rates['peer']:>9.0f}x"
    return text.rstrip()


def summary(found: dict[int, dict[str, dict]], options: argparse.Namespace) -> dict:
    """The line of JSON: ratios, aims that were reached, and all figures by cores."""
    ratios, reached = {}, {}
    one, most = found.get(1, {}), max(found)
    for size in options.sizes:
        mine = one.get(str(size), {}).get("rates")
        if not mine:
            continue
        ratios[f"ceiling_{size}"] = mine["run"] * size**2 / mine["ceiling"]
        reached[f"cycles_per_s_{size}"] = mine["run"] >= AIMS[size]
        if "peer" in mine:
            ratios[f"scalesim_{size}"] = mine["run"] / mine["peer"]
            ratios[f"scalesim_same_gemm_{size}"] = mine["same"] / mine["peer"]
        if "peer" in mine and size in PEER_AIMS:
            reached[f"scalesim_{size}"] = ratios[f"scalesim_{size}"] >= PEER_AIMS[size]
        if most > 1:
            more = found[most][str(size)]["rates"]
            ratios[f"cores_{most}_to_1_{size}"] = more["run"] / mine["run"]
    return {
        "benchmark": "sim_speed",
        "ratios": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "figures": {
            **{f"cores_{cores}": sizes for cores, sizes in found.items()},
            "machine": figures.machine(),
            "reached": reached,
            "rounds": options.rounds,
            "seconds": options.seconds,
        },
    }


def print_aims(result: dict, found: dict[int, dict[str, dict]]) -> None:
    """Each aim beside what was reached."""
    for name, met in result["figures"]["reached"].items():
        kind, size = name.rsplit("_", 1)
        is_rate = kind == "cycles_per_s"
        aim = AIMS[int(size)] if is_rate else PEER_AIMS[int(size)]
        have = found[1][size]["rates"]["run"] if is_rate else result["ratios"][name]
        unit = "cycles/s" if is_rate else "x SCALE-Sim"
        print(f"{size:>4}  {have:>12,.0f} {unit:<12} aim {aim:>12,.0f}  "
              f"{'reached' if met else 'MISSED'}")  # fmt: skip


def arguments() -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    take = parser.add_argument
    take("--sizes", type=int, nargs="+", choices=AIMS, default=list(AIMS))
    take("--cores", type=int, nargs="+", help="each in a process; default 1 and 2")
    take("--seconds", type=float, default=1.0, help="about how long a turn takes")
    take("--rounds", type=int, default=5, help="turns of each contestant")
    take("--no-peer", action="store_true", help="leave SCALE-Sim out")
    take("--scalesim", help="Python that has SCALE-Sim; default: an environment is made")
    take("--smoke", action="store_true", help="one short round of the smallest size")
    take("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return options
    there = len(os.sched_getaffinity(0))
    options.cores = options.cores or [1, 2][:there]
    for cores in options.cores:
        if not 1 <= cores <= there:
            raise InputError(f"`--cores` (={cores}) must be in 1..{there}, what there is.")
    for name in ("seconds", "rounds"):
        value = getattr(options, name)
        if not 0 < value <= 600:
            raise InputError(f"`--{name}` (={value}) must be more than 0, 600 at most.")
    if options.smoke:
        options.sizes, options.seconds, options.rounds = options.sizes[:1], 0.01, 1
    return options


def main() -> int:
    options = arguments()
    if options.worker:
        options = argparse.Namespace(**json.loads(options.worker))
        try:
            print(json.dumps(work(options.cores_here, options)))
        except scalesim_peer.OtherWork as error:
            raise SystemExit(f"error: {error}") from None
        return 0
    options.scalesim = None if options.no_peer else scalesim_peer.python(options.scalesim)
    print(_HEAD, file=sys.stderr, flush=True)
    found = {cores: worked(cores, options) for cores in sorted(set(options.cores))}
    result = summary(found, options)
    if not options.smoke:  # too short to reach anything
        print_aims(result, found)
    print(json.dumps(result, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
