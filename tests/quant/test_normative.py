"""The arithmetic that judges, judged: against loops over Python's own integers."""

import dataclasses
from fractions import Fraction
from itertools import product

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integers import SPECS, filled, images, networks, spec

from configs.network import Conv, Dense, Flatten, Network
from configs.network import Pool as PoolLayer
from configs.program import (
    Activate,
    Add,
    Concat,
    Mul,
    Pad,
    Pool,
    Product,
    Reshape,
    Slice,
)
from quant import normative
from quant.network import Activated, Format, IntNetwork, IntStep, Weighted
from quant.normative import Step, divide_rne, im2col, pad, pool, requantise, run, steps

# Python's own round() of a fraction takes halves to the even integer.
SIZES = [(1, 1), (2, 1), (3, 4), (5, 5)]
PAIRS = [(1, 1), (1, 2), (2, 3), (3, 3), (4, 2)]


def real(value, kind: Format):
    """Integers, nested lists of them, as the fractions that they stand for."""
    if isinstance(value, list):
        return [real(item, kind) for item in value]
    return Fraction(value) * Fraction(2) ** kind.exponent


def each(function, *values):
    """A function of the innermost numbers of lists of one form."""
    if isinstance(values[0], list):
        return [each(function, *items) for items in zip(*values, strict=True)]
    return function(*values)


def flat(value) -> list:
    """The numbers of nested lists, the last axis fastest."""
    return [x for item in value for x in flat(item)] if isinstance(value, list) else [value]


def formed(numbers: list, shape: tuple[int, ...]):
    if len(shape) == 1:
        return numbers
    size = len(numbers) // shape[0]
    cuts = (numbers[i : i + size] for i in range(0, len(numbers), size))
    return [formed(cut, shape[1:]) for cut in cuts]


def at(image: list, row: int, column: int, channel: int, kind: str) -> int:
    """One value of one image, or what stands outside it."""
    height, width = len(image), len(image[0])
    if 0 <= row < height and 0 <= column < width:
        return image[row][column][channel]
    if kind == "edge":
        row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
        return image[row][column][channel]
    if kind == "mean":
        values = [pixel[channel] for line in image for pixel in line]
        return round(Fraction(sum(values), len(values)))
    return 0


def padded(node: Pad, image: list) -> list:
    (top, _), (left, _) = node.pads
    height, width, channels = node.shape
    return [
        [
            [at(image, y - top, x - left, c, node.kind) for c in range(channels)]
            for x in range(width)
        ]
        for y in range(height)
    ]


def output(total: int, feature: int, w: Weighted) -> int:
    """A sum with its bias, brought back to 8 bits."""
    real = Fraction((total + int(w.bias[feature])) * int(w.multiplier[feature]), 2**w.shift)
    y = min(max(round(real), w.sum.low), w.sum.high)
    return y if w.table is None else int(w.table[y + 128])


def products(node: Product, x: list, w: Weighted) -> list:
    """Sums of products of a vector, or of a padded image."""
    weights, features = w.weights.tolist(), range(node.features)
    if node.kernel is None:
        return [sum(a * weights[k][f] for k, a in enumerate(x)) for f in features]
    (rows, columns, _), each_group = node.shape, len(x[0][0]) // node.groups
    taps = list(product(range(node.kernel[0]), range(node.kernel[1]), range(each_group)))
    (down, right), (tall, wide) = node.stride, node.dilation

    def value(p: int, q: int, f: int) -> int:
        first = f // (node.features // node.groups) * each_group
        return sum(
            x[p * down + r * tall][q * right + s * wide][first + c] * weights[r][s][c][f]
            for r, s, c in taps
        )

    return [
        [[value(p, q, f) for f in features] for q in range(columns)] for p in range(rows)
    ]


def pooled(node: Pool, image: list) -> list:
    (height, width), (down, right) = node.window, node.stride
    (top, _), (left, _) = node.pads
    rows, columns, channels = node.shape

    def value(p: int, q: int, c: int) -> int:
        ys = range(p * down - top, p * down - top + height)
        xs = range(q * right - left, q * right - left + width)
        inside = [
            image[y][x][c]
            for y, x in product(ys, xs)
            if 0 <= y < len(image) and 0 <= x < len(image[0])
        ]
        if node.kind == "max":
            return max(inside)
        return round(Fraction(sum(inside), height * width))

    return [
        [[value(p, q, c) for c in range(channels)] for q in range(columns)]
        for p in range(rows)
    ]


