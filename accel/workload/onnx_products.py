"""Nodes of an ONNX graph that multiply, as matrix products: convolutions and matrices.

Numbers count as one byte each, whatever type the file gives them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from onnx import NodeProto

from accel.workload import onnx_file, onnx_known
from accel.workload.bounds import printable
from accel.workload.layer import LayerWorkload
from accel.workload.onnx_infer import Dim, Shapes
from configs.errors import InputError

Works = list[LayerWorkload]


@dataclass(frozen=True)
class Product:
    """A node that multiplies, with the shapes around it."""

    path: Path
    node: NodeProto
    shapes: Shapes
    # Values that are known when the file is written: weights, and what is made of them.
    constants: frozenset[str] = frozenset()
    # Why a value has no shape, if an operator that is not known makes it.
    blame: Callable[[str], str] = lambda name: ""

    @property
    def where(self) -> str:
        return f"the node `{self.name}` ({onnx_known.title(self.node)})"

    @property
    def name(self) -> str:
        return onnx_file.title(self.node)

    def refusal(self, sentence: str) -> InputError:
        return InputError(f"`{self.path}`: {self.where} {sentence}")

    def has(self, place: int) -> bool:
        """Whether an input is there."""
        return place < len(self.node.input) and bool(self.node.input[place])

    def is_constant(self, place: int) -> bool:
        """Whether an input follows from weights alone."""
        return self.node.input[place] in self.constants

    def shape(self, place: int) -> tuple[int, ...]:
        """Shape of an input; every dimension is known and at least 1."""
        name = self.node.input[place] if place < len(self.node.input) else ""
        found = self.shapes.get(name)
        if not found or any(size is None or size < 1 for size in found):
            text = "no shape" if found is None else f"the shape {shown(found)}"
            raise self.refusal(
                f"has an input `{printable(name)}` of {text}, which must be known and "
                f"hold something; {self.blame(name)}"
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


def shown(shape: tuple[Dim, ...]) -> str:
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"


def conv(product: Product, x: tuple[int, ...], w: tuple[int, ...]) -> Works:
    """Input (B, C, [D,] [H,] W); weights (F, C / groups, [T,] [R,] S).

    A map of one axis has one row. The depth of three axes is taken apart: every output
    slice is a map of its own, whose input holds the T slices that it spans.
    """
    axes = len(x) - 2
    if axes not in (1, 2, 3) or len(w) != len(x):
        raise product.refusal(
            f"must have an input of one to three axes and weights like it; it has "
            f"{shown(x)} and {shown(w)}. Other convolutions are not known."
        )
    groups = product.number("group", 1)
    if groups < 1 or x[1] != w[1] * groups or w[0] % groups:
        raise product.refusal(
            f"must have channels and features that `group` (={groups}) divides; its input "
            f"is {shown(x)}, its weights are {shown(w)}."
        )
    strides = product.numbers("strides", [1] * axes)
    spans = _spans(product, w[2:])
    sizes = _windows(product, x[2:], spans, strides)
    # A single axis is a map of one row.
    P, R, down = (sizes[-2], spans[-2], strides[-2]) if axes > 1 else (1, 1, 1)
    slices, thick = (sizes[0], w[2]) if axes == 3 else (1, 1)
    return [
        LayerWorkload(
            name=product.name,
            images=x[0] * slices,
            out_rows=P,
            out_cols=sizes[-1],
            kernel_rows=R,
            stride=down,
            row_bytes=((sizes[-1] - 1) * strides[-1] + spans[-1]) * w[1] * thick,
            col_bytes=strides[-1] * w[1] * thick,
            K=math.prod(w[1:]),
            N=w[0] // groups,
            repeats=groups,
        )
    ]


def _spans(product: Product, kernel: tuple[int, ...]) -> tuple[int, ...]:
    """What a kernel reaches over on each axis, its gaps included."""
    apart = product.numbers("dilations", [1] * len(kernel))
    if 0 in apart:
        raise product.refusal(f"must have `dilations` (={apart}) of 1 or more.")
    return tuple((k - 1) * d + 1 for k, d in zip(kernel, apart, strict=True))


def conv_transpose(product: Product, x: tuple[int, ...], w: tuple[int, ...]) -> Works:
    """Input (B, C, ...); weights (C, F / groups, ...): every position meets the whole
    kernel, [positions, C / groups] x [C / groups, F / groups * kernel]; what falls outside
    the output or is cropped from it is multiplied too."""
    groups = product.number("group", 1)
    if len(w) != len(x) or len(x) < 3 or groups < 1 or x[1] != w[0] or x[1] % groups:
        raise product.refusal(
            f"must have weights of its input's channels, which `group` (={groups}) "
            f"divides; its input is {shown(x)}, its weights are {shown(w)}."
        )
    K = x[1] // groups
    rows = math.prod(x[2:-1])
    return [
        LayerWorkload(
            name=product.name,
            images=x[0],
            out_rows=rows,
            out_cols=x[-1],
            row_bytes=x[-1] * K,
            col_bytes=K,
            K=K,
            N=math.prod(w[1:]),
            repeats=groups,
        )
    ]


def _windows(
    product: Product, sizes: tuple[int, ...], kernel: tuple[int, ...], strides: list[int]
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


def _require_inferred(product: Product, found, sizes, kernel, strides, pads) -> None:
    """Refuses positions that are none, or others than the output's known shape has."""
    axes = len(sizes)
    output = product.shapes.get(next(iter(product.node.output), "")) or ()
    known = list(output[2:]) if len(output) == axes + 2 else [None] * axes
    if min(found) < 1 or any(k not in (None, f) for k, f in zip(known, found, strict=True)):
        raise product.refusal(
            f"puts the kernel {shown(kernel)} on {shown(sizes)} with `strides` {strides} "
            f"and `pads` {pads} at {shown(found)} positions; the file says {shown(known)}"
            f". Infer the shapes again, without those that are stored."
        )


