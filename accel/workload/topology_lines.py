"""The lines of a table that a spreadsheet or a person wrote, as cells.

Cells stand between commas, semicolons or tabs, as in the first line that has two of them;
`sep=;` on a line of its own says it. They may be quoted. Lines end with
LF, CR LF or CR. Lines of separators alone hold nothing, and neither do those that begin
with `#` or `//`; behind a `#` in a cell stands a remark. Text is UTF-8, with or without a
mark, or UTF-16 with one.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from accel.workload.bounds import read
from configs.checks import brief
from configs.errors import InputError

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")


@dataclass(frozen=True, kw_only=True)
class Line:
    """The cells of a line, without the empty ones at its end."""

    path: Path
    number: int
    cells: tuple[str, ...]
    # Begins with #: a remark, unless it is a header.
    remark: bool = False

    def refusal(self, column: str, value: object, rule: str) -> InputError:
        """
        >>> print(Line(path=Path("n"), number=2, cells=()).refusal("M", "x", "is none."))
        `n` line 2: `M` (='x') is none.
        """
        return InputError(
            f"`{self.path}` line {self.number}: `{column}` (={brief(value)}) {rule}"
        )

    @property
    def holds_number(self) -> bool:
        """Whether a cell behind the first one is a number, as in no header."""
        return any(_NUMBER.fullmatch(cell) for cell in self.cells[1:])

    @property
    def title(self) -> str:
        """The text of a line that holds nothing else, or nothing."""
        texts = [cell for cell in self.cells if cell]
        return texts[0] if len(texts) == 1 and not self.holds_number else ""


def lines(path: Path, limit_bytes: int, kind: str) -> Iterator[Line]:
    """The lines of a file that hold anything; at least one.

    Raises:
      InputError: there is no such file, it is no text, too large, or without any line.
    """
    # Not splitlines: it also breaks at characters that belong into no file.
    texts = re.split(r"\r\n|\r|\n", _text(path, limit_bytes, kind))
    separator, found = None, False
    for number, text in enumerate(texts, start=1):
        stripped = text.strip()
        if said := re.fullmatch(r"sep=(.)", text.strip(" ")):
            separator = said[1]
            continue
        if not stripped or stripped.startswith("//"):
            continue
        remark = stripped.startswith("#")
        here = separator or _separator(stripped)
        # What a remark says decides about its own line alone.
        separator = separator if remark else here
        try:
            cells = _cells(stripped.lstrip("# ") if remark else text, here or ",")
        except csv.Error as error:
            raise InputError(f"`{path}` line {number}: no valid CSV: {error}.") from None
        if any(cells):
            found = True
            yield Line(path=path, number=number, cells=cells, remark=remark)
    if not found:
        raise InputError(f"`{path}` holds no layers; give {kind}.")


def _text(path: Path, limit_bytes: int, kind: str) -> str:
    content = read(path, limit_bytes, kind)
    wide = content.startswith(_UTF16)
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
        bad = text.find("\0")
    except UnicodeDecodeError as error:
        bad = error.start
    if bad >= 0:
        raise InputError(
            f"`{path}` must be text in UTF-8, not so at byte {bad}; give {kind}."
        )
    return text


def _separator(text: str) -> str | None:
    """The one that a line has twice; tabs beside commas or semicolons only align."""
    often = max(",;", key=text.count)
    return next((one for one in (often, "\t") if text.count(one) >= 2), None)


def _cells(text: str, separator: str) -> tuple[str, ...]:
    """Stripped, without a remark and what is empty at the end."""
    # Blanks before a quote are no part of a cell; tabs are, where they separate.
    text = re.sub(rf"(^|{re.escape(separator)}) +\"", r'\1"', text)
    cells: list[str] = []
    for cell in next(csv.reader([text], delimiter=separator), []):
        plain, mark, _ = cell.partition("#")
        # A name may hold the sign; a size may not.
        cells.append((plain if cells else cell).strip())
        if mark and len(cells) > 1:
            break
    while cells and not cells[-1]:
        cells.pop()
    return tuple(cells)
