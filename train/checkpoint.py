"""Checkpoints that are there whole or not at all, and that notice damage.

Orbax stores the arrays; it does not notice a flipped bit. So every checkpoint carries
`digest.json`: the SHA-256 of each of its files and of each array, and of itself. A
checkpoint is built under a temporary name and renamed when complete; reading verifies
all of it, and a checkpoint that fails is named and the one before it is taken.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from train import rundir

_FORMAT = 1


class Checkpoint(NamedTuple):
    """Host arrays of a run at `step` by name, and what the host knew (JSON)."""

    step: int
    arrays: dict[str, np.ndarray]
    meta: dict


class DamagedError(Exception):
    """A checkpoint that does not pass its own digest; the message says why."""


def save(folder: Path, checkpoint: Checkpoint, *, keep: int) -> None:
    """Adds a checkpoint to `folder` and deletes all but the newest `keep`.

    Raises:
      InputError: the disk is full or the folder cannot be written; nothing is left.
      ValueError: an array holds NaN or infinity.
    """
    for name, array in checkpoint.arrays.items():
        if np.issubdtype(array.dtype, np.inexact) and not np.all(np.isfinite(array)):
            raise ValueError(f"`{name}` of step {checkpoint.step} is not finite")
    final = folder / f"{checkpoint.step:08d}"
    temporary = folder / f".{final.name}.tmp"
    with rundir.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for unfinished in folder.glob(".*.tmp"):
            shutil.rmtree(unfinished)
        temporary.mkdir()
        try:
            _write(temporary, checkpoint)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(temporary, final)
            _sync(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    for step in steps(folder)[:-keep]:
        with rundir.writing(folder):
            shutil.rmtree(folder / f"{step:08d}")


def flatten(tree: Any) -> dict[str, np.ndarray]:
    """Leaves of a tree by path, such as "params.layers.conv1.kernel"."""
    flat, _ = jax.tree.flatten_with_path(tree)
    keys = (jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in flat)
    return dict(zip(keys, (np.asarray(leaf) for _, leaf in flat), strict=True))


def unflatten(arrays: dict[str, np.ndarray], like: Any) -> Any:
    """The tree with the structure of `like` and the leaves of `arrays`.

    Raises:
      DamagedError: names, shapes or types are not those of `like`.
    """
    wanted = flatten(like)
    signature = lambda leaves: {n: (a.shape, a.dtype.str) for n, a in leaves.items()}
    if signature(wanted) != signature(arrays):
        odd = sorted(set(signature(wanted).items()) ^ set(signature(arrays).items()))
        raise DamagedError(f"`{odd[0][0]}` does not fit the network")
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in wanted])


def steps(folder: Path) -> list[int]:
    """Steps of the complete checkpoints in `folder`, ascending."""
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit())


def restore(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that passes its digest (None if there is none), and a
    sentence for each damaged one that was passed over."""
    complaints = []
    for step in reversed(steps(folder)):
        path = folder / f"{step:08d}"
        try:
            return load(path), complaints
        except DamagedError as damage:
            complaints.append(f"checkpoint {path} is damaged ({damage}); passed over")
    return None, complaints


def load(path: Path) -> Checkpoint:
    """One checkpoint, verified.

    Raises:
      DamagedError: a file or an array is not what was saved.
    """
    digest = _read_digest(path / "digest.json")
    found = {name: _sha256((path / name).read_bytes()) for name in _files(path)}
    if found != digest["files"]:
        names = sorted(
            name
            for name in found.keys() | digest["files"].keys()
            if found.get(name) != digest["files"].get(name)
        )
        raise DamagedError(f"{names[0]} is not the file that was written")
    with ocp.StandardCheckpointer(multiprocessing_options=_alone()) as orbax:
        arrays = orbax.restore((path / "state").absolute())
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    if _array_hashes(arrays) != digest["arrays"]:
        raise DamagedError("an array is not the one that was saved")
    return Checkpoint(digest["step"], arrays, digest["meta"])


def parameters_sha256(params: Any) -> str:
    """One hash over names, shapes, types and bytes of all parameters."""
    return _sha256(_canonical(_array_hashes(flatten(params))))


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    alone = ocp.StandardCheckpointer(multiprocessing_options=_alone())
    with _tensorstore_errors(), alone as orbax:
        orbax.save((folder / "state").absolute(), checkpoint.arrays)
    digest = {
        "format": _FORMAT,
        "step": checkpoint.step,
        "meta": checkpoint.meta,
        "arrays": _array_hashes(checkpoint.arrays),
        "files": {name: _sha256((folder / name).read_bytes()) for name in _files(folder)},
    }
    digest["sha256"] = _sha256(_canonical(digest))
    rundir.write_bytes(folder / "digest.json", _canonical(digest))
    for directory, _, _ in os.walk(folder):
        _sync(Path(directory))


@contextlib.contextmanager
def _tensorstore_errors() -> Iterator[None]:
    """Tensorstore reports what the operating system said in the text of other errors."""
    try:
        yield
    except Exception as error:
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from error


def _read_digest(path: Path) -> dict:
    try:
        content = path.read_bytes()
        digest = json.loads(content)
        claimed = digest.pop("sha256")
        body = _canonical(digest)
        whole = _canonical({**digest, "sha256": claimed})
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise DamagedError(f"digest.json cannot be read: {error}") from None
    if content != whole or claimed != _sha256(body):
        raise DamagedError("digest.json is not the file that was written")
    if digest["format"] != _FORMAT:
        raise DamagedError(
            f"its format is {digest['format']}, this program reads {_FORMAT}"
        )
    return digest


def _alone() -> ocp.options.MultiprocessingOptions:
    """Orbax without barriers: only this process writes or reads."""
    me = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
    )


def _array_hashes(arrays: dict[str, np.ndarray]) -> dict[str, str]:
    return {
        name: _sha256(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
        for name, array in arrays.items()
    }


def _files(folder: Path) -> list[str]:
    files = (file for file in folder.rglob("*") if file.is_file())
    names = (file.relative_to(folder).as_posix() for file in files)
    return sorted(name for name in names if name != "digest.json")


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
