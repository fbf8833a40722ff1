"""SCALE-Sim's own COMPUTE_REPORT.csv, computed again for the topology and array it is of.

The report names layers by number and holds no shapes: the topology and the array, which
stand in the files that SCALE-Sim was started with, are told beside it. Compared are the
cycles without prefetch and both utilisations that follow from them; stalls are taken as
they are. Versions 2 and 3, which has prefetch in a column of its own, are read alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from accel.cost.work import Work
from accel.imports import topology
from accel.imports.rows import Row, lines
from accel.predict import parity, scalesim
from configs.checks import require_positive
from configs.errors import InputError

LIMIT_BYTES = 4 << 20
_KIND = "a COMPUTE_REPORT.csv of SCALE-Sim"
_ID, _TOTAL, _STALL = "LayerID", "Total Cycles", "Stall Cycles"
_FIGURES = {
    _TOTAL: "total_cycles",
    "Overall Util %": "util_pct",
    "Mapping Efficiency %": "mapping_eff_pct",
}
_NEEDED = (_ID, _TOTAL, _STALL)


@dataclass(frozen=True, kw_only=True)
class Array:
    """What a report is of: what SCALE-Sim was given."""

    topology: Path
    rows: int
    cols: int
    dataflow: str

    def __post_init__(self) -> None:
        require_positive(self, "rows", "cols")


def is_report(path: Path) -> bool:
    """Whether a file begins as one of SCALE-Sim's own reports does."""
    first = next(lines(path, LIMIT_BYTES, "a CSV file"), None)
    return first is not None and first.fields[0].replace(" ", "") == _ID


def compare(path: Path, array: Array | None) -> parity.Parity:
    """Every layer of a report against the closed forms.

    Raises:
      InputError: it is another report, is not told what it is of, or holds other layers
        than the topology.
    """
    header, *rows = lines(path, LIMIT_BYTES, _KIND)
    missing = [name for name in _NEEDED if name not in header.fields]
    if missing:
        raise InputError(
            f"`{path}` has no column `{missing[0]}`: of SCALE-Sim's reports only "
            f"COMPUTE_REPORT.csv holds what can be computed again; name that one."
        )
    if array is None:
        raise InputError(
            f"`{path}` is a COMPUTE_REPORT.csv, which holds no shapes; say what it is of: "
            f"--topology NET.csv --rows R --cols C --dataflow ws, as SCALE-Sim was given "
            f"them."
        )
    products = list(_products(topology.load(array.topology)))
    if len(rows) != len(products):
        raise InputError(
            f"`{path}` holds {len(rows)} layers, and `--topology` (={array.topology}) "
            f"{len(products)}; give the topology that it was made from."
        )
    found: list[parity.Difference] = []
    columns = [name for name in _FIGURES if name in header.fields]
    for row in rows:
        found += _differences(row, header.fields, columns, products, array)
    return parity.Parity(
        rows=len(rows), figures=len(rows) * len(columns), differences=tuple(found)
    )


def _products(works: list[Work]) -> Iterator[Work]:
    """One layer of a report each: channels of a depthwise layer stand apart there."""
    for work in works:
        yield from (work for _ in range(work.repeats))


def _differences(
    row: Row,
    header: tuple[str, ...],
    columns: list[str],
    products: list[Work],
    array: Array,
) -> Iterator[parity.Difference]:
    cells = dict(zip(header, row.fields, strict=False))
    for name in (*_NEEDED, *columns):
        if name not in cells:
            raise row.refusal(name, "", "is missing; give the report as it was written.")
    number = row.size(_ID, cells[_ID], 0)
    if number >= len(products):
        raise row.refusal(_ID, number, f"must be below the {len(products)} layers.")
    work = products[number]
    right = scalesim.figures(
        work.M,
        work.K,
        work.N,
        rows=array.rows,
        cols=array.cols,
        dataflow=array.dataflow,
        stall_cycles=row.size(_STALL, cells[_STALL], 0),
    )
    for column in columns:
        computed = getattr(right, _FIGURES[column])
        try:
            found = parity.shown_if_other(cells[column], computed)
        except ValueError:
            rule = "must be a number as SCALE-Sim prints it, such as 74.4321."
            raise row.refusal(column, cells[column], rule) from None
        if found is not None:
            yield parity.Difference(
                line=row.line,
                case=work.name,
                column=column,
                found=cells[column],
                computed=found,
            )
