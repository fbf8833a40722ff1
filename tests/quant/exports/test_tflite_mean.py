"""Means by float32 multiplication: proved exact, and proved only where they are."""

import numpy as np
import pytest

from quant.exports.tflite_mean import mean_factor, mean_is_exact, mean_scale
from quant.normative import divide_rne


def agrees(count: int, factor: int, low: int, high: int) -> bool:
    """Every sum, one by one."""
    total = np.arange(low * count, high * count + 1, dtype=np.int64)
    scaled = (total * factor).astype(np.float32) * mean_scale(count, factor)
    return bool((np.rint(scaled) == divide_rne(total, count)).all())


@pytest.mark.parametrize("bounds", [(0, 255), (-128, 127), (-4, 3)], ids=str)
def test_the_proof_decides_as_trying_every_sum_does(bounds):
    """Both ways: some counts fail with weights of 1."""
    cases = [(count, f) for count in (*range(1, 66), 94, 784, 1000) for f in (1, 3)]
    proved = [mean_is_exact(*case, *bounds) for case in cases]
    assert proved == [agrees(*case, *bounds) for case in cases]
    assert not all(proved)


def test_every_window_that_a_network_uses_has_a_factor():
    for low, high in ((0, 255), (-128, 127)):
        assert all(mean_factor(count, low, high) for count in range(1, 400))
    assert [mean_factor(count, 0, 255) for count in (4, 9, 14)] == [1, 1, 3]


def test_sums_beyond_32_bits_are_refused():
    assert mean_factor(2**31 // 255 + 1, 0, 255) is None
    # Rounded well by float32, but 125 * 255 * 67840 leaves the accumulator.
    assert not mean_is_exact(67840, 125, 0, 255)
