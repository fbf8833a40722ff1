"""Any ONNX file whose shapes are known, as the matrix products that are in it.

Counted are Conv, ConvInteger, QLinearConv (one or two axes, in groups), Gemm, MatMul,
MatMulInteger, QLinearMatMul and LSTM; other operators are listed. Numbers count as one
byte each, whatever type the file gives them. Weights may come through DequantizeLinear or
any operator whose shape is inferred. No file tells simply what feeds a layer from memory,
so that no layer is `chained`.

A matrix product has an image for every row. One of many matrices folds those that meet
the same right factor into its rows; the others are `repeats`. An LSTM is one product
[batch, D + H] x [D + H, 4 H] a step, all gates joined, repeated for every step and
direction: a step waits for the one before, so that its weights are read again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from onnx import NodeProto

from accel.cost.work import Work
from accel.cost.workload import Workload
from accel.imports import onnx_file
from accel.imports.onnx_infer import Dim, Shapes, infer
from accel.imports.outside import printable, require_countable, require_images
from configs.errors import InputError

_STANDARD = ("", "ai.onnx")


def load(path: Path, images: int = 1) -> Workload:
    """The products of a file; a batch that is left open in the file becomes `images`.

    Raises:
      InputError: the file is no model, or the shapes of a product are not known.
    """
    require_images(images)
    _, model = onnx_file.load(path)
    shapes = infer(path, model, images)
    works, others = [], Counter()
    for node in model.graph.node:
        if node.domain in _STANDARD and node.op_type in _PRODUCTS:
            works.append(_Product(path, node, shapes).work())
        else:
            _require_no_products_inside(path, node)
            prefix = "" if node.domain in _STANDARD else f"{printable(node.domain)}:"
            others[f"{prefix}{printable(node.op_type)}"] += 1
    if not works:
        raise InputError(
            f"`{path}` holds no product that is counted ({', '.join(_PRODUCTS)}); it has "
            f"{', '.join(sorted(others)[:10])}."
        )
    return Workload(
        works=tuple(works),
        inferences=images,
        unit="pass",
        not_counted=tuple(sorted(others.items())),
    )


def _require_no_products_inside(path: Path, node: NodeProto) -> None:
    """Refuses a branch or loop with products, which run nobody knows how often."""
    found = _product_inside(node)
    if found:
        raise InputError(
            f"`{path}`: the node `{onnx_file.title(node)}` ({printable(node.op_type)}) "
            f"runs a {found} that cannot be counted; unroll the loop or choose the branch "
            f"before export."
        )


def _product_inside(node: NodeProto) -> str | None:
    """The operator of the first product in the graphs of a node, inner ones too."""
    for graph in onnx_file.subgraphs(node):
        for inner in graph.node:
            found = inner.op_type if inner.op_type in _PRODUCTS else _product_inside(inner)
            if found:
                return found
    return None


@dataclass(frozen=True)
class _Product:
    """A node that multiplies, with the shapes around it."""

    path: Path
    node: NodeProto
    shapes: Shapes

    def work(self) -> Work:
        make, places = _PRODUCTS[self.node.op_type]
        work = make(self, *(self.shape(place) for place in places))
        return require_countable(work, self._where())

    def _where(self) -> str:
        return f"`{self.path}`: the node `{self.name}` ({self.node.op_type})"

    @property
    def name(self) -> str:
        return onnx_file.title(self.node)

    def refusal(self, sentence: str) -> InputError:
        return InputError(f"{self._where()} {sentence}")

    def shape(self, place: int) -> tuple[int, ...]:
        """Shape of an input; every dimension is known and at least 1."""
        name = self.node.input[place] if place < len(self.node.input) else ""
        found = self.shapes.get(name)
        if not found or any(size is None or size < 1 for size in found):
            shown = "no shape" if found is None else f"the shape {_shown(found)}"
            raise self.refusal(
                f"has an input `{printable(name)}` of {shown}, which must be known and "
                f"hold something; fix the sizes of the model's inputs "
                f"(`onnx.tools.update_model_dims`) and run "
                f"`onnx.shape_inference.infer_shapes`."
            )
        return tuple(found)

    def numbers(self, name: str, default: list[int]) -> list[int]:
        """Values of an attribute, of as many numbers as its default."""
        found = next((list(a.ints) for a in self.node.attribute if a.name == name), default)
        if len(found) != len(default) or any(v < 0 or v >= 1 << 31 for v in found):
            raise self.refusal(
                f"must have {len(default)} numbers of 0 or more in `{name}` (={found[:8]})."
            )
        return found

    def number(self, name: str, default: int) -> int:
        return next((a.i for a in self.node.attribute if a.name == name), default)

    def text(self, name: str, default: str) -> str:
        found = (a.s for a in self.node.attribute if a.name == name)
        return next((s.decode(errors="replace") for s in found), default)


def _shown(shape: tuple[Dim, ...]) -> str:
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"


def _conv(product: _Product, x: tuple[int, ...], w: tuple[int, ...]) -> Work:
    """Input (B, C, H, W) or (B, C, W); weights (F, C / groups, R, S)."""
    axes = len(x) - 2
    if axes not in (1, 2) or len(w) != len(x):
        raise product.refusal(
            f"must have an input of one or two axes and weights like it; it has "
            f"{_shown(x)} and {_shown(w)}. Other convolutions are not known."
        )
    if any(step != 1 for step in product.numbers("dilations", [1] * axes)):
        raise product.refusal("has `dilations` other than 1, which are not known.")
    groups = product.number("group", 1)
    if groups < 1 or x[1] != w[1] * groups or w[0] % groups:
        raise product.refusal(
            f"must have channels and features that `group` (={groups}) divides; its input "
            f"is {_shown(x)}, its weights are {_shown(w)}."
        )
    strides = product.numbers("strides", [1] * axes)
    sizes = _windows(product, x[2:], w[2:], strides)
    # A single axis is a map of one row.
    P, R, down = (sizes[0], w[2], strides[0]) if axes == 2 else (1, 1, 1)
    return Work(
        name=product.name,
        images=x[0],
        out_rows=P,
        out_cols=sizes[-1],
        kernel_rows=R,
        stride=down,
        row_bytes=((sizes[-1] - 1) * strides[-1] + w[-1]) * w[1],
        col_bytes=strides[-1] * w[1],
        K=math.prod(w[1:]),
        N=w[0] // groups,
        repeats=groups,
    )


def _windows(
    product: _Product, sizes: tuple[int, ...], kernel: tuple[int, ...], strides: list[int]
) -> list[int]:
    """Positions of the kernel on each axis."""
    axes = len(sizes)
    pads = product.numbers("pads", [0] * (2 * axes))
    how = product.text("auto_pad", "NOTSET")
    if how not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER") or 0 in strides:
        raise product.refusal(
            f"must have an `auto_pad` of ONNX (={printable(how)}) and `strides` "
            f"(={strides}) of 1 or more."
        )
    if how != "NOTSET" and any(pads):
        raise product.refusal(
            f"has both `pads` (={pads}) and `auto_pad` (={how}); leave one of them out."
        )
    if how.startswith("SAME"):
        found = [-(-n // s) for n, s in zip(sizes, strides, strict=True)]
    else:
        around = [a + b for a, b in zip(pads[:axes], pads[axes:], strict=True)]
        padded = zip(sizes, around, kernel, strides, strict=True)
        found = [(n + pad - k) // s + 1 for n, pad, k, s in padded]
    _require_inferred(product, found, sizes, kernel, strides, pads)
    return found


def _require_inferred(product: _Product, found, sizes, kernel, strides, pads) -> None:
    """Refuses positions that are none, or others than the output's known shape has."""
    axes = len(sizes)
    output = product.shapes.get(next(iter(product.node.output), "")) or ()
    known = list(output[2:]) if len(output) == axes + 2 else [None] * axes
    if min(found) < 1 or any(k not in (None, f) for k, f in zip(known, found, strict=True)):
        raise product.refusal(
            f"puts the kernel {_shown(kernel)} on {_shown(sizes)} with `strides` {strides} "
            f"and `pads` {pads} at {_shown(found)} positions; the file says {_shown(known)}"
            f". Infer the shapes again, without those that are stored."
        )


