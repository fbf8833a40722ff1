"""What every simulator gives back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from accel.machines.counters import Counters


class Run(NamedTuple):
    """G runs of one matrix product, stepped side by side."""

    # int32 (G, M, N), exact.
    sums: np.ndarray
    # Total of the G runs, done one after the other.
    counters: Counters


class LostResultError(Exception):
    """Results that were expected never came out of a machine, or not as announced."""