def brought_back(total: Fraction, numbers: Activated) -> int:
    """A real number on the grid of what follows, through the table if there is one."""
    kind = numbers.sum
    y = min(max(round(total / Fraction(2) ** kind.exponent), kind.low), kind.high)
    return y if numbers.table is None else int(numbers.table[y + 128])


def sliced(node: Slice, x: list) -> list:
    if node.axis == 0:
        return x[node.start : node.stop]
    inner = dataclasses.replace(node, axis=node.axis - 1)
    return [sliced(inner, item) for item in x]


def joined(axis: int, xs: list) -> list:
    if axis == 0:
        return [item for x in xs for item in x]
    return [joined(axis - 1, list(items)) for items in zip(*xs, strict=True)]


def multiplied(a, b):
    """Element by element; a vector meets every position of a map."""
    if isinstance(a[0], list) and not isinstance(b[0], list):
        return [multiplied(item, b) for item in a]
    return each(lambda x, y: x * y, a, b)


def step_by_loops(layer: IntStep, xs: list) -> list:
    """One step on the values of one image, nested lists; joins in fractions."""
    values = dict(zip(layer.step.inputs, xs, strict=True))
    kinds = dict(zip(layer.step.inputs, layer.inputs, strict=True))
    for node in layer.step.nodes:
        mine = [values[name] for name in node.inputs]
        reals = lambda node=node, mine=mine: [
            real(x, kinds[name]) if name in kinds else x
            for name, x in zip(node.inputs, mine, strict=True)
        ]
        match node:
            case Pad():
                y = padded(node, *mine)
            case Product():
                y = products(node, *mine, layer.weighted)
            case Activate() if layer.weighted:
                place = [f % node.shape[-1] for f in range(node.size)]
                totals = [
                    output(t, f, layer.weighted)
                    for t, f in zip(flat(*mine), place, strict=True)
                ]
                y = formed(totals, node.shape)
            case Activate():
                y = each(lambda t: brought_back(t, layer.activated), *reals())
            case Pool():
                y = pooled(node, *mine)
            case Reshape():
                y = formed(flat(*mine), node.shape)
            case Slice():
                y = sliced(node, *mine)
            case Concat():
                y = joined(node.axis, mine)
            case Add():
                y = each(lambda a, b: a + b, *reals())
            case Mul():
                y = multiplied(*reals())
        values[node.name] = y
    return values[layer.name]


def check(network: IntNetwork, pixels: np.ndarray) -> None:
    """Every step of every image by loops."""
    made = list(steps(network, pixels))
    for n in range(len(pixels)):
        values = {k: v[n].tolist() for k, v in normative.starts(network, pixels).items()}
        for step in made:
            xs = [values[name] for name in step.layer.step.inputs]
            x = values[step.layer.name] = step_by_loops(step.layer, xs)
            assert step.output[n].tolist() == x, step.layer.name


def one(spec: Conv, shape=(5, 6, 2), seed: int = 0) -> IntNetwork:
    return filled(Network(input_shape=shape, layers=(spec,)), seed=seed)


@pytest.mark.parametrize("padding", ["valid", "zero", "mean", "edge"])
def test_convolutions_of_every_padding_stride_and_kernel(padding: str) -> None:
    """All pairs of kernels and strides, on a size that most do not divide."""
    kernels, strides = PAIRS, [(1, 1), (2, 1), (1, 3), (3, 2)]
    for kernel, stride in product(kernels, strides):
        layer = Conv(features=2, kernel=kernel, stride=stride, padding=padding)
        network = one(layer, seed=sum(kernel))
        check(network, images(network.network, 2))


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 7, 1), (7, 2, 1)])
def test_convolutions_on_images_smaller_than_the_kernel(shape) -> None:
    for padding, kernel in product(("zero", "mean", "edge"), [(3, 3), (4, 5)]):
        network = one(Conv(features=2, kernel=kernel, padding=padding), shape)
        check(network, images(network.network, 2))


@pytest.mark.parametrize("kind", ["max", "mean"])
def test_poolings_of_every_window_and_stride(kind: str) -> None:
    """On pixels, and on signed values, whose halves lie below 0 as well."""
    for size, stride in product(PAIRS, PAIRS):
        layer = PoolLayer(kind=kind, window=size, stride=stride)
        node = layer.program((5, 6, 2)).output
        x = np.random.default_rng(0).integers(-128, 128, (2, 5, 6, 2))
        wanted = [pooled(node, image) for image in x.tolist()]
        assert pool(x, node).tolist() == wanted


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("shift", [9, 16, 20])
def test_whole_networks(name: str, shift: int) -> None:
    """Every layer kind and activation, tables and signed inputs included."""
    network = filled(spec(name), seed=shift, shifts=(shift,), activation_bits=5)
    check(network, images(network.network, 2))


