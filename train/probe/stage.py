"""A probe as a stage: what it writes into a run directory, once, whole, and resumable."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from configs import stored
from configs.errors import InputError
from train import bounds, rundir
from train.attack.target import Target
from train.certify import network, proofs
from train.certify.engine import Graph
from train.dataset import Dataset
from train.judge import Classifier
from train.lowering import lowered
from train.model import Model
from train.probe import show
from train.probe.ledger import FOLDER, Ledger
from train.probe.rows import Certify, Contender, Exam, Proof
from train.probe.settings import Settings
from train.probe.suite import Result, Suite, differences, report
from train.progress import Display
from train.stage import Trained
from train.versions import versions

_PACKAGES = ("jax", "jaxlib", "flax", "numpy")
# What a probe leaves in the stage's folder.
REPORT, WORST = "probes.json", "worst_inputs.npz"
# Images per call of a certificate.
_CHUNK = 500


def float_contender(trained: Trained) -> Contender:
    """The float network of a run."""
    model = trained.model
    subject = Target(name="float", predict=model, surrogate=model)
    graph = network.graph(model)

    def linear(*methods: str) -> Proof:
        return Proof(method=" or ".join(methods), certify=_proof(graph, *methods))

    return Contender(
        subject=subject,
        judge=Classifier(subject.predict),
        sha256=trained.metrics["parameters_sha256"],
        certify=_screened(lowered(model), _proof(graph, proofs.METHODS[0])),
        certificate=proofs.METHODS[0],
        closer=(linear(*proofs.METHODS[1:2]), linear(*proofs.METHODS[2:])),
    )


def _proof(graph: Graph, *methods: str) -> Certify:
    """A proof in real arithmetic about a float network."""

    def proved(images: np.ndarray, labels: np.ndarray, levels: int) -> np.ndarray:
        pixels = network.pixels_within(images, levels)
        return proofs.proved(graph, pixels, labels, methods=methods) > 0

    return proved


def _screened(model: Model, proof: Certify) -> Certify:
    """A proof by intervals, tried where float32 says that it succeeds."""
    hopeful = certify(model)

    def proved(images: np.ndarray, labels: np.ndarray, levels: int) -> np.ndarray:
        found = hopeful(images, labels, levels)
        where = np.flatnonzero(found)
        found[where] = proof(images[where], labels[where], levels)
        return found

    return proved


def certify(model: Model) -> Certify:
    """Which images no change within some levels can have misjudged, by intervals in
    float32, up to its rounding."""
    compiled = jax.jit(lambda x, y, levels: bounds.certified(model, x, y, levels))

    def proved(images: np.ndarray, labels: np.ndarray, levels: int) -> np.ndarray:
        found = [np.empty(0, bool)]
        for first in range(0, len(images), _CHUNK):
            x, y = images[first : first + _CHUNK], labels[first : first + _CHUNK]
            fill = np.arange(_CHUNK) % len(x)
            chunk = compiled(x[fill], y[fill].astype(np.int32), np.float32(levels))
            found.append(np.asarray(chunk)[: len(x)])
        return np.concatenate(found)

    return proved


def run(
    contenders: Sequence[Contender],
    folder: Path,
    trained: Trained,
    dataset: Dataset,
    settings: Settings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    display: Display | None = None,
) -> dict[str, Any]:
    """Probes `contenders` into the stage's folder; returns what probes.json holds.

    Raises:
      InputError: the run, its folder and the settings do not go together.
      gates.RefusedError: a gate failed; no probes.json is written.
    """
    display = display or Display()
    refuse(trained, folder, resume=resume, overwrite=overwrite)
    began = time.monotonic()
    test = exam_of(dataset)
    identity = {
        "settings": stored.to_dict(settings),
        "models": {one.name: one.sha256 for one in contenders},
        "dataset": dataset.sha256,
        "versions": versions(_PACKAGES),
    }
    with rundir.lock(folder):
        if overwrite:
            _clear(folder)
        ledger = Ledger(folder / FOLDER, identity, resume=resume, overwrite=overwrite)
        suite = Suite(contenders, test, settings, ledger=ledger, display=display)
        result = suite.run()
        found = {
            "name": trained.experiment.name,
            "settings": stored.to_dict(settings),
            "dataset": trained.metrics["dataset"],
            "versions": versions(_PACKAGES),
            "devices": [str(device) for device in jax.devices()],
            "seed": settings.seed,
            "wall_s": round(time.monotonic() - began + ledger.earlier_s, 3),
            **report(result, contenders, settings),
        }
        if result.states and len(contenders) > 1:
            ends = contenders[0].name, contenders[-1].name
            found["differences"] = differences(result, suite.exam, *ends)
        display.say("Drawing pictures.")
        found["files"] = []
        worst = _worst(result, suite.exam)
        if worst:
            rundir.write_bytes(folder / WORST, worst)
            found["worst_inputs_sha256"] = hashlib.sha256(worst).hexdigest()
            found["files"].append(WORST)
        with rundir.writing(folder):
            pictures = show.write_pictures(
                folder, result=result, contenders=contenders, exam=suite.exam,
                settings=settings, name=trained.experiment.name, classes=dataset.classes,
            )  # fmt: skip
        found["files"] += [path.name for path in pictures]
        rundir.write_json(folder / REPORT, found)
        ledger.close()
    return found


def _clear(folder: Path) -> None:
    """Removes what an earlier probe left: this one may measure less."""
    names = (REPORT, WORST, *(f"{picture}.png" for picture in show.PICTURES))
    with rundir.writing(folder):
        for name in names:
            (folder / name).unlink(missing_ok=True)


def exam_of(dataset: Dataset) -> Exam:
    """The test images."""
    labels = dataset.test.labels.astype(np.int32)
    return Exam(images=dataset.test.images, labels=labels)


def refuse(trained: Trained, folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuses what cannot be probed, before anything long begins."""
    if resume and overwrite:
        raise InputError("`--resume` and `--overwrite` exclude each other; give one.")
    refuse_task(trained)
    if (folder / REPORT).exists() and not overwrite:
        raise InputError(
            f"`--run` (={folder.parent}) has been probed already ({folder / REPORT}); "
            f"replace it with --overwrite."
        )


def refuse_task(trained: Trained) -> None:
    """Refuses a network that has no images or no classes."""
    if trained.experiment.task != "classification":
        raise InputError(
            f"`--run` (={trained.experiment.name}) is a regression; a probe needs classes "
            f"to fool. Choose another run."
        )
    if len(trained.experiment.network.input_shape) != 3:
        raise InputError(
            f"`--run` (={trained.experiment.name}) takes inputs of shape "
            f"{trained.experiment.network.input_shape}; a probe needs images (H, W, C)."
        )


def _worst(result: Result, exam: Exam) -> bytes | None:
    """The worst inputs as an .npz for re-scoring: adversarial images (N, H, W, C) and
    what broke, warped images and their transforms, by model; labels."""
    arrays: dict[str, np.ndarray] = {}
    for name, state in result.states.items():
        arrays |= {f"adversarial_{name}": state.adversarial, f"broken_{name}": state.broken}
    for name, worst in result.worst.items():
        arrays |= {
            f"warped_{name}": worst["warped"],
            f"warped_broken_{name}": worst["broken"],
            f"transforms_{name}": worst["transforms"],
        }
    if not arrays:
        return None
    file = io.BytesIO()
    np.savez_compressed(file, images=exam.images, labels=exam.labels, **arrays)
    return file.getvalue()
