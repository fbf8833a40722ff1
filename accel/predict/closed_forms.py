"""Closed forms: what every machine will count, without running it.

The dimensions are those of one matrix product [M, K] x [K, N]; each form gives the whole
`Counters`, phase by phase, which the simulators must equal field by field. Forms take
Python integers, or int64 arrays of numpy or JAX that broadcast against each other, and
decide nothing by value: `jax.vmap` works on them. Products such as M*K*N pass 2^31 for
common layers, so narrower arrays are refused; JAX makes int64 inside
`with jax.enable_x64(True)`. Below, cd(a, b) = ceil(a / b) and the sums of a product are
its M*N outputs.
"""

from __future__ import annotations

from typing import Any

from accel.machines.counters import Counters

# An int, or an int64 array.
Size = Any


def ceil_divide(a: Size, b: Size) -> Size:
    """ceil(a / b) of whole numbers.

    >>> ceil_divide(17, 8)
    3
    """
    return -(-a // b)


def larger(a: Size, b: Size) -> Size:
    """max(a, b), for arrays too: |a - b| is what the larger has more."""
    return (a + b + abs(a - b)) // 2


def tree_levels(leaves: Size) -> Size:
    """ceil(log2(leaves)): levels of adders of two inputs that join 1..2^31 leaves.

    The number of bits of leaves - 1, each counted by whether anything is left above it.

    >>> [tree_levels(leaves) for leaves in (1, 2, 3, 4, 5, 256)]
    [0, 1, 2, 2, 3, 8]
    """
    left = [(leaves - 1) >> bit for bit in range(31)]
    return sum(ceil_divide(value, value + 1) for value in left)


def weight_stationary(M: Size, K: Size, N: Size, *, rows: Size, cols: Size) -> Counters:
    """Systolic array that holds weights in one register a PE: load, then stream.

    T = cd(K, rows) * cd(N, cols) tiles of 2*rows + M + cols - 2 cycles each: rows to load,
    rows - 1 to fill, M to stream, cols - 1 to drain. A ragged tile takes as long.

    Reference: checked against RTL, as are the other systolic forms; the number of tiles
    and the fetches of inputs and weights are the folds and reads of SCALE-Sim.
    """
    tiles = ceil_divide(K, rows) * ceil_divide(N, cols)
    phases = {
        "load": tiles * rows,
        "fill": tiles * (rows - 1),
        "stream": tiles * M,
        "drain": tiles * (cols - 1),
    }
    return _held_weights(M, K, N, rows, cols, phases)


def weight_stationary_shadow(
    M: Size, K: Size, N: Size, *, rows: Size, cols: Size, period: Size
) -> Counters:
    """The same with a second register a PE, which loads while the first works.

    rows + (T - 1) * period + M + rows + cols - 2 cycles: only the first load shows, and
    between tiles the array waits period - M. The `period` is `skewed_period` or
    `global_period`.
    """
    tiles = ceil_divide(K, rows) * ceil_divide(N, cols)
    phases = {
        "load": rows,
        "fill": rows - 1,
        "stream": tiles * M,
        "stall": (tiles - 1) * (period - M),
        "drain": cols - 1,
    }
    return _held_weights(M, K, N, rows, cols, phases)


def skewed_period(M: Size, rows: Size) -> Size:
    """Cycles from tile to tile when weights load diagonal by diagonal, with the data."""
    return larger(M, rows)


def global_period(M: Size, rows: Size, cols: Size) -> Size:
    """The same when one signal loads the whole array: the last tile must have left it."""
    return larger(M, 2 * rows + cols - 2)


def output_stationary(M: Size, K: Size, N: Size, *, rows: Size, cols: Size) -> Counters:
    """Systolic array that holds sums and hands them out from neighbour to neighbour.

    T = cd(M, rows) * cd(N, cols) tiles of K + 2*rows + cols - 2 cycles each: rows + cols
    - 2 to fill, K to stream, rows to drain.
    """
    tiles = ceil_divide(M, rows) * ceil_divide(N, cols)
    counters = Counters(
        fill=tiles * (rows + cols - 2),
        stream=tiles * K,
        drain=tiles * rows,
        macs=M * K * N,
        input_fetches=ceil_divide(N, cols) * M * K,
        weight_fetches=ceil_divide(M, rows) * K * N,
        output_writes=M * N,
        tiles=tiles,
    )
    return _with_slots(counters, rows * cols)


def transposed(counters: Counters) -> Counters:
    """Counters of [N, K] x [K, M] as those of [M, K] x [K, N]: operands change places.

    An input-stationary array is a weight-stationary one that computes the transposed
    product: it holds tiles of inputs and streams the N columns of weights.
    """
    return counters._replace(
        input_fetches=counters.weight_fetches, weight_fetches=counters.input_fetches
    )


def mac(M: Size, K: Size, N: Size) -> Counters:
    """One multiplier, one sum in a register: M*K*N cycles."""
    macs = M * K * N
    counters = Counters(
        stream=macs,
        macs=macs,
        input_fetches=macs,
        weight_fetches=macs,
        output_writes=M * N,
        tiles=M * N,
    )
    return _with_slots(counters, 1)


def mac_dram(M: Size, K: Size, N: Size, *, access_cycles: Size) -> Counters:
    """The same, worst case: every operand and partial sum from and to memory.

    access_cycles * (4*M*K*N - M*N): each multiplication reads an input, a weight and the
    partial sum so far, of which the first of a sum has none, and writes the sum.
    """
    macs, sums = M * K * N, M * N
    counters = Counters(
        stream=macs,
        stall=access_cycles * (4 * macs - sums) - macs,
        macs=macs,
        input_fetches=macs,
        weight_fetches=macs,
        sum_reads=macs - sums,
        sum_writes=macs - sums,
        output_writes=sums,
        tiles=sums,
    )
    return _with_slots(counters, 1)


def dot(M: Size, K: Size, N: Size, *, multipliers: Size) -> Counters:
    """Multipliers, an adder tree and one sum: M*N*cd(K, multipliers) + levels + 1 cycles.

    Fetches are the words that are used: the lanes beyond K fetch nothing.
    """
    macs = M * K * N
    counters = Counters(
        fill=tree_levels(multipliers) + 1,
        stream=M * N * ceil_divide(K, multipliers),
        macs=macs,
        input_fetches=macs,
        weight_fetches=macs,
        output_writes=M * N,
        tiles=M * N,
    )
    return _with_slots(counters, multipliers)


def vector(M: Size, K: Size, N: Size, *, width: Size) -> Counters:
    """Multiply-accumulate units side by side, each with a sum of its own, beside an array:
    M * K * cd(N, width) cycles.

    N counts the columns of all groups; a lane fetches the input and the weight that it
    multiplies. Slots are those of the unit, not of the array beside it.
    """
    vectors, macs = M * ceil_divide(N, width), M * K * N
    counters = Counters(
        stream=K * vectors,
        macs=macs,
        input_fetches=macs,
        weight_fetches=macs,
        output_writes=M * N,
        tiles=vectors,
    )
    return _with_slots(counters, width)


def tile_outputs(M: Size, K: Size, N: Size, *, inputs: Size, outputs: Size) -> Counters:
    """Trees for `outputs` sums, finished before the next ones begin.

    M * cd(K, inputs) * cd(N, outputs) + levels + 1 cycles. Each input is fetched once for
    every tile of outputs: M*K*cd(N, outputs).

    Reference: Chen et al., DianNao, ASPLOS 2014, section 3 (loops of a classifier layer).
    """
    counters = _tiled(M, K, N, inputs, outputs)
    return counters._replace(input_fetches=M * K * ceil_divide(N, outputs))


def tile_inputs(M: Size, K: Size, N: Size, *, inputs: Size, outputs: Size) -> Counters:
    """The same with the loops exchanged: a tile of inputs is used up before the next.

    As many cycles. Each input is fetched once, but partial sums go to storage and back,
    M*N*(cd(K, inputs) - 1) words each way.

    Reference: as `tile_outputs`.
    """
    partial = M * N * (ceil_divide(K, inputs) - 1)
    counters = _tiled(M, K, N, inputs, outputs)
    return counters._replace(input_fetches=M * K, sum_reads=partial, sum_writes=partial)


def direct(images: Size, positions: Size, K: Size, N: Size) -> Counters:
    """A multiplier for every connection, an image a cycle: images + levels cycles.

    The product registers take the edge on which an image is presented; the weights sit at
    their multipliers and are never fetched.
    """
    M = images * positions
    counters = Counters(
        fill=tree_levels(K),
        stream=images,
        macs=M * K * N,
        input_fetches=M * K,
        output_writes=M * N,
        tiles=images,
    )
    return _with_slots(counters, positions * K * N)


def _held_weights(
    M: Size, K: Size, N: Size, rows: Size, cols: Size, phases: dict[str, Size]
) -> Counters:
    """What all arrays that hold weights have in common; all but the first tile of K add
    to sums that are kept below the array."""
    partial = (ceil_divide(K, rows) - 1) * M * N
    counters = Counters(
        macs=M * K * N,
        input_fetches=ceil_divide(N, cols) * M * K,
        weight_fetches=K * N,
        sum_reads=partial,
        sum_writes=partial,
        output_writes=M * N,
        tiles=ceil_divide(K, rows) * ceil_divide(N, cols),
        **phases,
    )
    return _with_slots(counters, rows * cols)


def _tiled(M: Size, K: Size, N: Size, inputs: Size, outputs: Size) -> Counters:
    """What both loops of a tile machine have in common."""
    tiles = M * ceil_divide(K, inputs) * ceil_divide(N, outputs)
    counters = Counters(
        fill=tree_levels(inputs) + 1,
        stream=tiles,
        macs=M * K * N,
        weight_fetches=M * K * N,
        output_writes=M * N,
        tiles=tiles,
    )
    return _with_slots(counters, inputs * outputs)


def _with_slots(counters: Counters, multipliers: Size) -> Counters:
    """Slots from cycles; refuses arrays in which a count may have overflowed."""
    counters = counters._replace(slots=multipliers * counters.cycles)
    for value in counters:
        if not isinstance(value, int) and str(value.dtype) != "int64":
            raise TypeError(f"sizes must be int or int64 arrays, not {value.dtype}.")
    return counters
