"""What layers are in products, against loops that count them one by one."""

import itertools

import pytest

from accel.workload import from_scalesim
from accel.workload.layer import LayerWorkload
from configs.errors import InputError

CONV = (
    "Layer,IFMAP height,IFMAP width,Filter height,Filter width,Channels,Num filter,Strides"
)
ATTENTION = "Layer,Sequence length,KV length,Heads,KV heads,Head size"


@pytest.fixture
def read(tmp_path):
    def load(text: str, images: int = 1):
        path = tmp_path / "net.csv"
        path.write_text(text)
        return from_scalesim.load(path, images)

    return load


def starts(size: int, reach: int, stride: int) -> int:
    """Windows counted one by one: they go on until the map is covered."""
    count, at = 1, 0
    while at + reach < size:
        at, count = at + stride, count + 1
    return count


def test_padding_and_dilation_against_windows_counted_one_by_one(read):
    for pad, gap, stride in itertools.product((0, 1, 2), (1, 2, 3), (1, 2, 3)):
        row = f"c,9,11,3,2,4,5,{stride},{pad},{gap}"
        (work,) = read(f"{CONV},Padding,Dilation\n{row}\n")
        down, across = 2 * gap + 1, gap + 1
        rows = starts(9 + 2 * pad, down, stride)
        cols = starts(11 + 2 * pad, across, stride)
        assert (work.out_rows, work.out_cols) == (rows, cols)
        assert (work.K, work.N, work.kernel_rows) == (3 * 2 * 4, 5, down)
        assert work.row_bytes == ((cols - 1) * stride + across) * 4


def test_padding_is_what_a_larger_map_is(read):
    padded = read(f"{CONV},Padding height,Padding width\nc,9,9,3,3,2,4,2,1,2\n")
    assert padded == read("c,11,13,3,3,2,4,2\n")
    assert read(f"{CONV},Padding\nc,9,9,3,3,2,4,2,1\n") == read("c,11,11,3,3,2,4,2\n")


def test_groups_cut_channels_and_filters(read):
    (work,) = read(f"{CONV},Groups\nc,9,9,3,3,8,12,1,4\n")
    assert (work.K, work.N, work.repeats) == (3 * 3 * 2, 3, 4)
    # Every output of a group sums over its own channels alone.
    assert work.macs == sum(49 * 9 for _, o in itertools.product(range(2), range(12)))


@pytest.mark.parametrize(
    ("filters", "each"), [(1, 1), (8, 1), (16, 2)], ids=["one", "all", "twice"]
)
@pytest.mark.parametrize("yes", ["yes", "1", "TRUE"])
def test_depthwise_has_the_filters_of_all_channels_or_one(read, filters, each, yes):
    (work,) = read(f"{CONV},Depthwise\nc,9,9,3,3,8,{filters},1,{yes}\n")
    assert (work.K, work.N, work.repeats) == (9, each, 8)


def test_a_row_may_stand_for_many_layers_with_weights_of_their_own(read):
    (conv,) = read(f"{CONV},Repeat\nc,9,9,3,3,2,4,1,6\n")
    (dw,) = read(f"{CONV},x\nc_DP,9,9,3,3,2,1,1,6\n")
    (gemm,) = read("Layer,M,N,K,Count\nq,10,5,7,12\n", images=3)
    assert (conv.repeats, conv.weight_bytes) == (6, 6 * 18 * 4)
    assert (dw.repeats, dw.weight_bytes) == (12, 12 * 9)
    assert (gemm.M, gemm.repeats, gemm.weight_bytes) == (30, 12, 12 * 35)


def test_a_batch_makes_weight_products_taller_and_products_of_activations_more(read):
    text = "Layer,M,N,K,Repeat,Second factor\n{},10,5,7,2,{}\n"
    (weights,) = read(text.format("w", "Weights"), images=3)
    (computed,) = read(text.format("a", "activations"), images=3)
    assert (weights.M, weights.repeats, weights.weight_bytes) == (30, 2, 70)
    assert (computed.M, computed.repeats, computed.weight_bytes) == (10, 6, 0)
    assert weights.macs == computed.macs == 3 * 2 * 350


