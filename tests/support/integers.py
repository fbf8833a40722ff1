"""Random integer networks: any spec filled with integers that use the whole range."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from configs.network import (
    Concat,
    Conv,
    Dense,
    Flatten,
    GlobalPool,
    Layer,
    Lstm,
    LstmCell,
    Multiply,
    Network,
    Pool,
    Residual,
)
from configs.program import Activate, Add, Mul, Product, Program, State
from quant.float32_rounding import nearest_agreeing
from quant.network import (
    DIRECT_ACTIVATIONS,
    PIXELS,
    Activated,
    Format,
    IntNetwork,
    Weighted,
    cap_of,
    rescaling,
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

    The products take their shifts from `shifts`, in turn.
    """
    draw = np.random.default_rng(seed)
    program = network.program
    outputs = _formats(program, activation_bits, draw)
    weighted, activated = {}, {}
    others = rescaling(program)
    for node in program.nodes:
        if node in others.values():
            exponent = _fitting(program, node, 8, outputs, 1)
            activated[node.owner] = _activated(node, outputs[node.name], exponent, draw)
        if not isinstance(node, Product) or node.weights in weighted:
            continue
        (activate,) = program.readers[node.name]
        before = _format(program, node.input, outputs)
        shift = shifts[len(weighted) % len(shifts)]
        weighted[node.weights] = _product(
            node, activate, before, outputs[activate.name], weight_bits, shift, draw
        )
    return IntNetwork(
        network=network, weighted=weighted, activated=activated, classes=tuple(classes)
    )


def _format(program: Program, name: str, outputs: dict[str, Format]) -> Format:
    root = program.root(name)
    if isinstance(root, Activate):
        return outputs[root.name]
    return Format.of(root.grid) if hasattr(root, "grid") else PIXELS


def _formats(program: Program, bits: int, draw) -> dict[str, Format]:
    """Formats of everything that is brought back; what stands side by side shares one."""
    groups = program.grids()
    shared: dict[str, Format] = {}
    found: dict[str, Format] = {}
    last = program.root(program.output.name).name
    for node in program.nodes:
        if node.name not in groups:
            continue
        owner = groups[node.name]
        if isinstance(node, State):
            kind = Format.of(node.grid)
        elif node.after:
            kind = Format.of(node.after)
        elif owner in shared:
            kind = dataclasses.replace(shared[owner], cap=None)
            cap = cap_of(node.function, kind)
            kind = dataclasses.replace(kind, cap=cap)
        else:
            wide = 8 if groups[last] == owner else bits
            exponent = int(draw.integers(-6, 1))
            exponent = _fitting(program, node, wide, found, exponent)
            # Below 2^3, so that a cap at 6 is not 0.
            exponent = min(exponent, 2) if node.function == "relu6" else exponent
            kind = Format(signed=node.signed, exponent=exponent, bits=wide)
            cap = cap_of(node.function, kind)
            kind = dataclasses.replace(kind, cap=cap)
        shared[owner] = found[node.name] = kind
    return found


def _ends(program: Program, name: str, known: dict[str, Format]) -> tuple[int, int]:
    """Exponent and largest magnitude of a value, sums and products of values too."""
    at = program.by_name[name]
    if isinstance(at, Add | Mul):
        (a, x), (b, y) = (_ends(program, one, known) for one in at.inputs)
        if isinstance(at, Mul):
            return a + b, x * y
        return min(a, b), (x << max(0, a - b)) + (y << max(0, b - a))
    kind = _format(program, name, known)
    return kind.exponent, kind.largest


def _fitting(
    program: Program, node: Activate, bits: int, known: dict[str, Format], drawn: int
) -> int:
    """Where a value is no product's sum: an exponent with which its range fits the width,
    or nearly; `drawn` for all others."""
    if isinstance(program.by_name[node.input], Product):
        return drawn
    exponent, largest = _ends(program, node.input, known)
    return exponent + largest.bit_length() - bits - 1 + drawn % 3


def _sum(node: Activate, output: Format, exponent: int = -4) -> tuple[Format, bool]:
    direct = node.function in DIRECT_ACTIVATIONS
    if direct:
        return output, True
    given = Format.of(node.before) if node.before else None
    return given or Format(signed=True, exponent=exponent), False


def _table(output: Format, draw) -> np.ndarray:
    return draw.integers(output.low, output.high + 1, 256).astype(output.dtype)


def _activated(node: Activate, output: Format, exponent: int, draw) -> Activated:
    total, direct = _sum(node, output, exponent)
    table = None if direct else _table(output, draw)
    return Activated(sum=total, table=table, output=output)


def _product(
    node: Product, activate: Activate, before: Format, output: Format, weight_bits: int,
    shift: int, draw,
) -> Weighted:  # fmt: skip
    high = (1 << (weight_bits - 1)) - 1
    weights = draw.integers(-high, high + 1, node.weight_shape).astype(np.int8)
    # Sums of random products spread like sqrt(inputs); the output spans three of those.
    spread = before.largest * high * np.sqrt(node.K) / 3
    total, direct = _sum(activate, output)
    middle = np.clip(2**shift * total.high / (3 * spread), 1, 65535)
    multiplier = np.clip(middle * draw.uniform(0.5, 2, node.features), 1, 65535)
    agreeing = nearest_agreeing(shift, total.low, total.high)
    table = _table(output, draw)
    return Weighted(
        weights=weights,
        bias=(node.biased * draw.normal(size=node.features) * spread).astype(np.int32),
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
    "residual": (
        Conv(features=4, padding="zero"),
        Residual(
            body=(
                Conv(features=4, padding="zero"),
                Conv(features=4, padding="zero", activation="identity"),
            )
        ),
        Residual(
            body=(Conv(features=6, stride=(2, 2), padding="zero", activation="identity"),),
            shortcut=(
                Conv(features=6, kernel=(1, 1), stride=(2, 2), activation="identity"),
            ),
            activation="tanh",
        ),
        GlobalPool(),
        Dense(features=3, activation="identity"),
    ),
    "depthwise": (
        Conv(features=4, groups=2, activation="relu6", dilation=(2, 1), padding="edge"),
        Conv(features=8, groups=4, padding="mean", stride=(2, 1)),
        Conv(features=6, groups=2, kernel=(1, 1), padding="zero", activation="tanh"),
        Pool(window=(3, 3), stride=(2, 2), padding="zero"),
        Pool(kind="mean", window=(2, 3), stride=(1, 1), padding="zero"),
        Flatten(),
        Dense(features=3, activation="identity"),
    ),
    "branches": (
        Concat(
            branches=(
                (Conv(features=2, kernel=(1, 1)),),
                (Conv(features=2, kernel=(1, 1)), Conv(features=3, padding="zero")),
                (Pool(window=(3, 3), stride=(1, 1), padding="zero"),),
            )
        ),
        Concat(branches=((), (Conv(features=2, padding="zero", activation="tanh"),))),
        Multiply(body=(GlobalPool(), Dense(features=9, activation="sigmoid"))),
        GlobalPool(kind="max"),
        Dense(features=3, activation="identity"),
    ),
    "lstm": (
        Lstm(features=5, returns="sequence"),
        Lstm(features=4),
        Dense(features=3, activation="identity"),
    ),
    "cells": (
        Flatten(),
        LstmCell(features=4),
        LstmCell(features=3, gates="separate"),
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
