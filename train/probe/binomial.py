"""How sure a share is: the exact binomial interval of Clopper and Pearson."""

from __future__ import annotations

from scipy.special import betaincinv


def interval(correct: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Bounds (low, high) that cover the true share with at least probability `level`.

    low is the share at which `correct` or more of `n` has probability (1 - level) / 2,
    high the one at which `correct` or fewer has it: quantiles of beta distributions.

    Raises:
      ValueError: `correct` is not in 0..n, or there is nothing to count.

    Reference: Clopper and Pearson 1934, Biometrika 26(4), 404-413.
    """
    if not 0 <= correct <= n or n < 1:
        raise ValueError(
            f"`correct` (={correct}) must lie in 0..`n` (={n}) and `n` be at least 1; "
            "give counts, not shares."
        )
    tail = (1 - level) / 2
    low = betaincinv(correct, n - correct + 1, tail) if correct > 0 else 0.0
    high = betaincinv(correct + 1, n - correct, 1 - tail) if correct < n else 1.0
    return float(low), float(high)