def _gemm(product: _Product, a: tuple[int, ...], b: tuple[int, ...]) -> Work:
    if len(a) != 2 or len(b) != 2:
        shapes = f"{_shown(a)} and {_shown(b)}"
        raise product.refusal(f"must multiply matrices; it has {shapes}.")
    (M, K), (inner, N) = (
        shape[::-1] if product.number(name, 0) else shape
        for shape, name in ((a, "transA"), (b, "transB"))
    )
    return _rows(product, M, K, inner, N)


def _matmul(product: _Product, a: tuple[int, ...], b: tuple[int, ...]) -> Work:
    """(..., M, K) x (..., K, N) as numpy multiplies: leading axes are broadcast."""
    a, b = ((1, *a) if len(a) == 1 else a), ((*b, 1) if len(b) == 1 else b)
    axes = max(len(a), len(b)) - 2
    left, right = ((1,) * (axes + 2 - len(s)) + s[:-2] for s in (a, b))
    pairs = list(zip(left, right, strict=True))
    if any(m != n and 1 not in (m, n) for m, n in pairs):
        raise product.refusal(
            f"must multiply matrices of leading axes that fit; they are {_shown(a)} and "
            f"{_shown(b)}."
        )
    repeats = math.prod(right)
    folded = math.prod(m for m, n in pairs if n == 1)
    return _rows(product, folded * a[-2], a[-1], b[-2], b[-1], repeats)