def gemm(product: Product, a: tuple[int, ...], b: tuple[int, ...]) -> Works:
    """[M, K] x [K, N], each perhaps turned."""
    if len(a) != 2 or len(b) != 2:
        shapes = f"{shown(a)} and {shown(b)}"
        raise product.refusal(f"must multiply matrices; it has {shapes}.")
    a, b = (
        shape[::-1] if product.number(name, 0) else shape
        for shape, name in ((a, "transA"), (b, "transB"))
    )
    return multiplied(product, a, b)


def matmul(product: Product, a: tuple[int, ...], b: tuple[int, ...]) -> Works:
    """(..., M, K) x (..., K, N) as numpy multiplies: leading axes are broadcast."""
    a, b = ((1, *a) if len(a) == 1 else a), ((*b, 1) if len(b) == 1 else b)
    return multiplied(product, a, b)


def fused_matmul(product: Product, a: tuple[int, ...], b: tuple[int, ...]) -> Works:
    """The same with the last two axes turned on request."""
    if product.number("transBatchA", 0) or product.number("transBatchB", 0):
        raise product.refusal("has `transBatchA` or `transBatchB`, which are not known.")
    turn = lambda s: (*s[:-2], s[-1], s[-2])
    a = turn(a) if product.number("transA", 0) and len(a) > 1 else a
    b = turn(b) if product.number("transB", 0) and len(b) > 1 else b
    return matmul(product, a, b)


def packed_matmul(product: Product, a: tuple[int, ...]) -> Works:
    """Weights of few bits in blocks: their sizes are attributes `K` and `N`."""
    K, N = product.number("K", 0), product.number("N", 0)
    if K < 1 or N < 1:
        raise product.refusal(f"must have `K` (={K}) and `N` (={N}) of 1 or more.")
    return multiplied(product, a if len(a) > 1 else (1, *a), (K, N), constant=True)


def multiplied(
    product: Product,
    a: tuple[int, ...],
    b: tuple[int, ...],
    *,
    constant: bool | None = None,
) -> Works:
    """(..., M, K) x (..., K, N). Matrices that meet the same right factor are one product;
    the others are `repeats`. Weights on the left are put on the right, both turned."""
    places = FACTORS[product.node.op_type][1]
    weights = product.is_constant(places[1]) if constant is None else constant
    if not weights and product.is_constant(places[0]) and len(a) == 2:
        a, b, weights = (*b[:-2], b[-1], b[-2]), a[::-1], True
    axes = max(len(a), len(b)) - 2
    left, right = ((1,) * (axes + 2 - len(s)) + s[:-2] for s in (a, b))
    pairs = list(zip(left, right, strict=True))
    if any(m != n and 1 not in (m, n) for m, n in pairs):
        raise product.refusal(
            f"must multiply matrices of leading axes that fit; they are {shown(a)} and "
            f"{shown(b)}."
        )
    repeats = math.prod(right)
    folded = math.prod(m for m, n in pairs if n == 1)
    M, K, inner, N = folded * a[-2], a[-1], b[-2], b[-1]
    if inner != K:
        raise product.refusal(
            f"must multiply [M, K] x [K, N]; the left one has K={K}, the right one {inner}."
        )
    sets = None if weights else 0
    return [
        LayerWorkload(
            name=product.name, images=M, row_bytes=K, K=K, N=N, repeats=repeats,
            weight_sets=sets,
        )
    ]  # fmt: skip


