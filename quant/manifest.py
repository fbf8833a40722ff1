"""The manifest: what an integer network is, for a reader without Python.

`describe` writes everything that follows from the network: every node of its program with
operator, inputs, shape, attributes and format, and the numbers that nodes hold, by owner.
`skeleton` reads back the little that does not follow from the spec. A stored manifest is
right if `describe` of the network it leads to gives the same again.

Version 1 (`manifest_v1.py`) described layers in a row; it is still read.
"""

from __future__ import annotations

import dataclasses
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
from configs.program import WIDE, Activate, Node
from quant.network import (
    DIRECT_ACTIVATIONS,
    PIXELS,
    Activated,
    Format,
    IntNetwork,
    Weighted,
    require_deployable,
    rescaling,
)
from quant.untrusted import refusal, wrong

FORMAT = "lockstep-int8"
VERSION = 2
ROUNDING = "half to even"
# Fields of a manifest that follow from the network.
DERIVED = (
    "classes", "format", "input", "network", "nodes", "numbers", "output", "rounding",
    "tensors", "version",
)  # fmt: skip

_FORMAT_FIELDS = ("bits", "exponent", "signed")
_ACTIVATED_FIELDS = ("output", "sum", "tensors")
_WEIGHTED_FIELDS = (*_ACTIVATED_FIELDS, "accumulator_bound", "shift", "weight_bits")
_NODE_FIELDS = tuple(field.name for field in dataclasses.fields(Node))


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
    # By owner: the fields of `Weighted` and of `Activated` that are no arrays.
    weighted: Mapping[str, Mapping[str, Any]]
    activated: Mapping[str, Mapping[str, Any]]

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor that the spec asks for, by `<owner>.<array>`."""
        int8, int32 = np.dtype(np.int8), np.dtype(np.int32)
        program, expected = self.network.program, {}
        for owner, node in program.weighted.items():
            features = (node.features,)
            (activate,) = program.readers[node.name]
            arrays = {
                "weights": Tensor(dtype=int8, shape=node.weight_shape),
                "bias": Tensor(dtype=int32, shape=features),
                "multiplier": Tensor(dtype=int32, shape=features),
                **_table(activate, self.weighted[owner]),
            }
            expected |= {f"{owner}.{name}": one for name, one in arrays.items()}
        for owner, node in rescaling(program).items():
            arrays = _table(node, self.activated[owner])
            expected |= {f"{owner}.{name}": one for name, one in arrays.items()}
        return expected

    def filled(self, arrays: Mapping[str, np.ndarray]) -> IntNetwork:
        """The network with its arrays; it checks their values itself."""
        weighted = {
            owner: Weighted(
                **{n: arrays[f"{owner}.{n}"] for n in ("weights", "bias", "multiplier")},
                table=arrays.get(f"{owner}.table"),
                **settings,
            )
            for owner, settings in self.weighted.items()
        }
        activated = {
            owner: Activated(table=arrays.get(f"{owner}.table"), **settings)
            for owner, settings in self.activated.items()
        }
        return IntNetwork(
            network=self.network,
            weighted=weighted,
            activated=activated,
            classes=self.classes,
        )


def _table(node: Activate, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    if node.function in DIRECT_ACTIVATIONS:
        return {}
    return {"table": Tensor(dtype=settings["output"].dtype, shape=(256,))}


def tensors(network: IntNetwork) -> dict[str, np.ndarray]:
    """Every array of a network by `<owner>.<array>`, in C order."""
    return {
        f"{owner}.{name}": np.ascontiguousarray(array)
        for owner, numbers in network.numbers().items()
        for name, array in numbers.tensors().items()
    }


def describe(network: IntNetwork, first_bytes: Mapping[str, int]) -> dict[str, Any]:
    """All that a manifest says of a network.

    Args:
      first_bytes: where each tensor starts in model.safetensors.
    """
    formats = network.formats()
    bounds = _bounds(network)
    return {
        "format": FORMAT,
        "version": VERSION,
        "rounding": ROUNDING,
        "network": stored.to_dict(network.network),
        "classes": list(network.classes),
        "input": stored.to_dict(PIXELS),
        "output": stored.to_dict(network.output),
        "nodes": [_node(node, formats) for node in network.program.nodes],
        "numbers": {
            owner: _numbers(owner, one, bounds) for owner, one in network.numbers().items()
        },
        "tensors": described_tensors(network, first_bytes),
    }


def _node(node: Node, formats: Mapping[str, Format]) -> dict[str, Any]:
    """A node; `format` is null for an exact sum or product that is brought back later."""
    fields = (f.name for f in dataclasses.fields(node) if f.name not in _NODE_FIELDS)
    wide = isinstance(node, WIDE)
    return {
        "operator": node.op,
        "name": node.name,
        "layer": node.layer,
        "inputs": list(node.inputs),
        "shape": list(node.shape),
        "attributes": {name: _attribute(getattr(node, name)) for name in fields},
        "format": None if wide else stored.to_dict(formats[node.name]),
    }


def _attribute(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_attribute(item) for item in value]
    return stored.to_dict(value)


def _bounds(network: IntNetwork) -> dict[str, int]:
    """Largest magnitude of the sums of each set of weights, wherever they are used."""
    found: dict[str, int] = {}
    for step in network.walk():
        if step.weighted:
            bound = step.accumulator_bound()
            found[step.owner] = max(bound, found.get(step.owner, 0))
    return found


def _numbers(
    owner: str, numbers: Weighted | Activated, bounds: Mapping[str, int]
) -> dict[str, Any]:
    found = {
        "sum": stored.to_dict(numbers.sum),
        "output": stored.to_dict(numbers.output),
        "tensors": [f"{owner}.{name}" for name in numbers.tensors()],
    }
    if isinstance(numbers, Weighted):
        found["accumulator_bound"] = bounds[owner]
        found |= {name: getattr(numbers, name) for name in ("shift", "weight_bits")}
    return found


def described_tensors(
    network: IntNetwork, first_bytes: Mapping[str, int]
) -> dict[str, dict[str, Any]]:
    """Type, shape, place and hash of every tensor by name."""
    return {
        name: {
            "dtype": array.dtype.name,
            "shape": list(array.shape),
            "first_byte": first_bytes[name],
            "bytes": array.nbytes,
            "sha256": hashlib.sha256(array).hexdigest(),
        }
        for name, array in tensors(network).items()
    }


def skeleton(manifest: Mapping[str, Any], where: str) -> Skeleton:
    """The spec, the classes and the formats that a manifest names.

    Raises:
      InputError: one of them cannot be; named with its path.
    """
    network, classes = network_and_classes(manifest, where)
    program, numbers = network.program, manifest["numbers"]
    others = rescaling(program)
    require_fields(numbers, (*program.weighted, *others), f"{where}.numbers")
    at = lambda owner: f"{where}.numbers[{brief(owner)}]"
    return Skeleton(
        network=network,
        classes=classes,
        weighted={o: weighted_settings(numbers[o], at(o)) for o in program.weighted},
        activated={o: _activated_settings(numbers[o], at(o)) for o in others},
    )


def network_and_classes(
    manifest: Mapping[str, Any], where: str
) -> tuple[Network, tuple[str, ...]]:
    """What a manifest of any version says of the network and its classes."""
    try:
        network = stored.network_from_dict(manifest["network"])
        require_deployable(network)
    except InputError as error:
        raise refusal(where, f"cannot be used: {error}") from None
    classes = manifest["classes"]
    if not (isinstance(classes, list) and all(isinstance(c, str) for c in classes)):
        raise wrong(f"{where}.classes", classes, "a list of texts")
    return network, tuple(classes)


def weighted_settings(
    stored_: Any, where: str, fields: tuple[str, ...] = _WEIGHTED_FIELDS
) -> dict[str, Any]:
    """The fields of a `Weighted` that are no arrays, with the output if it is given."""
    require_fields(stored_, fields, where)
    for name in ("shift", "weight_bits"):
        if type(stored_[name]) is not int:
            raise wrong(f"{where}.{name}", stored_[name], "a whole number")
    return {
        "shift": stored_["shift"],
        "weight_bits": stored_["weight_bits"],
        **{n: read_format(stored_[n], f"{where}.{n}") for n in ("sum", "output")
           if n in fields},
    }  # fmt: skip


def _activated_settings(stored_: Any, where: str) -> dict[str, Any]:
    require_fields(stored_, _ACTIVATED_FIELDS, where)
    return {n: read_format(stored_[n], f"{where}.{n}") for n in ("sum", "output")}


def read_format(value: Any, where: str) -> Format:
    """A format, with its `cap` if it has one."""
    capped = isinstance(value, dict) and "cap" in value
    require_fields(value, (*_FORMAT_FIELDS, "cap") if capped else _FORMAT_FIELDS, where)
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
