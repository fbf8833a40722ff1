"""The pictures of a run: which there are, and the figures behind them."""

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from configs.network import Conv, Dense, Flatten, Network, Pool
from configs.schema import Data, Experiment
from train.dataset import Dataset, Split
from train.functions import FUNCTIONS, examples
from train.model import build
from train.pictures import confusion_counts, grid, mistakes, write_pictures, write_widths

ANY = ["learning_curves", "confusion", "mistakes"]
INSIDE = ["filters", "feature_maps", "strongest_patches", "maximised"]


def log(score):
    return [
        {"epoch": epoch, "step": epoch, "learning_rate": 0.1, "images_per_s": 1.0}
        | {f"{kind}_{name}": 0.5 for kind in ("train", "eval") for name in ("loss", score)}
        for epoch in (1, 2)
    ]


def dataset(shape, labels, classes, validation=None):
    images = np.random.default_rng(0).integers(0, 256, (len(labels), *shape))
    test = Split(images=images.astype(np.uint8), labels=labels)
    return Dataset(
        name="some",
        source="files",
        train=test,
        validation=validation,
        test=test,
        classes=classes,
        sha256="",
        note="",
    )


def drawn(tmp_path, network, data, **changes):
    """Names of the pictures written for a freshly made network of that kind."""
    model = build(network, key=jax.random.key(0))
    arguments = {
        "model": model,
        "dataset": data,
        "log": log("accuracy"),
        "key": jax.random.key(1),
    } | changes
    if "predictions" not in arguments:
        arguments["predictions"] = np.asarray(jax.jit(model)(data.test.images))
    if "experiment" not in arguments:
        arguments["experiment"] = Experiment(name="run", network=network)
    paths = write_pictures(tmp_path / "train", **arguments)
    assert sorted(paths) == sorted((tmp_path / "train").iterdir())
    for path in paths:
        assert path.stat().st_size < 200_000
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert np.asarray(image.convert("L")).std() > 5
    return [path.stem for path in paths]


LABELS = np.random.default_rng(1).integers(0, 3, 40).astype(np.int32)


def test_pictures_of_a_convolutional_network(tmp_path):
    network = Network(
        input_shape=(10, 10, 1),
        layers=(
            Conv(features=6, padding="zero"),
            Pool(),
            Flatten(),
            Dense(features=3, activation="identity"),
        ),
    )
    data = dataset((10, 10, 1), LABELS, ("$a", "b", "c"))
    assert drawn(tmp_path, network, data) == ANY + INSIDE


def test_pictures_of_a_dense_network_whose_answers_are_all_right(tmp_path):
    # Three classes, but four outputs: the network was made for more.
    network = Network(input_shape=(6, 6, 3), layers=(Flatten(), Dense(features=4)))
    data = dataset((6, 6, 3), LABELS, ("cat", "dog", "automobile"))
    data = dataclasses.replace(data, validation=data.test)
    right = np.eye(4, dtype=np.float32)[LABELS]
    assert drawn(tmp_path, network, data, predictions=right) == ANY + INSIDE


def test_vectors_have_no_images_to_show(tmp_path):
    network = Network(input_shape=(5,), layers=(Dense(features=3),))
    data = dataset((5,), LABELS, ("a", "b", "c"))
    assert drawn(tmp_path, network, data) == ANY[:2]
    assert drawn(tmp_path / "nothing", network, data, log=[]) == ["confusion"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_pictures_of_regression(tmp_path, name):
    parts = examples(name)
    network = Network(
        input_shape=(FUNCTIONS[name].dims,),
        layers=(Dense(features=1, activation="identity"),),
    )
    data = dataclasses.replace(
        dataset((1,), LABELS, ()), train=parts.train, test=parts.test
    )
    experiment = Experiment(
        name="run", task="regression", network=network, data=Data(name=name)
    )
    changes = {"experiment": experiment, "log": log("mse")}
    assert drawn(tmp_path, network, data, **changes) == ["learning_curves", "fit"]


def test_regression_of_unknown_origin_has_only_its_curves(tmp_path):
    network = Network(input_shape=(2,), layers=(Dense(features=1),))
    experiment = Experiment(
        name="run", task="regression", network=network, data=Data(name="else")
    )
    data = dataset((2,), np.zeros((9, 1), np.float32), ())
    changes = {"experiment": experiment, "log": log("mse")}
    assert drawn(tmp_path, network, data, **changes) == ["learning_curves"]


def test_predictions_of_a_part_are_refused(tmp_path):
    network = Network(input_shape=(5,), layers=(Dense(features=3),))
    data = dataset((5,), LABELS, ("a", "b", "c"))
    with pytest.raises(
        ValueError, match=r"`predictions` \(=7 rows\) must hold one row for"
    ):
        drawn(tmp_path, network, data, predictions=np.zeros((7, 3), np.float32))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_widths_are_written(tmp_path, name):
    _, points = grid(name)
    fits = [
        {"width": w, "test_mse": 1 / w, "outputs": np.zeros((len(points), 1), np.float32)}
        for w in (1, 8)
    ]
    path = write_widths(tmp_path, function_name=name, fits=fits)
    assert path == tmp_path / "widths.png"
    with Image.open(path) as image:
        assert np.asarray(image.convert("L")).std() > 5


@pytest.mark.parametrize("name", FUNCTIONS)
def test_grid_holds_all_examples_in_order(name):
    axis, points = grid(name)
    parts = examples(name)
    both = np.concatenate([parts.train.images, parts.test.images])
    assert points.dtype == np.uint8
    np.testing.assert_array_equal(points, np.array(sorted(map(tuple, both))))
    np.testing.assert_array_equal(axis, np.unique(points) / 256)


CLASSES = 4
pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=50)


@given(pairs)
def test_confusion_counts_are_those_of_a_loop(pairs):
    expected = np.zeros((CLASSES, CLASSES), int)
    for label, predicted in pairs:
        expected[label, predicted] += 1
    labels, predicted = np.array(pairs).T
    counts = confusion_counts(labels.astype(np.int32), predicted, CLASSES)
    np.testing.assert_array_equal(counts, expected)


@given(pairs, st.integers(0, 2**32 - 1))
def test_mistakes_come_most_confident_first(pairs, seed):
    labels = np.array(pairs)[:, 0]
    logits = np.random.default_rng(seed).normal(0, 30, (len(labels), CLASSES))
    logits = logits.astype(np.float32)
    probability = np.exp(logits.astype(np.float64))
    probability /= probability.sum(axis=1, keepdims=True)
    wrong, confidence = mistakes(logits, labels)
    assert set(wrong) == set(np.flatnonzero(logits.argmax(axis=1) != labels))
    np.testing.assert_allclose(confidence, probability.max(axis=1)[wrong], rtol=1e-4)
    assert np.all(np.diff(confidence) <= 0)
