"""Any ONNX file whose shapes are known, as the matrix products that are in it.

Counted are convolutions of one to three axes (dilated, transposed, in groups, fused,
quantised), matrix products of every form, Einsum of two factors, LSTM, GRU, RNN, and
attention where it is one operator. Weights may come through DequantizeLinear or whatever
else; they may lie in another file. Other operators are listed; one that is not known and
reads a large constant is refused, since it may well multiply by it. Numbers count as one
byte each. No file tells simply what feeds a layer from memory, so no layer is `chained`.

A matrix product has a map for every row. Products of one that meet the same right factor
are one; the others are `repeats`. Its second factor is weights if it follows from constants
alone. A batch that is open in the file becomes what is asked for; a file with a map of two
axes among its inputs is about images, any other is a pass. Means that our own exports write
as a convolution with ones are pooling, which is not counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto, numpy_helper

from accel.workload import onnx_attention, onnx_file, onnx_known
from accel.workload.bounds import printable, require_countable, require_images
from accel.workload.onnx_infer import Inferred, infer
from accel.workload.onnx_products import FACTORS, Product, Works
from accel.workload.onnx_recurrent import GATES, recurrent
from accel.workload.workload import Workload
from configs.errors import InputError

# More numbers than a bias or a scale of most layers has: such a constant may be weights.
LARGE = 1024
_SHOWN = 8
_ATTENTION = {
    ("", "Attention"): onnx_attention.attention,
    (onnx_known.MICROSOFT, "Attention"): onnx_attention.projected,
    (onnx_known.MICROSOFT, "QAttention"): onnx_attention.projected,
    (onnx_known.MICROSOFT, "MultiHeadAttention"): onnx_attention.multi_head,
    (onnx_known.MICROSOFT, "GroupQueryAttention"): onnx_attention.grouped_query,
}
_DOMAINS = (*onnx_known.STANDARD, onnx_known.MICROSOFT)
_COUNTED = (*FACTORS, *GATES, "Attention", "MultiHeadAttention")


def load(path: Path, images: int = 1, sizes: Mapping[str, int] | None = None) -> Workload:
    """The products of a file; a batch that is left open in the file becomes `images`, an
    open size what `sizes` says of its name.

    Raises:
      InputError: the file is no model, or products in it cannot be counted: all of them
        are named.
    """
    require_images(images)
    model = onnx_file.structure(path)
    inferred = infer(path, model, images, sizes or {})
    reader = _Reader(path, model, inferred)
    for node in model.graph.node:
        reader.read(node)
    reader.refuse()
    return Workload(
        works=tuple(reader.works),
        inferences=inferred.inferences,
        unit="image" if inferred.pictures else "pass",
        operators=tuple(sorted(reader.counted.items())),
        not_counted=tuple(sorted(reader.others.items())),
        remarks=inferred.remarks,
    )


class _Reader:
    """What has been read of a graph so far: works, other operators, reasons to refuse."""

    def __init__(self, path: Path, model: ModelProto, inferred: Inferred) -> None:
        self.path, self.inferred = path, inferred
        self.tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self.constants = frozenset(_constants(model.graph))
        self.makers = {name: node for node in model.graph.node for name in node.output}
        self.works: Works = []
        self.counted: Counter[str] = Counter()
        self.others: Counter[str] = Counter()
        self.reasons: list[str] = []

    def read(self, node: NodeProto) -> None:
        """The works of a node, its place among the others, or a reason to refuse."""
        name = printable(onnx_known.title(node))
        try:
            found = self._works(node)
            if found:
                where = f"`{self.path}`: the node `{onnx_file.title(node)}` ({name})"
                self.works += [require_countable(work, where) for work in found]
                self.counted[name] += 1
            else:
                self._require_harmless(node, name)
                self.others[name] += 1
        except InputError as error:
            self.reasons.append(str(error))

    def refuse(self) -> None:
        """Says all reasons at once; also where there is nothing to count."""
        if len(self.reasons) == 1:
            raise InputError(self.reasons[0])
        if self.reasons:
            start = f"`{self.path}`: "
            said = [reason.removeprefix(start).rstrip(".") for reason in self.reasons]
            listed = "; ".join(f"({i}) {text}" for i, text in enumerate(said[:_SHOWN], 1))
            more = len(said) - _SHOWN
            rest = f"; and {more} more" if more > 0 else ""
            raise InputError(f"{start}{len(said)} nodes cannot be counted: {listed}{rest}.")
        if not self.works:
            there = ", ".join(sorted(self.others)[:10])
            raise InputError(
                f"`{self.path}` holds no product that is counted "
                f"({', '.join(_COUNTED)}); it has {there}."
            )

    def _works(self, node: NodeProto) -> Works:
        """Of a node that multiplies; none of any other."""
        if node.domain not in _DOMAINS:
            return []
        product = Product(
            self.path, node, self.inferred.shapes, self.constants, self._blame
        )
        domain = "" if node.domain in onnx_known.STANDARD else node.domain
        if (domain, node.op_type) in _ATTENTION:
            return _ATTENTION[domain, node.op_type](product)
        if node.op_type in GATES:
            return recurrent(product, *(product.shape(place) for place in range(3)))
        if node.op_type not in FACTORS:
            return []
        make, places = FACTORS[node.op_type]
        if all(product.has(p) and product.is_constant(p) for p in places):
            # Known before any input comes: done once, when the file is made ready.
            return []
        if node.op_type == "Einsum":
            places = tuple(range(len(node.input)))
        if self._is_pooling(node):
            return []
        return make(product, *(product.shape(place) for place in places))

    def _is_pooling(self, node: NodeProto) -> bool:
        """Whether a convolution adds up each channel alone: integers, all weights 1."""
        if node.op_type != "ConvInteger" or len(node.input) < 2:
            return False
        tensor = self.tensors.get(node.input[1])
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        if tensor is None or onnx_file.is_external(tensor) or len(tensor.dims) < 3:
            return False
        if tensor.dims[1] != 1 or tensor.dims[0] != groups:
            return False
        try:
            return bool((numpy_helper.to_array(tensor) == 1).all())
        except (ValueError, TypeError):
            return False

    def _require_harmless(self, node: NodeProto, name: str) -> None:
        """Refuses what may hold products that nobody counts."""
        inside = _product_inside(node)
        if inside:
            raise InputError(
                f"`{self.path}`: the node `{onnx_file.title(node)}` ({name}) runs a "
                f"{inside} that cannot be counted; unroll the loop or choose the branch "
                f"before export."
            )
        if onnx_known.is_standard(node) or (
            node.domain == onnx_known.MICROSOFT
            and node.op_type in onnx_known.WITHOUT_PRODUCT
        ):
            return
        for value in node.input:
            size = self._numbers(value) if value in self.constants else 0
            if size > LARGE:
                raise InputError(
                    f"`{self.path}`: the node `{onnx_file.title(node)}` ({name}) is an "
                    f"operator that is not known, and reads the constant "
                    f"`{printable(value)}` of {size} numbers: it may multiply by them. "
                    f"Export the model with standard operators."
                )

    def _numbers(self, value: str) -> int:
        """Of a constant; as many as it may be if its shape is not known."""
        shape = self.inferred.shapes.get(value)
        if shape is None or None in shape:
            return LARGE + 1
        return math.prod(shape)

    def _blame(self, value: str) -> str:
        """Why a value has no known shape, and the way out."""
        seen: set[str] = set()
        while value in self.makers and value not in seen:
            seen.add(value)
            node = self.makers[value]
            if not onnx_known.is_standard(node) and onnx_known.stand(node) is None:
                return (
                    f"nothing is known of what the node `{onnx_file.title(node)}` "
                    f"({printable(onnx_known.title(node))}) puts out. Store its shape in "
                    f"the file, or export the model with standard operators."
                )
            unknown = [n for n in node.input if n and self._is_open(n)]
            if not unknown:
                break
            value = unknown[0]
        if self.inferred.open_sizes:
            names = ", ".join(f"`{name}`" for name in self.inferred.open_sizes[:8])
            first = self.inferred.open_sizes[0]
            return f"the file leaves {names} open: give --size {first}=NUMBER."
        return (
            "fix the sizes of the model's inputs (`onnx.tools.update_model_dims`) and run "
            "`onnx.shape_inference.infer_shapes`."
        )

    def _is_open(self, value: str) -> bool:
        shape = self.inferred.shapes.get(value)
        return shape is None or any(size is None for size in shape)


def _constants(graph: GraphProto) -> set[str]:
    """Values that follow from what is stored in the file alone."""
    found = {tensor.name for tensor in graph.initializer}
    found |= {tensor.values.name for tensor in graph.sparse_initializer}
    for node in graph.node:
        drawn = node.op_type.startswith(("Random", "Bernoulli", "Multinomial"))
        branches = any(onnx_file.subgraphs(node))
        if not (drawn or branches) and all(n in found for n in node.input if n):
            found.update(node.output)
    return found


def _product_inside(node: NodeProto) -> str | None:
    """The operator of the first product in the graphs of a node, inner ones too."""
    for graph in onnx_file.subgraphs(node):
        for inner in graph.node:
            multiplies = inner.op_type in _COUNTED
            found = inner.op_type if multiplies else _product_inside(inner)
            if found:
                return found
    return None
