"""Networks that fork, join and remember on the TPU: every bit, every cycle, every fault."""

from dataclasses import replace

import graphs
import pytest
from integers import filled, images, spec

from accel.tpu.isa import writer
from accel.tpu.isa.compiler import compile_network, compile_shapes
from accel.tpu.isa.isa import Instruction, Opcode, Register
from accel.tpu.isa.program import Program, issue
from accel.tpu.machine import TpuMachine
from accel.tpu.sim import maxplus, schedule
from accel.tpu.sim.executor import execute
from accel.tpu.sim.schedule import steps
from configs.errors import InputError
from configs.layers.layer import Layer
from configs.network import Conv, Dense, Flatten, Network
from configs.program import Concat, Grid, Mul, Pad, Slice
from configs.tpu_apps import lstm
from quant import normative
from quant.network import IntNetwork

SMALL = TpuMachine(side=4, accumulator_rows=32, unified_buffer_bytes=1 << 16)
COUNT = 2


def differences(network: IntNetwork, program: Program) -> int:
    """Values of all steps that are kept, or logits, that differ from the normative ones;
    the cycles are those of the closed form."""
    pixels = images(network.network, program.images)
    result = execute(program, pixels, SMALL)
    todo = steps(network.network, program.images, SMALL, whole=True)
    assert result.counts.cycles == maxplus.predict(todo, SMALL)
    wrong, last = 0, None
    for last in normative.steps(network, pixels):
        if program.kept:
            found = result.outputs[last.layer.name]
            assert found.dtype == last.output.dtype
            wrong += int((found != last.output).sum())
    return wrong + int((result.logits != last.output).sum())


@pytest.mark.parametrize("seed", [2, 3, 17, 40])
def test_random_graphs(seed):
    """Forks, joins, recurrences, squares, borders, parts; dead tensors written over."""
    network = filled(graphs.network(seed), seed=seed)
    keep = seed % 2 == 0
    assert not differences(network, compile_network(network, 2, SMALL, keep=keep))


@pytest.mark.parametrize("gates", ["joined", "separate"])
def test_the_cells_of_the_paper(gates):
    """Its LSTM workloads, scaled down, with values."""
    network = filled(lstm(2, 6, gates), shifts=(18,))
    assert not differences(network, compile_network(network, 5, SMALL, keep=True))


@pytest.mark.parametrize("name", ["residual", "branches", "lstm", "cells"])
def test_shapes_give_the_same_instructions(name):
    """But for what only numbers know: grids and signs."""
    unknown = ["signed", "signs", "shift_ab", "shift_cd", "parameters"]

    def plain(program: Program) -> list[Instruction]:
        names = [Register[name] for name in unknown]
        sets = Opcode.Set_Configuration
        return [
            one for one in program.instructions
            if one.opcode is not sets or one.acc_address not in names
        ]  # fmt: skip

    network = filled(spec(name))
    shapes = compile_shapes(network.network, 2, SMALL, whole=True)
    assert plain(shapes) == plain(compile_network(network, 2, SMALL))


def test_shapes_alone_are_the_products_of_what_is_no_chain():
    """As in the paper's tables: no maps are placed, and nothing is added."""
    network = spec("cells")
    assert not compile_shapes(network, 2, SMALL).tensors
    whole = maxplus.predict(steps(network, 2, SMALL, whole=True), SMALL)
    assert maxplus.predict(steps(network, 2, SMALL), SMALL) < whole


def test_steps_of_a_sequence_share_their_weights():
    """One set of tiles and one block of parameters, however many steps there are."""
    network = filled(spec("lstm"))
    program = compile_network(network, 1, SMALL)
    held = sum(w.weights.size for w in network.weighted.values())
    assert program.tiles_used.prod(axis=1).sum() == held
    tiles = [one.weight_tile for one in issue(program) if one.weight_tile >= 0]
    assert len(tiles) > 5 * len(set(tiles))
    owners = len(network.weighted) + len(network.activated)
    assert len(program.parameters) == owners


# ---------------------------------------------------------------- planted faults


