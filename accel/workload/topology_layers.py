"""The products that the layers of a topology are."""

from __future__ import annotations

from typing import NamedTuple

from accel.predict.closed_forms import ceil_divide
from accel.workload.layer import LayerWorkload
from accel.workload.topology_columns import NAME, REPEAT, SECOND_FACTOR, Kind
from accel.workload.topology_rows import Row

_FACTORS = ("weights", "activations")


def products(row: Row, images: int) -> tuple[LayerWorkload, ...]:
    """The products of a line for so many images or passes.

    Raises:
      InputError: a size is none, or contradicts another one.
    """
    match row.columns.kind:
        case Kind.CONV:
            return (convolution(row, images),)
        case Kind.GEMM:
            return (product(row, images),)
        case Kind.ATTENTION:
            return attention(row, images)


def product(row: Row, images: int) -> LayerWorkload:
    """[M, K] x [K, N]: M grows with the passes, unless the second factor changes too."""
    M, N, K = (row.size(column) for column in "MNK")
    repeats = row.size(REPEAT, 1)
    if row.word(SECOND_FACTOR, _FACTORS) == "activations":
        return computed(row.name, M, K, N, repeats * images)
    return weighted(row.name, images * M, K, N, repeats)


def weighted(name: str, M: int, K: int, N: int, repeats: int) -> LayerWorkload:
    """[M, K] x [K, N] with weights, each repeat with its own."""
    return LayerWorkload(name=name, images=M, row_bytes=K, K=K, N=N, repeats=repeats)


def computed(name: str, M: int, K: int, N: int, repeats: int) -> LayerWorkload:
    """[M, K] x [K, N] of two factors that are both computed."""
    found = dict(name=name, images=M, row_bytes=K, K=K, N=N, repeats=repeats)
    return LayerWorkload(**found, weight_sets=0)


class Windows(NamedTuple):
    """Where the kernel of a convolution stands."""

    # How many there are, down and across.
    rows: int
    cols: int
    # From the first row or column of a window to its last, the gaps included.
    reach: tuple[int, int]
    strides: tuple[int, int]
    # Whether the last ones lie partly beyond the map.
    beyond: bool


def windows(row: Row) -> Windows:
    """SCALE-Sim's: P = ceil((H + 2 padding - reach) / stride) + 1, and Q alike.

    The reach of a kernel with gaps is (R - 1) * dilation + 1.

    Raises:
      InputError: the kernel is larger than the map.
    """
    pads, gaps = row.pair("Padding", 0, low=0), row.pair("Dilation", 1)
    down = row.size("Stride height")
    strides = down, row.size("Stride width", down)
    counts, reaches, beyond = [], [], False
    for side, pad, gap, stride in zip(
        ("height", "width"), pads, gaps, strides, strict=True
    ):
        size = row.size(f"IFMAP {side}") + 2 * pad
        reach = (row.size(f"Filter {side}") - 1) * gap + 1
        if reach > size:
            raise row.line.refusal(
                f"Filter {side}", reach,
                f"must be at most the IFMAP {side} {size}, which holds the padding; "
                f"enlarge the IFMAP by it.",
            )  # fmt: skip
        counts.append(ceil_divide(size - reach, stride) + 1)
        reaches.append(reach)
        beyond |= (size - reach) % stride > 0
    return Windows(*counts, (reaches[0], reaches[1]), strides, beyond)


def convolution(row: Row, images: int) -> LayerWorkload:
    """The product of all windows; groups cut channels and filters alike, so many products
    of channels / groups."""
    found = windows(row)
    kernel = row.size("Filter height") * row.size("Filter width")
    columns = (found.cols - 1) * found.strides[1] + found.reach[1]
    groups, channels, filters = _grouped(row)
    return LayerWorkload(
        name=row.name,
        images=images,
        out_rows=found.rows,
        out_cols=found.cols,
        kernel_rows=found.reach[0],
        stride=found.strides[0],
        row_bytes=columns * channels,
        col_bytes=found.strides[1] * channels,
        K=kernel * channels,
        N=filters,
        repeats=groups * row.size(REPEAT, 1),
    )


def _grouped(row: Row) -> tuple[int, int, int]:
    """Groups, and channels and filters of each.

    SCALE-Sim's mark is DP in the name: a group for each channel, with all filters of the
    line. Elsewhere the filters are those of all groups together; a depthwise layer of one
    filter has one for each channel.
    """
    C, F = row.size("Channels"), row.size("Num filter")
    marked = "DP" in row.cells.get(NAME, "")
    depthwise, groups = row.answer("Depthwise"), row.size("Groups", 1)
    for column, plain in (("Depthwise", depthwise is False), ("Groups", groups != C)):
        if marked and plain and column in row.cells:
            rule = "contradicts DP in the name, SCALE-Sim's mark of a depthwise layer"
            raise row.refusal(column, f"{rule}; change one.")
    if depthwise and "Groups" in row.cells and groups != C:
        raise row.refusal("Groups", f"must be the {C} channels of a depthwise layer.")
    if marked or (depthwise and F == 1):
        return C, 1, F
    if depthwise:
        groups = C
    for column, size in (("Channels", C), ("Num filter", F)):
        if size % groups:
            raise row.refusal(column, f"must be a multiple of the {groups} groups.")
    return groups, C // groups, F // groups


def attention(row: Row, images: int) -> tuple[LayerWorkload, ...]:
    """Scores and context of every head, and the projections if they are asked for.

        scores   [L, D] x [D, T], context [L, T] x [T, D]; L positions that ask, T answer

    Heads that share keys and values stand one above the other: so many products as there
    are KV heads, each heads / KV heads * L tall. Projections are of the L positions alone:
    what is kept from earlier ones was projected then.
    """
    L, heads, D = (row.size(name) for name in ("Sequence length", "Heads", "Head size"))
    T, shared = row.size("KV length", L), row.size("KV heads", heads)
    repeats = row.size(REPEAT, 1)
    if heads % shared:
        raise row.refusal("KV heads", f"must divide the {heads} heads.")
    if row.answer("Causal"):
        rule = "must be no: an array multiplies whole matrices, and masks afterwards"
        raise row.refusal("Causal", f"{rule}; write no, or leave it out.")
    name, tall = row.name, heads // shared * L
    both = (
        computed(f"{name}.scores", tall, D, T, shared * repeats * images),
        computed(f"{name}.context", tall, T, D, shared * repeats * images),
    )
    if not row.answer("Projections"):
        if "Width" in row.cells:
            rule = "belongs to `Projections`; write yes there, or leave it out."
            raise row.refusal("Width", rule)
        return both
    width, M = row.size("Width"), images * L
    into = {"query": heads * D, "key": shared * D, "value": shared * D}
    return (
        *(weighted(f"{name}.{of}", M, width, N, repeats) for of, N in into.items()),
        *both,
        weighted(f"{name}.out", M, heads * D, width, repeats),
    )
