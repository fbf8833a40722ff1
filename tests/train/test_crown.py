"""The linear bound holds for every image of the box, and is worth what it costs."""

import boxes
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from boxes import LINEAR, NETWORKS, below

from configs.errors import InputError
from configs.network import Dense, Flatten
from train import bounds, crown
from train.bounds import Interval
from train.model import Model, Operators, build, float_operators, merge, split

LEVELS = (2, 40)


def bounded(model: Model, box: Interval, labels) -> jax.Array:
    return jax.jit(lambda box, labels: crown.margins(model, box, labels))(box, labels)


def sound(name: str, levels: float, seed: int = 1) -> bool:
    """Whether no margin that can be found is below its bound."""
    model = boxes.model(NETWORKS[name], seed=seed)
    pixels, labels = boxes.images(4)
    box = boxes.box(pixels, levels)
    return below(bounded(model, box, labels), boxes.lowest(model, box, labels))


def exact(name: str) -> bool:
    """Whether a network without activations gets its closed form, where each pixel is at
    the end that hurts most."""
    model = boxes.model(LINEAR[name])
    pixels, labels = boxes.images(6)
    low, high = boxes.box(pixels, 20)
    middle = (low + high) / 2
    bound = bounded(model, Interval(low, high), labels)
    of = lambda f: lambda x: boxes.margins(model, x, labels)[:, f].sum()
    for f in range(boxes.CLASSES):
        worst = jnp.where(jax.grad(of(f))(middle) > 0, low, high)
        smallest = boxes.margins(model, worst, labels)[:, f]
        if not np.allclose(bound[:, f], smallest, rtol=1e-5, atol=1e-5):
            return False
    return True


@pytest.mark.parametrize("name", NETWORKS)
def test_no_margin_falls_below_its_bound(name: str) -> None:
    """Neither at random points and corners nor where gradients lead."""
    assert all(sound(name, levels) for levels in LEVELS)


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_network_is_bounded_exactly(name: str) -> None:
    assert exact(name)


@pytest.mark.parametrize("name", NETWORKS)
def test_without_a_budget_the_bounds_are_the_margins(name: str) -> None:
    model = boxes.model(NETWORKS[name])
    pixels, labels = boxes.images(5)
    found = boxes.margins(model, pixels, labels)
    bound = bounded(model, boxes.box(pixels, 0), labels)
    np.testing.assert_allclose(bound, found, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(bound[jnp.arange(5), labels], 0)


def test_a_hidden_layer_by_brute_force() -> None:
    """Two pixels, eight ReLUs, every image of the box on a fine grid: below it, and in
    the mean nearer to it than the interval bound."""
    layers = (Flatten(), Dense(features=8), Dense(features=3, activation="identity"))
    model = boxes.model(layers, shape=(1, 2, 1), seed=5)
    pixels, labels = jnp.array([[[[90], [140]]]] * 3, jnp.uint8), jnp.arange(3)
    box = boxes.box(pixels, 60)
    steps = np.linspace(-60, 60, 121)
    off = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 1, 1, 2, 1)
    every = jnp.asarray(off + np.asarray(pixels)[None], jnp.float32)
    smallest = boxes.margins(model, every, labels).min(0)
    linear, interval = (m.margins(model, box, labels) for m in (crown, bounds))
    assert below(linear, smallest)
    assert below(interval, smallest)
    assert float((smallest - linear).mean()) < float((smallest - interval).mean()) / 2


@pytest.mark.parametrize("name", ["dense", "strided", "padded", "pooled"])
def test_it_is_tighter_than_intervals(name: str) -> None:
    """In the mean over images and classes, where the bound reaches the pixels."""
    model = boxes.model(NETWORKS[name])
    pixels, labels = boxes.images(16)
    box = boxes.box(pixels, 5)
    interval = bounds.margins(model, box, labels)
    assert float(bounded(model, box, labels).mean() - interval.mean()) > 0.02


def test_where_nothing_passes_the_intervals_decide() -> None:
    """A last layer that is neither linear nor a ReLU: the bound is the interval's."""
    model = boxes.model(NETWORKS["mixed-sigmoid"])
    pixels, labels = boxes.images(4)
    box = boxes.box(pixels, 9)
    interval = bounds.margins(model, box, labels)
    np.testing.assert_allclose(bounded(model, box, labels), interval, rtol=1e-5, atol=1e-6)


