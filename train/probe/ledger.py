"""Finished parts of a probe on the disk, so that an interrupted one goes on where it was.

A part is one probe of one model: what it found as data, and arrays. A part that cannot be
read, or that belongs to another probe, is measured again.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs import stored
from configs.errors import InputError
from train import rundir
from train.probe.settings import Settings

# In the folder of a stage.
FOLDER = "probes.parts"
_IDENTITY = "identity.json"
_DATA = "data.json"
_DIGEST = hashlib.sha256().digest_size


class Part(NamedTuple):
    """What one probe of one model found."""

    data: dict[str, Any]
    arrays: dict[str, np.ndarray]


class Ledger:
    """Parts in a folder, all of one probe.

    `identity` says what the parts are made of (models, data, settings, versions); a
    folder with another one is refused, or emptied with `overwrite`.
    """

    def __init__(
        self, folder: Path, identity: dict, *, resume: bool = False, overwrite: bool = False
    ) -> None:
        self.folder = folder
        # Seconds that the parts read from the disk had cost.
        self.earlier_s = 0.0
        begun = folder / _IDENTITY
        if overwrite and folder.exists():
            rundir.clear(folder)
        elif begun.exists():
            if not resume:
                raise InputError(
                    f"`--run` (={folder.parent.parent}) holds a probe that was "
                    f"interrupted; go on with --resume, or begin again with --overwrite."
                )
            theirs = rundir.read_json(begun)
            other = sorted(k for k in identity if identity[k] != theirs.get(k))
            if other:
                raise InputError(
                    f"`--resume` needs what the interrupted probe began with; changed: "
                    f"{', '.join(other)}. Give the old ones, or --overwrite."
                )
        rundir.write_json(begun, json.loads(stored.canonical(identity)))

    def part(self, name: str, measure: Callable[[], Part]) -> Part:
        """The part of this name: read, or measured and written."""
        path = self._path(name)
        known = _read(path)
        if known is not None:
            found, seconds = known
            self.earlier_s += seconds
            return found
        began = time.monotonic()
        found = measure()
        rundir.write_bytes(path, _packed(found, time.monotonic() - began))
        return found

    def has(self, name: str) -> bool:
        """Whether the part was measured before, whole."""
        return _read(self._path(name)) is not None

    def _path(self, name: str) -> Path:
        return self.folder / f"{name.replace('/', '.')}.part"

    def close(self) -> None:
        """Removes the parts: their results stand in the final files."""
        rundir.clear(self.folder)
        self.folder.rmdir()


def begun(folder: Path) -> Settings | None:
    """The settings of the probe that was interrupted here; None if there is none.

    Raises:
      InputError: they cannot be read.
    """
    path = folder / _IDENTITY
    if not path.exists():
        return None
    found = rundir.read_json(path).get("settings")
    return stored.settings_from_dict(Settings, found, f"{path}: settings")


def _packed(part: Part, seconds: float) -> bytes:
    """A SHA-256, then an .npz of the arrays and of one JSON text."""
    file = io.BytesIO()
    text = stored.canonical({"data": part.data, "seconds": seconds})
    text = np.frombuffer(text.encode(), np.uint8)
    np.savez_compressed(file, **part.arrays, **{_DATA: text})
    content = file.getvalue()
    return hashlib.sha256(content).digest() + content


def _read(path: Path) -> tuple[Part, float] | None:
    """A part and the seconds that it took; None if it is not there whole."""
    whole = path.read_bytes() if path.exists() else b""
    digest, content = whole[:_DIGEST], whole[_DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    text = json.loads(arrays.pop(_DATA).tobytes())
    return Part(text["data"], arrays), text["seconds"]