@pytest.fixture(scope="module")
def compiled() -> dict[str, tuple[IntNetwork, Program]]:
    names = ("residual", "branches", "cells", "depthwise")
    networks = {name: filled(spec(name)) for name in names}
    return {
        name: (one, compile_network(one, COUNT, SMALL)) for name, one in networks.items()
    }


def changed(program: Program, number: int, **fields) -> Program:
    listing = list(program.instructions)
    listing[number] = replace(listing[number], **fields)
    return replace(program, instructions=tuple(listing))


def settings(program: Program, register: Register) -> list[int]:
    return [
        number
        for number, one in enumerate(program.instructions)
        if one.opcode is Opcode.Set_Configuration and one.acc_address == register
    ]


def shifted(program: Program, register: Register, by: int, which: int = 0) -> Program:
    """A setting of a register, counted from the first, changed by some number."""
    number = settings(program, register)[which]
    value = program.instructions[number].length
    return changed(program, number, length=value + by)


def exchanged(program: Program, first: int, second: int) -> Program:
    """The values of two settings exchanged."""
    values = [program.instructions[number].length for number in (first, second)]
    return changed(changed(program, first, length=values[1]), second, length=values[0])


def test_the_programs_that_faults_are_planted_in_are_right(compiled):
    for network, program in compiled.values():
        assert not differences(network, program)


@pytest.mark.parametrize(
    ("name", "register", "by"),
    [
        ("residual", Register.c_address, 1),
        ("residual", Register.c_image, -1),
        ("residual", Register.shift_ab, 1),
        ("residual", Register.operands, -4),
        ("branches", Register.b_address, 1),
        ("branches", Register.b_image, -1),
        ("depthwise", Register.first_channel, 1),
        ("depthwise", Register.first_column, -1),
        ("depthwise", Register.skip_down, -1),
        ("depthwise", Register.pool_top, -1),
        ("cells", Register.wide, -16),
        ("cells", Register.signs, 1),
    ],
)
def test_a_register_that_is_off_by_one_is_noticed(compiled, name, register, by):
    """Another value added, another grid, another channel, another sign."""
    network, program = compiled[name]
    assert caught(network, lambda: shifted(program, register, by))


def caught(network: IntNetwork, planted) -> bool:
    """Differences, or a refusal that names what is wrong."""
    try:
        return differences(network, planted()) > 0
    except InputError:
        return True


def test_a_skip_taken_from_another_value_is_noticed(compiled):
    """The second block's shortcut reads what the body made."""
    network, program = compiled["residual"]
    adds = [one for one in issue(program) if one.instruction.opcode is Opcode.Vector]
    first, second = (one.registers[Register.a_address] for one in adds[:2])
    assert first != second
    number = settings(program, Register.c_address)[0]
    assert differences(network, changed(program, number, length=first))


def test_a_sum_shifted_too_far_is_noticed(compiled):
    """Of the activation unit's parameters, in blocks without a bias."""
    network, program = compiled["residual"]
    blocks = [
        replace(one, shift=one.shift + 1) if not len(one.bias) else one
        for one in program.parameters
    ]
    assert differences(network, replace(program, parameters=tuple(blocks)))


def test_branches_in_another_order_are_noticed(compiled):
    """The parts of a concatenation change places, which are as wide."""
    network, program = compiled["branches"]
    copies = [
        one for one in issue(program)
        if one.instruction.opcode is Opcode.Vector and not one.registers[Register.rescaled]
    ]  # fmt: skip
    number = next(n for n in settings(program, Register.a_address) if n < copies[0].number)
    other = next(n for n in settings(program, Register.a_address) if n > copies[0].number)
    assert differences(network, exchanged(program, number, other))


def test_gates_that_change_places_are_noticed(compiled):
    """The forget gate reads the input gate's sums, and the other way round."""
    network, program = compiled["cells"]
    wanted = [
        program.tensors[f"lstmcell1.{gate}.slice"].row * 4
        + program.tensors[f"lstmcell1.{gate}.slice"].offset
        for gate in "if"
    ]
    numbers = [
        number
        for number in settings(program, Register.a_address)
        if program.instructions[number].length in wanted
    ][:2]
    assert differences(network, exchanged(program, *numbers))


