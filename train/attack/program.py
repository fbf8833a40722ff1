"""The compiled part of a search: an attack begun and advanced on all devices.

Programs are kept per attack (equal ones share a program) and per network; budgets,
losses, targets and numbers of steps are data.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import shard_map
from jax.sharding import PartitionSpec as P

from train.attack import track
from train.attack.target import Target
from train.attack.track import Example, Seen, State
from train.mesh import AXIS, all_devices


class Method(Protocol):
    """The compiled part of an attack: hashable, equal ones share a program."""

    def begin(self, example: Example, keys: jax.Array, settings: Any) -> Any:
        """The attack's own state; every leaf leads with the batch axis."""

    def step(
        self, subject: Target, example: Example, inner: Any, settings: Any, t: jax.Array
    ) -> tuple[Any, Seen]:
        """Evaluation number t (from 0), and the state that the next one starts from."""


@functools.lru_cache(maxsize=64)
def beginning(method: Method) -> Callable:
    """begin(example, indices, seed, try, settings) -> state; the same for all subjects."""

    def begin(example, indices, seed, try_, settings):
        example = example._replace(x=example.x.astype(jnp.float32))
        key = jax.random.key(seed)
        each = lambda i: jax.random.fold_in(jax.random.fold_in(key, i), try_)
        inner = method.begin(example, jax.vmap(each)(indices), settings)
        return State(inner, track.blank(example.x))

    return _split(begin, images=2, settings=3)


@functools.lru_cache(maxsize=64)
def advancing(method: Method, subject: Target) -> Callable:
    """advance(example, state, real, settings, first, count) -> (state, evaluations made
    by each device); it ends early when all that are `real` are broken."""

    def advance(example, state, real, settings, first, count):
        example = example._replace(x=example.x.astype(jnp.float32))

        def go_on(carry):
            done, state = carry
            return (done < count) & jnp.any(real & ~state.track.broken)

        def body(carry):
            done, state = carry
            t = first + done
            inner, seen = method.step(subject, example, state.inner, settings, t)
            known = track.update(state.track, seen, example.labels)
            return done + 1, State(inner, known)

        done, state = jax.lax.while_loop(go_on, body, (jnp.int32(0), state))
        return state, done[None]

    return _split(advance, images=3, settings=3)


def _split(function: Callable, *, images: int, settings: int) -> Callable:
    """Compiled, with its first arguments split over all devices and the rest the same."""
    specs = (P(AXIS),) * images + (P(),) * settings
    return jax.jit(
        shard_map(
            function,
            mesh=all_devices(),
            in_specs=specs,
            out_specs=P(AXIS),
            check_vma=False,
        )
    )
