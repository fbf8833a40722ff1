"""SCALE-Sim topology files: rows of convolutions, of matrix products, or of attentions.

    name, IFMAP height, IFMAP width, filter height, filter width, channels, filters,
        stride [, stride width] [, sparsity]
    name, M, N, K [, sparsity]

A header may name these in another order, and more: padding, dilation, groups, a batch, how
often a layer is repeated, what the second factor of a product is (`topology_columns`).
Several tables may follow each other, each with its header; a line that holds nothing but a
text is a title.

Their meaning is SCALE-Sim's. Heights and widths hold the padding; a column of paddings is
added on both sides. A window that lies partly beyond the map counts: P = ceil((H - R) /
stride) + 1, so that such a layer has a row more than a convolution has elsewhere. One
stride means both axes. A name with "DP" is depthwise: `channels` products, each of one
channel and all the filters of the row. Zeros that are left out on purpose, a sparsity other
than 1:1, are refused. Nothing says what feeds a layer, so that no layer is `chained`.

The comma at the end of a line may be missing; behind it a remark may stand. (SCALE-Sim
itself loses the last field of a row without it.)

Reference: scalesim 3.0.0, `topology_utils.py`; github.com/scalesim-project/SCALE-Sim.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from accel.workload import topology_columns as columns_of
from accel.workload.bounds import require_countable, require_images
from accel.workload.layer import LayerWorkload
from accel.workload.topology_columns import BATCH, Columns, Kind
from accel.workload.topology_layers import products, windows
from accel.workload.topology_lines import Line, lines
from accel.workload.topology_rows import Row, row
from accel.workload.workload import Workload
from configs.errors import InputError

LIMIT_BYTES = 1 << 20
_KIND = "a SCALE-Sim topology (CSV)"
# Lines named in one remark, at most.
_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class _Table:
    """The layers of a file, before anything is multiplied."""

    rows: tuple[Row, ...]
    # Images or passes that a line is for: its column Batch Size.
    batch: int
    remarks: tuple[str, ...]


def workload(path: Path, images: int = 1) -> Workload:
    """The layers of a file for a batch. Rows of maps are images; a list of products is one
    pass, whatever its rows stand for. A file with a batch of its own is that many.

    Raises:
      InputError: as `load`.
    """
    require_images(images)
    table = _read(path)
    maps = any(one.columns.kind is Kind.CONV for one in table.rows)
    return Workload(
        works=_works(path, table, images),
        inferences=images * table.batch,
        unit="image" if maps else "pass",
        remarks=table.remarks,
    )


def load(path: Path, images: int = 1) -> list[LayerWorkload]:
    """The layers of a file for some images, in order.

    Raises:
      InputError: the file is no topology; names line, column and value.
    """
    require_images(images)
    return list(_works(path, _read(path), images))


def _works(path: Path, table: _Table, images: int) -> tuple[LayerWorkload, ...]:
    found: dict[str, LayerWorkload] = {}
    for one in table.rows:
        line = one.line.number
        for work in products(one, images * table.batch):
            # Results are told by the names of layers; a file may give one to several.
            while work.name in found:
                work = replace(work, name=f"{work.name} (line {line})")
            found[work.name] = require_countable(work, f"`{path}` line {line}")
    return tuple(found.values())


def _read(path: Path) -> _Table:
    columns: Columns | None = None
    rows: list[Row] = []
    titles: list[Line] = []
    said: dict[str, None] = {}
    for line in lines(path, LIMIT_BYTES, _KIND):
        if line.remark and columns:
            continue
        header = None if line.holds_number else columns_of.headed(line)
        if header:
            columns = header
            said |= dict.fromkeys(header.remarks)
        elif line.remark:
            continue
        elif line.title:
            titles.append(line)
        else:
            columns = columns or _first(path, line)
            one, decided = row(line, columns)
            rows.append(one)
            said |= dict.fromkeys(decided)
    if not rows and columns:
        raise InputError(f"`{path}` has a header and no layers; add a line for each.")
    if not rows:
        raise InputError(f"`{path}` holds no layers; give {_KIND}.")
    said |= dict.fromkeys(_stated(rows, titles))
    return _Table(
        rows=tuple(rows),
        batch=_batch(rows),
        remarks=tuple(f"{path.name}: {remark}." for remark in said),
    )


def _first(path: Path, line: Line) -> Columns:
    """The columns of a table that begins without a header."""
    if not line.holds_number:
        raise columns_of.no_header(path, line)
    return columns_of.standing(line)


def _batch(rows: list[Row]) -> int:
    """What the column Batch Size says, the same on every line.

    Raises:
      InputError: two lines differ; a machine runs all layers for the same batch.
    """
    batch = rows[0].size(BATCH, 1)
    for one in rows[1:]:
        if one.size(BATCH, 1) != batch:
            rule = (
                f"must be the {batch} of line {rows[0].line.number}; make the lines alike"
            )
            raise one.refusal(BATCH, f"{rule}, or leave the column out and use --batch.")
    return batch


def _stated(rows: list[Row], titles: list[Line]) -> list[str]:
    """What a reader should know before the figures are compared with others."""
    maps = [one for one in rows if one.columns.kind is Kind.CONV]
    padded = any(one.pair("Padding", 0, low=0) != (0, 0) for one in maps)
    beyond = [one.line for one in maps if windows(one).beyond]
    found = []
    if titles:
        titled = ", ".join(f"{line.title!r}" for line in titles[:_NAMED])
        found.append(
            f"{_numbered(titles)} no layer but a title ({titled}"
            f"{', ...' if titles[_NAMED:] else ''})"
        )
    if any(one.columns.kind is Kind.ATTENTION for one in rows):
        found.append("the softmax between scores and context is not counted")
    if padded:
        found.append("the paddings are added on both sides of the maps")
    if beyond:
        found.append(
            f"windows that lie partly beyond the map count, as in SCALE-Sim "
            f"({_numbered(beyond, verb=False)})"
        )
    if BATCH in rows[0].cells:
        batch = rows[0].size(BATCH)
        found.append(f"its {BATCH} of {batch} is multiplied by what --batch asks for")
    return found


def _numbered(found: list[Line], *, verb: bool = True) -> str:
    numbers = ", ".join(str(line.number) for line in found[:_NAMED])
    many = len(found) > 1
    more = f" and {len(found) - _NAMED} more" if found[_NAMED:] else ""
    said = (" are" if many else " is") if verb else ""
    return f"line{'s' if many else ''} {numbers}{more}{said}"
