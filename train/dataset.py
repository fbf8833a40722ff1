"""Labelled examples for training and test, and how a part of them is drawn."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from configs.errors import InputError
from configs.schema import Data
from train import rotated

# Of every split that is drawn: the same examples in every run, on every machine.
SEED = 0


class UnavailableError(InputError):
    """One source cannot supply the set here; another one may.

    Args:
        reason: a clause that says what is missing.
        remedy: a clause that says what to do about it.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}.")
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Split:
    """Examples and their answers, one row each."""

    # uint8 [N, H, W, C]; for functions uint8 [N, D].
    images: np.ndarray
    # int32 [N], a class each; for regression float32 [N, outputs].
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: np.ndarray) -> Split:
        return Split(images=self.images[rows], labels=self.labels[rows])


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What one source holds, before anything is held out or limited."""

    train: Split
    test: Split
    # Names of the classes; () for regression.
    classes: tuple[str, ...]
    # Sentences for the user: what was done to get them, and what was left out.
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What an experiment trains, validates and tests on."""

    name: str
    # "tfds", "download", "embedded", "files" or "function".
    source: str
    train: Split
    # Held out of `train`, balanced by class; None without.
    validation: Split | None
    test: Split
    # Names of the classes; () for regression.
    classes: tuple[str, ...]
    # SHA-256 over the names, dtypes, shapes and bytes of all arrays.
    sha256: str
    # A sentence or two for the user: which data this is and why; "" if plain.
    note: str


def balanced_order(labels: np.ndarray, *, seed: int) -> np.ndarray:
    """A permutation each of whose prefixes holds every class in its share.

    Row i of a class of n shuffled rows comes at (i + 1/2) / n of the way. Labels that
    are no classes (regression) are only shuffled. The order depends on raw PCG64 bits,
    which numpy keeps the same for ever, unlike those of its `shuffle`.

    >>> balanced_order(np.array([0, 0, 1, 1]), seed=0)[:2] // 2
    array([1, 0])
    """
    bits = np.random.PCG64(seed).random_raw(len(labels))
    shuffled = np.argsort(bits, kind="stable")
    if labels.ndim != 1:
        return shuffled
    classes = labels[shuffled]
    counts = np.bincount(classes)
    rank = np.empty(len(labels))
    firsts = np.repeat(np.cumsum(counts) - counts, counts)
    rank[np.argsort(classes, kind="stable")] = np.arange(len(labels)) - firsts
    share = (rank + 0.5) / counts[classes]
    return shuffled[np.argsort(share, kind="stable")]


def divide(split: Split, count: int, *, seed: int) -> tuple[Split, Split]:
    """`count` rows in balanced order, and all other rows in balanced order."""
    order = balanced_order(split.labels, seed=seed)
    return split.take(order[:count]), split.take(order[count:])


def hold_out(split: Split, count: int, *, seed: int) -> tuple[Split, Split]:
    """`count` rows in balanced order, and all other rows in the order they had."""
    order = balanced_order(split.labels, seed=seed)
    return split.take(order[:count]), split.take(np.sort(order[count:]))


def limited(split: Split, count: int, *, seed: int) -> Split:
    """The first `count` rows of the balanced order; everything as it was for 0."""
    if count == 0 or count >= len(split):
        return split
    return split.take(balanced_order(split.labels, seed=seed)[:count])


def fingerprint(**splits: Split | None) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of the arrays of all splits."""
    digest = hashlib.sha256()
    for name in sorted(splits):
        split = splits[name]
        if split is None:
            continue
        for field in ("images", "labels"):
            array = np.ascontiguousarray(getattr(split, field))
            digest.update(f"{name}.{field} {array.dtype.str} {array.shape}\n".encode())
            digest.update(array)
    return digest.hexdigest()


def finished(
    examples: Examples, data: Data, *, name: str, source: str, note: str
) -> Dataset:
    """The data set: validation examples held out first, then both splits limited, then
    images turned if they are to be."""
    train, validation = examples.train, None
    if data.validation:
        if data.validation >= len(train):
            raise InputError(
                f"`--data.validation` (={data.validation}) must leave some of the "
                f"{len(train)} training images; hold out fewer."
            )
        validation, train = hold_out(train, data.validation, seed=SEED)
    splits = {
        "train": limited(train, data.limit, seed=SEED),
        "validation": validation,
        "test": limited(examples.test, data.limit, seed=SEED),
    }
    if data.rotated:
        name = f"{name}_rotated"
        splits = {kind: split and _turned(split, kind) for kind, split in splits.items()}
    return Dataset(
        name=name,
        source=source,
        **splits,
        classes=examples.classes,
        sha256=fingerprint(**splits),
        note=note,
    )


def _turned(split: Split, kind: str) -> Split:
    images = rotated.rotated(split.images, seed=rotated.SEEDS[kind])
    return replace(split, images=images)


def checked(examples: Examples, origin: str) -> Examples:
    """The examples, labels as int32; InputError if they are no image classification.

    `origin` names where they come from, with the field in backticks.
    """
    splits = {
        name: _checked_split(getattr(examples, name), len(examples.classes), origin, name)
        for name in ("train", "test")
    }
    shapes = {name: split.images.shape[1:] for name, split in splits.items()}
    if shapes["train"] != shapes["test"]:
        raise InputError(
            f"{origin} must hold images of one shape, but training images are "
            f"{shapes['train']} and test images {shapes['test']}; make them equal."
        )
    return replace(examples, **splits)


def _checked_split(split: Split, classes: int, origin: str, name: str) -> Split:
    images, labels = split.images, split.labels
    if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape:
        raise InputError(
            f"{origin} must hold uint8 images [N, H, W, C], but its {name} images are "
            f"{images.dtype} {list(images.shape)}; convert them to 8 bits a channel."
        )
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise InputError(
            f"{origin} must hold one whole-number label for each of its {len(images)} "
            f"{name} images, but the labels are {labels.dtype} {list(labels.shape)}; "
            f"give an integer array [N]."
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        way = "remove images without a class" if low < 0 else "name every class"
        raise InputError(
            f"{origin} must hold {name} labels in 0..{classes - 1} (one for each of "
            f"{classes} classes), but they reach from {low} to {high}; number the classes "
            f"from 0, and {way}."
        )
    return replace(split, labels=labels.astype(np.int32))
