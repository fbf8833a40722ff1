"""Ten sorts of data sets as people have them: used rightly, or named with the way out."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs.errors import InputError
from configs.schema import Data
from train import data, files
from train.dataset import SEED, Split, divide

RNG = np.random.default_rng(7)


def pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def tree(root: Path, **counts: int) -> None:
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(pixels(4, 5)).save(root / name / f"{number}.png")


def saved(folder: Path, **arrays: np.ndarray) -> str:
    np.savez(folder / "own.npz", **arrays)
    return str(folder / "own.npz")


def halves(**changes: np.ndarray) -> dict[str, np.ndarray]:
    """Training and test images of three classes, but for `changes`."""
    good = {
        "x_train": pixels(6, 9, 9),
        "y_train": np.arange(6) % 3,
        "x_test": pixels(3, 9, 9),
        "y_test": np.arange(3),
    }
    return {**good, **changes}


@pytest.mark.parametrize(
    "counts",
    [[1] * 10, [1, 1, 1, 30], [2] * 8, [1, 2, 3, 4, 5], [1] * 9 + [2], [5, 1, 1, 1, 1]],
)
def test_every_class_keeps_an_image_to_train_on(tmp_path: Path, counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    path = saved(tmp_path, images=pixels(len(labels), 4, 4), labels=labels)
    if max(counts) == 1:
        with pytest.raises(InputError, match="two images or more of some class to draw"):
            files.read(path)
        return
    seen = files.read(path)
    trained = np.bincount(seen.train.labels, minlength=len(counts))
    assert trained.min() >= 1
    tested = np.bincount(seen.test.labels, minlength=len(counts))
    assert (trained + tested).tolist() == counts
    spare = sum(count - 1 for count in counts)
    assert len(seen.test) == min(len(labels) // 5, spare)
    untested = int(np.sum(tested == 0))
    assert (f"; {untested} classes have no test image" in seen.notes[-1]) == (untested > 0)


@pytest.mark.parametrize("counts", [[30, 20], [20, 10], [7, 9, 40], [500, 3], [2, 2, 2]])
def test_a_split_that_was_right_is_the_same(tmp_path: Path, counts: list[int]) -> None:
    """That of the balanced order's first fifth, to the byte and in its order."""
    labels = np.repeat(np.arange(len(counts)), counts)
    images = pixels(len(labels), 4, 4)
    whole = Split(images=images[..., None], labels=labels)
    test, train = divide(whole, len(labels) // 5, seed=SEED)
    assert set(train.labels) == set(range(len(counts)))
    seen = files.read(saved(tmp_path, images=images, labels=labels))
    for mine, before in ((seen.train, train), (seen.test, test)):
        np.testing.assert_array_equal(mine.images, before.images)
        np.testing.assert_array_equal(mine.labels, before.labels)


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_a_val_folder_is_the_test_part_or_named(tmp_path: Path, name: str) -> None:
    tree(tmp_path / "train", ant=4, bee=3)
    tree(tmp_path / name, ant=1, bee=2)
    seen = files.read(str(tmp_path))
    assert (len(seen.train), len(seen.test)) == (7, 3)
    assert seen.notes == (f"{name}/ is the test part, since there is no test/.",)
    tree(tmp_path / "test", ant=5, bee=5)
    tree(tmp_path / "extra", ant=1)
    seen = files.read(str(tmp_path))
    assert (len(seen.train), len(seen.test)) == (7, 10)
    (note,) = seen.notes
    assert note.startswith(f"Left out of {tmp_path}: ")
    assert f"{name}/" in note
    assert "extra/" in note


def test_training_and_testing_are_no_classes(tmp_path: Path) -> None:
    """As the MNIST pictures are handed out."""
    tree(tmp_path / "training", **{"0": 3, "1": 4})
    tree(tmp_path / "testing", **{"0": 1, "1": 2})
    seen = files.read(str(tmp_path))
    assert seen.classes == ("0", "1")
    assert (len(seen.train), len(seen.test)) == (7, 3)


def test_valid_may_be_a_class(tmp_path: Path) -> None:
    tree(tmp_path, valid=5, broken=5)
    assert files.read(str(tmp_path)).classes == ("broken", "valid")


def test_test_and_val_without_train_are_refused(tmp_path: Path) -> None:
    tree(tmp_path / "test", ant=4, bee=3)
    tree(tmp_path / "val", ant=4, bee=3)
    with pytest.raises(InputError, match="but has test/ and val/; add the other"):
        files.read(str(tmp_path))


def test_one_class_is_no_classification(tmp_path: Path) -> None:
    tree(tmp_path / "a", ant=9)
    with pytest.raises(InputError, match=r"`--data.path` .* two classes .*class \(ant\)"):
        files.read(str(tmp_path / "a"))
    flat = saved(tmp_path, images=pixels(9, 4, 4), labels=np.zeros(9, int))
    with pytest.raises(InputError, match=r"`--data.path` .* two classes .*class \(0\)"):
        files.read(flat)


def test_arrays_to_validate_on_are_the_test_part_or_named(tmp_path: Path) -> None:
    val = {"x_val": pixels(4, 9, 9), "y_val": np.arange(4) % 3}
    three = halves(**val, ids=np.arange(6))
    seen = files.read(saved(tmp_path, **three))
    assert len(seen.test) == 3
    assert seen.notes == ("Left out of the .npz file: ids, x_val, y_val.",)
    del three["x_test"], three["y_test"]
    seen = files.read(saved(tmp_path, **three))
    np.testing.assert_array_equal(seen.test.images[..., 0], val["x_val"])
    assert seen.notes == (
        "x_val, y_val are the test part, since there is no x_test.",
        "Left out of the .npz file: ids.",
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        # PyTorch's arrangement.
        (
            {"x_train": pixels(6, 1, 28, 28)},
            r"`x_train` .*\[6, 1, 28, 28\].* first, use `x_train.transpose\(0, 2, 3, 1\)`",
        ),
        ({"x_test": pixels(6, 3, 32, 32)}, r"`x_test` .*channels come first"),
        (
            {"x_train": np.zeros((6, 3, 9, 9), np.float32)},
            r"`x_train` .*channels come first.*np.rint\(255 \* x_train\)",
        ),
        ({"x_train": np.zeros((6, 9, 9))}, r"`x_train` .*floats in 0\.\.1 with `np.rint"),
        ({"x_train": np.zeros((6, 9, 9), np.int64)}, r"`x_train.astype\(np.uint8\)`"),
        ({"x_train": np.zeros((6, 9, 9), bool)}, r"`255 \* x_train.astype\(np.uint8\)`"),
        # Keras' CIFAR.
        (
            {"y_train": np.zeros((6, 1), int)},
            r"`y_train` .*a column, use `y_train\[:, 0\]`",
        ),
        ({"y_test": np.eye(3)}, r"`y_test` .*one-hot rows, use `y_test.argmax\(1\)`"),
        ({"y_train": np.zeros(6)}, r"`y_train.astype\(np.int64\)`"),
        ({"y_train": np.array(["a"] * 6)}, r"`y_train` .*np.unique\(y_train, return_inv"),
        (
            {"y_train": 1 + np.arange(6) % 3, "y_test": 1 + np.arange(3)},
            "number its classes from 0, but its labels start at 1 and end at 3; subtract 1",
        ),
        (
            {
                "y_train": 1 + np.arange(6) % 3,
                "y_test": 1 + np.arange(3),
                "classes": np.array(["a", "b", "c"]),
            },
            "labels start at 1 and end at 3; subtract 1, or name all 4 classes",
        ),
        ({"y_train": np.arange(6) % 3 - 1}, "from -1 to 1; .* images without a class"),
    ],
)
def test_arrays_of_another_sort_are_named_with_the_way_out(
    tmp_path: Path, changes: dict, text: str
) -> None:
    with pytest.raises(InputError, match=text):
        files.read(saved(tmp_path, **halves(**changes)))


