"""A machine as a matrix product: runs of whole batches, and what they were given."""

import integers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import exact, machines

from accel.machines.counters import times, total
from accel.machines.machine import Direct, Dot, Mac, Systolic, Tile
from accel.predict.timing import predict
from accel.simulate import batched_tiles, direct, loops, register_level, systolic
from accel.simulate.faults import NONE, Fault
from accel.simulate.simulation import LostResultError
from accel.verify.run import Setup
from accel.workload.gemm import gemms
from configs.errors import InputError
from configs.network import Conv, Dense, Flatten, Network
from quant import execute

# A convolution of 6 rows an image and a dense layer of signed inputs.
NETWORK = integers.filled(
    Network(
        input_shape=(3, 4, 2),
        layers=(
            Conv(features=3, kernel=(2, 2), activation="identity"),
            Flatten(),
            Dense(features=2, activation="identity"),
        ),
    )
)
CONV, DENSE = (layer for layer in NETWORK.walk() if layer.weighted)
WS = Systolic(rows=3, cols=2)
FAULT = Fault(register="sum", row=2, col=1, bit=3, kind="flip")
MODULES = {Systolic: systolic, Direct: direct, Mac: loops, Dot: loops, Tile: loops}
ALL = (*machines(3, 2)[::3], Mac(), Dot(multipliers=4), Tile(inputs=3, outputs=2), Direct())


pytestmark = pytest.mark.usefixtures("small_programs")


MATRIX = CONV.weighted.matrix
GIVEN = jnp.asarray(MATRIX)


def rows(count: int) -> jax.Array:
    """Operands of the convolution for some images."""
    draw = np.random.default_rng(0)
    return jnp.asarray(draw.integers(0, 256, (6 * count, len(MATRIX)), dtype=np.uint8))


@pytest.fixture
def simulated(monkeypatch):
    """Shapes of what is simulated."""
    shapes, simulate = [], Setup.simulate

    def watched(setup, x_GMK, w_KN, layer):
        shapes.append(x_GMK.shape)
        return simulate(setup, x_GMK, w_KN, layer)

    monkeypatch.setattr(Setup, "simulate", watched)
    return shapes


@pytest.mark.parametrize(
    ("batch", "shapes"),
    [
        (1, [(5, 6, 8)]),
        (2, [(2, 12, 8), (1, 6, 8)]),
        (5, [(1, 30, 8)]),
        (9, [(1, 30, 8)]),
    ],
)
def test_images_go_through_in_batches(batch, shapes, simulated):
    x, told = rows(5), []
    product = Setup(machine=WS, batch=batch).matmul(told.append)
    sums, work = product(x, GIVEN, CONV)
    assert simulated == shapes
    assert np.array_equal(sums, exact(np.asarray(x), MATRIX))
    assert sums.dtype == work.sums_MN.dtype == np.int32
    assert np.array_equal(work.sums_MN, sums)
    assert np.array_equal(work.x_MK, x)
    assert np.array_equal(work.w_KN, MATRIX)
    runs = [
        times(predict(WS, gemms(NETWORK.network, shape[1] // 6)[0]), shape[0])
        for shape in shapes
    ]
    assert work.counters == total(runs)
    assert told == [work.counters.cycles]


@pytest.mark.parametrize("machine", ALL, ids=lambda machine: machine.name)
def test_every_machine_takes_signed_and_unsigned_operands(machine):
    pixels = jnp.asarray(integers.images(NETWORK.network, 2))
    done = execute.run(NETWORK, pixels, Setup(machine=machine, batch=2).matmul())
    assert [work.x_MK.dtype for work in done.counters.values()] == [np.uint8, np.int8]
    for layer in (CONV, DENSE):
        work = done.counters[layer.name]
        assert np.array_equal(work.sums_MN, exact(work.x_MK, layer.weighted.matrix))


@pytest.mark.parametrize("machine", ALL, ids=lambda machine: machine.name)
def test_the_layer_whose_result_was_lost_is_named(machine, monkeypatch):
    def lost(*given, **kwargs):
        raise LostResultError("column 1 gave nothing")

    monkeypatch.setattr(MODULES[type(machine)], "run", lost)
    with pytest.raises(LostResultError, match=r"^layer `conv1`: column 1 gave nothing$"):
        Setup(machine=machine).matmul()(rows(1), GIVEN, CONV)


@pytest.mark.parametrize("literal", [False, True])
def test_how_an_array_is_stepped(literal, monkeypatch):
    taken = []
    for module in (batched_tiles, register_level):
        run = module.run
        watched = lambda *given, run=run, module=module: (
            taken.append(module),
            run(*given),
        )[1]
        monkeypatch.setattr(module, "run", watched)
    setup = Setup(machine=WS, literal=literal)
    setup.matmul()(rows(1), GIVEN, CONV)
    assert taken == [register_level if literal else batched_tiles]


def test_faults_act_on_the_operand_that_they_name():
    """An input stationary array holds inputs: a broken input stays in one place."""
    assert Setup(machine=WS).masks(CONV) is NONE
    fault = Fault(register="input", row=1, col=0, bit=7, kind="flip")
    for flow, held in (("ws", "input"), ("os", "input"), ("is", "weight")):
        setup = Setup(machine=Systolic(rows=3, cols=2, dataflow=flow), faults=(fault,))
        for layer, value in ((CONV, 128), (DENSE, -128)):
            # The top bit of a signed operand counts negative.
            (plane,) = setup.masks(layer).flip.values()
            assert list(setup.masks(layer).flip) == [held]
            assert np.asarray(plane).tolist() == [[0, 0], [value, 0], [0, 0]]


@pytest.mark.parametrize("flow", ["ws", "is", "os"])
def test_broken_sums_are_those_that_pass_them(flow):
    machine = Systolic(rows=3, cols=2, dataflow=flow)
    setup = Setup(machine=machine, batch=2, faults=(FAULT,))
    _, work = setup.matmul()(rows(2), GIVEN, CONV)
    wrong = work.sums_MN != exact(work.x_MK, MATRIX)
    # Sums pass (or in `os` end in, or drain through) the last PE of odd columns.
    axis = {"ws": 0, "os": 0, "is": 1}[flow]
    assert wrong.any(axis)[1::2].any()
    assert not wrong.any(axis)[::2].any()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"machine": WS, "batch": 0}, "`batch`"),
        ({"machine": Mac(), "faults": (FAULT,)}, "`faults`"),
        ({"machine": Direct(), "faults": (FAULT,)}, "`faults`"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        Setup(**given)


@pytest.mark.parametrize(("row", "col"), [(3, 0), (0, 2), (-1, 0)])
def test_faults_outside_the_array_are_refused(row, col):
    fault = Fault(register="sum", row=row, col=col, bit=0, kind="flip")
    with pytest.raises(InputError, match=r"`row`|`col`"):
        Setup(machine=WS, faults=(fault,))
