"""Lines of a table as people save them: separators, quotes, titles, remarks, any line end.

Commas, semicolons or tabs separate, whichever the first line of several fields has most
of. Lines of separators alone are blank; a line with a single field that is no number, or
one that begins with # or //, is a title or a remark. What stands behind # in a row is one.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from accel.imports.outside import LARGEST_SIZE, printable, read
from configs.checks import brief
from configs.errors import InputError

_SEPARATORS = ",;\t"
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
# A whole number, perhaps with the point that spreadsheets add.
_WHOLE = re.compile(r"([0-9]{1,10})(\.0*)?")
_REMARKS = ("#", "//")


@dataclass(frozen=True)
class Row:
    """The fields of a line, without its remark and the empty ones at its end."""

    path: Path
    line: int
    fields: tuple[str, ...]

    def refusal(self, column: str, value: object, rule: str) -> InputError:
        return InputError(
            f"`{self.path}` line {self.line}: `{column}` (={brief(value)}) {rule}"
        )

    @property
    def is_data(self) -> bool:
        """Whether any field behind the name is a number."""
        return any(_NUMBER.fullmatch(field) for field in self.fields[1:])

    @property
    def is_title(self) -> bool:
        """Whether it has one field and that is no number."""
        filled = [field for field in self.fields if field]
        return len(filled) == 1 and not _NUMBER.fullmatch(filled[0])

    def name(self, text: str) -> str:
        if not text or printable(text) != text:
            rule = "must be a short line of text; name the layer, like Conv1."
            raise self.refusal("Layer name", text, rule)
        return text

    def size(self, column: str, text: str, least: int = 1) -> int:
        """A whole number of `least` or more, below 2^31."""
        found = _WHOLE.fullmatch(text)
        if not found or not least <= int(found[1]) < LARGEST_SIZE:
            rule = (
                f"must be a whole number in {least}..{LARGEST_SIZE - 1}; write it like 3."
            )
            raise self.refusal(column, text, rule)
        return int(found[1])


def lines(path: Path, limit_bytes: int, kind: str) -> Iterator[Row]:
    """The rows of a file, titles among them, without blank lines and remarks.

    Raises:
      InputError: the file cannot be read, is no text, or holds nothing.
    """
    content = read(path, limit_bytes, kind)
    try:
        text = content.decode("utf-8-sig")
        bad = text.find("\0")
    except UnicodeDecodeError as error:
        bad = error.start
    if bad >= 0:
        raise InputError(
            f"`{path}` must be text in UTF-8, not so at byte {bad}; give {kind}."
        )
    if not text.strip(f" \r\n{_SEPARATORS}"):
        raise InputError(f"`{path}` holds no layers; give {kind}.")
    # Not splitlines: it also breaks at characters that belong into no file.
    given = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    separator = _separator(given)
    for number, line in enumerate(given, start=1):
        if line.strip().startswith(_REMARKS):
            continue
        fields = _fields(path, number, line, separator)
        if fields:
            yield Row(path, number, fields)


def _separator(given: list[str]) -> str:
    """What the first line of several fields has most of."""
    for line in given:
        counts = {mark: line.count(mark) for mark in _SEPARATORS}
        if max(counts.values()) > 1:
            return max(counts, key=counts.__getitem__)
    return ","


def _fields(path: Path, number: int, line: str, separator: str) -> tuple[str, ...]:
    try:
        (fields,) = csv.reader([line], delimiter=separator, skipinitialspace=True) or [[]]
    except (csv.Error, ValueError):
        raise InputError(
            f"`{path}` line {number}: no row of a table (={brief(line)}); close its quotes."
        ) from None
    found = []
    for field in fields:
        if field.strip().startswith("#"):
            break
        found.append(field.strip())
    while found and not found[-1]:
        found.pop()
    return tuple(found)
