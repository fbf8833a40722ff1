"""What both file formats know of values: which are bytes, and what bytes become."""

from __future__ import annotations

import numpy as np

from quant import normative
from quant.network import Activated, Format


def is_wide(kind: Format) -> bool:
    """Whether a value is a float32 tensor of real numbers, not one of bytes."""
    return kind.bits > 8


def mapped(values: np.ndarray, kind: Format, numbers: Activated) -> np.ndarray:
    """What integers become on a grid of their own, int64.

    Args:
      values: integers; those outside the format count as its ends.
    """
    inside = np.clip(values, kind.low, kind.high).astype(np.int64)
    y = normative.rescale(inside, numbers.sum.exponent - kind.exponent, numbers.sum)
    return y if numbers.table is None else numbers.table.astype(np.int64)[y + 128]
