"""What the columns of a topology mean, told by its header.

A header names its columns in any order and by any of their usual names, with or without
blanks, underscores and capitals. Without a header the places count, as in SCALE-Sim. A
column that nobody knows is refused once a layer has a value in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import Enum
from pathlib import Path

from accel.workload.topology_lines import Line
from configs.checks import brief
from configs.errors import InputError

NAME, NOTE = "Layer name", "Note"
BATCH, REPEAT, SPARSITY = "Batch Size", "Repeat", "Sparsity"
STRIDE_WIDTH = "Stride width"
SECOND_FACTOR = "Second factor"
# In SCALE-Sim's order.
CONV = (
    "IFMAP height", "IFMAP width", "Filter height", "Filter width", "Channels",
    "Num filter", "Stride height",
)  # fmt: skip
GEMM = ("M", "N", "K")
ATTENTION = ("Sequence length", "Heads", "Head size")


class Kind(Enum):
    """What a line of the table is."""

    CONV = "a convolution"
    GEMM = "a matrix product"
    ATTENTION = "an attention"


NEEDED = {Kind.CONV: CONV, Kind.GEMM: GEMM, Kind.ATTENTION: ATTENTION}
_ANYWHERE = (NAME, NOTE, BATCH, REPEAT)
_OPTIONAL = {
    Kind.CONV: (
        STRIDE_WIDTH, "Padding", "Padding height", "Padding width", "Dilation",
        "Dilation height", "Dilation width", "Groups", "Depthwise", SPARSITY,
    ),
    Kind.GEMM: (SPARSITY, SECOND_FACTOR),
    Kind.ATTENTION: ("KV length", "KV heads", "Causal", "Projections", "Width"),
}  # fmt: skip

# Usual names, without blanks, hyphens and underscores, in small letters.
_SYNONYMS = {
    NAME: "layername layer name layers",
    NOTE: "note notes comment comments remark remarks description id index layerid",
    BATCH: "batchsize batch batches",
    REPEAT: "repeat repeats repetitions repeatcount count times x",
    SPARSITY: "sparsity sparsityratio",
    "IFMAP height": "ifmapheight ifmaph inputheight inputh ifheight ifh ih",
    "IFMAP width": "ifmapwidth ifmapw inputwidth inputw ifwidth ifw iw",
    "Filter height": "filterheight filterh kernelheight kernelh fheight fh kh",
    "Filter width": "filterwidth filterw kernelwidth kernelw fwidth fw kw",
    "Channels": "channels channel numchannels numchannel inputchannels inchannels ch",
    "Num filter": "numfilter numfilters filters numberoffilters outputchannels outchannels",
    "Stride height": "strideheight strides stride strideh sh",
    STRIDE_WIDTH: "stridewidth stridew sw",
    "Padding": "padding pad paddings",
    "Padding height": "paddingheight paddingh padheight padh",
    "Padding width": "paddingwidth paddingw padwidth padw",
    "Dilation": "dilation dilations",
    "Dilation height": "dilationheight dilationh",
    "Dilation width": "dilationwidth dilationw",
    "Groups": "groups group",
    "Depthwise": "depthwise dw dp isdepthwise",
    "M": "m",
    "N": "n",
    "K": "k",
    SECOND_FACTOR: "secondfactor secondoperand operandb rhs",
    "Sequence length": "sequencelength sequence seqlen seqlength seq querylength",
    "KV length": "kvlength kvlen kvseqlen kvsequencelength keylength contextlength",
    "Heads": "heads numheads queryheads attentionheads",
    "KV heads": "kvheads numkvheads keyvalueheads",
    "Head size": "headsize headdim headdimension dhead",
    "Causal": "causal",
    "Projections": "projections projection",
    "Width": "width modelwidth hiddensize dmodel embeddingsize",
}
_MEANING = {text: name for name, texts in _SYNONYMS.items() for text in texts.split()}
# Names in a header that are not theirs, at most, if all others stand where SCALE-Sim has
# them: slips such as "IFMAP Width" twice.
_SLIPS = 2
# Share of the letters that a misspelt name has in common with the right one.
_ALIKE = 0.75


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of the lines that follow."""

    kind: Kind
    # What each place holds; None: nobody knows, under the name in `headed`.
    places: tuple[str | None, ...]
    headed: tuple[str, ...] = ()
    # What was decided about them, a sentence each.
    remarks: tuple[str, ...] = ()

    def known(self, place: int) -> str | None:
        """The meaning of a place, if it is one that is known."""
        return self.places[place] if place < len(self.places) else None

    def named(self, place: int) -> str:
        """The name of a place that nobody knows, for a message."""
        name = self.headed[place] if place < len(self.headed) else ""
        return name or f"column {place + 1}"


