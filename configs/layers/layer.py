"""What every layer kind is: frozen fields, and the operators that it stands for.

A kind is one file here. It has its fields, which it checks, `lower`, which adds its
operators to a program, and `brief`, its row of the layer table. What follows from the
operators (shapes, weights, multiplications) nobody writes a second time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from configs.errors import InputError
from configs.program import Builder, Ends, Pair, Program, Shape


def added(default: Any) -> Any:
    """A field that came later: at its default it is not stored, so that files and hashes
    from before it stay as they are (`stored.to_dict`).
    """
    return field(default=default, metadata={"added": True})


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer kind; `lower` is all that the rest of the house hears of it."""

    def lower(self, b: Builder, x: str) -> str:
        """Adds the operators of this layer on the value `x`; the value it makes.

        Raises:
          InputError: the layer does not fit the shape of `x`.
        """
        raise NotImplementedError

    def brief(self) -> str:
        """The layer in a few letters, for the layer table."""
        return ""

    def orients(self, b: Builder, before: str, after: str) -> bool:
        """Whether the channels of its output have orientations (`conv.Conv`)."""
        return False

    def parts(self) -> Iterator[tuple[str, tuple[Layer, ...]]]:
        """Layers that stand inside, by field."""
        yield from ()

    def program(self, shape: Shape) -> Program:
        """The layer alone, on an input of some shape."""
        b = Builder(checked=False)
        x = b.input(shape)
        b.layer = type(self).__name__.lower() + "1"
        if self.lower(b, x) == x:
            b.reshape(x, shape)
        return Program(nodes=tuple(b.nodes))

    def output_shape(self, shape: Shape) -> Shape:
        return self.program(shape).output.shape

    def weights(self, shape: Shape) -> int:
        """Independent weights."""
        return self.program(shape).weights

    def biases(self, shape: Shape) -> int:
        """What is learned beside the weights."""
        program = self.program(shape)
        return program.parameters - program.weights

    def macs(self, shape: Shape) -> int:
        return self.program(shape).macs


def require_image(kind: str, shape: Shape) -> None:
    if len(shape) != 3:
        raise InputError(
            f"{kind} takes an image of shape (H, W, C), got `shape` (={shape}); "
            f"put it before Flatten, or use Dense."
        )


def require_vector(kind: str, shape: Shape) -> None:
    if len(shape) != 1:
        raise InputError(
            f"{kind} takes a vector, got `shape` (={shape}); put Flatten or GlobalPool "
            f"before it."
        )


def same_padding(size: int, kernel: int, stride: int) -> Ends:
    """Rows added before and after so that the output has ceil(size / stride) rows.

    An odd total puts the extra row after the data (TensorFlow's SAME, ONNX SAME_UPPER).

    >>> same_padding(28, 3, 1), same_padding(28, 2, 2), same_padding(28, 4, 1)
    ((1, 1), (0, 0), (1, 2))
    """
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def same_paddings(shape: Shape, window: Pair, stride: Pair) -> tuple[Ends, Ends]:
    """`same_padding` of H and of W: rows at top and bottom, columns at left and right."""
    sizes = zip(shape[:2], window, stride, strict=True)
    top_bottom, left_right = (same_padding(*axis) for axis in sizes)
    return top_bottom, left_right


def window_text(size: Shape, stride: Shape, usual: Shape) -> str:
    """A window, and its stride where it is not the usual one.

    >>> window_text((3, 3), (2, 2), (1, 1)), window_text((2, 2), (2, 2), (2, 2))
    ('3x3/2', '2x2')
    """
    by = "x".join(map(str, size))
    if stride == usual:
        return by
    step = "x".join(map(str, stride)) if len(set(stride)) > 1 else str(stride[0])
    return f"{by}/{step}"
