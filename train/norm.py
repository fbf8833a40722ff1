"""Batch normalisation while a network is trained, and how it disappears.

Sums of a convolution are brought to mean 0 and variance 1 over the batch, then scaled and
shifted by what is learned (Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1). Means
and variances run along as averages, for use without a batch. With those the normalisation
is affine and folds into the weights and a bias:

    w' = w * scale / sqrt(var + epsilon),    b' = shift - mean * scale / sqrt(var + epsilon)

Flax's own `nnx.BatchNorm` does it; a piece of a batch (`train.microbatch`) is normalised
by itself, and the averages of the pieces are averaged.
"""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx

# Share of the old average that a step keeps.
_MOMENTUM = 0.98


class NormedConv(nnx.Module):
    """`nnx.Conv` without bias, then `nnx.BatchNorm` by its running averages, unless
    `training` has said otherwise."""

    def __init__(
        self, inputs: int, features: int, kernel: tuple[int, int], *, rngs: nnx.Rngs, **how
    ):
        self.conv = nnx.Conv(inputs, features, kernel, use_bias=False, rngs=rngs, **how)
        self.norm = nnx.BatchNorm(
            features, use_running_average=True, momentum=_MOMENTUM, rngs=rngs
        )

    @property
    def kernel(self) -> nnx.Param:
        return self.conv.kernel

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(self.conv(x))

    def folded(self) -> tuple[jax.Array, jax.Array]:
        """Kernel and bias (F,) of the ordinary convolution with the same function."""
        factor = self.norm.scale[...] * jax.lax.rsqrt(
            self.norm.var[...] + self.norm.epsilon
        )
        bias = self.norm.bias[...] - self.norm.mean[...] * factor
        return self.kernel[...] * factor[None, None, None], bias


def normalises(model: nnx.Module) -> bool:
    """Whether anything in a model is normalised by the batch."""
    return bool(jax.tree.leaves(nnx.state(model, nnx.BatchStat)))


def training(model: nnx.Module) -> nnx.Module:
    """The same model, its normalisations by the batch at hand."""
    for _, module in nnx.iter_graph(model):
        if isinstance(module, nnx.BatchNorm):
            module.use_running_average = False
    return model


def statistics(model: nnx.Module) -> Any:
    """The running averages of a model as a plain tree, empty without normalisation."""
    return nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))


def overlaid(params: Any, statistics: Any) -> Any:
    """Parameters with other running averages."""
    if not isinstance(statistics, dict):
        return statistics
    changed = {name: overlaid(params[name], tree) for name, tree in statistics.items()}
    return {**params, **changed}