@settings(max_examples=80, derandomize=True, deadline=None)
@given(networks())
def test_any_network(network: IntNetwork) -> None:
    check(network, images(network.network, 1))


@given(
    hnp.arrays(np.int64, 20, elements=st.integers(-(2**47), 2**47)),
    st.one_of(st.integers(1, 400), st.sampled_from([2**s for s in range(8, 22)])),
)
@settings(max_examples=200, derandomize=True, deadline=None)
def test_divide_rne_is_the_rounding_of_fractions(numerator, denominator: int) -> None:
    wanted = [round(Fraction(n, denominator)) for n in numerator.tolist()]
    assert divide_rne(numerator, denominator).tolist() == wanted


def test_halves_go_to_the_even_neighbour() -> None:
    """By hand: quarters from -2 to 2, and thirds, which have no halves."""
    assert divide_rne(np.arange(-8, 9), 4).tolist() == [
        -2, -2, -2, -1, -1, -1, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2,
    ]  # fmt: skip
    assert divide_rne(np.arange(-4, 5), 3).tolist() == [-1, -1, -1, 0, 0, 0, 1, 1, 1]
    halves = np.array([-5, -3, -1, 1, 3, 5])
    assert divide_rne(halves, 2).tolist() == [-2, -2, 0, 0, 2, 2]
    assert requantise(halves, np.array([1 << 15]), 16, -1, 1).tolist() == [
        -1, -1, 0, 0, 1, 1,
    ]  # fmt: skip


def test_a_network_worked_out_by_hand() -> None:
    """2 x 2 convolution, mean pooling of its two outputs, table, dense."""
    grid = Format(signed=True, exponent=-3)
    table = np.arange(-128, 128).astype(np.int8)[::-1].copy()  # s -> -1 - s
    conv = Weighted(
        weights=np.array([1, -2, 3, 4], np.int8).reshape(2, 2, 1, 1),
        bias=np.array([5], np.int32),
        multiplier=np.array([1 << 14], np.int32),
        sum=grid,
        table=table,
        output=grid,
    )
    dense = Weighted(
        weights=np.array([[7, -7]], np.int8),
        bias=np.array([0, 1], np.int32),
        multiplier=np.array([1 << 15, 1 << 15], np.int32),
        sum=grid,
        output=grid,
    )
    network = IntNetwork(
        network=Network(
            input_shape=(2, 3, 1),
            layers=(
                Conv(features=1, kernel=(2, 2), activation="tanh"),
                PoolLayer(kind="mean", window=(1, 2)),
                Flatten(),
                Dense(features=2, activation="identity"),
            ),
        ),
        weighted={"conv1": conv, "dense1": dense},
    )
    pixels = np.array([[10, 20, 3], [4, 5, 6]], np.uint8).reshape(1, 2, 3, 1)
    made = {step.layer.name: step for step in steps(network, pixels)}
    # 10 - 40 + 12 + 20 = 2 and 20 - 6 + 15 + 24 = 53; with the bias 7 and 58.
    assert made["conv1"].products.ravel().tolist() == [2, 53]
    assert made["conv1"].sums.ravel().tolist() == [7, 58]
    # 7/4 = 1.75 and 58/4 = 14.5, a half between 14 and 15.
    assert made["conv1"].requantised.ravel().tolist() == [2, 14]
    assert made["conv1"].output.ravel().tolist() == [-3, -15]
    assert made["pool1"].output.ravel().tolist() == [-9]
    # -63/2 = -31.5 and 64/2 = 32.
    assert made["dense1"].output.tolist() == [[-32, 32]]
    assert run(network, pixels).tolist() == [[-32, 32]]


def test_a_step_holds_what_the_layer_saw_and_made() -> None:
    """Each takes the last one's output; a weighted layer's parts make its output."""
    network = filled(spec("edge"))
    x = images(network.network, 3)
    made = list(steps(network, x))
    assert [step.layer.name for step in made] == [i.name for i in network.network.walk()]
    for step in made:
        assert step.input is x
        assert step.output.dtype == step.layer.output.dtype
        assert step.output.shape == (3, *step.layer.shape)
        w = step.layer.weighted
        if w is None:
            assert step.products is step.sums is step.requantised is None
        else:
            np.testing.assert_array_equal(step.sums, step.products + w.bias)
            y = w.table[step.requantised + 128]
            np.testing.assert_array_equal(y, step.output)
        x = step.output


