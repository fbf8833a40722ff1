"""Small images keep their pixels, their places and their texts."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from train.mosaics import (
    Panel,
    Row,
    coloured,
    message_figure,
    panel_figure,
    picture,
    signed,
    tiled,
)
from train.plots import PALE


def test_pictures_are_red_green_and_blue_from_0_to_1():
    gray = np.array([[[0], [255]]], np.uint8)
    np.testing.assert_array_equal(picture(gray), [[[0, 0, 0], [1, 1, 1]]])
    colour = np.array([[[0, 51, 255]]], np.uint8)
    np.testing.assert_allclose(picture(colour), [[[0, 0.2, 1]]])
    two = np.array([[[0, 102]]], np.uint8)
    np.testing.assert_allclose(picture(two), [[[0.2, 0.2, 0.2]]])


def test_colour_maps_end_at_their_bounds():
    row = coloured(np.array([[-5, 0, 1, 9]]), 0, 1, "gray")
    np.testing.assert_array_equal(row[0, :, 0], [0, 0, 1, 1])
    assert coloured(np.zeros((2, 2)), 0, 0, "gray").max() == 0


def test_signed_colours_are_centred_on_zero():
    red, white, blue = signed(np.array([[[2.0], [0.0], [-1.0]]]))[0]
    assert white.min() > 0.95
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    middle = signed(np.array([[[1.0, 0.0, -1.0]]]))
    np.testing.assert_array_equal(middle, [[[1, 0.5, 0]]])
    assert np.isfinite(signed(np.zeros((3, 3, 1)))).all()


def test_tiles_keep_every_pixel_in_its_cell():
    rng = np.random.default_rng(0)
    images = [rng.random((30, 30, 3)) for _ in range(3)] + [np.zeros((10, 30, 3))]
    raster = tiled(images, 2)
    assert raster.shape == (62, 62, 3)
    np.testing.assert_allclose(raster[:30, 32:], images[1], atol=1e-6)
    np.testing.assert_allclose(raster[32:, :30], images[2], atol=1e-6)
    np.testing.assert_allclose(
        raster[32:42, 32:], np.broadcast_to(to_rgb(PALE), (10, 30, 3))
    )
    assert raster[42:52, 32:].max() == 0


def test_tiny_tiles_are_enlarged():
    raster = tiled([np.zeros((3, 3, 3)), np.ones((3, 3, 3))], 2)
    assert raster.shape[0] == 24
    assert raster[:, :24].max() == 0


def test_panels_stand_in_rows():
    image = np.zeros((4, 4, 3))
    numbers = np.arange(16).reshape(4, 4)
    panels = [Panel(image=image, title=str(n), note=f"<{n}>") for n in range(5)]
    rows = [
        Row(label="first", panels=panels),
        Row(label="second", panels=[None, Panel(image=image, numbers=numbers)]),
        Row(label="strip", panels=[Panel(image=np.ones((1, 7, 3)))], strip=True),
    ]
    figure = panel_figure(rows, title="A title", note="A note", columns=3)
    figure.savefig(io.BytesIO(), format="png")
    assert len(figure.axes) == 7
    assert [axes.get_title() for axes in figure.axes[:5]] == list("01234")
    assert [axes.get_xlabel() for axes in figure.axes[:2]] == ["<0>", "<1>"]
    boxes = [axes.get_position(original=True) for axes in figure.axes]
    assert boxes[0].y0 == boxes[2].y0 > boxes[3].y0 > boxes[5].y0 > boxes[6].y0 > 0
    assert boxes[0].x0 == boxes[3].x0 == boxes[6].x0
    assert boxes[5].x0 == boxes[1].x0
    assert boxes[6].x1 == pytest.approx(boxes[2].x1)
    assert [text.get_text() for text in figure.axes[5].texts] == list(map(str, range(16)))
    assert all(text.get_color() == "white" for text in figure.axes[5].texts)
    labels = [text.get_text() for text in figure.texts]
    assert labels == ["A title", "A note", "first", "", "second", "strip"]


def test_a_message_is_written():
    figure = message_figure(title="A title", note="A note", message="Nothing")
    assert "Nothing" in [text.get_text() for text in figure.texts]
    figure.savefig(io.BytesIO(), format="png")
