"""A small network trained for seconds on real digits, as attacks see it."""

from typing import NamedTuple

import jax
import numpy as np
import pytest

from configs.network import Conv, Dense, Flatten, Network, Pool
from configs.schema import Data, Experiment, Optimizer, Train
from train import data, loop
from train.attack.target import Target
from train.fit import prepare
from train.mesh import AXIS, place
from train.model import merge


class Digits(NamedTuple):
    subject: Target
    images: np.ndarray
    labels: np.ndarray


@pytest.fixture(scope="session")
def digits() -> Digits:
    """A network of about 95 %, and 200 test images."""
    experiment = Experiment(
        name="digits",
        network=Network(
            input_shape=(28, 28, 1),
            layers=(
                Conv(features=6, stride=(2, 2)),
                Pool(),
                Flatten(),
                Dense(features=24),
                Dense(features=10, activation="identity"),
            ),
        ),
        data=Data(source="embedded"),
        optimizer=Optimizer(learning_rate=1e-2),
        train=Train(epochs=12),
    )
    dataset = data.load(experiment.data)
    fit = prepare(experiment, dataset)
    train = dataset.train
    fixed = place((train.images, train.labels), fit.mesh)
    state = place(fit.initial, fit.mesh)
    for epoch in range(experiment.train.epochs):
        order = loop.batch_order(experiment, len(train.labels), epoch)
        by_batch = jax.sharding.PartitionSpec(None, AXIS)
        order = place(order, fit.mesh, by_batch)
        piece = fit.run(
            state, *fixed, order, place(fit.key, fit.mesh),
            np.int32(0), np.int32(fit.steps_per_epoch),
        )  # fmt: skip
        state = piece.state
    params = jax.tree.map(np.asarray, state.params)
    model = merge(fit.graph, params)
    subject = Target(name="float", predict=model, surrogate=model)
    return Digits(subject, dataset.test.images[:200], dataset.test.labels[:200])
