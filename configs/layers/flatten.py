"""An image as a vector."""

from __future__ import annotations

import math
from dataclasses import dataclass

from configs.layers.layer import Layer
from configs.program import Builder


@dataclass(frozen=True, kw_only=True)
class Flatten(Layer):
    """(H, W, C) becomes a vector, channels fastest."""

    def lower(self, b: Builder, x: str) -> str:
        return b.reshape(x, (math.prod(b.shape(x)),))
