"""Reading files that anyone may have changed since they were written.

Nothing here follows a link, waits for a pipe, or trusts what a file says about itself.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from pathlib import Path
from typing import Any, BinaryIO

from configs.checks import brief
from configs.errors import InputError

JSON_LIMIT_BYTES = 4 << 20
_NESTING_LIMIT = 32
# Whole numbers of more digits fit no 64-bit field of any reader.
_DIGITS_LIMIT = 19
_BLOCK_BYTES = 1 << 20
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def refusal(where: object, sentence: str) -> InputError:
    """What is wrong with a file of a quantised run, and the way out."""
    again = "python -m quant --run DIR --overwrite"
    return InputError(f"`{where}` {sentence}; quantise the run again: `{again}`.")


def wrong(where: object, value: object, rule: str) -> InputError:
    return refusal(where, f"(={brief(value)}) must be {rule}")


def is_inside(name: str) -> bool:
    """Whether a name with "/" between its parts can only mean a file inside a folder."""
    return all(_PART.fullmatch(part) for part in name.split("/"))


def open_inside(folder: Path, name: str) -> BinaryIO:
    """A regular file of a folder; every step below the folder must be no link.

    Raises:
      InputError: there is no such file, or it is something else.
    """
    path = folder / name
    try:
        return _open_inside(folder, name)
    except OSError as error:
        found = os.strerror(error.errno) if error.errno else str(error)
        raise refusal(path, f"cannot be read: {found}") from None


def _open_inside(folder: Path, name: str) -> BinaryIO:
    *parts, last = name.split("/")
    at = os.open(folder, _FOLDER)
    try:
        for part in parts:
            below = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        # Before it is opened: to open a device can already do something.
        _require_regular(folder / name, os.stat(last, dir_fd=at, follow_symlinks=False))
        file = os.open(last, _FILE, dir_fd=at)
    finally:
        os.close(at)
    try:
        _require_regular(folder / name, os.fstat(file))
        return os.fdopen(file, "rb")
    except BaseException:
        os.close(file)
        raise


def _require_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise refusal(path, "must be a regular file, no link, folder, pipe or device")


def size_bytes(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def sha256(file: BinaryIO) -> str:
    """SHA-256 of what is left to read, in little memory."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def read_json(folder: Path, name: str) -> tuple[bytes, dict]:
    """Bytes and value of a JSON object.

    Raises:
      InputError: the file is too large, is no strict JSON, or holds no object.
    """
    path = folder / name
    with open_inside(folder, name) as file:
        size = size_bytes(file)
        _require_small(size, path)
        content = file.read(size)
    return content, parse_json(content, path)


def _require_small(size: int, where: object) -> None:
    if size > JSON_LIMIT_BYTES:
        raise wrong(f"{where}: size", size, f"at most {JSON_LIMIT_BYTES} bytes")


def parse_json(content: bytes, where: object) -> dict:
    """A JSON object: UTF-8, unique keys, finite numbers, little nesting.

    Raises:
      InputError: it is something else, or larger than JSON_LIMIT_BYTES.
    """
    _require_small(len(content), where)
    try:
        value = json.loads(
            content.decode(),
            object_pairs_hook=_unique,
            parse_constant=_number,
            parse_int=_whole,
            parse_float=_finite,
        )
        _check_text(value, _NESTING_LIMIT)
    except (ValueError, RecursionError) as error:
        raise refusal(where, f"is no strict JSON: {brief(str(error))}") from None
    if not isinstance(value, dict):
        raise wrong(where, value, "a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in value if names.count(name) > 1)
        raise ValueError(f"the key {brief(twice)} stands twice")
    return value


def _number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def _whole(text: str) -> int:
    if len(text.lstrip("-")) > _DIGITS_LIMIT:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{brief(text)} is not finite")
    return float(text)


def _check_text(value: Any, room: int) -> None:
    """Refuses deep nesting and text that is no Unicode (half a surrogate pair)."""
    if room == 0:
        raise ValueError(f"nested deeper than {_NESTING_LIMIT}")
    if isinstance(value, str):
        value.encode()
    if isinstance(value, dict):
        for key in value:
            key.encode()
    items = value.values() if isinstance(value, dict) else value
    for item in items if isinstance(value, (dict, list)) else ():
        _check_text(item, room - 1)
