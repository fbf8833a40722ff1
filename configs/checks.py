"""Every field against its annotation, and the one form of a refusal.

The annotations of a dataclass are its only description of types: `check_types` reads
them when an object is made, whoever makes it (a config file, a command line, JSON).
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from typing import Any

from configs.errors import InputError

_NOUNS = {
    int: "a whole number",
    float: "a finite number",
    str: "text",
    bool: "True or False",
}
_EXAMPLES = {int: "3", float: "0.5", str: "'mnist'", bool: "True"}


@functools.cache
def field_types(kind: type) -> dict[str, Any]:
    """Annotations of a dataclass, resolved, by field."""
    return typing.get_type_hints(kind)


def check_types(spec: object) -> None:
    """Refuses fields whose values are not what their annotations say.

    A `float` field takes whole numbers too and must be finite; a bool is no number; a
    list is no tuple, since frozen data stays hashable.
    """
    for field, annotation in field_types(type(spec)).items():
        found = _misfit(annotation, getattr(spec, field), field)
        if found:
            path, kind, value = found
            raise InputError(
                f"`{path}` (={brief(value)}) of {type(spec).__name__} must be "
                f"{_noun(kind)}; write it like {_example(kind)}."
            )


def require(spec: object, rule: bool, field: str, sentence: str) -> None:
    """Refuses the value of a field; the sentence says the rule and the way out."""
    if not rule:
        value = brief(getattr(spec, field))
        raise InputError(f"`{field}` (={value}) of {type(spec).__name__} {sentence}")


def require_positive(spec: object, *fields: str) -> None:
    for field in fields:
        value = getattr(spec, field)
        numbers = value if isinstance(value, tuple) else (value,)
        rule = bool(numbers) and min(numbers) >= 1
        require(spec, rule, field, "must be positive whole numbers; use 1 or more.")


def brief(value: object) -> str:
    """A value as it stands in a message: one line, at most 60 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _misfit(kind: Any, value: Any, path: str) -> tuple[str, Any, Any] | None:
    """Path, annotation and value of the innermost thing that does not fit."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and isinstance(value, tuple):
        if arguments[-1] is Ellipsis:
            arguments = arguments[:1] * len(value)
        if len(arguments) != len(value):
            return path, kind, value
        items = enumerate(zip(arguments, value, strict=True))
        found = (_misfit(inner, item, f"{path}[{i}]") for i, (inner, item) in items)
        return next((one for one in found if one), None)
    if origin in (types.UnionType, typing.Union):
        fits = any(_misfit(inner, value, path) is None for inner in arguments)
    elif origin is typing.Literal:
        fits = type(value) is str and value in arguments
    elif kind is int:
        fits = isinstance(value, int) and not isinstance(value, bool)
    elif kind is float:
        fits = _is_finite(value)
    else:
        # A base of layers stands for all kinds of them.
        based = dataclasses.is_dataclass(kind) and isinstance(value, kind)
        fits = type(value) is kind or based
    return None if fits else (path, kind, value)


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the largest float
        return False


def kinds_of(base: type) -> dict[str, type]:
    """All kinds of a base by name, in the order in which they were defined."""
    found = {}
    for kind in base.__subclasses__():
        found |= {kind.__name__: kind, **kinds_of(kind)}
    return found


def _noun(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"a tuple, each item {_noun(arguments[0])}"
    if origin is tuple:
        return f"a tuple of {len(arguments)}, each item {_noun(arguments[0])}"
    if origin is typing.Literal:
        return f"one of {', '.join(arguments)}"
    if arguments:
        return " or ".join(_noun(inner) for inner in arguments)
    if dataclasses.is_dataclass(kind) and kinds_of(kind):
        return " or ".join(kinds_of(kind))
    return "None" if kind is type(None) else _NOUNS.get(kind, kind.__name__)


def _example(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"({_example(arguments[0])},)"
    if origin is tuple:
        return f"({', '.join(_example(inner) for inner in arguments)})"
    if origin is typing.Literal:
        return repr(arguments[0])
    if dataclasses.is_dataclass(kind) and kinds_of(kind):
        return f"{next(iter(kinds_of(kind)))}(...)"
    return (
        _example(arguments[0])
        if arguments
        else _EXAMPLES.get(kind, f"{kind.__name__}(...)")
    )
