"""Decoded arrays kept on disk, so that the second run need not decode again.

An entry is one file in $XDG_CACHE_HOME/lockstep (~/.cache/lockstep without it): the
SHA-256 of all that follows, a newline, and an uncompressed .npz. The digest is checked
before anything is parsed. An entry that is damaged, or was made from other files, is
rebuilt; a directory that cannot be written only means that nothing is kept.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from train.dataset import Examples, Split

_log = logging.getLogger(__name__)

# Part of the file name: entries of another layout are not looked at.
_FORMAT = "v1"
_SEAL = 65
# Keeping an entry takes its size in memory once more.
_LARGEST_BYTES = 2**31


def directory() -> Path:
    """Where entries live; an $XDG_CACHE_HOME that is not absolute is ignored."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        base = Path("~/.cache").expanduser()
    return base / "lockstep"


def examples(name: str, key: str, build: Callable[[], Examples]) -> Examples:
    """The examples kept under `name` if they were made from `key`, else those of `build`.

    Args:
        name: names the entry; letters, digits, dots, dashes and underscores.
        key: everything that the content depends on.
        build: makes the examples; its errors pass through and nothing is kept.
    """
    path = directory() / f"{name}.{_FORMAT}.npz"
    kept = _read(path, key)
    if kept is None:
        kept = build()
        _write(path, key, kept)
    return kept


def _read(path: Path, key: str) -> Examples | None:
    try:
        data = memoryview(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("cache entry %s cannot be read (%s); decoding again", path, error)
        return None
    payload = data[_SEAL:]
    if data[:_SEAL] != _seal(payload):
        _log.info("cache entry %s is damaged; decoding again", path)
        return None
    with np.load(io.BytesIO(payload), allow_pickle=False) as stored:
        if str(stored["key"]) != key:
            _log.info("cache entry %s is stale; decoding again", path)
            return None
        train, test = (
            Split(images=stored[f"{name}.images"], labels=stored[f"{name}.labels"])
            for name in ("train", "test")
        )
        return Examples(train=train, test=test, classes=tuple(map(str, stored["classes"])))


def _seal(payload: memoryview) -> bytes:
    return hashlib.sha256(payload).hexdigest().encode() + b"\n"


def _write(path: Path, key: str, made: Examples) -> None:
    arrays = {"key": np.array(key), "classes": np.array(made.classes, dtype=np.str_)}
    for name, split in (("train", made.train), ("test", made.test)):
        arrays[f"{name}.images"] = split.images
        arrays[f"{name}.labels"] = split.labels
    if sum(array.nbytes for array in arrays.values()) > _LARGEST_BYTES:
        _log.info("%s is too large to be kept", path.name)
        return
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    payload = buffer.getbuffer()
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with open(handle, "wb") as file:
            file.write(_seal(payload))
            file.write(payload)
        os.replace(temporary, path)
    except OSError as error:
        _log.warning("decoded arrays cannot be kept in %s (%s)", path.parent, error)
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
