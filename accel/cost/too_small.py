"""A buffer that is too small, said of the option that makes it larger."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from accel.machines.memory import KIB, Memory
from accel.machines.provenance import Provenance
from configs.errors import InputError

# Key of a machine's file, by field of `Memory`.
KEYS = {
    "activation_bytes": "activations",
    "weight_bytes": "weights",
    "sum_bytes": "sums",
}
_FILE = "given in "


class TooSmall(InputError):
    """A buffer `field` of `stated` bytes that should hold `need` bytes of `what`."""

    def __init__(
        self, field: str, stated: int, need: int, what: str, way: str, most: str = ""
    ) -> None:
        self.given = {"field": field, "stated": stated, "need": need, "what": what,
                      "way": way, "most": most}  # fmt: skip
        flag = option(field)
        super().__init__(
            f"`{flag}` (={kib(stated)}{most}) is too small for {what}, which take {need:,} "
            f"bytes; use {flag} {-(-need // KIB)} or more, or {way}."
        )

    def in_file(self, sources: Mapping[str, Provenance]) -> InputError:
        """The same said of the key of the machine's file, where that is what gave it."""
        field, stated, need, what, way, _ = self.given.values()
        source = sources[field].source if field in sources else ""
        if not source.startswith(_FILE):
            return self
        return InputError(
            f"`{KEYS[field]}` (={kib(stated)} KiB) of {source.removeprefix(_FILE)} is too "
            f'small for {what}, which take {need:,} bytes; use {KEYS[field]} = "'
            f'{-(-need // KIB)} KiB" or more, or {way}.'
        )

    def at_most(self) -> TooSmall:
        """The same of the largest of several capacities."""
        return TooSmall(**(self.given | {"most": " at most"}))


def given_in(path: Path) -> str:
    """The source of a number that a machine's file gives."""
    return f"{_FILE}{path.name}"


def option(field: str) -> str:
    """
    >>> option("sum_bytes")
    '--sum-kib'
    """
    return f"--{field.removesuffix('_bytes')}-kib"


def kib(size: int) -> str:
    """Bytes in the options' unit.

    >>> kib(65_536), kib(1_000)
    ('64', '0.976562')
    """
    return f"{size / KIB:.6g}"


def require_room(memory: Memory, needed: Mapping[str, int], what: str, way: str) -> None:
    """Refuses bytes by field of `Memory` that do not fit, the first of them."""
    for field, need in needed.items():
        stated = getattr(memory, field)
        if need > stated:
            raise TooSmall(field, stated, need, what, way)
