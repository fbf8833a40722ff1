"""What an attack is told about each image, and what is kept of what it finds."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from train.attack import losses
from train.attack.target import Target


class Example(NamedTuple):
    """The images of one chunk; every leaf leads with the batch axis B."""

    # Originals, float32 (B, ...), whole levels 0..255.
    x: jax.Array
    # Classes, int32 (B,); `targets` are those that a targeted attack aims at.
    labels: jax.Array
    targets: jax.Array
    # Budget in pixel levels, float32 (B,).
    levels: jax.Array


class Slope(NamedTuple):
    """What a network says at an image: `logits` decide, `loss` rises along `gradient`."""

    logits: jax.Array
    loss: jax.Array
    gradient: jax.Array


class Seen(NamedTuple):
    """One evaluation: the image (B, ...), its deciding logits, and whether the gradient
    there was zero in every pixel (never, for attacks that use none)."""

    image: jax.Array
    logits: jax.Array
    no_gradient: jax.Array


class Track(NamedTuple):
    """What is known of each image so far."""

    # The first adversarial image found, or else the one with the largest margin.
    adversarial: jax.Array
    # Largest other logit minus the label's there.
    margin: jax.Array
    broken: jax.Array
    # Evaluations until it broke, and how many of them had no gradient.
    steps: jax.Array
    no_gradient: jax.Array


class State(NamedTuple):
    """Everything an attack carries from one evaluation to the next."""

    inner: Any
    track: Track


def slope(subject: Target, image: jax.Array, example: Example, loss: jax.Array) -> Slope:
    """Forward and backward through the surrogate at a whole-level image, and `predict`
    on the same image in bytes."""
    logits, to_pixels = jax.vjp(subject.surrogate, image)
    value, to_logits = jax.vjp(
        lambda z: losses.loss(loss, z, example.labels, example.targets), logits
    )
    (gradient,) = to_pixels(to_logits(jnp.ones_like(value))[0])
    if not subject.one_network:
        logits = decide(subject, image)
    return Slope(logits, value, gradient)


def decide(subject: Target, image: jax.Array) -> jax.Array:
    """Logits of the deployed network for a whole-level image."""
    return subject.predict(image.astype(jnp.uint8))


def blank(x: jax.Array) -> Track:
    """Nothing evaluated yet."""
    count = jnp.zeros(len(x), jnp.int32)
    return Track(
        adversarial=x.astype(jnp.uint8),
        margin=jnp.full(len(x), -jnp.inf, jnp.float32),
        broken=jnp.zeros(len(x), bool),
        steps=count,
        no_gradient=count,
    )


def update(track: Track, seen: Seen, labels: jax.Array) -> Track:
    """The track after one more evaluation; broken images stay as they are."""
    open_ = ~track.broken
    margin = losses.margin(seen.logits, labels)
    breaks = jnp.argmax(seen.logits, -1) != labels
    better = open_ & (breaks | (margin > track.margin))
    keep = better.reshape(-1, *(1,) * (seen.image.ndim - 1))
    return Track(
        adversarial=jnp.where(keep, seen.image.astype(jnp.uint8), track.adversarial),
        margin=jnp.where(better, margin, track.margin),
        broken=track.broken | (open_ & breaks),
        steps=track.steps + open_.astype(jnp.int32),
        no_gradient=track.no_gradient + (open_ & seen.no_gradient).astype(jnp.int32),
    )
