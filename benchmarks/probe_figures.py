"""The figures of robustness: networks trained, quantised and probed by their commands.

`benchmarks.figures` runs these too. Pictures go to docs/.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

RunJson = Callable[..., tuple[dict, float]]

DOCS = Path(__file__).parents[1] / "docs"
# Name -> config, whether it is quantised too, and the arguments of its probe.
PROBED = {
    "mnist_cnn_probe": ("mnist_cnn", True, []),
    "mnist_cnn_adv_probe": (
        "mnist_cnn_adv",
        True,
        ["--models", "float", "int8", "--eps", "0.3", "--sections", "attacks", "fgsm",
         "certificates", "corruptions"],
    ),
    "mnist_cnn_ibp_probe": (
        "mnist_cnn_ibp",
        True,
        ["--models", "float", "int8", "--eps", "0.1", "--sections", "certificates",
         "attacks", "--restarts", "2", "--queries", "1000"],
    ),
    "mnist_cnn_rot_probe": ("mnist_cnn_rot", True, ["--sections", "grid", "angles"]),
}  # fmt: skip
# Networks under translation and rotation, trained on images as they are.
WARPED = ("mnist_mlp", "mnist_cnn", "mnist_cnn_gap")
UPRIGHT = ["--augment.shift-px", "0", "--augment.rotate-deg", "0", "--train.epochs", "10"]
_KEPT = (
    "name", "settings", "seed", "dataset", "versions", "rows", "gates", "flags", "notes",
    "headline", "agreement", "differences", "wall_s", "models",
)  # fmt: skip


def measure_probed(name: str, scratch: Path, run_json: RunJson) -> list[dict]:
    """Trains a config, quantises it and probes it; keeps its pictures."""
    config, quantised, arguments = PROBED[name]
    run = str(scratch / "run")
    train = ["python", "-m", "train", "--config", config, "--seed", "0"]
    metrics, train_s = run_json(train, "--run", run, "--overwrite")
    steps = [{"command": " ".join(train), "process_s": train_s}]
    stage = "quant" if quantised else "train"
    if quantised:
        quant = ["python", "-m", "quant"]
        _, quant_s = run_json(quant, "--run", run, "--overwrite")
        shown = f"python -m quant --run runs/{config}"
        steps.append({"command": shown, "process_s": quant_s})
    probe = ["python", "-m", stage, "probe"]
    found, probe_s = run_json(probe, "--run", run, *arguments)
    shown = " ".join([*probe, "--run", f"runs/{config}", *arguments])
    for picture in ("robust_curve", "adversarial", "rotation", "worst_transforms",
                    "corruptions", "corruption_sheet"):  # fmt: skip
        path = scratch / "run" / stage / f"{picture}.png"
        if path.exists():
            shutil.copy(path, DOCS / f"{config}_{picture}.png")
    kept = {key: found[key] for key in _KEPT if key in found}
    return [
        {
            "command": shown,
            "process_s": probe_s,
            "before": steps,
            "test_accuracy": metrics["test_accuracy"],
            "parameters": metrics["parameters"],
            "macs": metrics["macs"],
            "epochs": metrics["epochs"],
            **kept,
        }
    ]


def measure_warped(name: str, scratch: Path, run_json: RunJson) -> list[dict]:
    """Trains the networks upright and draws them under translation and rotation."""
    runs, steps = [], []
    for config in WARPED:
        run = str(scratch / config)
        train = ["python", "-m", "train", "--config", config, "--seed", "0", *UPRIGHT]
        metrics, wall_s = run_json(train, "--run", run, "--overwrite")
        runs.append(run)
        steps.append(
            {
                "command": " ".join(train),
                "process_s": wall_s,
                "test_accuracy": metrics["test_accuracy"],
            }
        )
    began = time.perf_counter()
    out = scratch / "warps"
    command = [sys.executable, "-m", "train", "warps", "--runs", *runs, "--out", str(out)]
    found, _ = run_json(["python", *command[1:]])
    shutil.copy(out / "warps.png", DOCS / "warps.png")
    shown = f"python -m train warps --runs {' '.join(f'runs/{c}' for c in WARPED)}"
    wall_s = round(time.perf_counter() - began, 1)
    return [{"command": shown, "process_s": wall_s, "before": steps, "seed": 0, **found}]
