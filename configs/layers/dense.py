"""Fully connected layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from configs.checks import check_types, require_positive
from configs.layers.conv import require_orientation
from configs.layers.layer import Layer, added, require_vector
from configs.program import Builder, Function


@dataclass(frozen=True, kw_only=True)
class Dense(Layer):
    """Fully connected layer with bias, then an activation; weights are (inputs, F)."""

    # Output neurons F.
    features: int
    # Applied to the output, element by element.
    activation: Function = "relu"
    # "p4" weighs the mean over the four orientations of its input, with a quarter of the
    # weights: what comes out does not change when the image turns.
    symmetry: Literal["none", "p4"] = added("none")

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, "features")

    def lower(self, b: Builder, x: str) -> str:
        require_vector("Dense", b.shape(x))
        require_orientation(b, x, self.symmetry)
        sums = b.product(x, self.features, symmetry=self.symmetry)
        return b.activate(sums, self.activation)

    def brief(self) -> str:
        turning = f" {self.symmetry}" if self.symmetry != "none" else ""
        return f"{self.activation}{turning}"
