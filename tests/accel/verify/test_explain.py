"""Planted faults of graphs: the first wrong step is named, and what was done instead."""

import dataclasses

import integers
import jax.numpy as jnp
import numpy as np
import pytest

from accel.machines.machine import Systolic
from accel.verify import verify
from accel.verify.run import Setup
from configs.network import Concat, Conv, Dense, GlobalPool, Network, Pool, Residual
from configs.program import Concat as Joined
from configs.program import Slice
from quant import execute

pytestmark = pytest.mark.usefixtures("small_programs")

SETUP = Setup(machine=Systolic(rows=3, cols=4, dataflow="os"), batch=2)
NAMES = ("residual", "depthwise", "branches", "lstm", "cells")
NETWORKS = {name: integers.filled(integers.spec(name)) for name in NAMES}
# All steps are of one shape, and branches of one width.
EVEN = Network(
    input_shape=(5, 4, 3),
    layers=(
        Conv(features=3, padding="zero"),
        Residual(body=(Conv(features=3, padding="zero", activation="identity"),)),
        Residual(
            body=(Conv(features=3, padding="zero", activation="identity"),),
            shortcut=(Pool(window=(3, 3), stride=(1, 1), padding="zero"),),
        ),
        Concat(branches=((Conv(features=3, kernel=(1, 1)),), ())),
        GlobalPool(),
        Dense(features=3, activation="identity"),
    ),
)
NETWORKS["even"] = integers.filled(EVEN, seed=3)


def mismatch(name, images=3):
    network = NETWORKS[name]
    found = verify.verify(network, integers.images(network.network, images), SETUP)
    return found.mismatch


@pytest.fixture
def change(monkeypatch):
    """Does one step of the machine's side otherwise: changed(step, inputs, all values)."""

    def start(name, changed):
        values, apply = {}, execute.apply

        def wrong(layer, *inputs, matmul):
            values.update(zip(layer.step.inputs, inputs, strict=True))
            if layer.name == name:
                layer, inputs = changed(layer, inputs, values)
            done = apply(layer, *inputs, matmul=matmul)
            values[layer.name] = done[0]
            return done

        monkeypatch.setattr(execute, "apply", wrong)

    return start


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_is_located_where_nothing_is_wrong(name):
    assert mismatch(name) is None


@pytest.mark.parametrize(
    ("step", "place", "other"),
    [
        ("residual1", 1, "residual1.conv1"),
        ("residual2", 0, "residual1"),
        ("residual2", 1, "residual1"),
        ("residual2", 1, "conv1"),
        ("concat1", 1, "residual1"),
    ],
)
def test_a_path_from_the_wrong_value(step, place, other, change):
    def from_other(layer, inputs, values):
        given = list(inputs)
        given[place] = values[other]
        return layer, tuple(given)

    change(step, from_other)
    found = mismatch("even")
    name = {s.name: s for s in NETWORKS["even"].walk()}[step].step.inputs[place]
    assert found.layer == step
    assert f"its input {place + 1} is `{other}`, not `{name}`" in found.cause


def test_a_path_from_the_wrong_value_on_that_value_s_grid(change):
    kinds = {step.name: step.output for step in NETWORKS["even"].walk()}
    assert kinds["conv1"].exponent != kinds["residual1"].exponent

    def from_other(layer, inputs, values):
        kind = (layer.inputs[0], kinds["conv1"])
        given = (inputs[0], values["conv1"])
        return dataclasses.replace(layer, inputs=kind), given

    change("residual2", from_other)
    found = mismatch("even")
    assert found.layer == "residual2"
    assert "its input 2 is `conv1`" in found.cause


@pytest.mark.parametrize("by", [-2, -1, 1, 2])
@pytest.mark.parametrize("place", [0, 1])
def test_a_sum_with_a_wrong_shift_of_one_value(place, by, change):
    def shifted(layer, inputs, values):
        kinds = list(layer.inputs)
        exponent = kinds[place].exponent + by
        kinds[place] = dataclasses.replace(kinds[place], exponent=exponent)
        return dataclasses.replace(layer, inputs=tuple(kinds)), inputs

    change("residual1", shifted)
    found = mismatch("even")
    way = "left" if by > 0 else "right"
    assert found.layer == "residual1"
    assert f"its input {place + 1}" in found.cause
    assert f"shifted {abs(by)} too far to the {way}" in found.cause


def test_a_result_with_a_wrong_shift(change):
    def shifted(layer, inputs, values):
        kinds = (dataclasses.replace(k, exponent=k.exponent + 1) for k in layer.inputs)
        return dataclasses.replace(layer, inputs=tuple(kinds)), inputs

    change("residual2", shifted)
    found = mismatch("residual")
    assert found.layer == "residual2"
    assert "its result is shifted 1 too far to the left" in found.cause