def einsum(product: Product, *shapes: tuple[int, ...]) -> Works:
    """Two factors: letters of both and the output are repeats, of both alone K, of one and
    the output M or N. Without K, or with one row and one column, nothing is a matrix
    product, and there are no works."""
    given = product.text("equation", "").replace(" ", "")
    inputs, arrow, output = given.partition("->")
    parts = inputs.split(",")
    if len(parts) != 2 or len(shapes) != 2:
        raise product.refusal(
            f"has the `equation` (={printable(given)}) of {len(parts)} factors; two are "
            f"known: take it apart before export."
        )
    sizes: dict[str, int] = {}
    letters = [
        _lettered(product, part, shape, sizes)
        for part, shape in zip(parts, shapes, strict=True)
    ]
    both = [*letters[0], *letters[1]]
    dots = [name for name in dict.fromkeys(both) if len(name) > 1]
    if arrow:
        kept = set(output.replace("...", "")) | (set(dots) if "..." in output else set())
    else:
        kept = {name for name in both if both.count(name) == 1} | set(dots)
    unknown = [name for name in kept if name not in sizes]
    if unknown:
        raise product.refusal(f"puts out `{unknown[0]}`, which no factor has.")
    left, right = map(set, letters)
    size = lambda names: math.prod(sizes[name] for name in names)
    K, repeats = size(left & right - kept), size(left & right & kept)
    M, N = size(left & kept - right), size(right & kept - left)
    if K == 1 or (M == 1 and N == 1 and not left & right - kept):
        return []
    weights = [product.is_constant(place) for place in (0, 1)]
    if weights == [True, False]:
        M, N, weights = N, M, [False, True]
    sets = None if weights[1] else 0
    return [
        LayerWorkload(
            name=product.name, images=M, row_bytes=K, K=K, N=N, repeats=repeats,
            weight_sets=sets,
        )
    ]  # fmt: skip


def _lettered(
    product: Product, part: str, shape: tuple[int, ...], sizes: dict[str, int]
) -> list[str]:
    """Names of the axes of a factor; those of an ellipsis count from behind."""
    before, dots, after = part.partition("...")
    hidden = len(shape) - len(before) - len(after)
    names = [*before, *(f".{hidden - i}" for i in range(hidden) if dots), *after]
    if (
        len(names) != len(shape)
        or len(set(names)) != len(names)
        or "." in part.replace("...", "", 1)
    ):
        raise product.refusal(
            f"has the factor `{printable(part)}` for the shape {shown(shape)}; a letter "
            f"for each axis is known, none twice."
        )
    for name, size in zip(names, shape, strict=True):
        known = sizes.get(name, 1)
        if known != size and 1 not in (known, size):
            raise product.refusal(
                f"has the sizes {known} and {size} for `{name}`, which must be equal."
            )
        sizes[name] = max(known, size)
    return names


# By operator: how it becomes products, and which of its inputs are the factors.
FACTORS: Mapping[str, tuple[Callable[..., Works], tuple[int, ...]]] = {
    "Conv": (conv, (0, 1)),
    "ConvInteger": (conv, (0, 1)),
    "DeformConv": (conv, (0, 1)),
    "QLinearConv": (conv, (0, 3)),
    "FusedConv": (conv, (0, 1)),
    "ConvTranspose": (conv_transpose, (0, 1)),
    "Gemm": (gemm, (0, 1)),
    "FusedGemm": (gemm, (0, 1)),
    "QGemm": (gemm, (0, 3)),
    "MatMul": (matmul, (0, 1)),
    "MatMulInteger": (matmul, (0, 1)),
    "MatMulInteger16": (matmul, (0, 1)),
    "QLinearMatMul": (matmul, (0, 3)),
    "DynamicQuantizeMatMul": (matmul, (0, 1)),
    "MatMulIntegerToFloat": (matmul, (0, 1)),
    "FusedMatMul": (fused_matmul, (0, 1)),
    "TransposeMatMul": (fused_matmul, (0, 1)),
    "MatMulNBits": (packed_matmul, (0,)),
    "Einsum": (einsum, (0, 1)),
}
