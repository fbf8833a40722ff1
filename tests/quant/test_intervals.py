"""Integer intervals: exact against loops, sound against every image there is."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
import slow_intervals
from hypothesis import given, settings
from integers import SPECS, filled, images, networks, spec

from configs.errors import InputError
from configs.network import Conv, Dense, Flatten, GlobalPool, Network, Pool
from quant import intervals, normative
from quant.intervals import Interval, certified, decided, pixels_within
from quant.network import Format, IntNetwork, Weighted


def same_as_loops(network: IntNetwork, pixels: np.ndarray, levels: int) -> int:
    """Compares all layers; how many of their intervals hold more than one integer."""
    box = pixels_within(pixels, levels)
    found = jax.jit(lambda *ends: intervals.propagate(network, Interval(*ends)))(*box)
    wide = 0
    for layer in network.walk():
        low, high = slow_intervals.bounds(network, *box)[layer.name]
        mine = found[layer.name]
        assert mine.low.dtype == mine.high.dtype == layer.output.dtype
        np.testing.assert_array_equal(mine.low, low)
        np.testing.assert_array_equal(mine.high, high)
        wide += int((low < high).sum())
    return wide


@pytest.mark.parametrize("name", SPECS)
def test_every_kind_of_layer(name: str) -> None:
    """Bounds of every layer with tolerance zero."""
    network = filled(spec(name), shifts=(16, 19))
    assert same_as_loops(network, images(network.network, 5), 3) > 100


@settings(max_examples=5, derandomize=True, deadline=None)
@given(networks())
def test_any_network(network: IntNetwork) -> None:
    same_as_loops(network, images(network.network, 3), 20)


def test_parts_of_a_sum_may_leave_32_bits() -> None:
    """The spread of 130,000 signed inputs times -127 does; the sum of a corner does not."""
    dense = lambda features: Dense(features=features, activation="identity")
    network = filled(Network(input_shape=(1,), layers=(dense(130_000), dense(2))))
    weights = -np.random.default_rng(0).integers(100, 128, (130_000, 2)).astype(np.int8)
    wide = dataclasses.replace(
        network.weighted["dense2"], weights=weights, bias=np.array([5, -7], np.int32)
    )
    network = IntNetwork(
        network=network.network, weighted={**network.weighted, "dense2": wide}
    )
    layer = [*network.walk()][1]
    box = Interval(
        np.full((1, 130_000), -128, np.int8), np.full((1, 130_000), 127, np.int8)
    )
    wanted = slow_intervals.sums(wide, *(x.astype(np.int64) for x in box))
    assert 255 * np.abs(weights.astype(np.int64)).sum(0).min() > 2**31
    assert max(np.abs(end).max() for end in wanted) < 2**31
    found = jax.jit(lambda *ends: intervals.sums_of(layer, Interval(*ends)))(*box)
    np.testing.assert_array_equal(found, wanted)


# Networks of four pixels, of which every image within a budget can be looked at.
TINY = {
    "dense": ((4,), (Dense(features=4), Dense(features=3, activation="identity"))),
    "single": ((4,), (Dense(features=3, activation="identity"),)),
    "relu": ((4,), (Dense(features=5, activation="tanh"), Dense(features=3))),
    "table": ((4,), (Dense(features=4), Dense(features=3, activation="tanh"))),
    "conv": (
        (2, 2, 1),
        (
            Conv(features=3, kernel=(2, 2), padding="mean", activation="sigmoid"),
            Pool(kind="mean", window=(1, 2), stride=(1, 1)),
            Conv(features=2, kernel=(1, 1), padding="edge", activation="identity"),
            Flatten(),
            Dense(features=3, activation="identity"),
        ),
    ),
    "global": (
        (2, 2, 1),
        (Conv(features=4, kernel=(1, 2), padding="zero"), GlobalPool(), Dense(features=3)),
    ),
}


def tiny(name: str, seed: int, **keywords) -> IntNetwork:
    shape, layers = TINY[name]
    network = Network(input_shape=shape, layers=layers)
    made = filled(network, seed=seed, shifts=(16, 18), **keywords)
    # Small biases, or the same class wins everywhere.
    weighted = {
        key: dataclasses.replace(w, bias=w.bias // 3) for key, w in made.weighted.items()
    }
    return dataclasses.replace(made, weighted=weighted)


def everything_within(image: np.ndarray, levels: int) -> np.ndarray:
    """All uint8 images of the box: (n, *shape)."""
    values = [
        range(max(0, int(p) - levels), min(255, int(p) + levels) + 1) for p in image.ravel()
    ]
    return np.array([*itertools.product(*values)], np.uint8).reshape(-1, *image.shape)


class Count:
    """What the enumeration saw: ends of intervals and how many some image reaches;
    images, those that no image of the box flips, and those certified."""

    def __init__(self):
        self.ends = self.reached = self.firm = self.certified = self.images = 0


def enumerate_box(network: IntNetwork, image: np.ndarray, levels: int, count: Count):
    """Every layer of every image of the box lies in the bounds; a certificate is true."""
    every = everything_within(image, levels)
    box = pixels_within(image[None], levels)
    bounds = slow_intervals.bounds(network, *box)
    for step in normative.steps(network, every):
        (low,), (high,) = bounds[step.layer.name]
        least, most = step.output.min(0), step.output.max(0)
        assert (low <= least).all(), step.layer.name
        assert (most <= high).all(), step.layer.name
        count.ends += 2 * low.size
        count.reached += int((low == least).sum() + (most == high).sum())
    label = normative.run(network, image[None]).argmax(-1)
    firm = bool((normative.run(network, every).argmax(-1) == label).all())
    last = [*network.walk()][-1]
    before = {"input": box, **bounds}[last.step.inputs[0]]
    after = Interval(*bounds[last.name])
    safe = bool(decided(last, Interval(*before), after, label)[0])
    assert firm or not safe
    count.images += 1
    count.firm += firm
    count.certified += safe


def counted(name: str, **keywords) -> Count:
    count = Count()
    for seed in range(12):
        network = tiny(name, seed, **keywords)
        for image in images(network.network, 4, seed=seed):
            for levels in (1, 2):
                enumerate_box(network, image, levels, count)
    return count


@pytest.mark.parametrize("name", TINY)
def test_no_image_of_the_box_leaves_the_bounds_or_flips_a_certificate(name: str) -> None:
    """All images within 1 and 2 levels, in 12 networks; the bounds are no idle ones:
    most ends are reached, and most that could be certified are."""
    count = counted(name)
    assert count.images == 96
    assert count.reached >= 0.5 * count.ends
    assert count.certified >= 0.5 * count.firm > 0
    assert count.certified < count.images or name == "global"


def test_narrow_outputs_too() -> None:
    """With few levels ties and ends of the range are everywhere."""
    count = counted("dense", activation_bits=2, weight_bits=3)
    assert count.firm > 0


def test_one_layer_is_certified_whenever_it_is_firm() -> None:
    """No interval is loose there: only what rounding joins may be missed."""
    count = counted("single")
    assert count.reached == count.ends
    assert count.certified >= 0.95 * count.firm


@pytest.mark.parametrize("end", [0, 1])
def test_a_bound_that_forgets_one_sign_of_the_weights_would_be_seen(
    end: int, monkeypatch
) -> None:
    """W low where it is W+ low + W- high, or W high: some image lies outside."""
    whole = slow_intervals.sums

    def forgetful(w, low, high):
        ends = list(whole(w, low, high))
        ends[end] = whole(w, *2 * ((low, high)[end],))[end]
        return tuple(ends)

    monkeypatch.setattr(slow_intervals, "sums", forgetful)
    with pytest.raises(AssertionError):
        counted("dense")


def two_outputs(weights, bias, multiplier=2**15, *, signed: bool = True) -> IntNetwork:
    """One Dense layer of one pixel and two outputs: y = clip(RNE(acc * m / 2^16))."""
    grid = Format(signed=signed, exponent=0)
    layer = Weighted(
        weights=np.array([weights], np.int8),
        bias=np.array(bias, np.int32),
        multiplier=np.full(2, multiplier, np.int32),
        sum=grid,
        output=grid,
    )
    activation = "identity" if signed else "relu"
    network = Network(input_shape=(1,), layers=(Dense(features=2, activation=activation),))
    return IntNetwork(network=network, weighted={"dense1": layer})


@pytest.mark.parametrize(
    ("label", "bias", "safe"),
    [
        # 2.5 and 1.5 both round to 2: one step apart, and the first class wins the tie.
        (1, (2, 4), False),
        # A step and a half apart no two sums round to the same.
        (1, (2, 5), True),
        # The first class needs no distance: it wins ties, and rounding keeps the order.
        (0, (2, 2), True),
        (0, (1, 2), False),
        # Cut off at 127, or at -128, both are the same.
        (1, (260, 300), False),
        (1, (-300, -262), False),
        (0, (260, 300), True),
        # One at an end, the other just inside.
        (1, (251, 300), True),
        (1, (252, 300), False),
        (1, (-300, -253), True),
        (1, (-300, -257), False),
    ],
)
def test_rounding_ties_and_both_ends_of_the_range(label: int, bias, safe: bool) -> None:
    """Intervals overlap in the first four, so the difference of the sums decides."""
    network = two_outputs((1, 1), bias)
    pixel = np.array([[1]], np.uint8)
    every = normative.run(network, everything_within(pixel[0], 1)).argmax(-1)
    assert (every == label).all() == safe
    assert certified(network, pixel, np.array([label]), 1).tolist() == [safe]


def test_unsigned_outputs_are_cut_off_at_zero() -> None:
    """Both below zero are equal after a ReLU, however far apart; no image is none."""
    pixel = np.array([[1]], np.uint8)
    nothing = certified(two_outputs((1, 1), (0, 0)), pixel[:0], np.zeros(0, np.int32), 1)
    assert nothing.shape == (0,)
    for bias, safe in (((-90, -20), False), ((-90, 1), False), ((-90, 5), True)):
        network = two_outputs((1, 1), bias, signed=False)
        assert certified(network, pixel, np.array([1]), 1).tolist() == [safe]


def test_the_least_difference_is_exact() -> None:
    """float64 gives Python's own integers for the largest multipliers and weights."""
    draw = np.random.default_rng(0)
    network = filled(
        Network(input_shape=(900,), layers=(Dense(features=3, activation="identity"),))
    )
    w = dataclasses.replace(
        network.weighted["dense1"],
        weights=draw.choice([-127, 126, 127], (900, 3)).astype(np.int8),
        multiplier=np.array([65535, 65533, 65521], np.int32),
        bias=np.array([2**31 - 1 - 255 * 127 * 900, -5, 1], np.int32),
    )
    network = dataclasses.replace(network, weighted={"dense1": w})
    box = pixels_within(images(network.network, 4), 40)
    labels = np.array([0, 1, 2, 0])
    found = intervals.least_difference(next(network.walk()), box, labels)
    m, b = [int(v) for v in w.multiplier], [int(v) for v in w.bias]
    for n, label in enumerate(labels):
        for j in range(3):
            c = [m[label] * int(r[label]) - m[j] * int(r[j]) for r in w.weights]
            ends = zip(c, box.low[n], box.high[n], strict=True)
            least = sum(min(k * int(low), k * int(high)) for k, low, high in ends)
            assert int(found[n, j]) == least + m[label] * b[label] - m[j] * b[j]


