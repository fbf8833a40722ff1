"""Files that other runtimes execute to the same bit.

Each module has the same functions: `unsupported`, `encode`, `differences`, `open_session`
and `layer_outputs`, and says its `FILE` and the `RUNTIME` that executes it.
"""

from __future__ import annotations

from types import ModuleType
from typing import Literal, get_args

FormatName = Literal["onnx", "tflite", "stablehlo"]
FORMATS: tuple[FormatName, ...] = get_args(FormatName)


def module(name: str) -> ModuleType:
    """The module of a format, imported when it is needed: its libraries are large."""
    if name == "onnx":
        from quant.exports import onnx_qdq as found
    elif name == "tflite":
        from quant.exports import tflite as found
    elif name == "stablehlo":
        from quant.exports import stablehlo as found
    else:
        raise ValueError(f"`name` (={name!r}) must be one of {', '.join(FORMATS)}")
    return found
