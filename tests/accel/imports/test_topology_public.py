"""Topologies as people have them: other headers, titles, spreadsheets, transformers."""

import pytest

from accel.imports import topology
from configs.errors import InputError

HEAD = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num "
CONV = HEAD + "Filter, Strides,"
# 3x3 on 28x28x3, 8 filters, one step: 26 * 26 positions.
MACS = 26 * 26 * 27 * 8


@pytest.fixture
def read(tmp_path):
    def load(text: str | bytes, images: int = 1):
        path = tmp_path / "net.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return topology.workload(path, images)

    return load


PUBLIC = {
    "batch size": (f"{CONV} Batch Size,\nc,28,28,3,3,3,8,1,4,\n", 4 * MACS),
    "batch size, no stride across": (f"{CONV} Batch,\nc,28,28,3,3,3,8,1,1\n", MACS),
    "padding": (f"{CONV} Padding,\nc,26,26,3,3,3,8,1,1,\n", MACS),
    "dilation": (f"{CONV} Dilation,\nc,30,30,3,3,3,8,1,2,\n", MACS),
    "groups": (f"{CONV} Groups,\nc,28,28,3,3,6,16,1,2,\n", 2 * MACS),
    "repeat": (f"{CONV} Repeat,\nc,28,28,3,3,3,8,1,12,\n", 12 * MACS),
    "another order": (
        "Channels,Num Filter,Layer,Stride width,Stride height,Filter Width,Filter Height,"
        "IFMAP Width,IFMAP Height\n3,8,c,1,1,3,3,28,28\n", MACS,
    ),
    "two strides by header": (
        f"{HEAD}Filter, Stride height, Stride width,\nc,28,28,3,3,3,8,1,1,\n", MACS
    ),
    "spreadsheet": (f"{CONV},,\n,,,,,,,,,\nc,28,28,3,3,3,8,1,,\n,,,,,,,,,\n", MACS),
    "titles": (f"{CONV}\nEncoder,,,,,,,,\nc,28,28,3,3,3,8,1,\nDecoder\n", MACS),
    "semicolons": (f"{CONV}\nc,28,28,3,3,3,8,1,\n".replace(",", ";"), MACS),
    "tabs": (f"{CONV}\nc,28,28,3,3,3,8,1,\n".replace(",", "\t"), MACS),
    "CR": (f"{CONV}\nc,28,28,3,3,3,8,1,\n".replace("\n", "\r"), MACS),
    "BOM and CRLF": (f"\ufeff{CONV}\nc,28,28,3,3,3,8,1,\n".replace("\n", "\r\n"), MACS),
    "quotes": (f'{CONV}\n"c","28","28",3,3,3,8,"1",\n', MACS),
    "decimals": (f"{CONV}\nc,28.0,28.0,3.0,3,3,8,1.,\n", MACS),
    "remarks": (f"# made by hand\n{CONV}\n// first\nc,28,28,3,3,3,8,1,# last\n", MACS),
    "header twice": (f"{CONV}\nc,28,28,3,3,3,8,1,\n{CONV}\nd,28,28,3,3,3,8,1,\n", 2 * MACS),
    "products": ("Layer,M,N,K,Count\nffn,196,3072,768,12\n", 12 * 196 * 3072 * 768),
    "two tables": (
        f"{CONV}\nc,28,28,3,3,3,8,1,\n\nHead\nLayer,M,N,K\nfc,1,10,64\n", MACS + 640
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_what_people_have_is_read(name, read):
    text, macs = PUBLIC[name]
    assert read(text).macs == macs


def test_a_batch_column_says_how_many_inferences_there_are(read):
    """In the file and asked for; layers that disagree are one pass."""
    head = f"{CONV} Batch Size,\n"
    same = read(f"{head}c,28,28,3,3,3,8,1,4,\nd,28,28,3,3,3,8,1,4\n", images=2)
    assert (same.inferences, same.unit) == (8, "image")
    other = read(f"{head}c,28,28,3,3,3,8,1,4,\nd,28,28,3,3,3,8,1,1\n")
    assert (other.inferences, other.unit, len(other.remarks)) == (1, "pass", 1)


def test_padding_is_said(read):
    """SCALE-Sim's maps hold theirs."""
    (line,) = read(f"{CONV} Padding,\nc,26,26,3,3,3,8,1,1,\n").remarks
    assert "`Padding`" in line


TRANSFORMER = """\
Layer, M, N, K, Repeat
qkv, 128, 2304, 768, 12
Layer, Sequence, KV length, Heads, KV heads, Head size, Repeat
attention, 128, 512, 12, 4, 64, 12
Layer, M, N, K, Repeat
out, 128, 768, 768, 12
"""


def test_a_transformer_is_a_workload(read):
    """Scores and context of 12 heads over 512 keys, four of which are shared by three."""
    found = read(TRANSFORMER, images=3)
    projections = 128 * 768 * (2304 + 768)
    heads = 2 * 12 * 128 * 512 * 64
    assert found.macs == 3 * 12 * (projections + heads)
    assert (found.inferences, found.unit) == (3, "pass")
    assert found.weight_bytes == 12 * 768 * (2304 + 768)
    qkv, scores, context, _ = found.works
    assert (qkv.M, qkv.repeats) == (3 * 128, 12)
    assert (scores.M, scores.K, scores.N, scores.repeats) == (384, 64, 512, 3 * 12 * 4)
    assert (context.M, context.K, context.N) == (384, 512, 64)


def test_products_of_activations_are_more_and_not_taller(read):
    """The second factor of every inference is its own."""
    text = "Layer,M,N,K,Second factor\nscores,128,128,64,activations\nfc,128,9,64,weights\n"
    scores, fc = read(text, images=5).works
    assert (scores.M, scores.repeats, scores.weight_bytes) == (128, 5, 0)
    assert (fc.M, fc.repeats, fc.weight_bytes) == (640, 1, 9 * 64)


REFUSED = {
    f"{CONV} Padding mode,\nc,28,28,3,3,3,8,1,same,\n": "line 2: `Padding mode` (='same')",
    f"{CONV} Batch Size,\nc,28,28,3,3,3,8,1,0,\n": "line 2: `Batch size` (='0')",
    f"{CONV} Groups,\nc,28,28,3,3,3,8,1,2,\n": "line 2: `Channels` (=3)",
    f"{CONV} Strides,\nc,28,28,3,3,3,8,1,2,\n": "`Stride height` stands twice",
    f"{CONV} M,\nc,28,28,3,3,3,8,1,2,\n": "`M` does not belong",
    f"{CONV} Sparsity,\nc,28,28,3,3,3,8,1,1:4,\n": "line 2: `Sparsity` (='1:4')",
    "Layer,M,N,K,Second factor\nq,1,2,3,inputs\n": "line 2: `Second factor` (='inputs')",
    "Layer,Sequence,Heads,Head size,KV heads\na,8,6,4,4\n": "line 2: `KV heads` (=4)",
    "Layer,Sequence,Heads,Head size\na,8,6\n": "line 2: `Head size` (='') is missing",
    f"{CONV}\nc,28,28,30,3,3,8,1,\n": "line 2: `Filter height` (=30)",
    f"{CONV} Dilation,\nc,28,28,3,3,3,8,1,14,\n": "line 2: `Filter height` (=3)",
    f"{CONV}\nc,28,28.5,3,3,3,8,1,\n": "line 2: `IFMAP width` (='28.5')",
}


@pytest.mark.parametrize("text", REFUSED, ids=REFUSED.values())
def test_what_is_refused_names_line_and_column(text, read):
    with pytest.raises(InputError) as refused:
        read(text)
    assert REFUSED[text] in str(refused.value)
