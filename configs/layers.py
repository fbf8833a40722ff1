"""The layers that a network is made of: frozen specs, and what follows from their shapes.

Letters as in `network.py`. A layer has `output_shape`, `weights`, `biases` and `macs`,
each a function of its input shape. Standard library only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from configs.checks import check_types, require, require_positive
from configs.errors import InputError

Activation = Literal["identity", "relu", "softplus", "sigmoid", "tanh"]
Padding = Literal["valid", "zero", "mean", "edge"]
# Turns by 90 degrees in the symmetry "p4".
ORIENTATIONS = 4
Shape = tuple[int, ...]


def added(default: Any) -> Any:
    """A field that came later: at its default it is not stored, so that files and hashes
    from before it stay as they are (`stored.to_dict`).
    """
    return field(default=default, metadata={"added": True})


def _require_image(kind: str, shape: Shape) -> None:
    if len(shape) != 3:
        raise InputError(
            f"{kind} takes an image of shape (H, W, C), got `shape` (={shape}); "
            f"put it before Flatten, or use Dense."
        )


def _require_vector(kind: str, shape: Shape) -> None:
    if len(shape) != 1:
        raise InputError(
            f"{kind} takes a vector, got `shape` (={shape}); put Flatten or GlobalPool "
            f"before it."
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


def same_paddings(
    shape: Shape, window: tuple[int, int], stride: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """`same_padding` of H and of W: rows at top and bottom, columns at left and right."""
    sizes = zip(shape[:2], window, stride, strict=True)
    top_bottom, left_right = (same_padding(*axis) for axis in sizes)
    return top_bottom, left_right


@dataclass(frozen=True, kw_only=True)
class Conv:
    """2-D convolution with bias, then an activation; weights are (R, S, C / groups, F).

    With a symmetry (a group convolution, Cohen and Welling 2016, arXiv:1602.07576,
    sections 4.2 and 6) the features are maps in four orientations, orientation slowest:
    channel r * (F / 4) + m is map m, its filter turned r times 90 degrees
    counter-clockwise. A quarter of the weights and biases is independent and counted.
    """

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
    # Parts that channels and features fall into, each with weights of its own; as many
    # as there are channels make it depthwise.
    groups: int = added(1)
    # "lift" takes plain channels and "p4" channels that have orientations; both give
    # `features` / 4 maps in 4 orientations, equivariant where strides fit the size.
    symmetry: Literal["none", "lift", "p4"] = added("none")

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, "features", "kernel", "stride", "groups")
        divides = self.features % self.groups == 0
        require(self, divides, "groups", f"must divide `features` (={self.features}).")
        if self.symmetry != "none":
            self._check_symmetry()

    def _check_symmetry(self) -> None:
        oriented = f"must be {{}} with `symmetry` (={self.symmetry}); use {{}}."
        whole = self.features % ORIENTATIONS == 0
        more = ORIENTATIONS * -(-self.features // ORIENTATIONS)
        require(self, whole, "features", oriented.format("a multiple of 4", more))
        for name in ("kernel", "stride"):
            first, second = getattr(self, name)
            rule = oriented.format("as high as wide", (first, first))
            require(self, first == second, name, rule)
        require(self, self.groups == 1, "groups", oriented.format("1", 1))

    def pads(self, shape: Shape) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows added at the top and bottom, columns added at the left and right."""
        if self.padding == "valid":
            return (0, 0), (0, 0)
        return same_paddings(shape, self.kernel, self.stride)

    def output_shape(self, shape: Shape) -> Shape:
        _require_image("Conv", shape)
        if shape[2] % self.groups:
            raise InputError(
                f"`groups` (={self.groups}) of Conv must divide the channels of its input "
                f"{shape}; use 1, or {shape[2]} for a depthwise convolution."
            )
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

    @property
    def maps(self) -> int:
        """Features with weights and a bias of their own."""
        return self.features // (1 if self.symmetry == "none" else ORIENTATIONS)

    def weights(self, shape: Shape) -> int:
        return math.prod(self.kernel) * (shape[2] // self.groups) * self.maps

    def biases(self, shape: Shape) -> int:
        return self.maps

    def macs(self, shape: Shape) -> int:
        p, q, f = self.output_shape(shape)
        return p * q * math.prod(self.kernel) * (shape[2] // self.groups) * f


@dataclass(frozen=True, kw_only=True)
class Dense:
    """Fully connected layer with bias, then an activation; weights are (inputs, F)."""

    # Output neurons F.
    features: int
    # Applied to the output, element by element.
    activation: Activation = "relu"
    # "p4" weighs the mean over the four orientations of its input, with a quarter of the
    # weights: what comes out does not change when the image turns.
    symmetry: Literal["none", "p4"] = added("none")

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, "features")

    def output_shape(self, shape: Shape) -> Shape:
        _require_vector("Dense", shape)
        return (self.features,)

    def weights(self, shape: Shape) -> int:
        shared = 1 if self.symmetry == "none" else ORIENTATIONS
        return shape[0] // shared * self.features

    def biases(self, shape: Shape) -> int:
        return self.features

    def macs(self, shape: Shape) -> int:
        return shape[0] * self.features


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
    """Largest or mean value of each window; windows that do not fit are dropped.

    With padding="zero" none is dropped: zeros outside give ceil(H / stride) rows. They
    never win over a value inside, and count as zeros in a mean.
    """

    # "max" or "mean".
    kind: Literal["max", "mean"] = "max"
    # Window height and width.
    window: tuple[int, int] = (2, 2)
    # Step in H and in W.
    stride: tuple[int, int] = (2, 2)
    # What stands outside the image: "valid" nothing, or "zero".
    padding: Literal["valid", "zero"] = added("valid")

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, "window", "stride")

    def pads(self, shape: Shape) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows added at the top and bottom, columns added at the left and right."""
        if self.padding == "valid":
            return (0, 0), (0, 0)
        return same_paddings(shape, self.window, self.stride)

    def output_shape(self, shape: Shape) -> Shape:
        _require_image("Pool", shape)
        padded = [n + sum(pad) for n, pad in zip(shape[:2], self.pads(shape), strict=True)]
        if any(w > n for w, n in zip(self.window, padded, strict=True)):
            raise InputError(
                f"`window` (={self.window}) of Pool must fit into its input {shape}; "
                f"use a smaller window or leave the layer out."
            )
        p, q = (
            (n - w) // s + 1
            for n, w, s in zip(padded, self.window, self.stride, strict=True)
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


@dataclass(frozen=True, kw_only=True)
class LstmCell:
    """One time step of a long short-term memory: a vector (D,) gives the state (H,).

    Four gates (input, forget, cell, output) each weigh the input and the state before,
    which the cell keeps: 4 * (D + H) * H weights and 4 * H biases. What follows element
    by element (sigmoid, tanh, products) is not counted.
    """

    # Hidden state H.
    features: int
    # How the products are done: "joined" is one of K = D + H and N = 4 * H; "separate"
    # is eight, for each gate one of the input and one of the state.
    gates: Literal["joined", "separate"] = "joined"

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, "features")

    def output_shape(self, shape: Shape) -> Shape:
        _require_vector("LstmCell", shape)
        return (self.features,)

    def weights(self, shape: Shape) -> int:
        return 4 * (shape[0] + self.features) * self.features

    def biases(self, shape: Shape) -> int:
        return 4 * self.features

    def macs(self, shape: Shape) -> int:
        return self.weights(shape)
