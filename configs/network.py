"""A network as data: frozen layer specs and everything that follows from their shapes.

Dimension key, used in the whole repository:

    B batch, H W height and width, C in-channels, F out-features,
    R S kernel height and width, P Q output height and width;
    as a matrix product (GEMM): M = B*P*Q rows, K = R*S*C reduction, N = F columns.

Nothing else describes a network: training builds Flax modules from these specs,
quantisation and the machines read the same ones. Single layers stand in `layers.py`;
here is how they follow each other. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from configs.checks import check_types, require, require_positive
from configs.errors import InputError
from configs.layers import (
    Activation,
    Conv,
    Dense,
    Flatten,
    GlobalPool,
    LstmCell,
    Padding,
    Pool,
    Shape,
    same_padding,
)

__all__ = [
    "Activation",
    "Conv",
    "Dense",
    "Flatten",
    "GlobalPool",
    "Layer",
    "LayerInfo",
    "LstmCell",
    "Network",
    "Padding",
    "Pool",
    "Residual",
    "Shape",
    "same_padding",
]


@dataclass(frozen=True, kw_only=True)
class Residual:
    """Two paths from one input, added: activation(body(x) + shortcut(x)).

    The sum takes the place of the body's output; the addition is not counted.
    """

    # First to last.
    body: tuple[Layer, ...]
    # First to last; empty is the input itself.
    shortcut: tuple[Layer, ...] = ()
    # Applied to the sum, element by element.
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        check_types(self)
        require(self, bool(self.body), "body", "must not be empty; add a Conv.")

    def output_shape(self, shape: Shape) -> Shape:
        body = [shape, *(out for *_, out in _placed(self.body, shape, "body"))]
        other = [shape, *(out for *_, out in _placed(self.shortcut, shape, "shortcut"))]
        if body[-1] != other[-1]:
            raise InputError(
                f"Residual adds its `body`, which gives {body[-1]}, to its `shortcut`, "
                f"which gives {other[-1]}: the shapes must be equal; use the same strides "
                f"in both, and a 1 x 1 Conv in `shortcut` where the features change."
            )
        return body[-1]

    def weights(self, shape: Shape) -> int:
        return sum(spec.weights(at) for spec, at in self._parts(shape))

    def biases(self, shape: Shape) -> int:
        return sum(spec.biases(at) for spec, at in self._parts(shape))

    def macs(self, shape: Shape) -> int:
        return sum(spec.macs(at) for spec, at in self._parts(shape))

    def paths(self, shape: Shape) -> Iterator[LayerInfo]:
        """Layers of the body, then those of the shortcut (shortcut.conv1, ...)."""
        yield from _walk(self.body, shape, "body")
        for info in _walk(self.shortcut, shape, "shortcut"):
            yield replace(info, name=f"shortcut.{info.name}")

    def _parts(self, shape: Shape) -> Iterator[tuple[Layer, Shape]]:
        for path in ("body", "shortcut"):
            for _, spec, at, _ in _placed(getattr(self, path), shape, path):
                yield spec, at


Layer = Conv | Dense | Pool | GlobalPool | Flatten | LstmCell | Residual


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

    @property
    def kind(self) -> str:
        return type(self.spec).__name__

    @property
    def activations(self) -> int:
        """Numbers this layer, or all layers in it, put out for one image."""
        return sum(math.prod(leaf.output_shape) for leaf in self.leaves())

    @property
    def reuse(self) -> int:
        """How many MACs of one image use the same weight (0 without weights)."""
        return self.macs // self.weights if self.weights else 0

    def leaves(self) -> Iterator[LayerInfo]:
        """The layer itself, or the innermost layers of a block, named by their path."""
        if not isinstance(self.spec, Residual):
            yield self
            return
        for part in self.spec.paths(self.input_shape):
            for leaf in part.leaves():
                yield replace(leaf, name=f"{self.name}.{leaf.name}")


def _placed(
    layers: tuple[Layer, ...], shape: Shape, where: str
) -> Iterator[tuple[str, Layer, Shape, Shape]]:
    """Name, spec, input and output shape of each layer; names its place if it misfits."""
    seen: dict[str, int] = {}
    for index, spec in enumerate(layers):
        kind = type(spec).__name__.lower()
        seen[kind] = seen.get(kind, 0) + 1
        name = f"{kind}{seen[kind]}"
        try:
            out = spec.output_shape(shape)
        except InputError as error:
            raise InputError(f"`{where}[{index}]` ({name}): {error}") from None
        yield name, spec, shape, out
        shape = out


def _walk(layers: tuple[Layer, ...], shape: Shape, where: str) -> Iterator[LayerInfo]:
    for name, spec, before, after in _placed(layers, shape, where):
        weights = spec.weights(before)
        yield LayerInfo(
            name=name,
            spec=spec,
            input_shape=before,
            output_shape=after,
            weights=weights,
            parameters=weights + spec.biases(before),
            macs=spec.macs(before),
        )


def _orient(layers: tuple[Layer, ...], oriented: bool, where: str) -> bool:
    """Whether channels have orientations after the layers, given whether they have before.

    Raises:
      InputError: a layer with a symmetry takes the other kind.
    """
    for index, spec in enumerate(layers):
        symmetry = getattr(spec, "symmetry", "none")
        if symmetry != "none" and oriented is not (symmetry == "p4"):
            takes = "that have orientations" if symmetry == "p4" else "without orientations"
            raise InputError(
                f"`{where}[{index}].symmetry` (={symmetry}) takes channels {takes}: the "
                f"first Conv of a symmetric network is 'lift', all after it are 'p4', and "
                f"a Dense 'p4' follows GlobalPool."
            )
        if isinstance(spec, Residual):
            ends = [
                _orient(getattr(spec, path), oriented, f"{where}[{index}].{path}")
                for path in ("body", "shortcut")
            ]
            oriented = all(ends)
        elif not isinstance(spec, Pool | GlobalPool):
            oriented = isinstance(spec, Conv) and symmetry != "none"
    return oriented


def _without_symmetry(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    def plain(spec: Layer) -> Layer:
        if isinstance(spec, Residual):
            body, shortcut = map(_without_symmetry, (spec.body, spec.shortcut))
            return replace(spec, body=body, shortcut=shortcut)
        return replace(spec, symmetry="none") if hasattr(spec, "symmetry") else spec

    return tuple(map(plain, layers))


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
        tuple(self.walk())
        _orient(self.layers, False, "layers")

    def walk(self) -> Iterator[LayerInfo]:
        """Layers in order with their names (conv1, pool1, conv2, ...) and shapes.

        A Residual is one layer, with the sums of what is in it.
        """
        yield from _walk(self.layers, self.input_shape, "layers")

    def leaves(self) -> Iterator[LayerInfo]:
        """The innermost layers in the order done: residual1.conv1, ...; else as `walk`."""
        for info in self.walk():
            yield from info.leaves()

    def lowered(self) -> Network:
        """The same network without symmetries: ordinary layers, what is deployed."""
        return replace(self, layers=_without_symmetry(self.layers))

    @property
    def output_shape(self) -> Shape:
        return list(self.walk())[-1].output_shape

    @property
    def weights(self) -> int:
        return sum(info.weights for info in self.walk())

    @property
    def parameters(self) -> int:
        return sum(info.parameters for info in self.walk())

    @property
    def macs(self) -> int:
        return sum(info.macs for info in self.walk())

    @property
    def activations(self) -> int:
        """Numbers that all layers put out for one image, the input included."""
        return math.prod(self.input_shape) + sum(i.activations for i in self.walk())
