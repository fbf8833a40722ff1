"""The straight-through twin of an integer network: what an attack takes gradients from.

Integers have no gradient, and rounding has one of zero. The twin goes forward as the
integers do, up to the rounding of float32, and back as quantisation-aware training does
(Bengio et al. 2013, arXiv:1308.3432, section 4): a rounding is passed as if it were none,
what is clipped gets nothing. It is made from the integers alone.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from configs.program import Activate, Product
from quant import fast
from quant.fake import fake_quantize, straight_through
from quant.network import Activated, IntNetwork, Weighted
from quant.qat import Plan, Steps, fake_operators, plan_of
from quant.settings import Widths
from train.attack.target import Target
from train.model import Model, Operators, activate, merge, split


class STESurrogate(Model):
    """A model with fake quantisation whose activations are those of the tables.

    Going back, a table counts as the activation that it stands for.
    """

    def __init__(self, network: IntNetwork, *, operators: Operators):
        super().__init__(network.network, operators=operators, rngs=nnx.Rngs(params=0))
        # Data of the structure, not parameters: nothing about them learns.
        self.integers = network

    def activated(self, node: Activate, total: jax.Array) -> jax.Array:
        numbers = _numbers(self.integers, node)
        if numbers.table is None:
            return super().activated(node, total)
        index = jnp.round(total / jnp.float32(numbers.sum.scale)).astype(jnp.int32)
        table = jnp.asarray(numbers.table.astype(np.float32))
        after = numbers.output
        step = jnp.float32(after.scale)
        real = activate(node, total)
        smooth = fake_quantize(real, step, after.low, after.high, "fixed")
        return straight_through(table[index + 128] * step, smooth)


def _numbers(network: IntNetwork, node: Activate) -> Weighted | Activated:
    before = network.program.by_name[node.input]
    if isinstance(before, Product):
        return network.weighted[before.weights]
    return network.activated[node.owner]


def twin(network: IntNetwork) -> STESurrogate:
    """Pixels float32 (B, ...) in 0..255 -> logits float32 (B, F), differentiable."""
    # Only the structure: parameters drawn at random would be compiled for and lost.
    build = lambda: STESurrogate(network, operators=fake_operators(steps_of(network)))
    graph, params = split(nnx.eval_shape(build))
    _, params["activation_quantizer"] = split(steps_of(network))
    for layer in network.walk():
        if layer.weighted:
            scale = layer.weight_scale()
            # Both fit float32: a weight has 7 bits and its scale 16.
            kernel = layer.weighted.weights * scale
            bias = layer.weighted.bias * scale * layer.input.scale
            held = {"kernel": jnp.asarray(kernel, jnp.float32)}
            if layer.product.biased:
                held["bias"] = jnp.asarray(bias, jnp.float32)
            params["layers"][layer.product.weights] = held
    return merge(graph, params)


def steps_of(network: IntNetwork) -> Steps:
    """The steps of the network's grids; none of them learns."""
    found, exponents, weights = plan(network), {}, {}
    for layer in network.walk():
        node, numbers = layer.step.activate, layer.numbers
        if numbers:
            exponents[node.owner] = float(numbers.output.exponent)
            summed = layer.product.name if layer.product else f"{node.owner}.argument"
            exponents[summed] = float(numbers.sum.exponent)
        if layer.weighted:
            weights[layer.product.weights] = np.log2(layer.weight_scale())
    return Steps(
        found,
        {site.name: exponents[site.name] for site in found.free()},
        weights,
        activation_method="fixed",
        weight_method="fixed",
    )


def plan(network: IntNetwork) -> Plan:
    """Where and to how many bits the integers say that the network is quantised."""
    weighted = network.weighted.items()
    widths = {name: Widths(w.weight_bits, w.output.bits) for name, w in weighted}
    joins = network.activated.items()
    widths |= {name: Widths(8, one.output.bits) for name, one in joins}
    return plan_of(network.network, widths, {name: w.shift for name, w in weighted})


def subject(network: IntNetwork) -> Target:
    """The deployed network under attack: its own integers decide, its twin is climbed.

    Outputs count as the real numbers that they stand for, so that equal integers are
    equal logits.
    """
    scale = np.float32(network.output.scale)
    predict = lambda images: fast.outputs_of(network, images).astype(jnp.float32) * scale
    return Target(name="int8", predict=predict, surrogate=twin(network))


def fake_subject(network: IntNetwork) -> Target:
    """The network with fake quantisation under attack, which is the twin."""
    model = twin(network)
    return Target(name="qat", predict=model, surrogate=model)
