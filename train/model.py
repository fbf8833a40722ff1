"""The Flax network that a program describes.

Everything a later stage may want to change about a value is injected, nothing is
patched: how products are computed and what happens to every value (`Operators`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from configs.network import Network
from configs.program import (
    ORIENTATIONS,
    Activate,
    Add,
    Concat,
    Ends,
    Input,
    Mul,
    Node,
    Pad,
    Pool,
    Product,
    Reshape,
    Slice,
    State,
    entry,
)
from train import conv_impl
from train.conv_impl import batch_fastest, conv_in, dot_in, shifted
from train.equivariant import Expanding, GroupConv, expanded_kernel
from train.norm import NormedConv

# The network's first act on a pixel p in 0..255; there is no other normalisation.
PIXEL_SCALE = 2.0**-8

_ACTIVATIONS = {
    "identity": lambda x: x,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "softplus": jax.nn.softplus,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "tanh_half": lambda x: jnp.tanh(x / 2),
}


@dataclass(frozen=True, kw_only=True)
class Operators:
    """What is injected into a model; each takes the name of a value or of weights.

    `conv(weights)` and `dot(weights)` return what Flax accepts as
    `conv_general_dilated=` and `dot_general=`. `activation_quantizer(name, y)` sees every
    value of the program, the scaled pixels as "input", a padded input as
    "<layer>.padding", sums as "<layer>.sum", and what a function of anything else is
    applied to as "<value>.argument". Each may return or be an `nnx.Module` (then
    its parameters train).
    """

    conv: Callable[[str], conv_impl.Product]
    dot: Callable[[str], conv_impl.Product]
    activation_quantizer: Callable[[str, jax.Array], jax.Array] = lambda layer, y: y


def float_operators(convolution: str = "auto", precision: str = "float32") -> Operators:
    """Operators of the float network: no quantisation."""
    return Operators(
        conv=lambda layer: conv_in(convolution, precision),
        dot=lambda layer: dot_in(precision),
    )


def activate(node: Activate, total: jax.Array) -> jax.Array:
    """A node's function, element by element."""
    return _ACTIVATIONS[node.function](total)


def pad(x: jax.Array, kind: str, pads: tuple[Ends, Ends]) -> jax.Array:
    """What stands outside the image (B, H, W, C): zeros, the mean, the nearest value."""
    widths = ((0, 0), *pads, (0, 0))
    if kind == "mean":
        mean = jnp.mean(x, axis=(1, 2), keepdims=True)
        inside = jnp.pad(jnp.ones((1, *x.shape[1:3], 1), bool), widths)
        return jnp.where(inside, jnp.pad(x, widths), mean)
    return jnp.pad(x, widths, mode={"zero": "constant", "edge": "edge"}[kind])


def pool(x: jax.Array, node: Pool) -> jax.Array:
    """Largest or mean value of each window of (B, H, W, C); rows first, then columns."""
    combine = jnp.maximum if node.kind == "max" else jnp.add
    alone = node.stride == (1, 1) and not any(map(any, node.pads))
    if node.window == x.shape[1:3] and alone:
        whole = jnp.max if node.kind == "max" else jnp.mean
        return whole(x, axis=(1, 2), keepdims=True)
    x = batch_fastest(x)
    if any(map(any, node.pads)):
        # Zeros outside count in a mean and never win.
        least = -jnp.inf if node.kind == "max" else 0.0
        x = jnp.pad(x, ((0, 0), *node.pads, (0, 0)), constant_values=least)
    for axis, size, step in zip((1, 2), node.window, node.stride, strict=True):
        x = reduce(combine, shifted(x, axis, size, step))
    if node.kind == "mean":
        x = x / (node.window[0] * node.window[1])
    return batch_fastest(x)


def _kept(node: Activate, y: jax.Array) -> jax.Array:
    """A value that its readers must not compute again: XLA on CPU copies what is cheap into
    every reader, and what a recurrence keeps is made from itself alone, step after step, so
    that copies would double with each of them."""
    keeps = node.after is not None and node.after.bits > 8
    return jax.lax.optimization_barrier(y) if keeps else y


def _mul(node: Mul, x: jax.Array, factor: jax.Array) -> jax.Array:
    if factor.ndim != x.ndim:
        factor = factor.reshape(len(factor), *(1,) * (x.ndim - 2), -1)
    return x * factor


# What each operator without parameters does to its inputs.
MOVES: dict[type[Node], Callable[..., jax.Array]] = {
    Pad: lambda node, x: pad(x, node.kind, node.pads),
    Pool: lambda node, x: pool(x, node),
    Reshape: lambda node, x: x.reshape(len(x), *node.shape),
    Slice: lambda node, x: jax.lax.slice_in_dim(
        x, node.start, node.stop, axis=1 + node.axis
    ),
    Concat: lambda node, *xs: jnp.concatenate(xs, axis=1 + node.axis),
    Add: lambda node, a, b: a + b,
    Mul: _mul,
}


