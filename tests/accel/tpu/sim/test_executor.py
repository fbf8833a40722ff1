"""The TPU runs integer networks bit for bit, and notices what is wrong in a program."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integers import SPECS, filled, images, networks, spec

from accel.tpu.isa.assembler import assemble, decode, disassemble, encode
from accel.tpu.isa.compiler import compile_network, compile_shapes
from accel.tpu.isa.isa import MATMULS, Instruction, Opcode, Register
from accel.tpu.isa.program import Program
from accel.tpu.machine import TpuMachine
from accel.tpu.sim import clock, maxplus
from accel.tpu.sim import table as kinds
from accel.tpu.sim.executor import Result, execute
from accel.tpu.sim.schedule import steps
from accel.tpu.sim.table import timed
from configs.errors import InputError
from configs.network import Conv, Dense, Flatten, Network
from configs.program import State
from quant import normative
from quant.network import IntNetwork

SMALL = TpuMachine(side=4, accumulator_rows=32, unified_buffer_bytes=1 << 16)


def exact(network: IntNetwork, pixels: np.ndarray, result: Result) -> None:
    """The host got the normative output, and so did every layer that was kept."""
    for step in normative.steps(network, pixels):
        kept = result.outputs.get(step.layer.name)
        if result.outputs:
            assert kept.dtype == step.output.dtype
            assert np.array_equal(kept, step.output), step.layer.name
    assert result.logits.dtype == step.output.dtype
    assert np.array_equal(result.logits, step.output)


@pytest.mark.parametrize("name", SPECS)
def test_every_kind_of_layer(name):
    """All paddings, poolings, activations and signs on ragged tiles and many chunks, all
    joins and recurrences; in as many cycles as the closed form says."""
    network = filled(spec(name), shifts=(16, 19), weight_bits=5)
    pixels = images(network.network, 3)
    program = compile_network(network, 3, SMALL, keep=True)
    result = execute(program, pixels, SMALL)
    exact(network, pixels, result)
    todo = steps(network.network, 3, SMALL, whole=True)
    assert result.counts.cycles == maxplus.predict(todo, SMALL)
    nodes = network.program.nodes
    states = {node.name for node in nodes if isinstance(node, State)}
    assert result.outputs.keys() == states | {step.name for step in network.walk()}


@settings(max_examples=40, derandomize=True, deadline=None)
@given(networks(), st.integers(1, 3), st.booleans())
def test_random_networks(network, count, keep):
    """Any network; if nothing is kept, dead tensors are written over."""
    pixels = images(network.network, count)
    program = compile_network(network, count, SMALL, keep=keep)
    exact(network, pixels, execute(program, pixels, SMALL))


@pytest.mark.parametrize(("side", "accumulators"), [(2, 4), (5, 8), (16, 4096)])
def test_arrays_of_any_size(side, accumulators):
    """From many ragged tiles and chunks to one of each."""
    machine = TpuMachine(
        side=side, accumulator_rows=accumulators, unified_buffer_bytes=side << 13
    )
    network = filled(spec("signed"))
    pixels = images(network.network, 2)
    program = compile_network(network, 2, machine, keep=True)
    exact(network, pixels, execute(program, pixels, machine))


def test_the_array_of_the_paper():
    """256 x 256, and 512 x 512, where float32 just holds a sum; values at their ends."""
    network = filled(Network(input_shape=(600,), layers=(Dense(features=300),)))
    extreme = replace(
        network.weighted["dense1"], weights=np.full((600, 300), 127, np.int8),
        multiplier=np.full(300, 1, np.int32),
        bias=np.arange(300, dtype=np.int32) - 19354000,
    )  # fmt: skip
    network = replace(network, weighted={"dense1": extreme})
    pixels = np.full((3, 600), 255, np.uint8)
    pixels[1:] -= np.arange(600, dtype=np.uint8) % 7
    for side in (256, 512):
        machine = TpuMachine(side=side)
        result = execute(compile_network(network, 3, machine), pixels, machine)
        exact(network, pixels, result)
    # The sums are large and none is cut off.
    sums = next(normative.steps(network, pixels)).products
    assert sums.max() == 600 * 255 * 127


def test_an_array_beyond_float32_multiplies_integers():
    """A sum of 1024 products does not fit 24 bits; odd ones show it."""
    network = filled(Network(input_shape=(1024,), layers=(Dense(features=2),)))
    weights = np.full((1024, 2), 127, np.int8)
    total = 1024 * 255 * 127 - 127
    odd = replace(
        network.weighted["dense1"], weights=weights, shift=8,
        multiplier=np.full(2, 256, np.int32), bias=np.full(2, 100 - total, np.int32),
    )  # fmt: skip
    network = replace(network, weighted={"dense1": odd})
    pixels = np.full((2, 1024), 255, np.uint8)
    pixels[0, 0], pixels[1, 900] = 254, 254
    machine = TpuMachine(side=1024)
    exact(network, pixels, execute(compile_network(network, 2, machine), pixels, machine))


def test_text_and_bytes_run_as_the_program_does():
    """What the assembler and the encoding make of a program gives the same bits."""
    network = filled(spec("cnn"))
    pixels = images(network.network, 2)
    program = compile_network(network, 2, SMALL)
    text = assemble(disassemble(program.instructions))
    again = replace(program, instructions=tuple(decode(encode(text))))
    exact(network, pixels, execute(again, pixels, SMALL))


def test_times_are_the_clocks():
    """Data and time in one scan give the times of the clock alone, and of shapes."""
    network = filled(spec("mean"))
    pixels = images(network.network, 2)
    program = compile_network(network, 2, SMALL)
    result = execute(program, pixels, SMALL)
    alone = clock.run(timed(program, SMALL), fifo=SMALL.fifo_tiles)
    assert len(result.times.end) == len(program.instructions)
    for ours, theirs in zip(result.times, alone, strict=True):
        assert np.array_equal(ours, theirs)
    shapes = timed(compile_shapes(network.network, 2, SMALL), SMALL)
    assert clock.run(shapes, fifo=4).end.max() == result.counts.cycles
    assert result.counts.macs == 2 * network.network.macs


# A dense layer of 3 x 2 tiles and 2 chunks of rows, and one more layer.
LAYERS = (Dense(features=7), Dense(features=5, activation="identity"))
FAULTY = filled(Network(input_shape=(11,), layers=LAYERS))
ROWS = TpuMachine(side=4, accumulator_rows=8, unified_buffer_bytes=1 << 12)
PIXELS = images(FAULTY.network, 6)


@pytest.fixture(scope="module")
def program() -> Program:
    return compile_network(FAULTY, 6, ROWS)


def changed(program: Program, number: int, **fields) -> Program:
    listing = list(program.instructions)
    listing[number] = replace(listing[number], **fields)
    return replace(program, instructions=tuple(listing))


def numbers(program: Program, *opcodes: Opcode) -> list[int]:
    return [n for n, one in enumerate(program.instructions) if one.opcode in opcodes]


def wrong(program: Program) -> int:
    """Logits that differ from the normative ones."""
    logits = execute(program, PIXELS, ROWS).logits
    return int((logits != normative.run(FAULTY, PIXELS)).sum())


def test_the_program_that_faults_are_planted_in_is_right(program):
    """So what the next tests see comes from the faults."""
    assert wrong(program) == 0


def test_a_wrong_weight_is_noticed(program):
    """One weight of the last layer's first tile."""
    tiles = program.tiles.copy()
    tiles[6, 0, 0] = -tiles[6, 0, 0]
    assert wrong(replace(program, tiles=tiles))