@pytest.mark.parametrize("name", ["cnn", "signed"])
def test_a_budget_of_nothing_gives_the_network_itself(name: str) -> None:
    """Both ends are its outputs, and certified is correct; more than one call's images."""
    network = filled(spec(name))
    pixels = images(network.network, 90)
    outputs = normative.run(network, pixels)
    _, after = intervals.compile(network)(pixels_within(pixels, 0))
    np.testing.assert_array_equal(after.low, outputs)
    np.testing.assert_array_equal(after.high, outputs)
    labels = np.random.default_rng(0).integers(0, 3, 90)
    certify = intervals.make_certify(network)
    right = outputs.argmax(-1) == labels
    assert 0 < right.sum() < 90
    np.testing.assert_array_equal(certify(pixels, labels, 0), right)
    # More levels never certify more, and no image alone changes another's answer.
    few, many = certify(pixels, labels, 1), certify(pixels, labels, 4)
    assert not (few & ~right).any()
    assert not (many & ~few).any()
    np.testing.assert_array_equal(certify(pixels[20:], labels[20:], 1), few[20:])


def test_pixels_stay_pixels() -> None:
    box = pixels_within(np.array([[0, 3, 128, 250, 255]], np.uint8), 7)
    assert box.low.tolist() == [[0, 0, 121, 243, 248]]
    assert box.high.tolist() == [[7, 10, 135, 255, 255]]
    assert box.low.dtype == box.high.dtype == np.uint8


def test_what_it_cannot_do_is_refused_by_name() -> None:
    image = images(spec("cnn"), 2)
    certify = intervals.make_certify(filled(spec("cnn")))
    with pytest.raises(InputError, match=r"`levels` \(=256\) must be in 0..255"):
        certify(image, np.array([0, 1]), 256)
    with pytest.raises(InputError, match=r"`labels` .* whole number in 0..2 for each of 2"):
        certify(image, np.array([0, 3]), 1)
    with pytest.raises(InputError, match="`labels`"):
        certify(image, np.array([0]), 1)
    with pytest.raises(InputError, match="`labels`"):
        certify(image, np.array([0.0, 1.0]), 1)
    layers = (Conv(features=2, kernel=(1, 1)),)
    with pytest.raises(InputError, match=r"`network` .* must end in a vector of classes"):
        intervals.make_certify(filled(Network(input_shape=(2, 2, 1), layers=layers)))
