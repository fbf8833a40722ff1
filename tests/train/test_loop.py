"""The compiled loop: where a run is cut does not matter, batches hold what they should."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from configs.network import Conv, Dense, Flatten, Network, Pool
from configs.schema import Augment, Experiment, Optimizer, Train
from train import loop, optimizer
from train.mesh import AXIS, fetch, place
from train.model import build, merge, split

IMAGES = 64
EXPERIMENT = Experiment(
    name="tiny",
    network=Network(
        input_shape=(8, 8, 1),
        layers=(
            Conv(features=4),
            Pool(),
            Flatten(),
            Dense(features=3, activation="identity"),
        ),
    ),
    augment=Augment(shift_px=1, rotate_deg=20),
    optimizer=Optimizer(learning_rate=1e-2),
    train=Train(epochs=3, batch=16, microbatch=4),
)


def started(experiment=EXPERIMENT, devices=1, steps=12, **keywords):
    """Compiled loop, placed state and data of an experiment on random images."""
    mesh = Mesh(np.array(jax.devices()[:devices]), (AXIS,))
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (IMAGES, 8, 8, 1), dtype=np.uint8)
    labels = draw.integers(0, 3, IMAGES).astype(np.int32)
    graph, params = split(build(experiment.network, key=jax.random.key(1)))
    tx = optimizer.make(experiment.optimizer, steps)
    with jax.numpy_dtype_promotion("standard"):
        state = loop.State(params, tx.init(params), jnp.int32(0))
    run = loop.make_run(experiment, graph, tx, mesh, steps=steps, **keywords)
    order = place(loop.batch_order(experiment, IMAGES, 0), mesh, P(None, AXIS))
    fixed = (*place((images, labels), mesh), order, place(jax.random.key(2), mesh))
    return SimpleNamespace(
        state=place(state, mesh),
        go=lambda state, first, count: run(state, *fixed, np.int32(first), np.int32(count)),
    )


def bits(state) -> list[bytes]:
    return [leaf.tobytes() for leaf in jax.tree.leaves(fetch(state))]


@pytest.mark.parametrize("devices", [1, 2])
def test_where_a_run_is_cut_does_not_change_a_bit(devices):
    run = started(devices=devices)
    whole = run.go(run.state, 0, 4).state
    state = run.state
    for first, count in ((0, 1), (1, 2), (3, 1)):
        state = run.go(state, first, count).state
    assert bits(state) == bits(whole)
    assert bits(state) != bits(run.go(run.state, 0, 3).state)


def test_every_device_and_piece_count_gives_the_same_update_up_to_rounding():
    """The gradient of the batch is the mean over all pieces on all devices, and an
    image's augmentation does not depend on who computes it."""

    def after(devices, microbatch):
        train = dataclasses.replace(EXPERIMENT.train, microbatch=microbatch)
        # Plain SGD: Adam's division by a small root would enlarge rounding.
        settings = Optimizer(name="sgd", learning_rate=1e-2)
        run = started(
            dataclasses.replace(EXPERIMENT, train=train, optimizer=settings), devices
        )
        piece = fetch(run.go(run.state, 0, 4))
        return jax.tree.leaves((piece.state.params, piece.totals))

    expected = after(1, 0)
    for devices, microbatch in ((1, 4), (2, 0), (2, 4)):
        for a, b in zip(after(devices, microbatch), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def test_the_step_is_the_mean_gradient_of_the_plain_loss():
    """One SGD step without pieces equals a hand-written one."""
    settings = Optimizer(
        name="sgd", learning_rate=0.5, weight_decay=0.0, schedule="constant", warmup=0.0
    )
    experiment = dataclasses.replace(EXPERIMENT, optimizer=settings, augment=Augment())
    run = started(experiment)
    graph, params = split(build(experiment.network, key=jax.random.key(1)))
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (IMAGES, 8, 8, 1), dtype=np.uint8)
    labels = draw.integers(0, 3, IMAGES).astype(np.int32)
    chosen = loop.batch_order(experiment, IMAGES, 0)[0]

    def loss(params):
        logits = merge(graph, params)(images[chosen])
        picked = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[chosen][:, None], 1)
        return -jnp.mean(picked)

    grads = jax.grad(loss)(params)
    # Nesterov's first step from rest: 1 + 0.9 gradients.
    expected = jax.tree.map(lambda p, g: p - 0.5 * 1.9 * g, params, grads)
    found = fetch(run.go(run.state, 0, 1).state.params)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_step_that_is_not_finite_ends_the_piece_and_is_named():
    settings = Optimizer(name="sgd", learning_rate=1e30, schedule="constant", warmup=0.0)
    run = started(dataclasses.replace(EXPERIMENT, optimizer=settings))
    piece = fetch(run.go(run.state, 0, 4))
    assert not piece.healthy
    # The first update makes the parameters huge; the second sees it.
    assert piece.state.step == 2


