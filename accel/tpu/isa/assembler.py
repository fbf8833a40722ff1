"""Programs as text and as bytes.

One instruction a line, operands and flags in any order, `#` starts a comment:

    Read_Weights address=0 tiles=1
    Set_Configuration register=channels value=784
    MatrixMultiply ub=0 acc=0 rows=200 new_tile   # the first 256 inputs
    Sync

Operands that are left out are 0, `speed` 1. In bytes every instruction has 12: opcode (1),
flags (2), unified buffer address (3), accumulator address (2), length (4), low byte first.
Flags, from the lowest bit: new_tile, accumulate, from_ub, speed (2 bits: 1, 2 or 4 as 0,
1, 2), tile (11 bits). Order and flags are assumptions; see `isa`.
"""

from __future__ import annotations

from collections.abc import Iterable

from accel.tpu.constants import INSTRUCTION_BYTES
from accel.tpu.isa.isa import FLAGS, OPERANDS, SPEEDS, Instruction, Opcode, Register
from configs.checks import brief
from configs.errors import InputError

BYTES = INSTRUCTION_BYTES.value
_BITS = ("new_tile", "accumulate", "from_ub")


def assemble(text: str, *, source: str = "program") -> list[Instruction]:
    """The instructions of a text.

    Errors: the first line that is wrong, with `source` and its number.
    """
    instructions = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            try:
                instructions.append(_parse(words))
            except InputError as error:
                raise InputError(f"{source}, line {number}: {error}") from None
    return instructions


def disassemble(instructions: Iterable[Instruction]) -> str:
    """The text of instructions; `assemble` gives them back."""
    return "".join(f"{_line(one)}\n" for one in instructions)


def encode(instructions: Iterable[Instruction]) -> bytes:
    """12 bytes an instruction."""
    return b"".join(_pack(one) for one in instructions)


def decode(data: bytes, *, source: str = "program") -> list[Instruction]:
    """The instructions of bytes.

    Errors: a length that is no multiple of 12; the first instruction that is none.
    """
    if len(data) % BYTES:
        raise InputError(
            f"`{source}` (={len(data)} bytes) must have {BYTES} bytes an instruction; it "
            f"is cut off or no program."
        )
    instructions = []
    for first in range(0, len(data), BYTES):
        try:
            instructions.append(_unpack(data[first : first + BYTES]))
        except InputError as error:
            raise InputError(f"{source}, byte {first}: {error}") from None
    return instructions


def _parse(words: list[str]) -> Instruction:
    opcode = _named(Opcode, words[0], "opcode")
    operands = {name: field for field, name in OPERANDS[opcode].items()}
    flags = FLAGS.get(opcode, ())
    fields: dict[str, int | bool] = {}
    for word in words[1:]:
        name, equals, value = word.partition("=")
        known = operands if equals else flags
        if name not in known:
            takes = ", ".join([*(f"{name}=" for name in operands), *flags])
            raise InputError(
                f"`{opcode.name}` takes {takes or 'no operands'}, not {brief(word)}; "
                f"correct the line."
            )
        field = operands[name] if equals else name
        if field in fields:
            raise InputError(f"`{name}` (={brief(word)}) stands twice; leave one out.")
        fields[field] = _number(name, value) if equals else True
    return Instruction(opcode=opcode, **fields)


def _number(name: str, value: str) -> int:
    if name == "register":
        return int(_named(Register, value, name))
    if not (value.isascii() and value.isdigit() and len(value) <= 12):
        raise InputError(
            f"`{name}` (={brief(value)}) must be a whole number of 0 or more; write it in "
            f"decimal digits."
        )
    return int(value)


def _named(kind: type[Opcode] | type[Register], name: str, field: str):
    if name not in kind.__members__:
        raise InputError(
            f"`{field}` (={brief(name)}) must be one of {', '.join(kind.__members__)}."
        )
    return kind[name]


def _line(one: Instruction) -> str:
    words = [one.opcode.name]
    for field, name in OPERANDS[one.opcode].items():
        value = getattr(one, field)
        if name == "register":
            words.append(f"register={Register(value).name}")
        elif (field == "tile" and not value) or (field == "speed" and value == 1):
            continue
        else:
            words.append(f"{name}={value}")
    words += [name for name in FLAGS.get(one.opcode, ()) if getattr(one, name)]
    return " ".join(words)


def _pack(one: Instruction) -> bytes:
    flags = sum(getattr(one, name) << bit for bit, name in enumerate(_BITS))
    flags |= SPEEDS.index(one.speed) << 3 | one.tile << 5
    fields = (one.opcode, 1), (flags, 2), (one.ub_address, 3), (one.acc_address, 2)
    parts = [value.to_bytes(size, "little") for value, size in (*fields, (one.length, 4))]
    return b"".join(parts)


def _unpack(data: bytes) -> Instruction:
    code, flags = data[0], int.from_bytes(data[1:3], "little")
    if code not in tuple(Opcode):
        raise InputError(
            f"`opcode` (={code}) must be in 0..{max(Opcode)}; it is no program."
        )
    speed = flags >> 3 & 3
    if speed >= len(SPEEDS):
        raise InputError(f"`speed` (={speed}) must be in 0..{len(SPEEDS) - 1}.")
    return Instruction(
        opcode=Opcode(code),
        **{name: bool(flags >> bit & 1) for bit, name in enumerate(_BITS)},
        speed=SPEEDS[speed],
        tile=flags >> 5,
        ub_address=int.from_bytes(data[3:6], "little"),
        acc_address=int.from_bytes(data[6:8], "little"),
        length=int.from_bytes(data[8:12], "little"),
    )
