"""The pictures of a probe, from its result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from train.plots import save
from train.probe import corruption_pictures, corruptions, curves, pictures
from train.probe.rows import Contender, Exam
from train.probe.settings import Settings
from train.probe.suite import Result
from train.probe.table import select

# Every picture that a probe may leave.
PICTURES = (
    "robust_curve", "rotation", "corruptions", "adversarial", "worst_transforms",
    "corruption_sheet",
)  # fmt: skip
# Digits on the sheet of corruptions.
_SHEET = 6


def write_pictures(
    folder: Path,
    *,
    result: Result,
    contenders: Sequence[Contender],
    exam: Exam,
    settings: Settings,
    name: str,
    classes: Sequence[str],
) -> list[Path]:
    """Draws every picture that the result has numbers for."""
    figures = (
        _curve(result, name),
        _polar(result, name),
        _corruptions(result, name),
        _adversarial(result, contenders, exam, settings, name, classes),
        _transforms(result, contenders, exam, settings, name, classes),
        _sheet(result, exam, settings, name),
    )
    return [
        save(figure, folder / f"{stem}.png")
        for stem, figure in zip(PICTURES, figures, strict=True)
        if figure is not None
    ]


def _points(result: Result, probe: str, parameter: str) -> dict[str, list[tuple]]:
    points: dict[str, list[tuple]] = {}
    for one in select(result.rows, probe=probe):
        point = (one[parameter], one["correct"], one["n"])
        points.setdefault(one["model"], []).append(point)
    return points


def _curve(result: Result, name: str):
    fgsm = _points(result, "fgsm", "eps")
    headline = _points(result, "headline", "eps")
    certified = _points(result, "certificate", "eps")
    if not (fgsm or headline or certified):
        return None
    last = select(result.rows, probe="headline")
    proofs = select(result.rows, probe="certificate")
    return curves.eps_curve(
        fgsm,
        headline,
        certified,
        name=name,
        attack=_behind(last),
        certificate=" and ".join(dict.fromkeys(p["method"] for p in proofs)),
    )


def _behind(heads: Sequence[dict]) -> str:
    """The attacks of a headline, and how many tries stand behind it at most."""
    if not heads:
        return ""
    return f"{heads[-1]['attacks']}; {max(one['tries'] for one in heads)} tries at most"


def _polar(result: Result, name: str):
    points = _points(result, "rotation", "angle_deg")
    return curves.polar(points, name=name) if points else None


def _corruptions(result: Result, name: str):
    errors: dict[str, dict[str, tuple[int, int]]] = {}
    for one in select(result.rows, probe="corruption"):
        wrong = one["n"] - one["correct"]
        errors.setdefault(one["model"], {})[one["corruption"]] = (wrong, one["n"])
    for one in select(result.rows, probe="clean"):
        if one["model"] in errors:
            errors[one["model"]]["clean"] = (one["n"] - one["correct"], one["n"])
    return corruption_pictures.corruption_bars(errors, name=name) if errors else None


def _adversarial(result, contenders, exam: Exam, settings: Settings, name, classes):
    if not result.states:
        return None
    # Those of the network that ships, if it is there.
    images = result.states[contenders[-1].name].adversarial
    attacks = select(result.rows, probe="headline", model=contenders[-1].name)[-1]
    return pictures.attack_grid(
        exam.images,
        images,
        exam.labels,
        before=_classes(contenders, exam.images),
        after=_classes(contenders, images),
        classes=classes,
        name=name,
        attack=f"worst of {_behind([attacks])}, against {contenders[-1].name}",
        eps=settings.eps[-1],
    )


def _transforms(result, contenders, exam: Exam, settings: Settings, name, classes):
    if not result.worst:
        return None
    worst = result.worst[contenders[-1].name]
    count = settings.grid_shifts**2 * settings.grid_angles
    return pictures.worst_transforms(
        exam.images,
        worst["warped"],
        exam.labels,
        before=_classes(contenders, exam.images),
        after=_classes(contenders, worst["warped"]),
        transforms=worst["transforms"],
        classes=classes,
        name=name,
        search=f"{count} transforms against {contenders[-1].name}, the first that breaks",
    )


def _sheet(result, exam: Exam, settings: Settings, name):
    names = {one["corruption"]: None for one in select(result.rows, probe="corruption")}
    some = exam.images[:_SHEET]
    images = {one: corruptions.corrupt(one, some, seed=settings.seed) for one in names}
    sheet = {"clean": some, **images}
    return corruption_pictures.corruption_sheet(sheet, name=name) if images else None


def _classes(contenders: Sequence[Contender], images: np.ndarray) -> dict[str, np.ndarray]:
    return {one.name: one.judge.classes(images) for one in contenders}
