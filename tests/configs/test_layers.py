"""Groups, padded pooling, LSTM cells and residual blocks, counted one by one."""

import dataclasses
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import registry
from configs.errors import InputError
from configs.network import (
    Conv,
    Dense,
    Flatten,
    GlobalPool,
    LstmCell,
    Network,
    Pool,
    Residual,
)

SMALL = st.integers(1, 4)


def connections(spec: Conv, channels: int) -> int:
    """Pairs of a channel and a feature that stand in the same group, for each tap."""
    taps = range(math.prod(spec.kernel))
    count = 0
    for _, c, f in itertools.product(taps, range(channels), range(spec.features)):
        group = c * spec.groups // channels
        count += group == f * spec.groups // spec.features
    return count


@given(
    groups=SMALL,
    deep=SMALL,
    wide=SMALL,
    kernel=st.tuples(SMALL, SMALL),
    size=st.integers(4, 7),
)
def test_a_group_meets_its_own_channels_alone(groups, deep, wide, kernel, size):
    spec = Conv(features=groups * wide, kernel=kernel, groups=groups)
    shape = (size, size, groups * deep)
    assert spec.weights(shape) == connections(spec, shape[2])
    p, q, features = spec.output_shape(shape)
    assert spec.macs(shape) == p * q * connections(spec, shape[2])
    assert spec.biases(shape) == features == groups * wide
    whole = Conv(features=groups * wide, kernel=kernel)
    assert spec.output_shape(shape) == whole.output_shape(shape)
    assert groups * spec.weights(shape) == whole.weights(shape)


def test_groups_that_do_not_divide_are_refused():
    rule = r"`groups` \(=3\) of Conv must divide `features` \(=8\)"
    with pytest.raises(InputError, match=rule):
        Conv(features=8, groups=3)
    rule = (
        r"`groups` \(=4\) of Conv must divide the channels .*; use 1, or 6 for a depthwise"
    )
    with pytest.raises(InputError, match=rule):
        Conv(features=8, groups=4).output_shape((5, 5, 6))
    for groups in (0, -1):
        with pytest.raises(InputError, match=r"`groups` .* must be positive whole"):
            Conv(features=8, groups=groups)


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    window=st.tuples(SMALL, SMALL),
    stride=st.tuples(SMALL, SMALL),
)
def test_padded_pooling_drops_nothing(size, window, stride):
    """As many windows as a padded convolution has, and no value is left out."""
    spec = Pool(window=window, stride=stride, padding="zero")
    shape = (*size, 3)
    like = Conv(features=3, kernel=window, stride=stride, padding="zero")
    assert spec.pads(shape) == like.pads(shape)
    assert spec.output_shape(shape) == like.output_shape(shape)
    for axis, n, w, s in zip((0, 1), size, window, stride, strict=True):
        starts = [i * s - spec.pads(shape)[axis][0] for i in range(math.ceil(n / s))]
        seen = {at for start in starts for at in range(start, start + w)}
        if w >= s:
            assert set(range(n)) <= seen
        # Each window holds at least one value, or a maximum would be that of nothing.
        assert all(set(range(a, a + w)) & set(range(n)) for a in starts)


@given(inputs=st.integers(1, 6), features=st.integers(1, 6))
def test_an_lstm_cell_weighs_input_and_state_for_each_gate(inputs, features):
    gates = ("input", "forget", "cell", "output")
    sources = [("x", i) for i in range(inputs)] + [("h", i) for i in range(features)]
    weights = len(list(itertools.product(gates, range(features), sources)))
    for kind in ("joined", "separate"):
        spec = LstmCell(features=features, gates=kind)
        assert spec.output_shape((inputs,)) == (features,)
        assert spec.weights((inputs,)) == spec.macs((inputs,)) == weights
        assert spec.biases((inputs,)) == len(gates) * features


def test_an_lstm_cell_takes_a_vector():
    with pytest.raises(
        InputError, match=r"`layers\[0\]` \(lstmcell1\): LstmCell takes a v"
    ):
        Network(input_shape=(4, 4, 1), layers=(LstmCell(features=3),))
    with pytest.raises(InputError, match=r"`features` .* of LstmCell must be positive"):
        LstmCell(features=0)


