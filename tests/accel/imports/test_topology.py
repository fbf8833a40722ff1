"""Topologies in SCALE-Sim's own shapes are read as it means them; nothing else passes."""

import pytest

from accel.cost.work import Work
from accel.imports import topology
from configs.errors import InputError

CONV_HEADER = (
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, "
    "Num Filter, Strides,\n"
)


@pytest.fixture
def read(tmp_path):
    def load(text: str | bytes, images: int = 1):
        path = tmp_path / "net.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return topology.load(path, images)

    return load


def positions_of_scalesim(size: int, kernel: int, stride: int) -> int:
    """Windows counted one by one: they go on until the map is covered."""
    count, at = 1, 0
    while at + kernel < size:
        at, count = at + stride, count + 1
    return count


def test_a_convolution_has_the_windows_that_scalesim_counts(read):
    """Every window that begins before the map is covered, the last one partly beyond."""
    for size in range(3, 15):
        for kernel in range(1, 4):
            for stride in range(1, 6):
                (work,) = read(f"c,{size},{size + 2},{kernel},2,3,5,{stride},\n")
                wanted = positions_of_scalesim(size, kernel, stride)
                assert work.out_rows == wanted, (size, kernel, stride)
                assert kernel * 2 * 3 == work.K
                assert (work.N, work.repeats, work.kernel_rows) == (5, 1, kernel)


def test_padded_rows_hold_all_columns_that_are_used(read):
    (work,) = read("c, 9, 8, 3, 3, 2, 4, 2,\n", images=3)
    # ceil(5 / 2) + 1 = 4 columns: 3 * 2 + 3 = 9 of them, one beyond the map.
    assert work == Work(
        name="c", images=3, out_rows=4, out_cols=4, kernel_rows=3, stride=2,
        row_bytes=9 * 2, col_bytes=2 * 2, K=18, N=4,
    )  # fmt: skip


def test_two_strides_and_one(read):
    """The ninth number is the step across; without it both axes have one step."""
    (two,) = read("c,9,9,3,3,1,4,2,3,\n")
    (one,) = read("c,9,9,3,3,1,4,2,\n")
    assert (two.out_rows, two.out_cols, two.stride, two.row_bytes) == (4, 3, 2, 9)
    assert (one.out_rows, one.out_cols) == (4, 4)


@pytest.mark.parametrize("header", ["", CONV_HEADER, CONV_HEADER + "\n"])
@pytest.mark.parametrize("end", ["", ",", ", ", ",#dw", ",1:1,"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_headers_commas_and_remarks_change_nothing(read, header, end, newline):
    row = " a ,\t9, 9,3,3,1,4 ,1"
    text = f"{header}{row}{end}\n\n\tb,9,9,3,3,1,4,1,\n"
    works = read(text.replace("\n", newline))
    assert [work.name for work in works] == ["a", "b"]
    assert all(work.macs == 49 * 9 * 4 for work in works)


@pytest.mark.parametrize("end", ["", ","])
def test_products(read, end):
    """M rows for each image; a header may give another order."""
    wanted = [Work(name="q", images=2 * 10, row_bytes=7, K=7, N=5)]
    assert read(f"Layer,M,N,K{end}\nq,10,5,7{end}\n", images=2) == wanted
    assert read(f"q,10,5,7{end}\n", images=2) == wanted
    assert read(f"Layer, K, M, N{end}\nq,7,10,5{end}\n", images=2) == wanted
    assert read(f"Layer,M,N,K,Sparsity{end}\nq,10,5,7,2:2{end}\n", images=2) == wanted


def test_depthwise_layers_are_one_product_for_each_channel(read):
    (work,) = read("Conv2_DP,9,9,3,3,8,1,1,\n")
    assert (work.K, work.N, work.repeats, work.row_bytes) == (9, 1, 8, 9)
    assert work.macs == 49 * 9 * 8


BAD = {
    "c,9,9,3,3,1,4\n": "line 1: `Stride height` (='') is missing",
    "c,9,9\n": "line 1: `Filter height` (='') is missing",
    CONV_HEADER + "c,9,9,3,3,1,4,1,\nd,9,9,3,x,1,4,1,\n": "line 3: `Filter width` (='x')",
    "c,9,9,3,3,-1,4,1,\n": "line 1: `Channels` (='-1') must be a whole number in",
    "c,9,9,3,3,1.5,4,1,\n": "line 1: `Channels` (='1.5')",
    "c,9,9,3,3,1,0,1,\n": "line 1: `Num filter` (='0')",
    "c,9,9,3,3,1,,1,\n": "line 1: `Num filter` (='')",
    "c,9,9,3,3,1,4,٣,\n": "line 1: `Stride height` (='٣')",
    "c,9,9,10,3,1,4,1,\n": "line 1: `Filter height` (=10) must be at most the IFMAP height",
    "c,9,9,3,10,1,4,1,\n": "line 1: `Filter width` (=10) must be at most the IFMAP width",
    f"c,9,9,3,3,1,{10**40},1,\n": "line 1: `Num filter` (='1000000",
    "c,2000000000,9,1,1,1,99999999,1,\n": "line 1: the number of multiplications",
    "c,9,2000000000,1,1,9999999,4,1,\n": "line 1: the largest size (=",
    "c,9,9,3,3,1,4,1,2:4,\n": "line 1: `Sparsity` (='2:4') must be 1:1",
    "c,9,9,3,3,1,4,1,1,1:1,7,\n": "line 1: `field 11` (='7') is one too many",
    "q,5,6,7,8,\n": "line 1: `Channels` (='') is missing",
    ",9,9,3,3,1,4,1,\n": "line 1: `Layer name` (='')",
    "a\x1b[2J,9,9,3,3,1,4,1,\n": r"line 1: `Layer name` (='a\x1b[2J')",
    "c1,a,b,c,d,e,f,g,\nc2,9,9,3,3,1,4,1,\n": "the first line (='c1,a,b,c,d,e,f,g')",
    "hello\nworld,9,9,3,3,1,4,1,\n": "the first line (='hello') must be",
    CONV_HEADER: "has a header and no layers",
    "": "is empty",
    " \n\n": "holds no layers",
    b"\x89PNG\r\n\x1a\n\x00": "must be text in UTF-8, not so at byte 0",
    b"c,9,9,3,3,1,4,1,\n\x00\x00": "must be text in UTF-8, not so at byte 17",
    b"c,9,9,3,3,1,4,1,\n" * 70000: "must have at most 1048576 bytes",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text[:30]))
def test_a_bad_file_is_one_sentence_with_line_column_and_value(read, text, tmp_path):
    with pytest.raises(InputError) as refused:
        read(text)
    message = str(refused.value)
    assert f"`{tmp_path / 'net.csv'}`" in message
    assert BAD[text] in message
    assert message.isprintable()


def test_no_file_and_no_images(tmp_path, read):
    for path, found in (
        (tmp_path / "none.csv", "does not exist"),
        (tmp_path, "is no file"),
    ):
        with pytest.raises(InputError, match=found):
            topology.load(path)
    for images in (0, -1, True, 1.5, 1 << 40):
        with pytest.raises(InputError, match="`images`"):
            read("q,5,6,7,\n", images)
