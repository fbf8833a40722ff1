"""The Flax network that a spec describes.

Everything a later stage may want to change about a layer is injected, nothing is
patched: how products are computed and what happens to every layer's output (`Operators`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from configs.errors import unknown
from configs.layers import ORIENTATIONS
from configs.network import Conv, Dense, Flatten, GlobalPool, LayerInfo, Network, Pool
from train.equivariant import Expanding, GroupConv, expanded_kernel
from train.products import Product, batch_fastest, conv_in, dot_in, shifted
from train.unsupported import refuse_unsupported

# The network's first act on a pixel p in 0..255; there is no other normalisation.
PIXEL_SCALE = 2.0**-8

_ACTIVATIONS = {
    "identity": lambda x: x,
    "relu": jax.nn.relu,
    "softplus": jax.nn.softplus,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
}


@dataclass(frozen=True, kw_only=True)
class Operators:
    """What is injected into a model; each takes the name of a layer.

    `conv(layer)` and `dot(layer)` return what Flax accepts as `conv_general_dilated=`
    and `dot_general=`. `activation_quantizer(layer, y)` sees every layer's output,
    pooling included, the scaled pixels as "input" and a padded input as
    "<layer>.padding". Each may return or be an `nnx.Module` (then its parameters train).
    """

    conv: Callable[[str], Product]
    dot: Callable[[str], Product]
    activation_quantizer: Callable[[str, jax.Array], jax.Array] = lambda layer, y: y


def float_operators(convolution: str = "auto", precision: str = "float32") -> Operators:
    """Operators of the float network: no quantisation."""
    return Operators(
        conv=lambda layer: conv_in(convolution, precision),
        dot=lambda layer: dot_in(precision),
    )


def activate(spec: Conv | Dense, total: jax.Array) -> jax.Array:
    """A layer's activation, applied to its sums."""
    return _ACTIVATIONS[spec.activation](total)


def pad(x: jax.Array, spec: Conv) -> jax.Array:
    """What stands outside the image (B, H, W, C), as `spec.padding` says."""
    widths = ((0, 0), *spec.pads(x.shape[1:]), (0, 0))
    if spec.padding == "mean":
        mean = jnp.mean(x, axis=(1, 2), keepdims=True)
        inside = jnp.pad(jnp.ones((1, *x.shape[1:3], 1), bool), widths)
        return jnp.where(inside, jnp.pad(x, widths), mean)
    return jnp.pad(x, widths, mode={"zero": "constant", "edge": "edge"}[spec.padding])


def pool(x: jax.Array, spec: Pool) -> jax.Array:
    """Largest or mean value of each window of (B, H, W, C); rows first, then columns."""
    combine = jnp.maximum if spec.kind == "max" else jnp.add
    x = batch_fastest(x)
    for axis, size, step in zip((1, 2), spec.window, spec.stride, strict=True):
        x = reduce(combine, shifted(x, axis, size, step))
    if spec.kind == "mean":
        x = x / (spec.window[0] * spec.window[1])
    return batch_fastest(x)


def global_pool(x: jax.Array, spec: GlobalPool) -> jax.Array:
    """Largest or mean value of each channel: (B, H, W, C) -> (B, C)."""
    return (jnp.max if spec.kind == "max" else jnp.mean)(x, axis=(1, 2))


class Model(nnx.Module):
    """A network spec as a Flax module: pixels (B, *input_shape) in 0..255 -> (B, F).

    Parameters live in `layers[name].kernel` and `layers[name].bias`; of a layer with a
    symmetry they are the independent ones, from which the others follow.
    """

    def __init__(self, network: Network, *, operators: Operators, rngs: nnx.Rngs):
        refuse_unsupported(network, "trained")
        self.network = network
        self.activation_quantizer = operators.activation_quantizer
        self.layers = nnx.Dict(
            {
                info.name: _weighted(
                    info, operators, rngs, spread=_on_vector(network, info)
                )
                for info in network.walk()
                if info.weights
            }
        )

    def __call__(self, pixels: jax.Array) -> jax.Array:
        return list(self.outputs(pixels).values())[-1]

    def outputs(self, pixels: jax.Array) -> dict[str, jax.Array]:
        """Output of every layer by name, in order, after its activation."""
        quantize = self.activation_quantizer
        x = quantize("input", pixels.astype(jnp.float32) * PIXEL_SCALE)
        outputs = {}
        for info in self.network.walk():
            x = outputs[info.name] = quantize(info.name, self.apply(info, x))
        return outputs

    def kernel(self, name: str) -> jax.Array:
        """Weights of a layer: (R, S, C, F) of a convolution, (inputs, F) of a Dense."""
        spec = next(info.spec for info in self.network.walk() if info.name == name)
        return expanded_kernel(spec, self.layers[name].kernel[...])

    def apply(self, info: LayerInfo, x: jax.Array) -> jax.Array:
        """One layer and its activation, without what is done to its output."""
        spec = info.spec
        if isinstance(spec, Conv) and spec.padding != "valid":
            x = self.activation_quantizer(f"{info.name}.padding", pad(x, spec))
        if isinstance(spec, Conv | Dense):
            total = self.activation_quantizer(f"{info.name}.sum", self.layers[info.name](x))
            return self.activated(info, total)
        if isinstance(spec, Pool):
            return pool(x, spec)
        if isinstance(spec, GlobalPool):
            return global_pool(x, spec)
        if isinstance(spec, Flatten):
            return x.reshape(x.shape[0], -1)
        raise unknown(spec, "train.model.Model")

    def activated(self, info: LayerInfo, total: jax.Array) -> jax.Array:
        """A layer's sums after its activation."""
        return activate(info.spec, total)


def _on_vector(network: Network, info: LayerInfo) -> bool:
    """Whether a Dense layer meets the network's own input, a vector."""
    return isinstance(info.spec, Dense) and next(network.walk()).name == info.name


def _uniform(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, -1.0, 1.0)


def _weighted(
    info: LayerInfo, operators: Operators, rngs: nnx.Rngs, *, spread: bool
) -> nnx.Module:
    """A Flax layer, He-initialised for ReLU and Glorot otherwise, biases 0.

    `spread` biases lie in [-1, 1): for the first layer on a vector, where with 0 every
    ReLU of one variable would bend at x = 0, and few find their way from there.
    """
    spec = info.spec
    init = (
        nnx.initializers.he_normal
        if spec.activation == "relu"
        else nnx.initializers.glorot_normal
    )
    inputs = info.input_shape[-1]
    if isinstance(spec, Dense):
        dot = operators.dot(info.name)
        shared = spec.symmetry == "p4"
        return nnx.Linear(
            inputs // ORIENTATIONS if shared else inputs,
            spec.features,
            kernel_init=init(),
            bias_init=_uniform if spread else nnx.initializers.zeros,
            rngs=rngs,
            dot_general=Expanding(spec, dot) if shared else dot,
        )
    if not isinstance(spec, Conv):
        raise unknown(spec, "train.model.Model")
    if spec.symmetry != "none":
        return GroupConv(
            inputs,
            spec,
            kernel_init=init(),
            conv_general_dilated=operators.conv(info.name),
            rngs=rngs,
        )
    return nnx.Conv(
        inputs,
        spec.features,
        spec.kernel,
        spec.stride,
        padding="VALID",
        kernel_init=init(),
        rngs=rngs,
        conv_general_dilated=operators.conv(info.name),
    )


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
