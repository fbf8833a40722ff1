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

from configs.network import Network
from configs.program import (
    Activate,
    Input,
    Pad,
    Pool,
    Product,
    Program,
    State,
    require_operator,
)
from quant.fake import dyadic, fake_quantize, power_of_two, round_ste
from quant.float32_rounding import nearest_agreeing
from quant.network import (
    DIRECT_ACTIVATIONS,
    PIXELS,
    Integers,
    weight_high,
)
from quant.settings import Quantization, Widths
from train.conv_impl import Product as Multiplication
from train.model import Model, Operators, build, float_operators

Method = Literal["lsq", "pact", "fixed"]


@dataclass(frozen=True, kw_only=True)
class Site(Integers):
    """A tensor with a grid: where it is made and which integers it may hold."""

    name: str
    # Site whose step it has: its own, but where values lie side by side later.
    grid: str
    # Exponent of its step, where it must not be chosen.
    exponent: int | None = None


@dataclass(frozen=True, kw_only=True)
class Place:
    """Weights among the sites: what they meet and what becomes of the sums."""

    # Of the weights.
    name: str
    # Site of the grid of its input; "" for the pixels.
    input: str
    # Site of its requantised sum; that of its output without a table.
    sum: str
    # Site of the output.
    output: str
    weight_bits: int
    # Right shift of its requantisation.
    shift: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where a network is quantised, and to how many bits."""

    sites: tuple[Site, ...]
    places: tuple[Place, ...]
    # Values that are new but lie on the grid of their input, with its site: means must be
    # rounded to it.
    means: tuple[tuple[str, str], ...]
    # Values at the seam that are rounded to the grid of a site, with its name.
    values: tuple[tuple[str, str], ...]
    # Sums at the seam, with the weights that they were made with.
    sums: tuple[tuple[str, str], ...]

    def site(self, name: str) -> Site:
        return next(site for site in self.sites if site.name == name)

    def place(self, name: str) -> Place:
        return next(place for place in self.places if place.name == name)

    def free(self) -> tuple[Site, ...]:
        """Sites whose step is chosen, by calibration and training."""
        return tuple(s for s in self.sites if s.grid == s.name and s.exponent is None)


def make_plan(network: Network, settings: Quantization) -> Plan:
    """The sites of a network in order; every shift is 16."""
    widths = settings.widths(network)
    return plan_of(network, widths, dict.fromkeys(network.program.weighted, 16))


def plan_of(
    network: Network, widths: Mapping[str, Widths], shifts: Mapping[str, int]
) -> Plan:
    """The sites of a network in order.

    Args:
      widths: of every set of weights and of every other value that is brought back
        (`Quantization.widths`).
      shifts: of every set of weights.
    """
    program = network.program
    shared = program.grids()
    bits = _bits(program, widths)
    sites: dict[str, Site] = {}
    places: dict[str, Place] = {}
    means, values, sums = [], [], []

    def owner(name: str) -> str:
        """The site that has the grid of a value."""
        root = program.root(name)
        if isinstance(root, Input):
            return ""
        first = program.by_name[shared[root.name]]
        return getattr(first, "owner", first.name)

    for node in program.nodes:
        require_operator(node, "quant.qat")
        mean = isinstance(node, Pad | Pool) and node.kind == "mean"
        if mean:
            means.append((node.name, owner(node.name)))
        if isinstance(node, State):
            sites[node.name] = Site(
                name=node.name, grid=owner(node.name), signed=node.grid.signed,
                bits=node.grid.bits, exponent=node.grid.exponent,
            )  # fmt: skip
        if isinstance(node, Product):
            sums.append((node.name, node.weights))
        if not isinstance(node, Activate):
            continue
        before = program.by_name[node.input]
        summed = isinstance(before, Product)
        total = node.owner
        if node.function not in DIRECT_ACTIVATIONS:
            total = before.name if summed else f"{node.owner}.argument"
            value = before.name if summed else f"{node.name}.argument"
            values.append((value, total))
            exponent = node.before.exponent if node.before else None
            sites.setdefault(
                total, Site(name=total, grid=total, signed=True, bits=8, exponent=exponent)
            )
        grid = node.after
        values.append((node.name, node.owner))
        sites.setdefault(
            node.owner,
            Site(
                name=node.owner,
                grid=owner(node.name),
                signed=node.signed,
                bits=grid.bits if grid else bits[shared[node.name]],
                exponent=grid.exponent if grid else None,
            ),
        )
        if summed:
            places.setdefault(
                before.weights,
                Place(
                    name=before.weights,
                    input=owner(before.input),
                    sum=total,
                    output=node.owner,
                    weight_bits=widths[before.weights].weights,
                    shift=shifts[before.weights],
                ),
            )
    return Plan(
        sites=tuple(sites.values()), places=tuple(places.values()), means=tuple(means),
        values=tuple(values), sums=tuple(sums),
    )  # fmt: skip


def _bits(program: Program, widths: Mapping[str, Widths]) -> dict[str, int]:
    """Width of every grid that values share: the widest that one of them asks for."""
    found: dict[str, int] = {}
    for node in program.nodes:
        if isinstance(node, Activate) and node.after is None:
            before = program.by_name[node.input]
            name = before.weights if isinstance(before, Product) else node.owner
            grid = program.grids()[node.name]
            found[grid] = max(found.get(grid, 0), widths[name].activations)
    return found


class Steps(nnx.Module):
    """The steps of all grids, as parameters: log2, one a free site and one a weight
    channel."""

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
        found = self.plan.site(site)
        if found.exponent is not None:
            return jnp.float32(2.0**found.exponent)
        if found.grid != site:
            return self.activation(found.grid)
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
        for value, weights in self.plan.sums:
            if value == name:
                y = self._accumulated(weights, y)
        for mean, owner in self.plan.means:
            if mean == name:
                step = jax.lax.stop_gradient(self.activation(owner))
                return step * round_ste(y / step)
        for value, owner in self.plan.values:
            if value == name:
                site = self.plan.site(owner)
                step = self.activation(owner)
                method = "fixed" if site.exponent is not None else self.methods[0]
                return fake_quantize(y, step, site.low, site.high, method)
        return y

    def _accumulated(self, layer: str, y: jax.Array) -> jax.Array:
        """Sums (..., F) on the grid of the accumulator: the bias is rounded to it."""
        step = self.activation(self.plan.place(layer).input) * self.weight(layer)
        step = jax.lax.stop_gradient(step).reshape((1,) * (y.ndim - 1) + (-1,))
        return step * round_ste(y / step)


class FakeProduct(nnx.Module):
    """A layer's multiplication, with its weights on their grid."""

    def __init__(self, layer: str, product: Multiplication, steps: Steps):
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
        if layer.bias is not None:
            model.layers[name].bias[...] = layer.bias[...]
    return model


def _attribute(site: str) -> str:
    """Flax names parameters by attribute: a site such as conv1.sum becomes conv1_sum."""
    return site.replace(".", "_")