def _rows(product: _Product, M: int, K: int, inner: int, N: int, repeats: int = 1) -> Work:
    if inner != K:
        raise product.refusal(
            f"must multiply [M, K] x [K, N]; the left one has K={K}, the right one {inner}."
        )
    return Work(name=product.name, images=M, row_bytes=K, K=K, N=N, repeats=repeats)


def _lstm(product: _Product, x: tuple[int, ...], w: tuple[int, ...], r) -> Work:
    """Input (steps, batch, D), or batch first with `layout` 1; weights (1 or 2, 4 H, D)."""
    fits = len(x) == len(w) == len(r) == 3 and w[2] == x[2] and w[1] == 4 * r[2]
    if not fits or r[:2] != w[:2] or w[0] not in (1, 2):
        raise product.refusal(
            f"must have shapes of an LSTM; input, weights and recurrent weights are "
            f"{_shown(x)}, {_shown(w)} and {_shown(r)}."
        )
    batch, steps = (x[0], x[1]) if product.number("layout", 0) else (x[1], x[0])
    K = x[2] + r[2]
    return Work(
        name=product.name, images=batch, row_bytes=K, K=K, N=w[1],
        repeats=steps * w[0], weight_sets=w[0],
    )  # fmt: skip


# By operator: how it becomes a product, and which of its inputs are the factors.
_PRODUCTS: Mapping[str, tuple[Callable[..., Work], tuple[int, ...]]] = {
    "Conv": (_conv, (0, 1)),
    "ConvInteger": (_conv, (0, 1)),
    "QLinearConv": (_conv, (0, 3)),
    "Gemm": (_gemm, (0, 1)),
    "MatMul": (_matmul, (0, 1)),
    "MatMulInteger": (_matmul, (0, 1)),
    "QLinearMatMul": (_matmul, (0, 3)),
    "LSTM": (_lstm, (0, 1, 2)),
}
