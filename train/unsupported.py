"""Which layers can be trained and quantised; those that only cost models know cannot."""

from __future__ import annotations

from configs.errors import InputError
from configs.network import (
    Conv,
    Dense,
    Flatten,
    GlobalPool,
    Layer,
    LstmCell,
    Network,
    Pool,
    Residual,
)


def refuse_unsupported(network: Network, act: str) -> None:
    """Refuses a network with a layer that nothing here can compute.

    Args:
      act: what was to be done, "trained" or "quantised".

    Raises:
      InputError: names the first such layer.
    """
    for index, info in enumerate(network.walk()):
        found = _unsupported(info.spec)
        if act == "quantised":
            found = found or _not_lowered(info.spec)
        if found:
            raise InputError(
                f"`network.layers[{index}]` ({info.name}) cannot be {act} yet: it is "
                f"{found}; replace it, or look at what the network costs with `python -m "
                f"configs show FILE.py`."
            )


def _unsupported(spec: Layer) -> str | None:
    match spec:
        case Residual():
            return "a Residual block"
        case LstmCell():
            return "an LstmCell"
        case Conv() if spec.groups > 1:
            return f"a Conv in `groups` (={spec.groups})"
        case Pool() if spec.padding != "valid":
            return f"a Pool with `padding` (={spec.padding})"
        case Conv() | Dense() | Pool() | GlobalPool() | Flatten():
            return None
    return f"of the kind {type(spec).__name__}, which nothing here computes"


def _not_lowered(spec: Layer) -> str | None:
    symmetry = getattr(spec, "symmetry", "none")
    kind = type(spec).__name__
    return None if symmetry == "none" else f"a {kind} with `symmetry` (={symmetry})"