def standing(line: Line) -> Columns:
    """The columns of a table without a header, seen from its first layer."""
    count = sum(":" not in cell for cell in line.cells[1:])
    kind = Kind.GEMM if count == len(GEMM) else Kind.CONV
    return Columns(kind=kind, places=(NAME, *NEEDED[kind]))


def headed(line: Line) -> Columns | None:
    """The columns that a line names, or None: it is no header.

    Raises:
      InputError: it is one, and a column that is needed is missing, or there twice.
    """
    meanings = [_MEANING.get(_plain(cell)) for cell in line.cells]
    kinds = [
        kind
        for kind, needed in NEEDED.items()
        if sum(name in meanings for name in needed) > len(needed) // 2
    ]
    if not kinds:
        return None
    kind = kinds[0]
    if line.remark and not set(NEEDED[kind]) <= set(meanings):
        return None
    places, remarks = list(meanings), []
    known = (*_ANYWHERE, *NEEDED[kind], *_OPTIONAL[kind])
    for place, name in enumerate(places):
        if name not in known:
            places[place] = None
    if places[0] in (None, NOTE) and NAME not in places:
        places[0] = NAME
    if kind is Kind.CONV:
        remarks = _put_right(line, places)
    _check(line, kind, places)
    return Columns(
        kind=kind, places=tuple(places), headed=line.cells, remarks=tuple(remarks)
    )


def _put_right(line: Line, places: list[str | None]) -> list[str]:
    """Gives slips of a header in SCALE-Sim's order the meaning of their place."""
    front = places[1 : 1 + len(CONV)]
    slips = [i for i, name in enumerate(CONV) if i >= len(front) or front[i] != name]
    missing = [i for i in slips if CONV[i] not in places]
    if missing != slips or len(slips) > _SLIPS or len(front) < len(CONV):
        return []
    if not all(front[i] in CONV or _alike(line.cells[1 + i], CONV[i]) for i in slips):
        return []
    for i in slips:
        places[1 + i] = CONV[i]
    return [
        f"line {line.number}: column {i + 2}, headed {brief(line.cells[i + 1])}, is read "
        f"as {CONV[i]}, which stands there in SCALE-Sim"
        for i in slips
    ]


def _plain(text: str) -> str:
    return re.sub(r"[\s_\-.]+", "", text).lower()


def _alike(text: str, name: str) -> bool:
    """Whether a name is another one misspelt."""
    return SequenceMatcher(None, _plain(text), _plain(name)).ratio() > _ALIKE


def _check(line: Line, kind: Kind, places: list[str | None]) -> None:
    for name in NEEDED[kind]:
        if name not in places:
            raise InputError(
                f"`{line.path}` line {line.number}: the header (={brief(_shown(line))}) "
                f"lacks `{name}`; {form(kind)}"
            )
    for place, name in enumerate(places):
        if name and name != NOTE and name in places[:place]:
            raise line.refusal(name, line.cells[place], "is there twice; remove one.")


def form(kind: Kind) -> str:
    """What a header of such a table may hold, in a sentence."""
    return (
        f"the header of {kind.value} is {', '.join((NAME, *NEEDED[kind]))}, and maybe "
        f"{', '.join((*_OPTIONAL[kind], *_ANYWHERE[1:]))}."
    )


def no_header(path: Path, line: Line) -> InputError:
    """The refusal of a first line that is neither a layer nor a header."""
    return InputError(
        f"`{path}` line {line.number}: the first line (={brief(_shown(line))}) must be a "
        f"layer or a header, which is {NAME}, {', '.join(CONV)}; or {NAME}, "
        f"{', '.join(GEMM)}; or {NAME}, {', '.join(ATTENTION)}."
    )


def _shown(line: Line) -> str:
    return ",".join(line.cells)
