"""Interval bounds: what every layer can give for all images within a budget.

For pixels in [low, high] each layer maps intervals to intervals (interval bound
propagation, Gowal et al. 2018, arXiv:1810.12715, section 3). A linear layer takes the
centre c and the radius r of its input,

    c' = W c + b,    r' = |W| r,

and everything else here (activations, poolings, padding, rounding) never falls when its
input rises, so it is applied to both ends. Bounds hold for every point of the interval,
up to the rounding of the products: about 1e-6 of the largest sums in float32, 4e-3 in
bfloat16, which is too coarse to certify anything with.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from configs.errors import InputError
from configs.program import Activate, Input, Mul, Node, Product, State
from train.model import PIXEL_SCALE, Model, Operators
from train.norm import NormedConv


class Interval(NamedTuple):
    """Smallest and largest value of every element; both of one shape."""

    low: jax.Array
    high: jax.Array


def pixels_within(images: jax.Array, levels: jax.Array | float) -> Interval:
    """Pixels at most `levels` from those of `images`, within 0..255."""
    x, levels = images.astype(jnp.float32), jnp.asarray(levels, jnp.float32)
    return Interval(jnp.clip(x - levels, 0, 255), jnp.clip(x + levels, 0, 255))


def rounds(model: Model) -> bool:
    """Whether something is done to the layers' outputs, as in quantisation."""
    return model.activation_quantizer is not Operators.activation_quantizer


def propagate(model: Model, pixels: Interval) -> dict[str, Interval]:
    """Bounds of every layer's output by name, after its activation."""
    found = intervals(model, pixels)
    layers = {info.name for info in (*model.network.walk(), *model.network.leaves())}
    return {name: x for name, x in found.items() if name in layers}


def intervals(model: Model, pixels: Interval) -> dict[str, Interval]:
    """Bounds of every value of the program by name, the scaled pixels as "input"."""
    quantize = model.activation_quantizer
    found: dict[str, Interval] = {}
    for node in model.network.program.nodes:
        if isinstance(node, Input):
            x = Interval(*(end * PIXEL_SCALE for end in pixels))
        elif isinstance(node, State):
            zeros = jnp.zeros((len(pixels.low), *node.shape), jnp.float32)
            x = Interval(zeros, zeros)
        else:
            x = bounded(model, node, *(found[name] for name in node.inputs))
        found[node.name] = Interval(*(quantize(node.name, end) for end in x))
    return found


def bounded(model: Model, node: Node, *xs: Interval) -> Interval:
    """Bounds of one node's value before it is rounded.

    Every operator but a product of two values and one with weights never falls when an
    input rises, so it is applied to both ends.
    """
    if isinstance(node, Product):
        return _linear(model, node, *xs)
    if isinstance(node, Mul):
        return _multiplied(model, node, *xs)
    lows, highs = zip(*xs, strict=True)
    return Interval(model.apply(node, *lows), model.apply(node, *highs))


def _multiplied(model: Model, node: Mul, a: Interval, b: Interval) -> Interval:
    """The extremes of a product lie at the corners."""
    corners = [model.apply(node, x, y) for x in a for y in b]
    low, high = corners[0], corners[0]
    for corner in corners[1:]:
        low, high = jnp.minimum(low, corner), jnp.maximum(high, corner)
    return Interval(low, high)


def margins(model: Model, pixels: Interval, labels: jax.Array) -> jax.Array:
    """Lower bounds (B, F) of logit[label] - logit[f]; 0 where f is the label.

    If the last layer is a plain sum its rows are subtracted before they meet the
    interval (the elision of Gowal et al., section 3.1), which is tighter than the
    difference of two bounds. Rounded or saturated logits can be equal where sums are
    not, so a model that rounds gets the difference.
    """
    found = intervals(model, pixels)
    last = plain_last(model)
    if rounds(model) or last is None:
        low, high = found[model.network.program.output.name]
        return _own(low, labels) - jnp.where(_is_label(high, labels), low, high)
    x = found[last.input]
    centre, radius = (x.low + x.high) / 2, (x.high - x.low) / 2
    layer = model.layers[last.weights]
    logits = layer(centre)
    rows_FK = weight_rows(layer, centre.shape[-1], last.features)
    difference_BFK = rows_FK[labels][:, None] - rows_FK[None]
    spread = jnp.einsum("bfk,bk->bf", jnp.abs(difference_BFK), radius)
    return _own(logits, labels) - logits - spread


def plain_last(model: Model) -> Product | None:
    """The product of a vector whose sums are the logits themselves, if there is one."""
    program = model.network.program
    node = program.output
    if not (isinstance(node, Activate) and node.function == "identity"):
        return None
    before = program.by_name[node.input]
    plain = isinstance(before, Product) and before.kernel is None
    return before if plain else None


def certified(model: Model, images: jax.Array, labels: jax.Array, levels) -> jax.Array:
    """Whether no image within `levels` can be taken for another class: bool (B,)."""
    return separated(margins(model, pixels_within(images, levels), labels), labels)


def separated(bounds: jax.Array, labels: jax.Array) -> jax.Array:
    """Whether every margin (B, F) but the label's own is above 0: bool (B,)."""
    return jnp.where(_is_label(bounds, labels), jnp.inf, bounds).min(-1) > 0


def weight_rows(layer: nnx.Module, inputs: int, features: int) -> jax.Array:
    """Weights (F, K) of a Dense layer as its product sees them."""
    _, back = jax.vjp(layer, jnp.zeros((features, inputs), jnp.float32))
    return back(jnp.eye(features, dtype=jnp.float32))[0]


def _linear(model: Model, node: Product, x: Interval) -> Interval:
    """Bounds of W x + b."""
    layer = model.layers[node.weights]
    centre = layer((x.low + x.high) / 2)
    radius = _magnitudes(layer)((x.high - x.low) / 2)
    return Interval(centre - radius, centre + radius)


def _magnitudes(layer: nnx.Module) -> nnx.Module:
    """The layer with |W| and no bias; quantisation is symmetric, so |q(W)| = q(|W|)."""
    if isinstance(layer, NormedConv):
        raise InputError(
            "`norm` (=batch) must be folded before a network is bounded; lower it first."
        )
    absolute = nnx.clone(layer)
    absolute.kernel = nnx.Param(jnp.abs(layer.kernel[...]))
    if layer.bias is not None:
        absolute.bias = nnx.Param(jnp.zeros_like(layer.bias[...]))
    return absolute


def _own(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.take_along_axis(logits, labels[:, None], axis=-1)


def _is_label(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.arange(logits.shape[-1])[None] == labels[:, None]