def test_a_class_without_images_may_be_named(tmp_path: Path) -> None:
    names = np.array(["none", "a", "b", "c"])
    labels = {"y_train": 1 + np.arange(6) % 3, "y_test": 1 + np.arange(3)}
    seen = files.read(saved(tmp_path, **halves(**labels, classes=names)))
    assert seen.classes == ("none", "a", "b", "c")


def test_notes_count_what_was_done_to_pictures(tmp_path: Path) -> None:
    tree(tmp_path, ant=5, bee=5)
    for number in range(3):
        canvas = Image.fromarray(pixels(4, 5, 4))
        canvas.save(tmp_path / "ant" / f"{number}.png")
    note = data.load(Data(path=str(tmp_path))).note
    assert "7 of 10 pictures are gray and became RGB" in note
    assert "3 of 10 pictures: transparent parts became white paper." in note


def test_channels_are_as_asked_and_only_of_folders(tmp_path: Path) -> None:
    tree(tmp_path / "own", ant=5, bee=5)
    for channels, shape in ((0, 1), (1, 1), (3, 3)):
        seen = data.load(Data(path=str(tmp_path / "own"), channels=channels))
        assert seen.train.images.shape[-1] == shape
    with pytest.raises(InputError, match=r"`--data.channels` \(=3\) belongs to a folder"):
        files.read(saved(tmp_path, **halves()), 3)
    with pytest.raises(InputError, match=r"`channels` \(=1\)|`data.channels`"):
        Data(channels=1)


def test_a_moved_folder_has_the_same_fingerprint(tmp_path: Path) -> None:
    tree(tmp_path / "here", ant=5, bee=5)
    before = data.load(Data(path=str(tmp_path / "here"))).sha256
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert data.load(Data(path=str(tmp_path / "there"))).sha256 == before
