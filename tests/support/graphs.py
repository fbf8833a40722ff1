"""Random graphs: forks, joins and recurrences, of every operator and padding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from configs.errors import InputError
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
    Shape,
)
from configs.program import Builder

ACTIVATIONS = ("relu", "identity", "relu6", "tanh", "sigmoid", "softplus")


@dataclass(frozen=True, kw_only=True)
class Split(Layer):
    """The channels in two parts, the second one convolved, the parts exchanged."""

    def lower(self, b: Builder, x: str) -> str:
        channels = b.shape(x)[2]
        first = b.slice(x, 2, 0, channels // 2, part="first")
        rest = b.slice(x, 2, channels // 2, channels, part="rest")
        padded = b.pad(rest, "edge", ((1, 1), (0, 0)))
        sums = b.product(padded, 2, kernel=(3, 1))
        return b.concat([b.activate(sums, "identity", part="turned"), first], 2)

    def brief(self) -> str:
        return ""


@dataclass(frozen=True, kw_only=True)
class Rows(Layer):
    """The map and its lower rows again, below each other, with borders of every kind."""

    kind: str = "zero"

    def lower(self, b: Builder, x: str) -> str:
        height = b.shape(x)[0]
        low = b.slice(x, 0, height // 2, height, part="low")
        both = b.concat([x, low], 0, part="both")
        return b.pad(both, self.kind, ((1, 0), (0, 2)))

    def brief(self) -> str:
        return ""


@dataclass(frozen=True, kw_only=True)
class Folded(Layer):
    """Height as channels, a pooling with uneven zeros, then the map squared and halved."""

    kind: str = "max"

    def lower(self, b: Builder, x: str) -> str:
        height, width, channels = b.shape(x)
        x = b.reshape(x, (width, 1, height * channels), part="columns")
        x = b.pool(x, self.kind, (2, 1), (1, 1), ((0, 1), (0, 0)), part="pooled")
        square = b.activate(b.times(x, x), "relu", part="square")
        return b.activate(b.plus(square, x, part="total"), "tanh", part="")

    def brief(self) -> str:
        return ""


def network(seed: int, blocks: int = 3) -> Network:
    """A graph of small layers; the same one for the same seed."""
    r = np.random.default_rng(seed)
    shape: Shape = (*map(int, r.integers(3, 8, 2)), int(r.integers(1, 4)))
    inside, layers = shape, []

    def add(layer: Layer) -> None:
        nonlocal inside
        try:
            inside = layer.output_shape(inside)
        except InputError:  # it does not fit
            return
        layers.append(layer)

    for _ in range(blocks):
        add(_on_map(r, inside, depth=2))
    add(_pick(r, [Flatten(), GlobalPool(kind="max"), GlobalPool(), _lstm(r)]))
    if len(inside) == 2:
        add(_lstm(r))
    if len(inside) > 1:
        add(Flatten())
    for _ in range(int(r.integers(0, 3))):
        add(_on_vector(r, inside[0]))
    add(Dense(features=3, activation="identity"))
    return Network(input_shape=shape, layers=tuple(layers))


def _pick(r: np.random.Generator, choices):
    return choices[int(r.integers(len(choices)))]


def _lstm(r: np.random.Generator) -> Lstm:
    return Lstm(features=int(r.integers(1, 4)), returns=_pick(r, ["last", "sequence"]))


def _conv(r: np.random.Generator, channels: int, features: int | None = None, **keeps):
    """Any convolution; with `features` one that keeps the size of its map."""
    groups = _pick(r, [g for g in range(1, channels + 1) if channels % g == 0])
    wanted = features or groups * int(r.integers(1, 4))
    if wanted % groups:
        groups = 1
    pair = lambda high: tuple(int(v) for v in r.integers(1, high + 1, 2))
    padding = _pick(r, ["zero", "mean", "edge"] if features else
                    ["valid", "zero", "mean", "edge"])  # fmt: skip
    return Conv(
        features=wanted, kernel=pair(3), groups=groups, padding=padding,
        stride=(1, 1) if features else pair(2), dilation=_pick(r, [(1, 1), (1, 1), (2, 1)]),
        activation=_pick(r, ACTIVATIONS), **keeps,
    )  # fmt: skip


def _on_map(r: np.random.Generator, shape: Shape, depth: int) -> Layer:
    channels = shape[2]
    kinds = ["conv", "pool"]
    if depth:
        kinds += ["residual", "concat", "multiply", "squeeze", "split", "rows", "folded"]
    kind = _pick(r, kinds)
    chain = lambda: _keeping(r, channels, depth - 1)
    if kind == "pool":
        window = tuple(int(v) for v in r.integers(1, 4, 2))
        stride = tuple(int(v) for v in r.integers(1, 3, 2))
        pads = _pick(r, ["valid", "zero"])
        return Pool(
            kind=_pick(r, ["max", "mean"]), window=window, stride=stride, padding=pads
        )
    if kind == "residual":
        shortcut = _pick(r, [(), chain()])
        return Residual(body=chain(), shortcut=shortcut, activation=_pick(r, ACTIVATIONS))
    if kind == "concat":
        return Concat(
            branches=(_pick(r, [(), chain()]), chain(), chain())[: _pick(r, [2, 3])]
        )
    if kind == "multiply":
        return Multiply(body=chain(), activation=_pick(r, ACTIVATIONS))
    if kind == "squeeze":
        weights = Dense(features=channels, activation=_pick(r, ["sigmoid", "tanh"]))
        return Multiply(body=(GlobalPool(kind=_pick(r, ["max", "mean"])), weights))
    if kind == "split" and channels > 1:
        return Split()
    if kind == "rows":
        return Rows(kind=_pick(r, ["zero", "mean", "edge"]))
    if kind == "folded":
        return Folded(kind=_pick(r, ["max", "mean"]))
    return _conv(r, channels)


def _keeping(r: np.random.Generator, channels: int, depth: int) -> tuple[Layer, ...]:
    """Layers that keep the shape of their map."""
    layers: list[Layer] = []
    for _ in range(int(r.integers(1, 3))):
        pool = Pool(kind=_pick(r, ["max", "mean"]), window=(3, 2), stride=(1, 1),
                    padding="zero")  # fmt: skip
        layers.append(_pick(r, [pool, _conv(r, channels, channels)]))
    if depth and r.integers(2):
        layers.append(Residual(body=_keeping(r, channels, depth - 1)))
    return tuple(layers)


def _on_vector(r: np.random.Generator, size: int) -> Layer:
    dense = lambda features: Dense(features=features, activation=_pick(r, ACTIVATIONS))
    few = int(r.integers(1, 5))
    return _pick(r, [
        dense(few),
        LstmCell(features=few, gates=_pick(r, ["joined", "separate"])),
        Residual(body=(dense(few), dense(size)), activation="identity"),
        Concat(branches=((), (dense(few),))),
        Multiply(body=(dense(size),), shortcut=(dense(size),)),
    ])  # fmt: skip
