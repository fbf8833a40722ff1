"""The optimiser that the settings describe, as one optax transformation."""

from __future__ import annotations

from collections.abc import Callable

import jax
import optax

from configs.schema import Optimizer


def learning_rate(settings: Optimizer, steps: int) -> Callable[[jax.Array], jax.Array]:
    """Learning rate against step: a rise over the warm-up, then the schedule."""
    peak = settings.learning_rate
    warmup = round(settings.warmup * steps)
    rest = max(steps - warmup, 1)
    after = {
        "cosine": lambda: optax.cosine_decay_schedule(peak, rest),
        "linear": lambda: optax.linear_schedule(peak, 0.0, rest),
        "constant": lambda: optax.constant_schedule(peak),
    }[settings.schedule]()
    if not warmup:
        return after
    rise = optax.linear_schedule(peak / warmup, peak, max(warmup - 1, 1))
    return optax.join_schedules([rise, after], [warmup])


def make(settings: Optimizer, steps: int) -> optax.GradientTransformation:
    """The optimiser for a run of `steps` updates; weight decay spares the biases."""
    rate = learning_rate(settings, steps)
    is_weight = lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
    if settings.name == "adamw":
        return optax.adamw(rate, weight_decay=settings.weight_decay, mask=is_weight)
    return optax.chain(
        optax.trace(decay=0.9, nesterov=True),
        # After the momentum, as in AdamW: decoupled.
        optax.add_decayed_weights(settings.weight_decay, mask=is_weight),
        optax.scale_by_learning_rate(rate),
    )


def update(tx: optax.GradientTransformation, grads, state, params):
    """New parameters and optimiser state; optax mixes types, so promotion is relaxed."""
    with jax.numpy_dtype_promotion("standard"):
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float) -> jax.Array:
    """Mean of -sum_c t_c log softmax(logits)_c, t = (1 - a) onehot + a / classes."""
    hard = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    if not smoothing:
        return hard
    uniform = -jax.nn.log_softmax(logits).mean()
    return (1 - smoothing) * hard + smoothing * uniform
