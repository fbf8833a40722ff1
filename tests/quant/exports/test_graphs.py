"""Every operator in every runtime, alone and in random graphs: 0 differences, or a refusal
that names it."""

from __future__ import annotations

import collections
import dataclasses

import graphs
import integers
import numpy as np
import pytest

from configs import program
from configs.errors import InputError
from configs.layers import Layer
from configs.network import Conv, Dense, Flatten, LstmCell, Multiply, Network, Pool
from configs.program import OPERATORS, Activate, Add, Builder, Grid, Node
from quant import exports, files, normative
from quant.exports import onnx_qdq, tflite
from quant.network import Activated, Format, IntNetwork, Weighted

# Runtimes that compile nothing.
QUICK = ("onnx", "tflite")


def compared(network: IntNetwork, forms=exports.FORMATS, count: int = 12) -> int:
    """Values of every step in every runtime, found equal to the judge's."""
    images = integers.images(network.network, count)
    images[0], images[-1] = 0, 255
    steps = list(normative.steps(network, images))
    for name in forms:
        form = exports.module(name)
        content = form.encode(network)
        found = form.layer_outputs(content, network, images)
        for step in steps:
            where = f"{name}: {step.layer.name}"
            assert found[step.layer.name].dtype == step.output.dtype, where
            np.testing.assert_array_equal(found[step.layer.name], step.output, where)
        logits = form.open_session(content)(images)
        np.testing.assert_array_equal(logits, steps[-1].output, name, strict=True)
    return len(forms) * sum(step.output.size for step in steps)


def drawn(seed: int) -> IntNetwork:
    """A random graph of random integers, widths and shifts."""
    draw = np.random.default_rng(seed)
    return integers.filled(
        graphs.network(seed),
        seed=seed,
        weight_bits=int(draw.integers(2, 9)),
        activation_bits=int(draw.integers(2, 9)),
        shifts=(16, int(draw.integers(8, 22))),
    )


def test_random_graphs_compute_the_same_in_runtimes_that_compile_nothing():
    seen, values = collections.Counter(), 0
    for seed in range(40):
        network = drawn(seed)
        values += compared(network, QUICK)
        seen.update({type(node) for node in network.program.nodes})
    assert values > 500_000
    assert all(seen[kind] >= 10 for kind in OPERATORS), seen


