"""From a network to a program: its loops, its tiles, its size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integers import filled, networks, spec

from accel.tpu.isa.compiler import compile_network, compile_shapes
from accel.tpu.isa.isa import MATMULS, Instruction, Opcode, Register
from accel.tpu.isa.program import issue
from accel.tpu.machine import TpuMachine
from accel.workload.gemm import Gemm, gemms
from configs.errors import InputError
from configs.network import Conv, Dense, Flatten, Network, Pool

SMALL = TpuMachine(side=4, accumulator_rows=8, unified_buffer_bytes=1 << 16)


def listed(program, *opcodes: Opcode) -> list[Instruction]:
    return [one for one in program.instructions if one.opcode in opcodes]


def dense(inputs: int, *features: int) -> Network:
    layers = tuple(Dense(features=one) for one in features)
    return Network(input_shape=(inputs,), layers=layers)


def test_the_loops_of_a_layer():
    """Tiles of N, pairs of chunks, tiles of K; a tile is read once for both chunks."""
    program = compile_network(filled(dense(6, 5)), 7, SMALL)
    products = listed(program, Opcode.MatrixMultiply)
    # 2 tiles of N x 2 chunks of 4 rows x 2 tiles of K.
    assert [one.length for one in products] == [4, 3, 4, 3] * 2
    assert [one.tile for one in products] == [0, 0, 1, 1] * 2
    assert [one.accumulate for one in products] == [False, False, True, True] * 2
    assert [one.acc_address for one in products] == [0, 4, 0, 4] * 2
    assert [one.new_tile for one in products] == [True, False] * 4
    reads = [one.ub_address for one in listed(program, Opcode.Read_Weights)]
    assert reads == [0, 1, 2, 3]
    activates = listed(program, Opcode.Activate)
    assert [one.acc_address for one in activates] == [0, 4, 0, 4]
    assert [one.tile for one in activates] == [0, 0, 1, 1]
    assert [one.length for one in activates] == [4, 3, 4, 3]
    order = listed(program, Opcode.MatrixMultiply, Opcode.Activate, Opcode.Read_Weights)
    # The first chunk is activated before the last product of the second.
    assert "".join(one.opcode.name[0] for one in order) == "RMMRMAMA" * 2


@pytest.mark.parametrize("rows", [3, 4, 5, 8, 9, 12, 13, 17, 20])
@pytest.mark.parametrize("inputs", [4, 8, 18])
def test_reads_of_weights(rows, inputs):
    """Tiles of K * tiles of N * pairs of chunks; of one tile of K, tiles of N alone."""
    program = compile_shapes(dense(inputs, 9), rows, SMALL)
    k_tiles, n_tiles, chunks = -(-inputs // 4), 3, -(-rows // 4)
    times = 1 if k_tiles == 1 else -(-chunks // 2)
    reads = listed(program, Opcode.Read_Weights)
    assert len(reads) == k_tiles * n_tiles * times
    assert len(reads) == sum(one.new_tile for one in listed(program, *MATMULS))


def test_one_tile_of_k_stays_live():
    """It is read once for all chunks of rows."""
    program = compile_network(filled(dense(4, 5)), 9, SMALL)
    assert [one.ub_address for one in listed(program, Opcode.Read_Weights)] == [0, 1]
    new = [one.new_tile for one in listed(program, Opcode.MatrixMultiply)]
    assert new == [True, False, False] * 2


def test_a_layer_waits_for_the_one_before():
    """One Sync after the host's read and one between layers, none without a reason."""
    program = compile_network(filled(dense(6, 5, 3)), 2, SMALL)
    order = listed(
        program, Opcode.Read_Host_Memory, Opcode.Sync, Opcode.Activate,
        Opcode.Write_Host_Memory, Opcode.Halt,
    )  # fmt: skip
    letters = "".join(one.opcode.name[0] for one in order)
    # Two tiles of N, then one.
    assert letters == "RSAASAWH"
    assert program.instructions[-1].opcode is Opcode.Halt


def test_means_that_pad_come_before_the_layer():
    """They are a pooling over the whole map, and the layer waits for them."""
    program = compile_network(filled(spec("mean")), 2, SMALL)
    first = next(one for one in issue(program) if one.instruction.from_ub)
    assert first.instruction.ub_address == program.tensors["input"].row
    assert first.registers[Register.kernel_height] == 9
    assert first.registers[Register.destination] == program.tensors["conv1 means"].row
    after = [one.opcode for one in program.instructions[first.number :]]
    assert Opcode.Sync in after[: after.index(Opcode.Convolve)]


@settings(max_examples=40, derandomize=True, deadline=None)
@given(networks(), st.integers(1, 5), st.integers(1, 9), st.sampled_from([2, 6, 64]))
def test_every_weight_meets_every_row_once(network, images, side, accumulators):
    """Rows times used weights over all products are the network's MACs; a tile of zeros
    beyond the weights never counts."""
    machine = TpuMachine(
        side=side, accumulator_rows=accumulators, unified_buffer_bytes=side << 14
    )
    program = compile_network(network, images, machine)
    macs = sum(
        one.instruction.length * int(program.tiles_used[one.weight_tile].prod())
        for one in issue(program)
        if one.instruction.opcode in MATMULS
    )
    assert macs == images * network.network.macs
    held = sum(
        int(np.abs(one.matrix).astype(int).sum()) for one in network.weighted.values()
    )
    assert int(np.abs(program.tiles.astype(int)).sum()) == held
    for tile, (rows, cols) in zip(program.tiles, program.tiles_used, strict=True):
        assert not tile[rows:].any()
        assert not tile[:, cols:].any()


