"""What training minimises: every robust loss against its equation, written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.network import Conv, Dense, Flatten, Network
from configs.robust import Robust
from configs.schema import Augment, Experiment, Train
from train import augment, bounds, objective
from train.model import build, split

BATCH = 6


def experiment(method="none", **settings) -> Experiment:
    changes = settings.pop("augment", Augment())
    return Experiment(
        name="tiny",
        network=Network(
            input_shape=(6, 6, 1),
            layers=(
                Conv(features=3),
                Flatten(),
                Dense(features=5, activation="softplus"),
                Dense(features=4, activation="identity"),
            ),
        ),
        augment=changes,
        robust=Robust(method=method, **settings),
        train=Train(batch=BATCH),
    )


def case(given: Experiment, share: float = 1.0):
    """Loss function of the parameters, the model, images, labels and the draws."""
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(0, 256, (BATCH, 6, 6, 1), dtype=np.uint8))
    labels = jnp.asarray(rng.integers(0, 4, BATCH), jnp.int32)
    model = build(given.network, key=jax.random.key(0))
    graph, params = split(model)
    draws = objective.draw(given, key=jax.random.key(1))
    harder = objective.Harder(
        jnp.float32(given.robust.eps * 255 * share), jnp.float32(share)
    )
    loss = jax.jit(objective.make_loss(given, graph))
    return (
        lambda p=params: loss(p, images, labels, draws, harder),
        params,
        model,
        images,
        labels,
        draws,
    )


def mean_cross_entropy(logits, labels) -> float:
    logits = np.asarray(logits, np.float64)
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    chosen = odds[np.arange(len(labels)), labels] / odds.sum(-1)
    return float(-np.log(chosen).mean())


def test_without_a_method_it_is_the_cross_entropy() -> None:
    loss, _, model, images, labels, _ = case(experiment())
    found, (right, averages) = loss()
    assert averages == {}
    logits = model(images)
    assert float(found) == pytest.approx(mean_cross_entropy(logits, labels), rel=1e-5)
    assert float(right) == float((logits.argmax(-1) == labels).sum())


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_ibp_mixes_clean_and_the_margins_of_intervals(share) -> None:
    given = experiment("ibp", eps=0.1, weight=0.75)
    loss, _, model, images, labels, _ = case(given, share)
    within = bounds.pixels_within(images, jnp.float32(25.5 * share))
    margins = bounds.margins(model, within, labels)
    expected = (1 - 0.75 * share) * mean_cross_entropy(model(images), labels)
    expected += 0.75 * share * mean_cross_entropy(-margins, labels)
    assert float(loss()[0]) == pytest.approx(expected, rel=1e-4)


def test_pgd_is_worse_than_clean_and_than_one_step_and_below_the_bound() -> None:
    """All of the loss is the adversary's (w = 1): above the clean loss, growing with the
    steps, and never above what intervals prove."""
    found = {
        steps: float(case(experiment("pgd", eps=0.1, weight=1.0, steps=steps))[0]()[0])
        for steps in (1, 20)
    }
    bound = float(case(experiment("ibp", eps=0.1, weight=1.0))[0]()[0])
    clean = float(case(experiment())[0]()[0])
    assert clean < found[1] < found[20] < bound


def test_the_ascent_stays_within_the_budget_and_the_range() -> None:
    _, _, model, images, _, draws = case(experiment("pgd", eps=0.1))
    harder = objective.Harder(jnp.float32(25.5), jnp.float32(1))
    off = lambda logits: -logits[:, 0]
    begin = draws.start * 25.5
    x = images.astype(jnp.float32)
    worst = objective._ascend(model, x, off, begin, harder, 10)
    assert float(jnp.abs(worst - x).max()) <= 25.5 + 1e-4
    assert float(worst.min()) >= 0
    assert float(worst.max()) <= 255
    assert float(off(model(worst)).sum()) > float(off(model(x)).sum())


def test_trades_adds_the_divergence_from_the_clean_answer() -> None:
    """Its weight multiplies a term that is 0 without a budget and positive with one."""
    clean = float(case(experiment())[0]()[0])
    given = experiment("trades", eps=0.1, weight=6.0)
    assert float(case(given, 0.0)[0]()[0]) == pytest.approx(clean, rel=1e-6)
    single = float(case(experiment("trades", eps=0.1, weight=1.0))[0]()[0]) - clean
    assert single > 0
    assert float(case(given)[0]()[0]) - clean == pytest.approx(6 * single, rel=1e-4)
    p, q = np.array([[0.5, 0.25, 0.25]]), np.array([[0.25, 0.25, 0.5]])
    divergence = objective._divergence(jnp.log(p), jnp.log(q))
    expected = float((p * np.log(p / q)).sum())
    assert float(divergence[0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "pgd", "trades"])
def test_the_gradient_is_that_of_the_loss(method) -> None:
    """Central differences along a random direction; the searched image is a constant of
    the step, so that for pgd and trades the loss is compared at a fixed one."""
    given = experiment(method, eps=0.02, steps=1)
    loss, params, *_ = case(given, 0.5)
    slope = jax.grad(lambda p: loss(p)[0])(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
    if method in ("ibp", "crown-ibp"):
        keys = iter(jax.random.split(jax.random.key(2), 99))
        way = jax.tree.map(lambda p: jax.random.normal(next(keys), p.shape), params)
        at = lambda t: float(loss(jax.tree.map(lambda p, d: p + t * d, params, way))[0])
        along = sum(
            float((a * b).sum())
            for a, b in zip(jax.tree.leaves(slope), jax.tree.leaves(way), strict=True)
        )
        assert (at(1e-3) - at(-1e-3)) / 2e-3 == pytest.approx(along, rel=0.05)


def test_worst_of_k_learns_the_change_with_the_largest_loss() -> None:
    """Each of the three changes scored by hand: the largest loss of each image counts."""
    given = experiment(augment=Augment(shift_px=2, rotate_deg=60, worst_of=3))
    loss, _, model, images, labels, draws = case(given)
    assert draws.changes.shape == (BATCH, 3, 3)
    every = []
    for k in range(3):
        pixels = augment.apply(given.augment, images, draws.changes[:, k])
        logits = np.asarray(model(pixels))
        each = [
            mean_cross_entropy(logits[i : i + 1], np.asarray(labels)[i : i + 1])
            for i in range(BATCH)
        ]
        every.append(each)
    worst = np.max(every, 0).mean()
    assert worst > np.mean(every)
    assert float(loss()[0]) == pytest.approx(worst, rel=1e-4)


def test_the_budget_rises_along_a_line_between_warmup_and_the_end_of_the_ramp() -> None:
    robust = Robust(method="ibp", eps=0.2, warmup=0.1, rampup=0.5)
    at = lambda step: objective.harder(robust, jnp.int32(step), 100)
    assert float(at(0).share) == 0
    assert float(at(9).share) == 0
    assert float(at(34).share) == pytest.approx(0.5)
    assert float(at(59).share) == 1
    assert float(at(99).levels) == pytest.approx(51)
    at_once = Robust(method="ibp", warmup=0.0, rampup=0.0)
    assert float(objective.harder(at_once, jnp.int32(0), 100).share) == 1


def test_draws_of_plain_training_are_those_of_the_augmentation() -> None:
    """So that runs from before train on to the same bits."""
    given = experiment(augment=Augment(shift_px=2))
    key = jax.random.key(5)
    draws = objective.draw(given, key=key)
    expected = augment.draw(given.augment, BATCH, key=key)
    np.testing.assert_array_equal(draws.changes, expected)
    assert draws.start is None
