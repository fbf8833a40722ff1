"""What training minimises: the loss of clean images, and of the worst within a budget.

clean      CE(f(x), y)
pgd        CE(f(x'), y), x' by gradient ascent         Madry et al. 2018, section 2
trades     CE(f(x), y) + w KL(f(x) || f(x'))           Zhang et al. 2019, equation 5
ibp        CE(-m, y), m[j] <= logit[y] - logit[j] for every x' within the budget
           (Gowal et al. 2018, equation 12); crown-ibp bounds m more tightly at first
           (Zhang et al. 2020, equation 15)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from optax.losses import softmax_cross_entropy_with_integer_labels as cross_entropies

from configs.errors import InputError
from configs.robust import Robust
from configs.schema import Experiment
from train import augment, bounds, crown, norm, optimizer
from train.model import merge

# TRADES begins its ascent where the divergence has a slope: this many levels off at most.
_TRADES_START = 0.25
# Steps of an ascent together could cross the budget this many times.
_REACH = 2.5


class Draws(NamedTuple):
    """Random numbers of a batch, drawn for the whole of it so that they do not depend on
    how it is cut; leaves lead with the batch axis."""

    # Parameters of the augmentation (B, 3), or (B, K, 3) for the worst of K.
    changes: jax.Array
    # Where the search for the worst image begins, -1..1 (B, *shape); None without one.
    start: jax.Array | None


class Harder(NamedTuple):
    """How hard the robust term is at this point of the training."""

    # Largest change of a pixel, levels of 255.
    levels: jax.Array
    # Its share of the whole rise, 0..1.
    share: jax.Array


def draw(experiment: Experiment, *, key: jax.Array) -> Draws:
    """The draws of one batch."""
    batch, start = experiment.train.batch, None
    if _ascends(experiment.robust):
        shape = (batch, *experiment.network.input_shape)
        second = jax.random.fold_in(key, 1)
        start = jax.random.uniform(second, shape, jnp.float32, -1.0, 1.0)
    return Draws(augment.draw(experiment.augment, batch, key=key), start)


def harder(robust: Robust, step: jax.Array, steps: int) -> Harder:
    """The budget in force at a step: 0, then up a line to the whole."""
    since = step.astype(jnp.float32) + 1 - robust.warmup * steps
    share = jnp.clip(since / max(robust.rampup * steps, 1.0), 0, 1)
    return Harder(robust.eps * 255 * share, share)


def make_loss(experiment: Experiment, graph: nnx.GraphDef) -> Callable:
    """loss(params, images, labels, draws, harder) -> (mean loss, (summed score, running
    averages of normalisations)).

    Raises:
      InputError: a network that is normalised by the batch is to be trained against the
        worst of several images, which would have no batch of their own.
    """
    smoothing, robust = experiment.optimizer.label_smoothing, experiment.robust
    norms = any(n.norm != "none" for n in experiment.network.program.products)
    several = robust.method != "none" or experiment.augment.worst_of > 1
    if norms and several:
        field = "robust.method" if robust.method != "none" else "augment.worst_of"
        value = getattr(*_field(experiment, field))
        raise InputError(
            f"`{field}` (={value}) cannot be used with a network whose layers have "
            f"norm='batch': changed images would be normalised by themselves; use "
            f"norm='none', or leave it out."
        )

    def model_of(params):
        model = merge(graph, params)
        return norm.training(model) if norms else model

    def classify(params, images, labels, draws, harder):
        model = model_of(params)
        pixels = _augmented(experiment, model, images, labels, draws.changes)
        logits = model(pixels)
        correct = jnp.sum(jnp.argmax(logits, -1) == labels).astype(jnp.float32)
        clean = optimizer.cross_entropy(logits, labels, smoothing)
        if robust.method == "none":
            return clean, (correct, norm.statistics(model))
        term = _robust(robust, model, pixels, labels, logits, draws.start, harder)
        weight = robust.weight * harder.share
        kept = 1.0 if robust.method == "trades" else 1 - weight
        return kept * clean + weight * term, (correct, norm.statistics(model))

    def regress(params, images, labels, draws, harder):
        model = model_of(params)
        error = model(images) - labels
        score = jnp.sum(jnp.mean(error**2, -1))
        return jnp.mean(error**2), (score, norm.statistics(model))

    return classify if experiment.task == "classification" else regress


def _field(experiment: Experiment, path: str) -> tuple[Any, str]:
    section, name = path.split(".")
    return getattr(experiment, section), name


def _augmented(experiment, model, images, labels, changes) -> jax.Array:
    """Pixels (B, *shape), float32: of K changes of each image the one the model likes
    least (Engstrom et al. 2019, section 5, worst-of-k)."""
    if experiment.augment.worst_of == 1:
        return augment.apply(experiment.augment, images, changes)
    of_one = lambda drawn: augment.apply(experiment.augment, images, drawn)
    tried = jax.lax.map(of_one, changes.swapaxes(0, 1))
    losses = jax.lax.map(lambda pixels: cross_entropies(model(pixels), labels), tried)
    worst = jax.lax.stop_gradient(jnp.argmax(losses, 0))
    return tried[worst, jnp.arange(len(labels))]


def _ascends(robust: Robust) -> bool:
    return robust.method in ("pgd", "trades")


def _robust(robust, model, pixels, labels, logits, start, harder) -> jax.Array:
    """The robust term of the loss."""
    if not _ascends(robust):
        within = bounds.pixels_within(pixels, harder.levels)
        margins = bounds.margins(model, within, labels)
        if robust.method == "crown-ibp":
            tighter = crown.margins(model, within, labels)
            margins = harder.share * margins + (1 - harder.share) * tighter
        return cross_entropies(-margins, labels).mean()
    if robust.method == "pgd":
        off = lambda logits: cross_entropies(logits, labels)
        begin = start * harder.levels
    else:
        answer = jax.nn.log_softmax(logits)
        off = lambda other: _divergence(answer, jax.nn.log_softmax(other))
        begin = start * jnp.minimum(harder.levels, _TRADES_START)
    worst = _ascend(model, jax.lax.stop_gradient(pixels), off, begin, harder, robust.steps)
    return off(model(worst)).mean()


def _divergence(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """KL(p || q) in nats, (B,)."""
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), -1)


def _ascend(model, pixels, off, begin, harder, steps: int) -> jax.Array:
    """Pixels within the budget at which `off(logits)` is large: signed gradient steps."""
    within = bounds.pixels_within(pixels, harder.levels)
    size = _REACH * harder.levels / steps
    slope = jax.grad(lambda x: off(model(x)).sum())

    def step(x, _):
        return jnp.clip(x + size * jnp.sign(slope(x)), *within), None

    first = jnp.clip(pixels + begin, *within)
    worst, _ = jax.lax.scan(step, first, None, steps)
    return jax.lax.stop_gradient(worst)
