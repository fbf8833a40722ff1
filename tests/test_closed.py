"""Closed by default: a layer kind or machine that a function has no rule for is refused by
its name, never taken for another."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import configs.network
import quant.network
import train.model
from accel.cost import movement, rule
from accel.cost.works import works
from accel.gemm import Gemm, gemms
from accel.predict import timing
from accel.tpu.compiler import compile_network
from accel.tpu.machine import TpuMachine
from configs import checks, table
from configs.errors import InputError
from configs.layers import _WithoutWeights
from configs.network import Conv, Dense, Flatten, Network, Pool
from quant import execute, fast, intervals, normative
from quant.exports import onnx_graph, onnx_qdq, stablehlo, tflite_layers
from quant.network import Format, IntNetwork, Weighted
from quant.qat import make_plan
from quant.settings import Quantization
from train import bounds, features
from train.unsupported import refuse_unsupported


@dataclass(frozen=True, kw_only=True)
class Invert(_WithoutWeights):
    """top - x: a kind that nobody knows."""

    top: float = 1.0

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape


@pytest.fixture
def odd(monkeypatch) -> Network:
    """A network with a kind that the spec knows and nothing else does."""
    checks.field_types.cache_clear()
    monkeypatch.setattr(configs.network, "Layer", configs.network.Layer | Invert)
    layers = (
        Conv(features=3, padding="zero"),
        Invert(),
        Pool(),
        Flatten(),
        Dense(features=3, activation="identity"),
    )
    yield Network(input_shape=(6, 6, 2), layers=layers)
    checks.field_types.cache_clear()


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
def ungated(odd, monkeypatch) -> IntNetwork:
    """The same as integers, past the gate, so that what lies behind it is reached."""
    for module in (quant.network, train.model):
        monkeypatch.setattr(module, "refuse_unsupported", lambda network, act: None)
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


CONSUMERS: dict[str, Callable[[IntNetwork], object]] = {
    "float model": lambda n: _model(n.network)(jnp.asarray(IMAGES)),
    "float intervals": _float_ends,
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
    "layer table": lambda n: [table.brief_spec(spec) for spec in n.network.layers],
    "products": lambda n: gemms(n.network),
    "cost": lambda n: works(n.network),
    "tpu": lambda n: compile_network(n, 2, TpuMachine(side=8)),
}


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_an_unknown_layer_is_refused_by_name(consumer: str, ungated: IntNetwork) -> None:
    """By every function that decides by kind, the gate before them left out."""
    with pytest.raises(InputError, match="Invert"):
        CONSUMERS[consumer](ungated)


@pytest.mark.parametrize("act", ["trained", "quantised"])
def test_the_gate_refuses_what_it_does_not_list(act: str, odd: Network) -> None:
    """A kind has to be let in, not kept out."""
    with pytest.raises(InputError, match=f"invert1.*cannot be {act}.*Invert"):
        refuse_unsupported(odd, act)


MACHINES = {
    "cycles": lambda m: timing.predict(m, Gemm("g", 1, 1, 3, 2)),
    "held": movement.held,
    "accumulations": lambda m: movement.accumulations(m, macs=1, sums=1, K=(1, 1, 1)),
    "sides": rule.sides,
}


@pytest.mark.parametrize("consumer", MACHINES)
def test_an_unknown_machine_is_refused_by_name(consumer: str) -> None:
    """Never as one that holds sums or has a single multiplier."""

    class Quantum:
        multipliers = 7

    with pytest.raises(InputError, match="`Quantum`"):
        MACHINES[consumer](Quantum())
