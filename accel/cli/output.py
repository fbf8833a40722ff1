"""What every command prints and writes: progress, refusals, whole folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from configs.errors import InputError


@contextmanager
def working(text: str) -> Iterator[None]:
    """Says on a terminal what is going on; on stderr, so that stdout is for results."""
    from rich.console import Console

    shown = Console(stderr=True)
    if not shown.is_terminal:
        yield
        return
    with shown.status(text):
        yield


@contextmanager
def named(flag: str, value: str) -> Iterator[None]:
    """What cannot be written is said of the flag that names it."""
    try:
        yield
    except InputError as error:
        if error.__cause__ is None:
            raise
        # The system's words alone: its file may be a temporary one.
        reason = getattr(error.__cause__, "strerror", None) or error.__cause__
        raise InputError(
            f"`--{flag}` (={value}) cannot be written: {reason}; choose another place "
            f"with --{flag}."
        ) from error


@contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """A folder for files that take the place of those in `out` when all are written.

    What fails before leaves `out` as it is.
    """
    from train import rundir

    new, there = out / ".new", out.exists()
    with rundir.writing(out):
        try:
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            yield new
            # JSON stands for a result that is complete.
            for path in sorted(new.iterdir(), key=lambda path: path.suffix == ".json"):
                os.replace(path, out / path.name)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            if not there:
                with suppress(OSError):
                    out.rmdir()
            raise
        new.rmdir()


def refuse_there(out: Path, files: Sequence[str], overwrite: bool) -> None:
    """Refuses a folder that holds one of these files, unless they are to be replaced."""
    if out.exists() and not out.is_dir():
        raise InputError(f"`--out` (={out}) must be a folder, and is a file; name another.")
    there = [name for name in files if (out / name).exists()]
    if there and not overwrite:
        raise InputError(
            f"`--out` (={out}) already holds {there[0]}; replace it with --overwrite, or "
            f"name another folder with --out."
        )