@pytest.mark.parametrize("which", [0, 1])
def test_a_state_that_is_not_reset_is_noticed(compiled, which):
    """The unified buffer holds anything before a program begins."""
    network, program = compiled["cells"]
    zeros = [
        one.number for one in issue(program)
        if one.instruction.opcode is Opcode.Vector and not one.registers[Register.operands]
    ]  # fmt: skip
    assert len(zeros) == 4
    listing = list(program.instructions)
    listing[zeros[which]] = Instruction(opcode=Opcode.Nop)
    broken = replace(program, instructions=tuple(listing))
    pixels = images(network.network, COUNT)
    logits = execute(broken, pixels, SMALL).logits
    assert (logits != normative.run(network, pixels)).any()


@pytest.mark.parametrize(
    ("name", "register", "value", "words"),
    [
        ("residual", Register.a_address, 1 << 20, "`a_address` (=1048576) of instruction"),
        ("residual", Register.c_image, 1 << 20, "leave room for its values"),
        ("residual", Register.inner, 0, "`inner` (=0)"),
        ("residual", Register.inner, 1, "rows read"),
        ("residual", Register.operands, 2, "a first factor for each second one"),
        ("residual", Register.parameters, 99, "be a block"),
        ("residual", Register.rescaled, 2, "be 0 or 1"),
        ("cells", Register.shift_cd, 25, "be at most 24"),
        ("branches", Register.out_offset, 1 << 20, "`ub_address`"),
        ("depthwise", Register.first_channel, 3, "room for 1 of the 2 channels"),
        ("depthwise", Register.first_column, 7, "columns"),
        ("depthwise", Register.pool_top, 3, "be smaller than the window (=3)"),
    ],
)
def test_registers_that_lead_astray_are_refused(compiled, name, register, value, words):
    """Before anything runs, with the register's name, its value and the instruction."""
    network, program = compiled[name]
    astray = program
    numbers = settings(program, register)
    assert numbers
    for number in numbers:
        astray = changed(astray, number, length=value)
    with pytest.raises(InputError) as refused:
        execute(astray, images(network.network, COUNT), SMALL)
    assert words in str(refused.value)


# ---------------------------------------------------------------- what is refused


class Three(Layer):
    """x + x + x in one sum."""

    def lower(self, b, x):
        both = b.plus(x, x, part="both")
        return b.activate(b.plus(both, x, part="three"), "relu")


def test_a_sum_of_three_values_is_refused():
    """By the step's name, with the way out."""
    network = filled(Network(input_shape=(4, 4, 1), layers=(Three(), Conv(features=2))))
    with pytest.raises(InputError, match=r"`three1` adds 3 values.*activate the sum of"):
        compile_network(network, 1, SMALL)


class Wide(Layer):
    """A value of 16 bits that is pooled."""

    def lower(self, b, x):
        grid = Grid(signed=True, bits=16, exponent=-12)
        wide = b.activate(x, "identity", part="wide", after=grid)
        return b.pool(wide, "max", (2, 2), (2, 2))


def test_two_bytes_are_not_pooled():
    layers = (Wide(), Conv(features=2, kernel=(1, 1)))
    network = filled(Network(input_shape=(4, 4, 1), layers=layers))
    with pytest.raises(InputError, match=r"`wide1` .=16 bits. must have 8 bits or fewer"):
        compile_network(network, 1, SMALL)


@pytest.mark.parametrize("kind", [Concat, Slice, Mul, Pad])
def test_an_operator_without_an_entry_is_refused_by_name(monkeypatch, kind):
    """By the compiler and by the steps alike."""
    layers = (graphs.Split(), graphs.Folded(), Flatten(), Dense(features=2))
    network = Network(input_shape=(4, 4, 2), layers=layers)
    monkeypatch.delitem(writer._RULES, kind)
    monkeypatch.delitem(schedule._RULES, kind)
    wanted = f"`.+`: `{kind.__name__}` is a kind that accel.tpu"
    assert any(isinstance(node, kind) for node in network.program.nodes)
    with pytest.raises(InputError, match=f"{wanted}.isa.writer"):
        compile_network(filled(network), 1, SMALL)
    with pytest.raises(InputError, match=f"{wanted}.sim.schedule"):
        steps(network, 1, SMALL, whole=True)
