"""Every row of a file of SCALE-Sim figures, computed again and compared.

The file comes from outside: a cell that is not what its column says is refused, with line,
column and value. A figure that differs is no error but a finding.
"""

from __future__ import annotations

import csv
import io
import re
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from rich.text import Text

from accel.predict import scalesim
from configs.checks import brief
from configs.errors import InputError
from configs.tables import Figures

LIMIT_BYTES = 4 << 20
_LARGEST_SIZE = 1 << 24
_CHOICES = {
    "kind": ("gemm", "conv"),
    "dataflow": ("ws", "os", "is"),
    "bw_mode": ("CALC", "USER"),
}
_SHAPE = ("M", "K", "N")
_CONV = tuple(f"conv_{name}" for name in ("ih", "iw", "fh", "fw", "ch", "nf", "stride"))
_ARRAY = ("array_rows", "array_cols")
_PERCENTAGES = ("util_pct", "mapping_eff_pct")
_FIGURES = scalesim.Figures._fields
_NEEDED = ("case", *_CHOICES, *_SHAPE, *_CONV, *_ARRAY, "stall_cycles", *_FIGURES)
# Time and memory that a run of SCALE-Sim took on some machine: nothing to compute again.
_IGNORED = ("wall_s", "peak_rss_mb")
# Trailing zeros are dropped in print, so fewer decimals mean as many as the tool's four.
_PRINTED_DECIMALS = 4
# Beyond these, a tool that divides in double precision prints its own rounding errors.
_SURE_DECIMALS = 9
_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One figure that is not what the closed forms give."""

    line: int
    case: str
    column: str
    # As it stands in the file, and as it should stand there.
    found: str
    computed: str


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How a whole file compares."""

    rows: int
    figures: int
    differences: tuple[Difference, ...]

    @property
    def equal_rows(self) -> int:
        return self.rows - len({difference.line for difference in self.differences})

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        found = [asdict(difference) for difference in self.differences]
        return {
            "rows": self.rows,
            "equal_rows": self.equal_rows,
            "figures": self.figures,
            "figures_different": len(found),
            "differences": found,
        }


@dataclass(frozen=True)
class _Row:
    """The cells of a line, each checked when it is asked for."""

    line: int
    cells: dict[str, str]

    def refusal(self, column: str, rule: str) -> InputError:
        value = brief(self.cells[column])
        return InputError(f"line {self.line}: `{column}` (={value}) must be {rule}.")

    def whole(self, column: str, low: int, high: int) -> int:
        text = self.cells[column]
        if not re.fullmatch(r"[0-9]{1,19}", text) or not low <= int(text) <= high:
            raise self.refusal(column, f"a whole number in {low}..{high}")
        return int(text)

    def size(self, column: str) -> int:
        return self.whole(column, 1, _LARGEST_SIZE)

    def count(self, column: str) -> int:
        return self.whole(column, 0, (1 << 63) - 1)

    def percentage(self, column: str) -> float:
        text = self.cells[column]
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,17})?", text):
            raise self.refusal(column, "a percentage such as 74.4321")
        return float(text)

    def choice(self, column: str) -> str:
        if self.cells[column] not in _CHOICES[column]:
            raise self.refusal(column, f"one of {', '.join(_CHOICES[column])}")
        return self.cells[column]

    def name(self) -> str:
        if not (self.cells["case"].isprintable() and len(self.cells["case"]) <= 100):
            raise self.refusal("case", "printable text of at most 100 characters")
        return self.cells["case"]


def parity(path: Path) -> Parity:
    """Compares a file with the columns of SCALE-Sim's figures, whatever their order.

    Counts must be equal, percentages equal to the exact ones as rounded in print. Cycles
    of a row with stalls are the unstalled ones and the row's own `stall_cycles`, which are
    not computed again; `bw_mode` says where those came from and changes nothing else.

    Raises:
      InputError: the file cannot be read, or a cell is not what its column says.
    """
    rows = list(_rows(path))
    if not rows:
        raise InputError(f"`{path}` must hold a row or more below its header.")
    return Parity(
        rows=len(rows),
        figures=len(rows) * len(_FIGURES),
        differences=tuple(found for row in rows for found in _differences(row)),
    )


def headline(found: Parity) -> str:
    """The comparison in one line."""
    return (
        f"{found.equal_rows:,} of {found.rows:,} rows equal; {len(found.differences):,} "
        f"of {found.figures:,} figures differ"
    )


