"""The instructions of the TPU and the registers that they leave out.

A MatrixMultiply or Convolve has 12 bytes: 3 of unified buffer address, 2 of accumulator
address, 4 of length, the rest opcode and flags (TPU paper, section 2). That the others
share this frame, the order of its bytes and what each bit of the flags means are our
assumptions, and so are the registers.

| opcode | ub_address | acc_address | length |
|---|---|---|---|
| Read_Host_Memory | first row written | | bytes |
| Read_Weights | first tile in the weight memory | | tiles |
| MatrixMultiply, Convolve | first row of the input tensor | first row of sums | rows |
| Activate | output tensor; with `from_ub` the input tensor | first row of sums | rows |
| Write_Host_Memory | first row read | | bytes |
| Vector | output tensor | | rows |
| Set_Configuration | | register | value |

The unified buffer is addressed in rows of `side` bytes, where tensors begin; inside, a
tensor lies dense in bytes (images, height, width, channels). `tile` says which `side`
columns of the matrix a MatrixMultiply or Convolve reads (K) and an Activate writes (N).
An instruction takes the registers along as they are when it is issued.

Vector is the activation unit at work on values in the unified buffer, element by element:

    y = a * b * 2^shift_ab + c * d * 2^shift_cd        factors that are not there are 1
    out = clip(RNE(y / 2^shift)), through the table    or y itself, if not `rescaled`

`operands` says which of a, b, c and d are there; with none it writes zeros. Values have
one byte or two, the low one first. Each is read by images, `outer` blocks an image and
`inner` values a block, at distances of its own: parts of a tensor are read and written
where they stand, and a distance of 0 meets every block with the same values. It takes a
cycle for every `side` bytes that it reads of each operand, as pooling does, and for
every `side` zeros that it writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from configs.checks import check_types, require
from configs.errors import InputError


class Opcode(IntEnum):
    """What an instruction does; the numbers are ours."""

    Nop = 0
    Halt = 1
    Read_Host_Memory = 2
    Read_Weights = 3
    MatrixMultiply = 4
    Convolve = 5
    Activate = 6
    Write_Host_Memory = 7
    Set_Configuration = 8
    Sync = 9
    Vector = 10


class Register(IntEnum):
    """What Set_Configuration sets: the map, the window that runs over it, the rest."""

    # Input map of the systolic data set-up (Convolve) or of pooling.
    height = 0
    width = 1
    channels = 2
    # Convolution kernel, or pooling window.
    kernel_height = 3
    kernel_width = 4
    stride_down = 5
    stride_right = 6
    # Rows above and columns left of the map.
    pad_top = 7
    pad_left = 8
    # What stands there: a `PaddingKind`.
    padding = 9
    # Unified buffer row of the channel means, (images, channels) bytes.
    means = 10
    # Output map.
    output_height = 11
    output_width = 12
    # Columns of the tensor that Activate writes.
    output_channels = 13
    # Output row of the first row of this MatrixMultiply, Convolve or Activate.
    first_row = 14
    # 1 where input bytes are int8, 0 where they are uint8.
    signed = 15
    # Block of the activation unit's parameters: bias, multipliers, shift, limits, table.
    parameters = 16
    # Pooling: a `PoolingKind`, the images, and the unified buffer row of the output.
    pooling = 17
    images = 18
    destination = 19
    # The rest is 0 when a program begins. Of a product in groups: the first channel that a
    # window reads, and how many from there; 0 is all.
    first_channel = 20
    group_channels = 21
    # Rows and columns that a window leaves out between its taps.
    skip_down = 22
    skip_right = 23
    # Activate: first column that the group writes, and how many from there; 0 is all.
    first_column = 24
    group_columns = 25
    # Pooling: rows above and below, columns left and right of the map that windows may
    # reach over: a maximum leaves them out, a mean takes them for zeros.
    pool_top = 26
    pool_left = 27
    pool_bottom = 51
    pool_right = 52
    # Vector: one bit for each operand that is there, is signed, has two bytes; a is the
    # lowest, and the fifth bit of `wide` is the output's.
    operands = 28
    signs = 29
    wide = 30
    # Shifts to the left that bring both products to one grid.
    shift_ab = 31
    shift_cd = 32
    # 1 where `parameters` bring the sum back, 0 where it is stored as it is.
    rescaled = 33
    outer = 34
    inner = 35
    # Of each operand: its first byte in the unified buffer, and the distances of images
    # and of blocks in values.
    a_address = 36
    a_image = 37
    a_outer = 38
    b_address = 39
    b_image = 40
    b_outer = 41
    c_address = 42
    c_image = 43
    c_outer = 44
    d_address = 45
    d_image = 46
    d_outer = 47
    # Of the output: bytes behind the row of the instruction, and the same distances.
    out_offset = 48
    out_image = 49
    out_outer = 50


# Registers that hold 0 when a program begins, and need not be set to it.
BEGIN_AT_ZERO = tuple(r for r in Register if r >= Register.first_channel)
# Of Vector, in the order of their bits.
OPERAND_NAMES = "abcd"


class PaddingKind(IntEnum):
    """What stands outside the map."""

    zero = 0
    edge = 1
    mean = 2


class PoolingKind(IntEnum):
    """What pooling makes of a window: `pad` takes windows of one value, and outside the map
    what `padding` and `means` say."""

    max = 0
    mean = 1
    pad = 2


MATMULS = (Opcode.MatrixMultiply, Opcode.Convolve)
HOST = (Opcode.Read_Host_Memory, Opcode.Write_Host_Memory)

# Field -> name in the text form, by opcode; all other fields are 0.
OPERANDS: dict[Opcode, dict[str, str]] = {
    Opcode.Nop: {},
    Opcode.Halt: {},
    Opcode.Sync: {},
    Opcode.Read_Host_Memory: {"ub_address": "ub", "length": "bytes"},
    Opcode.Write_Host_Memory: {"ub_address": "ub", "length": "bytes"},
    Opcode.Read_Weights: {"ub_address": "address", "length": "tiles"},
    Opcode.MatrixMultiply: {
        "ub_address": "ub", "acc_address": "acc", "length": "rows", "tile": "tile",
        "speed": "speed",
    },
    Opcode.Activate: {
        "ub_address": "ub", "acc_address": "acc", "length": "rows", "tile": "tile",
    },
    Opcode.Vector: {"ub_address": "ub", "length": "rows"},
    Opcode.Set_Configuration: {"acc_address": "register", "length": "value"},
}  # fmt: skip
OPERANDS[Opcode.Convolve] = OPERANDS[Opcode.MatrixMultiply]

FLAGS: dict[Opcode, tuple[str, ...]] = {
    Opcode.MatrixMultiply: ("new_tile", "accumulate"),
    Opcode.Convolve: ("new_tile", "accumulate"),
    Opcode.Activate: ("from_ub",),
}

# Bits of each field.
WIDTHS = {"ub_address": 24, "acc_address": 16, "length": 32, "tile": 11}
# Cycles a row: 8 bits by 8, 8 by 16, 16 by 16.
SPEEDS = (1, 2, 4)
_DEFAULTS = {"speed": 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class Instruction:
    """One instruction; fields that its opcode does not use are left at their defaults."""

    opcode: Opcode
    ub_address: int = 0
    acc_address: int = 0
    length: int = 0
    # `side` columns of K (read) or of N (written).
    tile: int = 0
    # Matmul: cycles a row.
    speed: int = 1
    # Matmul: the next tile of the FIFO becomes live; else the live one serves again.
    new_tile: bool = False
    # Matmul: added to the sums that are there; else these are overwritten.
    accumulate: bool = False
    # Activate: pooling, from unified buffer to unified buffer.
    from_ub: bool = False

    def __post_init__(self) -> None:
        check_types(self)
        for field, bits in WIDTHS.items():
            fits = 0 <= getattr(self, field) < 1 << bits
            if not fits:
                rule = f"must be in 0..2^{bits} - 1 (opcode {self.opcode.name})."
                require(self, fits, field, rule)
        if self.speed not in SPEEDS:
            require(self, False, "speed", f"must be one of {SPEEDS}.")
        used = OPERANDS[self.opcode].keys() | FLAGS.get(self.opcode, ())
        for field in _FIELDS - used:
            if getattr(self, field) != _DEFAULTS.get(field, 0):
                require(self, False, field, f"has no meaning for {self.opcode.name}.")
        if self.opcode is Opcode.Set_Configuration and self.acc_address >= len(Register):
            raise InputError(
                f"`acc_address` (={self.acc_address}) of Set_Configuration must be a "
                f"register; there are {len(Register)}, from 0."
            )


_FIELDS = frozenset(Instruction.__dataclass_fields__) - {"opcode"}
