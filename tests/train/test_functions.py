"""The regression sets are the stated formulas on the stated grids."""

import numpy as np
import pytest

from train import functions


def test_sine_is_its_formula_on_all_256_points() -> None:
    examples = functions.examples("sine")
    assert examples.train.images.ravel().tolist() == list(range(0, 256, 2))
    assert examples.test.images.ravel().tolist() == list(range(1, 256, 2))
    for split in (examples.train, examples.test):
        x = split.images[:, 0] / 256
        expected = np.sin(2 * np.pi * x) + 0.5 * np.sin(6 * np.pi * x)
        np.testing.assert_array_equal(split.labels[:, 0], expected.astype(np.float32))


def test_ripple_is_its_formula_on_64_by_64_points() -> None:
    examples = functions.examples("ripple")
    assert (len(examples.train), len(examples.test)) == (3072, 1024)
    points = np.concatenate([examples.train.images, examples.test.images])
    assert len(np.unique(points, axis=0)) == 4096
    assert np.unique(points).tolist() == list(range(0, 256, 4))
    x, y = (examples.test.images / 256).T
    r = np.hypot(x - 0.5, y - 0.5)
    expected = np.exp(-4 * r**2) * np.cos(4 * np.pi * r)
    np.testing.assert_allclose(examples.test.labels[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize("name", functions.FUNCTIONS)
def test_types_and_shapes(name: str) -> None:
    function, examples = functions.FUNCTIONS[name], functions.examples(name)
    assert function.name == name
    assert function.formula.startswith("f(x")
    assert examples.classes == ()
    for split in (examples.train, examples.test):
        assert split.images.dtype == np.uint8
        assert split.images.shape == (len(split), function.dims)
        assert split.labels.dtype == np.float32
        assert split.labels.shape == (len(split), 1)
    assert function(np.zeros((5, function.dims))).shape == (5, 1)


def test_the_split_of_ripple_is_fixed() -> None:
    first, second = functions.examples("ripple"), functions.examples("ripple")
    np.testing.assert_array_equal(first.test.images, second.test.images)
    assert first.test.images[:3].tolist() == [[0, 8], [0, 12], [0, 44]]


def test_sine_bends_too_often_for_a_narrow_net() -> None:
    x = np.linspace(0, 1, 1001)[:, None]
    slopes = np.sign(np.diff(functions.FUNCTIONS["sine"](x)[:, 0]))
    assert np.count_nonzero(np.diff(slopes)) == 6