def table(found: Parity) -> Figures:
    """The first differences, one a line."""
    out = Figures("line", "case", "figure", "in the file", "computed", words=3)
    for one in found.differences[:_SHOWN]:
        texts = (str(one.line), one.case, one.column, one.found, one.computed)
        # Text, not str: the words of a file are no markup.
        out.add_row(*map(Text, texts))
    if len(found.differences) > _SHOWN:
        out.add_row("...", f"{len(found.differences) - _SHOWN:,} more")
    return out


def _differences(row: _Row) -> Iterator[Difference]:
    for column, computed in _computed(row)._asdict().items():
        if column in _PERCENTAGES:
            found, text = row.percentage(column), row.cells[column]
            right = right_percentage(found, text, computed)
        else:
            right = None if row.count(column) == computed else str(computed)
        if right is not None:
            yield Difference(
                line=row.line,
                case=row.name(),
                column=column,
                found=row.cells[column],
                computed=right,
            )


def right_percentage(found: float, text: str, computed: Fraction) -> str | None:
    """What should stand in place of a percentage printed as `text`; None: it is right."""
    decimals = _decimals(text)
    # As Python rounds the double, which decides ties the way the tool does.
    right = round(float(computed), decimals)
    return None if round(found, decimals) == right else f"{right:.{decimals}f}"


def _decimals(text: str) -> int:
    printed = len(text.partition(".")[2])
    return min(max(printed, _PRINTED_DECIMALS), _SURE_DECIMALS)


def _computed(row: _Row) -> scalesim.Figures:
    row.name()
    row.choice("bw_mode")
    M, K, N = _product(row)
    rows, cols = (row.size(column) for column in _ARRAY)
    dataflow, stalls = row.choice("dataflow"), row.count("stall_cycles")
    try:
        return scalesim.figures(
            M, K, N, rows=rows, cols=cols, dataflow=dataflow, stall_cycles=stalls
        )
    except InputError as error:
        raise InputError(f"line {row.line}: {error}") from None


def _product(row: _Row) -> tuple[int, int, int]:
    """M, K, N of a row; those of a convolution must agree with its own columns."""
    stated = tuple(row.size(column) for column in _SHAPE)
    if row.choice("kind") == "gemm":
        for column in _CONV:
            if row.cells[column]:
                raise row.refusal(column, "empty, since `kind` is gemm")
        return stated
    height, width, down, across, channels, filters, stride = map(row.size, _CONV)
    for column, window, image in (("fh", down, height), ("fw", across, width)):
        if window > image:
            raise row.refusal(f"conv_{column}", f"at most the {image} of its image")
    lowered = scalesim.convolution(
        height,
        width,
        kernel=(down, across),
        channels=channels,
        filters=filters,
        stride=stride,
    )
    for column, found, right in zip(_SHAPE, stated, lowered, strict=True):
        if found != right:
            raise row.refusal(column, f"{right}, as the conv_ columns say")
    return lowered


def _rows(path: Path) -> Iterator[_Row]:
    """The lines below the header; empty ones are passed over."""
    reader = csv.reader(io.StringIO(read(path), newline=""), strict=True)
    try:
        header = next(reader, [])
        _check_header(header, path)
        for cells in reader:
            if cells and len(cells) != len(header):
                raise InputError(
                    f"line {reader.line_num}: {len(cells)} cells must be {len(header)}, "
                    f"one for each column of the header."
                )
            if cells:
                yield _Row(reader.line_num, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise InputError(f"line {reader.line_num}: no valid CSV: {error}.") from None


def _check_header(header: list[str], path: Path) -> None:
    missing = [column for column in _NEEDED if column not in header]
    unknown = [column for column in header if column not in (*_NEEDED, *_IGNORED)]
    twice = [column for column in header if header.count(column) > 1]
    for columns, wrong in ((missing, "missing"), (unknown, "unknown"), (twice, "double")):
        if columns:
            raise InputError(
                f"`{path}` line 1: column {brief(columns[0])} is {wrong}; the columns are "
                f"{', '.join(_NEEDED)}, and maybe {', '.join(_IGNORED)}. Of what SCALE-Sim "
                f"writes itself, give COMPUTE_REPORT.csv or DETAILED_ACCESS_REPORT.csv."
            )


def read(path: Path) -> str:
    """The text of a regular file of limited size.

    Raises:
      InputError: it is none, or cannot be read.
    """
    try:
        # Asked before it is opened: to open a pipe waits.
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"`{path}` must be a regular file; name a CSV file.")
        with open(path, "rb") as file:
            content = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror}.") from None
    if len(content) > LIMIT_BYTES:
        raise InputError(f"`{path}` must be of at most {LIMIT_BYTES} bytes; split it.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"`{path}` must be UTF-8 text; name a CSV file.") from None