def test_tiles_out_of_order_are_noticed(program):
    """The FIFO hands out tiles in the order of the reads."""
    first, second = numbers(program, Opcode.Read_Weights)[:2]
    swapped = changed(program, first, ub_address=1)
    assert wrong(changed(swapped, second, ub_address=0))


@pytest.mark.parametrize("flag", ["accumulate", "new_tile"])
def test_a_wrong_flag_is_noticed(program, flag):
    """Sums started anew, or the tile before used again, in the first chunk's second
    product; between the first two stands the first of the other chunk."""
    third = numbers(program, *MATMULS)[2]
    value = getattr(program.instructions[third], flag)
    assert value
    assert wrong(changed(program, third, **{flag: False}))


def test_the_second_chunk_of_a_pair_uses_the_tile_again(program):
    """Taking a tile of its own it would have to wait for one that nobody has read; with
    one more read it has the wrong one."""
    second = numbers(program, *MATMULS)[1]
    own = changed(program, second, new_tile=True)
    with pytest.raises(InputError, match="would wait for weights for ever"):
        execute(own, PIXELS, ROWS)
    listing = list(own.instructions)
    listing.insert(second, Instruction(opcode=Opcode.Read_Weights, ub_address=1, length=1))
    layer = (*own.layer[:second], 0, *own.layer[second:])
    assert wrong(replace(own, instructions=tuple(listing), layer=layer))


