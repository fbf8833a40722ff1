"""A small TOML file of a user, and the line on which something in it stands."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from configs.errors import InputError

LARGEST_BYTES = 64 * 1024

# A key in front of "=" or ".", bare or quoted; the header of a table.
_KEY = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*[=.]""")
_HEADER = re.compile(r"""\s*\[\s*["']?([^\]"']*?)["']?\s*\]""")


class TomlLines:
    """The content of a file, which names itself and the line in every refusal.

    Raises:
      InputError: the file cannot be read, is larger than 64 KiB, or is no TOML.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        data = _read(path)
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise InputError(f"{path}, line {line}: must be UTF-8 text.") from error
        self.lines = text.split("\n")
        self.content = self._parse(text)

    def _parse(self, text: str) -> dict[str, Any]:
        try:
            return tomllib.loads(text)
        except RecursionError as error:
            raise self.wrong("must be nested less deeply") from error
        except ValueError as error:
            # Else it is Python's, about its own limit on digits.
            said = str(error) if isinstance(error, tomllib.TOMLDecodeError) else ""
            reason = " ".join(said.split())[:200] or "a number has too many digits"
            found = re.search(r"\(at line (\d+), column \d+\)", reason)
            line = int(found[1]) if found else len(self.lines)
            reason = reason.replace(found[0], "").strip() if found else reason
            raise InputError(
                f"{self.path}, line {line}: must be TOML, such as key = 1.5: {reason}."
            ) from error

    def wrong(self, rule: str, key: str = "", table: str = "") -> InputError:
        """A refusal at the line of a key, of its table, or else of the file's end."""
        line = self.line(key, table) or self.line(table) or len(self.lines)
        return InputError(f"{self.path}, line {line}: {rule}.")

    def line(self, key: str, table: str = "") -> int | None:
        """Line, from 1, on which a key of a table is set, or a table begins."""
        inside = ""
        for number, text in enumerate(self.lines, start=1):
            header = _HEADER.match(text)
            if header:
                inside = header[1]
                if not table and inside == key:
                    return number
            found = _KEY.match(text)
            if found and inside == table and key in found.groups():
                return number
        return None


def _read(path: Path) -> bytes:
    try:
        # A pipe or a device might never end.
        other = path.exists() and not path.is_file()
    except (OSError, ValueError):
        other = False
    if other:
        raise InputError(f"{path} must be a regular file; give the path of one.")
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path} cannot be read: {reason}; give another file.") from error
    if len(data) > LARGEST_BYTES:
        raise InputError(f"{path} must have at most {LARGEST_BYTES} bytes; leave some out.")
    return data