@pytest.mark.parametrize("name", ["even", "branches"])
def test_values_side_by_side_in_another_order(name, monkeypatch):
    right = execute.MOVES[Joined]
    monkeypatch.setitem(execute.MOVES, Joined, lambda node, *xs: right(node, *xs[::-1]))
    found = mismatch(name)
    (first, *_) = (s for s in NETWORKS[name].walk() if s.step.find(Joined))
    order = ", ".join(f"`{one}`" for one in first.step.find(Joined).inputs[::-1])
    assert found.layer == first.name
    assert f"its inputs stand in the order {order}" in found.cause


@pytest.mark.parametrize("by", [1, -1])
def test_a_group_with_the_channels_of_its_neighbour(by, monkeypatch):
    rows_of = execute.rows_of

    def rolled(x, node):
        rows = rows_of(x, node)
        whole = rows.reshape(len(rows), node.groups, -1)
        return jnp.roll(whole, -by, 1).reshape(rows.shape) if node.groups == 4 else rows

    monkeypatch.setattr(execute, "rows_of", rolled)
    found = mismatch("depthwise")
    assert found.layer == "conv2"
    assert f"group 0 has those of group {by % 4}" in found.cause


def test_a_group_with_the_weights_of_its_neighbour(monkeypatch):
    run, network = execute.run, NETWORKS["depthwise"]
    w = network.weighted["conv2"]
    weights = np.roll(w.weights, 2, axis=-1)
    changed = network.weighted | {"conv2": dataclasses.replace(w, weights=weights)}
    wrong = dataclasses.replace(network, weighted=changed)
    monkeypatch.setattr(execute, "run", lambda _, *given: run(wrong, *given))
    found = mismatch("depthwise")
    assert found.layer == "conv2"
    assert "feature 0 of group 0 has those of feature 6" in found.cause


@pytest.mark.parametrize("fault", ["weights", "slices"])
def test_gates_that_are_exchanged(fault, monkeypatch):
    """Input and forget gate: their weights, or what is cut out of the sums."""
    network = NETWORKS["cells"]
    if fault == "weights":
        run, w = execute.run, network.weighted["lstmcell1"]
        order = [*range(4, 8), *range(4), *range(8, 16)]
        changed = {"lstmcell1": dataclasses.replace(w, weights=w.weights[:, order])}
        wrong = dataclasses.replace(network, weighted=network.weighted | changed)
        monkeypatch.setattr(execute, "run", lambda _, *given: run(wrong, *given))
        found = mismatch("cells")
        assert found.layer == "lstmcell1.gates"
        assert "feature 0 has those of feature 4" in found.cause
        return
    right = execute.MOVES[Slice]

    def exchanged(node, x):
        start = {0: 4, 4: 0}.get(node.start, node.start)
        if node.layer != "lstmcell1":
            start = node.start
        length = node.stop - node.start
        return right(dataclasses.replace(node, start=start, stop=start + length), x)

    monkeypatch.setitem(execute.MOVES, Slice, exchanged)
    found = mismatch("cells")
    assert found.layer == "lstmcell1.i.slice"
    assert "takes entries 4..7 of `lstmcell1.gates`, not 0..3" in found.cause


@pytest.mark.parametrize(
    ("state", "step"), [("state", "lstm1.t0.joined"), ("cell", "lstm1.t0.cell_out")]
)
def test_a_state_that_is_not_reset(state, step, monkeypatch):
    """The second chunk begins with what the first one left."""
    starts, run, left = execute.starts, execute.run, {}

    def unreset(network, images):
        return starts(network, images) | left

    def remembered(network, images, product):
        done = run(network, images, product)
        last = {"state": "lstm1.t8.hidden", "cell": "lstm1.t8.cell_out"}[state]
        left[f"lstm1.{state}"] = done.outputs[last]
        return done

    monkeypatch.setattr(verify, "_MOST_IMAGES", 2)
    monkeypatch.setattr(execute, "starts", unreset)
    monkeypatch.setattr(execute, "run", remembered)
    found = mismatch("lstm", images=4)
    assert (found.layer, found.image >= 2) == (step, True)
    assert f"`lstm1.{state}`, a state" in found.cause
    assert "it was not reset" in found.cause


def test_inputs_that_changed_places(change):
    """But not their grids."""

    def exchanged(layer, inputs, values):
        return layer, inputs[::-1]

    change("residual1", exchanged)
    found = mismatch("even")
    assert found.layer == "residual1"
    assert "its inputs `residual1.conv1` and `conv1` are exchanged" in found.cause


def test_what_nothing_explains_is_said_plainly(change):
    def noise(layer, inputs, values):
        return layer, (inputs[0] ^ 1, *inputs[1:])

    change("residual1", noise)
    found = mismatch("even")
    assert (found.layer, found.cause) == ("residual1", "the layer itself is wrong")
