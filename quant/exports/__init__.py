"""Files that other runtimes execute to the same bit.

Each module has the same functions: `unsupported`, `encode`, `differences`, `open_session`
and `layer_outputs`, and says its `FILE`, its `LIMITS` and the `RUNTIME` that executes it.
"""

from __future__ import annotations

from types import ModuleType
from typing import Literal, get_args

from configs.program import OPERATORS, Input, State

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


def table() -> dict[str, dict[str, str]]:
    """For each operator and runtime when the runtime computes it to the bit: "always", a
    condition, or "never"; what is outside is refused by name.
    """
    forms = [module(name) for name in FORMATS]
    written = {form.RUNTIME: form.LIMITS for form in forms}
    # What no step computes: the images, and zeros.
    given = {kind.__name__: dict.fromkeys(written, "always") for kind in (Input, State)}
    steps = {
        kind.__name__: {
            runtime: (limits[kind].when or "always") if kind in limits else "never"
            for runtime, limits in written.items()
        }
        for kind in OPERATORS
        if kind not in (Input, State)
    }
    return {**given, **steps}
