"""Every layer on every machine verifies; what is wrong with a network is noticed."""

import dataclasses

import integers
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import machines
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.machines.counters import Counters
from accel.machines.machine import Direct, Dot, Mac, Systolic, Tile
from accel.predict.timing import layers
from accel.simulate import batched_tiles, direct, loops, register_level, systolic
from accel.simulate.simulation import LostResultError
from accel.verify import verify
from accel.verify.run import Setup
from accel.workload.gemm import gemms
from configs.errors import InputError
from quant import execute, normative

LOOPS = (
    Mac(),
    Mac(dram=True, access_cycles=2),
    Dot(multipliers=5),
    Tile(inputs=3, outputs=2),
    Tile(inputs=3, outputs=2, loop="inputs"),
    Direct(),
)
ARRAYS = tuple(machines(3, 2))
NARROW = tuple(machines(1, 3) + machines(3, 1))
FAST = tuple(m for m in ARRAYS + NARROW if m.weights == "single" and m.dataflow != "os")
# Machine and whether it is stepped register by register where there is a faster form.
STEPPED = tuple((m, False) for m in ARRAYS + LOOPS) + tuple((m, True) for m in FAST[:2])
label = lambda case: f"{case[0].name}{'-literal' * case[1]}"


pytestmark = pytest.mark.usefixtures("small_programs")


@pytest.fixture
def batch_chunks(monkeypatch):
    """No more images at once than one batch."""
    monkeypatch.setattr(verify, "_CHUNK_BYTES", 1)


SHAPE = (9, 8, 2)
NETWORKS = {name: integers.filled(integers.spec(name, SHAPE)) for name in integers.SPECS}
LINEAR = ("cnn", "mean", "edge", "signed")
GRAPHS = ("residual", "branches", "lstm", "cells")
# A ragged last batch where it is cheapest to compile.
IMAGES = {"mean": 3}


def holds(network, images, setup: Setup) -> verify.Verified:
    """Every value is right and every count is its closed form's, one by one."""
    found = verify.verify(network, images, setup)
    assert found.holds, found.mismatch and found.mismatch.sentence()
    assert found.mismatch is None
    assert found.wrong == 0
    assert found.miscounted == ()
    expected = normative.run(network, images, matmul=normative.matmul)
    assert found.outputs.dtype == expected.dtype
    assert np.array_equal(found.outputs, expected)
    assert np.array_equal(found.expected, expected)
    predicted = layers(setup.machine, network.network, len(images), setup.batch)
    counted = [layer.counted._asdict() for layer in found.layers]
    assert counted == [counters._asdict() for _, counters in predicted]
    sums = sum(g.M * g.N * g.repeats for g in gemms(network.network, len(images)))
    walked = [np.prod(step.shape) for step in network.walk()]
    assert found.compared == sums + len(images) * sum(walked)
    return found


@pytest.mark.parametrize("case", STEPPED, ids=label)
@pytest.mark.parametrize("name", [*LINEAR, "depthwise"])
def test_every_layer_on_every_machine(name, case, batch_chunks):
    network, (machine, literal) = NETWORKS[name], case
    images = integers.images(network.network, IMAGES.get(name, 2))
    holds(network, images, Setup(machine=machine, batch=2, literal=literal))


@pytest.mark.parametrize("machine", [ARRAYS[0], ARRAYS[-1]], ids=lambda m: m.name)
@pytest.mark.parametrize("name", GRAPHS)
def test_every_graph_on_arrays(name, machine):
    """Every step is compared, and every product is one run of the array."""
    network = NETWORKS[name]
    assert set(NETWORKS) == {*LINEAR, *GRAPHS, "depthwise"}
    found = holds(network, integers.images(network.network, 3), Setup(machine=machine))
    steps = {step.name for step in network.walk()}
    products = {step.name for step in network.walk() if step.product}
    assert set(found.others) == steps - products
    assert len(found.layers) == len(network.program.products)


