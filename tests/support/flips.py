"""Single bits and bytes of a small quantised network's files, flipped on purpose."""

import random

import numpy as np
import onnx
import quantised

from configs.errors import InputError
from quant import files, golden
from quant.exports import onnx_qdq, tflite
from quant.network import IntNetwork

# Activations of the networks: the second one has a table.
KINDS = ("relu", "tanh")
# What may be changed in model.onnx unnoticed: who wrote it. No runtime reads that.
ONNX_FREE = ("producer_name", "producer_version")


class Case:
    """A network, its exports in memory, and its folder."""

    def __init__(self, network: IntNetwork, folder):
        self.network = network
        self.contents = quantised.contents(network)
        self.golden = {n: c for n, c in self.contents.items() if n.startswith("golden/")}
        self.folder = quantised.write(network, folder, self.contents)
        self.manifest = files.load(self.folder).manifest


def flipped(content: bytes, byte: int, bit: int) -> bytes:
    changed = bytearray(content)
    changed[byte] ^= 1 << bit
    return bytes(changed)


def every_bit(content: bytes):
    for byte in range(len(content)):
        for bit in range(8):
            yield byte, bit


def a_bit_of_every_byte(content: bytes, step: int = 1):
    draw = random.Random(0)
    for byte in range(0, len(content), step):
        yield byte, draw.randrange(8)


def caught(folder, case: Case) -> bool:
    """Whether a folder is refused, or its files or exports speak against its network."""
    try:
        held = files.load(folder)
    except InputError:
        return True
    return bool(
        files.verify_files(folder, held.manifest)
        or onnx_qdq.differences(case.contents["model.onnx"], held.network)
        or tflite.differences(case.contents["model.tflite"], held.network)
        or golden.differences(case.golden, held.network)
    )


def without_writer(content: bytes) -> bytes:
    """All that an ONNX file holds beside ONNX_FREE."""
    model = onnx.ModelProto.FromString(content)
    for name in ONNX_FREE:
        model.ClearField(name)
    return model.SerializeToString(deterministic=True)


def everything(node) -> object:
    """All that a decoded .tflite file holds, as plain values; floats as their bits."""
    if isinstance(node, np.ndarray):
        return node.dtype.str, node.tobytes()
    if isinstance(node, list):
        return [everything(item) for item in node]
    if hasattr(node, "__dict__"):
        return {name: everything(value) for name, value in vars(node).items()}
    return repr(node)


def decoded(content: bytes) -> object:
    from ai_edge_litert import schema_py_generated as schema

    return everything(schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0)))


def constants(content: bytes) -> set[int]:
    """Where the bytes of weights, biases, tables and scales stand in a .tflite file."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    # Tables and the places of their vectors in them, by the schema.
    vectors = [(model.Buffers(i), 4, 1) for i in range(model.BuffersLength())]
    for index in range(graph.TensorsLength()):
        scales = graph.Tensors(index).Quantization()
        if scales is not None:
            vectors += [(scales, 8, 4), (scales, 10, 8)]
    places = set()
    for holder, field, size in vectors:
        table = holder._tab
        if table.Offset(field):
            at, count = (
                table.Vector(table.Offset(field)),
                table.VectorLen(table.Offset(field)),
            )
            places |= set(range(at, at + size * count))
    return places
