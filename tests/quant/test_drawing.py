"""Digits come to where MNIST's are; hints come where they are due, and never elsewhere."""

import numpy as np
import pytest

from configs.errors import InputError
from configs.schema import Data
from quant import drawing
from train import data


@pytest.fixture(scope="module")
def digits():
    return data.load(Data(source="embedded")).test.images[:300]


def test_a_digit_of_mnist_stays_where_it_is(digits):
    """Nearly: what is fainter than a fifth is cut at the edge of the box."""
    moved = [drawing.centred(one, 28, 28, "x") for one in digits]
    off = np.abs(np.stack(moved).astype(int) - digits).mean(axis=(1, 2, 3))
    assert np.mean(off) < 0.3
    assert np.median(off) == 0


def test_a_digit_in_a_corner_comes_back(digits):
    for one in digits[:50]:
        page = np.zeros((200, 300, 1), np.uint8)
        page[10:94, 190:274] = np.kron(one, np.ones((3, 3, 1), np.uint8))
        seen = drawing.centred(page, 28, 28, "x").astype(float)
        # Pixels of the original that it is off by at most; smaller is blurred a little.
        steps = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1)]
        alike = [
            np.corrcoef(np.roll(seen, s, axis=(0, 1)).ravel(), one.ravel())[0, 1]
            for s in steps
        ]
        assert max(alike) > 0.93


@pytest.mark.parametrize("shape", [(28, 28), (56, 56), (14, 28), (21, 14)])
def test_the_box_is_five_sevenths_and_its_mass_in_the_middle(shape):
    """An upright bar, 30 x 6, by hand."""
    page = np.full((100, 80, 3), 230, np.uint8)
    page[5:35, 60:66] = 20
    seen = drawing.centred(page, *shape, "x")
    assert seen.shape == (*shape, 3)
    rows, cols = np.nonzero(seen[..., 0] < 230)
    longest = round(min(shape) * 20 / 28)
    assert rows.max() - rows.min() + 1 == longest
    assert cols.max() - cols.min() + 1 == round(longest / 5)
    assert abs(rows.mean() - shape[0] / 2) <= 0.5
    assert abs(cols.mean() - shape[1] / 2) <= 0.5
    assert set(seen.ravel().tolist()) == {20, 230}


def test_nothing_drawn_cannot_be_centred():
    with pytest.raises(InputError, match=r"`IMAGE` .* all its pixels are the same"):
        drawing.centred(np.full((9, 9, 1), 7, np.uint8), 28, 28, "`IMAGE` (=x)")


def test_right_pictures_get_no_hint(digits):
    seen = list(digits[:2])
    for one in digits:
        assert drawing.hint(one, seen, inverted=False, fitted=False) == ""


def test_inverted_pictures_do(digits):
    seen = list(digits[:2])
    for one in digits:
        paper = 255 - one
        assert drawing.hint(paper, seen, inverted=False, fitted=False) == (
            "looks inverted: try `--invert`"
        )
        assert drawing.hint(paper // 4 * 3, seen, inverted=True, fitted=True) == (
            "looks inverted: leave out `--invert`"
        )
    light = [255 - one for one in seen]
    assert drawing.hint(255 - digits[5], light, inverted=False, fitted=False) == ""
    assert "try `--invert`" in drawing.hint(digits[5], light, inverted=False, fitted=False)


def test_small_or_shifted_drawings_do(digits):
    seen = list(digits[:2])
    small = np.zeros((28, 28, 1), np.uint8)
    small[10:17, 10:17] = digits[0][::4, ::4]
    shifted = np.roll(digits[0], 5, axis=1)
    for one in (small, shifted):
        assert drawing.hint(one, seen, inverted=False, fitted=False).endswith("`--fit`")
        assert drawing.hint(one, seen, inverted=False, fitted=True) == ""


def test_no_hint_without_a_flat_ground_to_compare_with(digits):
    paper = 255 - digits[0]
    noise = np.random.default_rng(0).integers(0, 256, (28, 28, 1), np.uint8)
    for seen in ([], [noise], [digits[0], noise], [digits[0], 255 - digits[1]]):
        assert drawing.hint(paper, seen, inverted=False, fitted=False) == ""
