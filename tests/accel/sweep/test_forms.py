"""Ten periods stand for all blocks of a layer: every number of them, walked here."""

import random
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np

from accel.sweep import forms

RATES = ((1, 1), (3, 2), (100, 7))


def walked(b: forms.Blocks, work: forms.BlockCycles, clock: int, bandwidth: int) -> int:
    """Cycles, block after block: the DMA writes what the last but one left and reads what
    the next one needs."""
    at = list(product(range(b.T_M), range(b.T_N)))
    reads, writes, busy = [], [0, 0], []
    for m, n in at:
        low, right = m == b.T_M - 1, n == b.T_N - 1
        weights = b.K * (b.n_last if right else b.n)
        inputs = b.inputs_last if low else b.inputs
        first = m == n == 0
        reads.append(weights * (first or b.T_N > 1) + inputs * (n == 0))
        rows, cols = b.m_last if low else b.m, b.n_last if right else b.n
        writes.append(b.leaves * rows * cols)
        busy.append(work[2 * low + right])
    dma = [
        -(-(r + w) * clock // bandwidth)
        for r, w in zip([*reads, 0, 0], writes, strict=True)
    ]
    return dma[0] + sum(map(max, zip(busy, dma[1:-1], strict=True))) + dma[-1]


def drawn(
    draw: random.Random, T_M: int, T_N: int
) -> tuple[forms.Blocks, forms.BlockCycles]:
    """A layer so cut; DRAM decides in some periods, the array in others. An N that is not
    cut is as wide as its last block; other sizes of blocks that are not there mean nothing.
    """
    m, n, inputs = (draw.randint(1, 9) for _ in range(3))
    inner, right, bottom, corner = (draw.randint(1, 90) for _ in range(4))
    n_last = draw.randint(1, n)
    if T_N == 1:
        n_last, inner, bottom = n, right, corner
    blocks = forms.Blocks(
        T_M=T_M, T_N=T_N, m=m, m_last=draw.randint(1, m), n=n, n_last=n_last,
        K=draw.randint(1, 5), inputs=inputs, inputs_last=draw.randint(1, inputs),
        leaves=draw.randint(0, 1),
    )  # fmt: skip
    return blocks, forms.BlockCycles(inner, right, bottom, corner)


def test_the_periods_are_those_of_all_blocks():
    """One to six blocks either way, at three rates, tolerance zero."""
    draw = random.Random(4)
    cases = [drawn(draw, *cut) for cut in product(range(1, 7), repeat=2) for _ in range(8)]
    with jax.enable_x64(True):
        blocks, work = (
            kind(
                *(
                    jnp.array([field], jnp.int64)
                    for field in zip(*(one[:10] for one in some), strict=True)
                )
            )
            for kind, some in zip(
                (forms.Blocks, forms.BlockCycles), zip(*cases, strict=True), strict=True
            )
        )
        clock, bandwidth = (jnp.array(v, jnp.float64) for v in zip(*RATES, strict=True))
        rates = forms.Rates(clock / bandwidth, 0.5 / bandwidth)
        got = np.asarray(forms.cycles(*forms.periods(blocks, work), rates))[0]
    for found, (b, w) in zip(got.tolist(), cases, strict=True):
        assert found == [walked(b, w, *rate) for rate in RATES], b


def sliced(
    b: forms.Blocks, full: forms.BlockCycles, last: forms.BlockCycles, clock, bandwidth
) -> int:
    """The same with slices of K inside, whose sums stay until the last one."""
    reads, writes, busy = [], [0, 0], []
    for m, n, k in product(range(b.T_M), range(b.T_N), range(b.T_K)):
        low, right, end = m == b.T_M - 1, n == b.T_N - 1, k == b.T_K - 1
        cols = b.n_last if right else b.n
        inputs = b.inputs_last if low else b.inputs
        reads.append((b.K_last if end else b.K) * cols + inputs * (n == k == 0))
        rows = b.m_last if low else b.m
        writes.append(b.leaves * rows * cols * end)
        busy.append((last if end else full)[2 * low + right])
    moved = zip([*reads, 0, 0], writes, strict=True)
    dma = [-(-(r + w) * clock // bandwidth) for r, w in moved]
    return dma[0] + sum(map(max, zip(busy, dma[1:-1], strict=True))) + dma[-1]


def sliced_cases() -> list[tuple]:
    draw, found = random.Random(9), []
    for T_M, T_N, T_K in product(range(1, 5), range(1, 5), range(2, 6)):
        blocks, full = drawn(draw, T_M, T_N)
        _, last = drawn(draw, T_M, T_N)
        blocks = blocks._replace(T_K=T_K, K_last=draw.randint(1, blocks.K))
        found.append((blocks, full, last))
    return found


def sliced_cycles(cases: list[tuple], without: int | None = None) -> list[list[float]]:
    with jax.enable_x64(True):
        blocks, full, last = (
            kind(*(jnp.array([field], jnp.int64) for field in zip(*some, strict=True)))
            for kind, some in zip((forms.Blocks, forms.BlockCycles, forms.BlockCycles),
                                  zip(*cases, strict=True), strict=True)
        )  # fmt: skip
        clock, bandwidth = (jnp.array(v, jnp.float64) for v in zip(*RATES, strict=True))
        rates = forms.Rates(clock / bandwidth, 0.5 / bandwidth)
        _, ends = forms.periods(blocks, full)
        found = forms.sliced_periods(blocks, full, last)
        assert len(found) == 22
        found = [one for at, one in enumerate(found) if at != without]
        return np.asarray(forms.cycles(found, ends, rates))[0].tolist()


def test_the_periods_of_slices_are_those_of_all_blocks():
    cases = sliced_cases()
    for found, case in zip(sliced_cycles(cases), cases, strict=True):
        assert found == [sliced(*case, *rate) for rate in RATES], case


def test_every_period_of_slices_matters():
    """Without any of the 22 the cycles of some layer are others."""
    cases = sliced_cases()
    right = sliced_cycles(cases)
    assert all(sliced_cycles(cases, at) != right for at in range(22))
