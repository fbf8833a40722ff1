"""Linear bounds hold for every point of the box, through every operator."""

from functools import cache

import boxes
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from boxes import NETWORKS
from integers import SPECS

from configs.network import Conv, Dense, Flatten, LstmCell, Multiply, Network, Residual
from train import bounds, crown
from train.certify import engine, forms, network, proofs, region, slopes
from train.certify.forms import Back
from train.certify.region import Region
from train.model import Model, build

# Beside those of `boxes`: paths that fork and join, groups, dilation, recurrence.
JOINED = {
    "residual": (
        Conv(features=3, padding="zero"),
        Residual(body=(Conv(features=3, padding="zero", activation="identity"),)),
        Flatten(),
        Dense(features=4, activation="identity"),
    ),
    "depthwise": (*SPECS["depthwise"][:-1], Dense(features=4, activation="identity")),
    "branches": (*SPECS["branches"][:-1], Dense(features=4, activation="identity")),
    "gated": (
        Flatten(),
        Dense(features=5),
        Multiply(body=(Dense(features=5, activation="sigmoid"),)),
        Dense(features=4, activation="identity"),
    ),
    "cell": (Flatten(), LstmCell(features=3), Dense(features=4, activation="identity")),
}
ALL = {**NETWORKS, **JOINED}


@cache
def model(name: str, seed: int = 1) -> Model:
    shape = (9, 8, 2) if name == "depthwise" else (5, 6, 2)
    made = build(Network(input_shape=shape, layers=ALL[name]), key=jax.random.key(seed))
    draw = np.random.default_rng(seed)
    for layer in made.layers.values():
        if layer.bias is not None:
            bias = 0.3 * draw.normal(size=layer.bias[...].shape)
            layer.bias[...] = jnp.asarray(bias, jnp.float32)
    return made


