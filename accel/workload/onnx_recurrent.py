"""Recurrent layers of an ONNX graph as matrix products.

All gates are one product [batch, D + H] x [D + H, gates * H] a step, repeated for every
step and direction: a step waits for the one before, so that its weights are read again.
"""

from __future__ import annotations

from accel.workload.layer import LayerWorkload
from accel.workload.onnx_products import Product, Works, shown

# Gates of each, whose weights stand one below the other.
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(
    product: Product, x: tuple[int, ...], w: tuple[int, ...], r: tuple[int, ...]
) -> Works:
    """Input (steps, batch, D), or batch first with `layout` 1; weights (1 or 2, g H, D).

    A GRU multiplies its state as often whether it resets before or after.
    """
    gates = GATES[product.node.op_type]
    fits = len(x) == len(w) == len(r) == 3 and w[2] == x[2] and w[1] == gates * r[2]
    if not fits or r[:2] != w[:2] or w[0] not in (1, 2):
        raise product.refusal(
            f"must have shapes of {product.node.op_type}; input, weights and recurrent "
            f"weights are {shown(x)}, {shown(w)} and {shown(r)}."
        )
    batch, steps = (x[0], x[1]) if product.number("layout", 0) else (x[1], x[0])
    K = x[2] + r[2]
    return [
        LayerWorkload(
            name=product.name, images=batch, row_bytes=K, K=K, N=w[1],
            repeats=steps * w[0], weight_sets=w[0],
        )
    ]  # fmt: skip
