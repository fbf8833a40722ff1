"""The pictures show the values: zero black, larger brighter, signs apart, sizes bounded."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from accel.show import flow


def pixels(picture: flow.Picture) -> np.ndarray:
    data = base64.b64decode(picture.source.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")).astype(int)


def test_pictures_show_the_values():
    values = np.zeros((2, 3, 2), np.int8)
    values[0, 0, 0], values[1, 2, 0], values[0, 1, 1], values[1, 1, 1] = 60, 30, -60, -128
    drawn = pixels(flow.activations(values))
    assert drawn.shape == (2, 7, 4)
    assert (drawn[:, 3, 3] == 0).all(), "a gap between maps"
    assert (drawn[:, [0, 1, 2, 4, 5, 6], 3] == 255).all()
    bright = drawn[..., :3].sum(-1)
    assert bright[0, 1] == bright[1, 0] == 0
    assert bright[0, 0] > bright[1, 2] > 0, "brighter is larger"
    assert bright[1, 5] == bright.max(), "-128 has a magnitude too"
    assert drawn[0, 0, 0] > drawn[0, 0, 2], "positive: orange"
    assert drawn[0, 5, 2] > drawn[0, 5, 0], "negative: blue"
    image = np.arange(12, dtype=np.uint8).reshape(3, 4, 1) * 20
    shown = flow.image(image)
    np.testing.assert_array_equal(pixels(shown)[..., 0], image[..., 0])
    assert shown.width / shown.height == 4 / 3


@pytest.mark.parametrize(
    "shape", [(1,), (700,), (5000,), (28, 28, 3), (9, 9, 5), (1, 1, 300)]
)
def test_any_shape_has_a_picture_of_bounded_size(shape):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for picture in (flow.activations(values), flow.image(values)):
        assert picture.whole == shape[-1]
        assert picture.shown <= 1024
        assert 0 < picture.width <= 640
    empty = pixels(flow.activations(np.zeros(shape, np.uint8)))
    assert empty[..., :3].max() == 0