@cache
def sampled(name: str, levels: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Images, and every value (200, B, ...) at points and corners of their boxes."""
    made = model(name)
    shape = made.network.input_shape
    pixels, _ = boxes.images(3, shape=shape)
    points = boxes.points(bounds.pixels_within(pixels, levels), 200)
    values = jax.jit(lambda x: made.values(x))(points.reshape(-1, *shape))
    found = {n: np.asarray(v, np.float64) for n, v in values.items()}
    return np.asarray(pixels), {
        n: v.reshape(200, 3, *v.shape[1:]) for n, v in found.items()
    }


LABELS = np.array([0, 1, 2])


def outliers(name: str, levels: int = 12) -> list[str]:
    """Values outside of their intervals, and "margins" where one is below its bound."""
    pixels, values = sampled(name, levels)
    graph = network.graph(model(name))
    known = engine.refined(graph, network.pixels_within(pixels, levels))
    found = []
    for value, v in values.items():
        low, high = known.intervals[value]
        room = 1e-5 * (1 + np.abs(v))
        if (v < low - room).any() or (v > high + room).any():
            found.append(value)
    output = graph.program.output.name
    logits = values[output]
    least = (np.take_along_axis(logits, LABELS[None, :, None], 2) - logits).min(0)
    for bound in (engine.differences, slopes.differences):
        if (bound(known, output, LABELS) > least + 1e-5 * (1 + np.abs(least))).any():
            found.append("margins")
    return found


@pytest.mark.parametrize("name", ALL)
def test_every_value_stays_in_its_interval_and_every_margin_above(name: str) -> None:
    assert outliers(name) == []


@pytest.mark.parametrize("name", ["strided", "padded", "pooled", "residual"])
def test_closer_bounds_are_closer(name: str) -> None:
    """Intervals, CROWN-IBP, CROWN and slopes of its own, in the mean."""
    pixels, _ = sampled(name, 12)
    graph = network.graph(model(name))
    box = network.pixels_within(pixels, 12)
    plain, known = engine.forward(graph, box), engine.refined(graph, box)
    output, last = graph.program.output.name, graph.program.steps[-1].inputs
    means = [
        found.mean()
        for found in (
            engine.differences(plain, output, LABELS, last),
            engine.differences(plain, output, LABELS),
            engine.differences(known, output, LABELS),
            slopes.differences(known, output, LABELS),
        )
    ]
    assert means == sorted(means)
    assert means[0] < means[2]


def test_from_intervals_it_is_what_training_bounds() -> None:
    """CROWN-IBP in float64 is `train.crown` to the rounding of float32."""
    made = model("strided")
    pixels, _ = sampled("strided", 12)
    box = bounds.pixels_within(jnp.asarray(pixels), 12)
    wanted = jax.jit(lambda b: crown.margins(made, b, jnp.asarray(LABELS)))(box)
    graph = network.graph(made)
    known = engine.forward(graph, network.pixels_within(pixels, 12))
    found = engine.differences(known, graph.program.output.name, LABELS)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_proofs_are_true_and_the_cheapest_is_said() -> None:
    """No point of a box that is proved has another class; every method proves some."""
    made = model("strided")
    pixels, _ = boxes.images(60)
    labels = np.asarray(jnp.argmax(made(pixels), -1))
    graph, seen = network.graph(made), set()
    for levels in (2, 5, 9):
        box = network.pixels_within(np.asarray(pixels), levels)
        found = proofs.proved(graph, box, labels)
        points = boxes.points(bounds.pixels_within(pixels, levels), 40)
        answers = np.asarray(jnp.argmax(made(points.reshape(-1, 5, 6, 2)), -1))
        same = (answers.reshape(40, 60) == labels).all(0)
        assert same[found > 0].all()
        seen |= set(found.tolist())
    assert {0, 1, 2, 3} <= seen


def test_too_much_work_is_left_out_and_said() -> None:
    pixels, _ = sampled("strided", 12)
    graph, box = network.graph(model("strided")), network.pixels_within(pixels, 12)
    few = engine.refined(graph, box, limit=1)
    assert few.skipped == ["conv2.sum"]
    narrow = lambda known: known.intervals["conv2.sum"].low.sum()
    assert narrow(engine.forward(graph, box)) <= narrow(few)
    assert narrow(few) < narrow(engine.refined(graph, box))


def turned(form, area, image, known) -> Back:
    """Upper lines where lower ones belong."""
    other = FUNCTION(form, Region(-area.values, area.corner), image, known)
    (values, corner) = other.regions[0]
    return Back((Region(-values, corner),), -np.asarray(other.offset))


def unmoved(form, area, image, xs) -> Back:
    """Windows where they would be without a padding."""
    (values, corner) = PAD(form, area, image, xs).regions[0]
    if corner is not None:
        pairs = zip(corner, form.node.pads, strict=True)
        corner = tuple(place + ends[0] for place, ends in pairs)
    return Back((Region(values, corner),))


def one_path(form, area, image, xs) -> Back:
    """The second value of a sum forgotten."""
    first, second = ADD(form, area, image, xs).regions
    return Back((first, Region(0 * second.values, second.corner)))


def unbiased(form, area, image, xs) -> Back:
    return PRODUCT(form, area, image, xs)._replace(offset=0.0)


FUNCTION, PAD, ADD, PRODUCT = (
    kind.back
    for kind in (forms.FunctionForm, forms.PadForm, forms.AddForm, forms.ProductForm)
)


@pytest.mark.parametrize(
    ("kind", "fault", "name"),
    [
        (forms.FunctionForm, turned, "dense"),
        (forms.PadForm, unmoved, "residual"),
        (forms.AddForm, one_path, "residual"),
        (forms.ProductForm, unbiased, "strided"),
    ],
)
def test_a_planted_fault_is_seen(kind, fault, name: str, monkeypatch) -> None:
    assert outliers(name) == []
    monkeypatch.setattr(kind, "back", fault)
    assert outliers(name)


def test_windows_are_the_whole_map_somewhere() -> None:
    """Coefficients over windows, some of which lie partly outside, put into the map."""
    draw = np.random.default_rng(0)
    values = draw.normal(size=(4, 2, 3, 2))
    corner = (np.array([-1, 0, 3, 1]), np.array([0, -2, 2, 1]))
    array = draw.normal(size=(2, 4, 4, 2))
    image = np.array([0, 1, 1, 0])
    windows = Region(values, corner)
    flat = region.whole(windows, (4, 4, 2))
    met = (values * region.seen(windows, array, image)).sum((1, 2, 3))
    np.testing.assert_allclose(met, (flat.values * array[image]).sum((1, 2, 3)))
