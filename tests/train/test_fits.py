"""Pictures of regression hold the target and the fits they are given."""

import io

import numpy as np
import pytest

from train.fits import fit_figure, widths_figure

X = np.arange(16) / 16


def draw(figure):
    figure.savefig(io.BytesIO(), format="png")


def test_fit_of_one_variable():
    target, fit = np.sin(X), np.cos(X)
    points = X[::2], target[::2]
    figure = fit_figure(X, target, fit, points, name="run", mse=0.125)
    (axes,) = figure.axes
    for line, (x, y) in zip(axes.lines, [(X, target), (X, fit), points], strict=True):
        np.testing.assert_array_equal(line.get_xdata(), x)
        np.testing.assert_array_equal(line.get_ydata(), y)
    assert "0.125" in " ".join(text.get_text() for text in figure.texts)
    draw(figure)


@pytest.mark.parametrize("error", [0.0, 0.5])
def test_fit_of_two_variables(error):
    target = X[:, None] + 0 * X
    figure = fit_figure(X, target, target + error, None, name="run", mse=error**2)
    images = [image for axes in figure.axes for image in axes.images]
    for image, values in zip(
        images, [target, target + error, 0 * target + error], strict=True
    ):
        np.testing.assert_allclose(image.get_array(), values)
    assert images[0].get_clim() == images[1].get_clim() == (0, 15 / 16)
    low, high = images[2].get_clim()
    assert low == -high < 0
    draw(figure)


@pytest.mark.parametrize("count", [1, 4, 5, 6])
def test_widths_of_one_variable(count):
    target = np.sin(6 * X)
    fits = [
        {"width": 2**n, "test_mse": 10.0**-n, "outputs": target / (n + 2)}
        for n in reversed(range(count))
    ]
    figure = widths_figure(X, target, fits, name="sine")
    *panels, errors = figure.axes
    assert len(panels) == count
    for n, axes in enumerate(panels):
        assert axes.get_title(loc="left") == ("1 neuron" if n == 0 else f"{2**n} neurons")
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), target)
        np.testing.assert_array_equal(axes.lines[1].get_ydata(), target / (n + 2))
    (line,) = errors.lines
    np.testing.assert_allclose(line.get_xdata(), [2**n for n in range(count)])
    np.testing.assert_allclose(line.get_ydata(), [10.0**-n for n in range(count)])
    assert errors.get_xscale() == "log"
    assert errors.get_yscale() == ("log" if count > 1 else "linear")
    draw(figure)


def test_widths_of_two_variables_show_the_target_first():
    target = X[:, None] * X
    fits = [{"width": 8, "test_mse": 0.1, "outputs": target / 2}]
    target_axes, fit_axes, _ = widths_figure(X, target, fits, name="ripple").axes
    np.testing.assert_array_equal(target_axes.images[0].get_array(), target)
    np.testing.assert_array_equal(fit_axes.images[0].get_array(), target / 2)
    assert target_axes.images[0].get_clim() == fit_axes.images[0].get_clim()
