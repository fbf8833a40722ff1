"""How long a batch waits for a machine that takes the same time for each: M/D/1.

Arrivals are random (Poisson) at `load` / D, each is served for D. With n = floor(t / D)
the waiting time W is at most t with the probability

    P(W <= t) = (1 - load) * sum over k = 0..n of (-x_k)^k / k! * exp(x_k)
    x_k = load * (t / D - k)

The terms alternate and grow up to exp(2 * load * t / D), so that floating point loses every
digit; here they are decimals with as many digits as cancel.

Reference: Erlang, "The theory of probabilities and telephone conversations", 1909.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

from configs.checks import brief
from configs.errors import InputError

# Digits that are right after all have cancelled.
_DIGITS = 30
# Closer to 1 the wait is without bound, and so is the number of digits.
LARGEST_LOAD = 0.99
# Halvings of the range in which a quantile lies.
_HALVINGS = 40


def waits_at_most(services: float, load: float) -> float:
    """P(W <= services * D).

    Raises:
      InputError: the load is not between 0 and 1.
    """
    require_load(load)
    with localcontext() as context:
        # A term is at most exp(2 * load * services), and exp(2) is less than 10.
        context.prec = _DIGITS + math.ceil(load * services)
        rho, t = Decimal(load), Decimal(services)
        total = Decimal(0)
        for k in range(math.floor(services) + 1):
            x = rho * (t - k)
            power = (-x) ** k if k else Decimal(1)
            total += power / math.factorial(k) * x.exp()
        return float((1 - rho) * total)


def quantile(part: float, load: float) -> float:
    """Service times that this part of all batches wait at most.

    Raises:
      InputError: `part` or `load` is not between 0 and 1.
    """
    require_load(load)
    if not 0 < part < 1:
        raise InputError(f"`part` (={brief(part)}) must be between 0 and 1, as 0.99.")
    if part <= 1 - load:
        return 0.0
    high = 1.0
    while waits_at_most(high, load) < part:
        high *= 2
    low = 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        enough = waits_at_most(middle, load) >= part
        low, high = (low, middle) if enough else (middle, high)
    return high


def require_load(load: float) -> None:
    if not 0 < load <= LARGEST_LOAD:
        raise InputError(
            f"`load` (={brief(load)}) must be more than 0 and at most "
            f"{LARGEST_LOAD} of what the machine can do; use 0.8."
        )
