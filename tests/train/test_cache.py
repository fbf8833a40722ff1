"""Kept examples come back bit for bit; damaged and stale entries never do."""

import logging
import os
import time
from pathlib import Path

import numpy as np
import pytest

from train import cache
from train.dataset import Examples, Split


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "lockstep"


def made(rows: int = 3, seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    split = Split(
        images=rng.integers(0, 256, (rows, 4, 5, 2), dtype=np.uint8),
        labels=np.arange(rows, dtype=np.int32),
    )
    return Examples(train=split, test=split.take(np.array([1])), classes=("a", "ß"))


def never() -> Examples:
    raise AssertionError("the entry was not used")


def test_an_entry_comes_back_bit_for_bit() -> None:
    first = cache.examples("set", "key", made)
    second = cache.examples("set", "key", never)
    assert second.classes == first.classes == ("a", "ß")
    for split in ("train", "test"):
        for field in ("images", "labels"):
            ours, kept = (getattr(getattr(e, split), field) for e in (first, second))
            assert kept.dtype == ours.dtype
            np.testing.assert_array_equal(kept, ours)


def test_an_entry_made_from_other_files_is_rebuilt_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    cache.examples("set", "old", made)
    fresh = cache.examples("set", "new", lambda: made(seed=1))
    np.testing.assert_array_equal(fresh.train.images, made(seed=1).train.images)
    assert "is stale; decoding again" in caplog.text
    cache.examples("set", "new", never)


@pytest.mark.parametrize("where", [0, 10, 64, 65, 70, 200, -1])
def test_one_flipped_bit_anywhere_is_found(
    folder: Path, where: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    cache.examples("set", "key", made)
    entry = next(folder.iterdir())
    data = bytearray(entry.read_bytes())
    data[where] ^= 1
    entry.write_bytes(data)
    again = cache.examples("set", "key", made)
    np.testing.assert_array_equal(again.train.images, made().train.images)
    assert "is damaged; decoding again" in caplog.text
    cache.examples("set", "key", never)


@pytest.mark.parametrize("length", [0, 30, 64, 65, 300])
def test_a_truncated_entry_is_rebuilt(folder: Path, length: int) -> None:
    cache.examples("set", "key", made)
    entry = next(folder.iterdir())
    entry.write_bytes(entry.read_bytes()[:length])
    with pytest.raises(AssertionError, match="was not used"):
        cache.examples("set", "key", never)
    cache.examples("set", "key", made)
    cache.examples("set", "key", never)


def test_a_folder_that_cannot_be_made_only_means_no_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(cache.examples("set", "key", made).train) == 3
    assert "decoded arrays cannot be kept in" in caplog.text
    assert (tmp_path / "file").read_text() == "in the way"


def test_an_entry_that_cannot_be_read_is_decoded_again(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "set.v1.npz").mkdir(parents=True)
    assert len(cache.examples("set", "key", made).train) == 3
    assert "cannot be read" in caplog.text


def test_a_write_that_fails_leaves_nothing_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert len(cache.examples("set", "key", made).train) == 3
    assert list(folder.iterdir()) == []
    assert "no space left" in caplog.text


def test_what_is_too_large_is_not_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(cache, "_LARGEST_BYTES", 100)
    assert len(cache.examples("set", "key", made).train) == 3
    assert not folder.exists()
    assert "is too large to be kept" in caplog.text


def test_what_cannot_be_built_is_not_kept(folder: Path) -> None:
    with pytest.raises(AssertionError, match="was not used"):
        cache.examples("set", "key", never)
    assert not folder.exists()


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    expected = Path("/home/someone/.cache/lockstep")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.directory() == expected
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.directory() == expected
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache.directory() == Path("/elsewhere/lockstep")


def test_an_entry_of_the_size_of_mnist_loads_at_once() -> None:
    split = Split(
        images=np.zeros((70_000, 28, 28, 1), np.uint8), labels=np.zeros(70_000, np.int32)
    )
    one = split.take(np.array([0]))
    cache.examples("set", "key", lambda: Examples(train=split, test=one, classes=("a",)))
    start = time.perf_counter()
    cache.examples("set", "key", never)
    # 0.15 s measured; the rest is for a busy machine.
    assert time.perf_counter() - start < 2
