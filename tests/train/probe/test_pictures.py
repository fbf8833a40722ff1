"""Sheets show the right images, the scaled change, and true texts, none upon another."""

import numpy as np
import pytest

from figures import caption, collisions, is_whole
from train.probe.pictures import attack_grid, worst_transforms

DIGITS = [str(digit) for digit in range(10)]
LONG = ["Ankle boot with laces", "$\\frac{$", *["Something even longer"] * 8]
N = 12
LABELS = np.arange(N, dtype=np.int32) % 10
WRONG = (LABELS + 1) % 10


def batch(shape=(6, 6, 1)):
    """Images that can be told apart, and the same with one pixel 50 lower, one 9 higher."""
    images = (
        np.full((N, *shape), 100, np.uint8)
        + np.arange(N, dtype=np.uint8)[:, None, None, None]
    )
    changed = images.copy()
    changed[:, 0, 0] -= 50
    changed[:, 1, 1] += 9
    return images, changed


def grid(shape=(6, 6, 1), models=("float", "qat", "int8"), after=WRONG, **changes):
    images, changed = batch(shape)
    arguments = {
        "before": dict.fromkeys(models, LABELS),
        "after": after if isinstance(after, dict) else dict.fromkeys(models, after),
        "classes": DIGITS,
        "name": "run",
        "attack": "PGD-40, 10 restarts, against int8",
        "eps": 0.2,
    } | changes
    return attack_grid(images, changed, LABELS, **arguments)


def shown(figure):
    """Arrays of the images (H, W, 3), in the order of drawing."""
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes]


def test_rows_are_clean_perturbation_and_adversarial():
    figure = grid()
    arrays = shown(figure)
    assert len(arrays) == 3 * 8
    clean, changed = batch()
    for column in range(8):
        before, after = arrays[column][..., 0], arrays[16 + column][..., 0]
        np.testing.assert_allclose(before, clean[column, ..., 0] / 255, rtol=1e-6)
        np.testing.assert_allclose(after, changed[column, ..., 0] / 255, rtol=1e-6)
        lower, higher, same = arrays[8 + column][[0, 1, 2], [0, 1, 2]]
        # Blue takes away, red adds; the larger change has the stronger colour.
        assert lower[2] > 2 * lower[0]
        assert higher[0] > higher[2]
        assert same.min() > 0.95
        assert lower.min() < 0.05 < higher.min()
    rows = [axes.get_position().y0 for axes in figure.axes[::8]]
    assert rows == sorted(rows, reverse=True)


def test_the_caption_says_budget_attack_counts_and_scale():
    text = caption(grid())
    assert "L-infinity budget eps 0.2, 51 of 255 pixel levels" in text
    assert "attack: PGD-40, 10 restarts, against int8." in text
    assert "of n = 12 test images: float 12 → 0, qat 12 → 0, int8 12 → 0." in text
    assert "Shown: 8 of the 12 images" in text
    assert "scaled 5.1 times: the largest change shown, 50 of 255 levels" in text
    assert "25 of 255 pixel levels" in caption(grid(eps=0.1))
    text = caption(grid(eps=2.0, norm="l2"))
    assert "L2 budget eps 2, pixels 0 to 1" in text
    assert "pixel levels" not in text


def test_colours_of_colour_images_are_signed_around_gray():
    figure = grid((6, 6, 3))
    lower, higher, same = shown(figure)[8][[0, 1, 2], [0, 1, 2]]
    np.testing.assert_allclose(lower, 0)
    np.testing.assert_allclose(higher, 0.5 + 0.5 * 9 / 50)
    np.testing.assert_allclose(same, 0.5)
    assert "scaled 2.5 times" in caption(figure)
    assert "middle gray is no change" in caption(figure)
    assert "the mean of the channels" in caption(grid((6, 6, 2)))


