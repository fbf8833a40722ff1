"""The integer network as a .tflite file, and the file in LiteRT.

Bit-exact with LiteRT's default kernels, which hand everything that rounds to XNNPACK; its
other kernels round halves away from zero. `interpreter` refuses a LiteRT that does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from configs.errors import InputError
from quant.exports.byte_values import is_wide
from quant.exports.tflite_builder import with_outputs
from quant.exports.tflite_compare import differences
from quant.exports.tflite_layers import (
    LIMITS,
    ROUNDING,
    encode,
    tensor_name,
    unsupported,
)
from quant.exports.tflite_values import from_stored
from quant.network import IntNetwork

__all__ = [
    "FILE",
    "LIMITS",
    "RUNTIME",
    "differences",
    "encode",
    "interpreter",
    "layer_outputs",
    "open_session",
    "unsupported",
]

FILE = "model.tflite"
RUNTIME = "litert"
# Images a call: bounds the memory of the activations.
_CHUNK = 200


def interpreter(content: bytes, threads: int = 1) -> Any:
    """A LiteRT interpreter of the file, allocated for one image."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise InputError(
            f"`litert` needs ai-edge-litert, which cannot be imported here ({error}); "
            f"install it, or leave tflite out with --formats."
        ) from error
    loaded = Interpreter(model_content=content, num_threads=threads)
    loaded.allocate_tensors()
    for name in not_delegated(loaded):
        raise InputError(
            f"`litert` must run `{name}` in XNNPACK to round half to even, and this build "
            f"of ai-edge-litert does not; leave tflite out with --formats."
        )
    return loaded


def not_delegated(loaded: Any) -> list[str]:
    """Names of the weights of rounding operators that XNNPACK has not taken over."""
    operators = loaded._get_ops_details()
    taken = {
        index
        for operator in operators
        if operator["op_name"] == "DELEGATE"
        for index in operator["inputs"]
    }
    names = {detail["index"]: detail["name"] for detail in loaded.get_tensor_details()}
    weights = [op["inputs"][1] for op in operators if op["op_name"] in ROUNDING]
    return [names[index] for index in weights if index not in taken]


def open_session(
    content: bytes, *, threads: int = 1
) -> Callable[[UInt8[np.ndarray, "n ..."]], Integer[np.ndarray, "n ..."]]:
    """The file as a function: any number of uint8 images to integer outputs."""
    loaded = interpreter(content, threads)
    detail = loaded.get_output_details()[0]
    shape, dtype = detail["shape_signature"][1:], detail["dtype"]

    def run(images: UInt8[np.ndarray, "n ..."]) -> Integer[np.ndarray, "n ..."]:
        outputs = [results[0] for results in _chunks(loaded, images)]
        return np.concatenate([np.empty((0, *shape), dtype), *outputs])

    return run


def layer_outputs(
    content: bytes, network: IntNetwork, images: UInt8[np.ndarray, "n ..."]
) -> dict[str, Integer[np.ndarray, "n ..."]]:
    """Output of every layer by name, as the file computes it."""
    layers = list(network.walk())
    names = [tensor_name(layer, network) for layer in layers]
    loaded = interpreter(with_outputs(content, names))
    parts = list(_chunks(loaded, images))
    outputs = {}
    for index, layer in enumerate(layers):
        dtype = np.float32 if is_wide(layer.output) else np.int8
        empty = np.empty((0, *layer.shape), dtype)
        stored = np.concatenate([empty, *(part[index] for part in parts)])
        outputs[layer.name] = from_stored(stored, layer.output)
    return outputs


def _chunks(loaded: Any, images: np.ndarray) -> Iterator[list[np.ndarray]]:
    """All outputs in their order, for some images at a time."""
    image = loaded.get_input_details()[0]["index"]
    outputs = [detail["index"] for detail in loaded.get_output_details()]
    for first in range(0, len(images), _CHUNK):
        chunk = images[first : first + _CHUNK]
        if tuple(loaded.get_input_details()[0]["shape"]) != chunk.shape:
            loaded.resize_tensor_input(image, chunk.shape, strict=True)
            loaded.allocate_tensors()
        loaded.set_tensor(image, chunk)
        loaded.invoke()
        yield [loaded.get_tensor(index) for index in outputs]
