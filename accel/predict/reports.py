"""The reports that SCALE-Sim itself writes, computed again and compared.

COMPUTE_REPORT.csv and DETAILED_ACCESS_REPORT.csv, of version 2 and 3, hold a row for each
layer and say neither its shape nor the array: both are given beside them. What its memory
model says (stalls, prefetching, DRAM) is taken as it is or left out.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from accel.predict import scalesim
from accel.predict.parity import Difference, Parity, read, right_percentage
from accel.workload import from_scalesim
from accel.workload.bounds import printable
from accel.workload.layer import LayerWorkload
from configs.checks import brief
from configs.errors import InputError

Name = Literal[
    "COMPUTE_REPORT", "DETAILED_ACCESS_REPORT", "BANDWIDTH_REPORT", "SPARSE_REPORT"
]
# Columns that no other report has.
_MARKS: dict[str, Name] = {
    "mapping efficiency %": "COMPUTE_REPORT",
    "total cycles": "COMPUTE_REPORT",
    "sram ifmap reads": "DETAILED_ACCESS_REPORT",
    "avg ifmap sram bw": "BANDWIDTH_REPORT",
    "sparsity representation": "SPARSE_REPORT",
}
_ID, _STALLS = "layerid", "stall cycles"
_COUNTS = {
    "total cycles": "total_cycles",
    "sram ifmap reads": "ifmap_sram_reads",
    "sram filter reads": "filter_sram_reads",
    "sram ofmap writes": "ofmap_sram_writes",
}
_PERCENTAGES = {"overall util %": "util_pct", "mapping efficiency %": "mapping_eff_pct"}
_COMPUTE_UTIL = "compute util %"
_NEEDED: dict[str, tuple[str, ...]] = {
    "COMPUTE_REPORT": (_ID, "total cycles", _STALLS, *_PERCENTAGES, _COMPUTE_UTIL),
    "DETAILED_ACCESS_REPORT": (_ID, *list(_COUNTS)[1:]),
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """What SCALE-Sim was given."""

    topology: Path
    rows: int
    cols: int
    dataflow: Literal["ws", "os", "is"]

    def __post_init__(self) -> None:
        for name in ("rows", "cols"):
            if not 1 <= (side := getattr(self, name)) <= 1 << 20:
                raise InputError(
                    f"`--{name}` (={side}) must be in 1..{1 << 20}, the PEs of a side."
                )


def named(path: Path) -> Name | None:
    """Which report a file is, by its header; None: it is none.

    Raises:
      InputError: it cannot be read.
    """
    header = next(_cells(read(path)), (0, []))[1]
    return next((_MARKS[name] for name in map(_plain, header) if name in _MARKS), None)


def require_readable(path: Path, name: Name, missing: str) -> None:
    """Refuses a report whose figures follow from others', or without what it leaves out.

    Raises:
      InputError: so; names the report, the options missing, and the whole command.
    """
    if name not in _NEEDED:
        raise InputError(
            f"`{path}` is SCALE-Sim's {name}.csv, whose figures are ratios of those in "
            f"COMPUTE_REPORT.csv and DETAILED_ACCESS_REPORT.csv; give one of these."
        )
    if missing:
        raise InputError(
            f"`{path}` is SCALE-Sim's {name}.csv, which says neither layers nor array; "
            f"give {missing} too: python -m accel parity {path} --topology T.csv --rows R "
            f"--cols C --dataflow ws, where T.csv is the topology it was made from, and R, "
            f"C and ws are ArrayHeight, ArrayWidth and Dataflow of its .cfg."
        )


def parity(path: Path, name: Name, run: Run) -> Parity:
    """Compares every figure of a report that follows from shapes and array.

    Raises:
      InputError: a cell is not what its column says, or the rows are not the layers.
    """
    works, lines = from_scalesim.load(run.topology), list(_cells(read(path)))
    header = [_plain(cell) for cell in lines[0][1]]
    for column in _NEEDED[name]:
        if header.count(column) != 1:
            wrong = "is there twice" if column in header else "is missing"
            raise InputError(
                f"`{path}` line {lines[0][0]}: column {column!r} {wrong}; "
                f"{name}.csv has {', '.join(_NEEDED[name])}."
            )
    layers = sum(work.repeats for work in works)
    if len(lines) - 1 != layers:
        raise InputError(
            f"`{path}` has {len(lines) - 1} rows, and `{run.topology}` {layers} layers; "
            f"give the topology that it was made from."
        )
    each = (work for work in works for _ in range(work.repeats))
    found: list[Difference] = []
    for index, (work, (line, cells)) in enumerate(zip(each, lines[1:], strict=True)):
        row = _Row(path=path, line=line, cells=dict(zip(header, cells, strict=False)))
        if row.whole(_ID) != index:
            raise row.refusal(_ID, f"must be {index}, as rows stand in order")
        found += _differences(row, name, work, run)
    figures = sum(column not in (_ID, _STALLS) for column in _NEEDED[name])
    return Parity(rows=layers, figures=layers * figures, differences=tuple(found))


@dataclass(frozen=True, kw_only=True)
class _Row:
    path: Path
    line: int
    cells: dict[str, str]

    def refusal(self, column: str, rule: str) -> InputError:
        value = brief(self.cells.get(column, ""))
        return InputError(f"`{self.path}` line {self.line}: `{column}` (={value}) {rule}.")

    def whole(self, column: str) -> int:
        text = self.cells.get(column, "")
        # Some versions print counts as floats.
        if not re.fullmatch(r"[0-9]{1,18}(\.0)?", text):
            raise self.refusal(column, "must be a whole number")
        return int(text.partition(".")[0])

    def percentage(self, column: str) -> float:
        text = self.cells.get(column, "")
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,20})?(e-[0-9]{1,2})?", text):
            raise self.refusal(column, "must be a percentage such as 74.4321")
        return float(text)


def _differences(
    row: _Row, name: Name, work: LayerWorkload, run: Run
) -> Iterator[Difference]:
    shape, array = (work.M, work.K, work.N), _array(run)
    stalls = row.whole(_STALLS) if _STALLS in _NEEDED[name] else 0
    try:
        figures = scalesim.figures(*shape, **array, stall_cycles=stalls)
    except InputError as error:
        raise InputError(f"`{row.path}` line {row.line}: {error}") from None
    for column in _NEEDED[name]:
        if column in (_ID, _STALLS):
            continue
        if column in _COUNTS:
            computed = getattr(figures, _COUNTS[column])
            right = None if row.whole(column) == computed else str(computed)
        else:
            exact: Fraction = (
                scalesim.compute_util_pct(*shape, **array)
                if column == _COMPUTE_UTIL
                else getattr(figures, _PERCENTAGES[column])
            )
            right = right_percentage(row.percentage(column), row.cells[column], exact)
        if right is not None:
            yield Difference(
                line=row.line,
                case=work.name,
                column=column,
                found=row.cells[column],
                computed=right,
            )


def _array(run: Run) -> dict:
    return {"rows": run.rows, "cols": run.cols, "dataflow": run.dataflow}


def _plain(text: str) -> str:
    return " ".join(printable(text).lower().split())


def _cells(text: str) -> Iterator[tuple[int, list[str]]]:
    """Lines that hold anything, with their numbers."""
    separator = next((one for one in ",;\t" if text.split("\n", 1)[0].count(one) > 1), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield reader.line_num, stripped
    except csv.Error as error:
        raise InputError(f"line {reader.line_num}: no valid CSV: {error}.") from None
