"""Matrix products in blocks that a BLAS does with one thread.

Images are bounded in threads of their own. A BLAS that brings others to each product makes
them wait for each other: measured 15 times slower on two busy cores.
"""

from __future__ import annotations

import numpy as np

# Multiplications up to which OpenBLAS uses one thread.
_ALONE = 1 << 18


def times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a (..., K) times b (K, N)."""
    flat = a.reshape(-1, a.shape[-1])
    n, each = len(flat), max(1, _ALONE // b.size)
    whole = n // each * each
    out = np.empty((n, b.shape[1]))
    blocks = out[:whole].reshape(-1, each, b.shape[1])
    np.matmul(flat[:whole].reshape(-1, each, b.shape[0]), b, out=blocks)
    np.matmul(flat[whole:], b, out=out[whole:])
    return out.reshape(*a.shape[:-1], b.shape[1])
