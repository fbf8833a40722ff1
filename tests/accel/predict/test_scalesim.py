"""The compatibility mode is the checked closed forms and three named terms, no more."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.machines.machine import Systolic
from accel.predict import scalesim, timing
from accel.workload.gemm import Gemm
from configs.errors import InputError
from configs.network import Conv

SIZES, SIDES = st.integers(1, 300), st.integers(2, 40)
DATAFLOWS = st.sampled_from(["ws", "is", "os"])


def folds(size: int, side: int) -> int:
    return len(range(0, size, side))


@given(SIZES, SIZES, SIZES, SIDES, SIDES, DATAFLOWS)
def test_it_differs_from_the_array_by_the_named_terms(M, K, N, rows, cols, dataflow):
    machine = Systolic(rows=rows, cols=cols, dataflow=dataflow)
    ours = timing.predict(machine, Gemm("layer", M, 1, K, N))
    theirs = scalesim.figures(M, K, N, rows=rows, cols=cols, dataflow=dataflow)
    held_sums = dataflow == "os"
    drain = folds(M, rows) * folds(N, cols) * rows if held_sums else 0
    assert ours.cycles - theirs.total_cycles == 1 + drain
    surplus = folds(M, rows) * folds(N, cols) * (rows + cols) if held_sums else 0
    writes = ours.output_writes + ours.sum_writes
    assert theirs.ofmap_sram_writes - writes == surplus
    assert theirs.ifmap_sram_reads == ours.input_fetches
    assert theirs.filter_sram_reads == ours.weight_fetches


@given(SIZES, SIZES, SIZES, SIDES, SIDES, DATAFLOWS)
def test_it_is_what_the_tool_was_seen_to_print(M, K, N, rows, cols, dataflow):
    """The equations read off its source, written once more."""
    across = {"ws": (K, N), "is": (K, M), "os": (M, N)}[dataflow]
    per_fold = {
        "ws": M + 2 * rows + cols - 2,
        "is": N + 2 * rows + cols - 2,
        "os": K + rows + cols - 2,
    }[dataflow]
    count = folds(across[0], rows) * folds(across[1], cols)
    found = scalesim.figures(M, K, N, rows=rows, cols=cols, dataflow=dataflow)
    assert found.total_cycles == count * per_fold - 1
    assert found.compute_cycles_unstalled == found.total_cycles
    used = Fraction(across[0] * across[1], rows * cols * count)
    assert found.mapping_eff_pct == 100 * used
    whole = found.total_cycles * rows * cols
    assert found.util_pct == Fraction(100 * M * K * N, whole)


def test_stalls_are_added_and_dilute():
    without = scalesim.figures(64, 64, 64, rows=8, cols=8, dataflow="ws")
    found = scalesim.figures(64, 64, 64, rows=8, cols=8, dataflow="ws", stall_cycles=97)
    total = without.total_cycles + 97
    assert found == without._replace(
        total_cycles=total, util_pct=Fraction(100 * 64**3, total * 64)
    )


def test_a_product_of_no_cycles_has_no_utilisation():
    with pytest.raises(InputError, match="1x1x1 on 1x1 os takes 0 cycles"):
        scalesim.figures(1, 1, 1, rows=1, cols=1, dataflow="os")


@given(
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.integers(1, 3),
    channels=st.integers(1, 4),
)
def test_a_convolution_is_ours_where_the_stride_divides(
    height, width, kernel, stride, channels
):
    # A whole number of strides from the first window to the last.
    size = [
        window + (max(image - window, 0) // stride) * stride
        for image, window in zip((height, width), kernel, strict=True)
    ]
    spec = Conv(features=7, kernel=kernel, stride=(stride, stride), padding="valid")
    P, Q, F = spec.output_shape((*size, channels))
    given = {"kernel": kernel, "channels": channels, "filters": 7, "stride": stride}
    inputs = kernel[0] * kernel[1] * channels
    assert scalesim.convolution(*size, **given) == (P * Q, inputs, F)
    if stride > 1:
        hanging = scalesim.convolution(size[0] + 1, size[1], **given)
        assert hanging == ((P + 1) * Q, inputs, F)
