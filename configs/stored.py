"""An experiment as JSON and back: what `config.json` of a run directory holds."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from typing import Any

from configs import network, schema
from configs.errors import InputError
from configs.schema import Experiment

_LAYERS = {kind.__name__: kind for kind in network.Layer.__args__}


def to_dict(value: Any) -> Any:
    """Dataclasses become dicts; a layer says its kind under "layer"."""
    if dataclasses.is_dataclass(value):
        fields = {
            f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value)
        }
        kind = type(value).__name__
        return {"layer": kind, **fields} if kind in _LAYERS else fields
    if isinstance(value, tuple):
        return [to_dict(item) for item in value]
    return value


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
    return _read(Experiment, stored, where)


def differences(a: Experiment, b: Experiment) -> list[str]:
    """Fields in which two experiments differ, as `path`: a -> b."""
    return list(_differences(to_dict(a), to_dict(b), ""))


def _differences(a: Any, b: Any, path: str):
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            yield from _differences(a.get(key), b.get(key), f"{path}.{key}".strip("."))
    elif a != b:
        yield f"`{path}`: {json.dumps(a)} -> {json.dumps(b)}"


def _read(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is network.Layer:
        name = value.get("layer") if isinstance(value, dict) else None
        if name not in _LAYERS:
            raise _wrong(where, "a layer, one of " + ", ".join(_LAYERS), value)
        fields = {key: item for key, item in value.items() if key != "layer"}
        return _read(_LAYERS[name], fields, where)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise _wrong(where, f"one of {', '.join(map(str, arguments))}", value)
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(where, "a list", value)
        if arguments[-1] is not Ellipsis and len(arguments) != len(value):
            raise _wrong(where, f"a list of {len(arguments)}", value)
        return tuple(_read(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is types.UnionType:
        if value is None and type(None) in arguments:
            return None
        return _read(next(a for a in arguments if a is not type(None)), value, where)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise _wrong(where, kind.__name__, value)
    return value


def _read_dataclass(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(where, f"an object ({kind.__name__})", value)
    hints = typing.get_type_hints(kind, {**vars(network), **vars(schema)})
    unknown = value.keys() - hints.keys()
    if unknown:
        raise _wrong(f"{where}.{sorted(unknown)[0]}", f"a field of {kind.__name__}", value)
    try:
        return kind(**{k: _read(hints[k], v, f"{where}.{k}") for k, v in value.items()})
    except TypeError as error:
        raise InputError(
            f"`{where}` lacks a field: {error}; train the run again."
        ) from None


def _wrong(where: str, expected: str, value: Any) -> InputError:
    text = json.dumps(value)
    shown = text if len(text) <= 60 else text[:57] + "..."
    return InputError(f"`{where}` must be {expected}, not {shown}; train the run again.")
