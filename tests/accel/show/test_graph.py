"""The drawing of a network that forks and joins: all edges, each step below its inputs."""

import re

import integers
import pytest

from accel.show import graph
from configs.network import Conv, Dense, Flatten, Lstm, Network, Residual

GRAPHS = ("residual", "branches", "lstm", "cells")


@pytest.mark.parametrize("name", GRAPHS)
def test_every_edge_is_drawn_downwards(name):
    program = integers.spec(name).program
    found = graph.edges(program)
    deep = graph.depths(found)
    assert all(deep[name] > deep[other] for name, taken in found.items() for other in taken)
    svg = graph.draw(program)
    assert svg.count("<path") == sum(map(len, found.values()))
    assert svg.count("<rect") == len(found)
    lines = re.findall(r"M(\S+) (\S+) L(\S+) (\S+)\"", svg)
    assert len(lines) == svg.count("<path")
    assert all(float(top) < float(bottom) for _, top, _, bottom in lines)


def test_the_edges_of_a_residual_block():
    found = graph.edges(integers.spec("residual").program)
    assert found["residual1"] == ("residual1.conv2", "conv1")
    assert found["residual1.conv1"] == ("conv1",)


def test_very_many_steps_are_drawn_by_layers():
    program = integers.spec("lstm").program
    assert len(program.steps) > graph.MOST
    assert graph.edges(program) == {
        "input": (), "lstm1": ("input",), "lstm2": ("lstm1",), "dense1": ("lstm2",)
    }  # fmt: skip


def test_what_forks():
    forks = lambda *layers: graph.forks(
        Network(input_shape=(4, 4, 2), layers=layers).program
    )
    conv = Conv(features=2, padding="zero")
    assert not forks(conv, conv, Flatten(), Dense(features=2))
    assert forks(conv, Residual(body=(conv,)))
    assert forks(Lstm(features=2))
    assert forks(Residual(body=(conv,)))


def test_names_are_text():
    """Nothing that a name holds becomes markup."""
    svg = graph.draw(integers.spec("branches").program)
    assert "<script" not in svg
    assert graph._BOX.format(0, 0, 1, 1, 0, 0, "<b>").count("<b>") == 0
