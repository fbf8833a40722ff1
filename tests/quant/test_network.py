"""Formats and the integer network: what they hold, and everything they refuse."""

import dataclasses
import itertools

import numpy as np
import pytest
from integers import filled, images, spec

from configs.errors import InputError
from configs.network import Dense, Flatten, Network
from configs.program import Pad
from quant import normative
from quant.float32_rounding import nearest_agreeing
from quant.network import PIXELS, Format, IntNetwork, Weighted

# conv1 relu (3, 3, 2, 4), conv2 relu, dense1 relu, dense2 identity (8, 3).
CNN = filled(spec("cnn"))
# conv1 tanh and conv2 sigmoid, with tables.
EDGE = filled(spec("edge"))


def changed(network: IntNetwork, layer: str, **fields) -> IntNetwork:
    """The network with other fields in one of its layers."""
    w = dataclasses.replace(network.weighted[layer], **fields)
    return IntNetwork(network=network.network, weighted={**network.weighted, layer: w})


def poked(array: np.ndarray, value: int) -> np.ndarray:
    """One entry set to a value, the last one."""
    array = array.copy()
    array.flat[-1] = value
    return array


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("signed", [False, True])
def test_formats_hold_2_to_the_bits_values(bits: int, signed: bool) -> None:
    kind = Format(signed=signed, exponent=-3, bits=bits)
    assert kind.high - kind.low + 1 == 2**bits
    assert kind.low == (-(2 ** (bits - 1)) if signed else 0)
    assert kind.largest == max(abs(kind.low), kind.high)
    assert kind.scale == 0.125
    info = np.iinfo(kind.dtype)
    assert info.bits == 8
    assert info.min <= kind.low < kind.high <= info.max


