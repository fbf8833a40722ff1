"""Closed by default: an operator or machine that a function has no rule for is refused by
its name, never taken for another; and no function outside `configs/layers` knows a kind of
layer."""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import train.model
from accel.cost import access_counts, fixed_mapping
from accel.predict import timing
from accel.tpu.isa.compiler import compile_network
from accel.tpu.machine import TpuMachine
from accel.workload.gemm import Gemm
from configs import program
from configs.checks import kinds_of
from configs.errors import InputError
from configs.network import Conv, Dense, Flatten, Layer, Network, Pool
from configs.program import Builder, Node
from quant import execute, fast, intervals, normative
from quant.exports import onnx_graph, onnx_qdq, stablehlo, tflite_layers
from quant.network import Format, IntNetwork, Weighted
from quant.qat import make_plan
from quant.settings import Quantization
from train import bounds, crown, features

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Sort(Node):
    """An operator that only this file knows."""


@dataclass(frozen=True, kw_only=True)
class Sorted(Layer):
    """The kind of layer that is that operator."""

    def lower(self, b: Builder, x: str) -> str:
        return b.add(Sort, (x,), part="")


@pytest.fixture
def odd(monkeypatch) -> Network:
    """A network with an operator that the program knows the shape of, and nobody else."""
    monkeypatch.setitem(program._SHAPES, Sort, lambda node, x: x.shape)
    layers = (
        Conv(features=3, padding="zero"),
        Sorted(),
        Pool(),
        Flatten(),
        Dense(features=3, activation="identity"),
    )
    return Network(input_shape=(6, 6, 2), layers=layers)


def _numbers(shape: tuple[int, ...], signed: bool) -> Weighted:
    kind = Format(signed=signed, exponent=-4)
    return Weighted(
        weights=np.ones(shape, np.int8),
        bias=np.zeros(shape[-1], np.int32),
        multiplier=np.full(shape[-1], 9000, np.int32),
        sum=kind,
        output=kind,
    )


@pytest.fixture
def integers(odd) -> IntNetwork:
    weighted = {
        "conv1": _numbers((3, 3, 2, 3), False), "dense1": _numbers((27, 3), True)
    }  # fmt: skip
    return IntNetwork(network=odd, weighted=weighted)


IMAGES = np.zeros((2, 6, 6, 2), np.uint8)


def _model(network: Network) -> train.model.Model:
    return train.model.build(network, key=jax.random.key(0))


def _ends(network: IntNetwork) -> object:
    both = intervals.Interval(jnp.asarray(IMAGES), jnp.asarray(IMAGES))
    return intervals.propagate(network, both)


def _float_ends(network: IntNetwork) -> object:
    pixels = bounds.pixels_within(jnp.asarray(IMAGES), 1.0)
    return bounds.propagate(_model(network.network), pixels)


def _crown(network: IntNetwork) -> object:
    pixels = bounds.pixels_within(jnp.asarray(IMAGES), 1.0)
    return crown.margins(_model(network.network), pixels, jnp.zeros(2, jnp.int32))


CONSUMERS: dict[str, Callable[[IntNetwork], object]] = {
    "float model": lambda n: _model(n.network)(jnp.asarray(IMAGES)),
    "float intervals": _float_ends,
    "crown": _crown,
    "receptive field": lambda n: features.receptive_field(n.network, "pool1", (0, 0)),
    "fine-tuning": lambda n: make_plan(n.network, Quantization()),
    "normative": lambda n: list(normative.steps(n, IMAGES)),
    "execute": lambda n: execute.run(n, jnp.asarray(IMAGES)),
    "fast": lambda n: fast.compile(n)(IMAGES),
    "fast layers": lambda n: fast.layers(n, IMAGES),
    "integer intervals": _ends,
    "certificate": lambda n: intervals.certified(n, IMAGES, np.zeros(2, np.int32), 1),
    "onnx graph": onnx_graph.build,
    "onnx": onnx_qdq.encode,
    "tflite": tflite_layers.encode,
    "stablehlo": stablehlo.encode,
    "tpu": lambda n: compile_network(n, 2, TpuMachine(side=8)),
}


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_an_unknown_operator_is_refused_by_name(
    consumer: str, integers: IntNetwork
) -> None:
    """By every function that decides by operator."""
    with pytest.raises(InputError, match="Sort"):
        CONSUMERS[consumer](integers)