def test_the_matrix_product_is_the_callers() -> None:
    """BLAS gives the same; one that is off by one is seen in the output."""
    network = filled(spec("cnn"))
    x = images(network.network, 5)
    plain = run(network, x, matmul=normative.matmul)
    np.testing.assert_array_equal(run(network, x), plain)
    shapes = []

    def counting(x_MK, w_KN):
        shapes.append((*x_MK.shape, w_KN.shape[1]))
        return normative.matmul(x_MK, w_KN) + (1 << 12)

    assert not np.array_equal(run(network, x, matmul=counting), plain)
    assert shapes == [(5 * 42, 18, 4), (5 * 9, 36, 5), (5, 45, 8), (5, 8, 3)]


def test_chunks_make_no_difference() -> None:
    network = filled(spec("mean"))
    x = images(network.network, 7)
    whole = run(network, x)
    assert whole.shape == (7, 3)
    assert len(np.unique(whole, axis=0)) > 4
    for chunk in (1, 3, 6, 7, 8):
        np.testing.assert_array_equal(run(network, x, chunk=chunk), whole)
    none = run(network, x[:0])
    assert none.shape == (0, 3)
    assert none.dtype == network.output.dtype


def test_im2col_orders_rows_columns_channels() -> None:
    """The value of each pixel tells where it stands."""
    x = np.arange(2 * 3 * 4 * 2).reshape(2, 3, 4, 2)
    rows = im2col(x, (2, 3), (1, 1))
    assert rows.shape == (2 * 2 * 2, 12)
    assert rows[0].tolist() == [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]
    assert rows[1].tolist() == [2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15]
    assert rows[2][0] == x[0, 1, 0, 0]
    assert rows[4][0] == x[1, 0, 0, 0]


def test_pad_by_hand() -> None:
    """The mean of 1 and 4 is 2.5 and goes to 2; an odd row goes below."""
    x = np.array([1, 4]).reshape(1, 1, 2, 1)
    pads = Conv(features=1, kernel=(2, 3), padding="zero").pads((1, 2, 1))
    shown = lambda padding: pad(x, padding, pads)
    assert shown("zero")[0, :, :, 0].tolist() == [[0, 1, 4, 0], [0, 0, 0, 0]]
    assert shown("mean")[0, :, :, 0].tolist() == [[2, 1, 4, 2], [2, 2, 2, 2]]
    assert shown("edge")[0, :, :, 0].tolist() == [[1, 1, 4, 4], [1, 1, 4, 4]]


def test_a_value_that_does_not_fit_its_container_is_a_fault(monkeypatch) -> None:
    network = filled(spec("cnn"))
    monkeypatch.setattr(normative, "requantise", lambda acc, *_: acc)
    with pytest.raises(AssertionError, match="a value left Format"):
        run(network, images(network.network, 1))


FAULTS = {
    "half up": ("divide_rne", lambda n, d: (2 * n + d) // (2 * d)),
    "pool one row late": (
        "pool",
        lambda x, node: pool(np.roll(x, -1, 1), node),
    ),
    "transposed kernel": (
        "im2col",
        lambda x, *window: im2col(x.transpose(0, 2, 1, 3), *window),
    ),
    "padding one column early": ("pad", lambda x, *how: np.roll(pad(x, *how), 1, 2)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_loops_see_a_fault(fault: str, monkeypatch) -> None:
    """The comparison of this file fails if the arithmetic is wrong."""
    name, wrong = FAULTS[fault]
    network = filled(
        Network(
            input_shape=(6, 6, 1),
            layers=(
                PoolLayer(kind="mean", window=(2, 2), stride=(1, 1)),
                Conv(features=2, padding="zero"),
            ),
        )
    )
    x = images(network.network, 4)
    check(network, x)
    monkeypatch.setattr(normative, name, wrong)
    with pytest.raises(AssertionError, match=r"pool1|conv1"):
        check(network, x)


def test_step_is_frozen() -> None:
    network = filled(spec("cnn"))
    step = next(steps(network, images(network.network, 1)))
    assert isinstance(step, Step)
    with pytest.raises(dataclasses.FrozenInstanceError):
        step.output = None
