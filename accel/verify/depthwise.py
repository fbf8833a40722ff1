"""A depthwise convolution on arrays of several sizes, three ways, stepped and compared.

The layer is the depthwise 3x3 of `mnist_dscnn`'s size: 64 channels on a 14 x 14 map. An
array of side s has a vector unit of s multiply-accumulates a cycle beside it, a row of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from accel.machines.machine import Dataflow, Systolic
from accel.predict import timing
from accel.verify.run import Setup
from accel.verify.verify import verify
from configs.network import Conv, Network
from quant.network import Format, IntNetwork, Weighted

SIDES = (8, 16, 32, 128)
WAYS = ("channels", "diagonal", "vector")
# Slots of multipliers that are stepped; beyond, a row is predicted only.
MOST_SLOTS = 4_000_000_000


def layer(channels: int = 64, size: int = 14, seed: int = 0) -> IntNetwork:
    """A network of one depthwise 3x3 convolution with random weights."""
    draw = np.random.default_rng(seed)
    conv = Conv(features=channels, groups=channels, padding="zero")
    network = Network(input_shape=(size, size, channels), layers=(conv,))
    (node,) = network.program.products
    output = Format(signed=False, exponent=-4)
    held = Weighted(
        weights=draw.integers(-127, 128, node.weight_shape).astype(np.int8),
        bias=draw.integers(-9999, 9999, channels).astype(np.int32),
        multiplier=draw.integers(100, 999, channels).astype(np.int32),
        sum=output,
        output=output,
    )
    return IntNetwork(network=network, weighted={node.weights: held})


def table(
    network: IntNetwork | None = None,
    *,
    sides: Sequence[int] = SIDES,
    dataflows: Sequence[Dataflow] = ("ws", "os"),
    most_slots: int = MOST_SLOTS,
) -> list[dict[str, Any]]:
    """For every array and way the cycles of one image: closed form, and stepped.

    `verified` says whether all bits and counts agree; None where nothing was stepped.
    """
    network = network or layer()
    shape = network.network.input_shape
    image = np.random.default_rng(1).integers(0, 256, (1, *shape), np.uint8)
    return [
        _row(
            network, image, Systolic(rows=side, cols=side, dataflow=flow, **way), most_slots
        )
        for flow in dataflows
        for side in sides
        for way in _ways(side)
    ]


def _ways(side: int) -> Iterator[dict[str, Any]]:
    for way in WAYS:
        yield {"depthwise": way, "vector_width": side if way == "vector" else None}
    yield {"depthwise": "auto", "vector_width": side}


def _row(
    network: IntNetwork, image: np.ndarray, machine: Systolic, most_slots: int
) -> dict[str, Any]:
    setup = Setup(machine=machine)
    ((gemm, predicted),) = timing.layers(machine, network.network, 1, 1)
    row = {
        "rows": machine.rows,
        "cols": machine.cols,
        "dataflow": machine.dataflow,
        "depthwise": machine.depthwise,
        "way": timing.plan(machine, gemm).name,
        "vector_width": machine.vector_width,
        "macs": predicted.macs,
        "cycles_closed_form": predicted.cycles,
        "utilization": predicted.utilization,
        "cycles_stepped": None,
        "verified": None,
    }
    if predicted.cycles * machine.multipliers > most_slots:
        return row
    found = verify(network, image, setup)
    return row | {"cycles_stepped": found.total.cycles, "verified": found.holds}