# --- Residual blocks. ---

BLOCK = Residual(
    body=(
        Conv(features=4, stride=(2, 2), padding="zero"),
        Residual(
            body=(Conv(features=4, padding="zero"), Pool(stride=(1, 1), padding="zero"))
        ),
        Conv(features=4, padding="zero", activation="identity"),
    ),
    shortcut=(Conv(features=4, kernel=(1, 1), stride=(2, 2), activation="identity"),),
)
NETWORK = Network(
    input_shape=(6, 6, 2),
    layers=(Conv(features=2, padding="zero"), BLOCK, Residual(body=(Pool(
        window=(3, 3), stride=(1, 1), padding="zero"),)), GlobalPool(), Dense(features=3)),
)  # fmt: skip


def test_leaves_are_the_innermost_layers_in_the_order_done():
    assert [
        (leaf.name, leaf.input_shape, leaf.output_shape) for leaf in NETWORK.leaves()
    ] == [
        ("conv1", (6, 6, 2), (6, 6, 2)),
        ("residual1.conv1", (6, 6, 2), (3, 3, 4)),
        ("residual1.residual1.conv1", (3, 3, 4), (3, 3, 4)),
        ("residual1.residual1.pool1", (3, 3, 4), (3, 3, 4)),
        ("residual1.conv2", (3, 3, 4), (3, 3, 4)),
        ("residual1.shortcut.conv1", (6, 6, 2), (3, 3, 4)),
        ("residual2.pool1", (3, 3, 4), (3, 3, 4)),
        ("globalpool1", (3, 3, 4), (4,)),
        ("dense1", (4,), (3,)),
    ]


def test_a_block_is_one_layer_with_the_sums_of_its_parts():
    rows = {info.name: info for info in NETWORK.walk()}
    assert list(rows) == ["conv1", "residual1", "residual2", "globalpool1", "dense1"]
    block = rows["residual1"]
    assert (block.kind, block.input_shape, block.output_shape) == (
        "Residual",
        (6, 6, 2),
        (3, 3, 4),
    )
    # 3x3x2x4, twice 3x3x4x4, 1x1x2x4, each at 9 positions.
    assert block.weights == 72 + 144 + 144 + 8
    assert block.parameters == block.weights + 4 * 4
    assert block.macs == 9 * block.weights
    assert block.activations == 5 * 36
    assert block.reuse == 9
    assert (rows["residual2"].weights, rows["residual2"].macs) == (0, 0)


@pytest.mark.parametrize("name", registry.known_names())
def test_leaves_add_up_to_the_network(name):
    network = registry.load_network(name)
    leaves = list(network.leaves())
    assert sum(leaf.weights for leaf in leaves) == network.weights
    assert sum(leaf.parameters for leaf in leaves) == network.parameters
    assert sum(leaf.macs for leaf in leaves) == network.macs
    outputs = sum(math.prod(leaf.output_shape) for leaf in leaves)
    assert math.prod(network.input_shape) + outputs == network.activations
    assert len({leaf.name for leaf in leaves}) == len(leaves)
    if not any(list(spec.parts()) for spec in network.layers):
        assert leaves == list(network.walk())


def test_paths_of_unequal_shape_are_refused():
    for path, end in (
        ((Conv(features=3, padding="zero"),), r"\(6, 6, 3\)"),
        ((Conv(features=2),), r"\(4, 4, 2\)"),
    ):
        rule = (
            rf"`layers\[0\]` \(residual1\): Residual adds its `body`, which gives {end}, "
            rf"to its `shortcut`, which gives \(6, 6, 2\): the shapes must be equal"
        )
        with pytest.raises(InputError, match=rule):
            Network(input_shape=(6, 6, 2), layers=(Residual(body=path),))


def test_a_misfit_in_a_block_is_named_by_its_path():
    block = Residual(
        body=(Residual(body=(Flatten(),), shortcut=(Pool(), Dense(features=2))),)
    )
    rule = (
        r"`layers\[0\]` \(residual1\): `body\[0\]` \(residual1\): `shortcut\[1\]` "
        r"\(dense1\): Dense takes a vector"
    )
    with pytest.raises(InputError, match=rule):
        Network(input_shape=(6, 6, 2), layers=(block,))


