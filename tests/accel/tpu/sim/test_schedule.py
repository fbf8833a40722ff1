"""Steps made from shapes are what the compiler emits; the closed form is the program's."""

import integers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.tpu.isa.compiler import compile_network, compile_shapes
from accel.tpu.machine import TpuMachine
from accel.tpu.sim import clock, maxplus, work
from accel.tpu.sim.counts import count
from accel.tpu.sim.schedule import steps, with_tiles
from accel.tpu.sim.table import IDLE, table, timed
from accel.workload.gemm import Gemm, gemms
from configs.errors import InputError
from configs.network import Conv, Network
from configs.registry import load_network

_SMALL = {"side": 4, "accumulator_rows": 16, "unified_buffer_bytes": 1 << 20}


def _check(program, todo, machine):
    """Row for row the same table, and the closed form's total."""
    found, made = timed(program, machine), table(work.rows(todo, machine))
    kept = found.kind != IDLE
    for name in ("kind", "duration", "rows", "new_tile", "accumulate", "half"):
        assert getattr(found, name)[kept].tolist() == getattr(made, name).tolist(), name
    counts = count(found, clock.run(found, fifo=machine.fifo_tiles), side=machine.side)
    assert maxplus.predict(todo, machine) == counts.cycles
    # Padding is spread differently over tiles, useful work adds up to the same.
    other = count(made, clock.run(made, fifo=machine.fifo_tiles), side=machine.side)
    assert counts == other


@settings(max_examples=25, deadline=None)
@given(integers.networks(), st.integers(1, 3), st.sampled_from([3, 4, 8]))
def test_every_integer_network(network, images, side):
    """Any small network: paddings, poolings, ragged tiles, several chunks."""
    changes = {"side": side, "unified_buffer_bytes": side * 4096}
    machine = TpuMachine(**_SMALL | changes)
    todo = steps(network.network, images, machine)
    _check(compile_network(network, images, machine), todo, machine)


@pytest.mark.parametrize("name", ["mnist_cnn", "mnist_mlp", "mnist_cnn_gap", "tpu_mlp0"])
@pytest.mark.parametrize(("batches", "speed"), [(1, 1), (3, 1), (2, 2)])
def test_known_networks(name, batches, speed):
    """On the machine of the paper, by shapes, one batch or several."""
    machine, network = TpuMachine(), load_network(name)
    how = {"batches": batches, "speed": speed}
    program = compile_shapes(network, 20, machine, **how)
    _check(program, steps(network, 20, machine, **how), machine)


def test_several_batches_of_a_network_padded_with_means():
    """Its last layer pools first, so it waits for the next batch's input."""
    layer = Conv(features=5, padding="mean")
    network = Network(input_shape=(6, 5, 3), layers=(layer, layer))
    machine = TpuMachine(**_SMALL)
    program = compile_shapes(network, 2, machine, batches=3)
    _check(program, steps(network, 2, machine, batches=3), machine)


def test_products_alone():
    machine = TpuMachine(**_SMALL)
    gemms = [Gemm("a", 3, 7, 9, 6), Gemm("b", 3, 1, 6, 30)]
    program = compile_shapes(gemms, 3, machine, speed=2, batches=2)
    _check(program, steps(gemms, 3, machine, speed=2, batches=2), machine)


@pytest.mark.parametrize(
    "layer",
    [
        Conv(features=6, kernel=(3, 2), groups=3),
        Conv(features=10, kernel=(1, 1), groups=2, padding="zero"),
    ],
)
def test_groups_of_a_convolution(layer):
    """Each group is a product with tiles of its own; several chunks of rows."""
    network = Network(input_shape=(7, 6, 6), layers=(layer, Conv(features=5)))
    machine = TpuMachine(**_SMALL)
    program = compile_shapes(network, 2, machine)
    _check(program, steps(network, 2, machine), machine)
    assert program.tiles_used.prod(axis=1).sum() == network.weights


@pytest.mark.parametrize(
    ("name", "images", "speed"),
    [("tpu_lstm1", 96, 2), ("mobilenet_v1", 1, 1), ("alexnet", 4, 1), ("tpu_cnn0", 8, 1)],
)
def test_repeated_products_of_known_networks(name, images, speed):
    """Gates of LSTM cells, groups of convolutions, and many chunks in pairs."""
    machine, network = TpuMachine(), load_network(name)
    program = compile_shapes(network, images, machine, speed=speed)
    _check(program, steps(network, images, machine, speed=speed), machine)
    assert program.tiles_used.prod(axis=1).sum() == sum(
        gemm.K * gemm.N * gemm.repeats for gemm in gemms(network)
    )


def test_lstm_cells_are_their_products():
    """Separate gates are four products of each kind, tile by tile."""
    todo = steps(load_network("tpu_lstm1"), 96, TpuMachine(), speed=2)
    products = [step for step in todo if isinstance(step, work.Product)]
    assert [product.tiles for product in products] == [36] * 24
    assert sum(product.weights for product in products) == 96 * 600 * 600


@given(st.integers(1, 10**8), st.integers(1, 3000))
def test_declared_tiles_add_up(weights, tiles):
    """Weights and tiles of the layers are whole and sum to what was declared."""
    network = load_network("mnist_cnn")
    todo = with_tiles(steps(network, 4, TpuMachine()), weights, max(tiles, 10))
    products = [step for step in todo if isinstance(step, work.Product)]
    assert sum(product.weights for product in products) == weights
    found = sum(product.tiles for product in products)
    # A layer has one tile at least.
    assert max(tiles, 10) <= found < max(tiles, 10) + len(products)


@pytest.mark.parametrize("field", ["images", "batches"])
def test_nothing_to_do_is_refused(field):
    how = {"images": 1, "batches": 1} | {field: 0}
    with pytest.raises(InputError, match=f"`{field}` .=0. must be 1 or more"):
        steps(load_network("mnist_mlp"), machine=TpuMachine(), **how)


def test_products_of_another_batch_are_refused():
    with pytest.raises(InputError, match=r"`images` .=2. of a must be the batch's, 3"):
        steps([Gemm("a", 2, 1, 1, 1)], 3, TpuMachine())


def test_a_forgotten_sync_is_noticed():
    """Steps without the last Sync are not the program's."""
    machine = TpuMachine()
    todo = steps(load_network("mnist_cnn"), 20, machine)
    last = max(i for i, step in enumerate(todo) if isinstance(step, work.Barrier))
    program = compile_shapes(load_network("mnist_cnn"), 20, machine)
    with pytest.raises(AssertionError):
        _check(program, todo[:last] + todo[last + 1 :], machine)