def test_sums_added_to_old_ones_are_noticed(program):
    """The third chunk's first product finds the first chunk's sums."""
    third = [
        n for n in numbers(program, *MATMULS) if not program.instructions[n].accumulate
    ][2]
    assert wrong(changed(program, third, accumulate=True))


def test_both_halves_may_hold_sums(program):
    """A short product leaves the rows beyond it alone, in the other half too."""
    listing = list(program.instructions)
    first, second = numbers(program, Opcode.Activate)[:2]
    for number in range(second + 1):
        if listing[number].opcode in (*MATMULS, Opcode.Activate):
            other = 4 - listing[number].acc_address
            listing[number] = replace(listing[number], acc_address=other)
    earlier = listing.pop(first)
    back = Instruction(opcode=Opcode.Set_Configuration, acc_address=int(Register.first_row))
    # The first chunk, now in the upper half, is activated after the second.
    listing[second:second] = [back, earlier]
    assert wrong(replace(program, instructions=tuple(listing))) == 0


@pytest.mark.parametrize(
    ("opcode", "fields"),
    [
        (Opcode.MatrixMultiply, {"tile": 1}),
        (Opcode.MatrixMultiply, {"acc_address": 4}),
        (Opcode.MatrixMultiply, {"length": 2}),
        (Opcode.Activate, {"tile": 1}),
        (Opcode.Activate, {"length": 2}),
        (Opcode.Read_Host_Memory, {"length": 60}),
        (Opcode.Write_Host_Memory, {"length": 29}),
    ],
)
def test_a_wrong_field_is_noticed(program, opcode, fields):
    """Columns, half, rows and bytes each matter."""
    first = numbers(program, opcode)[0]
    assert wrong(changed(program, first, **fields))


def test_a_missing_sync_shows_in_time_alone(program):
    """Data come in program order here; a layer that does not wait ends too early."""
    sync = numbers(program, Opcode.Sync)[1]
    without = changed(program, sync, opcode=Opcode.Nop)
    results = [execute(one, PIXELS, ROWS) for one in (program, without)]
    assert np.array_equal(results[0].logits, results[1].logits)
    assert results[1].counts.cycles < results[0].counts.cycles
    assert results[1].counts.raw_stall < results[0].counts.raw_stall


def test_speed_changes_time_alone(program):
    """16-bit speeds stand for their duration; the bits are those of 8 by 8."""
    slow = tuple(
        replace(one, speed=4) if one.opcode in MATMULS else one
        for one in program.instructions
    )
    result = execute(replace(program, instructions=slow), PIXELS, ROWS)
    assert np.array_equal(result.logits, normative.run(FAULTY, PIXELS))
    assert result.counts.active == 4 * execute(program, PIXELS, ROWS).counts.active


def set_register(program: Program, register: Register, value: int) -> Program:
    """The register's first setting changed."""
    number = next(
        n
        for n in numbers(program, Opcode.Set_Configuration)
        if program.instructions[n].acc_address == register
    )
    return changed(program, number, length=value)


@pytest.fixture(scope="module")
def mapped() -> Program:
    """A convolution padded with means."""
    layers = (Conv(features=3, kernel=(3, 3), padding="mean"), Flatten(), Dense(features=2))
    return compile_network(filled(Network(input_shape=(5, 4, 2), layers=layers)), 2, ROWS)


