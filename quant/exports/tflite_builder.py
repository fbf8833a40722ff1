"""The objects of a .tflite file, written without TensorFlow.

A file is one flatbuffer: tensors, operators that name tensors by index, and buffers with
the bytes of the constants. The classes come from the schema that ai-edge-litert ships.
What the operators mean is in `tflite_layers.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from configs.errors import InputError

# File identifier of the schema's version 3, at bytes 4..8.
IDENTIFIER = b"TFL3"
# What the schema demands of the position of every constant.
ALIGNMENT = 16
# First version of each operator that takes the types used here.
_VERSIONS = {
    "QUANTIZE": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 12,
    "MAX_POOL_2D": 2,
    "GATHER": 2,
    "CONCATENATION": 2,
    "MINIMUM": 2,
    "MAXIMUM": 2,
    "DEQUANTIZE": 2,
    "PAD": 2,
    "PADV2": 2,
    "SLICE": 2,
}


def schema() -> ModuleType:
    """The generated classes; needs ai-edge-litert."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise InputError(
            f"`model.tflite` needs ai-edge-litert, which cannot be imported here ({error})"
            f"; install it, or leave the format out with --formats."
        ) from error
    return schema_py_generated


class Builder:
    """Collects tensors and operators of one graph, then writes the file."""

    def __init__(self, description: str) -> None:
        self._s = s = schema()
        self._codes: list[str] = []
        self._graph = s.SubGraphT(tensors=[], operators=[], name="main")
        self._model = s.ModelT(
            version=3,
            description=description,
            subgraphs=[self._graph],
            # Buffer 0 is the empty one that computed tensors share.
            buffers=[s.BufferT()],
        )

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        *,
        scale: Sequence[float] | np.ndarray | None = None,
        zero_point: int = 0,
    ) -> int:
        """A computed tensor of any batch: `shape` is without it. Returns its index."""
        index = self._add(name, (1, *shape), np.dtype(dtype), scale, zero_point, 0)
        self._graph.tensors[index].shapeSignature = _int32((-1, *shape))
        return index

    def constant(
        self,
        name: str,
        array: np.ndarray,
        *,
        scale: Sequence[float] | np.ndarray | None = None,
        zero_point: int = 0,
        axis: int = 0,
    ) -> int:
        """A tensor with its bytes in the file; `axis` is that of several scales."""
        index = self._add(name, array.shape, array.dtype, scale, zero_point, axis)
        stored = array.astype(array.dtype.newbyteorder("<")).tobytes()
        self._graph.tensors[index].buffer = len(self._model.buffers)
        buffer = _aligned(self._s)(data=np.frombuffer(stored, np.uint8))
        self._model.buffers.append(buffer)
        return index

    def _add(self, name, shape, dtype, scale, zero_point, axis) -> int:
        s, quantization = self._s, None
        if scale is not None:
            quantization = s.QuantizationParametersT(
                scale=np.asarray(scale, np.float32),
                zeroPoint=np.full(len(scale), zero_point, np.int64),
                quantizedDimension=axis,
            )
        kind = getattr(s.TensorType, dtype.name.upper())
        self._graph.tensors.append(
            s.TensorT(name=name, shape=_int32(shape), type=kind, quantization=quantization)
        )
        return len(self._graph.tensors) - 1

    def type_of(self, tensor: int) -> int:
        """Type of the values of a tensor, as the schema counts them."""
        return self._graph.tensors[tensor].type

    def operator(
        self, code: str, inputs: Sequence[int], output: int, kind: str = "", **options: Any
    ) -> int:
        """One operator with options of class `kind` + OptionsT; returns `output`."""
        if code not in self._codes:
            self._codes.append(code)
        operator = self._s.OperatorT(
            opcodeIndex=self._codes.index(code),
            inputs=_int32(inputs),
            outputs=_int32([output]),
        )
        if kind:
            name = f"{kind}Options"
            operator.builtinOptionsType = getattr(self._s.BuiltinOptions, name)
            operator.builtinOptions = getattr(self._s, f"{name}T")(**options)
        self._graph.operators.append(operator)
        return output

    def bytes(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The file."""
        s = self._s
        self._graph.inputs, self._graph.outputs = _int32(inputs), _int32(outputs)
        self._model.operatorCodes = [
            s.OperatorCodeT(
                builtinCode=getattr(s.BuiltinOperator, code),
                # What readers of the old 8-bit field see: these codes fit it.
                deprecatedBuiltinCode=getattr(s.BuiltinOperator, code),
                version=_VERSIONS.get(code, 1),
            )
            for code in self._codes
        ]
        return pack(self._model)


def pack(model: Any) -> bytes:
    """The flatbuffer of a ModelT."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def with_outputs(content: bytes, names: Sequence[str]) -> bytes:
    """The same file with other tensors, by name, as its outputs."""
    s = schema()
    model = s.ModelT.InitFromObj(s.Model.GetRootAs(content, 0))
    aligned = _aligned(s)
    model.buffers = [aligned(data=buffer.data) for buffer in model.buffers]
    graph = model.subgraphs[0]
    indices = {tensor.name.decode(): i for i, tensor in enumerate(graph.tensors)}
    graph.outputs = _int32([indices[name] for name in names])
    return pack(model)


def _int32(values: Sequence[int]) -> np.ndarray:
    return np.asarray(values, np.int32)


def _aligned(s: ModuleType) -> type:
    """BufferT whose bytes start at a multiple of ALIGNMENT, which the generated class
    forgets."""

    class Aligned(s.BufferT):
        def Pack(self, builder):
            data = None
            if self.data is not None:
                builder.StartVector(1, len(self.data), ALIGNMENT)
                builder.head -= len(self.data)
                end = builder.head + len(self.data)
                builder.Bytes[builder.head : end] = self.data.tobytes()
                data = builder.EndVector()
            s.BufferStart(builder)
            if data is not None:
                s.BufferAddData(builder, data)
            return s.BufferEnd(builder)

    return Aligned