WAYS = [
    Systolic(rows=rows, cols=cols, dataflow=flow, depthwise=way, vector_width=width)
    for flow, rows, cols in (("ws", 20, 5), ("os", 3, 4), ("is", 19, 2))
    for way, width in (("channels", None), ("diagonal", None), ("vector", 3), ("auto", 3))
]


@pytest.mark.parametrize("machine", WAYS, ids=lambda m: m.name)
def test_groups_in_three_ways(machine):
    """A full batch and a ragged one; auto takes the fewest cycles of a full batch."""
    network = NETWORKS["depthwise"]
    holds(network, integers.images(network.network, 3), Setup(machine=machine, batch=2))
    ways = {
        other.depthwise: [run.cycles for _, run in layers(other, network.network, 2, 2)]
        for other in WAYS
        if other.dataflow == machine.dataflow
    }
    assert ways["auto"] == list(map(min, *ways.values()))


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize(
    "machine", [ARRAYS[0], ARRAYS[2], ARRAYS[-1], LOOPS[3]], ids=lambda m: m.name
)
def test_several_runs_side_by_side_in_one_chunk(machine, batch):
    """Of 2 images: two runs, or one that is not full."""
    network = NETWORKS["cnn"]
    images = integers.images(network.network, 2)
    found = holds(network, images, Setup(machine=machine, batch=batch))
    assert found.layers[0].gemm.images == min(batch, 2)


@pytest.mark.parametrize("machine", NARROW, ids=lambda m: m.name)
def test_arrays_of_one_row_or_one_column(machine):
    network = NETWORKS["mean"]
    images = integers.images(network.network, 2)
    for literal in {machine in FAST, False}:
        holds(network, images, Setup(machine=machine, batch=2, literal=literal))


@given(
    network=integers.networks(),
    setups=st.lists(
        st.builds(
            lambda case, batch: Setup(machine=case[0], literal=case[1], batch=batch),
            st.sampled_from(STEPPED),
            st.sampled_from([1, 2]),
        ),
        min_size=3,
        max_size=3,
    ),
)
@settings(max_examples=6, deadline=None)
def test_any_network(network, setups):
    images = integers.images(network.network, 2)
    for setup in setups:
        holds(network, images, setup)


# --- What is wrong is noticed. ---

NETWORK = NETWORKS["mean"]
PIXELS = integers.images(NETWORK.network, 2)
MACHINE = ARRAYS[0]


def verified(machine=MACHINE, network=NETWORK, images=PIXELS, **kwargs):
    return verify.verify(network, images, Setup(machine=machine, batch=2), **kwargs)


def rolled(function):
    return lambda *given: jnp.roll(function(*given), 1, 0)


def brighter(function):
    return lambda *given: function(*given) + 1


def last_brighter(function):
    """The last channel."""
    return lambda *given: function(*given).at[..., -1].add(1)


def cut_off(numerator, denominator):
    """Rounded down where it should be to the nearest."""
    return numerator // denominator


