"""A vector unit beside an array: multiply-accumulate units side by side.

Every lane has a sum of its own in a register. On each edge all lanes take the next of the
K inputs and weights of their sums; after the last one the sums are handed out and the next
vector of outputs begins. Lanes beyond the last output are off.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int8, Int32, Integer

from accel.machines.counters import Counters
from accel.simulate import clock
from accel.simulate.loop_nest import Place, Product, following, product, start
from accel.simulate.simulation import Run


class Unit(NamedTuple):
    """Where the controller stands, and the sums in the lanes."""

    at: Place
    sums: Int32[Array, "v g"]


class Operands(NamedTuple):
    """Memories with the operands, and the sizes of the product."""

    inputs: Integer[Array, "words g"]
    weights: Integer[Array, "n k"]
    # N counts the columns of all groups.
    size: Product
    # Columns of one group, and inputs of a row: those of all groups.
    each: Int32[Array, ""]
    row: Int32[Array, ""]


def run(
    width: int,
    x_GMK: Integer[np.ndarray, "g m rk"],
    w_KN: Int8[np.ndarray, "k rn"],
    *,
    repeats: int,
    edges: int | None = None,
) -> Run:
    """Steps G runs of products in groups; every edge is in the phase stream.

    Args:
      x_GMK: the columns of all groups side by side.
      repeats: groups.

    Raises:
      LostResultError: `edges` are too few.
    """
    return clock.in_groups(
        partial(_step_group, width, w_KN, repeats, edges),
        x_GMK,
        words=x_GMK.shape[1] * (x_GMK.shape[2] + w_KN.shape[1]),
        columns=w_KN.shape[1],
    )


def _step_group(
    width: int, w_KN: np.ndarray, repeats: int, edges: int | None, x_GMK: np.ndarray
) -> tuple[np.ndarray, Counters]:
    (group, rows, across), (inner, columns) = x_GMK.shape, w_KN.shape
    operands = Operands(
        clock.input_memory(x_GMK, 1),
        clock.weight_memory(w_KN, (0, width)),
        product(rows, inner, columns),
        jnp.int32(columns // repeats),
        jnp.int32(across),
    )
    expected = rows * inner * -(-columns // width)
    length = clock.piece_edges(expected, lanes=width, group=group, multipliers=width)
    state = Unit(start(operands.size), jnp.zeros((width, group), jnp.int32))
    sums, counts = clock.run_clock(
        lambda state, _: _piece(state, operands, length),
        state,
        length=length,
        words=rows * columns,
        group=group,
        edges=edges,
    )
    return sums, counts._replace(slots=counts.cycles * width)


@partial(jax.jit, static_argnames="length")
def _piece(state: Unit, operands: Operands, length: int):
    step = partial(_step, operands)
    (state, counts), handed = jax.lax.scan(step, (state, clock.zeros()), length=length)
    return state, counts, handed


def _step(operands: Operands, carry: tuple[Unit, Counters], _):
    (at, before), counts = carry
    size, width = operands.size, len(before)
    columns = at.n + jnp.arange(width, dtype=jnp.int32)
    on = at.present & (columns < size.N)
    words = at.m * operands.row + columns // operands.each * size.K + at.k
    inputs = operands.inputs[jnp.where(on, words, 0)].astype(jnp.int32)
    weights = operands.weights[jnp.where(on, columns, 0), at.k].astype(jnp.int32)
    grown = jnp.where(at.k == 0, 0, before) + inputs * weights[:, None]
    sums = jnp.where(on[:, None], grown, before)
    done = at.k == size.K - 1
    working = on.sum()
    counts = clock.add(
        counts,
        stream=at.present,
        macs=working,
        input_fetches=working,
        weight_fetches=working,
        output_writes=jnp.where(done, working, 0),
        tiles=at.present & done,
    )
    handed = clock.Handed(on & done, at.m * size.N + columns, sums)
    return (Unit(following(at, size, n_step=width), sums), counts), handed
