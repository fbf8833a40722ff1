"""Normalisation by the batch: what a step of training does to the running averages."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs.errors import InputError
from configs.network import Conv, Flatten, Network
from configs.robust import Robust
from configs.schema import Augment, Data, Experiment, Train
from train import norm, objective
from train.dataset import Dataset, Split
from train.fit import prepare
from train.mesh import place
from train.model import build, merge, split

NETWORK = Network(
    input_shape=(4, 4, 1),
    layers=(
        Conv(features=3, kernel=(4, 4), norm="batch", activation="identity"),
        Flatten(),
    ),
)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (64, 4, 4, 1), dtype=np.uint8)


def experiment(**fields) -> Experiment:
    made = Experiment(
        name="mine",
        network=NETWORK,
        data=Data(source="embedded", validation=0),
        train=Train(epochs=1, batch=32, microbatch=16),
    )
    return dataclasses.replace(made, **fields)


def sums_of(model, pixels: np.ndarray) -> np.ndarray:
    """Sums of the convolution before they are normalised, float64 (B, F)."""
    kernel = np.asarray(model.layers["conv1"].kernel[...], np.float64)
    return np.tensordot(pixels.astype(np.float64) / 256, kernel, 3)


def test_training_normalises_by_the_batch_and_evaluation_by_the_averages() -> None:
    model = build(NETWORK, key=jax.random.key(0))
    sums = sums_of(model, IMAGES)
    graph, params = split(model)
    by_batch = jax.jit(lambda params, x: norm.training(merge(graph, params))(x))
    wanted = (sums - sums.mean(0)) / np.sqrt(sums.var(0) + 1e-5)
    np.testing.assert_allclose(by_batch(params, IMAGES), wanted, atol=1e-4)
    # Averages begin at 0 and 1.
    alone = jax.jit(lambda params, x: merge(graph, params)(x))
    np.testing.assert_allclose(alone(params, IMAGES), sums / np.sqrt(1 + 1e-5), atol=1e-5)


def test_averages_are_those_of_the_pieces_of_a_batch() -> None:
    """One step of training, two pieces of 16: both move the averages, half each."""
    labels = np.arange(64, dtype=np.int32) % 3
    part = Split(images=IMAGES, labels=labels)
    dataset = Dataset(
        name="mine", source="files", train=part, validation=None, test=part,
        classes=("a", "b", "c"), sha256="", note="",
    )  # fmt: skip
    fit = prepare(experiment(), dataset)
    order = np.arange(64, dtype=np.int32).reshape(2, 32)
    state = place(fit.initial, fit.mesh)
    before = fit.initial.params["layers"]["conv1"]["norm"]
    sums = sums_of(merge(fit.graph, fit.initial.params), IMAGES)
    piece = fit.run(state, IMAGES, labels, order, fit.key, np.int32(0), np.int32(1))
    found = jax.device_get(piece.state.params)["layers"]["conv1"]["norm"]
    for name, of in (("mean", np.mean), ("var", np.var)):
        whole = len(sums[:32]) // (16 * 1)
        parts = [of(cut, 0) for cut in np.split(sums[:32], whole)]
        if fit.mesh.size == 2:
            parts = [of(cut, 0) for cut in np.split(sums[:32], 2)]
        wanted = 0.98 * before[name] + 0.02 * np.mean(parts, 0)
        np.testing.assert_allclose(found[name], wanted, rtol=1e-4, atol=1e-6)
    assert np.any(found["scale"] != before["scale"])


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"robust": Robust(method="pgd")}, r"`robust.method` \(=pgd\) cannot be used"),
        ({"augment": Augment(shift_px=1, worst_of=3)}, r"`augment.worst_of` \(=3\)"),
    ],
)
def test_the_worst_of_several_images_has_no_batch(fields, rule) -> None:
    graph = nnx.split(build(NETWORK, key=jax.random.key(0)))[0]
    with pytest.raises(InputError, match=rule):
        objective.make_loss(experiment(**fields), graph)


def test_an_ordinary_network_has_no_averages() -> None:
    plain = build(NETWORK.lowered(), key=jax.random.key(0))
    assert not norm.normalises(plain)
    assert norm.statistics(plain) == {}
    assert norm.normalises(build(NETWORK, key=jax.random.key(0)))
    assert norm.overlaid({"a": {"b": jnp.ones(1), "c": 2}}, {"a": {"c": 3}}) == {
        "a": {"b": jnp.ones(1), "c": 3}
    }
