"""A line of a topology as the values of its columns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from accel.workload.bounds import LARGEST_SIZE, printable
from accel.workload.topology_columns import (
    CONV,
    NAME,
    NEEDED,
    NOTE,
    SPARSITY,
    STRIDE_WIDTH,
    Columns,
)
from accel.workload.topology_lines import Line
from configs.errors import InputError

_SIZE = re.compile(r"([0-9]{1,10})(\.0*)?")
_DENSE = re.compile(r"([0-9]{1,4})\s*:\s*\1")
_RATIO = re.compile(r"[0-9]+\s*:\s*[0-9]+")
_ANSWERS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True, kw_only=True)
class Row:
    """The cells that hold something, by their columns."""

    line: Line
    columns: Columns
    cells: Mapping[str, str]

    def refusal(self, column: str, rule: str) -> InputError:
        """Of the cell of a column."""
        return self.line.refusal(column, self.cells.get(column, ""), rule)

    @property
    def name(self) -> str:
        if NAME not in self.columns.places:
            return f"line {self.line.number}"
        name = self.cells.get(NAME, "")
        if not name or printable(name) != name:
            raise self.refusal(
                NAME, "must be a short line of text; name the layer, like Conv1."
            )
        return name

    def size(self, column: str, default: int | None = None, *, low: int = 1) -> int:
        """The whole number of a column; the default where its cell is empty.

        Raises:
          InputError: it is none of `low` or more; names line, column and value.
        """
        text = self.cells.get(column, "")
        if not text and default is not None:
            return default
        found = _SIZE.fullmatch(text)
        if not found or not low <= int(found[1]) < LARGEST_SIZE:
            rule = f"must be a whole number in {low}..{LARGEST_SIZE - 1}; write it like 3."
            raise self.refusal(column, rule)
        return int(found[1])

    def pair(self, column: str, default: int, *, low: int = 1) -> tuple[int, int]:
        """Down and across: of columns of their own, or of one for both."""
        both = self.size(column, default, low=low)
        down, across = f"{column} height", f"{column} width"
        return self.size(down, both, low=low), self.size(across, both, low=low)

    def answer(self, column: str) -> bool | None:
        """Yes or no of a column; None where its cell is empty."""
        text = self.cells.get(column, "").lower()
        if text and text not in _ANSWERS:
            raise self.refusal(column, "must be yes or no.")
        return _ANSWERS.get(text)

    def word(self, column: str, words: tuple[str, str]) -> str:
        """One of the words of a column; the first where its cell is empty."""
        text = self.cells.get(column, words[0]).lower()
        if text not in words:
            raise self.refusal(column, f"must be {' or '.join(words)}.")
        return text


def row(line: Line, columns: Columns) -> tuple[Row, tuple[str, ...]]:
    """The values of a line, and what was decided about them.

    A cell behind the last column that has a name is a sparsity if it is like 1:1, and the
    stride across if it is the one behind SCALE-Sim's seven.

    Raises:
      InputError: a needed column is missing, one is not known, or the layer is sparse.
    """
    cells, said = {}, []
    for place, cell in enumerate(line.cells):
        column = columns.known(place)
        if column is None and cell:
            column = _unnamed(line, columns, place, cells)
            if column == STRIDE_WIDTH and columns.headed:
                said.append(
                    f"column {place + 1}, which the header does not name, is read as the "
                    f"stride across"
                )
        if column == NOTE and cell:
            said.append(f"the notes in column {columns.headed[place]} are left out")
        elif column and cell:
            cells[column] = cell
    _require(line, columns, cells)
    sparsity = cells.get(SPARSITY)
    if sparsity and not _DENSE.fullmatch(sparsity):
        rule = "must be 1:1, all weights, or be left out; sparse layers are not known."
        raise line.refusal(SPARSITY, sparsity, rule)
    return Row(line=line, columns=columns, cells=cells), tuple(said)


def _unnamed(line: Line, columns: Columns, place: int, cells: Mapping[str, str]) -> str:
    """What a cell is whose column nobody knows."""
    cell = line.cells[place]
    headed = place < len(columns.headed) and columns.headed[place]
    if not headed:
        if _RATIO.fullmatch(cell) and SPARSITY not in cells:
            return SPARSITY
        usual = (NAME, *CONV) == columns.places[: 1 + len(CONV)]
        free = STRIDE_WIDTH not in columns.places
        if usual and free and place == 1 + len(CONV) and _SIZE.fullmatch(cell):
            return STRIDE_WIDTH
    what = f"is headed {columns.named(place)!r}" if headed else "has no name in a header"
    raise line.refusal(
        columns.named(place), cell, f"{what}, and nobody knows what it changes; remove it, "
        "head it Note, or put it behind a last comma, like #this.",
    )  # fmt: skip


def _require(line: Line, columns: Columns, cells: Mapping[str, str]) -> None:
    needed = NEEDED[columns.kind]
    for column in needed:
        place = columns.places.index(column)
        if column not in cells and place < len(line.cells):
            raise line.refusal(column, "", "is empty; write a whole number there.")
        if column not in cells:
            order = ", ".join(name or "?" for name in columns.places)
            raise line.refusal(
                column, "", f"is missing: the line has {len(line.cells)} fields, not the "
                f"{len(needed) + 1} that {columns.kind.value} needs; its columns are "
                f"{order}.",
            )  # fmt: skip
