"""The long figures that the README quotes, each from the command a user would type.

    make figures                    all of them
    make figures ARGS="mnist_mlp"   those of one config

Writes figures/<name>.json: for every run the command, seed, wall time from the start of
the process to its end, and what it measured, with the machine it ran on.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from train.rundir import write_json

FOLDER = Path(__file__).parents[1] / "figures"

# Config -> seeds and further arguments of each run.
RUNS = {
    "mnist_cnn": [["--seed", str(seed)] for seed in (0, 1, 2)],
    "mnist_cnn_fast": [["--seed", str(seed)] for seed in (0, 1, 2)],
    "mnist_mlp": [["--seed", "0"]],
    "mnist_cnn_gap": [["--seed", "0"]],
    "mnist_cnn_embedded": [
        ["--data.source", "embedded", "--seed", str(s)] for s in (0, 1, 2)
    ],
    "sine_mlp": [["--seed", "0"]],
    "ripple_mlp": [["--seed", "0"]],
}
_KEPT = (
    "test_accuracy", "test_mse", "epochs", "wall_s", "images_per_s", "parameters",
    "parameters_sha256", "macs", "seed", "dataset", "versions",
)  # fmt: skip


def machine() -> dict:
    """What the figures were measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0].split(":", 1)[1].strip() if names else cpu
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "system": platform.system()}


def measure(name: str, arguments: list[str], scratch: Path) -> dict:
    """One training run in a process of its own."""
    config = name.removesuffix("_embedded")
    command = ["python", "-m", "train", "--config", config, *arguments]
    run = ["--run", str(scratch / "run"), "--overwrite", "--json"]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command[1:], *run], stdout=subprocess.PIPE, text=True, check=True
    )
    wall_s = time.perf_counter() - began
    metrics = json.loads(done.stdout)
    shutil.rmtree(scratch / "run")
    kept = {key: metrics[key] for key in _KEPT if key in metrics}
    return {"command": " ".join(command), "process_s": round(wall_s, 1), **kept}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(RUNS)}")
    names = parser.parse_args().names or list(RUNS)
    unknown = [name for name in names if name not in RUNS]
    if unknown:
        parser.error(f"`names` (={unknown[0]}) must be of {', '.join(RUNS)}")
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            runs = [measure(name, arguments, Path(scratch)) for arguments in RUNS[name]]
        scores = [run["test_accuracy"] for run in runs if run["test_accuracy"] is not None]
        result = {
            "date": datetime.date.today().isoformat(),
            "machine": machine(),
            "runs": runs,
            **({"mean_test_accuracy": statistics.mean(scores)} if scores else {}),
        }
        write_json(FOLDER / f"{name}.json", result)
        shown = [run["test_accuracy"] or run.get("test_mse") for run in runs]
        print(name, shown, [run["process_s"] for run in runs], flush=True)


if __name__ == "__main__":
    main()
