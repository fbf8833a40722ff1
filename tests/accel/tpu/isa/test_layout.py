"""Tensors in the unified buffer: none overwrites one that is alive, none is wasted."""

import graphs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integers import SPECS, networks, spec

from accel.tpu.isa.layout import fitted, is_chain, place
from accel.tpu.machine import TpuMachine
from configs.errors import InputError
from configs.program import Program, Slice, State


def extent(tensor, side: int) -> tuple[int, int]:
    """Rows of a tensor, or of what a view may read of the tensor it is part of."""
    return tensor.row, tensor.row - (-tensor.extent // side)


def apart(one, other, side: int) -> bool:
    (a, b), (c, d) = extent(one, side), extent(other, side)
    return b <= c or d <= a


def clashes(program: Program, layout, side: int, always: tuple[str, ...] = ()) -> list:
    """Step by step: pairs of a tensor that is written and one that is still needed. What
    is needed is found backwards, from the readers, value by value."""
    steps = program.steps
    needed = [set() for _ in steps]
    later = {program.output.name}
    for number in reversed(range(len(steps))):
        needed[number] = set(later)
        # A state is set to zeros by its first reader.
        seen = {name for step in steps[:number] for name in step.inputs}
        here = set(steps[number].inputs)
        begun = {n for n in here - seen if isinstance(program.by_name[n], State)}
        later = ((later - {steps[number].name}) | here) - begun
    found = []
    for step, after in zip(steps, needed, strict=True):
        before = set(step.inputs)
        states = {n for n in before if isinstance(program.by_name[n], State)}
        means = f"{step.name} means"
        written = {step.name, means} & layout.tensors.keys() | states
        live = before | after | set(always) | written
        for one in written:
            for other in live - {one}:
                same = shared(program, one) == shared(program, other)
                tensors = layout.tensors[one], layout.tensors[other]
                if not apart(*tensors, side) and not same:
                    found.append((step.name, one, other))
    return found


def shared(program: Program, name: str) -> str:
    """The value that a new shape or a part of one is read from, by what it moves."""
    while name in program.by_name:
        node = program.by_name[name]
        moves = node.op == "Reshape" or (isinstance(node, Slice) and node.axis == 0)
        if not moves:
            return name
        name = node.inputs[0]
    return name


@settings(max_examples=100, derandomize=True, deadline=None)
@given(networks(), st.integers(1, 9), st.integers(1, 40), st.integers(1, 2))
def test_a_chain_takes_what_its_worst_layer_needs(integers, images, side, element_bytes):
    """Nothing alive is written over, and the space is exactly that of input, output and
    means of one layer."""
    program = integers.program
    layout = place(program, images, side, element_bytes=element_bytes)
    assert is_chain(program)
    assert not clashes(program, layout, side)
    needs = [extent(layout.tensors["input"], side)[1]]
    for step in program.steps:
        if layout.tensors[step.name].row == layout.tensors[step.inputs[0]].row:
            continue
        names = step.inputs[0], step.name, f"{step.name} means"
        kept = [layout.tensors[name] for name in names if name in layout.tensors]
        needs.append(sum(-(-one.bytes // side) for one in kept))
    ends = [extent(one, side)[1] for one in layout.tensors.values()]
    assert max(ends) == layout.rows == max(needs)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(
    st.integers(0, 999), st.integers(1, 4), st.integers(1, 20), st.booleans(), st.booleans()
)
def test_no_two_live_tensors_overlap_in_any_graph(seed, images, side, own_input, wide):
    """Forks, joins, recurrences, views; and the next input may arrive at any time."""
    program = graphs.network(seed).program
    how = {"own_input": own_input, "element_bytes": 1 + wide}
    layout = place(program, images, side, **how)
    assert not clashes(program, layout, side, ("input",) if own_input else ())
    assert layout.rows == max(extent(one, side)[1] for one in layout.tensors.values())


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.integers(0, 999), st.integers(1, 4), st.integers(1, 20))
def test_kept_tensors_never_overlap_at_all(seed, images, side):
    """Every tensor has its own place; a new shape or a part of one may share it."""
    program = graphs.network(seed).program
    tensors = place(program, images, side, keep=True).tensors
    overlaps = [
        (a, b)
        for a in tensors
        for b in tensors
        if a < b and not apart(tensors[a], tensors[b], side)
    ]
    assert all(shared(program, a) == shared(program, b) for a, b in overlaps)


def test_a_layout_that_forgets_a_skip_is_noticed():
    """The checks above see a residual whose input is taken for dead."""
    program = spec("residual").program
    layout = place(program, 2, 4)
    skip = layout.tensors["conv1"]
    layout.tensors["residual1.conv1"] = skip
    assert ("residual1.conv1", "residual1.conv1", "conv1") in clashes(program, layout, 4)


def test_gates_are_parts_of_their_sums():
    """Four parts of one tensor, a quarter of it each, image by image."""
    tensors = place(spec("cells").program, 3, 8).tensors
    sums = tensors["lstmcell1.gates"]
    for number, gate in enumerate("ifgo"):
        part = tensors[f"lstmcell1.{gate}.slice"]
        assert (part.row, part.offset, part.image) == (sums.row, 4 * number, 16)
        assert part.bytes == sums.bytes // 4


def test_what_keeps_sixteen_bits_has_two_bytes():
    tensors = place(spec("cells").program, 3, 8).tensors
    wide = {name for name, tensor in tensors.items() if tensor.element_bytes == 2}
    assert wide == {f"lstmcell{n}.{part}" for n in (1, 2) for part in ("cell", "cell_out")}


@pytest.mark.parametrize("name", SPECS)
def test_only_chains_are_chains(name):
    assert is_chain(spec(name).program) == (name in "cnn mean edge signed depthwise")


def test_what_does_not_fit_names_the_largest_batch():
    """That batch fits, one more does not."""
    program = spec("mean").program
    machine = TpuMachine(side=8, unified_buffer_bytes=4096)
    with pytest.raises(InputError, match=r"`images` \(=500\).*batches of (\d+)") as refused:
        fitted(program, 500, machine)
    largest = int(str(refused.value).split("batches of ")[1].split()[0])
    assert fitted(program, largest, machine).rows <= 512
    with pytest.raises(InputError, match=f"batches of {largest} at most"):
        fitted(program, largest + 1, machine)


def test_a_network_that_never_fits_says_so():
    """Where not even one image fits no batch is offered."""
    machine = TpuMachine(side=8, unified_buffer_bytes=64)
    with pytest.raises(InputError, match="not even one image fits"):
        fitted(spec("cnn").program, 3, machine)
