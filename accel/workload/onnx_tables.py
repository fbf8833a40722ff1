"""Which activation a table of 256 entries is, and at which scale."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from accel.workload.bounds import printable
from configs.errors import InputError
from quant.network import Format

# Exponents of two that a `Format` takes.
_EXPONENTS = range(-32, 33)


def recognise(
    name: str, stored: np.ndarray, total: Format, signed: bool, exponent: int | None
) -> tuple[str, Format]:
    """Activation and output format of a table, by computing every table there is.

    Args:
      name: of the layer.
      stored: uint8 (256,), as bytes of the file: 128 stands for zero if `signed`.
      total: the requantised sum, which is the index.
      exponent: of the output's scale; None if it is not known either.

    Raises:
      InputError: the table is of no activation, or could have two scales. (Where one scale
        makes two activations the same table, the first is as right as the other.)
    """
    entries = stored.astype(np.int16) - (128 if signed else 0)
    found = list(_matches(entries, total, signed, exponent))
    kinds = _kinds(signed)
    if not found:
        known = "any scale" if exponent is None else f"the scale 2^{exponent}"
        raise InputError(
            f"`{printable(name)}.table` is no table of {' or '.join(kinds)} at {known}, "
            f"rounded from the sums' scale 2^{total.exponent}"
        )
    if len({to.exponent for _, to in found}) > 1:
        shown = " and ".join(f"{kind} at 2^{to.exponent}" for kind, to in found[:2])
        raise InputError(f"`{printable(name)}.table` can be that of {shown}")
    return found[0]


def _kinds(signed: bool) -> tuple[str, ...]:
    return ("tanh",) if signed else ("sigmoid", "softplus")


def _matches(
    entries: np.ndarray, total: Format, signed: bool, exponent: int | None
) -> Iterator[tuple[str, Format]]:
    """Each activation and scale that gives the entries, at the narrowest width."""
    # Its module needs JAX, which networks without tables do not.
    from quant.convert import table

    for kind in _kinds(signed):
        for place in _EXPONENTS if exponent is None else (exponent,):
            for bits in range(2, 9):
                after = Format(signed=signed, exponent=place, bits=bits)
                if not after.low <= entries.min() <= entries.max() <= after.high:
                    continue
                try:
                    computed = table(kind, total, after)
                except OverflowError:  # exp of a sum beyond 709
                    continue
                if np.array_equal(computed, entries):
                    yield kind, after
                    break
