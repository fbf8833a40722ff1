"""A network as data: frozen layer specs and everything that follows from their shapes.

Dimension key, used in the whole repository:

    B batch, H W height and width, C in-channels, F out-features,
    R S kernel height and width, P Q output height and width;
    as a matrix product (GEMM): M = B*P*Q rows, K = R*S*C reduction, N = F columns.

Nothing else describes a network: training builds Flax modules from these specs,
quantisation and the machines read the same ones. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from configs.checks import check_types, require, require_positive
from configs.errors import InputError

Activation = Literal["identity", "relu", "softplus", "sigmoid", "tanh"]
Padding = Literal["valid", "zero", "mean", "edge"]
Shape = tuple[int, ...]


def _require_image(kind: str, shape: Shape) -> None:
    if len(shape) != 3:
        raise InputError(
            f"{kind} takes an image of shape (H, W, C), got `shape` (={shape}); "
            f"put it before Flatten, or use Dense."
        )


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Rows added before and after so that the output has ceil(size / stride) rows.

    An odd total puts the extra row after the data (TensorFlow's SAME, ONNX SAME_UPPER).

    >>> same_padding(28, 3, 1), same_padding(28, 2, 2), same_padding(28, 4, 1)
    ((1, 1), (0, 0), (1, 2))
    """
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


@dataclass(frozen=True, kw_only=True)
class Conv:
    """2-D convolution with bias, then an activation; weights have shape (R, S, C, F)."""

    # Output channels F.
    features: int
    # Kernel height R and width S.
    kernel: tuple[int, int] = (3, 3)
    # Step in H and in W.
    stride: tuple[int, int] = (1, 1)
    # What stands outside the image: "valid" nothing (ignore), "zero", "mean" (average
    # of the channel) or "edge" (extend edge); all but "valid" keep ceil(H / stride).
    padding: Padding = "valid"
    # Applied to the output, element by element.
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, "features", "kernel", "stride")

    def pads(self, shape: Shape) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows added at the top and bottom, columns added at the left and right."""
        if self.padding == "valid":
            return (0, 0), (0, 0)
        sizes = zip(shape[:2], self.kernel, self.stride, strict=True)
        top_bottom, left_right = (same_padding(*axis) for axis in sizes)
        return top_bottom, left_right

    def output_shape(self, shape: Shape) -> Shape:
        _require_image("Conv", shape)
        out = []
        for axis, pad, k, s in zip(
            shape[:2], self.pads(shape), self.kernel, self.stride, strict=True
        ):
            if axis + sum(pad) < k:
                raise InputError(
                    f"`kernel` (={self.kernel}) of Conv must fit into its input "
                    f"{shape}; use a smaller kernel, padding='zero', or pool less."
                )
            out.append((axis + sum(pad) - k) // s + 1)
        return (*out, self.features)

    def weights(self, shape: Shape) -> int:
        return math.prod(self.kernel) * shape[2] * self.features

    def biases(self, shape: Shape) -> int:
        return self.features

    def macs(self, shape: Shape) -> int:
        p, q, _ = self.output_shape(shape)
        return p * q * self.weights(shape)


@dataclass(frozen=True, kw_only=True)
class Dense:
    """Fully connected layer with bias, then an activation; weights are (inputs, F)."""

    # Output neurons F.
    features: int
    # Applied to the output, element by element.
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, "features")

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise InputError(
                f"Dense takes a vector, got `shape` (={shape}); put Flatten or "
                f"GlobalPool before it."
            )
        return (self.features,)

    def weights(self, shape: Shape) -> int:
        return shape[0] * self.features

    def biases(self, shape: Shape) -> int:
        return self.features

    def macs(self, shape: Shape) -> int:
        return self.weights(shape)


class _WithoutWeights:
    """A layer that holds no parameters and multiplies nothing."""

    def weights(self, shape: Shape) -> int:
        return 0

    def biases(self, shape: Shape) -> int:
        return 0

    def macs(self, shape: Shape) -> int:
        return 0


@dataclass(frozen=True, kw_only=True)
class Pool(_WithoutWeights):
    """Largest or mean value of each window; windows that do not fit are dropped."""

    # "max" or "mean".
    kind: Literal["max", "mean"] = "max"
    # Window height and width.
    window: tuple[int, int] = (2, 2)
    # Step in H and in W.
    stride: tuple[int, int] = (2, 2)

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, "window", "stride")

    def output_shape(self, shape: Shape) -> Shape:
        _require_image("Pool", shape)
        if any(w > n for w, n in zip(self.window, shape[:2], strict=True)):
            raise InputError(
                f"`window` (={self.window}) of Pool must fit into its input {shape}; "
                f"use a smaller window or leave the layer out."
            )
        p, q = (
            (n - w) // s + 1
            for n, w, s in zip(shape[:2], self.window, self.stride, strict=True)
        )
        return p, q, shape[2]


@dataclass(frozen=True, kw_only=True)
class GlobalPool(_WithoutWeights):
    """Largest or mean value of each whole channel: (H, W, C) becomes (C,)."""

    # "max" or "mean".
    kind: Literal["max", "mean"] = "mean"

    def __post_init__(self) -> None:
        check_types(self)

    def output_shape(self, shape: Shape) -> Shape:
        _require_image("GlobalPool", shape)
        return (shape[2],)


@dataclass(frozen=True, kw_only=True)
class Flatten(_WithoutWeights):
    """(H, W, C) becomes a vector, channels fastest."""

    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(shape),)


Layer = Conv | Dense | Pool | GlobalPool | Flatten


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
        """Numbers this layer puts out for one image."""
        return math.prod(self.output_shape)

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
        tuple(self.walk())

    def walk(self) -> Iterator[LayerInfo]:
        """Layers in order with their names (conv1, pool1, conv2, ...) and shapes."""
        shape = self.input_shape
        seen: dict[str, int] = {}
        for index, spec in enumerate(self.layers):
            kind = type(spec).__name__.lower()
            seen[kind] = seen.get(kind, 0) + 1
            name = f"{kind}{seen[kind]}"
            try:
                out = spec.output_shape(shape)
            except InputError as error:
                raise InputError(f"`layers[{index}]` ({name}): {error}") from None
            weights, biases = spec.weights(shape), spec.biases(shape)
            yield LayerInfo(
                name=name,
                spec=spec,
                input_shape=shape,
                output_shape=out,
                weights=weights,
                parameters=weights + biases,
                macs=spec.macs(shape),
            )
            shape = out

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
