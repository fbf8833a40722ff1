"""What of an operator a file format cannot express exactly.

Each format has a table operator -> `Limit`, beside its table operator -> function; what is
in neither is refused by name. `quant.exports.table` publishes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from configs.program import Node
from quant.network import IntStep


@dataclass(frozen=True, kw_only=True)
class Limit:
    """When an operator can be written."""

    # As the published table says it; "" is always.
    when: str = ""
    # (step, node) -> what of it cannot be written, as a clause, or None.
    clause: Callable[[IntStep, Node], str | None] = lambda layer, node: None


ALWAYS = Limit()
Limits = Mapping[type[Node], Limit]


def first_clause(limits: Limits, layer: IntStep) -> str | None:
    """What of a step a format cannot express; None if nothing."""
    for node in layer.step.nodes:
        limit = limits.get(type(node))
        if limit is None:
            return f"operator {node.op}, for which it has no rule"
        clause = limit.clause(layer, node)
        if clause:
            return clause
    return None


def only_bytes(layer: IntStep, what: str) -> str | None:
    """A clause where a value of 16 bits comes in and only bytes are known."""
    return f"{what} of 16 bits" if layer.input.bits > 8 else None


def _over_sequence(layer: IntStep, node: Node) -> str | None:
    sequence = node.kernel is None and len(node.shape) > 1
    return "product over a sequence" if sequence else None


def _of_bytes(layer: IntStep, node: Node) -> str | None:
    wide = layer.input.bits > 8 or layer.output.bits > 8
    return "product of 16 bits" if wide else _over_sequence(layer, node)


PRODUCTS = Limit(when="of a vector or the windows of a map", clause=_over_sequence)
PRODUCTS_OF_BYTES = Limit(when=f"of bytes, {PRODUCTS.when}", clause=_of_bytes)
