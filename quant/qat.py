"""Quantisation-aware training: the trained model with every tensor on a grid.

The fake quantisers go in where `train.model.Operators` lets them. Their steps are
parameters like any other and are kept as logarithms to base 2, so that one learning rate
suits steps of every size: activation steps are rounded to powers of two, weight steps to
what a multiplier of 16 bits can rescale, whenever they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from configs.errors import unknown
from configs.network import Conv, Dense, Flatten, GlobalPool, Network, Pool
from quant.certificate import nearest_agreeing
from quant.fake import dyadic, fake_quantize, power_of_two, round_ste
from quant.network import (
    DIRECT_ACTIVATIONS,
    PIXELS,
    UNSIGNED_ACTIVATIONS,
    Integers,
    weight_high,
)
from quant.settings import Quantization, Widths
from train.model import Model, Operators, build, float_operators
from train.products import Product

Method = Literal["lsq", "pact", "fixed"]


@dataclass(frozen=True, kw_only=True)
class Site(Integers):
    """A tensor with a grid of its own: where it is made and which integers it may hold."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Place:
    """A layer with weights among the sites: what it reads and what it makes."""

    # Of the layer and of the site of its output.
    name: str
    # Site of its input; "" for the pixels.
    input: str
    # Site of its requantised sum; that of its output without a table.
    sum: str
    weight_bits: int
    # Right shift of its requantisation.
    shift: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where a network is quantised, and to how many bits."""

    sites: tuple[Site, ...]
    places: tuple[Place, ...]
    # Layers that make new values on the grid of their input: means must be rounded to it.
    means: tuple[tuple[str, str], ...]

    def site(self, name: str) -> Site:
        return next(site for site in self.sites if site.name == name)

    def place(self, name: str) -> Place:
        return next(place for place in self.places if place.name == name)


def make_plan(network: Network, settings: Quantization) -> Plan:
    """The sites of a network in order; every shift is 16."""
    widths = settings.widths(network)
    return plan_of(network, widths, dict.fromkeys(widths, 16))


def plan_of(
    network: Network, widths: Mapping[str, Widths], shifts: Mapping[str, int]
) -> Plan:
    """The sites of a network in order; widths and shifts by layer with weights."""
    sites, places, means, before = [], [], [], ""
    for info in network.walk():
        spec = info.spec
        if not isinstance(spec, Conv | Dense | Pool | GlobalPool | Flatten):
            raise unknown(spec, "quant.qat")
        if isinstance(spec, Conv) and spec.padding == "mean":
            means.append((f"{info.name}.padding", before))
        if isinstance(spec, Pool | GlobalPool) and spec.kind == "mean":
            means.append((info.name, before))
        if not info.weights:
            continue
        total = info.name
        if spec.activation not in DIRECT_ACTIVATIONS:
            total = f"{info.name}.sum"
            sites.append(Site(name=total, signed=True, bits=8))
        signed = spec.activation not in UNSIGNED_ACTIVATIONS
        bits = widths[info.name].activations
        sites.append(Site(name=info.name, signed=signed, bits=bits))
        place = Place(
            name=info.name,
            input=before,
            sum=total,
            weight_bits=widths[info.name].weights,
            shift=shifts[info.name],
        )
        places.append(place)
        before = info.name
    return Plan(sites=tuple(sites), places=tuple(places), means=tuple(means))


class Steps(nnx.Module):
    """The steps of all grids, as parameters: log2, one a site and one a weight channel."""

    def __init__(
        self,
        plan: Plan,
        activations: dict[str, float],
        weights: dict[str, np.ndarray],
        *,
        activation_method: Method = "lsq",
        weight_method: Method = "lsq",
    ):
        self.plan = plan
        self.methods = (activation_method, weight_method)
        param = lambda value: nnx.Param(jnp.asarray(value, jnp.float32))
        self.activations = nnx.Dict(
            {_attribute(site): param(v) for site, v in activations.items()}
        )
        self.weights = nnx.Dict({layer: param(v) for layer, v in weights.items()})

    def activation(self, site: str) -> jax.Array:
        """Step of a site, a power of two."""
        if not site:
            return jnp.float32(PIXELS.scale)
        log2 = self.activations[_attribute(site)][...]
        return power_of_two(self._held(log2, self.methods[0]))

    def weight(self, layer: str) -> jax.Array:
        """Steps of a layer's weights (F,), each one that hardware can rescale."""
        place = self.plan.place(layer)
        log2 = self._held(self.weights[layer][...], self.methods[1])
        total = self.plan.site(place.sum)
        return dyadic(
            jnp.exp2(log2),
            self.activation(place.input),
            self.activation(place.sum),
            place.shift,
            nearest_agreeing(place.shift, total.low, total.high),
        )

    def _held(self, log2: jax.Array, method: Method) -> jax.Array:
        return jax.lax.stop_gradient(log2) if method == "fixed" else log2

    def fake_weights(self, layer: str, kernel: jax.Array) -> jax.Array:
        """The kernel (..., F) on the grid of its integers."""
        high = weight_high(self.plan.place(layer).weight_bits)
        step = self.weight(layer).reshape((1,) * (kernel.ndim - 1) + (-1,))
        return fake_quantize(kernel, step, -high, high, self.methods[1])

    def __call__(self, name: str, y: jax.Array) -> jax.Array:
        """What happens to every tensor of the model (`Operators.activation_quantizer`)."""
        if name.endswith(".sum"):
            y = self._accumulated(name.removesuffix(".sum"), y)
        for mean, owner in self.plan.means:
            if mean == name:
                step = jax.lax.stop_gradient(self.activation(owner))
                return step * round_ste(y / step)
        if any(site.name == name for site in self.plan.sites):
            site = self.plan.site(name)
            step = self.activation(name)
            return fake_quantize(y, step, site.low, site.high, self.methods[0])
        return y

    def _accumulated(self, layer: str, y: jax.Array) -> jax.Array:
        """Sums (..., F) on the grid of the accumulator: the bias is rounded to it."""
        step = self.activation(self.plan.place(layer).input) * self.weight(layer)
        step = jax.lax.stop_gradient(step).reshape((1,) * (y.ndim - 1) + (-1,))
        return step * round_ste(y / step)


class FakeProduct(nnx.Module):
    """A layer's multiplication, with its weights on their grid."""

    def __init__(self, layer: str, product: Product, steps: Steps):
        self.layer, self.product, self.steps = layer, product, steps

    def __call__(self, lhs: jax.Array, rhs: jax.Array, *args, **keywords) -> jax.Array:
        weights = self.steps.fake_weights(self.layer, rhs)
        return self.product(lhs, weights, *args, **keywords)


def fake_operators(steps: Steps) -> Operators:
    """Operators of the network with fake quantisation."""
    plain = float_operators()
    return Operators(
        conv=lambda layer: FakeProduct(layer, plain.conv(layer), steps),
        dot=lambda layer: FakeProduct(layer, plain.dot(layer), steps),
        activation_quantizer=steps,
    )


def fake_model(network: Network, trained: Model, steps: Steps) -> Model:
    """The trained model with its tensors on the grids of `steps`."""
    model = build(network, operators=fake_operators(steps), key=jax.random.key(0))
    for name, layer in trained.layers.items():
        model.layers[name].kernel[...] = layer.kernel[...]
        model.layers[name].bias[...] = layer.bias[...]
    return model


def _attribute(site: str) -> str:
    """Flax names parameters by attribute: a site such as conv1.sum becomes conv1_sum."""
    return site.replace(".", "_")
