"""The long figures that the README quotes, each from the command a user would type.

    make figures                          all of them
    make figures ARGS="mnist_mlp"         those of one config
    make figures ARGS="mnist_cnn_int8"    those of its integer networks
    make figures ARGS="mnist_cnn_accel"   those of the arrays that execute them
    make figures ARGS="mnist_cnn_tpu"     all test images on the first TPU
    make figures ARGS="tpu_paper"         the TPU paper's figures beside the model's
    make figures ARGS="depthwise"         a depthwise layer on arrays, three ways
    make figures ARGS="mnist_cnn_adv_probe warps"   robustness

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

from benchmarks import probe_figures
from train.rundir import write_json

FOLDER = Path(__file__).parents[1] / "figures"

# Config -> seeds and further arguments of each run.
RUNS = {
    "mnist_cnn": [["--seed", str(seed)] for seed in (0, 1, 2)],
    "mnist_cnn_fast": [["--seed", str(seed)] for seed in (0, 1, 2)],
    "mnist_mlp": [["--seed", "0"]],
    "mnist_cnn_gap": [["--seed", "0"]],
    # The two that are compared on rotated MNIST.
    "mnist_p4cnn": [["--seed", str(seed)] for seed in (0, 1, 2)],
    "mnist_z2cnn": [["--seed", str(seed)] for seed in (0, 1, 2)],
    "mnist_cnn_embedded": [
        ["--data.source", "embedded", "--seed", str(s)] for s in (0, 1, 2)
    ],
    "sine_mlp": [["--seed", "0"]],
    "ripple_mlp": [["--seed", "0"]],
}
# Name -> config, seeds, and the arguments of each quantisation of the trained network.
QUANTISED = {
    "mnist_cnn_int8": (
        "mnist_cnn",
        (0, 1, 2),
        [
            [],
            ["--epochs", "0"],
            ["--weight-bits", "4", "--activation-bits", "4"],
            ["--weight-bits", "2", "--activation-bits", "2", "--epochs", "5",
             "--learning-rate", "1e-3"],
        ],
    ),
    "mnist_mlp_int8": (
        "mnist_mlp",
        (0, 1, 2),
        [[], ["--weight-bits", "4", "--activation-bits", "4"]],
    ),
    # Networks that fork, join and come round again.
    **{
        f"{config}_int8": (config, (0, 1, 2), [[]])
        for config in (
            "mnist_resnet8", "mnist_dscnn", "mnist_mobilenet", "mnist_inception",
            "mnist_lstm",
        )
    },
}  # fmt: skip
# Name -> config whose trained network is quantised to every width.
SWEPT = {"mnist_cnn_sweep": "mnist_cnn"}
# Name -> config whose quantised network all machines execute, and how.
EXECUTED = {
    "mnist_cnn_accel": ("mnist_cnn", [
        ["--batch", "100"],
        ["--batch", "1"],
        ["--batch", "100", "--weights", "shadow"],
        ["--batch", "1", "--weights", "shadow"],
        ["--batch", "1", "--weights", "shadow", "--load", "global"],
        ["--batch", "1", "--dataflow", "is"],
        ["--batch", "1", "--dataflow", "os"],
        ["--batch", "100", "--rows", "256", "--cols", "256"],
    ]),
    "mnist_mlp_accel": ("mnist_mlp", [["--batch", "100"], ["--batch", "1"]]),
}  # fmt: skip
# Name -> config whose quantised network the TPU executes, and its batch.
ON_THE_TPU = {"mnist_cnn_tpu": ("mnist_cnn", "100"), "mnist_mlp_tpu": ("mnist_mlp", "200")}
PAPER = "tpu_paper"
DEPTHWISE = "depthwise"
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


_KEPT_QUANTISED = (
    "test_accuracy_float", "test_accuracy_qat", "test_accuracy_int8", "runtimes",
    "fake_quant_logit_max_diff", "fake_quant_logits_different", "size_bytes",
    "training_s", "settings", "dataset", "parameters_sha256", "versions",
)  # fmt: skip


def run_json(command: list[str], *further: str) -> tuple[dict, float]:
    """What a command prints with --json, and its seconds from start to end."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command[1:], *further, "--json"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout), round(time.perf_counter() - began, 1)


def trained(config: str, seed: int, run: str) -> list[str]:
    """Trains a network into `run`; gives back the command."""
    command = ["python", "-m", "train", "--config", config, "--seed", str(seed)]
    run_json(command, "--run", run, "--overwrite")
    return command


def measure_quantised(name: str, scratch: Path) -> list[dict]:
    """Trains the network of a config for each seed and quantises it in every way."""
    config, seeds, variants = QUANTISED[name]
    runs = []
    for seed in seeds:
        trained(config, seed, str(scratch / "run"))
        for arguments in variants:
            command = ["python", "-m", "quant", "--run", f"runs/{config}", *arguments]
            here = [str(scratch / "run") if part.startswith("runs/") else part
                    for part in command]  # fmt: skip
            metrics, wall_s = run_json(here, "--overwrite")
            kept = {key: metrics[key] for key in _KEPT_QUANTISED}
            runs.append(
                {"command": " ".join(command), "seed": seed, "process_s": wall_s, **kept}
            )
    return runs


