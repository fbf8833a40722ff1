"""The training stage: from an experiment to `runs/<name>/train/`, and back again."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import NamedTuple

import jax

from configs import stored
from configs.errors import InputError
from configs.schema import Experiment
from train import checkpoint, data, mesh, rundir
from train.dataset import Dataset
from train.distributed import Distributed
from train.evaluate import scores
from train.fit import Fit, prepare
from train.lowering import lowered
from train.model import Model, build, merge, split
from train.pictures import write_pictures
from train.progress import Display
from train.resume import resume as resume_at
from train.session import Outcome, Trainer, kept_parameters
from train.versions import versions
from train.where import Where, same
from train.widths import write_fits

# Packages whose version can change a result.
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


class Trained(NamedTuple):
    """A finished training run, as the next stage reads it."""

    # With the network of `model`.
    experiment: Experiment
    # In ordinary layers (`train.lowering`).
    model: Model
    metrics: dict


def run(
    experiment: Experiment,
    folder: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    distributed: Distributed | None = None,
    display: Display | None = None,
) -> dict:
    """Trains an experiment into the run directory `folder`; returns its metrics.

    Raises:
      InputError: the data, the experiment and the folder do not go together.
      DivergedError, Interrupted: as `Trainer.finish`.
    """
    display = display or Display()
    stage = folder / "train"
    _refuse_existing(stage, resume, overwrite)
    mesh.start(distributed or Distributed(), experiment.train.cpu_devices)
    dataset = data.load(experiment.data)
    if dataset.note:
        display.say(dataset.note)
    fit = prepare(experiment, dataset)
    writer = jax.process_index() == 0
    with rundir.lock(stage) if writer else contextlib.nullcontext():
        if overwrite and writer:
            rundir.clear(stage)
        session = Trainer(
            fit,
            folder=stage / "checkpoint",
            display=display,
            identity=_identity(fit),
        )
        if resume:
            _continue(session, folder, display)
        _check_same_step(session)
        if writer:
            rundir.write_json(folder / "config.json", stored.to_dict(experiment))
        outcome = session.finish()
        metrics = _metrics(fit, outcome)
        if writer:
            _write(stage, fit, outcome, metrics, display)
    mesh.everywhere(0)
    return metrics


def load(folder: Path) -> Trained:
    """A finished run, verified: what the next stage starts from.

    Raises:
      InputError: there is no finished run, or its files do not belong together.
    """
    experiment = rundir.read_config(folder)
    metrics = rundir.read_json(folder / "train" / "metrics.json")
    if metrics.get("config_sha256") != stored.sha256(decisive(experiment)):
        raise InputError(
            f"`{folder}/config.json` is not the one this run was trained with; restore "
            f"it, or train again with --overwrite."
        )
    graph, like = split(build(experiment.network, key=jax.random.key(0)))
    saved, complaints = checkpoint.restore(folder / "train" / "checkpoint")
    try:
        params = kept_parameters(saved, like) if saved else None
    except checkpoint.DamagedError as damage:
        params = complaints.append(str(damage))
    if (
        params is None
        or checkpoint.parameters_sha256(params) != metrics["parameters_sha256"]
    ):
        raise InputError(
            f"`{folder}/train/checkpoint` does not hold the parameters of this run "
            f"({'; '.join(complaints) or 'their SHA-256 differs'}); train again with "
            f"--overwrite."
        )
    model = lowered(merge(graph, params))
    return Trained(dataclasses.replace(experiment, network=model.network), model, metrics)


def load_data(trained: Trained, where: Where | None = None) -> Dataset:
    """The data of a trained run, the same to the byte, from where it is now.

    Raises:
      InputError: it is not there.
    """
    wanted = trained.metrics["dataset"]
    return same(
        data.load((where or Where()).of(trained.experiment.data)),
        wanted["sha256"],
        f"`--run` was trained on {wanted['name']} ({wanted['source']})",
        retrain="train again",
    )


def decisive(experiment: Experiment) -> Experiment:
    """The experiment without the settings that cannot change its result."""
    train = dataclasses.replace(experiment.train, checkpoint_every_s=0.0, checkpoints=2)
    where = dataclasses.replace(experiment.data, dir=None, path=None, source="auto")
    return dataclasses.replace(experiment, train=train, data=where)


def _identity(fit: Fit) -> dict:
    """What a checkpoint must share with the run that continues it."""
    return {
        "config_sha256": stored.sha256(decisive(fit.experiment)),
        "dataset_sha256": fit.dataset.sha256,
        "devices": fit.mesh.size,
        "versions": versions(_PACKAGES),
    }


def _refuse_existing(stage: Path, resume: bool, overwrite: bool) -> None:
    if resume and overwrite:
        raise InputError("`--resume` and `--overwrite` exclude each other; give one.")
    started = (stage / "metrics.json").exists() or checkpoint.steps(stage / "checkpoint")
    if started and not (resume or overwrite):
        raise InputError(
            f"`--run` (={stage.parent}) already holds a training run; continue it with "
            f"--resume, replace it with --overwrite, or choose another --run."
        )


def _continue(session: Trainer, folder: Path, display: Display) -> None:
    """Puts the session where the newest good checkpoint left off.

    Raises:
      InputError: the checkpoint was made with other settings or other data.
    """

    def refuse(mine: dict, theirs: dict) -> None:
        if mine["config_sha256"] != theirs["config_sha256"]:
            before = decisive(rundir.read_config(folder))
            changes = stored.differences(before, decisive(session.fit.experiment))
            raise InputError(
                f"`--resume` needs the settings the run began with; changed: "
                f"{', '.join(changes) or 'config.json itself'}. Give the old ones, or "
                f"--overwrite."
            )
        if mine["dataset_sha256"] != theirs["dataset_sha256"]:
            raise InputError(
                f"`--resume` needs the data the run began with; "
                f"{session.fit.dataset.name} now has SHA-256 "
                f"{mine['dataset_sha256'][:12]}, then {theirs['dataset_sha256'][:12]}. "
                f"Restore it, or give --overwrite."
            )

    resume_at(session, folder / "train" / "checkpoint", display, refuse)


def _check_same_step(session: Trainer) -> None:
    found = mesh.everywhere(session.step)
    if len(set(found)) > 1:
        raise InputError(
            f"`--run` must be the same directory for every process: they found "
            f"checkpoints of steps {', '.join(map(str, found))}; put it on a shared disk."
        )


def _metrics(fit: Fit, outcome: Outcome) -> dict:
    experiment, dataset, host = fit.experiment, fit.dataset, outcome.host
    found = scores(outcome.outputs, dataset.test.labels, experiment.task)
    return {
        "name": experiment.name,
        "task": experiment.task,
        "test_accuracy": found.get("accuracy"),
        **({"test_mse": found["mse"]} if "mse" in found else {"test_loss": found["loss"]}),
        "dataset": _dataset(dataset),
        "config_sha256": stored.sha256(decisive(experiment)),
        "epochs": len(host.log),
        "best_epoch": host.best_epoch or None,
        "wall_s": round(host.wall_s, 3),
        "images_per_s": round(outcome.images_per_s, 1),
        "parameters": experiment.network.parameters,
        "parameters_sha256": checkpoint.parameters_sha256(outcome.params),
        "macs": experiment.network.macs,
        "seed": experiment.seed,
        "devices": [str(device) for device in jax.devices()],
        "versions": versions(_PACKAGES),
    }


def _dataset(dataset: Dataset) -> dict:
    return {
        "name": dataset.name,
        "source": dataset.source,
        "train": len(dataset.train),
        "validation": len(dataset.validation) if dataset.validation else 0,
        "test": len(dataset.test),
        "sha256": dataset.sha256,
    }


def _write(
    stage: Path, fit: Fit, outcome: Outcome, metrics: dict, display: Display
) -> None:
    rundir.write_lines(stage / "log.jsonl", outcome.host.log)
    display.say("Drawing pictures.")
    with rundir.writing(stage):
        write_pictures(
            stage,
            model=lowered(merge(fit.graph, outcome.params)),
            experiment=fit.experiment,
            dataset=fit.dataset,
            log=outcome.host.log,
            predictions=outcome.outputs,
            key=jax.random.key(fit.experiment.seed),
        )
        if fit.experiment.widths:
            write_fits(stage, fit.experiment, fit.dataset, display)
    rundir.write_json(stage / "metrics.json", metrics)
