"""An ONNX file from anyone, parsed and no more.

Nothing in it is executed, no other file is opened, and no tensor is unpacked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from accel.imports.outside import printable, read
from configs.errors import InputError

# Parsing needs memory in proportion to the bytes.
LIMIT_BYTES = 1 << 30
_KIND = "an ONNX file"
_MOST_NODES = 100_000


def load(path: Path) -> tuple[bytes, ModelProto]:
    """Bytes of a file and the model in them, whose nodes are in an order of execution.

    Raises:
      InputError: the file is no ONNX model, keeps data in other files, defines operators
        of its own, or has nodes whose inputs come from no earlier one.
    """
    content = read(path, LIMIT_BYTES, _KIND)
    try:
        model = ModelProto.FromString(content)
    except DecodeError:
        model = None
    if model is None or not model.graph.node:
        raise InputError(
            f"`{path}` (={len(content)} bytes) holds no ONNX model; give {_KIND} with a "
            f"graph of operators."
        )
    if model.functions or len(model.graph.node) > _MOST_NODES:
        found = (
            f"defines {len(model.functions)} operators of its own"
            if model.functions
            else f"has {len(model.graph.node)} nodes, more than {_MOST_NODES}"
        )
        raise InputError(f"`{path}` {found}; simplify it (`onnx.inliner`, `onnxsim`).")
    _require_text(path, model.graph)
    _require_self_contained(path, model)
    _require_order(path, model.graph)
    return content, model


def title(node: NodeProto) -> str:
    """The name of a node, else of what it puts out."""
    return printable(node.name) or printable(next(iter(node.output), "")) or node.op_type


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """Graphs among the attributes of a node, as If, Loop and Scan have."""
    for attribute in node.attribute:
        yield from (attribute.g,) if attribute.HasField("g") else ()
        yield from attribute.graphs


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """All constants of a graph, those in sparse ones and in attributes too."""
    yield from graph.initializer
    yield from _halves(graph.sparse_initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            sparse = (
                [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
            )
            yield from _halves((*sparse, *attribute.sparse_tensors))
        for inner in subgraphs(node):
            yield from _tensors(inner)


def _halves(sparse: Iterable[onnx.SparseTensorProto]) -> Iterator[TensorProto]:
    for tensor in sparse:
        yield tensor.values
        yield tensor.indices


def _require_text(path: Path, graph: GraphProto) -> None:
    """Refuses names that are not UTF-8, which a parser hands out as bytes."""
    values = (*graph.input, *graph.output, *graph.value_info, *_tensors(graph))
    nodes = ((n.name, n.op_type, n.domain, *n.input, *n.output) for n in graph.node)
    for names in ((value.name for value in values), *nodes):
        if not all(isinstance(name, str) for name in names):
            raise InputError(f"`{path}` is damaged: it has a name that is no UTF-8 text.")


def _require_self_contained(path: Path, model: ModelProto) -> None:
    for tensor in _tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise InputError(
                f"`{path}`: the constant `{printable(tensor.name)}` lies in another file, "
                f"which is not opened; save the model with its data in one file "
                f"(`onnx.save(onnx.load(FILE), NEW_FILE)`)."
            )


def _require_order(path: Path, graph: GraphProto) -> None:
    """Refuses nodes that read what no earlier node has put out, such as a cycle's."""
    known = {"", *(value.name for value in graph.input)}
    known |= {tensor.name for tensor in graph.initializer}
    known |= {tensor.values.name for tensor in graph.sparse_initializer}
    for node in graph.node:
        unknown = next((name for name in node.input if name not in known), None)
        if unknown is not None:
            raise InputError(
                f"`{path}`: the node `{title(node)}` ({printable(node.op_type)}) reads "
                f"`{printable(unknown)}`, which no node before it puts out; ONNX wants "
                f"nodes in order and without a cycle."
            )
        again = next((name for name in node.output if name and name in known), None)
        if again is not None:
            raise InputError(
                f"`{path}`: the node `{title(node)}` ({printable(node.op_type)}) puts out "
                f"`{printable(again)}`, which is there already; give it a name of its own."
            )
        known |= set(node.output)
