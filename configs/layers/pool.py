"""Pooling: of windows, and of whole channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from configs.checks import check_types, require_positive
from configs.errors import InputError
from configs.layers.layer import Layer, added, require_image, same_paddings, window_text
from configs.program import Builder, Ends, Shape


@dataclass(frozen=True, kw_only=True)
class Pool(Layer):
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

    def pads(self, shape: Shape) -> tuple[Ends, Ends]:
        """Rows added at the top and bottom, columns added at the left and right."""
        if self.padding == "valid":
            return (0, 0), (0, 0)
        return same_paddings(shape, self.window, self.stride)

    def lower(self, b: Builder, x: str) -> str:
        shape = b.shape(x)
        require_image("Pool", shape)
        padded = [n + sum(pad) for n, pad in zip(shape[:2], self.pads(shape), strict=True)]
        if any(w > n for w, n in zip(self.window, padded, strict=True)):
            raise InputError(
                f"`window` (={self.window}) of Pool must fit into its input {shape}; "
                f"use a smaller window or leave the layer out."
            )
        return b.pool(x, self.kind, self.window, self.stride, self.pads(shape))

    def orients(self, b: Builder, before: str, after: str) -> bool:
        return before in b.oriented

    def brief(self) -> str:
        zeros = " zero" if self.padding == "zero" else ""
        window = window_text(self.window, self.stride, usual=self.window)
        return f"{window}{zeros} {self.kind}"


@dataclass(frozen=True, kw_only=True)
class GlobalPool(Layer):
    """Largest or mean value of each whole channel: (H, W, C) becomes (C,)."""

    # "max" or "mean".
    kind: Literal["max", "mean"] = "mean"

    def __post_init__(self) -> None:
        check_types(self)

    def lower(self, b: Builder, x: str) -> str:
        require_image("GlobalPool", b.shape(x))
        height, width, channels = b.shape(x)
        pooled = b.pool(x, self.kind, (height, width), (1, 1), part="pooled")
        return b.reshape(pooled, (channels,))

    def orients(self, b: Builder, before: str, after: str) -> bool:
        return before in b.oriented

    def brief(self) -> str:
        return self.kind
