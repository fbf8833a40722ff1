"""Tensors in the unified buffer: none overwrites one that is alive, none is wasted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integers import networks, spec

from accel.tpu.layout import fitted, place
from accel.tpu.machine import TpuMachine
from configs.errors import InputError
from configs.network import Flatten, Network


def extent(tensor, side: int) -> tuple[int, int]:
    return tensor.row, tensor.row - (-tensor.bytes // side)


def apart(one, other, side: int) -> bool:
    (a, b), (c, d) = extent(one, side), extent(other, side)
    return b <= c or d <= a


def alive(network: Network, layout) -> list[list]:
    """Tensors that are alive together, layer by layer; flattening moves nothing."""
    together, before = [], layout.tensors["input"]
    for info in network.walk():
        after = layout.tensors[info.name]
        if isinstance(info.spec, Flatten):
            assert after.row == before.row
        else:
            means = layout.tensors.get(f"{info.name} means")
            together.append([one for one in (before, after, means) if one])
        before = after
    return together


@settings(max_examples=100, derandomize=True, deadline=None)
@given(networks(), st.integers(1, 9), st.integers(1, 40), st.integers(1, 2))
def test_what_is_alive_together_never_overlaps(integers, images, side, element_bytes):
    """And the space is exactly what the worst layer needs."""
    network = integers.network
    layout = place(list(network.walk()), images, side, element_bytes=element_bytes)
    needs = [extent(layout.tensors["input"], side)[1]]
    for tensors in alive(network, layout):
        pairs = [(a, b) for a in tensors for b in tensors if a is not b]
        assert all(apart(a, b, side) for a, b in pairs)
        needs.append(sum(-(-one.bytes // side) for one in tensors))
    ends = [extent(one, side)[1] for one in layout.tensors.values()]
    assert max(ends) == layout.rows == max(needs)


@settings(max_examples=50, derandomize=True, deadline=None)
@given(networks(), st.integers(1, 9), st.integers(1, 40))
def test_kept_tensors_never_overlap_at_all(integers, images, side):
    """Every tensor has its own place; a flattened one is the same tensor."""
    walk = list(integers.network.walk())
    layout = place(walk, images, side, keep=True)
    flat = [info.name for info in walk if isinstance(info.spec, Flatten)]
    own = [one for name, one in layout.tensors.items() if name not in flat]
    assert all(apart(a, b, side) for a in own for b in own if a is not b)
    assert layout.rows == sum(-(-one.bytes // side) for one in own)


@settings(max_examples=50, derandomize=True, deadline=None)
@given(networks(), st.integers(1, 9), st.integers(1, 40))
def test_the_next_input_may_arrive_at_any_time(integers, images, side):
    """With a place of its own it overlaps nothing, and layers still do not."""
    network = integers.network
    layout = place(list(network.walk()), images, side, own_input=True)
    first = layout.tensors["input"]
    others = [t for t in layout.tensors.values() if t.row != first.row]
    assert all(apart(first, one, side) for one in others)
    for tensors in alive(network, layout):
        assert all(apart(a, b, side) for a in tensors for b in tensors if a is not b)


def test_what_does_not_fit_names_the_largest_batch():
    """That batch fits, one more does not."""
    walk = list(spec("mean").walk())
    machine = TpuMachine(side=8, unified_buffer_bytes=4096)
    with pytest.raises(InputError, match=r"`images` \(=500\).*batches of (\d+)") as refused:
        fitted(walk, 500, machine)
    largest = int(str(refused.value).split("batches of ")[1].split()[0])
    assert fitted(walk, largest, machine).rows <= 512
    with pytest.raises(InputError, match=f"batches of {largest} at most"):
        fitted(walk, largest + 1, machine)


def test_a_network_that_never_fits_says_so():
    """Where not even one image fits no batch is offered."""
    machine = TpuMachine(side=8, unified_buffer_bytes=64)
    with pytest.raises(InputError, match="not even one image fits"):
        fitted(list(spec("cnn").walk()), 3, machine)