def test_the_program_itself_refuses_it_first() -> None:
    """Without a rule for its shape no network is made."""
    with pytest.raises(InputError, match=r"`layers\[0\]` \(sorted1\).*`Sort` is a kind"):
        Network(input_shape=(4,), layers=(Sorted(),))


# Where kinds of layers are told apart, and where operators are defined.
SPEC_ITSELF = (
    "configs/layers/", "configs/network.py", "configs/program.py", "configs/stored.py",
)  # fmt: skip


def kinds_decided(path: Path, kinds: set[str]) -> list[str]:
    """Places of a file that ask which kind of layer something is."""
    # Operators have names of their own; where both exist the import decides.
    found, kinds = [], kinds - _operators_imported(path)
    for node in ast.walk(ast.parse(path.read_text(), path)):
        asked: set[str] = set()
        match node:
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, kind]):
                asked = {n.id for n in ast.walk(kind) if isinstance(n, ast.Name)}
                asked |= {n.attr for n in ast.walk(kind) if isinstance(n, ast.Attribute)}
            case ast.MatchClass(cls=ast.Name(id=name)):
                asked = {name}
            case ast.Compare(left=ast.Attribute(attr="kind"), comparators=[one]):
                values = [n.value for n in ast.walk(one) if isinstance(n, ast.Constant)]
                asked = {str(value) for value in values}
        found += [f"{path.name}:{node.lineno} {name}" for name in sorted(asked & kinds)]
    return found


def _operators_imported(path: Path) -> set[str]:
    """Names that a file has from the program, such as `Pool`, which is a layer, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(), path)):
        if isinstance(node, ast.ImportFrom) and node.module == "configs.program":
            found |= {alias.asname or alias.name for alias in node.names}
    return found


def test_nobody_asks_which_kind_a_layer_is() -> None:
    known = kinds_of(Layer).items()
    ours = {n for n, kind in known if kind.__module__.startswith("configs.layers.")}
    kinds = {name for name in ours if not hasattr(program, name)}
    kinds |= {"Pool", "Concat"}
    found = []
    for package in ("configs", "train", "quant", "accel", "benchmarks"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if not name.startswith(SPEC_ITSELF):
                found += kinds_decided(path, kinds)
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "isinstance(x, Conv)",
        "isinstance(x, configs.network.Conv | Dense)",
        "match x:\n    case Residual():\n        pass",
        "x = info.kind == 'Flatten'",
        "x = info.kind in ('Lstm', 'Dense')",
        "from configs.layers.pool import Pool\nisinstance(x, Pool)",
    ],
)
def test_a_planted_question_is_found(text: str, tmp_path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text(text + "\n")
    kinds = {"Conv", "Dense", "Residual", "Flatten", "Lstm", "Pool"}
    assert kinds_decided(planted, kinds)
    planted.write_text("from configs.program import Pool\nisinstance(x, Pool)\n")
    assert not kinds_decided(planted, kinds)


MACHINES = {
    "cycles": lambda m: timing.predict(m, Gemm("g", 1, 1, 3, 2)),
    "held": access_counts.held,
    "accumulations": lambda m: access_counts.accumulations(m, macs=1, sums=1, K=(1, 1, 1)),
    "sides": fixed_mapping.sides,
}


@pytest.mark.parametrize("consumer", MACHINES)
def test_an_unknown_machine_is_refused_by_name(consumer: str) -> None:
    """Never as one that holds sums or has a single multiplier."""

    class Quantum:
        multipliers = 7

    with pytest.raises(InputError, match="`Quantum`"):
        MACHINES[consumer](Quantum())
