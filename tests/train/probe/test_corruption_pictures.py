"""Errors under corruption are drawn as counted, the largest first."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from figures import caption, is_whole
from train.plots import BLUE, ORANGE
from train.probe.binomial import interval
from train.probe.corruption_pictures import corruption_bars, corruption_sheet

ERRORS = {
    "float": {"clean": (1, 100), "fog": (30, 100), "glass_blur": (50, 100)},
    "int8": {"clean": (2, 100), "fog": (90, 100), "glass_blur": (50, 100)},
}


def widths(container):
    return [bar.get_width() for bar in container]


def test_bars_are_the_shares_sorted_by_their_mean():
    figure = corruption_bars(ERRORS, name="run")
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["fog", "glass blur", "clean"]
    # Values upwards along the axis are further down on the page.
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    floats, float_bars, ints, _ = axes.containers
    assert widths(floats) == [0.3, 0.5, 0.01]
    assert widths(ints) == [0.9, 0.5, 0.02]
    assert [bar.get_y() for bar in floats] < [bar.get_y() for bar in ints]
    reach = [(low[0], high[0]) for low, high in float_bars[2][0].get_segments()]
    expected = [interval(wrong, 100) for wrong in (30, 50, 1)]
    np.testing.assert_allclose(reach, expected)
    assert [t.get_text() for t in axes.texts][:3] == ["30.0%", "50.0%", "1.0%"]
    assert is_whole(figure)


def test_the_mean_is_over_the_corruptions_only():
    figure = corruption_bars(ERRORS, name="run")
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["float (40.0%)", "int8 (70.0%)"]
    faces = [patch.get_facecolor() for patch in legend.get_patches()]
    assert len(set(faces)) == 2
    assert "(n = 100)" in caption(figure)


@pytest.mark.parametrize(
    "errors",
    [
        {"float": {"clean": (0, 3)}},
        {"float": {"fog": (10, 10)}, "the long name of some model " * 2: {"clean": (0, 7)}},
        {m: {f"{c}_of_a_long_name": (1, 9) for c in "ab"} for m in "vwxyz"},
    ],
)
def test_any_names_and_counts_stay_on_the_page(errors):
    figure = corruption_bars(errors, name="run")
    assert sum(map(len, figure.axes[0].containers[::2])) == sum(map(len, errors.values()))
    assert is_whole(figure)


def test_models_have_their_colours():
    drawn = corruption_bars(ERRORS, name="run")
    colours = [container[0].get_facecolor() for container in drawn.axes[0].containers[::2]]
    assert colours == [to_rgba(BLUE), to_rgba(ORANGE)]


@pytest.mark.parametrize("size", [(28, 28, 1), (10, 30, 3), (30, 10, 1)])
@pytest.mark.parametrize("count", [1, 2, 9])
def test_the_sheet_shows_every_image_about_square(size, count):
    images = np.zeros((count, *size), np.uint8) + 30 * np.arange(count)[:, None, None, None]
    sheet = {"clean": images, "shot_noise": images, "none": images[:0]}
    figure = corruption_sheet({k: v.astype(np.uint8) for k, v in sheet.items()}, name="run")
    assert [axes.get_title() for axes in figure.axes] == ["clean", "shot noise"]
    raster = figure.axes[0].images[0].get_array()
    for level in range(count):
        # Rounded as the picture is: whole levels come back.
        seen = np.all(np.rint(raster * 255) == 30 * level, axis=-1).sum()
        assert seen >= size[0] * size[1]
    if count == 9:
        assert 0.4 < raster.shape[0] / raster.shape[1] < 2.5
    text = caption(figure)
    assert "as they are and under 1 corruption of MNIST-C style" in text
    assert is_whole(figure)


def test_an_empty_sheet_says_so():
    assert "No images" in caption(corruption_sheet({}, name="run"))
