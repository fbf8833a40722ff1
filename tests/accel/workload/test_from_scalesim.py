"""Topologies in SCALE-Sim's own shapes are read as it means them; nothing else passes."""

from pathlib import Path

import pytest

from accel.workload import from_scalesim
from accel.workload.layer import LayerWorkload
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
        return from_scalesim.load(path, images)

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
    assert work == LayerWorkload(
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


def test_columns_exchanged_in_the_header_are_exchanged(read):
    """Two in each other's place are no slip."""
    header = CONV_HEADER.replace(
        "Filter Height, Filter Width", "Filter Width, Filter Height"
    )
    assert read(f"{header}c,9,8,3,2,5,4,1,") == read("c,9,8,2,3,5,4,1,")


def test_layers_of_one_name_are_told_apart(read):
    """They would be one layer wherever results are kept by name."""
    works = read("Layer,M,N,K\nConv,1,2,3\n\nConv,1,2,4\nConv,1,2,3\n")
    assert [work.name for work in works] == ["Conv", "Conv (line 4)", "Conv (line 5)"]
    assert [work.K for work in works] == [3, 4, 3]
    assert len(read("Conv (line 3),1,2,3\nConv,1,2,3\nConv,1,2,4\n")) == 3


def test_a_remark_between_layers_is_no_header(read):
    assert read("Layer,M,N,K\n# Layer,K,M,N\nq,10,5,7\n") == read("q,10,5,7")


@pytest.mark.parametrize("end", ["", ","])
def test_products(read, end):
    """M rows for each image; a header may give another order."""
    wanted = [LayerWorkload(name="q", images=2 * 10, row_bytes=7, K=7, N=5)]
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
    "c,9,9,3,3,1,4,1,1,1:1,7,\n": "line 1: `column 11` (='7') has no name in a header",
    CONV_HEADER[:-1] + ", Target\nc,9,9,3,3,1,4,1, NPU\n": "line 2: `column 9` (='NPU')",
    CONV_HEADER[:-1] + "Density\nc,9,9,3,3,1,4,1,0.5\n": "line 2: `Density` (='0.5') is",
    CONV_HEADER[:-1] + "Batch\nc,9,9,3,3,1,4,1,0\n": "line 2: `Batch Size` (='0') must be",
    CONV_HEADER[:-1] + "Batch\nc,9,9,3,3,1,4,1,2\nd,9,9,3,3,1,4,1,4\n":
        "line 3: `Batch Size` (='4') must be the 2 of line 2",
    CONV_HEADER + "FC, 1, 1, 1, ,1 2, 2, 1,\n": "line 2: `Filter width` (='') is empty",
    CONV_HEADER + "c,9,9,3,3,1,4,1e0,\n": "line 2: `Stride height` (='1e0') must be",
    CONV_HEADER + "c,9,9,3,3.5,1,4,1,\n": "line 2: `Filter width` (='3.5') must be",
    "Strides," + CONV_HEADER[:-10].strip() + "\n2,c,9,9,3,3,1,4,2\n": "`column 9` (='2')",
    "Total,,,5\n": "line 1: `M` (='') is empty",
    "ResNet\n" + CONV_HEADER: "has a header and no layers",
    "hello\nworld\n": "holds no layers; give a SCALE-Sim topology",
    "q,5,6,7,8,\n": "line 1: `Channels` (='') is missing",
    ",9,9,3,3,1,4,1,\n": "line 1: `Layer name` (='')",
    "a\x1b[2J,9,9,3,3,1,4,1,\n": r"line 1: `Layer name` (='a\x1b[2J')",
    "c1,a,b,c,d,e,f,g,\nc2,9,9,3,3,1,4,1,\n": "the first line (='c1,a,b,c,d,e,f,g')",
    "hello,you\nworld,9,9,3,3,1,4,1,\n": "the first line (='hello,you') must be",
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
            from_scalesim.load(path)
    for images in (0, -1, True, 1.5, 1 << 40):
        with pytest.raises(InputError, match="`images`"):
            read("q,5,6,7,\n", images)


# --- The file as a workload. ---


@pytest.fixture
def workload(tmp_path):
    def load(text: str, images: int = 1):
        path = tmp_path / "net.csv"
        path.write_text(text)
        return from_scalesim.workload(path, images)

    return load


ROW = "conv1,9,9,3,3,1,4,1,"


def test_maps_are_images_and_products_a_pass(workload):
    """Whatever the first row is, and however few positions the maps have."""
    assert workload(ROW).unit == "image"
    assert workload("fc,1,1,1,1,512,10,1,").unit == "image"
    assert workload("q,196,768,768").unit == "pass"
    assert workload(f"{ROW}\nLayer,M,N,K\nfc,1,10,7\n").unit == "image"
    forth = workload("Layer,M,N,K\nqkv,196,2304,768\nhead,1,1000,768\n", 4)
    back = workload("Layer,M,N,K\nhead,1,1000,768\nqkv,196,2304,768\n", 4)
    assert forth.inferences == back.inferences == 4
    assert forth.works == back.works[::-1]


def test_a_batch_of_the_file_is_so_many_images_and_no_stride(workload):
    plain = workload(CONV_HEADER + ROW)
    header = CONV_HEADER[:-1] + " Batch Size,\n"
    batch = workload(f"{header}{ROW}8,\nconv2,9,9,3,3,1,4,1,8")
    assert batch.inferences == 8
    assert batch.macs == 2 * 8 * plain.macs
    assert "its Batch Size of 8 is multiplied by what --batch" in batch.remarks[0]
    assert workload(f"{header}{ROW}8", 3).inferences == 24
    assert workload(f"{header}{ROW}").inferences == 1
    gemm = workload("Layer,M,N,K,Batch\nq,16,32,8,8\n")
    assert (gemm.inferences, gemm.works[0].M) == (8, 128)


def test_titles_and_what_was_decided_are_said(workload):
    found = workload(
        f"My net,,,\n{CONV_HEADER[:-1]} Notes,Padding\n,,,,\nHead,\n"
        f"{ROW}measured,1\nconv2,10,10,3,3,1,4,2,,\n"
    )
    assert len(found.works) == 2
    assert found.remarks == (
        "net.csv: the notes in column Notes are left out.",
        "net.csv: lines 1, 4 are no layer but a title ('My net', 'Head').",
        "net.csv: the paddings are added on both sides of the maps.",
        "net.csv: windows that lie partly beyond the map count, as in SCALE-Sim (line 6).",
    )


def test_a_stride_across_that_no_header_names_is_said(workload):
    found = workload(f"{CONV_HEADER}{ROW}2,\nconv2,9,9,3,3,1,4,2,")
    assert [work.out_cols for work in found.works] == [4, 4]
    assert "column 9, which the header does not name" in found.remarks[0]
    assert workload(f"{ROW}2,").remarks == ()


def test_the_softmax_of_an_attention_is_said_not_to_count(workload):
    found = workload("Layer,Sequence length,Heads,Head size\na,5,6,4\n")
    assert found.unit == "pass"
    assert "softmax between scores and context is not counted" in found.remarks[0]


EXAMPLES = {
    # 12 layers of 4 * 128 * 768^2 + 2 * 128^2 * 768 + 2 * 128 * 768 * 3,072.
    "encoder.csv": (11_173_625_856, 12 * (4 * 768 * 768 + 2 * 768 * 3_072)),
    # 32 layers of 2 * 4,096^2 + 2 * 4,096 * 1,024 + 2 * 1,024 * 4,096 + 3 * 4,096 * 14,336,
    # and 4,096 * 128,256; of these 2 * 1,024 * 4,096 without weights.
    "decoder_step.csv": (7_773_093_888, 7_773_093_888 - 32 * 2 * 1_024 * 4_096),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_transformers_that_come_along(name):
    root = Path(__file__).parents[3]
    found = from_scalesim.workload(root / "docs/topologies" / name)
    assert (found.macs, found.weight_bytes) == EXAMPLES[name]
    four = from_scalesim.workload(root / "docs/topologies" / name, 4)
    assert (four.inferences, four.unit) == (4, "pass")
    assert (four.macs, four.weight_bytes) == (4 * found.macs, found.weight_bytes)
