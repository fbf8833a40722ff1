"""Linear bounds of the integers: sound against every image there is."""

import dataclasses
import itertools

import numpy as np
import pytest
from integers import SPECS, filled, images, spec

from configs.errors import InputError
from configs.network import Conv, Dense, Flatten, Multiply, Network, Pool, Residual
from quant import linear_bounds, normative
from quant.network import IntNetwork
from train.certify import engine, forms, proofs, slopes

_LOGITS = Dense(features=3, activation="identity")
# Networks of four pixels, of which every image within a budget can be looked at.
TINY = {
    "dense": ((4,), (Dense(features=4), _LOGITS)),
    "deep": ((4,), (Dense(features=5), Dense(features=4), _LOGITS)),
    "table": ((4,), (Dense(features=4, activation="tanh"), Dense(features=3))),
    "table-end": ((4,), (Dense(features=4), Dense(features=3, activation="tanh"))),
    "conv": (
        (2, 2, 1),
        (
            Conv(features=3, kernel=(2, 2), padding="mean"),
            Pool(kind="mean", window=(1, 2), stride=(1, 1)),
            Conv(features=2, kernel=(1, 1), padding="edge", activation="identity"),
            Flatten(),
            _LOGITS,
        ),
    ),
    "residual": (
        (2, 2, 1),
        (
            Conv(features=2, kernel=(1, 1)),
            Residual(body=(Conv(features=2, kernel=(2, 2), padding="zero"),)),
            Pool(kind="max", window=(2, 1), stride=(1, 1)),
            Flatten(),
            _LOGITS,
        ),
    ),
    "gated": (
        (4,),
        (
            Dense(features=4),
            Multiply(body=(Dense(features=4, activation="sigmoid"),)),
            _LOGITS,
        ),
    ),
}
LEVELS = 2


def tiny(name: str, seed: int) -> IntNetwork:
    shape, layers = TINY[name]
    made = filled(Network(input_shape=shape, layers=layers), seed=seed, shifts=(16, 18))
    # Small biases, or the same class wins everywhere; with tables of anything none does.
    part = 1 if name == "table" else 4
    weighted = {
        key: dataclasses.replace(w, bias=w.bias // part) for key, w in made.weighted.items()
    }
    return dataclasses.replace(made, weighted=weighted)


def everything_within(image: np.ndarray, levels: int) -> np.ndarray:
    values = [
        range(max(0, int(p) - levels), min(255, int(p) + levels) + 1) for p in image.ravel()
    ]
    return np.array([*itertools.product(*values)], np.uint8).reshape(-1, *image.shape)


class Count:
    """Images, those that no image of the box flips, those proved; what went wrong."""

    def __init__(self):
        self.images = self.firm = self.proved = 0
        self.wrong: list[str] = []


def looked_at(network: IntNetwork, image: np.ndarray, count: Count) -> None:
    every = everything_within(image, LEVELS)
    graph = linear_bounds.graph(network)
    known = engine.refined(graph, linear_bounds.pixels_within(image[None], LEVELS))
    for step in normative.steps(network, every):
        low, high = known.intervals[step.layer.name]
        if (step.output < low).any() or (step.output > high).any():
            count.wrong.append(step.layer.name)
        outputs = step.output.astype(np.int64)
    label = normative.run(network, image[None]).argmax(-1)
    least = (outputs[:, label] - outputs).min(0)
    output = graph.program.output.name
    for bound in (engine.differences, slopes.differences):
        if (bound(known, output, label) > least).any():
            count.wrong.append("differences")
    firm = bool((outputs.argmax(-1) == label).all())
    box = linear_bounds.pixels_within(image[None], LEVELS)
    found = proofs.proved(graph, box, label, linear_bounds.decide(network))
    if found[0] and not firm:
        count.wrong.append("proof")
    count.images, count.firm = count.images + 1, count.firm + firm
    count.proved += bool(found[0])


def counted(name: str, seeds: int = 6) -> Count:
    count = Count()
    for seed in range(seeds):
        network = tiny(name, seed)
        for image in images(network.network, 3, seed=seed):
            looked_at(network, image, count)
    return count


@pytest.mark.parametrize("name", TINY)
def test_no_image_of_the_box_leaves_the_bounds_or_flips_a_proof(name: str) -> None:
    count = counted(name)
    assert count.wrong == []
    assert count.images == 18
    assert count.proved >= 0.4 * count.firm > 0


@pytest.mark.parametrize("name", SPECS)
def test_every_step_of_every_operator_stays_inside(name: str) -> None:
    """Images of a box, its corners among them; without a budget the integers exactly."""
    network = filled(spec(name), shifts=(16, 18))
    graph, centre = linear_bounds.graph(network), images(network.network, 2)
    draw = np.random.default_rng(0)
    for levels in (0, 3, 25):
        box = linear_bounds.pixels_within(centre, levels)
        share = draw.uniform(size=(40, *centre.shape))
        share[:10] = np.rint(share[:10])
        points = np.rint(box.low + share * (box.high - box.low)).astype(np.uint8)
        known = engine.refined(graph, box)
        flat = points.reshape(-1, *centre.shape[1:])
        for step in normative.steps(network, flat):
            low, high = known.intervals[step.layer.name]
            y = step.output.reshape(40, 2, *step.output.shape[1:])
            assert (low <= y).all(), step.layer.name
            assert (y <= high).all(), step.layer.name
            if not levels:
                assert (low == high).all(), step.layer.name


def test_ties_go_to_the_first_class() -> None:
    """Equal outputs prove the class that comes first and no other."""
    network = tiny("dense", 0)
    last = network.weighted["dense2"]
    same = dataclasses.replace(
        last,
        weights=np.repeat(last.weights[:, :1], 3, 1),
        bias=np.repeat(last.bias[:1], 3),
        multiplier=np.repeat(last.multiplier[:1], 3),
    )
    network = dataclasses.replace(network, weighted={**network.weighted, "dense2": same})
    graph, pixels = linear_bounds.graph(network), np.full((3, 4), 9, np.uint8)
    box = linear_bounds.pixels_within(pixels, 3)
    decide = linear_bounds.decide(network)
    assert (proofs.proved(graph, box, np.arange(3), decide) > 0).tolist() == [1, 0, 0]


def test_a_map_has_no_classes() -> None:
    layers = (Conv(features=2, kernel=(1, 1)),)
    network = filled(Network(input_shape=(2, 2, 1), layers=layers))
    with pytest.raises(InputError, match=r"`network` .* must end in a vector of classes"):
        linear_bounds.decide(network)


def unrounded(numbers):
    """Cut off, and not rounded."""
    return (linear_bounds.lines.clip(numbers.sum.low, numbers.sum.high),)


def test_a_rounding_that_is_forgotten_is_seen(monkeypatch) -> None:
    monkeypatch.setattr(linear_bounds, "_functions", unrounded)
    assert counted("deep", 3).wrong


def test_a_path_that_is_forgotten_is_seen(monkeypatch) -> None:
    back = forms.AddForm.back

    def one_path(form, area, image, xs):
        first, second = back(form, area, image, xs).regions
        return forms.Back((first, second._replace(values=0 * second.values)))

    monkeypatch.setattr(forms.AddForm, "back", one_path)
    assert counted("residual", 3).wrong
