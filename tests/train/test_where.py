"""Data that was moved is found again; other data is refused with both hashes."""

import re
from pathlib import Path

import numpy as np
import pytest

from configs.errors import InputError
from configs.schema import Data
from train import data
from train.where import Where, options, same


def own(folder: Path, seed: int = 0) -> str:
    folder.mkdir()
    images = np.random.default_rng(seed).integers(0, 256, (20, 4, 4), dtype=np.uint8)
    np.savez(folder / "own.npz", images=images, labels=np.arange(20) % 2)
    return str(folder / "own.npz")


def test_what_is_not_said_stays_as_it_was() -> None:
    stored = Data(name="fashion_mnist", dir="/data", source="tfds", limit=7)
    assert Where().of(stored) == stored
    assert Where(dir="/here").of(stored).dir == "/here"
    assert Where(source="auto").of(stored).source == "auto"
    assert Where(path="x.npz").of(Data(path="y.npz", limit=7)) == Data(
        path="x.npz", limit=7
    )


def test_the_same_data_elsewhere_is_taken_and_other_data_refused(tmp_path: Path) -> None:
    stored = Data(path=own(tmp_path / "was"))
    wanted = data.load(stored).sha256
    Path(stored.path).rename(tmp_path / "moved.npz")
    moved = data.load(Where(path=str(tmp_path / "moved.npz")).of(stored))
    assert same(moved, wanted, "`--run` was trained on own", retrain="train again") is moved
    other = data.load(Where(path=own(tmp_path / "other", seed=1)).of(stored))
    with pytest.raises(InputError) as refused:
        same(other, wanted, "`--run` was trained on own", retrain="train again")
    message = str(refused.value)
    assert re.findall(r"\b[0-9a-f]{12}\b", message) == [wanted[:12], other.sha256[:12]]
    assert "--data.path" in message


@pytest.mark.parametrize(
    ("where", "stored", "text"),
    [
        (
            Where(path="x.npz"),
            Data(),
            r"`--data.path` \(=x.npz\) belongs to .* mnist; give",
        ),
        (Where(dir="d"), Data(path="x.npz"), r"`--data.dir` \(=d\) belongs .*--data.path"),
        (Where(source="tfds"), Data(path="x"), r"`--data.source` \(=tfds\) belongs"),
    ],
)
def test_a_place_of_another_sort_of_data_is_refused(where, stored, text) -> None:
    with pytest.raises(InputError, match=text):
        where.of(stored)


def test_a_place_needs_a_run() -> None:
    Where().require_run(False)
    Where(dir="d").require_run(True)
    with pytest.raises(InputError, match=r"`--data.dir` \(=d\) .*give --run"):
        Where(dir="d").require_run(False)


def test_the_words_that_say_it_again() -> None:
    assert options(Where()) == []
    assert options(Where(path="a b", source="tfds")) == [
        "--data.path", "a b", "--data.source", "tfds",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["path", "dir"])
def test_an_empty_place_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"`{name}` .*must not be empty"):
        Where(**{name: ""})
