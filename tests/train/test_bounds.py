"""Interval bounds hold for every image of the box, and are as tight as they say."""

from itertools import pairwise

import boxes
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from boxes import LINEAR, NETWORKS, below
from flax import nnx

from configs.network import Dense, Flatten
from train import bounds
from train.bounds import Interval
from train.model import Model, Operators, build, float_operators, merge, split

LEVELS = (2, 40)


def bounded(model: Model, box: Interval, labels) -> jax.Array:
    return jax.jit(lambda box, labels: bounds.margins(model, box, labels))(box, labels)


def inside(interval: Interval, values) -> bool:
    return below(interval.low[None], values) and below(-interval.high[None], -values)


def outliers(model: Model, levels: float) -> list[str]:
    """Layers that give something outside their interval."""
    pixels, _ = boxes.images(4)
    box = boxes.box(pixels, levels)
    points = boxes.points(box, 500)
    found = jax.jit(lambda box: bounds.propagate(model, box))(box)
    outputs = jax.jit(lambda x: model.outputs(x))(points.reshape(-1, *pixels.shape[1:]))
    assert list(found) == list(outputs)
    wrong = []
    for name, y in outputs.items():
        y = y.reshape(len(points), len(pixels), *y.shape[1:])
        assert found[name].low.shape == y.shape[1:]
        if not inside(found[name], y):
            wrong.append(name)
    return wrong


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_stays_in_its_interval(name: str) -> None:
    assert outliers(boxes.model(NETWORKS[name]), 20) == []


@pytest.mark.parametrize("name", NETWORKS)
def test_no_margin_falls_below_its_bound(name: str) -> None:
    """Neither at random points and corners nor where gradients lead."""
    model = boxes.model(NETWORKS[name], seed=1)
    pixels, labels = boxes.images(4)
    for levels in LEVELS:
        box = boxes.box(pixels, levels)
        bound = bounded(model, box, labels)
        found = boxes.lowest(model, box, labels)
        assert below(bound, found)
        np.testing.assert_array_equal(bound[jnp.arange(4), labels], 0)


