"""A network as data: frozen layer specs, and the program that they stand for.

Dimension key, used in the whole repository:

    B batch, H W height and width, C in-channels, F out-features,
    R S kernel height and width, P Q output height and width;
    as a matrix product (GEMM): M = B*P*Q rows, K = R*S*C reduction, N = F columns.

Nothing else describes a network: training builds Flax modules from its program,
quantisation and the machines read the same one. The kinds of layers stand in `layers/`,
the operators in `program.py`. Standard library only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from configs.checks import check_types, require, require_positive
from configs.layers import (
    Activation,
    Concat,
    Conv,
    Dense,
    Flatten,
    GlobalPool,
    Layer,
    Lstm,
    LstmCell,
    Multiply,
    Padding,
    Pool,
    Residual,
    Shape,
    same_padding,
)
from configs.program import Builder, Placed, Product, Program

__all__ = [
    "Activation",
    "Concat",
    "Conv",
    "Dense",
    "Flatten",
    "GlobalPool",
    "Layer",
    "LayerInfo",
    "Lstm",
    "LstmCell",
    "Multiply",
    "Network",
    "Padding",
    "Pool",
    "Residual",
    "Shape",
    "same_padding",
]


@dataclass(frozen=True, kw_only=True)
class LayerInfo:
    """One row of the layer table: a spec in its place, with what follows from it."""

    name: str
    spec: Layer
    input_shape: Shape
    output_shape: Shape
    # Learned numbers without and with biases.
    weights: int
    parameters: int
    # Multiply-accumulates for one image.
    macs: int
    # Numbers this layer, or all layers in it, put out for one image.
    activations: int

    @property
    def kind(self) -> str:
        return type(self.spec).__name__

    @property
    def reuse(self) -> int:
        """How many MACs of one image use the same weight (0 without weights)."""
        return self.macs // self.weights if self.weights else 0


@dataclass(frozen=True, kw_only=True)
class Network:
    """Layer specs in order; layers whose shapes do not fit are refused.

    Invariant: every layer accepts the output shape of the one before it.
    """

    # (H, W, C) of an image, or (D,) of a vector; without the batch.
    input_shape: Shape
    # First to last.
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, "input_shape")
        require(
            self,
            len(self.input_shape) in (1, 3),
            "input_shape",
            "must be (H, W, C) or (D,); a gray 28 x 28 image is (28, 28, 1).",
        )
        require(self, bool(self.layers), "layers", "must not be empty; add a Dense.")
        _ = self.program

    @cached_property
    def _lowered(self) -> tuple[Program, tuple[Placed, ...]]:
        b = Builder()
        b.chain(self.layers, b.input(self.input_shape), "layers")
        return Program(nodes=tuple(b.nodes)), tuple(b.placed)

    @property
    def program(self) -> Program:
        """The operators that the layers stand for."""
        return self._lowered[0]

    def walk(self) -> Iterator[LayerInfo]:
        """Layers in order with their names (conv1, pool1, conv2, ...) and shapes.

        A block is one layer, with the sums of what is in it.
        """
        for placed in self._lowered[1]:
            if placed.depth == 0:
                yield self._info(placed)

    def leaves(self) -> Iterator[LayerInfo]:
        """The innermost layers in the order done: residual1.conv1, ...; else as `walk`."""
        for placed in self._lowered[1]:
            if not _holds_layers(placed.spec):
                yield self._info(placed)

    def _info(self, placed: Placed) -> LayerInfo:
        nodes = self.program.nodes[placed.first : placed.stop]
        products = [node for node in nodes if isinstance(node, Product)]
        counts = [node.counts() for node in _first_uses(products)]
        inside = [p for p in self._lowered[1] if p.name.startswith(f"{placed.name}.")]
        ends = [p for p in inside if not _holds_layers(p.spec)] or [placed]
        by_name = self.program.by_name
        return LayerInfo(
            name=placed.name,
            spec=placed.spec,
            input_shape=by_name[placed.input].shape,
            output_shape=by_name[placed.output].shape,
            weights=sum(weights for weights, _ in counts),
            parameters=sum(sum(both) for both in counts),
            macs=sum(node.macs for node in products),
            activations=sum(math.prod(by_name[p.output].shape) for p in ends),
        )

    def lowered(self) -> Network:
        """The same network as it is deployed: symmetries written out, norms folded in."""
        plain = {"symmetry": "none", "norm": "none"}
        return replace(self, layers=_with_fields(self.layers, plain))

    @property
    def output_shape(self) -> Shape:
        return self.program.output.shape

    @property
    def weights(self) -> int:
        return self.program.weights

    @property
    def parameters(self) -> int:
        return self.program.parameters

    @property
    def macs(self) -> int:
        return self.program.macs

    @property
    def activations(self) -> int:
        """Numbers that all layers put out for one image, the input included."""
        return math.prod(self.input_shape) + sum(i.activations for i in self.walk())


def _holds_layers(spec: Layer) -> bool:
    return any(True for _ in spec.parts())


def _first_uses(products: list[Product]) -> list[Product]:
    return list({node.weights: node for node in reversed(products)}.values())[::-1]


def _with_fields(value: Any, fields: dict[str, Any]) -> Any:
    """Layers, and those inside them, with other values of the fields that they have."""
    if isinstance(value, tuple):
        return tuple(_with_fields(item, fields) for item in value)
    if not isinstance(value, Layer):
        return value
    changed = {
        f.name: fields.get(f.name, _with_fields(getattr(value, f.name), fields))
        for f in dataclasses.fields(value)
    }
    return replace(value, **changed)
