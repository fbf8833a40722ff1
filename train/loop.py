"""The training step and the compiled loop over many of them.

One program runs any number of steps: a `while` whose body is a whole update. Its
result depends on the state, the order of the images and the step numbers alone, not
on where the host cuts the run into pieces, so a resumed run equals an uninterrupted one
bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import shard_map
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from configs.schema import Experiment
from train import norm, objective, optimizer
from train.mesh import AXIS
from train.model import merge


class State(NamedTuple):
    """Everything that training changes."""

    params: Any
    optimizer: Any
    # Updates made so far, int32.
    step: jax.Array


class Totals(NamedTuple):
    """Sums over the steps of one piece: of the loss, and of correct answers (or of
    squared errors, in regression)."""

    loss: jax.Array
    score: jax.Array


class Piece(NamedTuple):
    """What a run of steps gives back; `healthy` is false if the last step had a loss
    or a gradient that is not finite (its update must not be kept)."""

    state: State
    totals: Totals
    healthy: jax.Array


def batch_order(experiment: Experiment, images: int, epoch: int) -> np.ndarray:
    """Which images the steps of an epoch see: int32 (steps, batch), each image at
    most once; those that do not fill a batch wait for another epoch."""
    steps = images // experiment.train.batch
    shuffled = np.random.default_rng((experiment.seed, epoch)).permutation(images)
    used = shuffled[: steps * experiment.train.batch].astype(np.int32)
    return used.reshape(steps, experiment.train.batch)


def piece_size(share: int, largest: int) -> int:
    """The largest divisor of a device's `share` of the batch that is not above `largest`.

    >>> piece_size(128, 32), piece_size(100, 32), piece_size(64, 0)
    (32, 25, 64)
    """
    if largest <= 0 or largest >= share:
        return share
    return next(n for n in range(largest, 0, -1) if share % n == 0)


def make_run(
    experiment: Experiment,
    graph: nnx.GraphDef,
    tx: optax.GradientTransformation,
    mesh: Mesh,
    *,
    steps: int,
    penalty: Callable[[Any], jax.Array] | None = None,
) -> Callable:
    """The compiled loop of a training of `steps` updates.

    run(state, images, labels, order, key, first, count) makes `count` updates with the
    batches `order[first:first + count]` and returns a `Piece`. State, images and labels
    are replicated, a batch is split over the mesh. `penalty(params)` is added to the
    loss of every batch.
    """
    share = experiment.train.batch // mesh.size
    pieces = share // piece_size(share, experiment.train.microbatch)
    loss_of = objective.make_loss(experiment, graph)
    value_and_grad = jax.value_and_grad(loss_of, has_aux=True)

    def gradient(params, images, labels, chosen, drawn, harder):
        """Mean loss, summed score, mean running averages and mean gradient of this
        device's share."""

        def add(total, piece):
            index, draws = piece
            (loss, (score, averages)), grads = value_and_grad(
                params, images[index], labels[index], draws, harder
            )
            found = (loss / pieces, score, averages, grads)
            return jax.tree.map(jnp.add, total, found), None

        cut = lambda x: x.reshape(pieces, -1, *x.shape[1:])
        averages = jax.tree.map(jnp.zeros_like, norm.statistics(merge(graph, params)))
        nothing = jax.tree.map(jnp.zeros_like, params)
        zero = (jnp.float32(0), jnp.float32(0), averages, nothing)
        cuts = jax.tree.map(cut, (chosen, drawn))
        (loss, score, *sums), _ = jax.lax.scan(add, zero, cuts)
        return loss, score, *jax.tree.map(lambda x: x / pieces, sums)

    def update(state, images, labels, chosen, key):
        # Drawn for the whole batch on every device, so that an image's change does
        # not depend on how many devices there are.
        whole = objective.draw(experiment, key=jax.random.fold_in(key, state.step))
        first = jax.lax.axis_index(AXIS) * share
        mine = lambda x: jax.lax.dynamic_slice_in_dim(x, first, share)
        drawn = jax.tree.map(mine, whole)
        harder = objective.harder(experiment.robust, state.step, steps)
        loss, score, averages, grads = gradient(
            state.params, images, labels, chosen, drawn, harder
        )
        if mesh.size > 1:
            # One vector: what a sum over devices costs is that all of them must meet.
            flat, unravel = ravel_pytree((loss, score / share, averages, grads))
            loss, score, averages, grads = unravel(jax.lax.pmean(flat, AXIS))
            score = score * experiment.train.batch
        if penalty is not None:
            extra, extra_grads = jax.value_and_grad(penalty)(state.params)
            loss, grads = loss + extra, jax.tree.map(jnp.add, grads, extra_grads)
        healthy = jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(grads))
        params, opt_state = optimizer.update(tx, grads, state.optimizer, state.params)
        params = norm.overlaid(params, averages)
        return State(params, opt_state, state.step + 1), Totals(loss, score), healthy

    def run(state, images, labels, order, key, first, count):
        def go_on(carry):
            done, piece = carry
            return (done < count) & piece.healthy

        def body(carry):
            done, piece = carry
            chosen = jax.lax.dynamic_index_in_dim(order, first + done, keepdims=False)
            state, totals, healthy = update(piece.state, images, labels, chosen, key)
            totals = jax.tree.map(jnp.add, piece.totals, totals)
            return done + 1, Piece(state, totals, healthy)

        nothing = Totals(jnp.float32(0), jnp.float32(0))
        start = (jnp.int32(0), Piece(state, nothing, jnp.bool(True)))
        return jax.lax.while_loop(go_on, body, start)[1]

    specs = (P(), P(), P(), P(None, AXIS), P(), P(), P())
    sharded = partial(shard_map, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=False)
    return jax.jit(sharded(run))
