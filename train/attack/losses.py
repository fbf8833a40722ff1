"""What attacks raise: losses of logits z (B, F) that grow as an image nears another class.

    ce               log sum_j exp z_j - z_y
    margin           max_{j != y} z_j - z_y                     (Carlini & Wagner 2017)
    dlr_targeted     -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2 + 1e-12)
    margin_targeted  z_t - z_y

z_(1) >= z_(2) >= ... are the sorted logits (Croce & Hein 2020, arXiv:2003.01690, section
4.2). Where the four largest are equal, as integers can be, the denominator of DLR is 0:
it is then 1, so that the loss is `margin_targeted` and finite.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

NAMES = ("ce", "margin", "dlr_targeted", "margin_targeted")
# DLR reads the fourth largest logit.
_DLR_CLASSES = 4


def number(name: str) -> int:
    """Position of a loss in NAMES: what compiled programs are told."""
    return NAMES.index(name)


def defined(name: str, classes: int) -> str:
    """The loss for so many classes: below four, `margin_targeted` instead of DLR.

    >>> defined("dlr_targeted", 10), defined("dlr_targeted", 3), defined("ce", 2)
    ('dlr_targeted', 'margin_targeted', 'ce')
    """
    short = name == "dlr_targeted" and classes < _DLR_CLASSES
    return "margin_targeted" if short else name


def loss(
    which: jax.Array, logits: jax.Array, labels: jax.Array, targets: jax.Array
) -> jax.Array:
    """The loss with number `which` (traced) of each image: float32 (B,)."""
    kinds = (cross_entropy, _untargeted, dlr_targeted, margin_targeted)
    return jax.lax.switch(which, kinds, logits, labels, targets)


def cross_entropy(logits: jax.Array, labels: jax.Array, _: jax.Array) -> jax.Array:
    return -_at(jax.nn.log_softmax(logits, -1), labels)


def margin(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Largest other logit minus the label's; above 0 the image is broken."""
    is_label = jnp.arange(logits.shape[-1])[None] == labels[:, None]
    return jnp.max(jnp.where(is_label, -jnp.inf, logits), -1) - _at(logits, labels)


def margin_targeted(logits: jax.Array, labels: jax.Array, targets: jax.Array) -> jax.Array:
    return _at(logits, targets) - _at(logits, labels)


def dlr_targeted(logits: jax.Array, labels: jax.Array, targets: jax.Array) -> jax.Array:
    if logits.shape[-1] < _DLR_CLASSES:
        return margin_targeted(logits, labels, targets)
    largest, _ = jax.lax.top_k(logits, _DLR_CLASSES)
    scale = largest[:, 0] - (largest[:, 2] + largest[:, 3]) / 2
    scale = jnp.where(scale > 0, scale + 1e-12, 1.0)
    return margin_targeted(logits, labels, targets) / scale


def _untargeted(logits: jax.Array, labels: jax.Array, _: jax.Array) -> jax.Array:
    return margin(logits, labels)


def _at(logits: jax.Array, classes: jax.Array) -> jax.Array:
    return jnp.take_along_axis(logits, classes[:, None], axis=-1)[:, 0]
