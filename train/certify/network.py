"""The float network as a graph of the engine: what it is in real arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from configs.program import (
    Activate,
    Add,
    Concat,
    Mul,
    Node,
    Pad,
    Pool,
    Product,
    Program,
    Reshape,
    Slice,
    entry,
)
from train.certify import lines
from train.certify.engine import Graph
from train.certify.forms import (
    AddForm,
    ConcatForm,
    Form,
    FunctionForm,
    Interval,
    MulForm,
    PadForm,
    PoolForm,
    ProductForm,
    ReshapeForm,
    SliceForm,
)
from train.lowering import lowered
from train.model import PIXEL_SCALE, Model

_FUNCTIONS: dict[str, tuple[lines.Function, ...]] = {
    "identity": (),
    "relu": (lines.clip(0.0, np.inf),),
    "relu6": (lines.clip(0.0, 6.0),),
    "softplus": (lines.softplus(),),
    "sigmoid": (lines.bell(1.0, 1.0, 0.0),),
    "tanh": (lines.bell(2.0, 2.0, -1.0),),
    "tanh_half": (lines.bell(1.0, 2.0, -1.0),),
}
# What each operator is that neither multiplies by weights nor has a function.
MOVES: dict[type[Node], Callable[..., Form]] = {
    Pad: PadForm,
    Pool: PoolForm,
    Reshape: ReshapeForm,
    Slice: SliceForm,
    Concat: ConcatForm,
    Add: AddForm,
    Mul: MulForm,
}


def shapes(program: Program, node: Node) -> tuple[tuple[int, ...], ...]:
    """Of the values that a node takes."""
    return tuple(program.by_name[name].shape for name in node.inputs)


def graph(model: Model) -> Graph:
    """The graph of a float model, normalisations and symmetries written out."""
    model = lowered(model)
    program = model.network.program

    def product(node: Product) -> Form:
        kernel = np.asarray(model.kernel(node.weights), np.float64)
        bias = model.layers[node.weights].bias
        added = np.zeros(node.features) if bias is None else bias[...]
        return ProductForm(
            node, shapes(program, node), kernel, np.asarray(added, np.float64)
        )

    def function(node: Activate) -> Form:
        return FunctionForm(node, shapes(program, node), _FUNCTIONS[node.function])

    table = {Product: product, Activate: function}
    for kind, form in MOVES.items():
        table[kind] = lambda node, form=form: form(node, shapes(program, node))
    forms = {
        node.name: entry(table, node, "train.certify")(node)
        for node in program.nodes
        if node.inputs
    }
    return Graph(program, forms)


def pixels_within(images: np.ndarray, levels: float) -> Interval:
    """Pixels at most `levels` from those of `images`, within 0..255, as the network takes
    them: exact, being multiples of a power of two."""
    wide = images.astype(np.float64)
    ends = (np.clip(wide + step, 0, 255) for step in (-levels, levels))
    return Interval(*(end * PIXEL_SCALE for end in ends))