@pytest.mark.parametrize("name", NETWORKS)
def test_without_a_budget_the_bounds_are_the_outputs(name: str) -> None:
    model = boxes.model(NETWORKS[name])
    pixels, labels = boxes.images(5)
    box = boxes.box(pixels, 0)
    outputs = jax.jit(lambda x: model.outputs(x))(pixels)
    for layer, (low, high) in jax.jit(lambda box: bounds.propagate(model, box))(
        box
    ).items():
        np.testing.assert_allclose(low, outputs[layer], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(high, outputs[layer], rtol=1e-5, atol=1e-5)
    exact = boxes.margins(model, pixels, labels)
    bound = bounded(model, box, labels)
    np.testing.assert_allclose(bound, exact, rtol=1e-5, atol=1e-5)


def test_a_single_linear_layer_is_bounded_exactly() -> None:
    """The closed form: each pixel at the end that hurts most, by the rows' difference."""
    model = boxes.model(LINEAR["one"])
    pixels, labels = boxes.images(6)
    kernel = np.asarray(model.kernel("dense1"), np.float64)
    box = boxes.box(pixels, 20)
    low, high = (np.asarray(end, np.float64).reshape(6, -1) / 256 for end in box)
    bias = np.asarray(model.layers["dense1"].bias[...], np.float64)
    for b, label in enumerate(np.asarray(labels)):
        rows = kernel[:, label][:, None] - kernel
        worst = np.where(rows > 0, low[b][:, None], high[b][:, None])
        exact = (rows * worst).sum(0) + bias[label] - bias
        bound = bounded(model, box, labels)[b]
        np.testing.assert_allclose(bound, exact, rtol=1e-5, atol=1e-5)


def test_a_single_layer_of_relus_is_bounded_exactly() -> None:
    """Brute force: the ends of the intervals are met at corners of the box."""
    model = boxes.model((Flatten(), Dense(features=5)), shape=(2, 2, 2))
    pixels, _ = boxes.images(3, shape=(2, 2, 2))
    box = boxes.box(pixels, 30)
    ends = np.stack(np.meshgrid(*[[0, 1]] * 8, indexing="ij"), -1).reshape(-1, 1, 2, 2, 2)
    corners = jnp.where(jnp.asarray(ends == 1), box.high[None], box.low[None])
    outputs = model(corners.reshape(-1, 2, 2, 2)).reshape(256, 3, 5)
    found = bounds.propagate(model, box)["dense1"]
    np.testing.assert_allclose(found.low, outputs.min(0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.high, outputs.max(0), rtol=1e-5, atol=1e-5)


def test_the_rows_are_subtracted_before_they_meet_the_interval() -> None:
    """Tighter than the difference of two bounds, never looser."""
    model = boxes.model(NETWORKS["dense"])
    pixels, labels = boxes.images(8)
    box = boxes.box(pixels, 5)
    low, high = bounds.propagate(model, box)["dense3"]
    own = jnp.take_along_axis(low, labels[:, None], axis=-1)
    others = jnp.arange(low.shape[-1])[None] != labels[:, None]
    bound = bounded(model, box, labels)
    assert below(jnp.where(others, own - high, 0), bound)
    assert float(jnp.mean(jnp.where(others, bound - (own - high), 0))) > 0.05


def test_bounds_fall_as_the_budget_rises() -> None:
    model = boxes.model(NETWORKS["pooled"])
    pixels, labels = boxes.images(8)
    by_levels = [bounded(model, boxes.box(pixels, n), labels) for n in (0, 5, 255)]
    for smaller, larger in pairwise(by_levels):
        assert below(larger, smaller)


def test_certified_is_what_the_margins_say() -> None:
    """Without a budget: the right answers; a tie is not certified; and no image certified
    is ever taken for another class."""
    model = boxes.model(NETWORKS["strided"])
    pixels, _ = boxes.images(200)
    labels = jnp.argmax(model(pixels), -1).astype(jnp.int32)
    assert bool(bounds.certified(model, pixels, labels, 0).all())
    assert not bool(bounds.certified(model, pixels, (labels + 1) % 4, 0).any())
    sure = bounds.certified(model, pixels, labels, jnp.int32(2))
    assert 10 < int(sure.sum()) < 190
    points = boxes.points(boxes.box(pixels, 2), 100)
    answers = jnp.argmax(model(points.reshape(-1, 5, 6, 2)), -1).reshape(100, 200)
    assert bool((answers == labels[None])[:, sure].all())
    assert not bool(bounds.separated(jnp.zeros((1, 4)), jnp.array([1])).any())
    assert bool(bounds.separated(jnp.array([[1.0, 0.0, 2.0]]), jnp.array([1])).all())
    assert not bool(bounds.separated(jnp.array([[1.0, 0, jnp.nan]]), jnp.array([1])).any())


def test_pixels_stay_pixels() -> None:
    images = jnp.array([[0, 3, 250, 255]], jnp.uint8)
    for levels in (5, 5.0, jnp.int32(5), jnp.float32(5)):
        low, high = bounds.pixels_within(images, levels)
        assert low.tolist() == [[0, 0, 245, 250]]
        assert high.tolist() == [[5, 8, 255, 255]]


def test_a_model_that_rounds_is_not_certified_by_its_sums() -> None:
    """Its logits saturate: they are equal where the sums are far apart."""
    plain = float_operators()
    clip = lambda layer, y: jnp.clip(y, -1, 1) if layer == "dense1" else y
    operators = Operators(conv=plain.conv, dot=plain.dot, activation_quantizer=clip)
    model = build(boxes.network(LINEAR["one"]), operators=operators, key=jax.random.key(0))
    model.layers["dense1"].bias[...] = jnp.array([50.0, 90.0, -90.0, -50.0])
    pixels, _ = boxes.images(1)
    labels = jnp.array([1])
    assert bounds.rounds(model)
    assert bounds.margins(model, boxes.box(pixels, 1), labels).tolist() == [[0, 0, 2, 2]]
    assert not bool(bounds.certified(model, pixels, labels, 1).any())


def test_only_what_is_injected_counts_as_rounding() -> None:
    """Also after a model was split and merged, as in training."""
    model = boxes.model(LINEAR["one"])
    assert not bounds.rounds(model)
    assert not bounds.rounds(merge(*split(model)))


@pytest.mark.parametrize("name", ["padded", "mixed-max", "mixed-tanh"])
def test_gradients_are_those_of_differences(name: str) -> None:
    model = boxes.model(NETWORKS[name], seed=3)
    pixels, labels = boxes.images(3)
    graph, params = split(model)

    def loss(params):
        box = boxes.box(pixels, 4)
        return bounds.margins(merge(graph, params), box, labels).mean()

    boxes.check_slope(jax.jit(loss), params)


def signed(layer: nnx.Module) -> nnx.Module:
    """The layer without its bias, the signs of its weights kept."""
    copy = nnx.clone(layer)
    copy.bias[...] = jnp.zeros_like(layer.bias[...])
    return copy


def biased(layer: nnx.Module) -> nnx.Module:
    """The layer with |W|, its bias kept."""
    copy = nnx.clone(layer)
    copy.kernel[...] = jnp.abs(layer.kernel[...])
    return copy


@pytest.mark.parametrize("fault", [signed, biased])
def test_a_wrong_radius_is_seen(fault, monkeypatch) -> None:
    """The checks above are not blind: some output is outside, or the interval of a
    single image is not a point."""
    model = boxes.model(NETWORKS["strided"])
    monkeypatch.setattr(bounds, "_magnitudes", fault)
    pixels, _ = boxes.images(2)
    ends = bounds.propagate(model, boxes.box(pixels, 0)).values()
    points = all(bool((low == high).all()) for low, high in ends)
    assert outliers(model, 10) or not points
    if fault is signed:
        assert points


def test_a_margin_without_its_spread_is_seen(monkeypatch) -> None:
    model = boxes.model(NETWORKS["dense"], seed=1)
    pixels, labels = boxes.images(4)
    box = boxes.box(pixels, 10)
    found = boxes.lowest(model, box, labels)
    assert below(bounded(model, box, labels), found)
    none = lambda layer, inputs, features: jnp.zeros((features, inputs), jnp.float32)
    monkeypatch.setattr(bounds, "weight_rows", none)
    assert not below(bounded(model, box, labels), found)
