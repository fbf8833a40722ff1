"""Schedules, update rules and the loss follow their closed forms."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.schema import Optimizer
from train import optimizer

STEPS = 200
PEAK = 3e-3
RNG = np.random.default_rng(0)


def rates(schedule: str, warmup: float, steps: int = STEPS) -> np.ndarray:
    settings = Optimizer(schedule=schedule, warmup=warmup, learning_rate=PEAK)
    at = jnp.array([*range(steps + 1), 2 * steps], jnp.int32)
    # As `update` calls it: optax mixes types.
    with jax.numpy_dtype_promotion("standard"):
        every = jax.jit(jax.vmap(optimizer.learning_rate(settings, steps)))(at)
    return np.broadcast_to(every, at.shape)


def closed_form(schedule: str, warmup: float, steps: int = STEPS) -> np.ndarray:
    """At steps 0 ... steps, and long after the end."""
    rise = round(warmup * steps)
    out = []
    for step in (*range(steps + 1), 2 * steps):
        done = min((step - rise) / (steps - rise), 1)
        if step < rise:
            out.append(PEAK * (step + 1) / rise)
        elif schedule == "cosine":
            out.append(PEAK * (1 + math.cos(math.pi * done)) / 2)
        else:
            out.append(PEAK * (1 - done) if schedule == "linear" else PEAK)
    return np.array(out)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.005, 0.1])
def test_the_learning_rate_follows_its_closed_form(schedule: str, warmup: float) -> None:
    """With no, one and 20 steps of warm-up: up to the setting, then down to 0 or flat."""
    got = rates(schedule, warmup)
    np.testing.assert_allclose(got, closed_form(schedule, warmup), rtol=1e-5, atol=1e-9)
    rise = round(warmup * STEPS)
    assert np.all(np.diff(got[:rise]) > 0)
    assert np.all(np.diff(got[rise:]) <= 0)
    assert got.max() == got[rise] == np.float32(PEAK)
    assert np.all(got[:STEPS] > 0)
    last = PEAK if schedule == "constant" else 0
    np.testing.assert_allclose(got[STEPS:], last, atol=1e-6 * PEAK)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_shortest_runs_have_a_learning_rate(steps: int) -> None:
    """Even where the warm-up takes every step."""
    for warmup in (0.0, 0.05, 0.95):
        got = rates("cosine", warmup, steps)[:steps]
        assert np.all((got > 0) & (got <= np.float32(PEAK)))


PARAMS = {
    "kernel": jnp.asarray(RNG.normal(size=(3, 4)), jnp.float32),
    "bias": jnp.asarray(RNG.normal(size=4), jnp.float32),
}


def gradients() -> list[dict]:
    draw = lambda p: jnp.asarray(RNG.normal(size=p.shape), jnp.float32)
    return [jax.tree.map(draw, PARAMS) for _ in range(4)]


def trained(settings: Optimizer, all_grads: list[dict]) -> dict:
    """Parameters after one update for each gradient, compiled and in strict types."""
    tx = optimizer.make(settings, steps=10)
    step = jax.jit(lambda *arguments: optimizer.update(tx, *arguments))
    params, state = PARAMS, tx.init(PARAMS)
    for grads in all_grads:
        params, state = step(grads, state, params)
    return params


def settings(name: str, **changes) -> Optimizer:
    base = {"learning_rate": 0.1, "schedule": "linear", "warmup": 0.0, "weight_decay": 0.0}
    return Optimizer(name=name, **{**base, **changes})


def rate(step: int) -> float:
    return 0.1 * (1 - step / 10)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_weight_decay_shrinks_weights_and_spares_biases(name: str) -> None:
    """Decoupled: without gradients a step multiplies by 1 - rate * decay, no more."""
    nothing = [jax.tree.map(jnp.zeros_like, PARAMS)] * 3
    after = trained(settings(name, weight_decay=0.5), nothing)
    shrunk = math.prod(1 - rate(step) * 0.5 for step in range(3))
    np.testing.assert_allclose(after["kernel"], PARAMS["kernel"] * shrunk, rtol=1e-5)
    np.testing.assert_array_equal(after["bias"], PARAMS["bias"])


@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_sgd_is_nesterov_momentum(decay: float) -> None:
    """m = 0.9 m + g; p -= rate * (g + 0.9 m + decay * p), the decay on weights only."""
    all_grads = gradients()
    after = trained(settings("sgd", weight_decay=decay), all_grads)
    for name, p in PARAMS.items():
        p = np.asarray(p, np.float64)
        m = np.zeros_like(p)
        for step, grads in enumerate(all_grads):
            g = np.asarray(grads[name], np.float64)
            m = 0.9 * m + g
            p = p - rate(step) * (g + 0.9 * m + (decay * p if name == "kernel" else 0))
        np.testing.assert_allclose(after[name], p, rtol=1e-5, atol=1e-6)
        assert after[name].dtype == jnp.float32


@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_adamw_is_its_definition(decay: float) -> None:
    """Moments 0.9 and 0.999 with bias correction, epsilon 1e-8, decoupled decay."""
    all_grads = gradients()
    after = trained(settings("adamw", weight_decay=decay), all_grads)
    for name, p in PARAMS.items():
        p = np.asarray(p, np.float64)
        m, v = np.zeros_like(p), np.zeros_like(p)
        for step, grads in enumerate(all_grads):
            g = np.asarray(grads[name], np.float64)
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            move = m / (1 - 0.9 ** (step + 1))
            move = move / (np.sqrt(v / (1 - 0.999 ** (step + 1))) + 1e-8)
            p = p - rate(step) * (move + (decay * p if name == "kernel" else 0))
        np.testing.assert_allclose(after[name], p, rtol=1e-4, atol=1e-5)
        assert after[name].dtype == jnp.float32


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_cross_entropy_is_its_definition(smoothing: float) -> None:
    """-sum_c t_c log softmax_c with explicit targets, also for logits near 1,000."""
    logits = RNG.normal(size=(6, 5)).astype(np.float32)
    logits[0] *= 1000
    labels = np.array([0, 4, 2, 2, 1, 3], np.int32)
    targets = (1 - smoothing) * np.eye(5)[labels] + smoothing / 5
    z = logits.astype(np.float64)
    log_sum = np.log(np.sum(np.exp(z - z.max(-1, keepdims=True)), -1)) + z.max(-1)
    expected = np.mean(-np.sum(targets * (z - log_sum[:, None]), -1))
    loss = optimizer.cross_entropy(jnp.asarray(logits), jnp.asarray(labels), smoothing)
    assert loss.shape == ()
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_gradient_of_cross_entropy_is_softmax_less_target(smoothing: float) -> None:
    logits = jnp.asarray(RNG.normal(size=(3, 4)), jnp.float32)
    labels = jnp.array([3, 0, 0], jnp.int32)
    targets = (1 - smoothing) * np.eye(4)[np.asarray(labels)] + smoothing / 4
    loss = lambda logits: optimizer.cross_entropy(logits, labels, smoothing)
    expected = (jax.nn.softmax(logits) - targets.astype(np.float32)) / 3
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(logits), expected, atol=1e-6)
