"""From the network with fake quantisation to the one of integers."""

from __future__ import annotations

import dataclasses
import math

import jax
import numpy as np

from configs.network import Network
from quant.network import (
    ACCUMULATOR_LIMIT,
    DIRECT_ACTIVATIONS,
    PIXELS,
    Activated,
    Format,
    IntNetwork,
    Weighted,
    cap_of,
    rescaling,
    weight_high,
)
from quant.qat import Place, Steps
from train.model import Model

# Real functions of the activations that are looked up in a table.
_TABLES = {
    "softplus": lambda x: math.log1p(math.exp(-abs(x))) + max(x, 0.0),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": math.tanh,
    "tanh_half": lambda x: math.tanh(x / 2),
}


def convert(
    network: Network, model: Model, steps: Steps, classes: tuple[str, ...] = ()
) -> IntNetwork:
    """The integers that `model`, whose grids are `steps`, stands for."""
    program, weighted, activated = network.program, {}, {}
    for place in steps.plan.places:
        layer = model.layers[place.name]
        node = program.readers[program.weighted[place.name].name][0]
        kernel = np.asarray(layer.kernel[...])
        bias = np.zeros(kernel.shape[-1], np.float32)
        if layer.bias is not None:
            bias = np.asarray(layer.bias[...])
        weighted[place.name] = _layer(place, steps, kernel, bias, node.function)
    for name, node in rescaling(program).items():
        after = site_format(steps, name, node.function)
        direct = node.function in DIRECT_ACTIVATIONS
        total = after if direct else site_format(steps, f"{name}.argument")
        found = None if direct else table(node.function, total, after)
        activated[name] = Activated(sum=total, table=found, output=after)
    return IntNetwork(
        network=network, weighted=weighted, activated=activated, classes=classes
    )


def site_format(steps: Steps, name: str, function: str = "identity") -> Format:
    """The format that a site, whose values a function gives, has come to."""
    if not name:
        return PIXELS
    site = steps.plan.site(name)
    step = float(jax.device_get(steps.activation(name)))
    exponent = math.frexp(step)[1] - 1
    kind = Format(signed=site.signed, bits=site.bits, exponent=exponent)
    cap = cap_of(function, kind)
    return dataclasses.replace(kind, cap=cap)


def _layer(
    place: Place, steps: Steps, kernel: np.ndarray, bias: np.ndarray, activation: str
) -> Weighted:
    before = site_format(steps, place.input)
    after = site_format(steps, place.output, activation)
    direct = place.sum == place.output
    total = after if direct else site_format(steps, place.sum)
    step_F = np.asarray(steps.weight(place.name), np.float64)
    unit = math.ldexp(1.0, total.exponent - before.exponent - place.shift)
    high = weight_high(place.weight_bits)
    # The quotient in float32, as the fake quantiser takes it.
    quotient = kernel / step_F.astype(np.float32)
    weights = np.clip(np.rint(quotient), -high, high).astype(np.int8)
    whole = np.rint(bias.astype(np.float64) / (before.scale * step_F))
    # What the weights can add must still fit into the accumulator.
    products = before.largest * np.abs(weights.astype(np.int64)).reshape(-1, len(bias))
    limit = ACCUMULATOR_LIMIT - 1 - products.sum(0)
    return Weighted(
        weights=weights,
        bias=np.clip(whole, -limit, limit).astype(np.int32),
        multiplier=np.rint(step_F / unit).astype(np.int32),
        shift=place.shift,
        weight_bits=place.weight_bits,
        sum=total,
        table=None if direct else table(activation, total, after),
        output=after,
    )


def table(activation: str, before: Format, after: Format) -> np.ndarray:
    """The activation of each of the 256 requantised sums, rounded half to even."""
    real = [_TABLES[activation](q * before.scale) for q in range(-128, 128)]
    whole = np.rint(np.array(real) / after.scale)
    return np.clip(whole, after.low, after.high).astype(after.dtype)
