"""Where paths from one input come together: added, multiplied, or side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from configs.checks import check_types, require
from configs.errors import InputError
from configs.layers.layer import Layer
from configs.program import Builder, Function


@dataclass(frozen=True, kw_only=True)
class Residual(Layer):
    """Two paths from one input, added: activation(body(x) + shortcut(x)) (He et al. 2016,
    arXiv:1512.03385). The addition multiplies nothing and is not counted.
    """

    # First to last.
    body: tuple[Layer, ...]
    # First to last; empty is the input itself.
    shortcut: tuple[Layer, ...] = ()
    # Applied to the sum, element by element.
    activation: Function = "relu"

    def __post_init__(self) -> None:
        check_types(self)
        require(self, bool(self.body), "body", "must not be empty; add a Conv.")

    def parts(self) -> Iterator[tuple[str, tuple[Layer, ...]]]:
        yield from _named(self)

    def lower(self, b: Builder, x: str) -> str:
        body, other = _ends(self, b, x)
        if b.shape(body) != b.shape(other):
            raise InputError(
                f"Residual adds its `body`, which gives {b.shape(body)}, to its "
                f"`shortcut`, which gives {b.shape(other)}: the shapes must be equal; use "
                f"the same strides in both, and a 1 x 1 Conv in `shortcut` where the "
                f"features change."
            )
        both = body in b.oriented and other in b.oriented
        out = b.activate(b.plus(body, other), self.activation)
        if both:
            b.oriented.add(out)
        return out

    def orients(self, b: Builder, before: str, after: str) -> bool:
        return after in b.oriented

    def brief(self) -> str:
        return f"sum {self.activation}"


@dataclass(frozen=True, kw_only=True)
class Multiply(Layer):
    """Two paths from one input, multiplied: activation(shortcut(x) * body(x)).

    Where the body gives a vector (C,) it weighs the channels of the shortcut's map, as a
    squeeze-and-excite block does (Hu et al. 2018, arXiv:1709.01507). These products are
    of two activations; they are not counted as MACs.
    """

    # First to last; gives the factors.
    body: tuple[Layer, ...]
    # First to last; empty is the input itself.
    shortcut: tuple[Layer, ...] = ()
    # Applied to the product, element by element.
    activation: Function = "identity"

    def __post_init__(self) -> None:
        check_types(self)
        require(self, bool(self.body), "body", "must not be empty; add a GlobalPool.")

    def parts(self) -> Iterator[tuple[str, tuple[Layer, ...]]]:
        yield from _named(self)

    def lower(self, b: Builder, x: str) -> str:
        body, other = _ends(self, b, x)
        if b.shape(body) not in (b.shape(other), b.shape(other)[-1:]):
            raise InputError(
                f"Multiply weighs its `shortcut`, which gives {b.shape(other)}, by its "
                f"`body`, which gives {b.shape(body)}: it must have the same shape, or "
                f"one number for each channel; end it with GlobalPool and Dense."
            )
        return b.activate(b.times(other, body), self.activation)

    def brief(self) -> str:
        return f"product {self.activation}"


def _named(layer: Residual | Multiply) -> Iterator[tuple[str, tuple[Layer, ...]]]:
    yield "body", layer.body
    yield "shortcut", layer.shortcut


def _ends(layer: Residual | Multiply, b: Builder, x: str) -> tuple[str, str]:
    """What the body and the shortcut make of one input."""
    here = b.layer
    body = b.chain(layer.body, x, "body", f"{here}.")
    return body, b.chain(layer.shortcut, x, "shortcut", f"{here}.shortcut.")


@dataclass(frozen=True, kw_only=True)
class Concat(Layer):
    """Several paths from one input, their channels side by side in order (Szegedy et al.
    2015, arXiv:1409.4842).
    """

    # Each first to last; an empty one is the input itself.
    branches: tuple[tuple[Layer, ...], ...]

    def __post_init__(self) -> None:
        check_types(self)
        several = len(self.branches) >= 2
        require(self, several, "branches", "must be two or more; use the layers alone.")

    def parts(self) -> Iterator[tuple[str, tuple[Layer, ...]]]:
        for index, branch in enumerate(self.branches):
            yield f"branches[{index}]", branch

    def lower(self, b: Builder, x: str) -> str:
        here = b.layer
        ends = [
            b.chain(branch, x, f"branches[{index}]", f"{here}.branch{index + 1}.")
            for index, branch in enumerate(self.branches)
        ]
        shapes = [b.shape(end) for end in ends]
        if len({shape[:-1] for shape in shapes}) != 1:
            raise InputError(
                f"Concat puts {', '.join(map(str, shapes))} side by side: all but the "
                f"channels must be equal; use the same strides, and padding='zero'."
            )
        return b.concat(ends, len(shapes[0]) - 1)

    def brief(self) -> str:
        return f"{len(self.branches)} branches"