def measure_sweep(name: str, scratch: Path) -> list[dict]:
    """Trains a network and quantises it to every width; keeps the picture too."""
    config = SWEPT[name]
    trained(config, 0, str(scratch / "run"))
    result, wall_s = run_json(
        ["python", "-m", "quant", "sweep"], "--run", str(scratch / "run")
    )
    shutil.copy(scratch / "run" / "quant" / "sweep.png", FOLDER.parent / "docs")
    command = f"python -m quant sweep --run runs/{config}"
    return [{"command": command, "seed": 0, "process_s": wall_s, **result}]


_KEPT_EXECUTED = (
    "machine", "settings", "images", "batch", "verified", "compared", "mismatches",
    "miscounted", "total_cycles", "cycles_per_image", "utilization", "phases", "accuracy",
    "wall_s", "simulated_cycles_per_s", "peak_memory_bytes", "versions",
)  # fmt: skip


def measure_executed(name: str, scratch: Path) -> list[dict]:
    """Trains and quantises a network and executes all test images on every machine."""
    config, variants = EXECUTED[name]
    run = str(scratch / "run")
    trained(config, 0, run)
    run_json(["python", "-m", "quant", "--run", run], "--overwrite")
    runs = []
    for arguments in variants:
        command = ["python", "-m", "accel", "verify", "--images", "all", *arguments]
        report, wall_s = run_json(command, "--run", run, "--overwrite")
        kept = {key: report[key] for key in _KEPT_EXECUTED}
        shown = " ".join([*command, "--run", f"runs/{config}"])
        runs.append({"command": shown, "seed": 0, "process_s": wall_s, **kept})
    compared, wall_s = run_json(["python", "-m", "accel", "compare"], "--run", run)
    command = f"python -m accel compare --run runs/{config}"
    runs.append({"command": command, "seed": 0, "process_s": wall_s, **compared})
    return runs


_KEPT_TPU = (
    "machine", "images", "batch", "verified", "compared", "layers_compared", "mismatches",
    "cycles", "cycles_closed_form", "counts", "tops", "images_per_s", "accuracy", "latency",
    "wall_s", "versions",
)  # fmt: skip


def measure_tpu(name: str, scratch: Path) -> list[dict]:
    """Trains and quantises a network and executes all test images on the TPU."""
    config, batch = ON_THE_TPU[name]
    run = str(scratch / "run")
    trained(config, 0, run)
    run_json(["python", "-m", "quant", "--run", run], "--overwrite")
    command = ["python", "-m", "accel", "tpu", "--images", "all", "--batch", batch]
    found, wall_s = run_json(command, "--run", run)
    kept = {key: found[key] for key in _KEPT_TPU}
    shown = " ".join([*command, "--run", f"runs/{config}"])
    return [{"command": shown, "seed": 0, "process_s": wall_s, **kept}]


def measure_paper(name: str, scratch: Path) -> list[dict]:
    """The model beside the TPU paper; nothing is drawn at random."""
    found, wall_s = run_json(["python", "-m", "accel", "tpu"])
    return [{"command": "python -m accel tpu", "seed": None, "process_s": wall_s, **found}]


def measure_depthwise(name: str, scratch: Path) -> list[dict]:
    """One depthwise layer on arrays of several sizes, every way of doing its groups."""
    from accel.verify.depthwise import table

    began = time.perf_counter()
    rows = table()
    wall_s = round(time.perf_counter() - began, 1)
    command = "python -m benchmarks.figures depthwise"
    return [{"command": command, "seed": 0, "process_s": wall_s, "rows": rows}]


def measure_trained(name: str, scratch: Path) -> list[dict]:
    return [measure(name, arguments, scratch) for arguments in RUNS[name]]


def measure_probed(name: str, scratch: Path) -> list[dict]:
    return probe_figures.measure_probed(name, run_json)


def measure_warped(name: str, scratch: Path) -> list[dict]:
    return probe_figures.measure_warped(name, run_json)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = {
        **dict.fromkeys(RUNS, measure_trained),
        **dict.fromkeys(QUANTISED, measure_quantised),
        **dict.fromkeys(SWEPT, measure_sweep),
        **dict.fromkeys(EXECUTED, measure_executed),
        **dict.fromkeys(ON_THE_TPU, measure_tpu),
        PAPER: measure_paper,
        DEPTHWISE: measure_depthwise,
        **dict.fromkeys(probe_figures.PROBED, measure_probed),
        "warps": measure_warped,
    }
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(known)}")
    names = parser.parse_args().names or list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"`names` (={unknown[0]}) must be of {', '.join(known)}")
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            runs = known[name](name, Path(scratch))
        scores = [run["test_accuracy"] for run in runs if run.get("test_accuracy")]
        result = {
            "date": datetime.date.today().isoformat(),
            "machine": machine(),
            "runs": runs,
            **({"mean_test_accuracy": statistics.mean(scores)} if scores else {}),
        }
        write_json(FOLDER / f"{name}.json", result)
        keys = ("test_accuracy", "test_mse", "test_accuracy_int8")
        shown = [next((run[k] for k in keys if run.get(k)), "") for run in runs]
        print(name, shown, [run["process_s"] for run in runs], flush=True)


if __name__ == "__main__":
    main()
