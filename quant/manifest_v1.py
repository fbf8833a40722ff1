"""Manifests of version 1: layers in a row, each with at most one product.

They are read as programs and never written again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from configs import stored
from quant.manifest import (
    FORMAT,
    ROUNDING,
    Skeleton,
    described_tensors,
    network_and_classes,
    read_format,
    require_fields,
    weighted_settings,
)
from quant.network import PIXELS, IntNetwork, IntStep, rescaling
from quant.untrusted import wrong

VERSION = 1
# Fields of a manifest that follow from the network.
DERIVED = (
    "classes", "format", "input", "layers", "network", "output", "rounding", "tensors",
    "version",
)  # fmt: skip
_LAYER_FIELDS = (
    "input",
    "input_shape",
    "kind",
    "name",
    "output",
    "output_shape",
    "weighted",
)
_WEIGHTED_FIELDS = ("accumulator_bound", "shift", "sum", "tensors", "weight_bits")


def describe(network: IntNetwork, first_bytes: Mapping[str, int]) -> dict[str, Any]:
    """All that a manifest of version 1 says of a network whose steps are its layers.

    Args:
      first_bytes: where each tensor starts in model.safetensors.
    """
    layers = zip(network.network.walk(), network.walk(), strict=True)
    return {
        "format": FORMAT,
        "version": VERSION,
        "rounding": ROUNDING,
        "network": stored.to_dict(network.network),
        "classes": list(network.classes),
        "input": stored.to_dict(PIXELS),
        "output": stored.to_dict(network.output),
        "layers": [_layer(info.kind, layer) for info, layer in layers],
        "tensors": described_tensors(network, first_bytes),
    }


def _layer(kind: str, layer: IntStep) -> dict[str, Any]:
    w = layer.weighted
    return {
        "name": layer.name,
        "kind": kind,
        "input_shape": list(layer.input_shape),
        "output_shape": list(layer.shape),
        "input": stored.to_dict(layer.input),
        "output": stored.to_dict(layer.output),
        "weighted": w and {
            "accumulator_bound": layer.accumulator_bound(),
            "shift": w.shift,
            "sum": stored.to_dict(w.sum),
            "tensors": [f"{layer.name}.{name}" for name in w.tensors()],
            "weight_bits": w.weight_bits,
        },
    }  # fmt: skip


def skeleton(manifest: Mapping[str, Any], where: str) -> Skeleton:
    """As of version 2 (`quant.manifest`), for a network of layers in a row."""
    network, classes = network_and_classes(manifest, where)
    layers, infos = manifest["layers"], list(network.walk())
    steps = [step.name for step in network.program.steps]
    if rescaling(network.program) or steps != [info.name for info in infos]:
        raise wrong(f"{where}.version", VERSION, "2 for a network of branches or states")
    if not isinstance(layers, list) or len(layers) != len(infos):
        raise wrong(f"{where}.layers", layers, f"a list of {len(infos)} layers")
    weighted = {}
    for index, (info, layer) in enumerate(zip(infos, layers, strict=True)):
        at = f"{where}.layers[{index}]"
        require_fields(layer, _LAYER_FIELDS, at)
        if info.weights:
            inside, output = f"{at}.weighted", layer["output"]
            found = weighted_settings(layer["weighted"], inside, _WEIGHTED_FIELDS)
            weighted[info.name] = {**found, "output": read_format(output, f"{at}.output")}
    return Skeleton(network=network, classes=classes, weighted=weighted, activated={})