def test_a_gradient_that_is_not_finite_is_unhealthy_even_with_a_finite_loss():
    steep = lambda params: jnp.sqrt(jnp.sum(params["layers"]["conv1"]["bias"] ** 2))
    piece = fetch((run := started(penalty=steep)).go(run.state, 0, 1))
    assert np.isfinite(piece.totals.loss)
    assert not piece.healthy


def test_a_penalty_is_added_to_the_loss_and_its_gradient_to_the_step():
    settings = Optimizer(name="sgd", learning_rate=1e-2, schedule="constant", warmup=0.0)
    experiment = dataclasses.replace(EXPERIMENT, optimizer=settings)
    slope = lambda params: 3.0 + 10 * jnp.sum(params["layers"]["dense1"]["bias"])
    flat, sloped = started(experiment), started(experiment, penalty=slope)
    a, b = (fetch(run.go(run.state, 0, 1)) for run in (flat, sloped))
    assert b.totals.loss - a.totals.loss == pytest.approx(3.0, rel=1e-6)
    bias = lambda piece: piece.state.params["layers"]["dense1"]["bias"]
    # Nesterov's first step from rest is 1.9 times the gradient.
    np.testing.assert_allclose(bias(b) - bias(a), -1e-2 * 1.9 * 10, rtol=1e-4)


def test_score_counts_the_correct_answers():
    run = started(dataclasses.replace(EXPERIMENT, augment=Augment()))
    graph, params = split(build(EXPERIMENT.network, key=jax.random.key(1)))
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (IMAGES, 8, 8, 1), dtype=np.uint8)
    labels = draw.integers(0, 3, IMAGES).astype(np.int32)
    chosen = loop.batch_order(EXPERIMENT, IMAGES, 0)[0]
    logits = merge(graph, params)(images[chosen])
    correct = int((np.argmax(logits, -1) == labels[chosen]).sum())
    assert fetch(run.go(run.state, 0, 1)).totals.score == correct


@given(images=st.integers(16, 200), epoch=st.integers(0, 5), seed=st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_an_epoch_sees_no_image_twice_and_leaves_out_less_than_a_batch(images, epoch, seed):
    experiment = dataclasses.replace(EXPERIMENT, seed=seed)
    order = loop.batch_order(experiment, images, epoch)
    seen = order.ravel()
    assert order.shape == (images // 16, 16)
    assert len(set(seen)) == len(seen) > images - 16
    assert seen.min() >= 0
    assert seen.max() < images


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [
        loop.batch_order(
            dataclasses.replace(EXPERIMENT, seed=seed), IMAGES, epoch
        ).tobytes()
        for seed in (0, 1)
        for epoch in (0, 1)
    ]
    assert len(set(orders)) == 4


@given(share=st.integers(1, 300), largest=st.integers(0, 300))
def test_pieces_divide_the_share_and_are_as_large_as_allowed(share, largest):
    size = loop.piece_size(share, largest)
    assert share % size == 0
    if 0 < largest < share:
        assert size == max(n for n in range(1, largest + 1) if share % n == 0)
    else:
        assert size == share