# Module and function that are broken, how, and layer and cause that are named.
OPERANDS, OUTPUT, ITSELF = "the operands are not", "its sums are right", "layer itself"
BROKEN = (
    (execute, "im2col", rolled, "conv1", OPERANDS),
    (execute, "shifted", lambda f: lambda *a: [*f(*a)][::-1], "conv1", OPERANDS),
    (execute, "pad", lambda f: lambda *a: f(*a) * 0, "conv1", OPERANDS),
    (execute, "requantise", brighter, "conv1", OUTPUT),
    (execute, "divide_rne", lambda _: cut_off, "conv1", OPERANDS),
    (execute, "activate", last_brighter, "conv1", OUTPUT),
    (execute, "pool", rolled, "pool1", ITSELF),
    (normative, "im2col", lambda f: lambda *a: np.roll(f(*a), 1, 0), "conv1", OPERANDS),
    (normative, "pad", lambda f: lambda *a: f(*a) * 0, "conv1", OPERANDS),
    (normative, "requantise", lambda f: lambda *a: f(*a) // 2, "conv1", OUTPUT),
    (normative, "divide_rne", lambda _: cut_off, "conv1", OPERANDS),
    (normative, "pool", lambda f: lambda *a: f(*a) // 2, "pool1", ITSELF),
)


@pytest.mark.parametrize(
    "fault", BROKEN, ids=lambda fault: f"{fault[0].__name__}.{fault[1]}"
)
def test_a_fault_on_either_side_of_the_comparison(fault, monkeypatch):
    """The machine's side and the judge share nothing that could hide a mistake."""
    module, name, change, layer, cause = fault
    assert verified().holds
    monkeypatch.setattr(module, name, change(getattr(module, name)))
    found = verified()
    assert not found.holds
    assert found.wrong
    assert found.miscounted == ()
    assert found.mismatch.layer == layer
    assert cause in found.mismatch.cause
    assert f"`{layer}`, image 0" in found.mismatch.sentence()
    assert found.mismatch.found != found.mismatch.expected


@pytest.mark.parametrize("field", Counters._fields)
@pytest.mark.parametrize("machine", [MACHINE, LOOPS[2]], ids=lambda m: m.name)
def test_a_counter_that_is_one_off(machine, field, monkeypatch):
    module = systolic if isinstance(machine, Systolic) else loops
    right = module.run

    def wrong(*given, **kwargs):
        run = right(*given, **kwargs)
        # The dense layer only: its product has one row an image.
        extra = run.sums.shape[1] == 2
        counted = run.counters._replace(**{field: getattr(run.counters, field) + extra})
        return run._replace(counters=counted)

    monkeypatch.setattr(module, "run", wrong)
    found = verified(machine)
    assert found.miscounted == ("dense1",)
    assert not found.holds
    assert found.wrong == 0
    assert found.mismatch is None


def one_edge_fewer(machine, monkeypatch):
    """Stops the machine before its last result."""
    if isinstance(machine, Systolic) and machine in FAST:
        made = batched_tiles.Plan.made

        def short(*given):
            plan = made(*given)
            edges = plan.items + plan.rows + plan.cols - 3
            return dataclasses.replace(plan, edges=edges, pieces=1)

        monkeypatch.setattr(batched_tiles.Plan, "made", short)
    elif isinstance(machine, Systolic):
        step = register_level.step

        def short(tiles, faults):
            monkeypatch.setattr(register_level, "SURPLUS", 0)
            monkeypatch.setattr(register_level, "_PIECE", tiles.edges - 1)
            full = type(tiles).edges
            fewer = property(lambda tiles: full.fget(tiles) - 1)
            monkeypatch.setattr(type(tiles), "edges", fewer)
            return step(tiles, faults)

        monkeypatch.setattr(register_level, "step", short)
    else:
        module = direct if isinstance(machine, Direct) else loops
        run, module_run = module.run, module

        def short(machine, x_GMK, w_KN, **kwargs):
            cycles = run(machine, x_GMK, w_KN, **kwargs).counters.cycles // len(x_GMK)
            return run(machine, x_GMK, w_KN, **kwargs, edges=cycles - 1)

        monkeypatch.setattr(module_run, "run", short)


@pytest.mark.parametrize("machine", ARRAYS + LOOPS, ids=lambda m: m.name)
def test_one_edge_fewer_than_needed(machine, monkeypatch):
    one_edge_fewer(machine, monkeypatch)
    with pytest.raises(LostResultError, match=r"^layer `conv1`: .*results?"):
        verified(machine)


def test_without_an_explanation_wrong_values_are_still_counted(monkeypatch):
    monkeypatch.setattr(execute, "activate", last_brighter(execute.activate))
    found = verified(explain=False)
    assert found.mismatch is None
    assert not found.holds
    (conv, dense) = found.layers
    # One channel of three is one brighter (where it does not wrap, still another).
    assert conv.wrong_sums == 0
    assert conv.wrong_outputs == conv.compared // 2 // 3
    assert conv.mismatches == conv.wrong_outputs
    others = sum(wrong for _, wrong in found.others.values())
    assert found.wrong == conv.mismatches + dense.mismatches + others


def test_the_first_wrong_image_is_named_by_its_number(monkeypatch):
    """Whatever chunk, and whatever part of it the judge takes, it is in."""
    monkeypatch.setattr(verify, "_JUDGED", 1)
    monkeypatch.setattr(verify, "_IN_INTEGERS", 1)
    pixels = np.zeros_like(np.concatenate([PIXELS] * 2))
    pixels[3] = PIXELS[0]
    activate = execute.activate
    black = np.asarray(execute.run(NETWORK, jnp.asarray(pixels[:2])).outputs["conv1"])[0]

    def wrong(sums, weighted):
        """One more wherever it is not as in a black image."""
        right = activate(sums, weighted)
        if len(right) % len(black.reshape(-1, black.shape[-1])):
            return right
        images = right.reshape(-1, *black.shape)
        return jnp.where(images == black[None], images, images ^ 1).reshape(right.shape)

    monkeypatch.setattr(execute, "activate", wrong)
    for batch, most in ((1, 1), (1, 2), (2, 2)):
        monkeypatch.setattr(verify, "_MOST_IMAGES", most)
        found = verify.verify(NETWORK, pixels, Setup(machine=MACHINE, batch=batch))
        assert found.mismatch.image == 3
        assert found.mismatch.layer == "conv1"


# --- Memory. ---


@pytest.mark.parametrize("name", NETWORKS)
def test_all_images_at_once_never(name, monkeypatch):
    """Whole batches, as many as the limits allow, at least one."""
    network = NETWORKS[name]
    each = sum(
        # Operands by the byte (those of gates are shared), int32 sums.
        g.M * g.K * g.repeats // g.sharing + 4 * g.M * g.N * g.repeats
        for g in gemms(network.network)
    )  # fmt: skip
    # Outputs by the byte.
    each += sum(int(np.prod(step.shape)) for step in network.walk())
    for limit in (1, each, 10 * each, 1000 * each):
        monkeypatch.setattr(verify, "_CHUNK_BYTES", limit)
        for most in (1, 64, 4096):
            monkeypatch.setattr(verify, "_MOST_IMAGES", most)
            for batch in (1, 3, 100, 9999):
                size = verify.chunk(network, 10_000, batch)
                assert size % batch == 0
                assert size >= batch
                if size > batch:
                    assert size * each <= limit
                    assert size <= most
                # Nor many fewer than fit.
                assert 2 * (size + batch) * each > limit or size + batch > most
    assert verify.chunk(network, 5, 2) == 4


def test_images_go_through_in_chunks(monkeypatch):
    """No product ever sees more than a chunk."""
    monkeypatch.setattr(verify, "_MOST_IMAGES", 2)
    seen, run = [], execute.run

    def watched(network, images, matmul):
        seen.append(len(images))
        return run(network, images, matmul)

    monkeypatch.setattr(execute, "run", watched)
    images = integers.images(NETWORK.network, 5)
    found = verify.verify(NETWORK, images, Setup(machine=MACHINE))
    assert seen == [2, 2, 1]
    assert found.holds
    assert np.array_equal(found.outputs, normative.run(NETWORK, images))


def test_progress_is_told_in_cycles():
    told = []
    found = verified(done=told.append)
    assert told == [layer.counted.cycles for layer in found.layers]
    assert sum(told) == found.total.cycles


@pytest.mark.parametrize(
    ("machine", "images", "message"),
    [
        (MACHINE, 0, "`images`"),
        (Systolic(rows=3, cols=2, accumulators=1), 2, "`accumulators`"),
        (Tile(inputs=3, outputs=2, loop="inputs", sum_words=2), 2, "`sum_words`"),
    ],
)
def test_what_does_not_fit_is_refused(machine, images, message):
    with pytest.raises(InputError, match=message):
        verified(machine, images=PIXELS[:images])
