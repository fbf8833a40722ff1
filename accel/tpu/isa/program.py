"""A program with all that it works on: instructions, weight tiles, parameters, layout."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from accel.tpu.isa.isa import MATMULS, Instruction, Opcode, Register
from configs.errors import InputError
from quant.network import Activated, Weighted


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """Where a tensor (images, *shape) begins in the unified buffer, and its sort.

    Each image lies dense. A view is a part of each image of another tensor, where it
    stands: its images are further apart than they are long.
    """

    # Row of `side` bytes from which the tensor, or the one that a view is part of, lies.
    row: int
    images: int
    # Of one image.
    shape: tuple[int, ...]
    element_bytes: int = 1
    signed: bool = False
    # Of a view: values before it in each image, and values from image to image.
    offset: int = 0
    distance: int | None = None

    @property
    def size(self) -> int:
        """Values of one image."""
        return math.prod(self.shape)

    @property
    def image(self) -> int:
        """Values from image to image."""
        return self.size if self.distance is None else self.distance

    @property
    def bytes(self) -> int:
        """Of all values."""
        return self.images * self.size * self.element_bytes

    @property
    def extent(self) -> int:
        """Bytes from its row to its end."""
        values = (self.images - 1) * self.image + self.offset + self.size
        return values * self.element_bytes

    def read(self, buffer: np.ndarray, first: int) -> np.ndarray:
        """The values (images, *shape) of bytes of which its row begins at `first`."""
        kind = np.dtype(f"{'' if self.signed else 'u'}int{8 * self.element_bytes}")
        at = self.offset + self.image * np.arange(self.images)[:, None]
        values = buffer[first : first + self.extent].view(kind)
        return values[at + np.arange(self.size)].reshape(self.images, *self.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Parameters:
    """What the activation unit holds of one layer; see `quant.network.Weighted`, and
    `Activated` for those of Vector, which have no bias and no multipliers."""

    # int32 (N,).
    bias: np.ndarray
    multiplier: np.ndarray
    # To the right; of Vector it may be negative, and is then to the left.
    shift: int
    # Limits of the requantised sum.
    low: int
    high: int
    # Output byte for each requantised sum s at index s + 128, uint8 (256,), or None.
    table: np.ndarray | None

    @classmethod
    def of(cls, weighted: Weighted) -> Parameters:
        table = weighted.table
        return cls(
            bias=weighted.bias,
            multiplier=weighted.multiplier,
            shift=weighted.shift,
            low=weighted.sum.low,
            high=weighted.sum.high,
            table=None if table is None else table.view(np.uint8),
        )

    @classmethod
    def rescaling(cls, activated: Activated, exponent: int) -> Parameters:
        """Of Vector, for sums that are multiples of 2^exponent."""
        none, table = np.zeros(0, np.int32), activated.table
        return cls(
            bias=none,
            multiplier=none,
            shift=activated.sum.exponent - exponent,
            low=activated.sum.low,
            high=activated.sum.high,
            table=None if table is None else table.view(np.uint8),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """Invariant: `layer` has an entry for each instruction; everything is read only."""

    instructions: tuple[Instruction, ...]
    # Index in `layers` of each instruction; -1 for those of no layer. A layer is a step of
    # the network's program, or a state that is set to zeros.
    layer: tuple[int, ...]
    layers: tuple[str, ...]
    images: int
    # Rows and columns of each weight tile that carry weights, int32 (T, 2).
    tiles_used: np.ndarray
    # int8 (T, side, side), and blocks of parameters; None in a program made from shapes,
    # which has a duration and no results.
    tiles: np.ndarray | None = None
    parameters: tuple[Parameters, ...] | None = None
    # By name: "input", then every layer; empty if the maps are not known or not placed.
    tensors: Mapping[str, Tensor]
    # Rows of the unified buffer that are ever used.
    unified_buffer_rows: int
    # Every tensor still stands at its place when the program ends.
    kept: bool = False

    @property
    def output(self) -> Tensor:
        return self.tensors[self.layers[-1]]


@dataclass(frozen=True, kw_only=True)
class Issued:
    """An instruction as its unit receives it."""

    number: int
    instruction: Instruction
    # Registers as they were set when it was issued.
    registers: tuple[int, ...]
    # Matmul: the weight tile that is live. Read_Weights: the first one. Else -1.
    weight_tile: int


def issue(program: Program) -> list[Issued]:
    """The instructions up to Halt, each with its registers and its weight tile.

    Tiles leave the FIFO in the order in which Read_Weights asked for them.
    """
    registers, waiting, live = [0] * len(Register), [], -1
    issued, frozen, taken = [], tuple(registers), 0
    for number, one in enumerate(program.instructions):
        tile = -1
        if one.opcode is Opcode.Set_Configuration:
            registers[one.acc_address] = one.length
            frozen = tuple(registers)
        elif one.opcode is Opcode.Read_Weights:
            tile = one.ub_address
            _require_tiles(program, number, one)
            waiting.extend(range(tile, tile + one.length))
        elif one.opcode in MATMULS:
            if one.new_tile:
                if taken == len(waiting):
                    raise _starved(number, one, "an earlier Read_Weights for it")
                live, taken = waiting[taken], taken + 1
            if live < 0:
                raise _starved(number, one, "a live tile; give the first one `new_tile`")
            tile = live
        plain = one.opcode is Opcode.MatrixMultiply
        issued.append(
            Issued(
                number=number,
                instruction=one,
                registers=_as_rows(frozen) if plain else frozen,
                weight_tile=tile,
            )
        )
        if one.opcode is Opcode.Halt:
            return issued
    raise InputError(
        f"`instructions` (={len(program.instructions)} of them) must end with Halt; add it."
    )


# A MatrixMultiply reads rows of `channels` bytes: a map and a window of one pixel.
_ONE = ("height", "width", "kernel_height", "kernel_width", "stride_down", "stride_right")
_ONE += ("output_height", "output_width")


def _as_rows(registers: tuple[int, ...]) -> tuple[int, ...]:
    values = list(registers)
    for name in _ONE:
        values[Register[name]] = 1
    for name in ("pad_top", "pad_left", "padding"):
        values[Register[name]] = 0
    return tuple(values)


def _require_tiles(program: Program, number: int, one: Instruction) -> None:
    """Refuses to read more or fewer than one tile that the weight memory holds."""
    if one.length != 1 or one.ub_address >= len(program.tiles_used):
        raise InputError(
            f"`instructions[{number}]` (=Read_Weights of {one.length} tiles at "
            f"{one.ub_address}) must read one of the {len(program.tiles_used)} tiles of "
            f"the weight memory; write an instruction for each."
        )


def _starved(number: int, one: Instruction, needs: str) -> InputError:
    return InputError(
        f"`instructions[{number}]` (={one.opcode.name}) would wait for weights for ever; "
        f"it needs {needs}."
    )
