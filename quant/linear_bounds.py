"""The deployed integers as a graph of linear bounds: what is certified ships.

Every value is its integers, in real arithmetic. A product is brought back by

    y = clip(RNE(t)),    t = (W x + b) multiplier / 2^shift,

in which t is affine in x with weights that float64 holds exactly, and y is a stair with
steps of 1 about the line t (`train.certify.lines.stair`). Tables lie in bands between two
lines, sums and products of values are exact, means are within half a step. What the engine
then says of all real x holds of the integers among them, and of the class that the first
of the largest outputs gives.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from configs.errors import InputError
from configs.program import (
    Activate,
    Add,
    Concat,
    Mul,
    Node,
    Pad,
    Pool,
    Product,
    Reshape,
    Slice,
    entry,
)
from quant.network import Activated, IntNetwork, IntStep, Weighted
from train.certify import lines
from train.certify.engine import Graph, Known
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
from train.certify.network import shapes
from train.certify.proofs import Decide, Differences


def graph(network: IntNetwork) -> Graph:
    """The graph of an integer network; its values are integers, pixels 0..255."""
    forms: dict[str, Form] = {}
    for step in network.walk():
        for node in step.step.nodes:
            found = entry(_FORMS, node, "quant.linear_bounds")
            forms[node.name] = found(step, node, shapes(network.program, node))
    return Graph(network.program, forms)


def _product(step: IntStep, node: Product, given) -> Form:
    """Scaled so that its sums are t; multipliers of 16 bits times weights of 8, or biases
    of 32, are exact."""
    w = step.weighted
    factor = np.ldexp(w.multiplier.astype(np.float64), -w.shift)
    return ProductForm(node, given, w.weights * factor, w.bias * factor, True)


def _activate(step: IntStep, node: Activate, given) -> Form:
    numbers = step.numbers
    scale = 1.0
    if isinstance(numbers, Activated):
        exponent, _ = step.wide()[node.input]
        scale = float(np.ldexp(1.0, exponent - numbers.sum.exponent))
    return FunctionForm(node, given, _functions(numbers), scale)


def _functions(numbers: Weighted | Activated) -> tuple[lines.Function, ...]:
    rounded = lines.stair(numbers.sum.low, numbers.sum.high)
    if numbers.table is None:
        return (rounded,)
    return (rounded, lines.table(numbers.table))


def _add(step: IntStep, node: Add, given) -> Form:
    known = step.wide()
    exponents = [known[name][0] for name in node.inputs]
    scales = tuple(float(1 << (one - min(exponents))) for one in exponents)
    return AddForm(node, given, scales, True)


def _pad(step: IntStep, node: Pad, given) -> Form:
    return PadForm(node, given, 0.5 if node.kind == "mean" else 0.0)


def _pool(step: IntStep, node: Pool, given) -> Form:
    return PoolForm(node, given, 0.5 if node.kind == "mean" else 0.0)


_FORMS: dict[type[Node], Callable[..., Form]] = {
    Product: _product,
    Activate: _activate,
    Add: _add,
    Mul: lambda step, node, given: MulForm(node, given, True),
    Pad: _pad,
    Pool: _pool,
    Reshape: lambda step, node, given: ReshapeForm(node, given),
    Slice: lambda step, node, given: SliceForm(node, given),
    Concat: lambda step, node, given: ConcatForm(node, given),
}


def pixels_within(images: np.ndarray, levels: int) -> Interval:
    """Pixels at most `levels` from those of `images`, within 0..255."""
    wide = images.astype(np.float64)
    return Interval(np.clip(wide - levels, 0, 255), np.clip(wide + levels, 0, 255))


def decide(network: IntNetwork) -> Decide:
    """Whether the first of the largest outputs is the label's, for all within the box.

    Outputs are integers: a difference above -1 is at least 0, which is enough where the
    label comes first. Before they are rounded the order is the same, and a difference of
    more than 1 remains, unless both are cut off at the same end.
    """
    if len(network.network.output_shape) != 1:
        raise InputError(
            f"`network` (outputs {list(network.network.output_shape)}) must end in a "
            f"vector of classes to be certified; add a Flatten or GlobalPool."
        )
    last = list(network.walk())[-1]
    plain = last.numbers is not None and last.numbers.table is None

    def sure(known: Known, labels: np.ndarray, bound: Differences) -> np.ndarray:
        others = np.arange(last.shape[0])[None]
        chosen = labels[:, None]
        first = chosen < others
        low, high = known.intervals[last.name]
        own_low = np.take_along_axis(low, chosen, 1)
        beaten = (others == chosen) | np.where(first, own_low >= high, own_low > high)
        after = bound(known, last.name, labels)
        beaten |= np.where(first, after > -1, after > 0)
        if plain and last.product:
            # Sums before they are rounded are multiples of it.
            step = 2.0**-last.weighted.shift
            name = last.product.name
            before = bound(known, name, labels)
            apart = (own_low > last.output.low) & (high < last.output.high)
            beaten |= np.where(first, before > -step, (before > 1) & apart)
        return beaten.all(1)

    return sure
