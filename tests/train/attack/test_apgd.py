"""APGD against Algorithm 1 written out for one image, and its checkpoints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.attack import apgd, losses, search
from train.attack.target import Target
from train.attack.track import Example

RNG = np.random.default_rng(0)
W = RNG.normal(size=(12, 6)).astype(np.float32)
STEPS, LEVELS = 40, 30.0


def wavy(pixels: jax.Array) -> jax.Array:
    """Logits with many local maxima, so that steps are halved at different times."""
    x = pixels.reshape(len(pixels), -1).astype(jnp.float32) / 256
    return jnp.sin(9 * x @ W) * 3 + x @ W


WAVY = Target(name="wavy", predict=wavy, surrogate=wavy)


def obvious(x, y, t, kind: str, norm: str):
    """Algorithm 1 for one image, with restart and halving at x(w_j).

    A generator: it is sent each point that the program evaluates and gives f there, the
    point that must follow, and eta. So the two never drift apart by rounding.
    """
    which, label, target = (np.array([v], np.int32) for v in (losses.number(kind), y, t))
    value = lambda image: losses.loss(which[0], wavy(image), label, target)[0]
    both = jax.jit(jax.value_and_grad(value))

    def f_and_slope(point):
        at, slope = both(np.asarray(x + np.trunc(point), np.float32)[None])
        return float(at), np.asarray(slope)[0].astype(float)

    def project(d):
        if norm == "linf":
            d = np.clip(d, -LEVELS, LEVELS)
        elif np.linalg.norm(d) > LEVELS:
            d = d * LEVELS / np.linalg.norm(d)
        return np.clip(d, -x, 255 - x)

    def along(g):
        return np.sign(g) if norm == "linf" else g / np.linalg.norm(g)

    w = apgd.checkpoints(STEPS)
    eta, etas = 2 * LEVELS, {0: 2 * LEVELS}
    points, values, f_max, best = [(yield)], [], {}, None
    for k in range(STEPS):
        at, g = f_and_slope(points[k])
        values.append(at)
        f_max[k] = max(values)
        if k == 0 or at > f_max[k - 1]:
            best = points[k]
        if k in w[1:]:
            j = w.index(k)
            rises = sum(values[i + 1] > values[i] for i in range(w[j - 1], w[j]))
            one = rises < 0.75 * (w[j] - w[j - 1])
            two = etas[w[j - 1]] == (2 * LEVELS if j == 1 else etas[w[j - 2]])
            two = two and f_max[w[j - 1]] == f_max[w[j]]
            if one or two:
                eta, points[k], g = eta / 2, best, f_and_slope(best)[1]
            etas[k] = eta
        before = points[k - 1] if k else points[0]
        z = project(points[k] + eta * along(g))
        a = 0.75 if k else 1.0
        after = project(points[k] + a * (z - points[k]) + (1 - a) * (points[k] - before))
        points.append((yield at, after, eta))


@pytest.mark.parametrize(
    ("kind", "norm", "image"),
    [("ce", "linf", 0), ("ce", "linf", 1), ("dlr_targeted", "linf", 2), ("ce", "l2", 3)],
)
def test_apgd_equals_algorithm_1(kind: str, norm: str, image: int) -> None:
    """Every point evaluated, every value, and the last step size."""
    x = RNG.integers(60, 200, (4, 3, 4, 1)).astype(np.float32)
    logits = np.asarray(wavy(x))
    labels, targets = np.argsort(-logits, -1)[:, 0], np.argsort(-logits, -1)[:, 1]
    example = Example(
        jnp.asarray(x),
        jnp.asarray(labels, jnp.int32),
        jnp.asarray(targets, jnp.int32),
        jnp.full(4, LEVELS, jnp.float32),
    )
    attack = apgd.APGD(steps=STEPS, norm=norm, loss=kind)
    settings = jax.tree.map(jnp.asarray, attack.settings(0, 6, (3, 4, 1)))
    keys = jax.random.split(jax.random.key(0), 4)
    inner = attack.method.begin(example, keys, settings)
    reference = obvious(x[image].astype(float), labels[image], targets[image], kind, norm)
    next(reference)
    step = jax.jit(lambda inner, t: attack.method.step(WAVY, example, inner, settings, t))
    for t in range(STEPS):
        point = np.asarray(inner.delta)[image].astype(float)
        value, after, eta = reference.send(point)
        inner, seen = step(inner, jnp.int32(t))
        np.testing.assert_array_equal(seen.image[image], x[image] + np.trunc(point))
        np.testing.assert_allclose(inner.loss[image], value, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(inner.delta[image], after, atol=1e-3)
        assert inner.eta[image] == eta
    assert eta < LEVELS


def test_checkpoints_are_those_of_the_paper() -> None:
    """w_j = ceil(p_j N) with p = 0, .22, .41, .57, .70, .80, .87, .93, .99."""
    assert apgd.checkpoints(100) == [0, 22, 41, 57, 70, 80, 87, 93, 99]
    assert apgd.checkpoints(1000) == [0, 220, 410, 570, 700, 800, 870, 930, 990]
    assert apgd.checkpoints(1) == [0, 1]


def test_a_targeted_attack_tries_the_classes_by_their_logits() -> None:
    """As many tries as there are other classes, at most; one, if it aims at none."""
    attack = apgd.apgd_t()
    assert [attack.rank(t) for t in range(attack.rounds(10))] == list(range(9))
    assert attack.rounds(3) == 2
    assert apgd.apgd_ce(tries=4).rounds(3) == 4
    logits, labels = np.array([[3.0, 9, 5, 7]]), np.array([3])
    assert search._others(logits, labels).tolist() == [[1, 2, 0]]


def test_apgd_is_no_weaker_than_pgd_on_digits(digits) -> None:
    from train.attack.gradient import PGD

    run = lambda attack: search.run(
        attack, digits.subject, digits.images[:100], digits.labels[:100], 14,
        seed=0, indices=np.arange(100),
    ).broken.sum()  # fmt: skip
    by_pgd, by_ce, by_t = run(PGD()), run(apgd.apgd_ce()), run(apgd.apgd_t(targets=3))
    assert by_ce >= by_pgd - 1
    assert by_t >= by_pgd - 1
    assert by_pgd > 20


def test_few_classes_are_attacked_by_the_difference_of_logits() -> None:
    settings = apgd.apgd_t().settings(0, 3, (2, 2, 1))
    assert settings.loss == losses.number("margin_targeted")
    assert apgd.apgd_t().settings(0, 4, (2, 2, 1)).loss == losses.number("dlr_targeted")
