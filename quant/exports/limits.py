"""What of an operator a file format cannot express exactly, as clauses of sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from configs.errors import InputError
from configs.program import Node, Product, entry
from quant.network import IntStep

# (step, node) -> what of it cannot be written, or None.
Limit = Callable[[IntStep, Node], str | None]


def first_clause(limits: Mapping[type[Node], Limit], layer: IntStep) -> str | None:
    """What of a step a format cannot express; an operator without a limit is unknown."""
    for node in layer.step.nodes:
        try:
            limit = entry(limits, node, "this format")
        except InputError:
            return f"operator {node.op}, which it does not know"
        clause = limit(layer, node)
        if clause:
            return clause
    return None


def nothing(layer: IntStep, node: Node) -> None:
    """Every case can be written."""


def only_bytes(layer: IntStep, what: str) -> str | None:
    """Whether a value of 16 bits comes in where only bytes are known."""
    return f"{what} of 16 bits" if layer.input.bits > 8 else None


def product_limit(layer: IntStep, node: Product) -> str | None:
    """Products are of bytes, of a vector or of the windows of a map."""
    if layer.input.bits > 8 or layer.output.bits > 8:
        return "product of 16 bits"
    if node.kernel is None and len(node.shape) > 1:
        return "product over a sequence"
    return None