@pytest.mark.parametrize(
    ("register", "value", "words"),
    [
        (Register.channels, 0, "`channels` (=0) of instruction"),
        (Register.height, 1 << 24, "`height` (=16777216)"),
        (Register.channels, 300, "leave room for"),
        (Register.images, 99, "leave room for"),
        (Register.output_height, 2, "`output_height` (=2) of instruction"),
        (Register.pooling, 3, "be a known kind"),
        (Register.destination, 5000, "`destination` (=5000)"),
        (Register.padding, 3, "`padding` (=3)"),
        (Register.means, 5000, "`means` (=5000)"),
        (Register.output_channels, 4, "be the 3 of its parameters"),
        (Register.parameters, 2, "be a block below 2"),
        (Register.first_row, 1 << 20, "leave room for"),
    ],
)
def test_registers_that_lead_astray_are_refused(mapped, register, value, words):
    """Before anything runs, with the register's name, its value and the instruction."""
    pixels = np.zeros((2, 5, 4, 2), np.uint8)
    with pytest.raises(InputError) as refused:
        execute(set_register(mapped, register, value), pixels, ROWS)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("opcode", "fields", "words"),
    [
        (Opcode.MatrixMultiply, {"length": 0}, "be in 1..4 rows"),
        (Opcode.MatrixMultiply, {"length": 5}, "be in 1..4 rows"),
        (Opcode.MatrixMultiply, {"acc_address": 2}, "in its half of 4 accumulators"),
        (Opcode.MatrixMultiply, {"acc_address": 8}, "in its half of 4 accumulators"),
        (Opcode.MatrixMultiply, {"tile": 3}, "begin below K = 11"),
        (Opcode.MatrixMultiply, {"ub_address": 1 << 20}, "leave room for"),
        (Opcode.Activate, {"tile": 2}, "begin below N = 7"),
        (Opcode.Activate, {"ub_address": 1 << 20}, "leave room for"),
        (Opcode.Read_Host_Memory, {"length": 67}, "be at most 66 bytes"),
        (Opcode.Write_Host_Memory, {"ub_address": 1 << 20}, "leave room for"),
        (Opcode.Read_Weights, {"ub_address": 99}, "must read one of the 10 tiles"),
        (Opcode.Read_Weights, {"length": 2}, "must read one of the 10 tiles"),
    ],
)
def test_instructions_that_lead_astray_are_refused(program, opcode, fields, words):
    """Addresses and lengths beyond a memory, with the number of the instruction."""
    first = numbers(program, opcode)[0]
    with pytest.raises(InputError) as refused:
        execute(changed(program, first, **fields), PIXELS, ROWS)
    assert words in str(refused.value)
    assert str(first) in str(refused.value)


def test_a_product_without_weights_is_refused(program):
    """It would wait for ever; so would a program without an end."""
    first = numbers(program, Opcode.Read_Weights)[0]
    nop = replace(program.instructions[first], opcode=Opcode.Nop, ub_address=0, length=0)
    listing = list(program.instructions)
    listing[first] = nop
    with pytest.raises(InputError, match="would wait for weights for ever"):
        execute(replace(program, instructions=tuple(listing)), PIXELS, ROWS)
    with pytest.raises(InputError, match="needs a live tile"):
        execute(changed(program, first + 1, new_tile=False), PIXELS, ROWS)
    with pytest.raises(InputError, match="must end with Halt"):
        execute(replace(program, instructions=program.instructions[:-1]), PIXELS, ROWS)


def test_what_stands_behind_halt_never_runs(program):
    """Halt is the end."""
    behind = Instruction(opcode=Opcode.Read_Weights, length=99)
    longer = replace(program, instructions=(*program.instructions, behind))
    assert wrong(longer) == 0


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (
            lambda p: execute(p, PIXELS[:5], ROWS),
            "`images` (=uint8[5, 11]) must be uint8[6",
        ),
        (lambda p: execute(p, PIXELS.astype(int), ROWS), "`images` (=int64[6, 11])"),
        (lambda p: execute(p, PIXELS, replace(ROWS, side=8)), "`side` (=8) must be that"),
        (
            lambda p: execute(p, PIXELS, replace(ROWS, unified_buffer_bytes=4)),
            "`unified_buffer_bytes` (=4) must hold",
        ),
        (
            lambda p: execute(compile_shapes(FAULTY.network, 6, ROWS), PIXELS, ROWS),
            "`program` (=made from shapes)",
        ),
    ],
)
def test_what_cannot_be_executed(program, act, words):
    """Images, machine and program have to fit each other."""
    with pytest.raises(InputError) as refused:
        act(program)
    assert words in str(refused.value)


def test_the_table_has_a_row_for_every_instruction(program):
    """Configuration takes no time, and used weights are those of each tile."""
    columns = timed(program, ROWS)
    assert len(columns.kind) == len(program.instructions)
    idle = numbers(program, Opcode.Set_Configuration, Opcode.Nop, Opcode.Halt)
    assert np.flatnonzero(columns.kind == kinds.IDLE).tolist() == idle
    products = numbers(program, *MATMULS)
    # Tiles of 11 x 7 weights: 4, 4, 3 rows by 4 then by 3 columns, each for two chunks.
    used = [16, 16, 16, 16, 12, 12, 12, 12, 12, 12, 9, 9]
    assert columns.used[products[:12]].tolist() == used
