"""An ONNX file from anyone, parsed and no more.

Nothing in it is executed, no other file is opened, and no tensor is unpacked. Functions
that a file defines are put in the place of their calls, and nodes in an order of execution.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, inliner

from accel.workload.bounds import printable, read
from configs.checks import brief
from configs.errors import InputError

# Parsing needs memory in proportion to the bytes.
LIMIT_BYTES = 1 << 30
_KIND = "an ONNX file"
_MOST_NODES = 100_000


def load(path: Path) -> tuple[bytes, ModelProto]:
    """Bytes of a file and the model in them, with all its data.

    Raises:
      InputError: as `structure`, or the file keeps data in other files.
    """
    content, model = _parsed(path)
    _require_self_contained(path, model)
    return content, _ordered(path, model)


def structure(path: Path) -> ModelProto:
    """The model in a file, whose nodes are in an order of execution; its constants may lie
    in other files, which are not opened.

    Raises:
      InputError: the file is no ONNX model, or has nodes whose inputs come from no other.
    """
    _, model = _parsed(path)
    return _ordered(path, model)


def is_external(tensor: TensorProto) -> bool:
    """Whether the data of a constant lies in another file."""
    return tensor.data_location == TensorProto.EXTERNAL or bool(tensor.external_data)


def _parsed(path: Path) -> tuple[bytes, ModelProto]:
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
    _require_text(path, model.graph)
    _require_size(path, model)
    return content, _inlined(path, model) if model.functions else model


def _require_size(path: Path, model: ModelProto) -> None:
    """Refuses graphs that are too large once all functions stand in their places."""
    sizes: dict[tuple[str, str], int] = {}

    def size(nodes: Iterable[NodeProto], within: tuple[tuple[str, str], ...]) -> int:
        found = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in within:
                raise InputError(
                    f"`{path}`: the function `{printable(node.op_type)}` calls itself; "
                    f"export the model again."
                )
            if key in functions and key not in sizes:
                sizes[key] = size(functions[key].node, (*within, key))
            found += sizes.get(key, 1)
            found += sum(size(inner.node, within) for inner in subgraphs(node))
        return found

    functions = {(one.domain, one.name): one for one in model.functions}
    try:
        nodes = size(model.graph.node, ())
    except RecursionError:
        nodes = _MOST_NODES + 1
    if nodes > _MOST_NODES:
        raise InputError(
            f"`{path}` has {nodes} nodes, more than {_MOST_NODES}; simplify it (`onnxsim`)."
        )


def _inlined(path: Path, model: ModelProto) -> ModelProto:
    """The model without functions of its own."""
    try:
        return inliner.inline_local_functions(model)
    except (RuntimeError, ValueError, TypeError) as error:
        raise InputError(
            f"`{path}` defines functions that cannot be put in the place of their calls "
            f"({brief(str(error))}); export it without functions."
        ) from None


def _ordered(path: Path, model: ModelProto) -> ModelProto:
    """The model with its nodes in an order of execution; in order they stay as they are."""
    graph = model.graph
    made = {name for node in graph.node for name in node.output}
    known = {name for name in _given(graph) if name not in made}
    waiting, nodes, done = list(graph.node), [], set()
    needs = [_reads(node) & made for node in waiting]
    readers: dict[str, list[int]] = {}
    for at, names in enumerate(needs):
        for name in names:
            readers.setdefault(name, []).append(at)
    left = [len(names) for names in needs]
    ready = [at for at, count in enumerate(left) if not count]
    heapq.heapify(ready)
    while ready:
        at = heapq.heappop(ready)
        nodes.append(waiting[at])
        done.add(at)
        for name in set(waiting[at].output):
            for reader in readers.get(name, ()):
                left[reader] -= 1
                if not left[reader]:
                    heapq.heappush(ready, reader)
    # What waits for itself comes last and is named there.
    nodes += [node for at, node in enumerate(waiting) if at not in done]
    if nodes != waiting:
        ordered = ModelProto()
        ordered.CopyFrom(model)
        del ordered.graph.node[:]
        ordered.graph.node.extend(nodes)
        model = ordered
    _require_order(path, model.graph, known)
    return model


def _given(graph: GraphProto) -> Iterator[str]:
    yield from (value.name for value in graph.input)
    yield from (tensor.name for tensor in graph.initializer)
    yield from (tensor.values.name for tensor in graph.sparse_initializer)


def _reads(node: NodeProto) -> set[str]:
    """Values that a node needs, those of its branches too."""
    names = set(node.input)
    for inner in subgraphs(node):
        own = set(_given(inner)) | {n for one in inner.node for n in one.output}
        read = set().union(*(_reads(one) for one in inner.node))
        names |= read - own
    return names - {""}


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
        if is_external(tensor):
            raise InputError(
                f"`{path}`: the constant `{printable(tensor.name)}` lies in another file, "
                f"which is not opened; save the model with its data in one file "
                f"(`onnx.save(onnx.load(FILE), NEW_FILE)`)."
            )


def _require_order(path: Path, graph: GraphProto, known: set[str]) -> None:
    """Refuses nodes that read what no node puts out, or what waits for themselves."""
    known = {"", *known}
    for node in graph.node:
        unknown = next((name for name in node.input if name not in known), None)
        if unknown is not None:
            raise InputError(
                f"`{path}`: the node `{title(node)}` ({printable(node.op_type)}) reads "
                f"`{printable(unknown)}`, which no node before it puts out; take out what "
                f"reads itself, and add what is missing."
            )
        again = next((name for name in node.output if name and name in known), None)
        if again is not None:
            raise InputError(
                f"`{path}`: the node `{title(node)}` ({printable(node.op_type)}) puts out "
                f"`{printable(again)}`, which is there already; give it a name of its own."
            )
        known |= set(node.output)
