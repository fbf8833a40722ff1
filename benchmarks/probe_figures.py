"""The figures of robustness: networks trained, quantised and probed by their commands.

`benchmarks.figures` runs these too. Training against an adversary takes long, so runs are
kept in runs/figures/ and go on where they were; a finished one is not trained again.
Pictures go to docs/.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

RunJson = Callable[..., tuple[dict, float]]

ROOT = Path(__file__).parents[1]
DOCS, KEPT = ROOT / "docs", ROOT / "runs" / "figures"
# Name -> config, the arguments of its probe, and the pictures that are kept.
PROBED = {
    "mnist_cnn_probe": ("mnist_cnn", [], ["robust_curve", "rotation", "corruption_sheet"]),
    "mnist_cnn_adv_probe": (
        "mnist_cnn_adv",
        ["--models", "float", "int8", "--eps", "0.3", "--sections", "attacks", "fgsm",
         "certificates", "corruptions"],
        ["adversarial"],
    ),
    "mnist_cnn_ibp_probe": (
        "mnist_cnn_ibp",
        ["--models", "float", "int8", "--eps", "0.1", "--sections", "certificates",
         "attacks", "--restarts", "2", "--queries", "1000"],
        [],
    ),
    "mnist_cnn_rot_probe": (
        "mnist_cnn_rot", ["--sections", "grid", "angles"], []
    ),
}  # fmt: skip
# Networks under translation and rotation, trained on images as they are.
WARPED = ("mnist_mlp", "mnist_cnn", "mnist_cnn_gap")
UPRIGHT = ["--augment.shift-px", "0", "--augment.rotate-deg", "0", "--train.epochs", "10"]
_KEPT = (
    "name", "settings", "seed", "dataset", "versions", "rows", "gates", "flags", "notes",
    "headline", "agreement", "differences", "wall_s", "models",
)  # fmt: skip


def measure_probed(name: str, run_json: RunJson) -> list[dict]:
    """Trains a config, quantises it and probes it; keeps its pictures."""
    config, arguments, pictures = PROBED[name]
    metrics, steps = _trained(config, config, [], run_json)
    run = KEPT / config
    quantised = _finished(run, "quant", ["python", "-m", "quant"], run_json)
    steps.append(
        {"command": f"python -m quant --run runs/{config}", "wall_s": quantised["wall_s"]}
    )
    (run / "quant" / "probes.json").unlink(missing_ok=True)
    resumed = ["--resume"] if (run / "quant" / "probes.parts").exists() else arguments
    probe = ["python", "-m", "quant", "probe"]
    found, _ = run_json(probe, "--run", str(run), *resumed)
    for picture in pictures:
        shutil.copy(run / "quant" / f"{picture}.png", DOCS / f"{config}_{picture}.png")
    shown = " ".join([*probe, "--run", f"runs/{config}", *arguments])
    kept = {key: found[key] for key in _KEPT if key in found}
    sizes = {key: metrics[key] for key in ("test_accuracy", "parameters", "macs", "epochs")}
    return [
        {
            "command": shown, "process_s": found["wall_s"], "before": steps, **sizes,
            "test_accuracy_int8": quantised["test_accuracy_int8"], **kept,
        }
    ]  # fmt: skip


def measure_warped(name: str, run_json: RunJson) -> list[dict]:
    """Trains the networks upright and draws them under translation and rotation."""
    steps = []
    for config in WARPED:
        _, step = _trained(config, f"{config}_upright", UPRIGHT, run_json)
        steps += step
    out = KEPT / "warps"
    warps, runs = ["python", "-m", "train", "warps"], [f"{c}_upright" for c in WARPED]
    given = [str(KEPT / run) for run in runs]
    found, wall_s = run_json(warps, "--runs", *given, "--out", str(out))
    shutil.copy(out / "warps.png", DOCS / "warps.png")
    shown = " ".join([*warps, "--runs", *(f"runs/{run}" for run in runs)])
    found = {**found, "runs": runs}
    return [{"command": shown, "process_s": wall_s, "before": steps, "seed": 0, **found}]


def _trained(
    config: str, run: str, arguments: list[str], run_json: RunJson
) -> tuple[dict, list[dict]]:
    """The metrics of a config trained into `run`, and its command with its time."""
    train = ["python", "-m", "train", "--config", config, "--seed", "0", *arguments]
    metrics = _finished(KEPT / run, "train", train, run_json)
    step = {
        "command": " ".join(train),
        "wall_s": metrics["wall_s"],
        "test_accuracy": metrics["test_accuracy"],
    }
    return metrics, [step]


def _finished(run: Path, stage: str, command: list[str], run_json: RunJson) -> dict:
    """The metrics of a stage: read, or of the command, which goes on with what is there."""
    metrics = run / stage / "metrics.json"
    if metrics.exists():
        return json.loads(metrics.read_text())
    resume = ["--resume"] if (run / stage).exists() else []
    return run_json(command, "--run", str(run), *resume)[0]