def test_it_proves_more_images_than_intervals_and_none_that_is_misjudged() -> None:
    """What the bound separates is never taken for another class within the budget."""
    model = boxes.model(NETWORKS["strided"])
    pixels, _ = boxes.images(200)
    labels = jnp.argmax(model(pixels), -1).astype(jnp.int32)
    box = boxes.box(pixels, 4)
    sure = bounds.separated(crown.margins(model, box, labels), labels)
    assert int(sure.sum()) > int(bounds.certified(model, pixels, labels, 4).sum()) + 10
    answers = jnp.argmax(model(boxes.points(box, 100).reshape(-1, 5, 6, 2)), -1)
    assert bool((answers.reshape(100, 200) == labels[None])[:, sure].all())


def test_a_model_that_rounds_is_refused() -> None:
    plain = float_operators()
    operators = Operators(
        conv=plain.conv, dot=plain.dot, activation_quantizer=lambda layer, y: jnp.round(y)
    )
    model = build(boxes.network(LINEAR["one"]), operators=operators, key=jax.random.key(0))
    pixels, labels = boxes.images(2)
    with pytest.raises(InputError, match=r"`activation_quantizer`.*'ibp'"):
        crown.margins(model, boxes.box(pixels, 1), labels)


@pytest.mark.parametrize("name", ["padded", "pooled", "mixed-max"])
def test_gradients_are_those_of_differences(name: str) -> None:
    model = boxes.model(NETWORKS[name], seed=3)
    pixels, labels = boxes.images(3)
    graph, params = split(model)

    def loss(params):
        box = boxes.box(pixels, 4)
        return crown.margins(merge(graph, params), box, labels).mean()

    boxes.check_slope(jax.jit(loss), params)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-19, 1e-10])
@pytest.mark.parametrize("levels", [0, 8])
def test_gradients_are_finite_where_intervals_vanish(scale: float, levels: float) -> None:
    """Sums of 0 exactly, and intervals about 0 too narrow for the square of their width."""
    layers = (Flatten(), Dense(features=6), Dense(features=6), LINEAR["one"][-1])
    model = build(boxes.network(layers), key=jax.random.key(0))
    model.layers["dense1"].kernel[...] *= scale
    pixels, labels = jnp.zeros((2, 5, 6, 2), jnp.uint8), jnp.array([0, 1])
    graph, params = split(model)

    def loss(params):
        box = boxes.box(pixels, levels)
        return crown.margins(merge(graph, params), box, labels).sum()

    value, grads = jax.jit(jax.value_and_grad(loss))(params)
    assert abs(float(value)) < 1
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(grads))


BEFORE_RELU, AFFINE = crown._before_relu, crown._before_affine


def swapped(rows: crown._Rows, sums: Interval) -> crown._Rows:
    """The upper line where the lower one belongs, and the reverse."""
    turned = BEFORE_RELU(rows._replace(slopes=-rows.slopes, offsets=-rows.offsets), sums)
    return turned._replace(slopes=-turned.slopes, offsets=-turned.offsets)


def through_zero(rows: crown._Rows, sums: Interval) -> crown._Rows:
    """The upper line without its intercept."""
    return BEFORE_RELU(rows, sums)._replace(offsets=rows.offsets)


def without_bias(rows: crown._Rows, affine, before, after) -> crown._Rows:
    return AFFINE(rows, affine, before, after)._replace(offsets=rows.offsets)


def signed(rows: crown._Rows, x: Interval) -> jax.Array:
    """A r where |A| r belongs."""
    smallest = (rows.slopes * x.low[None]).sum(tuple(range(2, rows.slopes.ndim)))
    return rows.offsets + smallest


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ("_before_relu", swapped),
        ("_before_relu", through_zero),
        ("_before_affine", without_bias),
        ("_smallest", signed),
    ],
)
def test_a_planted_fault_is_seen(part: str, fault, monkeypatch) -> None:
    """The checks above are not blind."""
    monkeypatch.setattr(crown, part, fault)
    assert not (sound("strided", 10) and exact("deep"))
