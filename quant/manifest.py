"""The manifest: what an integer network is, for a reader without Python.

`describe` writes everything that follows from the network; `skeleton` reads back the
little that does not follow from its spec. A stored manifest is right if `describe` of
the network it leads to gives the same again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from configs import stored
from configs.checks import brief
from configs.errors import InputError
from configs.network import Network
from quant.network import (
    DIRECT_ACTIVATIONS,
    PIXELS,
    Format,
    IntLayer,
    IntNetwork,
    Weighted,
)
from quant.untrusted import refusal, wrong
from train.unsupported import refuse_unsupported

FORMAT = "lockstep-int8"
VERSION = 1
ROUNDING = "half to even"

_FORMAT_FIELDS = ("bits", "exponent", "signed")
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


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """Type and shape that a tensor must have."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class Skeleton:
    """An integer network without its arrays."""

    network: Network
    classes: tuple[str, ...]
    # By name, for each layer with weights: the fields of `Weighted` that are no arrays.
    settings: Mapping[str, Mapping[str, Any]]

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor that the spec asks for, by `<layer>.<array>`."""
        int8, int32 = np.dtype(np.int8), np.dtype(np.int32)
        expected = {}
        for info in self.network.walk():
            if not info.weights:
                continue
            spec, features = info.spec, (info.spec.features,)
            shape = (*getattr(spec, "kernel", ()), info.input_shape[-1], *features)
            arrays = {
                "weights": Tensor(dtype=int8, shape=shape),
                "bias": Tensor(dtype=int32, shape=features),
                "multiplier": Tensor(dtype=int32, shape=features),
            }
            if spec.activation not in DIRECT_ACTIVATIONS:
                output = self.settings[info.name]["output"]
                arrays["table"] = Tensor(dtype=output.dtype, shape=(256,))
            expected |= {f"{info.name}.{name}": one for name, one in arrays.items()}
        return expected

    def filled(self, arrays: Mapping[str, np.ndarray]) -> IntNetwork:
        """The network with its arrays; it checks their values itself."""
        weighted = {}
        for layer, settings in self.settings.items():
            named = {
                name: arrays.get(f"{layer}.{name}")
                for name in ("weights", "bias", "multiplier", "table")
            }
            weighted[layer] = Weighted(**named, **settings)
        return IntNetwork(network=self.network, weighted=weighted, classes=self.classes)


def tensors(network: IntNetwork) -> dict[str, np.ndarray]:
    """Every array of a network by `<layer>.<array>`, in C order."""
    return {
        f"{layer.name}.{name}": np.ascontiguousarray(array)
        for layer in network.walk()
        if layer.weighted
        for name, array in layer.weighted.tensors().items()
    }


def describe(network: IntNetwork, first_bytes: Mapping[str, int]) -> dict[str, Any]:
    """All that a manifest says of a network.

    Args:
      first_bytes: where each tensor starts in model.safetensors.
    """
    layers = list(network.walk())
    return {
        "format": FORMAT,
        "version": VERSION,
        "rounding": ROUNDING,
        "network": stored.to_dict(network.network),
        "classes": list(network.classes),
        "input": stored.to_dict(PIXELS),
        "output": stored.to_dict(layers[-1].output),
        "layers": [_layer(layer) for layer in layers],
        "tensors": {
            name: _tensor(array, first_bytes[name])
            for name, array in tensors(network).items()
        },
    }


def _layer(layer: IntLayer) -> dict[str, Any]:
    info, w = layer.info, layer.weighted
    return {
        "name": info.name,
        "kind": info.kind,
        "input_shape": list(info.input_shape),
        "output_shape": list(info.output_shape),
        "input": stored.to_dict(layer.input),
        "output": stored.to_dict(layer.output),
        "weighted": w and {
            "accumulator_bound": layer.accumulator_bound(),
            "shift": w.shift,
            "sum": stored.to_dict(w.sum),
            "tensors": [f"{info.name}.{name}" for name in w.tensors()],
            "weight_bits": w.weight_bits,
        },
    }  # fmt: skip


def _tensor(array: np.ndarray, first_byte: int) -> dict[str, Any]:
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "first_byte": first_byte,
        "bytes": array.nbytes,
        "sha256": hashlib.sha256(array).hexdigest(),
    }


def skeleton(manifest: Mapping[str, Any], where: str) -> Skeleton:
    """The spec, the classes and the formats that a manifest names.

    Raises:
      InputError: one of them cannot be; named with its path.
    """
    try:
        network = stored.network_from_dict(manifest["network"])
        refuse_unsupported(network, "quantised")
    except InputError as error:
        raise refusal(where, f"cannot be used: {error}") from None
    classes = manifest["classes"]
    if not (isinstance(classes, list) and all(isinstance(c, str) for c in classes)):
        raise wrong(f"{where}.classes", classes, "a list of texts")
    layers, infos = manifest["layers"], list(network.walk())
    if not isinstance(layers, list) or len(layers) != len(infos):
        raise wrong(f"{where}.layers", layers, f"a list of {len(infos)} layers")
    settings = {}
    for index, (info, layer) in enumerate(zip(infos, layers, strict=True)):
        at = f"{where}.layers[{index}]"
        require_fields(layer, _LAYER_FIELDS, at)
        if info.weights:
            settings[info.name] = _settings(layer, at)
    return Skeleton(network=network, classes=tuple(classes), settings=settings)


def _settings(layer: Mapping[str, Any], where: str) -> dict[str, Any]:
    weighted = layer["weighted"]
    require_fields(weighted, _WEIGHTED_FIELDS, f"{where}.weighted")
    for name in ("shift", "weight_bits"):
        if type(weighted[name]) is not int:
            raise wrong(f"{where}.weighted.{name}", weighted[name], "a whole number")
    return {
        "shift": weighted["shift"],
        "weight_bits": weighted["weight_bits"],
        "sum": _format(weighted["sum"], f"{where}.weighted.sum"),
        "output": _format(layer["output"], f"{where}.output"),
    }


def _format(value: Any, where: str) -> Format:
    require_fields(value, _FORMAT_FIELDS, where)
    try:
        return Format(**value)
    except InputError as error:
        raise refusal(where, f"cannot be used: {error}") from None


def require_fields(value: Any, names: tuple[str, ...], where: str) -> None:
    """Refuses what is no object with exactly these fields."""
    if not isinstance(value, dict):
        raise wrong(where, value, f"an object with {', '.join(names)}")
    for name in sorted(set(names) - value.keys()):
        raise refusal(f"{where}.{name}", "is missing")
    for name in sorted(value.keys() - set(names)):
        raise wrong(f"{where}.{name}", value[name], "left out: no such field is known")


def require_equal(found: Any, expected: Any, where: str) -> None:
    """Refuses the first leaf that differs, in value or in type."""
    if type(found) is not type(expected):
        raise wrong(where, found, brief(expected))
    if isinstance(expected, dict):
        require_fields(found, tuple(expected), where)
        for name in sorted(expected):
            require_equal(found[name], expected[name], f"{where}.{name}")
    elif isinstance(expected, list) and len(found) == len(expected):
        for index, (one, other) in enumerate(zip(found, expected, strict=True)):
            require_equal(one, other, f"{where}[{index}]")
    elif found != expected:
        raise wrong(where, found, brief(expected))
