"""The published table layer x runtime: every cell, on random networks, to the last bit.

Each example is a random network around the layer of its row (shape, kernel, stride,
window, widths, shift, sign), executed by every runtime; every layer's output is compared.
"""

import integers
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs.errors import InputError
from configs.network import (
    Concat,
    Conv,
    Dense,
    Flatten,
    GlobalPool,
    Lstm,
    LstmCell,
    Multiply,
    Network,
    Pool,
    Residual,
)
from quant import equivalence, exports

ACTIVATIONS = ("identity", "relu", "relu6", "softplus", "sigmoid", "tanh")
EXAMPLES = 3

sizes = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def convolutions(draw, padding="valid", activation="relu", **fields):
    fields = {"features": draw(st.integers(1, 5)), **fields}
    return Conv(
        kernel=draw(sizes(1, 4)),
        stride=draw(sizes(1, 3)),
        padding=padding,
        activation=activation,
        **fields,
    )


@st.composite
def pools(draw, kind, padding="valid"):
    window, stride = draw(sizes(1, 4)), draw(sizes(1, 3))
    return Pool(kind=kind, window=window, stride=stride, padding=padding)


@st.composite
def keeping(draw, features=4):
    """A layer that keeps the shape of its map."""
    around = draw(st.sampled_from(["zero", "mean", "edge"]))
    return Conv(
        features=features,
        kernel=draw(sizes(1, 3)),
        padding=around,
        activation=draw(st.sampled_from(ACTIVATIONS)),
    )


def chains(*layers):
    return st.tuples(*layers)


def residuals():
    ways = st.one_of(st.just(()), chains(keeping()))
    body = chains(keeping(), keeping())
    ends = st.sampled_from(ACTIVATIONS)
    return st.builds(Residual, body=body, shortcut=ways, activation=ends)


def multiplications():
    weights = st.sampled_from(["sigmoid", "tanh"]).map(
        lambda a: (GlobalPool(), Dense(features=4, activation=a))
    )
    return st.builds(Multiply, body=st.one_of(weights, chains(keeping())))


def concats():
    pool = st.just((Pool(window=(3, 3), stride=(1, 1), padding="zero"),))
    branches = st.tuples(chains(keeping(3)), st.one_of(st.just(()), pool))
    return st.builds(Concat, branches=branches)


def dense(activation):
    return st.builds(Dense, features=st.integers(1, 6), activation=st.just(activation))


signs = st.sampled_from(["relu", "identity"])
# Four channels before a layer, of either sign.
four = signs.flatmap(lambda a: convolutions(activation=a, features=4))
# Row of the table -> the layer that makes it, and those before and after it.
CELLS = {
    **{f"Conv {padding}": st.tuples(signs.flatmap(lambda a: convolutions(activation=a)),
                                    convolutions(padding=padding))
       for padding in ("valid", "zero", "mean", "edge")},
    **{f"Conv {activation}": st.tuples(convolutions(activation=activation))
       for activation in ACTIVATIONS},
    **{f"Dense {activation}": st.tuples(st.just(Flatten()), dense(activation))
       for activation in ACTIVATIONS},
    **{f"Pool {kind}": st.tuples(signs.flatmap(lambda a: convolutions(activation=a)),
                                 pools(kind))
       for kind in ("max", "mean")},
    **{f"Pool {kind} zero": st.tuples(four, pools(kind, "zero"))
       for kind in ("max", "mean")},
    "Conv groups": st.tuples(four, convolutions(groups=2, features=6)),
    "Conv depthwise": st.tuples(four, st.sampled_from([4, 8]).flatmap(
        lambda f: convolutions(groups=4, features=f))),
    "Conv dilation": st.tuples(four, sizes(1, 3).flatmap(
        lambda d: convolutions(dilation=d, padding="zero"))),
    "Residual": st.tuples(four, residuals()),
    "Multiply": st.tuples(four, multiplications()),
    "Concat": st.tuples(four, concats()),
    "Lstm": st.tuples(st.builds(Lstm, features=st.integers(1, 4),
                                returns=st.sampled_from(["last", "sequence"]))),
    "LstmCell": st.tuples(st.just(Flatten()), st.builds(
        LstmCell, features=st.integers(1, 4),
        gates=st.sampled_from(["joined", "separate"]))),
    **{f"GlobalPool {kind}": st.tuples(signs.flatmap(lambda a: convolutions(activation=a)),
                                       st.just(GlobalPool(kind=kind)))
       for kind in ("max", "mean")},
}  # fmt: skip


@st.composite
def networks(draw, row):
    """An integer network with the layer of a row, and some images for it."""
    shape = (*draw(sizes(4, 11)), draw(st.integers(1, 3)))
    layers, after = [], shape
    for layer in draw(CELLS[row]):
        try:
            after = layer.output_shape(after)
        except InputError:  # a kernel or a window that does not fit
            continue
        layers.append(layer)
    if len(after) > 1:
        layers.append(Flatten())
    layers.append(Dense(features=draw(st.integers(1, 4)), activation="identity"))
    net = integers.filled(
        Network(input_shape=shape, layers=tuple(layers)),
        seed=draw(st.integers(0, 2**31)),
        weight_bits=draw(st.integers(2, 8)),
        activation_bits=draw(st.integers(2, 8)),
        shifts=draw(st.lists(st.sampled_from([8, 13, 16, 16, 17, 21]), min_size=1)),
    )
    images = integers.images(net.network, draw(st.integers(1, 9)))
    # The ends of the range reach the ends of the sums.
    images[0] = draw(st.sampled_from([0, 255]))
    return net, images


@pytest.mark.slow
@pytest.mark.parametrize("row", CELLS)
def test_every_runtime_computes_every_layer_alike(row):
    seen = []

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(networks(row))
    def compare(example):
        net, images = example
        contents = {name: exports.module(name).encode(net) for name in exports.FORMATS}
        expected, verdict = equivalence.judge(net, images)
        assert verdict.mismatches == 0
        right = {s.layer.name: s.output for s in equivalence.normative.steps(net, images)}
        for runtime in equivalence.runtimes(net, contents):
            np.testing.assert_array_equal(runtime.run(images), expected, runtime.name)
            for name, found in runtime.layers(images).items():
                assert found.dtype == right[name].dtype, (runtime.name, name)
                np.testing.assert_array_equal(found, right[name], (runtime.name, name))
        seen.append([type(layer).__name__ for layer in net.network.layers])

    compare()
    kind = row.split()[0]
    assert sum(kind in kinds for kinds in seen) >= 2, "or this would prove nothing"


def test_the_table_in_the_readme_names_every_row_and_runtime():
    from pathlib import Path

    text = (Path(__file__).parents[2] / "README.md").read_text()
    for row in CELLS:
        kind, *what = row.split()
        assert f"`{kind}`" in text, row
        assert all(word in text for word in what), row
    for name in exports.FORMATS:
        assert exports.module(name).FILE in text
