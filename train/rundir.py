"""The run directory: who may write into it, and how a file gets there whole."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from configs import stored
from configs.errors import InputError
from configs.schema import Experiment

# What the operating system says when a file cannot be written where the user asked.
_USERS_ERRORS = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS,
    errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOENT,
}  # fmt: skip


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a refusal of the file system into an `InputError` that names the path."""
    try:
        yield
    except OSError as error:
        if error.errno not in _USERS_ERRORS:
            raise
        raise InputError(
            f"`--run` (={path}) cannot be written: {error.strerror}; free some space, "
            f"or choose another directory with --run."
        ) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name, flushes it to the disk and renames it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """JSON with sorted keys, written whole; NaN is refused."""
    text = json.dumps(value, sort_keys=True, indent=2, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def write_lines(path: Path, records: list[dict]) -> None:
    """One JSON object a line, written whole; NaN is refused."""
    lines = (
        json.dumps(record, sort_keys=True, allow_nan=False) + "\n" for record in records
    )
    write_bytes(path, "".join(lines).encode())


def clear(folder: Path, *, keep: Collection[str] = ()) -> None:
    """Deletes what a stage wrote; its lock and the names in `keep` stay."""
    with writing(folder):
        for entry in folder.iterdir():
            if entry.name == ".lock" or entry.name in keep:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Holds a stage's folder for one process; the lock ends with the process.

    Raises:
      InputError: another process holds it, or the folder cannot be made.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "a")  # noqa: SIM115
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"`--run` (={folder}) is in use by another process; wait for it, or "
                f"choose another directory with --run."
            ) from None
        yield


def read_json(path: Path) -> dict:
    """A JSON object of a run directory.

    Raises:
      InputError: there is none, or it cannot be read.
    """
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(
            f"`--run`: there is no {path}; train first with `python -m train --config "
            f"mnist_cnn`."
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"`{path}` cannot be read: {error}; train the run again."
        ) from None
    if not isinstance(value, dict):
        raise InputError(f"`{path}` must hold a JSON object; train the run again.")
    return value


def read_config(folder: Path) -> Experiment:
    """The experiment of a run directory.

    Raises:
      InputError: there is none, or it cannot be read.
    """
    path = folder / "config.json"
    return stored.from_dict(read_json(path), str(path))
