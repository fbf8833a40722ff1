"""The quantisation stage: from a trained run to `runs/<name>/quant/`."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from configs import stored
from configs.errors import InputError
from quant import equivalence, exports, files, golden, request
from quant.fit import PACKAGES, Fitted, calibration_values, other_run, quantise
from quant.measure import layer_data, scores_of_integers
from quant.network import IntNetwork
from quant.pictures import write_pictures
from quant.settings import Quantization
from train import checkpoint, rundir
from train import stage as training
from train.dataset import Dataset
from train.evaluate import scores
from train.progress import Display
from train.stage import Trained
from train.versions import versions
from train.where import Where

# Results of another command in the same folder.
_OF_OTHERS = ("sweep.json", "sweep.png")


def run(
    folder: Path,
    settings: Quantization,
    *,
    formats: Sequence[exports.FormatName] = exports.FORMATS,
    golden_images: int = 2,
    resume: bool = False,
    overwrite: bool = False,
    threads: int = 1,
    where: Where | None = None,
    penalty: Callable[[Any], jax.Array] | None = None,
    display: Display | None = None,
) -> dict:
    """Quantises the trained run in `folder`, exports it and proves it; returns metrics.

    Raises:
      InputError: run, settings and formats do not go together; nothing is written.
      DivergedError, Interrupted: as `Trainer.finish`.
    """
    display = display or Display()
    stage = folder / "quant"
    asked = request.Request(
        settings=settings, formats=tuple(formats), golden_images=golden_images
    )
    _refuse_existing(stage, settings, resume, overwrite)
    trained = training.load(folder)
    dataset = training.load_data(trained, where)
    display.say(f"Calibrating on {settings.calibration_images} training images.")
    seen = calibration_values(trained, dataset, settings)
    untrained = dataclasses.replace(settings, epochs=0)
    first = quantise(trained, dataset, untrained, seen=seen)
    refuse_unsupported(first.network, formats)
    chosen = dataset.test.images[:golden_images]
    named = trained.experiment.task == "classification"
    labels = dataset.test.labels[:golden_images].tolist() if named else None
    golden.write(first.network, chosen, labels)
    with rundir.lock(stage):
        if overwrite:
            rundir.clear(stage, keep=_OF_OTHERS)
        request.write(stage, asked)
        began = time.monotonic()
        fitted = first
        if settings.epochs:
            fitted = quantise(
                trained, dataset, settings, seen=seen, folder=stage / "checkpoint",
                resume=resume, penalty=penalty, display=display,
            )  # fmt: skip
        training_s = time.monotonic() - began
        display.say("Writing the integer network and its exports.")
        contents = {
            **{exports.module(n).FILE: exports.module(n).encode(fitted.network)
               for n in formats},
            **golden.write(fitted.network, chosen, labels),
        }  # fmt: skip
        source = _source(trained, settings, dataset)
        files.save(fitted.network, stage, source=source, files=contents)
        proved, integers = _proved(stage, formats, trained, dataset, threads, display)
        metrics = {
            **_metrics(trained, settings, dataset, fitted, integers),
            **proved,
            "files": {name: len(content) for name, content in contents.items()},
            "training_s": round(training_s, 3),
            "wall_s": round(time.monotonic() - began, 3),
        }
        display.say("Drawing pictures.")
        with rundir.writing(stage):
            write_pictures(stage, trained=trained, fitted=fitted, dataset=dataset)
        rundir.write_json(stage / "metrics.json", metrics)
    return metrics


def refuse_unsupported(network: IntNetwork, formats: Sequence[str]) -> None:
    """Refuses a layer that a wanted format cannot express, before anything is written."""
    for name in formats:
        form = exports.module(name)
        for layer in network.walk():
            reason = form.unsupported(layer)
            if reason:
                rest = [other for other in formats if other != name]
                others = " ".join(rest) or "(and nothing after it)"
                raise InputError(
                    f"`{layer.name}` cannot be exported to {form.FILE}: it has {reason}; "
                    f"leave the format out with --formats {others}."
                )


def _refuse_existing(
    stage: Path, settings: Quantization, resume: bool, overwrite: bool
) -> None:
    if resume and overwrite:
        raise InputError("`--resume` and `--overwrite` exclude each other; give one.")
    started = (stage / "metrics.json").exists() or checkpoint.steps(stage / "checkpoint")
    if started and not (resume or overwrite):
        raise InputError(
            f"`--run` (={stage.parent}) already holds a quantised network; replace it with "
            f"--overwrite, or continue an interrupted run with --resume."
        )
    begun = request.read(stage) if resume else None
    if begun and begun.settings != settings:
        raise other_run("settings")
    if started and resume:
        path = stage / "metrics.json"
        # An unfinished run has a checkpoint, which is asked for its settings later.
        same = settings.epochs > 0
        if path.exists():
            same = rundir.read_json(path).get("settings") == stored.to_dict(settings)
        if not same:
            raise other_run("settings")


def _source(trained: Trained, settings: Quantization, dataset: Dataset) -> dict:
    """What the integer network was made from."""
    return {
        "name": trained.experiment.name,
        "task": trained.experiment.task,
        "config_sha256": trained.metrics["config_sha256"],
        "parameters_sha256": trained.metrics["parameters_sha256"],
        "dataset_sha256": dataset.sha256,
        "settings": stored.to_dict(settings),
    }


def _metrics(
    trained: Trained,
    settings: Quantization,
    dataset: Dataset,
    fitted: Fitted,
    integers: np.ndarray,
) -> dict:
    """What the network is, what it is worth in floats, and how far it is from them.

    Args:
      integers: outputs (N, F) of the integer network for the test images.
    """
    network, experiment = fitted.network, trained.experiment
    score = _score(experiment.task)
    outputs = fitted.fake_outputs(dataset.test.images)
    fake = scores(outputs, dataset.test.labels, experiment.task)[score]
    difference = np.abs(outputs - integers * np.float64(network.output.scale))
    found = {}
    if experiment.task == "regression":
        found = {f"test_accuracy_{what}": None for what in ("float", "qat", "int8")}
    return found | {
        "name": experiment.name,
        "task": experiment.task,
        "settings": stored.to_dict(settings),
        f"test_{score}_float": trained.metrics[f"test_{score}"],
        f"test_{score}_qat": fake,
        "fake_quant_logit_max_diff": float(difference.max()),
        "fake_quant_logits_different": int(np.sum(difference > 0)),
        "logit_step": network.output.scale,
        "size_bytes": network.size_bytes(),
        "packed_bytes": network.packed_bytes(),
        "float_size_bytes": 4 * experiment.network.parameters,
        "layers": layer_data(network, dataset.test.images),
        "dataset": trained.metrics["dataset"],
        "parameters_sha256": trained.metrics["parameters_sha256"],
        "versions": versions(PACKAGES),
    }


def _proved(
    stage: Path,
    formats: Sequence[str],
    trained: Trained,
    dataset: Dataset,
    threads: int,
    display: Display,
) -> tuple[dict, np.ndarray]:
    """What every runtime makes of the files, as a user of them has them, and the
    integers (N, F) that are right."""
    task, network = trained.experiment.task, files.load(stage).network
    contents = {name: (stage / exports.module(name).FILE).read_bytes() for name in formats}
    verdicts, integers = equivalence.prove(
        network, contents, dataset.test.images, threads=threads, say=display.say
    )
    whole = scores_of_integers(integers, network.output, dataset.test.labels, task)
    found = {verdict.runtime: verdict.data() for verdict in verdicts}
    return {f"test_{_score(task)}_int8": whole[_score(task)], "runtimes": found}, integers


def _score(task: str) -> str:
    return "accuracy" if task == "classification" else "mse"
