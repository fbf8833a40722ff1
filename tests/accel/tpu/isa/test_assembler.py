"""Programs as text and bytes: nothing is lost on the way, and mistakes have a line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.tpu.isa.assembler import assemble, decode, disassemble, encode
from accel.tpu.isa.isa import FLAGS, OPERANDS, SPEEDS, WIDTHS, Instruction, Opcode, Register
from configs.errors import InputError


@st.composite
def instructions(draw) -> Instruction:
    """Any instruction that there is."""
    opcode = draw(st.sampled_from(Opcode))
    fields = {name: draw(st.booleans()) for name in FLAGS.get(opcode, ())}
    for field, name in OPERANDS[opcode].items():
        if name == "register":
            fields[field] = int(draw(st.sampled_from(Register)))
        elif field == "speed":
            fields[field] = draw(st.sampled_from(SPEEDS))
        else:
            fields[field] = draw(st.integers(0, (1 << WIDTHS[field]) - 1))
    return Instruction(opcode=opcode, **fields)


@given(st.lists(instructions(), max_size=8))
def test_text_and_bytes_give_the_program_back(program):
    """Both forms say everything, in 12 bytes and one line an instruction."""
    text, data = disassemble(program), encode(program)
    assert assemble(text) == program
    assert decode(data) == program
    assert len(data) == 12 * len(program)
    assert text.count("\n") == len(program)


@given(st.binary(min_size=12, max_size=12))
def test_bytes_are_an_instruction_or_refused(data):
    """What is read from bytes is written back as the same bytes."""
    try:
        program = decode(data)
    except InputError:
        return
    assert encode(program) == data


def test_the_bytes_of_a_product():
    """Opcode, flags, unified buffer, accumulators, length; low byte first."""
    one = Instruction(
        opcode=Opcode.MatrixMultiply, ub_address=0x010203, acc_address=0x0405,
        length=0x06070809, tile=0x7FF, speed=4, new_tile=True,
    )  # fmt: skip
    assert encode([one]).hex() == "04f1ff0302010504" + "09080706"


def test_a_text_as_people_write_it():
    """Comments, blank lines, any order, defaults."""
    text = """
    # weights first
    Read_Weights tiles=1
    Set_Configuration value=784 register=channels

    MatrixMultiply new_tile rows=200   # all other operands are 0
    """
    channels = int(Register.channels)
    assert assemble(text) == [
        Instruction(opcode=Opcode.Read_Weights, length=1),
        Instruction(opcode=Opcode.Set_Configuration, acc_address=channels, length=784),
        Instruction(opcode=Opcode.MatrixMultiply, length=200, new_tile=True),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("MatrixMultiplication", "`opcode` (='MatrixMultiplication') must be one of Nop"),
        ("Sync rows=1", "`Sync` takes no operands, not 'rows=1'"),
        ("Activate new_tile", "`Activate` takes ub=, acc=, rows=, tile=, from_ub, not"),
        ("Activate rows=1 rows=2", "`rows` (='rows=2') stands twice"),
        ("Activate rows=-1", "`rows` (='-1') must be a whole number of 0 or more"),
        ("Activate rows=", "`rows` (='') must be a whole number"),
        ("Activate rows=1e3", "`rows` (='1e3') must be a whole number"),
        ("Activate acc=65536", "`acc_address` (=65536)"),
        ("Convolve tile=2048", "`tile` (=2048)"),
        ("Convolve speed=8", "`speed` (=8)"),
        ("Set_Configuration register=depth", "`register` (='depth') must be one of height"),
        ("Activate rows=9999999999999999999", "`rows`"),
    ],
)
def test_a_wrong_line_is_named(line, words):
    """One message with the file, the line, the value and what would be right."""
    with pytest.raises(InputError) as refused:
        assemble(f"Nop\n# fine\n{line}\nHalt\n", source="mine.tpu")
    message = str(refused.value)
    assert message.startswith("mine.tpu, line 3: ")
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bytes(13), "`mine.bin` (=13 bytes) must have 12 bytes an instruction"),
        (bytes(12) + b"\xff" + bytes(11), "mine.bin, byte 12: `opcode` (=255)"),
        (b"\x04\x18" + bytes(10), "mine.bin, byte 0: `speed` (=3)"),
        (b"\x00\x00\x00\x01" + bytes(8), "mine.bin, byte 0: `ub_address` (=1)"),
    ],
)
def test_wrong_bytes_are_named(data, words):
    """Bytes that are no program are refused with their place."""
    with pytest.raises(InputError) as refused:
        decode(data, source="mine.bin")
    assert words in str(refused.value)
