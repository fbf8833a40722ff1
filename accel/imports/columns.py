"""Which column of a topology means what: by its header, else by its place.

    maps       Layer name, IFMAP height, IFMAP width, Filter height, Filter width, Channels,
               Num filter, Stride height [, Stride width]
    products   Layer, M, N, K
    attention  Layer, Sequence, Heads, Head size [, KV length, KV heads]

and with each, in any order, what changes a row: Batch size, Padding, Dilation, Groups,
Repeat, Sparsity, Second factor. A header begins a table, so that a file may hold several.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accel.imports.rows import Row
from configs.checks import brief
from configs.errors import InputError

NAME = "Layer name"
MAPS = (
    "IFMAP height", "IFMAP width", "Filter height", "Filter width", "Channels",
    "Num filter", "Stride height",
)  # fmt: skip
STRIDE_WIDTH = "Stride width"
PRODUCTS = ("M", "N", "K")
ATTENTION = ("Sequence", "Heads", "Head size")
SPARSITY, REPEAT, BATCH = "Sparsity", "Repeat", "Batch size"
PADDING, DILATION, GROUPS = "Padding", "Dilation", "Groups"
SECOND = "Second factor"
KV_LENGTH, KV_HEADS = "KV length", "KV heads"
# Columns that may stand in any table, and those of one sort alone.
_ALWAYS = (SPARSITY, REPEAT, BATCH)
_OPTIONAL = {
    MAPS: (STRIDE_WIDTH, PADDING, DILATION, GROUPS, *_ALWAYS),
    PRODUCTS: (SECOND, *_ALWAYS),
    ATTENTION: (KV_LENGTH, KV_HEADS, REPEAT, BATCH),
}
# Other names, in small letters and digits alone.
_NAMES = {
    NAME: ("layername", "layer", "name", "layerid", "operator"),
    "IFMAP height": ("ifmapheight", "ifmaph", "inputheight", "ih", "h"),
    "IFMAP width": ("ifmapwidth", "ifmapw", "inputwidth", "iw", "w"),
    "Filter height": ("filterheight", "filterh", "kernelheight", "fh", "r"),
    "Filter width": ("filterwidth", "filterw", "kernelwidth", "fw", "s"),
    "Channels": ("channels", "channel", "inputchannels", "numchannels", "inchannels", "c"),
    "Num filter": (
        "numfilter", "numfilters", "numoffilters", "filters", "outputchannels",
        "outchannels", "numoffilter", "filternum",
    ),
    "Stride height": ("strideheight", "strides", "stride", "strideh"),
    STRIDE_WIDTH: ("stridewidth", "stridew"),
    "M": ("m",),
    "N": ("n",),
    "K": ("k",),
    "Sequence": ("sequence", "seq", "seqlen", "sequencelength", "querylength", "tokens"),
    "Heads": ("heads", "numheads", "queryheads"),
    "Head size": ("headsize", "headdim", "headdimension"),
    KV_LENGTH: ("kvlength", "kvlen", "kvseqlen", "contextlength", "keylength"),
    KV_HEADS: ("kvheads", "numkvheads", "keyheads"),
    SPARSITY: ("sparsity", "sparsityratio"),
    REPEAT: ("repeat", "repeats", "count", "times", "x"),
    BATCH: ("batchsize", "batch"),
    PADDING: ("padding", "pad"),
    DILATION: ("dilation", "dilations"),
    GROUPS: ("groups", "group"),
    SECOND: ("secondfactor", "second", "rightfactor"),
}  # fmt: skip
_MEANING = {alias: name for name, aliases in _NAMES.items() for alias in aliases}


@dataclass(frozen=True)
class Columns:
    """The sort of a table (`MAPS`, `PRODUCTS`, `ATTENTION`) and its columns in order; a
    column that nothing is known of has its own words and a `*` before them."""

    sort: tuple[str, ...]
    order: tuple[str, ...]

    def of(self, row: Row) -> dict[str, str]:
        """Texts of a row by column; what is empty is left out.

        Raises:
          InputError: a column with a value is unknown, a needed one is missing, or there
            are more fields than columns.
        """
        surplus = row.fields[len(self.order) :]
        if surplus:
            raise row.refusal(
                f"field {len(self.order) + 1}", surplus[0], "is one too many; "
                "remove it, or put a remark behind the last comma, like #this.",
            )  # fmt: skip
        found = {c: v for c, v in zip(self.order, row.fields, strict=False) if v}
        for column, value in found.items():
            if column.startswith("*"):
                known = ", ".join((*self.sort, *_OPTIONAL[self.sort]))
                raise row.refusal(
                    column[1:], value,
                    f"stands in a column that is not known; known are {known}. Empty the "
                    f"column if it changes nothing.",
                )  # fmt: skip
        for column in self.sort:
            if column not in found:
                given = len(row.fields)
                raise row.refusal(
                    column, "", f"is missing: the line has {given} fields; add it."
                )
        return found


def by_place(row: Row) -> Columns:
    """Of a table without a header: what the number of sizes in its first row says.

    A field like 1:1 is a sparsity; a ninth number of maps is the stride across.
    """
    sizes = sum(":" not in field for field in row.fields[1:])
    if sizes == len(PRODUCTS):
        return Columns(PRODUCTS, (NAME, *PRODUCTS, SPARSITY))
    across = (STRIDE_WIDTH,) if sizes > len(MAPS) else ()
    return Columns(MAPS, (NAME, *MAPS, *across, SPARSITY))


def by_header(header: Row, first: Row, path: Path) -> Columns:
    """Of a table with a header, in whatever order.

    As in SCALE-Sim the place counts where the words of one of the columns of maps are not
    known and nothing else has its meaning, and a number behind a single `Strides` without
    a header of its own is the stride across.
    """
    words = list(header.fields)
    order = [_MEANING.get(_plain(word), f"*{word}") for word in words]
    order[0] = NAME if order[0].startswith("*") else order[0]
    sort = _sort(order)
    if sort is None:
        raise InputError(
            f"`{path}` line {header.line}: the first line (={brief(','.join(words))}) must "
            f"be a layer or a header; the header is Layer name, {', '.join(MAPS)}, or "
            f"Layer name, {', '.join(PRODUCTS)}, or Layer name, {', '.join(ATTENTION)}."
        )
    if sort == MAPS:
        for at, name in enumerate((NAME, *MAPS)):
            if at < len(order) and order[at].startswith("*") and name not in order:
                order[at] = name
    unfit = (n for n in order if not n.startswith("*"))
    unfit = [n for n in unfit if n not in (NAME, *sort, *_OPTIONAL[sort])]
    twice = [n for n in order if order.count(n) > 1 and n != "*"]
    for names, what in ((unfit, "does not belong into"), (twice, "stands twice in")):
        if names:
            raise InputError(
                f"`{path}` line {header.line}: the column `{names[0]}` {what} a table of "
                f"{', '.join(sort)}; remove it."
            )
    if NAME not in order:
        raise InputError(
            f"`{path}` line {header.line}: the column `{NAME}` is missing; add it."
        )
    return Columns(sort, (*order, *_behind(order, first, sort)))


def _behind(order: Sequence[str], first: Row, sort: tuple[str, ...]) -> tuple[str, ...]:
    """Columns that a first row has behind its header."""
    found: list[str] = []
    for text in first.fields[len(order) :]:
        known = (*order, *found)
        if ":" in text and SPARSITY not in known and SPARSITY in _OPTIONAL[sort]:
            found.append(SPARSITY)
        elif sort == MAPS and known[-1] == MAPS[-1] and STRIDE_WIDTH not in known:
            found.append(STRIDE_WIDTH)
        else:
            break
    if not found and sort == MAPS and order[-1] == MAPS[-1]:
        found.append(SPARSITY)
    return tuple(found)


def _sort(order: Sequence[str]) -> tuple[str, ...] | None:
    if set(PRODUCTS) <= set(order):
        return PRODUCTS
    if set(ATTENTION) <= set(order):
        return ATTENTION
    return MAPS if "IFMAP height" in order and len(order) > len(MAPS) else None


def _plain(word: str) -> str:
    return re.sub(r"\(.*\)|[^a-z0-9]", "", word.lower())
