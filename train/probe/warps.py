"""Several networks under translation and under rotation, in one figure.

What convolution, pooling and global pooling buy, and what they do not: a convolution
moves with the picture but a dense layer behind it does not; nothing here turns with it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from configs.checks import require
from configs.errors import InputError
from train.console import all_cores, guarded, stdout_kept_clean
from train.where import Where


@dataclass(frozen=True, kw_only=True)
class Warps:
    """Networks under translation and under rotation, as warps.json and warps.png."""

    # Run directories of finished trainings on the same data, two or more.
    runs: tuple[str, ...]
    # Folder for the two files.
    out: str = "runs/warps"
    # Test images, the first ones; 0 for all.
    images: int = 0
    # Farthest shift to the right, pixels.
    shift_px: int = 8
    # Degrees between two angles.
    angle_step_deg: int = 15
    # Print warps.json on stdout.
    json: bool = False
    # The data, if it is not where it was.
    data: Where = field(default_factory=Where)

    def __post_init__(self) -> None:
        require(self, bool(self.runs), "runs", "must name a run or more.")
        for name in ("images", "shift_px"):
            require(self, getattr(self, name) >= 0, name, "must be 0 or more.")
        step = self.angle_step_deg
        divides = step >= 1 and 180 % step == 0
        require(self, divides, "angle_step_deg", "must divide 180; use 15.")


def main(given: Sequence[str]) -> int:
    """Runs the command; gives back the exit status."""
    return guarded(lambda: _run(_parsed(given)))


def _parsed(given: Sequence[str]) -> Warps:
    return tyro.cli(
        Warps,
        args=list(given),
        prog="python -m train warps",
        description=Warps.__doc__,
        config=(tyro.conf.AvoidSubcommands,),
    )


def _run(command: Warps) -> int:
    with stdout_kept_clean():
        all_cores()
        found = measure(command)
    if command.json:
        print(json.dumps(found, sort_keys=True))
        return 0
    shown = ("+2 px", "+4 px", "+30 deg", "+90 deg")
    print(f"{'network':<24}{'upright %':>10}" + "".join(f"{s:>10}" for s in shown))
    for name, one in found["networks"].items():
        at = {**_at(one["translation"], "px"), **_at(one["rotation"], "deg")}
        shares = [at["+0 px"], *(at.get(key) for key in shown)]
        text = "".join(" " * 10 if s is None else f"{100 * s:>10.1f}" for s in shares)
        print(f"{name:<24}{text}")
    print(f"\nwritten  {command.out}/warps.json, warps.png")
    return 0


def _at(points: Sequence[Sequence[float]], unit: str) -> dict[str, float]:
    return {f"{p:+g} {unit}": correct / n for p, correct, n in points}


def measure(command: Warps) -> dict[str, Any]:
    """Both curves of every network; writes the figure and the numbers.

    Raises:
      InputError: a run has no images to warp, or two were tested on other data.
    """
    from train import rundir, stage
    from train.judge import Classifier
    from train.plots import save
    from train.probe import curves, spatial
    from train.probe import stage as probing

    networks: dict[str, Any] = {}
    tested: dict[str, str] = {}
    for run in command.runs:
        trained = stage.load(Path(run))
        probing.refuse_task(trained)
        dataset = stage.load_data(trained, command.data)
        tested[run] = dataset.sha256
        if len(set(tested.values())) > 1:
            raise InputError(
                f"`--runs` (={run}) must all be tested on the same data; "
                f"{command.runs[0]} was not. Train them alike."
            )
        exam = probing.exam_of(dataset).first(command.images)
        judge = Classifier(trained.model)
        shifts = range(-command.shift_px, command.shift_px + 1)
        angles = range(-180, 181, command.angle_step_deg)
        moved = spatial.translation_curve(judge, exam.images, exam.labels, shifts)["x"]
        turned = spatial.rotation_curve(judge, exam.images, exam.labels, angles)
        name = trained.experiment.name if trained.experiment.name not in networks else run
        networks[name] = {
            "translation": [[p.parameter, p.correct, p.n] for p in moved],
            "rotation": [[p.parameter, p.correct, p.n] for p in turned],
        }
    out = Path(command.out)
    found = {"networks": networks, "runs": list(command.runs)}
    figure = curves.lines(
        {name: [tuple(p) for p in one["translation"]] for name, one in networks.items()},
        {name: [tuple(p) for p in one["rotation"]] for name, one in networks.items()},
        name=" and ".join(networks),
        direction="right",
    )
    rundir.write_json(out / "warps.json", found)
    with rundir.writing(out):
        save(figure, out / "warps.png")
    return found
