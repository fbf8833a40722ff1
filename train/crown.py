"""CROWN-IBP: margins bounded by one linear function of the pixels.

Zhang et al. 2020, arXiv:1906.06316, section 3.2. Interval bounds l <= z <= u of every
layer's sums come from `train.bounds`; then the margins are followed backward, layer by
layer, as a linear bound

    margins >= A y + d.

A layer y = W x + b gives A' = A W and d' = d + A b. A ReLU lies between two lines,

    a z <= relu(z) <= s (z - l),    s = u / (u - l),    a = 1 if u > -l else 0

(a = s = 1 where l >= 0, and 0 where u <= 0), of which a row takes the lower one where
its A is positive and the upper one where it is negative. The end is the smallest value
over the interval of x (centre c, radius r): A c - |A| r + d.

Convolution, Dense, every padding, mean pooling and Flatten are linear and pass exactly.
At a layer that is neither linear nor a ReLU (max pooling, softplus, sigmoid, tanh) the
way back ends and x is that layer's output, whose interval bounds are used: what comes
before it counts as in interval bound propagation. Bounds hold up to the rounding of the
products, as there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from configs.checks import brief
from configs.errors import InputError
from configs.program import Activate, Node, Pad, Pool, Product, Reshape, Shape
from train import bounds
from train.bounds import Interval
from train.model import Model

# Below it 1 / (u - l)^2, in the derivative of a slope, leaves the range of float32; to
# take a wider interval for a narrower one moves a bound by less than this times |A|.
_NARROWEST = 1e-18


class _Rows(NamedTuple):
    """margins >= slopes . y + offsets, for F margins of each of B images: slopes
    (F, B, *shape of y), the batch as fast an axis as can be, and offsets (F, B)."""

    slopes: jax.Array
    offsets: jax.Array


def margins(model: Model, pixels: Interval, labels: jax.Array) -> jax.Array:
    """Lower bounds (B, F) of logit[label] - logit[f]; 0 where f is the label.

    Costs about F forward passes more than `bounds.margins`, and is differentiable. No
    bound of the two is always the larger.

    Raises:
      InputError: the model rounds its activations.
    """
    if bounds.rounds(model):
        raise InputError(
            f"`activation_quantizer` (={brief(model.activation_quantizer)}) of a model "
            f"under CROWN-IBP must be left out, a rounding has no slope; use interval "
            f"bounds ('ibp')."
        )
    found = bounds.intervals(model, pixels)
    program = model.network.program
    rows = _differences(labels, model.network.output_shape[-1])
    node = program.output
    while _passes(node) and len(program.readers[node.name]) <= 1:
        if isinstance(node, Activate):
            if node.function == "relu":
                rows = _before_relu(rows, found[node.input])
        else:
            shape = program.by_name[node.input].shape
            rows = _before_affine(rows, partial(model.apply, node), shape, node.shape)
        node = program.by_name[node.input]
    return _smallest(rows, found[node.name]).T


def _passes(node: Node) -> bool:
    """Whether the way back goes on through this node."""
    if isinstance(node, Activate):
        return node.function in ("identity", "relu")
    if isinstance(node, Pool):
        return node.kind == "mean"
    return isinstance(node, Product | Pad | Reshape)


def _differences(labels: jax.Array, features: int) -> _Rows:
    """The margins as rows over the logits: +1 at the label, -1 at f."""
    one_hot = jnp.eye(features, dtype=jnp.float32)
    slopes = one_hot[labels][None] - one_hot[:, None]
    return _Rows(slopes, jnp.zeros((features, len(labels)), jnp.float32))


def _before_relu(rows: _Rows, sums: Interval) -> _Rows:
    """The rows over the sums that a ReLU met."""
    low, high = sums
    unstable = (low < 0) & (high > 0)
    width = jnp.where(unstable, jnp.maximum(high - low, _NARROWEST), 1)
    above = jnp.where(unstable, high / width, (low >= 0).astype(jnp.float32))
    below = ((low >= 0) | (high > -low)).astype(jnp.float32)
    intercept = jnp.where(unstable, above * low, 0)
    slopes = rows.slopes * jnp.where(rows.slopes > 0, below[None], above[None])
    down = jnp.minimum(rows.slopes, 0) * intercept[None]
    return _Rows(slopes, rows.offsets - _over_shape(down))


def _before_affine(
    rows: _Rows, affine: Callable[[jax.Array], jax.Array], before: Shape, after: Shape
) -> _Rows:
    """The rows over the input of an affine operator."""
    f, b = rows.offsets.shape
    at_zero = affine(jnp.zeros((1, *before), jnp.float32))
    # A derivative of what is affine does not depend on where it is taken.
    _, back = jax.vjp(affine, jnp.zeros((f * b, *before), jnp.float32))
    (slopes,) = back(rows.slopes.reshape(f * b, *after))
    offsets = rows.offsets + _over_shape(rows.slopes * at_zero[None])
    return _Rows(slopes.reshape(f, b, *before), offsets)


def _smallest(rows: _Rows, x: Interval) -> jax.Array:
    """Smallest values (F, B) of the rows over an interval."""
    centre, radius = (x.low + x.high) / 2, (x.high - x.low) / 2
    reached = rows.slopes * centre[None] - jnp.abs(rows.slopes) * radius[None]
    return rows.offsets + _over_shape(reached)


def _over_shape(x: jax.Array) -> jax.Array:
    """Sums over all axes but the first two."""
    return x.sum(tuple(range(2, x.ndim)))
