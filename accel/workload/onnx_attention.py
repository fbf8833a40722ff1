"""Attention as one operator of an ONNX graph: scores and context, and maybe projections.

Of S queries over L keys in H heads of size d: scores [S, d] x [d, L] and context
[S, L] x [L, d] for every head. Heads that share keys are one product of all their rows.
"""

from __future__ import annotations

from accel.workload.layer import LayerWorkload
from accel.workload.onnx_products import Product, Works, shown


def attention(product: Product) -> Works:
    """`Attention` of ONNX: (B, heads, S, d) or (B, S, heads * d), earlier keys in 4."""
    q, k, v = (product.shape(place) for place in range(3))
    if len(q) == 4:
        B, heads, S, d = q
        groups, L, deep = k[1], k[2], v[3]
    else:
        heads = product.number("q_num_heads", 0)
        groups = product.number("kv_num_heads", 0)
        B, S, wide = _three(product, q)
        d, rest = divmod(wide, heads) if heads else (0, 1)
        if rest or not groups or v[2] % groups:
            raise _odd_heads(product, heads, groups)
        L, deep = k[1], v[2] // groups
    if product.has(4):
        L += product.shape(4)[2]
    return _heads(product, B=B, S=S, L=L, heads=heads, groups=groups, d=d, deep=deep)


def multi_head(product: Product) -> Works:
    """`MultiHeadAttention`: (B, S, heads * d); keys and values alike, or by heads."""
    q = product.shape(0)
    heads = product.number("num_heads", 0)
    if len(q) != 3 or not heads or q[2] % heads or not product.has(1):
        raise product.refusal(
            f"must have queries (B, S, heads * d) for `num_heads` (={heads}) and keys of "
            f"their own; they are {shown(q)}. Packed forms are not known."
        )
    k, v = product.shape(1), product.shape(2)
    if len(k) == 4:
        L, deep = k[2], v[3]
    else:
        L, deep = k[1], v[2] // heads
    if product.has(6):
        L += product.shape(6)[2]
    B, S, d = q[0], q[1], q[2] // heads
    return _heads(product, B=B, S=S, L=L, heads=heads, groups=heads, d=d, deep=deep)


def grouped_query(product: Product) -> Works:
    """`GroupQueryAttention`: (B, S, heads * d), or keys and values packed behind; the
    keys before are input 3."""
    heads = product.number("num_heads", 0)
    groups = product.number("kv_num_heads", 0)
    B, S, wide = _three(product, product.shape(0))
    parts = heads if product.has(1) else heads + 2 * groups
    if not heads or not groups or heads % groups or wide % parts:
        raise _odd_heads(product, heads, groups)
    d = wide // parts
    L = S + (product.shape(3)[2] if product.has(3) else 0)
    return _heads(product, B=B, S=S, L=L, heads=heads, groups=groups, d=d, deep=d)


def projected(product: Product) -> Works:
    """`Attention` of com.microsoft, `QAttention`: (B, S, D) by weights (D, 3 * hidden)."""
    (B, S, D), w = _three(product, product.shape(0)), product.shape(1)
    heads = product.number("num_heads", 0)
    if len(w) != 2 or w[0] != D or w[1] % 3 or not heads or w[1] // 3 % heads:
        raise product.refusal(
            f"must have weights (D, 3 * hidden) that `num_heads` (={heads}) divides; "
            f"input and weights are {shown((B, S, D))} and {shown(w)}."
        )
    if any(a.name == "qkv_hidden_sizes" for a in product.node.attribute):
        raise product.refusal("has `qkv_hidden_sizes`, which are not known.")
    before = 8 if product.node.op_type == "QAttention" else 4
    L = S + (product.shape(before)[3] if product.has(before) else 0)
    d = w[1] // 3 // heads
    first = LayerWorkload(
        name=f"{product.name}.projection", images=B * S, row_bytes=D, K=D, N=w[1]
    )  # fmt: skip
    rest = _heads(product, B=B, S=S, L=L, heads=heads, groups=heads, d=d, deep=d)
    return [first, *rest]


def _three(product: Product, shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) != 3:
        raise product.refusal(f"must have queries (B, S, width); they are {shown(shape)}.")
    return shape


def _odd_heads(product: Product, heads: int, groups: int):
    return product.refusal(
        f"must have heads (={heads}) and key heads (={groups}) that divide its inputs."
    )


def _heads(product: Product, *, B, S, L, heads, groups, d, deep) -> Works:
    if heads % groups:
        raise _odd_heads(product, heads, groups)
    times = {"images": S * (heads // groups), "repeats": B * groups, "weight_sets": 0}
    return [
        LayerWorkload(name=f"{product.name}.scores", row_bytes=d, K=d, N=L, **times),
        LayerWorkload(name=f"{product.name}.context", row_bytes=L, K=L, N=deep, **times),
    ]
