"""A header says what its columns are; what nobody knows is never taken for something."""

from pathlib import Path

import pytest

from accel.workload import topology_columns as columns
from accel.workload.topology_lines import Line
from configs.errors import InputError

NAMES = "Layer name,IFMAP Height,IFMAP Width,Filter Height,Filter Width,Channels,Num Filter"


def headed(text: str, *, remark: bool = False):
    cells = tuple(cell.strip() for cell in text.split(","))
    return columns.headed(Line(path=Path("net.csv"), number=1, cells=cells, remark=remark))


@pytest.mark.parametrize(
    "text",
    [
        f"{NAMES},Strides",
        f"{NAMES},Stride".lower(),
        f"{NAMES},Stride height".upper().replace(" ", "_"),
        "Layer,ifmap_h,ifmap_w,filter_h,filter_w,ch,num-filters,stride.h",
        "conv layers of it,IH,IW,FH,FW,Channels,Filters,SH",
    ],
)
def test_names_of_a_convolution(text):
    found = headed(text)
    assert found.kind is columns.Kind.CONV
    assert found.places == (columns.NAME, *columns.CONV)
    assert found.remarks == ()


def test_any_order_and_more_columns():
    found = headed("K,Notes,Batch Size,M,Layer,N,Sparsity Ratio,Repeat,Second factor")
    assert found.kind is columns.Kind.GEMM
    assert found.places == (
        "K", columns.NOTE, columns.BATCH, "M", columns.NAME, "N", columns.SPARSITY,
        columns.REPEAT, columns.SECOND_FACTOR,
    )  # fmt: skip


@pytest.mark.parametrize("extra", ["Batch Size", "Padding", "Density", "Sparsity", ""])
def test_the_ninth_column_is_what_it_is_called(extra):
    known = {"Batch Size": columns.BATCH, "Padding": "Padding", "Sparsity": "Sparsity"}
    assert headed(f"{NAMES},Strides,{extra}").places[8] == known.get(extra)


@pytest.mark.parametrize("text", ["conv1,a,b,c,d,e,f,g", "Layer,M", "hello", "a,b", ""])
def test_other_lines_are_no_header(text):
    assert headed(text) is None


def test_a_remark_is_a_header_only_if_it_is_whole():
    assert headed("Layer, K, M, N", remark=True).places[1:] == ("K", "M", "N")
    assert headed("sizes are, M, N", remark=True) is None


def test_a_slip_of_a_header_is_read_by_its_place_and_said():
    """As in files that people have: a name twice, or misspelt."""
    twice = headed(f"{NAMES},Strides".replace("IFMAP Height", "IFMAP Width"))
    assert twice.places == (columns.NAME, *columns.CONV)
    assert "column 2, headed 'IFMAP Width', is read as IFMAP height" in twice.remarks[0]
    wrong = headed(f"{NAMES},Strides".replace("Filter Height", "Filter Heigth"))
    assert wrong.places == (columns.NAME, *columns.CONV)
    assert "is read as Filter height" in wrong.remarks[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{NAMES},Batch Size", "lacks `Stride height`; the header of a convolution is"),
        (f"{NAMES},Density", "lacks `Stride height`"),
        (NAMES, "lacks `Stride height`"),
        ("Layer,M,N", "lacks `K`; the header of a matrix product is Layer name, M, N, K"),
        ("Layer,Heads,Head size", "lacks `Sequence length`"),
        (f"{NAMES},Strides,Stride", "`Stride height` (='Stride') is there twice"),
        ("Layer,M,N,K,K", "`K` (='K') is there twice; remove one."),
    ],
)
def test_a_header_that_is_none_says_the_line_and_the_column(text, message):
    with pytest.raises(InputError) as refused:
        headed(text)
    assert message in str(refused.value)
    assert "`net.csv` line 1: " in str(refused.value)