@pytest.mark.slow
def test_random_graphs_compute_the_same_in_stablehlo():
    seen: set[type[Node]] = set()
    for seed in range(40, 46):
        network = drawn(seed)
        assert compared(network, ("stablehlo",)) > 1000
        seen |= {type(node) for node in network.program.nodes}
    assert seen == set(OPERATORS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alone(Layer):
    """One operator on a small map, where nothing else is done with it; then bytes."""

    what: str

    def lower(self, b: Builder, x: str) -> str:
        own = b.activate(x, "identity", part="own")
        made = _ALONE[self.what](b, own, x)
        return b.activate(made, "relu", shares="alone1.bytes")

    def brief(self) -> str:
        return self.what


_GRID = Grid(signed=True, bits=8, exponent=-7)
_CELL = Grid(signed=True, bits=16, exponent=-12)
_UNEVEN = ((0, 2), (1, 0))
_ENDS = ((0, 1), (2, 0))
_ALONE = {
    "Input": lambda b, x, pixels: b.plus(pixels, x),
    "State": lambda b, x, _: b.plus(x, b.state(b.shape(x), _GRID, "state")),
    "State 16": lambda b, x, _: b.plus(x, b.state(b.shape(x), _CELL, "state")),
    **{f"Pad {kind}": lambda b, x, _, kind=kind: b.pad(x, kind, _UNEVEN)
       for kind in ("zero", "mean", "edge")},
    "Product": lambda b, x, _: b.activate(b.product(x, 4, kernel=(2, 1)), "identity",
                                          part="made"),
    "Activate 16": lambda b, x, _: b.activate(x, "identity", part="wide", after=_CELL),
    "Activate softplus": lambda b, x, _: b.activate(x, "softplus", part="made"),
    **{f"Pool {kind}": lambda b, x, _, kind=kind: b.pool(x, kind, (2, 3), (1, 2), _ENDS,
                                                        part="made")
       for kind in ("max", "mean")},
    "Reshape": lambda b, x, _: b.reshape(x, (2, 5, 6), part="made"),
    "Slice": lambda b, x, _: b.slice(x, 1, 1, 3, part="made"),
    "Concat": lambda b, x, _: b.concat([x, x], 0, part="made"),
    "Concat 16": lambda b, x, _: b.slice(
        b.concat([b.activate(x, "identity", part="wide", after=_CELL)] * 2, 2, part="two"),
        2, 1, 3, part="made"),
    "Add": lambda b, x, pixels: b.plus(x, pixels),
    "Add thrice": lambda b, x, pixels: b.plus(b.plus(x, pixels), x, part="more"),
    "Mul": lambda b, x, pixels: b.times(x, pixels),
    "Mul vector": lambda b, x, _: b.times(
        x, b.reshape(b.pool(x, "max", (5, 4), (1, 1), part="pooled"), (3,), part="v")),
    "Mul and Add": lambda b, x, pixels: b.plus(b.times(x, pixels), b.times(x, x, part="sq"),
                                               part="both"),
}  # fmt: skip
# (operator, runtime) cells that an example has hit.
HIT: collections.Counter = collections.Counter()


@pytest.mark.parametrize("what", _ALONE)
def test_an_operator_alone_computes_the_same_in_every_runtime(what):
    layers = (Alone(what=what), Flatten(), Dense(features=3, activation="identity"))
    network = Network(input_shape=(5, 4, 3), layers=layers)
    network = integers.filled(network, seed=2)
    assert compared(network) > 1000
    images = integers.images(network.network, 12)
    made = {s.layer.name: s.output for s in normative.steps(network, images)}
    assert len(np.unique(made["alone1"])) > 3, "or a constant would pass too"
    for node in network.program.nodes:
        for name in exports.FORMATS:
            HIT[node.op, exports.module(name).RUNTIME] += 1


def test_every_cell_of_the_published_table_was_hit():
    """After the test above: operator x runtime, and none is "never"."""
    published = exports.table()
    assert list(published) == [kind.__name__ for kind in OPERATORS]
    cells = {(op, runtime) for op, row in published.items() for runtime in row}
    assert len(cells) == 11 * 3
    assert "never" not in {when for row in published.values() for when in row.values()}
    if len({op for op, _ in HIT}) == len(OPERATORS):  # the whole file ran
        assert set(HIT) == cells


def _means(height: int) -> Network:
    pool = Pool(kind="mean", window=(height, 4096), stride=(1, 1))
    return Network(input_shape=(height, 4096, 1), layers=(pool, Flatten()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sixteen(Layer):
    """A value of 16 bits, and an operator that takes bytes."""

    what: str

    def lower(self, b: Builder, x: str) -> str:
        wide = b.activate(x, "identity", part="wide", after=_CELL)
        if self.what == "pad":
            return b.pad(wide, "zero", _UNEVEN)
        if self.what == "pool":
            return b.pool(wide, "max", (2, 2), (1, 1))
        return b.activate(b.product(wide, 2, kernel=(1, 1)), "relu")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Far(Layer):
    """A sum much coarser than what it adds."""

    def lower(self, b: Builder, x: str) -> str:
        coarse = Grid(signed=True, bits=8, exponent=12)
        total = b.plus(x, b.activate(x, "identity", part="own"))
        return b.activate(total, "identity", after=coarse)


REFUSED = {
    "mean": (
        _means(2050),
        {"onnx": "mean pooling of 8396800", "tflite": "mean pooling of"},
    ),
    **{
        what: (
            Network(input_shape=(4, 3, 2), layers=(Sixteen(what=what),)),
            dict.fromkeys(QUICK, f"{says} of 16 bits"),
        )
        for what, says in (("pad", "padding"), ("pool", "pooling"), ("dot", "product"))
    },
    "far": (
        Network(input_shape=(4, 3, 2), layers=(Far(),)),
        {"onnx": "sum whose parts are 2\\^20 times finer"},
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_condition_excludes_is_refused_by_name(case):
    spec, says = REFUSED[case]
    network = (
        integers.filled(spec, seed=3)
        if case != "mean"
        else IntNetwork(network=spec, weighted={})
    )
    guilty = list(network.walk())[-1 if case != "mean" else 0].name
    for name, clause in says.items():
        form = exports.module(name)
        with pytest.raises(InputError, match=f"`{guilty}` cannot be written.*{clause}"):
            form.encode(network)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Invert(Node):
    """An operator that nobody knows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inverted(Layer):
    def lower(self, b: Builder, x: str) -> str:
        return b.add(Invert, (x,), part="")


@pytest.mark.parametrize("name", exports.FORMATS)
def test_an_unknown_operator_is_refused_by_name(name, monkeypatch):
    monkeypatch.setitem(program._SHAPES, Invert, lambda node, x: x.shape)
    layers = (Inverted(), Flatten(), Dense(features=2, activation="identity"))
    network = integers.filled(Network(input_shape=(3, 3, 1), layers=layers))
    with pytest.raises(InputError, match=r"`inverted1`.*operator Invert"):
        exports.module(name).encode(network)


# Faults as a wrong graph would have them: another network than the one it is held against.


def _with(network: IntNetwork, layers) -> IntNetwork:
    other = Network(input_shape=network.network.input_shape, layers=layers)
    return dataclasses.replace(network, network=other)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Skip(Layer):
    """A residual whose way round is the first value or, wrongly, the second."""

    fault: str = ""

    def lower(self, b: Builder, x: str) -> str:
        first = b.activate(b.product(x, 4, part="a.sum", weights="a"), "relu", part="a")
        second = b.activate(
            b.product(first, 4, part="b.sum", weights="b"), "relu", part="b"
        )
        third = b.activate(
            b.product(second, 4, part="c.sum", weights="c"), "identity", part="c"
        )
        around = second if self.fault == "skip" else first
        out = b.activate(b.plus(third, around), "relu", part="joined")
        pair = [first, out] if self.fault == "order" else [out, first]
        return b.concat([b.activate(v, "relu", part=f"grid{i}", after=_GRID_UNSIGNED)
                         for i, v in enumerate(pair)], 0)  # fmt: skip


_GRID_UNSIGNED = Grid(signed=False, bits=8, exponent=-6)


@pytest.mark.parametrize("name", exports.FORMATS)
@pytest.mark.parametrize("fault", ["skip", "order", "exponent", "depthwise", "gates"])
def test_a_planted_fault_is_seen_and_located(name, fault):
    """In the file alone, and by the first step of the runtime that differs."""
    right, wrong, guilty = FAULTS[fault]()
    form = exports.module(name)
    content = form.encode(wrong)
    assert form.differences(form.encode(right), right) is None
    assert form.differences(content, right)
    images = integers.images(right.network, 30)
    found = form.layer_outputs(content, wrong, images)
    first = next(
        step.layer.name
        for step in normative.steps(right, images)
        if not np.array_equal(found[step.layer.name], step.output)
    )
    assert first == guilty


def _skip(fault: str, guilty: str):
    right = integers.filled(Network(input_shape=(6,), layers=(Skip(),)), seed=5)
    return right, _with(right, (Skip(fault=fault),)), guilty


def _exponent():
    right = integers.filled(Network(input_shape=(6,), layers=(Skip(),)), seed=5)
    held = right.activated["skip1.joined"]
    kind = dataclasses.replace(held.sum, exponent=held.sum.exponent + 1)
    wrong = dataclasses.replace(held, sum=kind, output=kind)
    activated = {**right.activated, "skip1.joined": wrong}
    return right, dataclasses.replace(right, activated=activated), "skip1.joined"


def _depthwise():
    """Each channel takes the weights of its neighbour."""
    layers = (Conv(features=3, groups=3), Flatten(), Dense(features=2))
    right = integers.filled(Network(input_shape=(5, 5, 3), layers=layers))
    held = right.weighted["conv1"]
    wrong = dataclasses.replace(held, weights=np.roll(held.weights, 1, axis=3))
    weighted = {**right.weighted, "conv1": wrong}
    return right, dataclasses.replace(right, weighted=weighted), "conv1"


def _gates():
    """Input and forget gate exchanged."""
    layers = (Multiply(body=(Dense(features=4),)), LstmCell(features=2))
    right = integers.filled(Network(input_shape=(4,), layers=layers))
    held = right.weighted["lstmcell1"]
    order = np.array([2, 3, 0, 1, 4, 5, 6, 7])
    arrays = {n: getattr(held, n)[..., order] for n in ("weights", "bias", "multiplier")}
    wrong = dataclasses.replace(held, **arrays)
    weighted = {**right.weighted, "lstmcell1": wrong}
    return right, dataclasses.replace(right, weighted=weighted), "lstmcell1.gates"


FAULTS = {
    "skip": lambda: _skip("skip", "skip1.joined"),
    "order": lambda: _skip("order", "skip1.grid0"),
    "exponent": _exponent,
    "depthwise": _depthwise,
    "gates": _gates,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairs(Layer):
    """Two pixels as bytes on grids of their own, added or multiplied."""

    operator: str
    grids: tuple[Grid, Grid]
    out: Grid

    def lower(self, b: Builder, x: str) -> str:
        ends = []
        for index, grid in enumerate(self.grids):
            one = b.slice(x, 0, index, index + 1, part=f"slice{index}")
            sums = b.product(one, 1, part=f"sum{index}", weights=f"pair{index}")
            function = "identity" if grid.signed else "relu"
            ends.append(b.activate(sums, function, part=f"byte{index}", after=grid))
        made = getattr(b, self.operator)(*ends)
        function = "identity" if self.out.signed else "relu"
        return b.activate(made, function, after=self.out)


def passing(kind: Format) -> Weighted:
    """A product that makes every byte of a format from a pixel: p, or p - 128."""
    return Weighted(
        weights=np.array([[2]], np.int8),
        bias=np.array([-256 if kind.signed else 0], np.int32),
        multiplier=np.array([32768], np.int32),
        sum=kind,
        output=kind,
    )


@pytest.mark.parametrize("operator", ["plus", "times"])
def test_every_pair_of_bytes_is_added_and_multiplied_exactly(operator):
    """All 65,536 pairs, exponents near and far, both signs, runtimes that fuse them."""
    numbers = np.arange(256, dtype=np.uint8)
    pairs = np.stack([np.repeat(numbers, 256), np.tile(numbers, 256)], axis=1)
    draw = np.random.default_rng(0)
    for _ in range(12):
        a, b = (int(e) for e in draw.integers(-7, 0, 2))
        top = max(a, b) if operator == "plus" else a + b + 8
        signs = draw.integers(0, 2, 3).astype(bool).tolist()
        exponents = (a, b, top + int(draw.integers(-2, 3)))
        first, second, out = (
            Grid(signed=sign, bits=8, exponent=exponent)
            for sign, exponent in zip(signs, exponents, strict=True)
        )
        layer = Pairs(operator=operator, grids=(first, second), out=out)
        spec, kind = Network(input_shape=(2,), layers=(layer,)), Format.of(out)
        network = IntNetwork(
            network=spec,
            weighted={
                f"pair{i}": passing(Format.of(g)) for i, g in enumerate((first, second))
            },
            activated={"pairs1": Activated(sum=kind, output=kind)},
        )
        expected = normative.run(network, pairs, chunk=1 << 16)
        assert len(np.unique(expected)) > 20
        for form in (onnx_qdq, tflite):
            found = form.open_session(form.encode(network))(pairs)
            np.testing.assert_array_equal(found, expected, f"{form.FILE} {layer}")


def test_files_of_programs_are_stored_and_compared(tmp_path):
    """Each export of a network with a recurrence stands in the manifest and is checked."""
    network = integers.filled(integers.spec("cells"))
    contents = {exports.module(n).FILE: exports.module(n).encode(network) for n in QUICK}
    files.save(network, tmp_path, source={}, files=contents)
    held = files.load(tmp_path)
    assert files.verify_files(tmp_path, held.manifest) == []
    for name in QUICK:
        form = exports.module(name)
        assert form.differences(contents[form.FILE], held.network) is None
    assert {type(n) for n in held.network.program.nodes} >= {Activate, Add}
