"""Parts are drawn by class, the same everywhere; bad arrays are refused by name."""

import numpy as np
import pytest

from configs.errors import InputError
from configs.schema import Data
from train import dataset
from train.dataset import Examples, Split


def split_of(labels: list[int] | np.ndarray, shape: tuple[int, ...] = (2, 3, 1)) -> Split:
    """Images that carry their row number, so that a row can be followed."""
    labels = np.asarray(labels, np.int32)
    rows = np.arange(len(labels), dtype=np.uint8)
    images = np.broadcast_to(rows[:, None, None, None], (len(labels), *shape)).copy()
    return Split(images=images, labels=labels)


def rows_of(split: Split) -> list[int]:
    return split.images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("prefix", [10, 50, 100, 200])
def test_every_prefix_holds_each_class_in_its_share(prefix: int) -> None:
    labels = np.repeat([0, 1, 2, 3], [100, 60, 30, 10])
    order = dataset.balanced_order(labels, seed=0)
    assert sorted(order) == list(range(200))
    counts = np.bincount(labels[order[:prefix]], minlength=4)
    assert np.all(np.abs(counts - np.array([0.5, 0.3, 0.15, 0.05]) * prefix) <= 1)


def test_equal_classes_are_drawn_equally_often() -> None:
    labels = np.repeat(np.arange(10), 50)
    order = dataset.balanced_order(labels, seed=0)
    assert np.bincount(labels[order[:100]]).tolist() == [10] * 10


def test_the_order_is_the_same_on_every_machine() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    pinned = [3, 2, 6, 1, 4, 7, 0, 5]
    assert dataset.balanced_order(labels, seed=0).tolist() == pinned
    assert dataset.balanced_order(labels, seed=1).tolist() != pinned


def test_regression_targets_are_shuffled() -> None:
    order = dataset.balanced_order(np.zeros((50, 1), np.float32), seed=0)
    assert sorted(order) == list(range(50))
    assert order.tolist() != list(range(50))


def test_divide_and_hold_out_lose_and_double_nothing() -> None:
    whole = split_of(np.repeat([0, 1], 10))
    for draw in (dataset.divide, dataset.hold_out):
        part, rest = draw(whole, 4, seed=0)
        assert sorted(rows_of(part) + rows_of(rest)) == list(range(20))
        assert np.bincount(part.labels).tolist() == [2, 2]
        assert part.labels.tolist() == [0 if r < 10 else 1 for r in rows_of(part)]
    assert rows_of(rest) == sorted(rows_of(rest)), "hold_out keeps the order of the rest"


def test_a_limit_keeps_a_prefix_of_one_balanced_order() -> None:
    whole = split_of(np.repeat([0, 1], 10))
    small, larger = (dataset.limited(whole, n, seed=0) for n in (4, 8))
    assert rows_of(larger)[:4] == rows_of(small)
    assert np.bincount(small.labels).tolist() == [2, 2]
    assert dataset.limited(whole, 0, seed=0) is whole
    assert dataset.limited(whole, 20, seed=0) is whole


def test_finished_holds_out_first_and_limits_then() -> None:
    examples = Examples(
        train=split_of(np.repeat([0, 1], 50)),
        test=split_of(np.repeat([0, 1], 20)),
        classes=("a", "b"),
    )
    facts = {"name": "n", "source": "files", "note": ""}
    full = dataset.finished(examples, Data(validation=20), **facts)
    small = dataset.finished(examples, Data(validation=20, limit=10), **facts)
    assert len(full.train) == 80
    assert len(full.test) == 40
    assert not set(rows_of(full.train)) & set(rows_of(full.validation))
    assert (len(small.train), len(small.validation), len(small.test)) == (10, 20, 10)
    assert rows_of(small.validation) == rows_of(full.validation)
    assert set(rows_of(small.train)) < set(rows_of(full.train))
    assert small.sha256 != full.sha256
    assert dataset.finished(examples, Data(), **facts).validation is None


def test_validation_must_leave_training_images() -> None:
    examples = Examples(train=split_of([0, 1]), test=split_of([0]), classes=("a", "b"))
    with pytest.raises(InputError, match=r"`--data.validation` \(=2\) must leave some"):
        dataset.finished(examples, Data(validation=2), name="", source="", note="")


def test_the_fingerprint_sees_name_type_shape_and_every_bit() -> None:
    split = split_of([0, 1, 1])
    flipped = split.images.copy()
    flipped[2, 1, 2, 0] ^= 1
    others = {
        "name": {"validation": split},
        "bit": {"train": Split(images=flipped, labels=split.labels)},
        "type": {"train": Split(images=split.images, labels=split.labels.astype("u4"))},
        "shape": {
            "train": Split(images=split.images.reshape(3, 3, 2, 1), labels=split.labels)
        },
    }
    marks = {dataset.fingerprint(**splits) for splits in others.values()}
    assert len(marks | {dataset.fingerprint(train=split)}) == 5
    assert dataset.fingerprint(train=split) == dataset.fingerprint(
        train=split_of([0, 1, 1]), validation=None
    )


@pytest.mark.parametrize(
    ("images", "labels", "text"),
    [
        (np.zeros((2, 4, 4, 1), np.float32), [0, 1], r"train images are float32 \[2, 4, 4"),
        (np.zeros((2, 4, 4), np.uint8), [0, 1], r"uint8 images \[N, H, W, C\]"),
        (np.zeros((0, 4, 4, 1), np.uint8), [], r"uint8 \[0, 4, 4, 1\]"),
        (np.zeros((2, 4, 4, 1), np.uint8), [0.0, 1.0], r"labels are float64 \[2\]"),
        (np.zeros((2, 4, 4, 1), np.uint8), [0], r"each of its 2 train images"),
        (np.zeros((2, 4, 4, 1), np.uint8), [0, 2], r"labels in 0\.\.1 .* from 0 to 2"),
        (np.zeros((2, 4, 4, 1), np.uint8), [-1, 1], r"from -1 to 1; number the classes"),
        (np.zeros((2, 4, 5, 1), np.uint8), [0, 1], r"\(4, 5, 1\) and test images \(4, 4"),
    ],
)
def test_arrays_that_are_no_classification_are_refused(
    images: np.ndarray, labels: list, text: str
) -> None:
    good = Split(images=np.zeros((1, 4, 4, 1), np.uint8), labels=np.array([0]))
    bad = Split(images=images, labels=np.array(labels))
    with pytest.raises(InputError, match=text) as refusal:
        dataset.checked(Examples(train=bad, test=good, classes=("a", "b")), "`here`")
    assert str(refusal.value).startswith("`here` must hold")


def test_checked_makes_labels_int32() -> None:
    split = Split(images=np.zeros((1, 4, 4, 1), np.uint8), labels=np.array([0], np.uint8))
    seen = dataset.checked(Examples(train=split, test=split, classes=("a",)), "`here`")
    assert seen.train.labels.dtype == seen.test.labels.dtype == np.int32


def test_what_is_unavailable_says_why_and_what_to_do() -> None:
    error = dataset.UnavailableError("it is not there", "look elsewhere")
    assert isinstance(error, InputError)
    assert str(error) == "it is not there; look elsewhere."
    assert error.reason == "it is not there"
