"""Where tensors stand in the unified buffer.

A network is a chain: while a layer works, its input, its output and perhaps the channel
means that pad its input are alive. Inputs and outputs change ends of the space from
layer to layer, so that the space is never larger than what the worst layer needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from accel.tpu.machine import TpuMachine
from accel.tpu.program import Tensor
from configs.errors import InputError
from configs.network import Conv, Flatten, LayerInfo


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Tensors by name: "input", every layer, and "LAYER means" where means pad."""

    tensors: dict[str, Tensor]
    # Highest row used, plus one.
    rows: int


def place(
    walk: Sequence[LayerInfo],
    images: int,
    side: int,
    *,
    element_bytes: int = 1,
    keep: bool = False,
    own_input: bool = False,
) -> Layout:
    """A place for every tensor.

    `keep` gives each its own; `own_input` gives the input its own, so that the next one
    may arrive while the layers work.
    """

    def rows(shape: tuple[int, ...]) -> int:
        return -(-images * math.prod(shape) * element_bytes // side)

    def tensor(row: int, shape: tuple[int, ...]) -> Tensor:
        return Tensor(row=row, images=images, shape=shape, element_bytes=element_bytes)

    shape, row = walk[0].input_shape, 0
    tensors = {"input": tensor(0, shape)}
    apart = rows(shape) if own_input else 0
    space, at_bottom, top = _space(walk, rows, own_input), True, rows(shape)
    for info in walk:
        out, means = info.output_shape, means_shape(info)
        if isinstance(info.spec, Flatten):
            tensors[info.name] = tensor(row, out)
            continue
        if keep:
            places = top, top + rows(means)
            top += rows(means) + rows(out)
        else:
            at_bottom = not at_bottom
            lower = rows(out) if at_bottom else _below(row, apart, rows(shape))
            places = apart + lower, apart + (0 if at_bottom else space - rows(out))
        if means[0]:
            tensors[f"{info.name} means"] = tensor(places[0], means)
        row, shape = places[1], out
        tensors[info.name] = tensor(row, out)
    return Layout(tensors=tensors, rows=top if keep else apart + space)


def _below(row: int, apart: int, rows: int) -> int:
    """Rows that an input at `row` takes at the bottom of the common space."""
    return rows if row >= apart else 0


def _space(walk: Sequence[LayerInfo], rows, own_input: bool) -> int:
    """Rows that the worst layer needs."""
    needs, before = [], 0 if own_input else rows(walk[0].input_shape)
    needs.append(before)
    for info in walk:
        if isinstance(info.spec, Flatten):
            continue
        after = rows(info.output_shape)
        needs.append(before + after + rows(means_shape(info)))
        before = after
    return max(needs)


def means_shape(info: LayerInfo) -> tuple[int, ...]:
    """Shape of the channel means that pad a layer's input; (0,) where none do."""
    spec = info.spec
    if not isinstance(spec, Conv) or spec.padding != "mean":
        return (0,)
    padded = any(any(pair) for pair in spec.pads(info.input_shape))
    return (info.input_shape[-1],) if padded else (0,)


def fitted(walk: Sequence[LayerInfo], images: int, machine: TpuMachine, **how) -> Layout:
    """The same, refused with the largest batch that fits where it does not fit."""
    layout = place(walk, images, machine.side, **how)
    if layout.rows <= machine.unified_buffer_rows:
        return layout
    low, high = 0, images
    while high - low > 1:
        middle = (low + high) // 2
        fits = place(walk, middle, machine.side, **how).rows <= machine.unified_buffer_rows
        low, high = (middle, high) if fits else (low, middle)
    way = f"use batches of {low} at most" if low else "not even one image fits; enlarge it"
    raise InputError(
        f"`images` (={images}) need {layout.rows * machine.side:,} bytes of unified "
        f"buffer, more than its `unified_buffer_bytes` "
        f"(={machine.unified_buffer_bytes:,}); {way}."
    )
