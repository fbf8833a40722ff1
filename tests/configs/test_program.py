"""Programs: what is no program is refused, and what follows from edges is what they say."""

import dataclasses
import math

import pytest

from configs import registry
from configs.errors import InputError
from configs.network import (
    Concat,
    Conv,
    Dense,
    Flatten,
    GlobalPool,
    Lstm,
    LstmCell,
    Multiply,
    Network,
    Pool,
    Residual,
)
from configs.program import (
    OPERATORS,
    Activate,
    Add,
    Builder,
    Input,
    Node,
    Product,
    Program,
    Reshape,
    entry,
    require_operator,
)

X = Input(name="input", layer="input", shape=(4,))
SUMS = Product(name="d.sum", layer="d", inputs=("input",), shape=(3,), weights="d", K=4)
OUT = Activate(name="d", layer="d", inputs=("d.sum",), shape=(3,), function="relu")


def test_a_program_is_its_nodes_in_order():
    program = Program(nodes=(X, SUMS, OUT))
    assert (program.input, program.output) == (X, OUT)
    assert program.readers == {"input": (SUMS,), "d.sum": (OUT,), "d": ()}
    assert (program.weights, program.parameters, program.macs) == (12, 15, 12)
    assert [step.name for step in program.steps] == ["d"]


@pytest.mark.parametrize(
    ("nodes", "rule"),
    [
        ((), r"`nodes` \(=\[\]\) must begin with an Input"),
        ((SUMS, OUT), r"must begin with an Input"),
        ((X, OUT, SUMS), r"`d` takes `d.sum`, which must be made before it"),
        ((X, SUMS, OUT, OUT), r"`d` must be made once, not twice"),
        (
            (X, SUMS, dataclasses.replace(OUT, shape=(5,))),
            r"`shape` \(=\(5,\)\) of `d` must be \(3,\)",
        ),
        ((X, dataclasses.replace(SUMS, K=5), OUT), r"`K` \(=5\) of `d.sum` must be the 4"),
        ((X, SUMS), r"`d.sum` \(Product\) must be read by one Activate.*not by nothing"),
        (
            (X, SUMS, Reshape(name="r", layer="r", inputs=("d.sum",), shape=(3,))),
            r"`d.sum` \(Product\) must be read by one Activate.*`r` \(Reshape\)",
        ),
        (
            (X, SUMS, OUT, dataclasses.replace(OUT, name="e")),
            r"must be read by one Activate.*`d` \(Activate\), `e` \(Activate\)",
        ),
        (
            (X, dataclasses.replace(X, name="y", inputs=("input",)), SUMS, OUT),
            r"`y` \(Input\) cannot take 1 values",
        ),
        (
            (
                X,
                Activate(
                    name="a", layer="a", inputs=("input",), shape=(4,), function="relu"
                ),
                SUMS,
                OUT,
            ),
            r"`a` must be used by a later node",
        ),
    ],
)
def test_what_is_no_program_is_refused(nodes, rule):
    with pytest.raises(InputError, match=rule):
        Program(nodes=nodes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sort(Node):
    """An operator that nobody knows."""


def test_an_unknown_operator_is_refused_by_name():
    odd = Sort(name="s", layer="s", inputs=("input",), shape=(4,))
    with pytest.raises(InputError, match="`s`: `Sort` is a kind that configs.program"):
        Program(nodes=(X, odd))
    with pytest.raises(InputError, match="`s`: `Sort` is a kind that a.b does not know"):
        entry({Add: print}, odd, "a.b")
    with pytest.raises(InputError, match="`s`: `Sort`"):
        require_operator(odd, "a.b")
    for kind in OPERATORS:
        assert entry({kind: kind}, object.__new__(kind), "a.b") is kind


# --- What layers lower to. ---


def operators(*layers, shape=(6, 6, 2)) -> list[str]:
    program = Network(input_shape=shape, layers=layers).program
    return [node.op for node in program.nodes]


def test_layers_are_these_operators():
    assert operators(Conv(features=3)) == ["Input", "Product", "Activate"]
    assert operators(Conv(features=3, padding="mean"))[1] == "Pad"
    assert operators(GlobalPool()) == ["Input", "Pool", "Reshape"]
    assert operators(Residual(body=(Conv(features=2, padding="zero"),)))[-2:] == [
        "Add",
        "Activate",
    ]
    assert operators(Multiply(body=(GlobalPool(), Dense(features=2))))[-2:] == [
        "Mul",
        "Activate",
    ]
    cell = operators(LstmCell(features=3), shape=(4,))
    assert {"State", "Slice", "Concat", "Mul", "Add"} < set(cell)
    every = {type(n) for name in registry.known_names() for n in _program(name).nodes}
    assert every == set(OPERATORS), "or the known networks would test too little"


def _program(name: str) -> Program:
    return registry.load_network(name).program


def test_values_side_by_side_are_on_one_grid():
    """Of two signs the unsigned one is brought over; pixels are, too."""
    both = (
        (Conv(features=2, padding="zero"),),
        (Conv(features=3, padding="zero", activation="tanh"),),
        (),
    )
    program = Network(input_shape=(6, 6, 2), layers=(Concat(branches=both),)).program
    concat = program.output
    assert concat.shape == (6, 6, 7)
    roots = [program.root(name) for name in concat.inputs]
    assert [root.name for root in roots] == [
        "concat1.grid0",
        "concat1.branch2.conv1",
        "concat1.grid2",
    ]
    assert len({program.grids()[root.name] for root in roots}) == 1
    same = ((Conv(features=2, kernel=(1, 1)),), (Conv(features=3, kernel=(1, 1)),))
    program = Network(input_shape=(6, 6, 2), layers=(Concat(branches=same),)).program
    assert program.output.inputs == ("concat1.branch1.conv1", "concat1.branch2.conv1")


def test_steps_are_done_in_one_go_and_named_after_their_last_node():
    layers = (
        Conv(features=4, padding="edge"),
        Residual(body=(Conv(features=4, kernel=(1, 1)),)),
        Pool(),
        GlobalPool(),
        Dense(features=2),
    )
    program = Network(input_shape=(6, 6, 2), layers=layers).program
    found = {step.name: [node.op for node in step.nodes] for step in program.steps}
    assert found == {
        "conv1": ["Pad", "Product", "Activate"],
        "residual1.conv1": ["Product", "Activate"],
        "residual1": ["Add", "Activate"],
        "pool1": ["Pool"],
        "globalpool1": ["Pool", "Reshape"],
        "dense1": ["Product", "Activate"],
    }
    (join,) = (step for step in program.steps if step.name == "residual1")
    assert join.inputs == ("residual1.conv1", "conv1")


def test_all_steps_of_a_sequence_share_their_weights():
    program = Network(input_shape=(5, 3, 1), layers=(Lstm(features=4),)).program
    assert len(program.products) == 5
    assert list(program.weighted) == ["lstm1"]
    assert program.weights == 4 * (3 + 4) * 4
    assert program.macs == 5 * program.weights
    assert program.output.name == "lstm1"
    sequence = Lstm(features=4, returns="sequence")
    assert sequence.output_shape((5, 3, 1)) == (5, 4)
    assert sequence.weights((5, 3)) == program.weights
    with pytest.raises(InputError, match=r"Lstm takes a sequence .* got `shape` \(=\(3,\)"):
        sequence.output_shape((3,))


def test_chained_is_the_product_before_and_read_by_nobody_else():
    layers = (
        Conv(features=4, padding="zero"),
        Conv(features=4, padding="zero"),
        Residual(body=(Conv(features=4, padding="zero"),)),
        Flatten(),
        Dense(features=3),
    )
    program = Network(input_shape=(6, 6, 2), layers=layers).program
    chained = {program.title(node): program.chained(node) for node in program.products}
    assert chained == {
        "conv1": False,
        "conv2": True,
        # What it takes the block takes, too; and a sum is no product's output.
        "residual1.conv1": False,
        "dense1": False,
    }


# --- Fields that layers got. ---


@pytest.mark.parametrize("dilation", [(1, 1), (2, 1), (2, 3)])
def test_a_dilated_kernel_reaches_further_with_as_many_weights(dilation):
    spec = Conv(features=5, kernel=(3, 2), dilation=dilation)
    p = 9 - 2 * dilation[0]
    q = 8 - dilation[1]
    assert spec.output_shape((9, 8, 2)) == (p, q, 5)
    assert spec.weights((9, 8, 2)) == 3 * 2 * 2 * 5
    same = dataclasses.replace(spec, padding="zero", stride=(2, 2))
    assert same.output_shape((9, 8, 2)) == (5, 4, 5)
    with pytest.raises(InputError, match=r"`kernel` .* must fit"):
        spec.output_shape((2, 8, 2))


def test_normalisation_is_a_scale_and_a_shift_for_a_bias():
    spec = Conv(features=5, norm="batch")
    shape = (6, 6, 2)
    assert spec.weights(shape) == 9 * 2 * 5
    assert spec.biases(shape) == 2 * 5
    network = Network(input_shape=shape, layers=(Residual(body=(spec,), shortcut=(spec,)),))
    plain = network.lowered()
    assert network.parameters - plain.parameters == 2 * 5
    assert all(node.norm == "none" for node in plain.program.products)
    assert plain.lowered() == plain
    with pytest.raises(InputError, match=r"`norm` .* must be 'none' with `symmetry`"):
        Conv(features=4, symmetry="lift", norm="batch")


@pytest.mark.parametrize(
    ("layer", "rule"),
    [
        (Multiply(body=(Conv(features=3),)), r"Multiply weighs its `shortcut`.*\(6, 6, 2\)"),
        (
            Concat(branches=((Conv(features=3),), ())),
            r"Concat puts \(4, 4, 3\), \(6, 6, 2\) side by side",
        ),
    ],
)
def test_paths_that_do_not_fit_are_refused(layer, rule):
    with pytest.raises(InputError, match=rule):
        Network(input_shape=(6, 6, 2), layers=(layer,))


def test_a_join_of_nothing_is_refused():
    with pytest.raises(InputError, match=r"`branches` .* of Concat must be two or more"):
        Concat(branches=((),))
    with pytest.raises(InputError, match=r"`body` \(=\(\)\) of Multiply must not be empty"):
        Multiply(body=())


def test_counts_of_a_network_are_those_of_its_nodes():
    for name in registry.known_names():
        network = registry.load_network(name)
        nodes = network.program.products
        assert network.macs == sum(n.positions * n.K * n.features for n in nodes)
        assert network.program.nodes[-1] is network.program.output
        for node in nodes:
            assert math.prod(node.weight_shape) == node.K * node.features


def test_a_builder_refuses_a_shape_that_does_not_follow():
    b = Builder()
    x = b.input((4, 4, 2))
    b.layer = "odd1"
    with pytest.raises(InputError, match=r"`odd1` must hold the|must hold the 32 numbers"):
        Program(nodes=(*b.nodes, Reshape(name="r", layer="r", inputs=(x,), shape=(31,))))
