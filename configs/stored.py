"""An experiment as JSON and back: what `config.json` of a run directory holds."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from typing import Any

from configs import network
from configs.checks import brief, field_types, kinds_of
from configs.errors import InputError
from configs.schema import Experiment


def to_dict(value: Any) -> Any:
    """Dataclasses become dicts; a layer says its kind under "layer".

    A whole number in a float field becomes a float, so that equal experiments have
    equal text; fields that came later are left out at their default (`layers.added`).
    """
    if dataclasses.is_dataclass(value):
        annotations, later = field_types(type(value)), _later(type(value))
        items = {name: getattr(value, name) for name in annotations}
        items = {k: v for k, v in items.items() if k not in later or v != later[k]}
        fields = {
            name: float(item) if annotations[name] is float else to_dict(item)
            for name, item in items.items()
        }
        if isinstance(value, network.Layer):
            return {"layer": type(value).__name__, **fields}
        return fields
    if isinstance(value, tuple):
        return [to_dict(item) for item in value]
    return value


def _later(kind: type) -> dict[str, Any]:
    """Fields that came after files had been written, with their defaults."""
    fields = dataclasses.fields(kind)
    return {field.name: field.default for field in fields if "added" in field.metadata}


def canonical(value: Any) -> str:
    """JSON with sorted keys: equal values give equal text.

    >>> canonical({"b": 1, "a": [2]})
    '{"a": [2], "b": 1}'
    """
    return json.dumps(value, sort_keys=True, allow_nan=False)


def sha256(experiment: Experiment) -> str:
    """Hash of every setting of an experiment."""
    return hashlib.sha256(canonical(to_dict(experiment)).encode()).hexdigest()


def from_dict(stored: Any, where: str = "config.json") -> Experiment:
    """The experiment that `to_dict` wrote.

    Raises:
      InputError: a field is unknown, missing or of the wrong type, named with its path.
    """
    if not isinstance(stored, dict):
        raise _wrong(where, "an object with the fields of Experiment", stored)
    return _whole(Experiment, stored, where)


def network_from_dict(stored: Any, where: str = "network") -> network.Network:
    """The network that `to_dict` wrote.

    Raises:
      InputError: a field is unknown, missing or of the wrong type, named with its path,
        or the layers do not fit together.
    """
    if not isinstance(stored, dict):
        raise _wrong(where, "an object with the fields of Network", stored)
    return _whole(network.Network, stored, where)


def settings_from_dict(kind: type, stored: Any, where: str) -> Any:
    """The settings, a dataclass `kind`, that `to_dict` wrote.

    Raises:
      InputError: a field is unknown, missing or of the wrong type, named with its path.
    """
    if not isinstance(stored, dict):
        raise _wrong(where, f"an object with the fields of {kind.__name__}", stored)
    return _whole(kind, stored, where)


def differences(a: Experiment, b: Experiment) -> list[str]:
    """Fields in which two experiments differ, as `path`: a -> b."""
    return list(_differences(to_dict(a), to_dict(b), ""))


def _differences(a: Any, b: Any, path: str):
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        for key in sorted(a):
            yield from _differences(a[key], b[key], f"{path}.{key}".strip("."))
    elif _layer_lists(a, b):
        for index, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from _differences(one, other, f"{path}[{index}]")
    elif a != b:
        yield f"`{path}`: {json.dumps(a)} -> {json.dumps(b)}"


def _layer_lists(a: Any, b: Any) -> bool:
    lists = isinstance(a, list) and isinstance(b, list) and len(a) == len(b)
    return lists and all(isinstance(item, dict) for item in (*a, *b))


def _whole(kind: type, value: dict, where: str) -> Any:
    try:
        return _read(kind, value, where)
    except RecursionError:
        raise InputError(
            f"`{where}` nests layers too deeply; the file is damaged, make it again."
        ) from None


def _read(kind: Any, value: Any, where: str) -> Any:
    """Lists become tuples, objects dataclasses; these check whatever is left."""
    if isinstance(value, list) and typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        return tuple(_read(inner, v, f"{where}[{i}]") for i, v in enumerate(value))
    if not isinstance(value, dict):
        return value
    if kind == network.Layer:
        name, kinds = value.get("layer"), kinds_of(network.Layer)
        if not isinstance(name, str) or name not in kinds:
            raise _wrong(f"{where}.layer", f"one of {', '.join(kinds)}", name)
        fields = {key: item for key, item in value.items() if key != "layer"}
        return _read_fields(kinds[name], fields, where)
    return _read_fields(kind, value, where) if dataclasses.is_dataclass(kind) else value


def _read_fields(kind: type, value: dict, where: str) -> Any:
    annotations = field_types(kind)
    for name in sorted(value.keys() - annotations.keys()):
        raise _wrong(f"{where}.{name}", f"a field of {kind.__name__}", value[name])
    for name in sorted(annotations.keys() - value.keys() - _later(kind).keys()):
        raise InputError(
            f"`{where}.{name}` is missing; the file is damaged or of another version, "
            f"make it again."
        )
    fields = {k: _read(annotations[k], v, f"{where}.{k}") for k, v in value.items()}
    try:
        return kind(**fields)
    except InputError as error:
        raise InputError(f"`{where}` cannot be used: {error}") from None


def _wrong(where: str, expected: str, value: Any) -> InputError:
    return InputError(
        f"`{where}` (={brief(value)}) must be {expected}; the file is damaged or of "
        f"another version, make it again."
    )
