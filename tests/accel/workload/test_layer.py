"""A work's sums, and what it refuses."""

import pytest

from accel.workload.layer import LayerWorkload
from configs.errors import InputError


def test_counts_of_a_convolution_by_hand() -> None:
    """3 x 3 stride 2 with 2 x 4 outputs, 5 channels a group, 2 groups, 3 images."""
    columns = (4 - 1) * 2 + 3
    work = LayerWorkload(
        name="conv1", images=3, out_rows=2, out_cols=4, kernel_rows=3, stride=2,
        row_bytes=columns * 5, K=45, N=7, repeats=2,
    )  # fmt: skip
    assert work.M == 24
    assert work.macs == 24 * 45 * 7 * 2
    assert work.weight_bytes == 45 * 7 * 2
    assert work.strip_bytes(1) == 3 * 45
    assert work.strip_bytes(2) == 5 * 45
    assert work.input_bytes == 3 * 2 * 5 * 45
    assert work.output_bytes == 24 * 7 * 2


@pytest.mark.parametrize("field", ["images", "row_bytes", "K", "N", "repeats", "stride"])
def test_sizes_must_be_positive(field: str) -> None:
    """One message that names the field."""
    given = {"name": "l", "row_bytes": 1, "K": 1, "N": 1} | {field: 0}
    with pytest.raises(InputError, match=rf"`{field}` \(=0\) of LayerWorkload"):
        LayerWorkload(**given)