class Model(nnx.Module):
    """A network as a Flax module: pixels (B, *input_shape) in 0..255 -> (B, F).

    Parameters live in `layers[weights].kernel` and `layers[weights].bias`, by the name
    of the weights (that of their layer, if it has one set); of a layer with a symmetry
    they are the independent ones, from which the others follow.
    """

    def __init__(self, network: Network, *, operators: Operators, rngs: nnx.Rngs):
        self.network = network
        self.activation_quantizer = operators.activation_quantizer
        program = network.program
        self.layers = nnx.Dict(
            {
                name: _weighted(
                    node,
                    program.readers[node.name][0],
                    operators,
                    rngs,
                    inputs=program.by_name[node.input].shape[-1],
                    spread=_on_vector(network, node),
                )
                for name, node in program.weighted.items()
            }
        )

    def __call__(self, pixels: jax.Array) -> jax.Array:
        return self.values(pixels)[self.network.program.output.name]

    def outputs(self, pixels: jax.Array) -> dict[str, jax.Array]:
        """Output of every layer by name, in order, after its activation; of a block too."""
        values = self.values(pixels)
        layers = {info.name for info in self.network.leaves()}
        layers |= {info.name for info in self.network.walk()}
        return {name: y for name, y in values.items() if name in layers}

    def values(self, pixels: jax.Array) -> dict[str, jax.Array]:
        """Every value of the program by name, in order."""
        found: dict[str, jax.Array] = {}
        for node in self.network.program.nodes:
            if isinstance(node, Input):
                y = pixels.astype(jnp.float32) * PIXEL_SCALE
            elif isinstance(node, State):
                y = jnp.zeros((len(pixels), *node.shape), jnp.float32)
            else:
                y = self.apply(node, *(found[name] for name in node.inputs))
            found[node.name] = self.activation_quantizer(node.name, y)
        return found

    def kernel(self, name: str) -> jax.Array:
        """Weights by their name: (R, S, C / groups, F) of a convolution, (K, F) else."""
        node = self.network.program.weighted[name]
        return expanded_kernel(node, self.layers[name].kernel[...])

    def apply(self, node: Node, *xs: jax.Array) -> jax.Array:
        """One operator, without what is done to its value."""
        if isinstance(node, Product):
            return self.layers[node.weights](*xs)
        if isinstance(node, Activate):
            (total,) = xs
            before = self.network.program.by_name[node.input]
            if not isinstance(before, Product):
                total = self.activation_quantizer(f"{node.name}.argument", total)
            return _kept(node, self.activated(node, total))
        return entry(MOVES, node, "train.model.Model")(node, *xs)

    def activated(self, node: Activate, total: jax.Array) -> jax.Array:
        """A node's function of its argument."""
        return activate(node, total)


def _on_vector(network: Network, node: Product) -> bool:
    """Whether a product meets the network's own input, a vector."""
    before = network.program.by_name[node.input]
    return node.kernel is None and isinstance(before, Input)


def _uniform(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, -1.0, 1.0)


def _weighted(
    node: Product,
    reader: Node,
    operators: Operators,
    rngs: nnx.Rngs,
    *,
    inputs: int,
    spread: bool,
) -> nnx.Module:
    """A Flax layer, He-initialised for ReLU and Glorot otherwise, biases 0.

    `spread` biases lie in [-1, 1): for the first layer on a vector, where with 0 every
    ReLU of one variable would bend at x = 0, and few find their way from there.
    """
    rectified = isinstance(reader, Activate) and reader.function in ("relu", "relu6")
    init = nnx.initializers.he_normal if rectified else nnx.initializers.glorot_normal
    if node.kernel is None:
        dot = operators.dot(node.weights)
        shared = node.symmetry == "p4"
        return nnx.Linear(
            inputs // ORIENTATIONS if shared else inputs,
            node.features,
            use_bias=node.biased,
            kernel_init=init(),
            bias_init=_uniform if spread else nnx.initializers.zeros,
            rngs=rngs,
            dot_general=Expanding(node, dot) if shared else dot,
        )
    conv = operators.conv(node.weights)
    if node.symmetry != "none":
        return GroupConv(
            inputs, node, kernel_init=init(), conv_general_dilated=conv, rngs=rngs
        )
    same = dict(
        strides=node.stride,
        padding="VALID",
        kernel_dilation=node.dilation,
        feature_group_count=node.groups,
        kernel_init=init(),
        rngs=rngs,
        conv_general_dilated=conv,
    )
    kind = NormedConv if node.norm == "batch" else nnx.Conv
    return kind(inputs, node.features, node.kernel, **same)


def build(network: Network, *, operators: Operators | None = None, key: jax.Array) -> Model:
    """A freshly initialised model of `network`."""
    make = partial(Model, network, operators=operators or float_operators())
    return make(rngs=nnx.Rngs(params=key))


def split(model: Model) -> tuple[nnx.GraphDef, Any]:
    """The structure of a model, and its parameters as a plain tree of arrays."""
    graph, state = nnx.split(model)
    return graph, nnx.to_pure_dict(state)


def merge(graph: nnx.GraphDef, params: Any) -> Model:
    """The model with these parameters."""
    return nnx.merge(graph, nnx.State(params))
