"""SCALE-Sim topology files: rows of convolutions, or of matrix products.

    name, IFMAP height, IFMAP width, filter height, filter width, channels, filters,
        stride [, stride width] [, sparsity]
    name, M, N, K [, sparsity]

Their meaning is SCALE-Sim's. Heights and widths hold the padding. A window that lies
partly beyond the map counts: P = ceil((H - R) / stride) + 1, so that such a layer has a
row more than a convolution has elsewhere. One stride means both axes. A name with "DP" is
depthwise: `channels` products, each of one channel and all the filters of the row.

The first line is a header if it holds no numbers; a header of M, N and K may give them in
another order. Whether there are two strides is seen from the first layer. The comma at the
end of a line may be missing; behind it a remark may stand. (SCALE-Sim itself loses the last
field of a row without it.) Zeros that are left out on purpose, a sparsity other than 1:1,
are refused. Nothing says what feeds a layer, so that no layer is `chained`.

Reference: scalesim 3.0.0, `topology_utils.py`; github.com/scalesim-project/SCALE-Sim.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from accel.cost.work import Work
from accel.cost.workload import Workload
from accel.imports.outside import (
    LARGEST_SIZE,
    printable,
    read,
    require_countable,
    require_images,
)
from configs.checks import brief
from configs.errors import InputError

LIMIT_BYTES = 1 << 20
_KIND = "a SCALE-Sim topology (CSV)"
_CONV = (
    "IFMAP height", "IFMAP width", "Filter height", "Filter width", "Channels",
    "Num filter", "Stride height",
)  # fmt: skip
_STRIDE_WIDTH = "Stride width"
_GEMM = ("M", "N", "K")
_SPARSITY = "Sparsity"
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")
_DIGITS = re.compile(r"[0-9]{1,10}")
_DENSE = re.compile(r"([0-9]{1,4})\s*:\s*\1")


@dataclass(frozen=True)
class _Row:
    """The fields of a line, without its remark and the comma at its end."""

    path: Path
    line: int
    fields: tuple[str, ...]

    def refusal(self, column: str, value: object, rule: str) -> InputError:
        return InputError(
            f"`{self.path}` line {self.line}: `{column}` (={brief(value)}) {rule}"
        )

    @property
    def name(self) -> str:
        name = self.fields[0]
        if not name or printable(name) != name:
            rule = "must be a short line of text; name the layer, like Conv1."
            raise self.refusal("Layer name", name, rule)
        return name

    def sizes(self, columns: tuple[str, ...]) -> dict[str, int]:
        """The whole number of each column, the first of which stands behind the name."""
        given = self.fields[1:]
        if len(given) < len(columns):
            raise self.refusal(
                columns[len(given)],
                "",
                f"is missing: the line has {len(self.fields)} fields, not "
                f"{len(columns) + 1} ({', '.join(('Layer name', *columns))}); add it.",
            )
        self._require_dense(given[len(columns) :])
        return {
            column: self._size(column, text)
            for column, text in zip(columns, given, strict=False)
        }

    def _size(self, column: str, text: str) -> int:
        if not _DIGITS.fullmatch(text) or not 1 <= int(text) < LARGEST_SIZE:
            rule = f"must be a whole number in 1..{LARGEST_SIZE - 1}; write it like 3."
            raise self.refusal(column, text, rule)
        return int(text)

    def _require_dense(self, rest: tuple[str, ...]) -> None:
        """Refuses a sparsity of N:M other than all of M, and fields beyond it."""
        if rest and not _DENSE.fullmatch(rest[0]):
            rule = "must be 1:1, all weights, or be left out; sparse layers are not known."
            raise self.refusal(_SPARSITY, rest[0], rule)
        if rest[1:]:
            raise self.refusal(
                f"field {len(self.fields) - len(rest) + 2}", rest[1], "is one too many; "
                "remove it, or put a remark behind the last comma, like #this.",
            )  # fmt: skip


def workload(path: Path, images: int = 1) -> Workload:
    """The layers of a file for a batch. Rows of maps are images; a list of products is one
    pass, whatever its rows stand for.

    Raises:
      InputError: as `load`.
    """
    works = load(path, images)
    maps = any(work.images != work.M for work in works)
    unit = "image" if maps else "pass"
    return Workload(works=tuple(works), inferences=images, unit=unit)


def load(path: Path, images: int = 1) -> list[Work]:
    """The layers of a file for some images, in order.

    Raises:
      InputError: the file is no topology; names line, column and value.
    """
    require_images(images)
    rows = list(_rows(path))
    header = () if _is_data(rows[0]) else rows[0].fields
    data = rows[1:] if header else rows
    if not data:
        raise InputError(f"`{path}` has a header and no layers; add a line for each.")
    if header:
        columns = _columns(header, path)
    else:
        columns = _GEMM if _sizes(data[0]) == len(_GEMM) else _CONV
    work = _conv
    if "M" in columns:
        work = _gemm
    elif _sizes(data[0]) > len(_CONV):
        columns = (*_CONV, _STRIDE_WIDTH)
    return [
        require_countable(work(row, columns, images), f"`{path}` line {row.line}")
        for row in data
    ]


def _rows(path: Path) -> Iterator[_Row]:
    """The lines of a file that are not blank; at least one."""
    content = read(path, LIMIT_BYTES, _KIND)
    try:
        text = content.decode("utf-8-sig")
        bad = text.find("\0")
    except UnicodeDecodeError as error:
        bad = error.start
    if bad >= 0:
        raise InputError(
            f"`{path}` must be text in UTF-8, not so at byte {bad}; give {_KIND}."
        )
    if not text.strip():
        raise InputError(f"`{path}` holds no layers; give {_KIND}.")
    # Not splitlines: it also breaks at characters that belong into no file.
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if line.strip():
            fields = tuple(field.strip() for field in line.split(","))
            if len(fields) > 1 and (not fields[-1] or fields[-1].startswith("#")):
                fields = fields[:-1]
            yield _Row(path, number, fields)


def _is_data(row: _Row) -> bool:
    """Whether a first line is a layer: any field behind the name is a number."""
    return any(_NUMBER.fullmatch(field) for field in row.fields[1:])


def _sizes(row: _Row) -> int:
    """How many fields behind the name are sizes."""
    return sum(":" not in field for field in row.fields[1:])


def _columns(header: tuple[str, ...], path: Path) -> tuple[str, ...]:
    """Names that a header gives the fields behind the layer's name, in order.

    Of convolutions the places count, as in SCALE-Sim, whatever the header calls them.
    """
    names = tuple(field.upper() for field in header[1:])
    if set(names[:3]) == set(_GEMM):
        return names[:3]
    if len(names) < len(_CONV) or not names[0].startswith("IFMAP"):
        raise InputError(
            f"`{path}`: the first line (={brief(','.join(header))}) must be a layer or a "
            f"header; the header is Layer name, {', '.join(_CONV)}, or Layer name, M, N, K."
        )
    return _CONV


def _gemm(row: _Row, columns: tuple[str, ...], images: int) -> Work:
    sizes = row.sizes(columns)
    return Work(
        name=row.name,
        images=images * sizes["M"],
        row_bytes=sizes["K"],
        K=sizes["K"],
        N=sizes["N"],
    )


def _conv(row: _Row, columns: tuple[str, ...], images: int) -> Work:
    sizes = row.sizes(columns)
    height, width, R, S, C, F, stride, *more = sizes.values()
    across = more[0] if more else stride
    for what, kernel, size in (("height", R, height), ("width", S, width)):
        if kernel > size:
            raise row.refusal(
                f"Filter {what}", kernel,
                f"must be at most the IFMAP {what} {size}, which holds the padding; "
                f"enlarge the IFMAP by it.",
            )  # fmt: skip
    P, Q = -((R - height) // stride) + 1, -((S - width) // across) + 1
    depthwise = "DP" in row.name
    channels = 1 if depthwise else C
    return Work(
        name=row.name,
        images=images,
        out_rows=P,
        out_cols=Q,
        kernel_rows=R,
        stride=stride,
        row_bytes=((Q - 1) * across + S) * channels,
        col_bytes=across * channels,
        K=R * S * channels,
        N=F,
        repeats=C if depthwise else 1,
    )