def test_a_block_without_a_body_is_refused():
    with pytest.raises(InputError, match=r"`body` \(=\(\)\) of Residual must not be empty"):
        Residual(body=())


# --- Symmetries. ---


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"features": 6}, r"`features` \(=6\) of Conv must be a multiple of 4 .*; use 8\."),
        ({"kernel": (3, 5)}, r"`kernel` \(=\(3, 5\)\) .* as high as wide .*use \(3, 3\)"),
        ({"stride": (1, 2)}, r"`stride` \(=\(1, 2\)\) .* as high as wide .*use \(1, 1\)"),
        (
            {"groups": 2},
            r"`groups` \(=2\) of Conv must be 1 with `symmetry` \(=p4\); use 1",
        ),
    ],
)
def test_a_group_convolution_of_the_wrong_form_is_refused(fields, rule):
    with pytest.raises(InputError, match=rule):
        Conv(**{"features": 8, "symmetry": "p4", **fields})
    Conv(**{"features": 8, **fields})


@pytest.mark.parametrize("symmetry", ["lift", "p4"])
def test_orientations_share_weights_and_biases_but_not_work(symmetry):
    shape = (7, 7, 12)
    plain = Conv(features=8, kernel=(3, 3))
    spec = dataclasses.replace(plain, symmetry=symmetry)
    assert spec.output_shape(shape) == plain.output_shape(shape) == (5, 5, 8)
    assert spec.macs(shape) == plain.macs(shape) == 25 * 9 * 12 * 8
    assert spec.weights(shape) == 9 * 12 * 2
    assert spec.biases(shape) == 2
    dense = Dense(features=5, symmetry="p4")
    assert (dense.weights((12,)), dense.biases((12,)), dense.macs((12,))) == (15, 5, 60)


LIFT, P4 = (Conv(features=4, symmetry=symmetry) for symmetry in ("lift", "p4"))
SAME = dataclasses.replace(P4, padding="zero")


@pytest.mark.parametrize(
    ("layers", "where"),
    [
        ((P4,), r"`layers\[0\].symmetry` \(=p4\) takes channels that have orientations"),
        ((LIFT, Pool(), LIFT), r"`layers\[2\].symmetry` \(=lift\) .* without orientations"),
        ((LIFT, Conv(features=4), P4), r"`layers\[2\].symmetry` \(=p4\)"),
        ((LIFT, Flatten(), Dense(features=2, symmetry="p4")), r"`layers\[2\].symmetry`"),
        ((Flatten(), Dense(features=2, symmetry="p4")), r"`layers\[1\].symmetry`"),
        (
            (LIFT, GlobalPool(), *2 * (Dense(features=4, symmetry="p4"),)),
            r"`layers\[3\].symmetry` .* a Dense 'p4' follows GlobalPool",
        ),
        (
            (Conv(features=4), Residual(body=(SAME,))),
            r"`layers\[1\].body\[0\].symmetry` \(=p4\)",
        ),
        (
            (LIFT, Residual(body=(P4,), shortcut=(Conv(features=4),)), P4),
            r"`layers\[2\].sy",
        ),
    ],
)
def test_symmetric_layers_in_the_wrong_place_are_refused(layers, where):
    with pytest.raises(InputError, match=where):
        Network(input_shape=(9, 9, 1), layers=layers)


def test_symmetric_layers_in_their_place():
    """A symmetry may end anywhere, by an ordinary layer; blocks keep it."""
    ends = (
        (GlobalPool(), Dense(features=2, symmetry="p4"), Dense(features=3)),
        (Flatten(), Dense(features=2)),
        (Conv(features=3),),
    )
    for end in ends:
        layers = (LIFT, Pool(), SAME, Residual(body=(SAME,)), SAME, *end)
        network = Network(input_shape=(9, 9, 1), layers=layers)
        plain = network.lowered()
        assert plain.macs == network.macs
        assert all(
            getattr(leaf.spec, "symmetry", "none") == "none" for leaf in plain.leaves()
        )
