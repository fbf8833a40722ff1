"""Instructions: which fields each has, and how large they may be."""

import pytest

from accel.tpu.isa.isa import (
    BEGIN_AT_ZERO,
    FLAGS,
    OPERAND_NAMES,
    OPERANDS,
    WIDTHS,
    Instruction,
    Opcode,
    Register,
)
from configs.errors import InputError


def test_every_opcode_has_its_operands():
    """No opcode is forgotten, and what the issue asks for is there."""
    assert OPERANDS.keys() == set(Opcode)
    assert FLAGS.keys() <= OPERANDS.keys()
    wanted = "Read_Host_Memory Read_Weights MatrixMultiply Convolve Activate "
    wanted += "Write_Host_Memory Set_Configuration Sync Nop Halt Vector"
    assert set(wanted.split()) == {opcode.name for opcode in Opcode}


def test_registers_that_begin_at_zero_mean_nothing_by_that():
    """A program for a chain without groups, dilation or padded pools never sets them."""
    assert Register.first_channel in BEGIN_AT_ZERO
    assert Register.destination not in BEGIN_AT_ZERO
    names = [f"{one}_{of}" for one in OPERAND_NAMES for of in ("address", "image", "outer")]
    assert set(names) <= {register.name for register in BEGIN_AT_ZERO}


def test_the_frame_of_the_paper():
    """3 bytes of unified buffer address, 2 of accumulator address, 4 of length."""
    assert WIDTHS == {"ub_address": 24, "acc_address": 16, "length": 32, "tile": 11}


@pytest.mark.parametrize("field", WIDTHS)
def test_the_largest_value_fits_and_the_next_does_not(field):
    """Each field holds exactly its bits."""
    most = (1 << WIDTHS[field]) - 1
    Instruction(opcode=Opcode.MatrixMultiply, **{field: most})
    for value in (most + 1, -1):
        with pytest.raises(InputError, match=rf"`{field}` \(={value}\)"):
            Instruction(opcode=Opcode.MatrixMultiply, **{field: value})


@pytest.mark.parametrize(
    ("opcode", "fields", "words"),
    [
        (Opcode.Sync, {"length": 1}, "has no meaning for Sync"),
        (Opcode.Activate, {"new_tile": True}, "has no meaning for Activate"),
        (Opcode.Activate, {"speed": 2}, "has no meaning for Activate"),
        (Opcode.Read_Weights, {"accumulate": True}, "has no meaning for Read_Weights"),
        (Opcode.Convolve, {"from_ub": True}, "has no meaning for Convolve"),
        (Opcode.Convolve, {"speed": 3}, "must be one of (1, 2, 4)"),
        (Opcode.Set_Configuration, {"acc_address": len(Register)}, "must be a register"),
        (Opcode.Convolve, {"length": 1.0}, "must be a whole number"),
        (5, {}, "`opcode` (=5)"),
    ],
)
def test_no_instruction(opcode, fields, words):
    """A field that says nothing, or nothing known, is refused by name."""
    with pytest.raises(InputError) as refused:
        Instruction(opcode=opcode, **fields)
    assert words in str(refused.value)
