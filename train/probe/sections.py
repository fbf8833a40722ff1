"""The probes that need no attack: each gives records for one network."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from configs.errors import InputError
from train.attack import search
from train.attack.budget import levels_of
from train.attack.gradient import fgsm
from train.probe import corruptions, spatial
from train.probe.ledger import Part
from train.probe.rows import Contender, Exam, row
from train.probe.settings import Settings

Say = Callable[[int, int], None]


def clean(contender: Contender, exam: Exam) -> dict:
    """Accuracy as it is."""
    began = time.monotonic()
    right = contender.judge.classes(exam.images) == exam.labels
    return row(contender.name, "clean", int(right.sum()), exam.n, seconds=_since(began))


def fgsm_curve(contender: Contender, exam: Exam, settings: Settings, say: Say) -> Part:
    """Accuracy under one gradient step of each budget, and the area under that curve."""
    rows = [row(contender.name, "fgsm", _right(contender, exam), exam.n, eps=0.0)]
    for number, eps in enumerate(settings.eps_fgsm):
        began = time.monotonic()
        found = search.run(
            fgsm(), contender.subject, exam.images, exam.labels, levels_of(eps),
            seed=settings.seed, indices=exam.indices, judge=contender.judge,
        )  # fmt: skip
        rows.append(
            row(
                contender.name, "fgsm", int((~found.broken).sum()), exam.n, eps=eps,
                levels=levels_of(eps), norm="linf", steps=1, tries=1, seed=settings.seed,
                zero_gradient_some=int((found.zero_gradient > 0).sum()),
                seconds=_since(began),
            )
        )  # fmt: skip
        say(number + 1, len(settings.eps_fgsm))
    at = [one["eps"] for one in rows]
    area = float(np.trapezoid([one["accuracy"] for one in rows], at) / at[-1])
    return Part({"rows": rows, "area": area}, {})


def angles(contender: Contender, exam: Exam, settings: Settings, say: Say) -> Part:
    """Accuracy by angle, by shift to the right and by shift down."""
    step, reach = settings.angle_step_deg, settings.shift_px
    began = time.monotonic()
    turned = spatial.rotation_curve(
        contender.judge, exam.images, exam.labels, range(-180, 181, step)
    )
    say(1, 2)
    seconds = _since(began)
    rows = [
        row(
            contender.name, "rotation", one.correct, one.n, angle_deg=one.parameter,
            seconds=round(seconds / len(turned), 3),
        )
        for one in turned
    ]  # fmt: skip
    shifts = range(-reach, reach + 1)
    moved = spatial.translation_curve(contender.judge, exam.images, exam.labels, shifts)
    say(2, 2)
    for axis, points in moved.items():
        rows += [
            row(
                contender.name, "translation", one.correct, one.n, axis=axis,
                shift_px=one.parameter,
            )
            for one in points
        ]  # fmt: skip
    return Part({"rows": rows}, {})


def corrupted(contender: Contender, exam: Exam, settings: Settings, say: Say) -> Part:
    """Accuracy under the corruptions that these images allow, and what was left out."""
    rows, left_out = [], {}
    for number, name in enumerate(corruptions.NAMES):
        began = time.monotonic()
        try:
            images = corruptions.corrupt(name, exam.images, seed=settings.seed)
        except InputError as refusal:
            left_out[name] = str(refusal)
            continue
        right = contender.judge.classes(images) == exam.labels
        rows.append(
            row(
                contender.name, "corruption", int(right.sum()), exam.n,
                corruption=name, seed=settings.seed, seconds=_since(began),
            )
        )  # fmt: skip
        say(number + 1, len(corruptions.NAMES))
    errors = [1 - one["accuracy"] for one in rows]
    mean = float(np.mean(errors)) if errors else None
    notes = {"mean_error": mean, "left_out": left_out, "severities": corruptions.SOURCE}
    return Part({"rows": rows, **notes}, {})


def certificates(contender: Contender, exam: Exam, settings: Settings, say: Say) -> Part:
    """Accuracy that is proved: a lower bound that no attack may cross.

    Each image by the first proof that succeeds. Slow ones are tried on at most
    `crown_images` images, and on none that they could not prove within a smaller budget.
    """
    rows, arrays = [], {}
    n, hope = exam.n, np.ones(exam.n, bool)
    for number, eps in enumerate(settings.eps_certified):
        began, levels = time.monotonic(), levels_of(eps)
        proved = contender.certify(exam.images, exam.labels, levels)
        ways = {contender.certificate: proved.copy()}
        n = _slow_images(contender, settings, n, proved)
        for proof in contender.closer if settings.crown_images else ():
            left = np.flatnonzero((hope & ~proved)[:n])
            found = proof.certify(exam.images[left], exam.labels[left], levels)
            ways[proof.method] = np.zeros(exam.n, bool)
            ways[proof.method][left] = found
            proved = proved | ways[proof.method]
        hope = proved
        arrays[f"certified_{levels}"] = proved
        rows.append(
            row(
                contender.name, "certificate", int(proved[:n].sum()), n, eps=eps,
                levels=levels, norm="linf", method=" or ".join(ways),
                by_method={name: int(each[:n].sum()) for name, each in ways.items()},
                seconds=_since(began),
            )
        )  # fmt: skip
        say(number + 1, len(settings.eps_certified))
    return Part({"rows": rows}, arrays)


def _slow_images(
    contender: Contender, settings: Settings, n: int, proved: np.ndarray
) -> int:
    """How many images, the first ones, a certificate is of."""
    few = int((~proved[:n]).sum()) <= settings.crown_images
    slow = contender.closer and settings.crown_images
    return n if few or not slow else min(n, settings.crown_images)


def grid(contender: Contender, exam: Exam, settings: Settings, say: Say) -> Part:
    """Accuracy under a random transform, the worst of 10, and the worst of the grid."""
    began = time.monotonic()
    transforms = spatial.grid(settings.grid_shifts, settings.grid_angles)
    found = spatial.evaluate(
        contender.judge, exam.images, exam.labels, seed=settings.seed,
        transforms=transforms, say=lambda done, _: say(done, len(transforms)),
    )  # fmt: skip
    seconds = _since(began)
    rows = [
        row(
            contender.name, "spatial", correct, exam.n, transforms=count, worst_of=which,
            limit_deg=spatial.LIMIT_DEG, limit_px=spatial.LIMIT_PX, seed=settings.seed,
            seconds=seconds,
        )
        for which, correct, count in (
            ("natural", found.natural, 1),
            ("random", found.random, 1),
            ("worst of 10", found.worst_of_10, spatial.TRIES),
            ("grid", found.grid, len(transforms)),
        )
    ]  # fmt: skip
    worst = found.worst
    arrays = {
        "broken": worst.broken, "warped": worst.images, "transforms": worst.transforms,
    }  # fmt: skip
    return Part({"rows": rows}, arrays)


def _right(contender: Contender, exam: Exam) -> int:
    return int((contender.judge.classes(exam.images) == exam.labels).sum())


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
