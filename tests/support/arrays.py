"""Small systolic arrays of every kind, products for them, and how a fault is noticed."""

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from accel.machines.counters import times
from accel.machines.machine import Systolic
from accel.predict.timing import predict
from accel.simulate.simulation import LostResultError, Run
from accel.workload.gemm import Gemm

# Few, since each is compiled: one PE, one row, one column, wide, tall.
SHAPES = ((1, 1), (1, 3), (3, 1), (2, 4), (3, 2))
KINDS = (
    {"dataflow": "ws"},
    {"dataflow": "ws", "weights": "shadow", "load": "skewed"},
    {"dataflow": "ws", "weights": "shadow", "load": "global"},
    {"dataflow": "is"},
    {"dataflow": "is", "weights": "shadow", "load": "skewed"},
    {"dataflow": "is", "weights": "shadow", "load": "global"},
    {"dataflow": "os"},
)


def machines(rows: int, cols: int) -> list[Systolic]:
    """An array of each kind."""
    return [Systolic(rows=rows, cols=cols, **kind) for kind in KINDS]


MACHINES = st.sampled_from([m for shape in SHAPES for m in machines(*shape)])


def factors(
    G: int, M: int, K: int, N: int, *, dtype=np.uint8, seed: int = 0, extreme: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """x (G, M, K) and w (K, N); nothing but the ends of their ranges if `extreme`."""
    draw, span = np.random.default_rng(seed), np.iinfo(dtype)
    if extreme:
        x = draw.choice([span.min, span.max], (G, M, K))
        w = draw.choice([-128, -127, 127], (K, N))
    else:
        x = draw.integers(span.min, span.max + 1, (G, M, K))
        w = draw.integers(-128, 128, (K, N))
    return x.astype(dtype), w.astype(np.int8)


@st.composite
def products(draw, most: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Factors of any ragged shape, unsigned or signed."""
    G, (M, K, N) = draw(st.integers(1, 3)), (draw(st.integers(1, most)) for _ in "MKN")
    return factors(
        G, M, K, N,
        dtype=draw(st.sampled_from([np.uint8, np.int8])),
        seed=draw(st.integers(0, 99)),
        extreme=draw(st.booleans()),
    )  # fmt: skip


def exact(x_GMK: np.ndarray, w_KN: np.ndarray) -> np.ndarray:
    """The product in 64-bit integers."""
    return x_GMK.astype(np.int64) @ w_KN.astype(np.int64)


def noticed(
    run: Callable[[Systolic, np.ndarray, np.ndarray], Run],
    machine: Systolic,
    x_GMK: np.ndarray,
    w_KN: np.ndarray,
) -> set[str]:
    """What tells that a run went wrong: "lost", or "sums" and "counters" that differ."""
    (G, M, K), N = x_GMK.shape, w_KN.shape[1]
    try:
        found = run(machine, x_GMK, w_KN)
    except LostResultError:
        return {"lost"}
    expected = times(predict(machine, Gemm("layer", 1, M, K, N)), G)
    signs = {
        "sums": not np.array_equal(found.sums, exact(x_GMK, w_KN)),
        "counters": found.counters._asdict() != expected._asdict(),
    }
    return {name for name, wrong in signs.items() if wrong}


def plane(drawing: str) -> np.ndarray:
    """A register plane drawn by hand, rows between slashes, a point for nothing.

    >>> plane("1 . / 2 3").tolist()
    [[1, 0], [2, 3]]
    """
    rows = [row.replace(".", "0").split() for row in drawing.split("/")]
    return np.array(rows, np.int64)


def drawn(table: str) -> list[dict[str, np.ndarray]]:
    """A table drawn by hand: for each edge every register, by the names of its head."""
    head, *lines = (line for line in table.strip().splitlines() if line.strip())
    names = [name.strip() for name in head.split("|")]
    rows = [[plane(cell) for cell in line.split("|")] for line in lines]
    return [dict(zip(names, row, strict=True)) for row in rows]
