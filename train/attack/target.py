"""The network under attack: what decides, and what gradients are taken from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """A network as attacks see it; compiled programs are kept per object.

    Both functions are jittable and give logits (B, F) float32, softmax not applied. The
    class is the argmax, the first one on ties.
    """

    # How results are labelled: "float", "qat", "int8".
    name: str
    # uint8 (B, ...) -> logits; decides what is broken, needs no gradient.
    predict: Callable[[jax.Array], jax.Array]
    # float32 pixels 0..255 (B, ...) -> logits; where gradients come from. The same
    # object as `predict` where one function takes both: it then runs once a step.
    surrogate: Callable[[jax.Array], jax.Array]

    @property
    def one_network(self) -> bool:
        return self.predict is self.surrogate
