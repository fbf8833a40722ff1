"""Where tensors stand in the unified buffer.

A value lives from the step that makes it to the last step that reads it. Outputs change
ends of the space from step to step, and the space is what the worst step needs; so a
chain, where only a step's input and output are alive, is never larger than that. Where a
value that lives longer stands at that end, the other end or the lowest gap is taken.

A new shape of a value is the same tensor. A part of it along its slowest axis is a view
of it where only the activation unit reads that, which can step over the rest; else, as
for values side by side, it is a copy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from accel.tpu.isa.program import Tensor
from accel.tpu.machine import TpuMachine
from configs.errors import InputError
from configs.program import (
    Activate,
    Node,
    Pad,
    Pool,
    Product,
    Program,
    Reshape,
    Slice,
    State,
    Step,
)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Tensors by name: inputs and states, every step, and "STEP means" where means pad."""

    tensors: dict[str, Tensor]
    # Highest row used, plus one.
    rows: int


def is_chain(program: Program) -> bool:
    """Whether every step reads what the step before it made, and nothing else."""
    before = program.input.name
    for step in program.steps:
        if step.inputs != (before,):
            return False
        before = step.name
    return True


def place(
    program: Program,
    images: int,
    side: int,
    *,
    element_bytes: int = 1,
    keep: bool = False,
    own_input: bool = False,
) -> Layout:
    """A place for every tensor.

    `keep` gives each its own; `own_input` gives the input its own, so that the next one
    may arrive while the steps work. Values of 16 bits have two bytes always, the others
    `element_bytes`.
    """
    lives = _Lives(program=program, images=images, side=side, element_bytes=element_bytes)
    found = _kept(lives) if keep else _packed(lives, own_input)
    for name, tensor in lives.parts.items():
        base = found[lives.base[name]]
        found[name] = replace(tensor, row=base.row)
    ends = [t.row - (-t.bytes // side) for n, t in found.items() if n not in lives.parts]
    return Layout(tensors=found, rows=max(ends))


@dataclass(frozen=True, kw_only=True)
class _Lives:
    """Which tensors there are, and from when to when they are needed."""

    program: Program
    images: int
    side: int
    element_bytes: int

    @cached_property
    def parts(self) -> dict[str, Tensor]:
        """Tensors that are others, or views of others; their rows are not known yet."""
        found: dict[str, Tensor] = {}
        for step in self.program.steps:
            if not is_part(step, self.program):
                continue
            before = self.program.by_name[step.inputs[0]]
            source = found.get(before.name) or self.tensor(before)
            cut = step.find(Slice)
            skipped = cut.start * math.prod(cut.shape[1:]) if cut else 0
            found[step.name] = replace(
                source, shape=step.shape, offset=source.offset + skipped,
                distance=source.image if cut else source.distance,
            )  # fmt: skip
        return found

    @cached_property
    def base(self) -> dict[str, str]:
        """The tensor that each value lies in."""
        found = {node.name: node.name for node in self.program.nodes}
        for step in self.program.steps:
            if step.name in self.parts:
                found[step.name] = found[step.inputs[0]]
        return found

    @cached_property
    def last(self) -> dict[str, int]:
        """The last step that reads each tensor; the network's output is never given up."""
        found = {}
        for number, step in enumerate(self.program.steps):
            for name in step.inputs:
                found[self.base[name]] = number
        found[self.base[self.program.output.name]] = len(self.program.steps)
        return found

    def tensor(self, node: Node) -> Tensor:
        size = self.element_bytes
        if is_wide(node.name, self.program):
            size = max(size, 2)
        return Tensor(row=0, images=self.images, shape=node.shape, element_bytes=size)

    def rows(self, tensor: Tensor) -> int:
        return -(-tensor.bytes // self.side)

    def born(self) -> Iterator[tuple[int, str, Tensor, Tensor | None]]:
        """Step, name and tensor of all that need a place, with the means beside it: a
        state is made by the step that reads it first."""
        seen: set[str] = set()
        for number, step in enumerate(self.program.steps):
            for name in step.inputs:
                node = self.program.by_name[name]
                if isinstance(node, State) and name not in seen:
                    seen.add(name)
                    yield number, name, self.tensor(node), None
            if step.name not in self.parts:
                node = self.program.by_name[step.name]
                yield number, step.name, self.tensor(node), self.means(step)

    def means(self, step: Step) -> Tensor | None:
        shape = means_shape(step, self.program)
        if not shape:
            return None
        return Tensor(
            row=0, images=self.images, shape=shape, element_bytes=self.element_bytes
        )


def is_part(step: Step, program: Program) -> bool:
    """Whether a step moves nothing: its output is its input, or a view of it."""
    if not all(isinstance(node, Reshape | Slice) for node in step.nodes):
        return False
    cut = step.find(Slice)
    return cut is None or (cut.axis == 0 and _by_parts(step.name, program))


def _by_parts(name: str, program: Program) -> bool:
    """Whether all who read a value are steps of the activation unit that may step over
    what stands between its images."""
    if name == program.output.name:
        return False
    return all(
        _by_parts(node.name, program)
        if isinstance(node, Reshape)
        else not isinstance(node, Pad | Product | Pool)
        for node in program.readers[name]
    )


def is_wide(name: str, program: Program) -> bool:
    """Whether a value was given a grid of more than 8 bits."""
    root = program.root(name)
    grid = root.after if isinstance(root, Activate) else getattr(root, "grid", None)
    return grid is not None and grid.bits > 8


def means_shape(step: Step, program: Program) -> tuple[int, ...]:
    """Shape of the channel means that pad a step's input; () where none do."""
    pad = step.find(Pad)
    if pad is None or pad.kind != "mean" or not any(map(any, pad.pads)):
        return ()
    return pad.shape[-1:]


def _kept(lives: _Lives) -> dict[str, Tensor]:
    """One after the other, in the order in which they are made."""
    first = lives.program.input
    tensors = {first.name: lives.tensor(first)}
    top = lives.rows(tensors[first.name])
    for _, name, tensor, means in lives.born():
        if means:
            tensors[f"{name} means"] = replace(means, row=top)
            top += lives.rows(means)
        tensors[name] = replace(tensor, row=top)
        top += lives.rows(tensor)
    return tensors


def _packed(lives: _Lives, own_input: bool) -> dict[str, Tensor]:
    first = lives.program.input
    begin = lives.tensor(first)
    tensors = {first.name: begin}
    apart = lives.rows(begin) if own_input else 0
    alive = {} if own_input else {first.name: (0, lives.rows(begin))}
    top = apart + _space(lives, own_input)
    at_bottom = True
    for number, name, tensor, means in lives.born():
        # What nobody reads any more makes room.
        alive = {n: ends for n, ends in alive.items() if lives.last.get(n, -1) >= number}
        at_bottom = not at_bottom
        row = _end(alive, lives.rows(tensor), apart, top, at_bottom)
        tensors[name] = replace(tensor, row=row)
        alive[name] = row, row + lives.rows(tensor)
        if means:
            row = _gap(alive, lives.rows(means), apart)
            tensors[f"{name} means"] = replace(means, row=row)
    return tensors


def _end(alive: dict, rows: int, bottom: int, top: int, at_bottom: bool) -> int:
    """A free place at one end, else at the other, else in the lowest gap."""
    ends = bottom, top - rows
    for row in ends if at_bottom else reversed(ends):
        if row >= bottom and _free(alive, row, rows):
            return row
    return _gap(alive, rows, bottom)


def _gap(alive: dict, rows: int, bottom: int) -> int:
    starts = sorted([bottom, *(end for _, end in alive.values() if end > bottom)])
    return next(row for row in starts if _free(alive, row, rows))


def _free(alive: dict, row: int, rows: int) -> bool:
    return all(end <= row or row + rows <= begin for begin, end in alive.values())


def _space(lives: _Lives, own_input: bool) -> int:
    """Rows that the worst step needs."""
    first = lives.program.input
    sizes = {} if own_input else {first.name: lives.rows(lives.tensor(first))}
    needs = [sum(sizes.values())]
    for number, name, tensor, means in lives.born():
        sizes = {n: rows for n, rows in sizes.items() if lives.last.get(n, -1) >= number}
        sizes[name] = lives.rows(tensor)
        needs.append(sum(sizes.values()) + (lives.rows(means) if means else 0))
    return max(needs)


def fitted(program: Program, images: int, machine: TpuMachine, **how) -> Layout:
    """The same, refused with the largest batch that fits where it does not fit."""
    layout = place(program, images, machine.side, **how)
    if layout.rows <= machine.unified_buffer_rows:
        return layout
    low, high = 0, images
    while high - low > 1:
        middle = (low + high) // 2
        rows = place(program, middle, machine.side, **how).rows
        fits = rows <= machine.unified_buffer_rows
        low, high = (middle, high) if fits else (low, middle)
    way = f"use batches of {low} at most" if low else "not even one image fits; enlarge it"
    raise InputError(
        f"`images` (={images}) need {layout.rows * machine.side:,} bytes of unified "
        f"buffer, more than its `unified_buffer_bytes` "
        f"(={machine.unified_buffer_bytes:,}); {way}."
    )