def test_pixels_are_parts_of_256() -> None:
    assert (PIXELS.low, PIXELS.high, PIXELS.scale) == (0, 255, 1 / 256)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bits": 1}, r"`bits` \(=1\) of Format must be in 2..8"),
        ({"bits": 9}, r"`bits` \(=9\) of Format must be in 2..8, or 16"),
        ({"exponent": -33}, r"`exponent` \(=-33\) of Format must be in -32..32"),
        ({"exponent": 33}, r"`exponent` \(=33\) of Format must be in -32..32"),
        ({"exponent": 0.5}, r"`exponent` \(=0.5\) of Format must be a whole number"),
        ({"signed": 1}, r"`signed` \(=1\) of Format must be True or False"),
    ],
)
def test_formats_refuse(fields: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Format(**{"signed": True, "exponent": 0, **fields})


def test_every_exponent_that_is_allowed_is_a_normal_float32() -> None:
    for exponent in (-32, 32):
        scale = np.float32(Format(signed=True, exponent=exponent).scale)
        assert np.isfinite(scale)
        assert float(scale) == 2.0**exponent


def test_widest_integers_are_accepted() -> None:
    """The ends of every range, one by one: nothing is refused too early."""
    w = CNN.weighted["dense2"]
    for fields in (
        {"weights": poked(w.weights, 127)},
        {"weights": poked(w.weights, -127)},
        {"bias": poked(w.bias, 2**31 - 1), "weights": np.zeros_like(w.weights)},
        {"bias": poked(w.bias, -(2**31) + 1), "weights": np.zeros_like(w.weights)},
        {"multiplier": poked(w.multiplier, 1)},
        {"multiplier": poked(w.multiplier, 65535)},
        {"shift": 8},
        {"shift": 21, "multiplier": nearest_agreeing(21, -128, 127)[w.multiplier]},
    ):
        changed(CNN, "dense2", **fields)
    table = EDGE.weighted["conv1"].table
    changed(EDGE, "conv1", table=poked(poked(table, -128)[::-1], 127))


REFUSALS = [
    (
        "weights",
        {"weights": poked(CNN.weighted["dense2"].weights, -128)},
        "=-128",
        "in -127..127",
    ),
    (
        "bias",
        {"bias": poked(CNN.weighted["dense2"].bias, -(2**31))},
        "=-2147483648",
        "in -",
    ),
    ("multiplier", {"multiplier": np.array([1, 0, 5], np.int32)}, "=0", "in 1..65535"),
    ("multiplier", {"multiplier": np.array([1, 7, 65536], np.int32)}, "=65536", "in 1.."),
    ("multiplier", {"multiplier": np.array([1, 7, -3], np.int32)}, "=-3", "in 1..65535"),
    ("shift", {"shift": 7}, "=7", "in 8..21"),
    ("shift", {"shift": 22}, "=22", "in 8..21"),
    ("shift", {"shift": 16.0}, "=16.0", "in 8..21"),
    ("weight_bits", {"weight_bits": "8"}, "='8'", "in 2..8"),
    ("weight_bits", {"weight_bits": 1}, "=1", "in 2..8"),
    ("weight_bits", {"weight_bits": 9}, "=9", "in 2..8"),
    ("weights", {"weight_bits": 4}, "=", "in -7..7"),
    ("table", {"table": np.zeros(256, np.int8)}, "an array", "None for identity"),
    ("sum", {"sum": Format(signed=True, exponent=5)}, "Format", "the output's"),
    (
        "output",
        {
            "output": Format(signed=False, exponent=0),
            "sum": Format(signed=False, exponent=0),
        },
        "Format(signed=False",
        "signed after identity",
    ),
]


@pytest.mark.parametrize(("tensor", "fields", "value", "rule"), REFUSALS)
def test_a_layer_refuses(tensor: str, fields: dict, value: str, rule: str) -> None:
    """The name, its value and the rule, in the one form of a refusal."""
    with pytest.raises(InputError) as refusal:
        changed(CNN, "dense2", **fields)
    text = str(refusal.value)
    assert text.startswith(f"`dense2.{tensor}` (=")
    assert value in text
    assert f"must be {rule}" in text
    assert text.endswith("; quantise the run again.")


TABLES = [
    ("table", {"table": None}, "given for sigmoid"),
    ("table", {"table": np.zeros(256, np.int8)}, "uint8[256]"),
    ("table", {"table": np.zeros(255, np.uint8)}, "uint8[256]"),
    ("sum", {"sum": Format(signed=False, exponent=-4)}, "int8 of 8 bits"),
    ("sum", {"sum": Format(signed=True, exponent=-4, bits=7)}, "int8 of 8 bits"),
    ("output", {"output": Format(signed=True, exponent=0)}, "unsigned after sigmoid"),
    ("table", {"output": Format(signed=False, exponent=0, bits=3)}, "in 0..7"),
]


@pytest.mark.parametrize(("tensor", "fields", "rule"), TABLES)
def test_a_layer_with_a_table_refuses(tensor: str, fields: dict, rule: str) -> None:
    with pytest.raises(InputError, match=r"quantise the run again\.$") as refusal:
        changed(EDGE, "conv2", **fields)
    assert str(refusal.value).startswith(f"`conv2.{tensor}` (=")
    assert f"must be {rule}" in str(refusal.value)


ARRAYS = [
    (layer, tensor)
    for layer in ("conv1", "conv2")
    for tensor in EDGE.weighted[layer].tensors()
]


@pytest.mark.parametrize(("layer", "tensor"), ARRAYS)
def test_every_array_is_refused_in_another_type_or_shape(layer: str, tensor: str) -> None:
    """int64 for int32, float, the other sign, a list; longer, shorter, turned."""
    array = getattr(EDGE.weighted[layer], tensor)
    others = [np.int64, np.float32, np.uint32, np.int16]
    others += [np.uint8 if array.dtype == np.int8 else np.int8]
    wrong = [array.astype(dtype) for dtype in others]
    wrong += [array[None], array[..., :-1], np.concatenate([array, array], -1)]
    wrong += [array.tolist()]
    if array.ndim == 4:
        wrong += [array.reshape(-1, array.shape[-1])]
    for one in wrong:
        with pytest.raises(InputError) as refusal:
            changed(EDGE, layer, **{tensor: one})
        assert str(refusal.value).startswith(f"`{layer}.{tensor}` (=")
        assert f"must be {array.dtype}{list(array.shape)}" in str(refusal.value)


def wide(inputs: int, bias: int) -> IntNetwork:
    """One neuron with the largest weights of both signs."""
    grid = Format(signed=True, exponent=0)
    w = Weighted(
        weights=np.resize(np.array([127, -127], np.int8), (inputs, 1)),
        bias=np.array([bias], np.int32),
        multiplier=np.array([1], np.int32),
        sum=grid,
        output=grid,
    )
    layers = (Dense(features=1, activation="identity"),)
    network = Network(input_shape=(inputs,), layers=layers)
    return IntNetwork(network=network, weighted={"dense1": w})


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_that_could_leave_32_bits_are_refused(sign: int) -> None:
    """Exactly at 2^31, though no input reaches it: partial sums count as well."""
    inputs = 1000
    most = 2**31 - 1 - inputs * 127 * 255
    network = wide(inputs, sign * most)
    assert next(network.walk()).accumulator_bound() == 2**31 - 1
    with pytest.raises(InputError, match=r"`dense1.accumulator` \(=2147483648\) must be"):
        wide(inputs, sign * (most + 1))


def test_the_bound_holds_for_partial_sums_and_signed_inputs() -> None:
    """No order of additions exceeds it; with inputs of -128 it is reached."""
    network = filled(spec("signed"))
    layers = {layer.name: layer for layer in network.walk()}
    draw = np.random.default_rng(0)
    for step in normative.steps(network, images(network.network, 4)):
        w = step.layer.weighted
        if w is None:
            continue
        rows = step.input.astype(np.int64)
        node, around = step.layer.product, step.layer.step.find(Pad)
        if around:
            rows = normative.pad(rows, around.kind, around.pads)
        if node.kernel:
            rows = normative.im2col(rows, node.kernel, node.stride)
        terms = rows[:, :, None] * w.matrix.astype(np.int64)
        order = draw.permutation(terms.shape[1])
        partial = np.cumsum(terms[:, order], axis=1) + w.bias
        assert np.abs(partial).max() <= step.layer.accumulator_bound()
    last = layers["dense1"]
    assert last.input.signed
    column = last.weighted.matrix.astype(np.int64)
    worst = -128 * np.abs(column).sum(0) - np.abs(last.weighted.bias.astype(np.int64))
    assert last.accumulator_bound() == -worst.min()


def test_multipliers_beyond_shift_16_must_round_as_float32_does() -> None:
    """The neighbour that agrees is taken, the one that does not is refused by value."""
    grid = {
        "sum": Format(signed=False, exponent=0),
        "output": Format(signed=False, exponent=0),
    }
    nearest = nearest_agreeing(17, 0, 255)
    bad = int(np.flatnonzero(nearest != np.arange(65536))[1])
    fine = np.full(8, nearest[bad], np.int32)
    changed(CNN, "dense1", shift=17, multiplier=fine, **grid)
    with pytest.raises(
        InputError, match=rf"`dense1.multiplier` \(={bad}\) must be one that"
    ):
        changed(CNN, "dense1", shift=17, multiplier=poked(fine, bad), **grid)
    changed(CNN, "dense1", shift=16, multiplier=poked(fine, bad), **grid)


def test_weights_belong_to_the_layers_that_have_them() -> None:
    for gone in CNN.weighted:
        rest = {name: w for name, w in CNN.weighted.items() if name != gone}
        with pytest.raises(InputError, match=f"{gone} is missing"):
            IntNetwork(network=CNN.network, weighted=rest)
    odd = {**CNN.weighted, "pool1": CNN.weighted["conv1"]}
    with pytest.raises(InputError, match="pool1 is not one of them"):
        IntNetwork(network=CNN.network, weighted=odd)


def test_classes_are_as_many_as_outputs() -> None:
    named = lambda *classes: IntNetwork(
        network=CNN.network, weighted=CNN.weighted, classes=classes
    )
    assert named("a", "b", "c").classes == ("a", "b", "c")
    assert named().classes == ()
    with pytest.raises(InputError, match=r"`classes` \(=2 names\) must name each of the 3"):
        named("a", "b")


def test_formats_are_handed_from_layer_to_layer() -> None:
    """Pooling and flattening keep the format of what they read."""
    walk = list(EDGE.walk())
    assert walk[0].input is PIXELS
    for before, after in itertools.pairwise(walk):
        assert after.input is before.output
    by_name = {layer.name: layer for layer in walk}
    assert by_name["pool1"].output == by_name["conv1"].output
    assert EDGE.output == by_name["conv2"].output


def test_weight_scales_are_exact() -> None:
    """Real weight = integer * multiplier * 2^(sum - input - shift)."""
    layer = next(CNN.walk())
    exponent = layer.weighted.sum.exponent - PIXELS.exponent - 16
    wanted = [int(m) * 2.0**exponent for m in layer.weighted.multiplier]
    assert layer.weight_scale().tolist() == wanted


def test_matrix_rows_are_row_column_channel() -> None:
    w = CNN.weighted["conv1"]
    assert w.matrix.shape == (18, 4)
    assert w.matrix[3 * 2 * 1 + 2 * 2 + 1, 3] == w.weights[1, 2, 1, 3]


def test_size_is_that_of_all_integers() -> None:
    """int8 weights and tables, int32 biases and multipliers."""
    weights = 3 * 3 * 2 * 4 + 3 * 3 * 4 * 5 + 45 * 8 + 8 * 3
    features = 4 + 5 + 8 + 3
    assert CNN.size_bytes() == weights + (4 + 4) * features
    weights = 4 * 3 * 2 * 3 + 3 * 3 * 3 * 3
    assert EDGE.size_bytes() == weights + (4 + 4) * 6 + 2 * 256


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CNN.classes = ("a",)
    with pytest.raises(dataclasses.FrozenInstanceError):
        CNN.weighted["conv1"].shift = 17


def test_a_network_without_weights_is_one_of_integers() -> None:
    layers = (Flatten(),)
    network = IntNetwork(network=Network(input_shape=(2, 2, 1), layers=layers), weighted={})
    assert network.output == PIXELS
    pixels = images(network.network, 2)
    np.testing.assert_array_equal(normative.run(network, pixels), pixels.reshape(2, 4))