@settings(max_examples=40, derandomize=True, deadline=None)
@given(networks(), st.integers(1, 5), st.integers(2, 9))
def test_shapes_give_the_same_instructions(network, images, side):
    """But for the sign of activations, which shapes do not know."""
    machine = TpuMachine(side=side, accumulator_rows=8, unified_buffer_bytes=side << 14)

    def plain(program) -> list[Instruction]:
        sign = {"opcode": Opcode.Set_Configuration, "acc_address": int(Register.signed)}
        signs = {Instruction(**sign, length=value) for value in (0, 1)}
        return [one for one in program.instructions if one not in signs]

    shapes = compile_shapes(network.network, images, machine)
    assert plain(compile_network(network, images, machine)) == plain(shapes)
    assert shapes.tiles is None


def test_sixteen_bits_take_two_bytes():
    """Twice the bytes from the host and in the unified buffer, twice the cycles."""
    network = dense(6, 5)
    one, two = (compile_shapes(network, 7, SMALL, speed=speed) for speed in (1, 2))
    assert [p.instructions[0].length for p in (one, two)] == [42, 84]
    assert {p.speed for p in listed(two, Opcode.MatrixMultiply)} == {2}
    assert two.unified_buffer_rows == 84 // 4 + 72 // 4


def test_repeats_have_weights_of_their_own():
    """A product of 3 repeats is 3 products without a Sync in between."""
    program = compile_shapes([Gemm("gates", 2, 1, 6, 5, 3)], 2, SMALL)
    assert len(listed(program, Opcode.MatrixMultiply)) == 3 * 2 * 2
    assert [one.ub_address for one in listed(program, Opcode.Read_Weights)] == [*range(12)]
    assert len(listed(program, Opcode.Sync)) == 1
    assert program.tiles_used.prod(1).sum() == 3 * 6 * 5


def test_products_alone_make_the_same_program_as_dense_layers():
    """But for the places in the unified buffer, which they do not have."""
    network = dense(6, 5, 3)

    def order(program) -> list:
        return [(one.opcode, one.length, one.tile) for one in program.instructions]

    alone = compile_shapes(gemms(network, 7), 7, SMALL)
    assert order(alone) == order(compile_shapes(network, 7, SMALL))
    assert alone.unified_buffer_rows == 0


def test_the_next_batch_arrives_during_the_last_layer():
    """Its read stands before the last layer's products; its Sync after them."""
    program = compile_shapes(dense(3, 2, 2), 2, SMALL, batches=2)
    kinds = (*MATMULS, Opcode.Read_Host_Memory, Opcode.Sync, Opcode.Write_Host_Memory)
    letters = "".join(one.opcode.name[0] for one in listed(program, *kinds))
    assert letters == "RSMSRMW" + "SMSMW"


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: compile_network(filled(dense(6, 5)), 0, SMALL), "`images` (=0)"),
        (lambda: compile_network(filled(dense(6, 5)), 1 << 14, SMALL), "batches of 5957"),
        (
            lambda: compile_shapes(dense(1 << 14, 5), 1, SMALL),
            "`dense1` (=16384 x 5 weights) must have at most 2048 tiles of 4",
        ),
        (lambda: compile_shapes([Gemm("a", 3, 1, 2, 2)], 2, SMALL), "`images` (=3) of a"),
        (
            lambda: compile_shapes(
                dense(9, 9), 1, TpuMachine(side=4, weight_memory_bytes=128)
            ),
            "`weight_memory_bytes` (=128) must hold 9 tiles of 16 bytes",
        ),
        (
            lambda: compile_shapes(
                Network(input_shape=(4, 4, 1), layers=(Pool(), Flatten())), 1, SMALL
            ),
            "must have a layer with weights",
        ),
    ],
)
def test_what_cannot_be_compiled(act, words):
    """One line that says what is too much and what would do."""
    with pytest.raises(InputError) as refused:
        act()
    assert words in str(refused.value)


def test_a_convolution_reads_its_map_row_by_row():
    """Convolve for convolutions, with the map in the registers; else MatrixMultiply."""
    layers = (Conv(features=3, kernel=(2, 3), stride=(1, 2)), Flatten(), Dense(features=2))
    network = Network(input_shape=(5, 7, 2), layers=layers)
    issued = [
        one
        for one in issue(compile_network(filled(network), 1, SMALL))
        if one.instruction.opcode in MATMULS
    ]
    first, last = issued[0], issued[-1]
    assert first.instruction.opcode is Opcode.Convolve
    assert first.registers[:7] == (5, 7, 2, 2, 3, 1, 2)
    assert last.instruction.opcode is Opcode.MatrixMultiply
    # One pixel of as many channels as the layer has inputs: 4 * 3 * 3.
    assert last.registers[:7] == (1, 1, 36, 1, 1, 1, 1)
