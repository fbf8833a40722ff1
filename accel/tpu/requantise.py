"""The integer rules of `quant.execute` with every number as data of the program.

There a layer's shift and limits are known when its code is made; here one piece of code
serves the instructions of all layers.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Int32


def requantise(
    acc: Int32[Array, "m n"],
    multiplier: Int32[Array, "1 n"],
    shift: Int32[Array, ""],
    low: Int32[Array, ""],
    high: Int32[Array, ""],
) -> Int32[Array, "m n"]:
    """clip(RNE(acc * multiplier / 2^shift), low, high) in int32 alone.

    What is cut off first saturates anyway; the product then fits 32 bits, as it does in
    `quant.execute.requantise`. Shifts are at most 21, multipliers at least 1.
    """
    limit = jnp.left_shift(jnp.int32(1), shift + 9) // multiplier
    product = jnp.clip(acc, -limit, limit) * multiplier
    return jnp.clip(divide_rne(product, jnp.left_shift(jnp.int32(1), shift)), low, high)


def divide_rne(
    numerator: Int32[Array, "*shape"], denominator: Int32[Array, ""]
) -> Int32[Array, "*shape"]:
    """Quotient rounded to the nearest integer, halves to the even one."""
    quotient = numerator // denominator
    remainder = numerator - quotient * denominator
    # No doubling: that could leave 32 bits.
    beyond = remainder - (denominator - remainder)
    up = (beyond > 0) | ((beyond == 0) & (quotient % 2 == 1))
    return quotient + up.astype(jnp.int32)