def test_every_model_has_its_predictions_bold_where_wrong():
    after = {"float": LABELS, "int8": WRONG}
    figure = grid(models=("float", "int8"), after=after)
    texts = {text.get_text(): text.get_weight() for text in figure.texts}
    assert texts["3 → 3"] == "normal"
    assert texts["3 → 4"] == "bold"
    heights = {t.get_text(): t.get_position()[1] for t in figure.texts}
    assert heights["float"] == heights["3 → 3"]
    assert heights["int8"] == heights["3 → 4"]


def test_nothing_broken_shows_the_nearest_and_says_so():
    losses = np.arange(N, dtype=np.float32)
    figure = grid(models=("float",), after=LABELS, losses=losses)
    assert "nearest to a mistake (highest loss)" in caption(figure)
    assert "float 12 → 12" in caption(figure)
    np.testing.assert_allclose(
        shown(figure)[0][2, 2], np.full(3, (100 + N - 1) / 255), rtol=1e-6
    )


def test_no_change_and_no_image_are_said():
    images, _ = batch()
    words = {"classes": DIGITS, "name": "run", "attack": "FGSM, 1 step", "eps": 0}
    right = {"float": LABELS}
    figure = attack_grid(images, images, LABELS, before=right, after=right, **words)
    assert "No pixel is changed." in caption(figure)
    none = {"float": LABELS[:0]}
    figure = attack_grid(
        images[:0], images[:0], LABELS[:0], before=none, after=none, **words
    )
    assert "No images" in caption(figure)


@pytest.mark.parametrize(
    "models", [("float",), ("float", "qat", "int8", "a very long one")]
)
@pytest.mark.parametrize(
    ("shape", "classes"), [((6, 6, 1), DIGITS), ((4, 9, 3), LONG), ((9, 4, 2), [])]
)
def test_texts_neither_collide_nor_leave_the_page(models, shape, classes):
    figure = grid(shape, models, classes=classes)
    assert is_whole(figure)
    assert collisions(figure) == []


def transforms():
    rows = np.zeros((N, 3), np.float32)
    rows[:, 0], rows[:, 1], rows[:, 2] = -30, 1.5, 3
    return rows


@pytest.mark.parametrize("after", [WRONG, LABELS])
@pytest.mark.parametrize("classes", [DIGITS, LONG])
def test_transforms_are_written_below_their_images(after, classes):
    images, warped = batch()
    models = ("float", "int8")
    figure = worst_transforms(
        images, warped, LABELS, before=dict.fromkeys(models, LABELS),
        after=dict.fromkeys(models, after), transforms=transforms(), classes=classes,
        name="run", search="775 transforms, for int8",
    )  # fmt: skip
    assert is_whole(figure)
    assert collisions(figure) == []
    texts = [text.get_text() for text in figure.texts]
    assert texts.count("−30°") == texts.count("+1.5 px, +3 px") == 8
    assert "Search: 775 transforms, for int8. Right before → after" in caption(figure)
    arrays = shown(figure)
    np.testing.assert_allclose(arrays[0][0, 0], np.full(3, 100 / 255), rtol=1e-6)
    np.testing.assert_allclose(arrays[8][0, 0], np.full(3, 50 / 255), rtol=1e-6)


def test_no_transform_has_no_sign():
    images, warped = batch()
    right = {"float": LABELS}
    figure = worst_transforms(
        images, warped, LABELS, before=right, after=right, classes=DIGITS, name="run",
        transforms=np.zeros((N, 3), np.float32), search="nothing",
    )  # fmt: skip
    assert "0 px, 0 px" in [text.get_text() for text in figure.texts]


def test_arrays_of_other_images_are_refused():
    with pytest.raises(ValueError, match=r"`after\[int8\]` \(=3 rows\) must hold one row"):
        grid(after={"float": WRONG, "qat": WRONG, "int8": WRONG[:3]})
    with pytest.raises(ValueError, match="`losses or transforms`"):
        grid(losses=np.zeros(3))
    with pytest.raises(ValueError, match="must name the same models"):
        grid(after={"float": WRONG})
