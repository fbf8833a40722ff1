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

from configs.network import Conv, Dense, Flatten, GlobalPool, Layer, Network, Pool
from quant import normative
from quant.network import Format, IntNetwork, IntStep, Weighted
from quant.normative import Step, divide_rne, im2col, pad, pool, requantise, run, steps

# Python's own round() of a fraction takes halves to the even integer.
SIZES = [(1, 1), (2, 1), (3, 4), (5, 5)]
PAIRS = [(1, 1), (1, 2), (2, 3), (3, 3), (4, 2)]


def at(image: list, row: int, column: int, channel: int, spec: Conv) -> int:
    """One value of one image, or what stands outside it."""
    height, width = len(image), len(image[0])
    if 0 <= row < height and 0 <= column < width:
        return image[row][column][channel]
    if spec.padding == "edge":
        row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
        return image[row][column][channel]
    if spec.padding == "mean":
        values = [pixel[channel] for line in image for pixel in line]
        return round(Fraction(sum(values), len(values)))
    return 0


def outside(size: int, kernel: int, stride: int, padding: str) -> tuple[int, int]:
    """Number of outputs along an axis and of rows before the first."""
    if padding == "valid":
        return (size - kernel) // stride + 1, 0
    count = -(-size // stride)
    return count, max((count - 1) * stride + kernel - size, 0) // 2


def output(total: int, feature: int, w: Weighted) -> int:
    """A sum with its bias, brought back to 8 bits."""
    real = Fraction((total + int(w.bias[feature])) * int(w.multiplier[feature]), 2**w.shift)
    y = min(max(round(real), w.sum.low), w.sum.high)
    return y if w.table is None else int(w.table[y + 128])


def conv_by_loops(image: list, spec: Conv, w: Weighted) -> list:
    (rows, top), (columns, left) = (
        outside(*axis, spec.padding)
        for axis in zip((len(image), len(image[0])), spec.kernel, spec.stride, strict=True)
    )
    taps = list(
        product(range(spec.kernel[0]), range(spec.kernel[1]), range(len(image[0][0])))
    )
    weights = w.weights.tolist()
    down, right = spec.stride
    value = lambda p, q, f: sum(
        at(image, p * down + r - top, q * right + s - left, c, spec) * weights[r][s][c][f]
        for r, s, c in taps
    )
    return [
        [
            [output(value(p, q, f), f, w) for f in range(spec.features)]
            for q in range(columns)
        ]
        for p in range(rows)
    ]


def window(values: list[int], kind: str) -> int:
    return max(values) if kind == "max" else round(Fraction(sum(values), len(values)))


def pool_by_loops(image: list, spec: Pool) -> list:
    (height, width), (down, right) = spec.window, spec.stride
    rows = range(0, len(image) - height + 1, down)
    columns = range(0, len(image[0]) - width + 1, right)
    inside = lambda i, j, c: [
        image[i + r][j + s][c] for r in range(height) for s in range(width)
    ]
    channels = range(len(image[0][0]))
    return [
        [[window(inside(i, j, c), spec.kind) for c in channels] for j in columns]
        for i in rows
    ]


def layer_by_loops(layer: IntStep, spec: Layer, x: list) -> list:
    """One layer on one image, a list of lists."""
    match spec:
        case Conv() as spec:
            return conv_by_loops(x, spec, layer.weighted)
        case Dense() as spec:
            columns = layer.weighted.weights.T.tolist()
            totals = [sum(a * b for a, b in zip(x, w, strict=True)) for w in columns]
            return [output(total, f, layer.weighted) for f, total in enumerate(totals)]
        case Pool() as spec:
            return pool_by_loops(x, spec)
        case GlobalPool() as spec:
            pixels = [pixel for line in x for pixel in line]
            return [
                window(list(channel), spec.kind) for channel in zip(*pixels, strict=True)
            ]
        case Flatten():
            return x if isinstance(x[0], int) else [v for row in x for p in row for v in p]


def check(network: IntNetwork, pixels: np.ndarray) -> None:
    """Every layer of every image by loops."""
    made = list(steps(network, pixels))
    specs = {info.name: info.spec for info in network.network.walk()}
    for n, image in enumerate(pixels.tolist()):
        x = image
        for step in made:
            x = layer_by_loops(step.layer, specs[step.layer.name], x)
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
        layer = Pool(kind=kind, window=size, stride=stride)
        x = np.random.default_rng(0).integers(-128, 128, (2, 5, 6, 2))
        wanted = [pool_by_loops(image, layer) for image in x.tolist()]
        assert pool(x, layer).tolist() == wanted


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
                Pool(kind="mean", window=(1, 2)),
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
                Pool(kind="mean", window=(2, 2), stride=(1, 1)),
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
