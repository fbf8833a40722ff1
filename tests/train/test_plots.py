"""Charts show the numbers they are given; files are whole PNGs."""

import io

import numpy as np
import pytest
from PIL import Image

from train.plots import canvas, confusion, learning_curves, plain, save, short


def log(epochs, score="accuracy"):
    return [
        {
            "epoch": epoch,
            "step": 10 * epoch,
            "train_loss": 1 / epoch,
            "eval_loss": 1.1 / epoch,
            f"train_{score}": 0.9 / epoch,
            f"eval_{score}": 0.8 / epoch,
            "learning_rate": 0.01 / epoch,
            "images_per_s": 1000.0,
        }
        for epoch in range(1, epochs + 1)
    ]


def drawn(figure):
    """Pixels of the figure; drawing it proves that nothing warns."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer))


def test_curves_are_those_of_the_log():
    rows = log(10)
    figure = learning_curves(rows, name="run", held_out="validation")
    for axes, panel in zip(figure.axes, ["loss", None, "accuracy"], strict=True):
        if panel is None:
            (rate,) = axes.lines
            assert list(rate.get_ydata()) == [row["learning_rate"] for row in rows]
            continue
        for line, kind in zip(axes.lines, ["train", "eval"], strict=True):
            assert list(line.get_xdata()) == list(range(1, 11))
            assert list(line.get_ydata()) == [row[f"{kind}_{panel}"] for row in rows]
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert labels == ["training", "validation"]
    assert figure.axes[0].get_yscale() == "log"
    assert len(np.unique(drawn(figure))) > 10


def test_regression_has_one_logarithmic_panel():
    figure = learning_curves(log(80, "mse"), name="run", held_out="test")
    curves, rate = figure.axes
    assert curves.get_yscale() == "log"
    assert curves.get_ylabel() == "mean squared error"
    assert len(rate.lines) == 1
    drawn(figure)


@pytest.mark.parametrize("loss", [0.0, 1.0])
def test_one_epoch_and_a_loss_of_zero_can_be_drawn(loss):
    rows = [log(1)[0] | {"train_loss": loss, "eval_loss": loss}]
    figure = learning_curves(rows, name="run", held_out="test")
    assert figure.axes[0].get_yscale() == "linear"
    drawn(figure)


@pytest.mark.parametrize("classes", [["cat", "dog", "a very long name"], list("abc")])
def test_confusion_writes_every_count(classes):
    counts = np.array([[50, 3, 0], [1, 1200, 0], [0, 20, 7]])
    figure = confusion(counts, name="run", classes=classes)
    (axes,) = figure.axes
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    expected = {(c, r): f"{n:,}" for (r, c), n in np.ndenumerate(counts) if n}
    assert texts == expected
    note = " ".join(text.get_text() for text in figure.texts)
    assert "1,257 of 1,281 test images are right (98.13%)" in note
    drawn(figure)


def test_confusion_colours_errors_only_and_the_commonest_most():
    counts = np.array([[50, 3, 0], [1, 1200, 0], [0, 20, 7]])
    (image,) = confusion(counts, name="run", classes=list("abc")).axes[0].images
    colours = image.get_array()
    diagonal = colours[np.eye(3, dtype=bool)]
    assert (diagonal == diagonal[0]).all()
    np.testing.assert_array_equal(colours[0, 2], [1, 1, 1])
    blue = colours[..., 2]
    assert blue[2, 1] < blue[0, 1] < blue[1, 0] < blue[0, 2]


def test_confusion_without_errors_and_with_many_classes():
    figure = confusion(np.eye(40, dtype=int), name="run", classes=list(map(str, range(40))))
    assert not figure.axes[0].texts
    drawn(figure)


def test_files_are_written_whole(tmp_path):
    figure, top = canvas(
        4, 2, "A title", "An explanation that is longer than one line " * 3
    )
    assert 0.5 < top < 1
    path = save(figure, tmp_path / "chart.png")
    assert list(tmp_path.iterdir()) == [path]
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width == 480
        assert len(np.unique(np.asarray(image))) > 10


def test_a_broken_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "chart.png"
    path.write_bytes(b"old")
    figure, _ = canvas(2, 1, "$\\frac{", "not escaped")
    figure.texts[0].set_text("$\\frac{$")
    with pytest.raises(ValueError, match="frac"):
        save(figure, path)
    assert path.read_bytes() == b"old"


def test_names_are_drawn_as_they_stand(tmp_path):
    assert plain("$x$") == "\\$x\\$"
    assert short("automobile", 7) == "automo…"
    assert short(7) == "7"
    counts = np.array([[1, 1], [1, 1]])
    save(confusion(counts, name="$\\frac{", classes=["$\\bad$", "猫"]), tmp_path / "c.png")
