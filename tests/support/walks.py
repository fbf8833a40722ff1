"""What every machine does, added up one tile, one edge, one word at a time.

Written for tests alone: nothing here is shared with the closed forms or the simulators.
"""

import dataclasses
from itertools import pairwise

from hypothesis import strategies as st

from accel.machines.counters import PHASES, Counters
from accel.machines.machine import Direct, Dot, Mac, Machine, Systolic, Tile
from accel.workload.gemm import Gemm


def pieces(size: int, step: int) -> list[range]:
    """0..size-1 in pieces of `step`, the last one ragged."""
    return [range(at, min(at + step, size)) for at in range(0, size, step)]


class Walk:
    """Counts that only ever grow by what happened."""

    def __init__(self):
        self.counts = dict.fromkeys(Counters._fields, 0)

    def add(self, **happened: int) -> None:
        for name, value in happened.items():
            self.counts[name] += value

    def done(self, multipliers: int) -> Counters:
        cycles = sum(self.counts[phase] for phase in PHASES)
        self.add(slots=multipliers * cycles)
        return Counters(**self.counts)


def walk_held(machine: Systolic, M: int, K: int, N: int) -> Counters:
    """Weight stationary: the edge on which every result leaves the array, tile by tile.

    The result of item m in column c comes m + rows + c edges after item 0 is presented.
    """
    walk, rows, cols = Walk(), machine.rows, machine.cols
    kept, starts, edge = {}, [], rows
    tiles = [(k, n) for n in pieces(N, cols) for k in pieces(K, rows)]
    for k, n in tiles:
        starts.append(edge)
        walk.add(tiles=1, weight_fetches=len(k) * len(n), input_fetches=M * len(k))
        for m in range(M):
            for column in n:
                # Whether a sum is there already, and whether this tile of K is the last.
                again, last = (m, column) in kept, K - 1 in k
                walk.add(macs=len(k), sum_reads=again, sum_writes=not last)
                walk.add(output_writes=last)
                kept[m, column] = True
        edge += walk_to_next(machine, M)
    first_column = [start + m + rows for start in starts for m in range(M)]
    single = machine.weights == "single"
    last_columns = [at + cols - 1 for at in first_column]
    waits = [after - before - 1 for before, after in pairwise(first_column)]
    per_tile = len(tiles) if single else 1
    walk.add(load=per_tile * rows, fill=per_tile * (first_column[0] - rows - 1))
    walk.add(drain=per_tile * (last_columns[-1] - first_column[-1]))
    walk.add(stream=len(first_column), stall=0 if single else sum(waits))
    counters = walk.done(rows * cols)
    # However the edges are shared out, the last one is the last result's.
    assert counters.cycles == last_columns[-1]
    return counters


def walk_to_next(machine: Systolic, M: int) -> int:
    """Edges from the first item of a tile to that of the next, by the registers."""
    rows, cols = machine.rows, machine.cols
    if machine.weights == "single":
        # All results out, then the load.
        return max(m + rows + c for m in range(M) for c in range(cols)) + rows
    # The second register is free again when its weight has been taken over, which runs
    # with the data from corner to corner; a global load has to wait for the last PE.
    taken = 0 if machine.load == "skewed" else (rows - 1) + (cols - 1)
    return max(M, taken + rows)


def walk_transposed(machine: Systolic, M: int, K: int, N: int) -> Counters:
    held = walk_held(dataclasses.replace(machine, dataflow="ws"), N, K, M)
    return held._replace(
        input_fetches=held.weight_fetches, weight_fetches=held.input_fetches
    )


def walk_output_stationary(machine: Systolic, M: int, K: int, N: int) -> Counters:
    """PE (r, c) multiplies item k on edge k + r + c + 1; then all sums shift down."""
    walk, rows, cols = Walk(), machine.rows, machine.cols
    for m in pieces(M, rows):
        for n in pieces(N, cols):
            last_mac = max(
                k + r + c + 1 for k in range(K) for r in range(rows) for c in range(cols)
            )
            walk.add(tiles=1, stream=K, fill=last_mac - K, drain=rows)
            walk.add(macs=K * len(m) * len(n), output_writes=len(m) * len(n))
            walk.add(input_fetches=K * len(m), weight_fetches=K * len(n))
    return walk.done(rows * cols)


