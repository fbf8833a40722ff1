"""One network quantised: calibrated, fine-tuned with fake quantisation, made integers."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from configs import stored
from configs.errors import InputError
from configs.schema import Experiment, Optimizer
from quant.calibrate import calibrate, observe
from quant.convert import convert
from quant.network import IntNetwork
from quant.qat import fake_model, make_plan
from quant.settings import Quantization
from train.dataset import Dataset
from train.evaluate import make_predict
from train.fit import Fit, prepare
from train.mesh import AXIS, all_devices, place
from train.model import Model, merge, split
from train.progress import Display
from train.resume import resume as resume_at
from train.session import Outcome, Trainer
from train.stage import Trained
from train.versions import versions

# Packages whose version can change a result.
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "onnxruntime", "ai-edge-litert")


class Fitted(NamedTuple):
    """A network with fake quantisation after its training, and what it became."""

    network: IntNetwork
    model: Model
    # None for post-training quantisation.
    outcome: Outcome | None

    def fake_outputs(self, images: np.ndarray) -> np.ndarray:
        """Float outputs (N, F) of the fake-quantised network for the test images."""
        if self.outcome:
            return self.outcome.outputs
        graph, params = split(self.model)
        mesh = all_devices()
        return make_predict(graph, mesh)(place(params, mesh), images)


def quantise(
    trained: Trained,
    dataset: Dataset,
    settings: Quantization,
    *,
    seen: dict[str, np.ndarray] | None = None,
    folder: Path | None = None,
    resume: bool = False,
    penalty: Callable[[Any], jax.Array] | None = None,
    display: Display | None = None,
) -> Fitted:
    """Calibrates, trains with fake quantisation, and converts to integers.

    Args:
      seen: what `calibration_values` gives, if it is known already.
      folder: of the checkpoints; with `resume` the newest good one is continued.
    """
    spec = trained.experiment.network
    seen = seen or calibration_values(trained, dataset, settings)
    steps = calibrate(make_plan(spec, settings), trained.model, seen, settings)
    model = fake_model(spec, trained.model, steps)
    outcome = None
    if settings.epochs:
        devices = jax.devices()[: trained.experiment.train.cpu_devices]
        mesh = Mesh(np.array(devices), (AXIS,))
        experiment = fine_tuning(trained.experiment, settings)
        fit = prepare(experiment, dataset, model=model, mesh=mesh, penalty=penalty)
        session = Trainer(
            fit,
            folder=folder,
            display=display or Display(quiet=True),
            identity=_identity(fit, trained, settings),
        )
        if resume and folder:
            resume_at(session, folder, session.display, _refuse_other)
        outcome = session.finish()
        model = merge(fit.graph, outcome.params)
    network = convert(spec, model, model.activation_quantizer, dataset.classes)
    return Fitted(network, model, outcome)


def calibration_values(
    trained: Trained, dataset: Dataset, settings: Quantization
) -> dict[str, np.ndarray]:
    """Values of every tensor of the float network, for the calibration images."""
    images = dataset.train.images[: settings.calibration_images]
    return observe(trained.experiment.network, trained.model, images)


def fine_tuning(experiment: Experiment, settings: Quantization) -> Experiment:
    """The experiment whose training is quantisation-aware: shorter, from a finished net."""
    optimizer = Optimizer(
        learning_rate=settings.learning_rate,
        warmup=0.05,
        weight_decay=experiment.optimizer.weight_decay,
        label_smoothing=experiment.optimizer.label_smoothing,
    )
    train = dataclasses.replace(
        experiment.train, epochs=settings.epochs, patience=0, precision="float32"
    )
    # The network is robust already: the whole budget from the first step, where bounds
    # are those of intervals.
    robust = dataclasses.replace(experiment.robust, warmup=0.0, rampup=0.0)
    if robust.method == "crown-ibp":
        robust = dataclasses.replace(robust, method="ibp")
    return dataclasses.replace(
        experiment, optimizer=optimizer, robust=robust, train=train, seed=settings.seed
    )


def other_run(name: str) -> InputError:
    """The refusal to continue a run that began with another `name`."""
    return InputError(
        f"`--resume` needs the {name} that the interrupted run began with; give the old "
        f"ones, or --overwrite."
    )


def _identity(fit: Fit, trained: Trained, settings: Quantization) -> dict:
    """What a checkpoint must share with the run that continues it."""
    return {
        "settings_sha256": settings_sha256(settings),
        "parameters_sha256": trained.metrics["parameters_sha256"],
        "devices": fit.mesh.size,
        "versions": versions(PACKAGES),
    }


def settings_sha256(settings: Quantization) -> str:
    text = stored.canonical(stored.to_dict(settings))
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_other(mine: dict, theirs: dict) -> None:
    for what, name in (
        ("settings_sha256", "settings"),
        ("parameters_sha256", "trained parameters"),
    ):
        if mine[what] != theirs[what]:
            raise other_run(name)
