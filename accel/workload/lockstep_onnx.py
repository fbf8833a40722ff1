"""An `IntNetwork` back from the model.onnx that `quant.exports.onnx_qdq` wrote.

The file names its layers, and its scales hold the multipliers:

    weight_scale[f] = multiplier[f] * 2^(sum - input - shift)        exact in float32

What is read is written again and compared with the file: only an exact match is accepted.
Whatever is computed from images is therefore what the first network computes, to the bit.
What the file does not hold, and no result depends on:

- of multiplier and shift only their quotient: the shift nearest to 16 is taken;
- the width of weights, and of outputs of a table or a cap: the narrowest that holds them;
- padding that adds nothing is "valid"; names of the classes are lost.

Only layers one after the other are read: where paths fork or join, or a state is kept,
the file does not say of which layers its operators come, and it is refused.

The activation of a table, and the scale of a table that ends the network, are found by
computing the tables again; another table is refused.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, helper

from accel.workload import onnx_file, onnx_tables
from configs.errors import InputError
from configs.network import Conv, Dense, Flatten, GlobalPool, Layer, Network, Pool
from configs.program import Pad
from configs.program import Pool as Pooling
from quant.exports import onnx_qdq
from quant.exports.onnx_graph import zero_point
from quant.network import (
    PIXELS,
    SHIFTS,
    Format,
    IntNetwork,
    Weighted,
    weight_high,
)

_LAYER = re.compile(r"(conv|dense|pool|globalpool|flatten)[1-9][0-9]*")
_OTHER = re.compile(r"(residual|concat|multiply|lstm|lstmcell)[1-9][0-9]*")
_USUAL_SHIFT = 16


def load(path: Path) -> IntNetwork:
    """The network that a model.onnx of Lockstep holds, weights included.

    Raises:
      InputError: the file is no ONNX model, Lockstep did not write it, or it was changed
        since; names the first difference.
    """
    content, model = onnx_file.load(path)
    try:
        network = _Reader(model).network(len(content))
        difference = onnx_qdq.differences(content, network)
    except InputError as error:
        difference = str(error)
    if difference:
        raise InputError(
            f"`{path}` must be a model.onnx as Lockstep writes it: "
            f"{difference.rstrip('.')}. Use a file of `python -m quant`; of other files "
            f"the shapes alone can be read."
        )
    return network


class _Reader:
    """The file by names, and the format of the tensor that was put out last."""

    def __init__(self, model: ModelProto) -> None:
        self.graph = model.graph
        self.nodes = {node.name: node for node in model.graph.node}
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.format = PIXELS

    def network(self, size_bytes: int) -> IntNetwork:
        for node in self.graph.node:
            owner = node.name.split(".")[0]
            if _OTHER.fullmatch(owner):
                raise InputError(
                    f"the layer `{owner}` forks, joins or keeps a state, and only layers "
                    f"one after the other are read back"
                )
        names = [n.name for n in self.graph.node if _LAYER.fullmatch(n.name)]
        layers, weighted = [], {}
        for at, name in enumerate(names):
            if name.startswith(("conv", "dense")):
                spec, weighted[name] = self._weighted(name, names[at + 1 :])
                self.format = weighted[name].output
            else:
                spec = self._plain(name)
            layers.append(spec)
        network = Network(input_shape=self._input_shape(), layers=tuple(layers))
        _require_small(network, size_bytes)
        return IntNetwork(network=network, weighted=weighted)

    def _input_shape(self) -> tuple[int, ...]:
        dims = [v.type.tensor_type.shape.dim for v in self.graph.input[:1]]
        return tuple(dim.dim_value for dim in dims[0][1:]) if dims else ()

    def _plain(self, name: str) -> Layer:
        """A layer without weights."""
        if name.startswith("flatten"):
            return Flatten()
        node = self._node(name)
        if name.startswith("globalpool"):
            return GlobalPool(kind="max" if node.op_type == "ReduceMax" else "mean")
        kind = "max" if node.op_type == "MaxPool" else "mean"
        node = node if kind == "max" else self._node(f"{name}.sums")
        window, stride = _pair(node, "kernel_shape"), _pair(node, "strides")
        padded = any(_integers(node, "pads")) or f"{name}.padded" in self.nodes
        padding = "zero" if padded else "valid"
        return Pool(kind=kind, window=window, stride=stride, padding=padding)

    def _weighted(self, name: str, later: list[str]) -> tuple[Layer, Weighted]:
        """A layer with weights, and its numbers."""
        convolution = name.startswith("conv")
        stored = self._array(f"{name}.weights", np.int8, 4 if convolution else 2)
        weights = stored.transpose(2, 3, 1, 0) if convolution else stored
        total = self._sum(name)
        table = self._table(name)
        if table is None:
            plain = "relu" if total.cap is None else "relu6"
            activation, output = "identity" if total.signed else plain, total
        else:
            activation, output = self._looked_up(name, table, total, later)
            table = (table.astype(np.int16) - zero_point(output)).astype(output.dtype)
        multiplier, shift = self._multiplier(name, total)
        widths = (b for b in range(2, 9) if np.abs(weights.astype(int)).max(initial=0)
                  <= weight_high(b))  # fmt: skip
        numbers = Weighted(
            weights=np.ascontiguousarray(weights),
            bias=self._array(f"{name}.bias", np.int32, 1),
            multiplier=multiplier,
            shift=shift,
            weight_bits=next(widths, 8),
            sum=total,
            table=table,
            output=output,
        )
        features = weights.shape[-1]
        if not convolution:
            return Dense(features=features, activation=activation), numbers
        return self._convolution(name, weights.shape, activation), numbers

    def _convolution(self, name: str, shape: tuple[int, ...], activation: str) -> Conv:
        node = self._node(f"{name}.real")
        padding = "zero" if any(_integers(node, "pads")) else "valid"
        padded = self.nodes.get(f"{name}.padded")
        if padded is not None:
            padding = "mean" if padded.op_type == "Where" else "edge"
        apart = _integers(node, "dilations")
        return Conv(
            features=shape[-1],
            kernel=shape[:2],
            stride=_pair(node, "strides"),
            groups=next((a.i for a in node.attribute if a.name == "group"), 1),
            dilation=_pair(node, "dilations") if apart else (1, 1),
            padding=padding,
            activation=activation,
        )

    def _sum(self, name: str) -> Format:
        """The format of the requantised sum."""
        # A table follows, or a Clip to fewer bits, or nothing.
        places = (f"{name}.sum", f"{name}.saturated", name)
        place = next((p for p in places if f"{p}.scale" in self.constants), name)
        signed = int(self._array(f"{place}.zero_point", np.uint8, 0)) != 0
        bits, cap = 8, None
        if f"{name}.high" in self.constants:
            high = int(self._array(f"{name}.high", np.uint8, 0)) - (128 if signed else 0)
            bits = max(2, high.bit_length() + signed) if high > 0 else 0
            whole = (1 << (bits - signed)) - 1
            cap = None if signed or high == whole else high
        exponent = self._exponent(f"{place}.scale")
        return Format(signed=signed, bits=bits, exponent=exponent, cap=cap)

    def _exponent(self, name: str) -> int:
        """The binary logarithm of a scale, a power of two."""
        scale = float(self._array(name, np.float32, 0))
        mantissa, exponent = math.frexp(scale)
        if mantissa != 0.5:
            raise InputError(f"`{name}` (={scale}) is no power of two")
        return exponent - 1

    def _multiplier(self, name: str, total: Format) -> tuple[np.ndarray, int]:
        """Whole multipliers in 1..65535, and the shift that makes them so."""
        scales = self._array(f"{name}.weights.scale", np.float32, 1).astype(np.float64)
        if not np.all(np.isfinite(scales) & (scales > 0)):
            raise InputError(f"`{name}.weights.scale` holds scales that are not positive")
        for shift in sorted(SHIFTS, key=lambda s: abs(s - _USUAL_SHIFT)):
            exponent = self.format.exponent + shift - total.exponent
            multiplier = np.ldexp(scales, exponent)
            if np.all((multiplier == np.rint(multiplier)) & (multiplier <= 65535)):
                return multiplier.astype(np.int32), shift
        raise InputError(
            f"`{name}.weights.scale` is no whole multiplier in 1..65535 with one shift in "
            f"{SHIFTS[0]}..{SHIFTS[-1]} for all features"
        )

    def _table(self, name: str) -> np.ndarray | None:
        """Entries as the network has them; None without a table."""
        if f"{name}.table" not in self.constants:
            return None
        entries = self._array(f"{name}.table", np.uint8, 1)
        if len(entries) != 256:
            raise InputError(f"`{name}.table` has {len(entries)} entries, not 256")
        return entries

    def _looked_up(
        self, name: str, table: np.ndarray, total: Format, later: list[str]
    ) -> tuple[str, Format]:
        """The activation of a table and the format of what it puts out.

        The next layer with weights says how its input stands for real numbers. Behind the
        last one only the sign is left.
        """
        reader = next((n for n in later if f"{n}.input.scale" in self.constants), None)
        if reader is None:
            exponent, signed = None, "logits.zero_point" in self.constants
        else:
            exponent = self._exponent(f"{reader}.input.scale")
            signed = int(self._array(f"{reader}.input.zero_point", np.uint8, 0)) != 0
        return onnx_tables.recognise(name, table, total, signed, exponent)

    def _node(self, name: str) -> NodeProto:
        if name not in self.nodes:
            raise InputError(f"the operator `{name}` is missing")
        return self.nodes[name]

    def _array(self, name: str, dtype: type, axes: int) -> np.ndarray:
        """A constant as it is stored, of a type and a number of axes."""
        tensor = self.constants.get(name)
        if tensor is None:
            raise InputError(f"`{name}` is missing")
        kind = np.dtype(dtype).newbyteorder("<")
        shape = tuple(tensor.dims)
        fits = tensor.data_type == helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        if not fits or len(shape) != axes or min(shape, default=1) < 1:
            raise InputError(f"`{name}` has another type or shape")
        if len(tensor.raw_data) != math.prod(shape) * kind.itemsize:
            raise InputError(f"`{name}` has {len(tensor.raw_data)} bytes for {shape}")
        array = np.frombuffer(tensor.raw_data, kind).reshape(shape)
        return array.astype(dtype)


def _integers(node: NodeProto, name: str) -> tuple[int, ...]:
    return next((tuple(a.ints) for a in node.attribute if a.name == name), ())


def _pair(node: NodeProto, name: str) -> tuple[int, int]:
    found = _integers(node, name)
    if len(found) != 2:
        raise InputError(f"the operator `{node.name}` has no two numbers in `{name}`")
    return found


def _require_small(network: Network, size_bytes: int) -> None:
    """Refuses constants that the file would hold and is too short for."""
    for step in network.program.steps:
        pad, pool, count = step.find(Pad), step.find(Pooling), 0
        if pad is not None and pad.kind == "mean":
            count = math.prod(pad.shape[:2])
        # A pooling of the whole map is a sum over axes, and holds nothing.
        if pool is not None and pool.kind == "mean" and pool.shape[:2] != (1, 1):
            count = math.prod((*pool.window, pool.shape[2]))
        if count > size_bytes:
            raise InputError(f"`{step.name}` needs {count} bytes of constants")