def walk_mac(machine: Mac, M: int, K: int, N: int) -> Counters:
    walk = Walk()
    for _ in range(M * N):
        walk.add(tiles=1, output_writes=1)
        for k in range(K):
            walk.add(macs=1, stream=1, input_fetches=1, weight_fetches=1)
            if machine.dram:
                accesses = 4 if k else 3
                walk.add(stall=accesses * machine.access_cycles - 1)
                walk.add(sum_reads=k > 0, sum_writes=k < K - 1)
    return walk.done(1)


def levels(leaves: int) -> int:
    """Levels of adders: values are joined in pairs until one is left."""
    found = 0
    while leaves > 1:
        leaves, found = leaves - leaves // 2, found + 1
    return found


def walk_dot(machine: Dot, M: int, K: int, N: int) -> Counters:
    walk = Walk()
    walk.add(fill=1 + levels(machine.multipliers))
    for _ in range(M * N):
        walk.add(tiles=1, output_writes=1)
        for k in pieces(K, machine.multipliers):
            walk.add(stream=1, macs=len(k), input_fetches=len(k), weight_fetches=len(k))
    return walk.done(machine.multipliers)


def walk_tile(machine: Tile, M: int, K: int, N: int) -> Counters:
    walk = Walk()
    walk.add(fill=1 + levels(machine.inputs))
    slices, groups = pieces(K, machine.inputs), pieces(N, machine.outputs)
    outer_inputs = machine.loop == "inputs"
    for _ in range(M):
        order = (
            [(k, n) for k in slices for n in groups]
            if outer_inputs
            else [(k, n) for n in groups for k in slices]
        )
        previous = None
        for k, n in order:
            walk.add(stream=1, tiles=1, macs=len(k) * len(n))
            walk.add(weight_fetches=len(k) * len(n))
            # Inputs stay in their registers as long as the slice stays the same; with
            # outputs outside it is another group's turn, which fetches anew.
            stays = outer_inputs and k == previous
            walk.add(input_fetches=0 if stays else len(k))
            previous = k
            last, first = k == slices[-1], k == slices[0]
            walk.add(output_writes=last * len(n))
            walk.add(sum_reads=(outer_inputs and not first) * len(n))
            walk.add(sum_writes=(outer_inputs and not last) * len(n))
    return walk.done(machine.multipliers)


def walk_direct(gemm: Gemm) -> Counters:
    walk = Walk()
    walk.add(fill=levels(gemm.K))
    for _ in range(gemm.images):
        walk.add(stream=1, tiles=1)
        for _ in range(gemm.positions):
            walk.add(input_fetches=gemm.K, macs=gemm.K * gemm.N, output_writes=gemm.N)
    return walk.done(gemm.positions * gemm.K * gemm.N)


def walk(machine: Machine, gemm: Gemm) -> Counters:
    if isinstance(machine, Direct):
        return walk_direct(gemm)
    by_kind = {Mac: walk_mac, Dot: walk_dot, Tile: walk_tile}
    by_dataflow = {"ws": walk_held, "is": walk_transposed, "os": walk_output_stationary}
    found = by_kind.get(type(machine)) or by_dataflow[machine.dataflow]
    return found(machine, gemm.M, gemm.K, gemm.N)


SIDES, SIZES = st.integers(1, 6), st.integers(1, 9)
GEMMS = st.builds(Gemm, st.just("layer"), SIDES, st.integers(1, 3), SIZES, SIZES)
SYSTOLIC = st.builds(
    Systolic,
    rows=SIDES,
    cols=SIDES,
    dataflow=st.sampled_from(["ws", "is"]),
    weights=st.sampled_from(["single", "shadow"]),
    load=st.sampled_from(["skewed", "global"]),
)
OUTPUT_STATIONARY = st.builds(Systolic, rows=SIDES, cols=SIDES, dataflow=st.just("os"))
TILES = st.builds(
    Tile, inputs=SIDES, outputs=SIDES, loop=st.sampled_from(["outputs", "inputs"])
)
SLOW_MACS = st.builds(Mac, dram=st.just(True), access_cycles=st.integers(1, 5))
DOTS = st.builds(Dot, multipliers=st.integers(1, 20))
FIXED = st.sampled_from([Mac(), Direct()])
MACHINES = SYSTOLIC | OUTPUT_STATIONARY | TILES | SLOW_MACS | DOTS | FIXED
