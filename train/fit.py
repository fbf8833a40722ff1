"""An experiment and its data brought together: compiled functions and a first state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from configs.errors import InputError
from configs.schema import Experiment
from train import evaluate, loop, optimizer
from train.dataset import Dataset
from train.mesh import all_devices
from train.model import Model, build, float_operators, split


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Everything that stays the same while an experiment is trained."""

    experiment: Experiment
    dataset: Dataset
    mesh: Mesh
    # Structure of the model; with parameters it gives the model (`merge`).
    graph: nnx.GraphDef
    # State before the first step, on the host.
    initial: loop.State
    # Key of all augmentation.
    key: jax.Array
    steps_per_epoch: int
    learning_rate: Callable[[Any], Any]
    run: Callable[..., loop.Piece]
    predict: Callable[[Any, np.ndarray], np.ndarray]

    @property
    def steps(self) -> int:
        return self.steps_per_epoch * self.experiment.train.epochs


def prepare(
    experiment: Experiment,
    dataset: Dataset,
    *,
    model: Model | None = None,
    mesh: Mesh | None = None,
    penalty: Callable[[Any], jax.Array] | None = None,
) -> Fit:
    """Builds the compiled functions for all devices or those of `mesh`.

    Training starts from a fresh model of the experiment's network, or from `model`;
    `penalty(params)` is added to the loss.

    Raises:
      InputError: data, network, batch and devices do not fit together.
    """
    mesh = mesh or all_devices()
    _check(experiment, dataset, mesh.size)
    init_key, key = jax.random.split(jax.random.key(experiment.seed))
    if model is None:
        form = experiment.train.convolution, experiment.train.precision
        operators = float_operators(*form)
        model = build(experiment.network, operators=operators, key=init_key)
    graph, params = split(model)
    steps_per_epoch = len(dataset.train.labels) // experiment.train.batch
    steps = steps_per_epoch * experiment.train.epochs
    tx = optimizer.make(experiment.optimizer, steps)
    with jax.numpy_dtype_promotion("standard"):
        optimizer_state = tx.init(params)
    state = loop.State(params, optimizer_state, np.int32(0))
    return Fit(
        experiment=experiment,
        dataset=dataset,
        mesh=mesh,
        graph=graph,
        initial=jax.tree.map(np.asarray, state),
        key=key,
        steps_per_epoch=steps_per_epoch,
        learning_rate=optimizer.learning_rate(experiment.optimizer, steps),
        run=loop.make_run(experiment, graph, tx, mesh, steps=steps, penalty=penalty),
        predict=evaluate.make_predict(graph, mesh),
    )


def _check(experiment: Experiment, dataset: Dataset, devices: int) -> None:
    batch, images = experiment.train.batch, len(dataset.train.labels)
    if batch > images:
        raise InputError(
            f"`--train.batch` (={batch}) must be at most the number of training images "
            f"of {dataset.name} ({images}); use a smaller one."
        )
    if batch % devices:
        raise InputError(
            f"`--train.batch` (={batch}) must be a multiple of the number of devices "
            f"({devices}); use {max(batch // devices, 1) * devices}."
        )
    shape = tuple(dataset.train.images.shape[1:])
    if shape != tuple(experiment.network.input_shape):
        channels = (
            f" (--data.channels {experiment.network.input_shape[2]} makes gray of colours "
            f"or colours of gray)"
            if dataset.source == "files" and shape[:2] == experiment.network.input_shape[:2]
            else ""
        )
        raise InputError(
            f"`--network.input-shape` (={experiment.network.input_shape}) must be the "
            f"shape of one image of {dataset.name}, {shape}; change one of the two"
            f"{channels}."
        )
    outputs = experiment.network.output_shape[0]
    wanted = len(dataset.classes) or dataset.train.labels.shape[-1]
    if outputs != wanted:
        last = len(experiment.network.layers) - 1
        raise InputError(
            f"`--network.layers.{last}.features` (={outputs}) must be the number of "
            f"{'classes' if dataset.classes else 'targets'} of {dataset.name}, {wanted}."
        )
    task = "classification" if dataset.classes else "regression"
    if task != experiment.task:
        raise InputError(
            f"`--task` (={experiment.task}) does not go with {dataset.name}, whose "
            f"answers are {'classes' if dataset.classes else 'numbers'}; use {task}."
        )