def test_attention_against_loops_over_heads_and_positions(read):
    """Every head scores every pair, and sums every value once for each pair."""
    for (L, T), (heads, kv) in itertools.product([(5, 5), (1, 9)], [(6, 6), (6, 2)]):
        works = read(f"{ATTENTION}\na,{L},{T},{heads},{kv},4\n", images=2)
        pairs = sum(
            1 for _ in itertools.product(range(2), range(heads), range(L), range(T))
        )
        assert [work.macs for work in works] == [pairs * 4, pairs * 4]
        assert [work.repeats for work in works] == [2 * kv, 2 * kv]
        assert sum(work.weight_bytes for work in works) == 0
        # Keys and values are read once for each head that has them.
        assert [w.K * w.N * w.repeats for w in works] == [2 * kv * T * 4] * 2
    short = read("Layer,Sequence length,Heads,Head size\na,5,6,4\n")
    assert short == read(f"{ATTENTION}\na,5,5,6,6,4\n")


def test_projections_are_of_the_positions_that_are_new(read):
    header = f"{ATTENTION},Projections,Width,Repeat"
    works = read(f"{header}\na,3,9,6,2,4,yes,10,5\n", images=2)
    assert [work.name for work in works] == [
        f"a.{of}" for of in ("query", "key", "value", "scores", "context", "out")
    ]
    query, key, value, scores, context, out = works
    assert query == LayerWorkload(
        name="a.query", images=6, row_bytes=10, K=10, N=24, repeats=5
    )
    assert key == LayerWorkload(name="a.key", images=6, row_bytes=10, K=10, N=8, repeats=5)
    assert (value.N, out.K, out.N) == (8, 24, 10)
    assert (scores.M, scores.K, scores.N, scores.repeats) == (9, 4, 9, 2 * 5 * 2)
    assert (context.M, context.K, context.N, context.weight_sets) == (9, 9, 4, 0)


BAD = {
    f"{CONV},Groups\nc,9,9,3,3,8,12,1,3\n": "line 2: `Channels` (='8') must be a multiple",
    f"{CONV},Groups\nc,9,9,3,3,9,10,1,3\n": "line 2: `Num filter` (='10') must be a multip",
    f"{CONV},Depthwise\nc,9,9,3,3,8,12,1,1\n": "line 2: `Num filter` (='12') must be a mu",
    f"{CONV},Depthwise\nc,9,9,3,3,8,8,1,2\n": "line 2: `Depthwise` (='2') must be yes or",
    f"{CONV},Depthwise\nc_DP,9,9,3,3,8,8,1,no\n": "`Depthwise` (='no') contradicts DP",
    f"{CONV},Groups\nc_DP,9,9,3,3,8,8,1,2\n": "line 2: `Groups` (='2') contradicts DP",
    f"{CONV},Depthwise,Groups\nc,9,9,3,3,8,8,1,1,2\n": "`Groups` (='2') must be the 8 cha",
    f"{CONV},Padding\nc,9,9,3,3,8,8,1,same\n": "line 2: `Padding` (='same') must be a who",
    f"{CONV},Padding\nc,9,9,3,3,8,8,1,-1\n": "`Padding` (='-1') must be a whole number",
    f"{CONV},Dilation\nc,9,9,3,3,8,8,1,5\n": "line 2: `Filter height` (=11) must be at",
    f"{CONV},Repeat\nc,9,9,3,3,8,8,1,0\n": "line 2: `Repeat` (='0') must be a whole number",
    "Layer,M,N,K,Second factor\nq,1,2,3,both\n": "(='both') must be weights or activations",
    f"{ATTENTION}\na,5,5,6,4,4\n": "line 2: `KV heads` (='4') must divide the 6 heads",
    f"{ATTENTION},Causal\na,5,5,6,6,4,yes\n": "line 2: `Causal` (='yes') must be no: an",
    f"{ATTENTION},Width\na,5,5,6,6,4,24\n": "line 2: `Width` (='24') belongs to `Projectio",
    f"{ATTENTION},Projections\na,5,5,6,6,4,yes\n": "line 2: `Width` (='') must be a whole",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text[-25:]))
def test_contradictions_name_line_column_and_value(read, text):
    with pytest.raises(InputError) as refused:
        read(text)
    assert BAD[text] in str(refused.value)
