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

from configs.network import Conv, Dense, LayerInfo
from train.model import PIXEL_SCALE, Model, Operators, pad


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
    return {info.name: found[info.name] for info in model.network.walk()}


def intervals(model: Model, pixels: Interval) -> dict[str, Interval]:
    """What `propagate` gives, with the scaled pixels as "input" and the sums that go
    into an activation as "<layer>.sum"."""
    quantize = model.activation_quantizer
    x = Interval(*(quantize("input", end * PIXEL_SCALE) for end in pixels))
    found = {"input": x}
    for info in model.network.walk():
        if info.weights:
            x = found[f"{info.name}.sum"] = _linear(model, info, x)
            x = Interval(*(model.activated(info, end) for end in x))
        else:
            x = Interval(*(model.apply(info, end) for end in x))
        x = found[info.name] = Interval(*(quantize(info.name, end) for end in x))
    return found


def margins(model: Model, pixels: Interval, labels: jax.Array) -> jax.Array:
    """Lower bounds (B, F) of logit[label] - logit[f]; 0 where f is the label.

    If the last layer is a plain sum its rows are subtracted before they meet the
    interval (the elision of Gowal et al., section 3.1), which is tighter than the
    difference of two bounds. Rounded or saturated logits can be equal where sums are
    not, so a model that rounds gets the difference.
    """
    infos = list(model.network.walk())
    last, found = infos[-1], intervals(model, pixels)
    plain = isinstance(last.spec, Dense) and last.spec.activation == "identity"
    if rounds(model) or not plain:
        low, high = found[last.name]
        return _own(low, labels) - jnp.where(_is_label(high, labels), low, high)
    x = found[infos[-2].name if len(infos) > 1 else "input"]
    centre, radius = (x.low + x.high) / 2, (x.high - x.low) / 2
    layer = model.layers[last.name]
    logits = layer(centre)
    rows_FK = weight_rows(layer, centre.shape[-1], last.spec.features)
    difference_BFK = rows_FK[labels][:, None] - rows_FK[None]
    spread = jnp.einsum("bfk,bk->bf", jnp.abs(difference_BFK), radius)
    return _own(logits, labels) - logits - spread


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


def _linear(model: Model, info: LayerInfo, x: Interval) -> Interval:
    """Bounds of W x + b, rounded as the model rounds its sums."""
    quantize = model.activation_quantizer
    if isinstance(info.spec, Conv) and info.spec.padding != "valid":
        name = f"{info.name}.padding"
        x = Interval(*(quantize(name, pad(end, info.spec)) for end in x))
    layer = model.layers[info.name]
    centre = layer((x.low + x.high) / 2)
    radius = _magnitudes(layer)((x.high - x.low) / 2)
    name = f"{info.name}.sum"
    return Interval(quantize(name, centre - radius), quantize(name, centre + radius))


def _magnitudes(layer: nnx.Module) -> nnx.Module:
    """The layer with |W| and no bias; quantisation is symmetric, so |q(W)| = q(|W|)."""
    absolute = nnx.clone(layer)
    absolute.kernel = nnx.Param(jnp.abs(layer.kernel[...]))
    absolute.bias = nnx.Param(jnp.zeros_like(layer.bias[...]))
    return absolute


def _own(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.take_along_axis(logits, labels[:, None], axis=-1)


def _is_label(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.arange(logits.shape[-1])[None] == labels[:, None]
