"""Random integer networks: any spec filled with integers that use the whole range."""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from configs.network import Conv, Dense, Flatten, GlobalPool, Layer, Network, Pool
from quant.certificate import nearest_agreeing
from quant.network import (
    DIRECT_ACTIVATIONS,
    PIXELS,
    UNSIGNED_ACTIVATIONS,
    Format,
    IntNetwork,
    Weighted,
)


def filled(
    network: Network,
    *,
    seed: int = 0,
    weight_bits: int = 8,
    activation_bits: int = 8,
    shifts: Sequence[int] = (16,),
    classes: Sequence[str] = (),
) -> IntNetwork:
    """Random weights, biases, multipliers and tables of which every output depends.

    The layers with weights take their shifts from `shifts`, in turn.
    """
    draw = np.random.default_rng(seed)
    weighted, before = {}, PIXELS
    last = [info.name for info in network.walk() if info.weights][-1]
    for info in network.walk():
        if info.weights:
            bits = 8 if info.name == last else activation_bits
            shift = shifts[len(weighted) % len(shifts)]
            weighted[info.name] = _layer(info, before, weight_bits, bits, shift, draw)
            before = weighted[info.name].output
    return IntNetwork(network=network, weighted=weighted, classes=tuple(classes))


def _layer(info, before: Format, weight_bits: int, bits: int, shift, draw) -> Weighted:
    spec = info.spec
    shape = (*getattr(spec, "kernel", ()), info.input_shape[-1], spec.features)
    high = (1 << (weight_bits - 1)) - 1
    weights = draw.integers(-high, high + 1, shape).astype(np.int8)
    inputs = int(np.prod(shape[:-1]))
    # Sums of random products spread like sqrt(inputs); the output spans three of those.
    spread = before.largest * high * np.sqrt(inputs) / 3
    output = Format(
        signed=spec.activation not in UNSIGNED_ACTIVATIONS,
        exponent=int(draw.integers(-6, 1)),
        bits=bits,
    )
    direct = spec.activation in DIRECT_ACTIVATIONS
    total = output if direct else Format(signed=True, exponent=-4)
    middle = np.clip(2**shift * total.high / (3 * spread), 1, 65535)
    multiplier = np.clip(middle * draw.uniform(0.5, 2, spec.features), 1, 65535)
    agreeing = nearest_agreeing(shift, total.low, total.high)
    table = draw.integers(output.low, output.high + 1, 256).astype(output.dtype)
    return Weighted(
        weights=weights,
        bias=(draw.normal(size=spec.features) * spread).astype(np.int32),
        multiplier=agreeing[multiplier.astype(np.int32)],
        shift=shift,
        weight_bits=weight_bits,
        sum=total,
        table=None if direct else table,
        output=output,
    )


def images(network: Network, count: int, *, seed: int = 1) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (count, *network.input_shape), dtype=np.uint8)


# Every layer kind, padding, pooling, activation, and odd strides, in small networks.
SPECS: dict[str, Sequence[Layer]] = {
    "cnn": (
        Conv(features=4),
        Pool(),
        Conv(features=5, padding="zero"),
        Flatten(),
        Dense(features=8),
        Dense(features=3, activation="identity"),
    ),
    "mean": (
        Conv(features=3, padding="mean", stride=(2, 1)),
        Pool(kind="mean", window=(3, 2), stride=(1, 2)),
        GlobalPool(),
        Dense(features=3, activation="identity"),
    ),
    "edge": (
        Conv(features=3, kernel=(4, 3), padding="edge", activation="tanh"),
        Pool(kind="mean"),
        Conv(features=3, padding="zero", activation="sigmoid", stride=(2, 2)),
        GlobalPool(kind="max"),
    ),
    "signed": (
        Conv(features=4, activation="identity"),
        Pool(window=(2, 3), stride=(1, 2)),
        Conv(features=3, activation="softplus", kernel=(1, 2), padding="mean"),
        Conv(features=4, activation="identity", padding="edge"),
        Pool(kind="mean", window=(2, 2), stride=(2, 2)),
        Flatten(),
        Dense(features=3, activation="identity"),
    ),
}


def spec(name: str, shape=(9, 8, 2)) -> Network:
    """One of SPECS on images of some shape."""
    return Network(input_shape=shape, layers=tuple(SPECS[name]))


def _pairs(largest: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(1, largest), st.integers(1, largest))


_ACTIVATIONS = st.sampled_from(["relu", "identity", "tanh", "sigmoid", "softplus"])
_FEATURES = st.integers(1, 5)
_CONVS = st.builds(
    Conv,
    features=_FEATURES,
    kernel=_pairs(4),
    stride=_pairs(3),
    padding=st.sampled_from(["valid", "zero", "mean", "edge"]),
    activation=_ACTIVATIONS,
)
_POOLS = st.builds(
    Pool, kind=st.sampled_from(["max", "mean"]), window=_pairs(3), stride=_pairs(3)
)
_DENSES = st.builds(Dense, features=_FEATURES, activation=_ACTIVATIONS)
_ENDS = st.sampled_from([Flatten(), GlobalPool(kind="max"), GlobalPool(kind="mean")])


@st.composite
def networks(draw) -> IntNetwork:
    """Any small network: shapes, kernels, strides, paddings, windows, widths, shifts."""
    size = st.sampled_from([1, 2, 3, 5, 7, 8, 9, 11])
    shape = (draw(size), draw(size), draw(st.integers(1, 3)))
    layers: list[Layer] = []
    wanted = [draw(_CONVS | _POOLS) for _ in range(draw(st.sampled_from([1, 2, 3, 4])))]
    if draw(st.booleans()):
        wanted += [draw(_ENDS), *draw(st.lists(_DENSES, max_size=2))]
    inside = shape
    for layer in wanted:
        kernel = getattr(layer, "window", getattr(layer, "kernel", (1, 1)))
        whole = getattr(layer, "padding", "valid") != "valid"
        if whole or all(k <= n for k, n in zip(kernel, inside[:2], strict=False)):
            layers.append(layer)
            inside = layer.output_shape(inside)
    if not any(isinstance(layer, Conv | Dense) for layer in layers):
        layers.insert(0, Conv(features=2, kernel=(1, 1)))
    return filled(
        Network(input_shape=shape, layers=tuple(layers)),
        seed=draw(st.integers(0, 99)),
        weight_bits=draw(st.integers(2, 8)),
        activation_bits=draw(st.integers(2, 8)),
        shifts=draw(st.lists(st.integers(8, 21), min_size=1, max_size=3)),
    )
