"""SCALE-Sim topology files, and transformers in the same form: tables of layers.

    Layer name, IFMAP height, IFMAP width, Filter height, Filter width, Channels,
        Num filter, Stride height [, Stride width] [, Padding, Dilation, Groups]
    Layer, M, N, K [, Second factor]
    Layer, Sequence, Heads, Head size [, KV length] [, KV heads]

each with Repeat, Batch size, Sparsity where they are wanted (`columns.py`; `rows.py` says
what a line may look like). The meaning of maps is SCALE-Sim's. Heights and widths hold the
padding; what a column Padding says is added around them. A window that lies partly beyond
the map counts: P = ceil((H - R) / stride) + 1, so that such a layer has a row more than a
convolution has elsewhere. One stride means both axes. A name with "DP" is depthwise:
`channels` products, each of one channel and all the filters of the row.

A product is [M, K] x [K, N]. Its second factor is `weights`, or `activations`, which
every inference has of its own: a batch then makes more products, not taller ones. Attention
of a sequence of S queries over L keys and values (S if not given), with H heads of size d,
is two products for every head: scores [S, d] x [d, L] and context [S, L] x [L, d]. With
fewer KV heads the queries of a group share keys: their rows are one product. Projections
are products of their own. `Repeat` says how many such layers there are, each with weights
of its own.

Zeros that are left out on purpose, a sparsity other than 1:1, are refused. Nothing says
what feeds a layer, so that no layer is `chained`.

Reference: scalesim 3.0.0, `topology_utils.py`; github.com/scalesim-project/SCALE-Sim.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from accel.cost.work import Work
from accel.cost.workload import Workload
from accel.imports import columns as cols
from accel.imports.outside import require_countable, require_images
from accel.imports.rows import Row, lines
from configs.errors import InputError

LIMIT_BYTES = 1 << 20
_KIND = "a SCALE-Sim topology (CSV)"
_DENSE = re.compile(r"([0-9]{1,4})\s*:\s*\1")


def load(path: Path, images: int = 1) -> list[Work]:
    """The layers of a file for a batch, in order.

    Raises:
      InputError: the file is no topology; names line, column and value.
    """
    return list(workload(path, images).works)


def workload(path: Path, images: int = 1) -> Workload:
    """The layers of a file for a batch, and how many inferences they are.

    Maps are images; a file with a product of no maps is a pass, whatever the rows of its
    products stand for.

    Raises:
      InputError: the file is no topology; names line, column and value.
    """
    require_images(images)
    works, batches, passes, remarks = [], set(), False, {}
    for table, row in _layers(path):
        cells = table.of(row)
        _require_dense(row, cells.get(cols.SPARSITY))
        size = _Sizes(row, cells)
        batch = size(cols.BATCH)
        found = _MAKE[table.sort](row, size, images * batch)
        where = f"`{path}` line {row.line}"
        works += [require_countable(work, where) for work in found]
        batches.add(batch)
        passes |= table.sort != cols.MAPS
        if size(cols.PADDING, default=0, least=0):
            remarks["Padding"] = "Zeros of the column `Padding` are added on every side."
    (batch,) = batches if len(batches) == 1 else (1,)
    if len(batches) > 1:
        passes = True
        remarks["Batch"] = "Layers of different `Batch size` are one pass together."
    return Workload(
        works=tuple(works),
        inferences=images * batch,
        unit="pass" if passes else "image",
        remarks=tuple(remarks.values()),
    )


def _layers(path: Path) -> Iterator[tuple[cols.Columns, Row]]:
    """Every row that is a layer, with the columns that count for it."""
    rows = list(lines(path, LIMIT_BYTES, _KIND))
    columns, header, count = None, None, 0
    for at, row in enumerate(rows):
        if row.is_data:
            columns = columns or cols.by_place(row)
            count += 1
            yield columns, row
            continue
        if (row.is_title and len(rows) > 1) or (header and row.fields == header):
            continue
        later = (other for other in rows[at + 1 :] if other.is_data)
        columns, header = cols.by_header(row, next(later, row), path), row.fields
    if not count:
        raise InputError(f"`{path}` has a header and no layers; add a line for each.")


def _require_dense(row: Row, sparsity: str | None) -> None:
    """Refuses a sparsity of N:M other than all of M."""
    if sparsity is not None and not _DENSE.fullmatch(sparsity):
        rule = "must be 1:1, all weights, or be left out; sparse layers are not known."
        raise row.refusal(cols.SPARSITY, sparsity, rule)


class _Sizes:
    """Whole numbers of a row by column; 1 where a column may be left out and is."""

    def __init__(self, row: Row, cells: dict[str, str]) -> None:
        self.row, self.cells = row, cells

    def __call__(self, column: str, *, default: int = 1, least: int = 1) -> int:
        text = self.cells.get(column)
        return default if text is None else self.row.size(column, text, least)

    @property
    def name(self) -> str:
        return self.row.name(self.cells.get(cols.NAME, ""))


def _product(row: Row, size: _Sizes, images: int) -> list[Work]:
    """[M, K] x [K, N], the second factor weights or activations."""
    M, N, K = (size(column) for column in cols.PRODUCTS)
    repeat = size(cols.REPEAT)
    second = size.cells.get(cols.SECOND, "weights").lower()
    if second not in ("weights", "activations"):
        rule = "must be weights or activations; leave it out for weights."
        raise row.refusal(cols.SECOND, second, rule)
    same = {"name": size.name, "row_bytes": K, "K": K, "N": N}
    if second == "activations":
        return [Work(**same, images=M, repeats=images * repeat, weight_sets=0)]
    return [Work(**same, images=images * M, repeats=repeat)]


def _attention(row: Row, size: _Sizes, images: int) -> list[Work]:
    """Scores and context of every head."""
    queries, heads, depth = (size(column) for column in cols.ATTENTION)
    keys = size(cols.KV_LENGTH, default=queries)
    groups = size(cols.KV_HEADS, default=heads)
    if heads % groups:
        rule = f"must divide the {heads} `Heads`; use as many, or fewer that do."
        raise row.refusal(cols.KV_HEADS, groups, rule)
    times = {
        "images": queries * (heads // groups),
        "repeats": images * size(cols.REPEAT) * groups,
        "weight_sets": 0,
    }
    name = size.name
    return [
        Work(name=f"{name}.scores", row_bytes=depth, K=depth, N=keys, **times),
        Work(name=f"{name}.context", row_bytes=keys, K=keys, N=depth, **times),
    ]


def _maps(row: Row, size: _Sizes, images: int) -> list[Work]:
    """A convolution, in groups if there are any."""
    height, width, R, S, C, F, stride = (size(column) for column in cols.MAPS)
    across = size(cols.STRIDE_WIDTH, default=stride)
    around = 2 * size(cols.PADDING, default=0, least=0)
    apart = size(cols.DILATION)
    height, width = height + around, width + around
    tall, wide = (R - 1) * apart + 1, (S - 1) * apart + 1
    for what, kernel, shown, whole in (
        ("height", tall, R, height),
        ("width", wide, S, width),
    ):
        if kernel > whole:
            raise row.refusal(
                f"Filter {what}", shown,
                f"must be at most the IFMAP {what} {whole}, which holds the padding; "
                f"enlarge the IFMAP by it.",
            )  # fmt: skip
    P, Q = -((tall - height) // stride) + 1, -((wide - width) // across) + 1
    channels, filters, products = _grouped(row, size, C, F)
    return [
        Work(
            name=size.name,
            images=images,
            out_rows=P,
            out_cols=Q,
            kernel_rows=tall,
            stride=stride,
            row_bytes=((Q - 1) * across + wide) * channels,
            K=R * S * channels,
            N=filters,
            repeats=products * size(cols.REPEAT),
        )
    ]


def _grouped(row: Row, size: _Sizes, C: int, F: int) -> tuple[int, int, int]:
    """Channels and filters of one product, and how many products there are."""
    groups = size(cols.GROUPS)
    if groups > 1:
        for column, value in (("Channels", C), ("Num filter", F)):
            if value % groups:
                rule = f"must be a multiple of the {groups} `Groups`."
                raise row.refusal(column, value, rule)
        return C // groups, F // groups, groups
    return (1, F, C) if "DP" in size.name else (C, F, 1)


_MAKE = {cols.MAPS: _maps, cols.PRODUCTS: _product, cols.ATTENTION: _attention}
