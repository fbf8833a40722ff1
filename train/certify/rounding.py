"""How far float64 may be from real arithmetic, as bounds that are always on the safe side.

A sum of n products is off by at most n u / (1 - n u) times the sum of their magnitudes, in
any order (Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.1), with
u = 2^-53. Everything here is at least twice that.
"""

from __future__ import annotations

import numpy as np

UNIT = 2.0**-53
# Beyond all that underflow can take away.
_TINY = 1e-250


def slack(terms: int, magnitude: np.ndarray | float) -> np.ndarray | float:
    """Bound of the error of a sum of `terms` products whose magnitudes sum to
    `magnitude`, itself computed in float64."""
    return 2 * UNIT * (terms + 16) * magnitude + _TINY
