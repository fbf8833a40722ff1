"""Layers that turn with the image: group convolutions over the four rotations, p4.

A group convolution is an ordinary one whose kernel is expanded from a base (Cohen and
Welling 2016, arXiv:1602.07576, sections 4.2, 6 and 7). With rho a turn by 90 degrees
counter-clockwise, for output orientation r, input orientation s and maps c and m:

    lift   K_r[x, c, m]    = base[rho^-r x, c, m]
    p4     K_r[x, s, c, m] = base[rho^-r x, s - r mod 4, c, m]
    Dense  K[s, c, f]      = base[c, f] / 4

Channels are numbered orientation slowest (`configs.layers.conv`). Turning the image once
turns every map once and moves it on to the next orientation; a mean or a maximum over the
image, then the mean over the orientations, no longer changes. This is exact where strides
and windows fit the sizes, so that they meet the same pixels from either side.

Only the base is learned; `train.lowering` gives the same network in ordinary layers.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from configs.program import ORIENTATIONS
from configs.program import Product as ProductNode
from train.conv_impl import Product


def expanded_kernel(spec: ProductNode, base: jax.Array) -> jax.Array:
    """The kernel of the ordinary layer: (R, S, C, F / 4) -> (R, S, C, F) of a
    convolution, (C / 4, F) -> (C, F) of a Dense."""
    if spec.symmetry == "none":
        return base
    if spec.kernel is None:
        return jnp.tile(base, (ORIENTATIONS, 1)) / ORIENTATIONS
    maps = base.shape[2] // ORIENTATIONS
    turned = []
    for r in range(ORIENTATIONS):
        kernel = jnp.rot90(base, r)
        turned.append(jnp.roll(kernel, r * maps, 2) if spec.symmetry == "p4" else kernel)
    return jnp.concatenate(turned, axis=-1)


def expanded_bias(spec: ProductNode, base: jax.Array) -> jax.Array:
    """The bias (F,) of the ordinary layer: the orientations of a map share theirs."""
    shared = spec.kernel is not None and spec.symmetry != "none"
    return jnp.tile(base, ORIENTATIONS) if shared else base


class Expanding(nnx.Module):
    """A product that takes the base of a kernel; the product may have parameters."""

    def __init__(self, spec: ProductNode, product: Product):
        self.spec, self.product = spec, product

    def __call__(
        self, lhs: jax.Array, base: jax.Array, *arguments: object, **keywords: object
    ) -> jax.Array:
        return self.product(lhs, expanded_kernel(self.spec, base), *arguments, **keywords)


class GroupConv(nnx.Module):
    """`nnx.Conv` of a base: `kernel` (R, S, C, F / 4) and `bias` (F / 4,)."""

    def __init__(
        self,
        inputs: int,
        spec: ProductNode,
        *,
        kernel_init: nnx.Initializer,
        conv_general_dilated: Product,
        rngs: nnx.Rngs,
    ):
        self.spec = spec
        # Its kernel feeds the expanding product; its own bias would not fit the result.
        self.conv = nnx.Conv(
            inputs,
            spec.features // ORIENTATIONS,
            spec.kernel,
            spec.stride,
            padding="VALID",
            kernel_dilation=spec.dilation,
            use_bias=False,
            kernel_init=kernel_init,
            rngs=rngs,
            conv_general_dilated=Expanding(spec, conv_general_dilated),
        )
        self.bias = nnx.Param(jnp.zeros(spec.features // ORIENTATIONS, jnp.float32))

    @property
    def kernel(self) -> nnx.Param:
        return self.conv.kernel

    def __call__(self, x: jax.Array) -> jax.Array:
        bias = expanded_bias(self.spec, self.bias[...])
        return self.conv(x) + bias[None, None, None]
