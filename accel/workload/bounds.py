"""What every file from outside goes through: bounds on its size, names and numbers."""

from __future__ import annotations

from pathlib import Path

from accel.workload.layer import LayerWorkload
from configs.checks import brief
from configs.errors import InputError

# No size of a layer reaches the first, none of its counts exceeds the second: whatever
# follows, in bytes or in cycles, then fits 64 bits.
LARGEST_SIZE = 1 << 31
LARGEST_COUNT = 1 << 50
_LONGEST_NAME = 80


def read(path: Path, limit_bytes: int, kind: str) -> bytes:
    """Content of a regular file of at most so many bytes.

    Raises:
      InputError: there is no such file, it is none, it is empty, or it is too large.
    """
    try:
        if not path.is_file():
            found = "is no file" if path.exists() else "does not exist"
            raise InputError(f"`{path}` {found}; give the path of {kind}.")
        with path.open("rb") as file:
            content = file.read(limit_bytes + 1)
    except OSError as error:
        raise InputError(
            f"`{path}` cannot be read ({error.strerror}); give the path of {kind}."
        ) from None
    if not content:
        raise InputError(f"`{path}` is empty; give {kind}.")
    if len(content) > limit_bytes:
        raise InputError(
            f"`{path}` must have at most {limit_bytes} bytes; give {kind} that is smaller."
        )
    return content


def printable(name: str) -> str:
    """A name of a file as it may stand in a message or a table: one short line.

    >>> printable("conv\\n1")
    'conv?1'
    """
    text = "".join(c if c.isprintable() else "?" for c in name).strip()
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 3] + "..."


def require_images(images: object) -> None:
    """Refuses a number of images that is no whole number of 1 or more."""
    whole = isinstance(images, int) and not isinstance(images, bool)
    if not whole or not 1 <= images < LARGEST_SIZE:
        raise InputError(
            f"`images` (={brief(images)}) must be a whole number of 1 or more; use 1."
        )


def require_countable(work: LayerWorkload, where: str) -> LayerWorkload:
    """The layer itself, if every number that follows from it fits 64 bits."""
    size = max(value for value in vars(work).values() if isinstance(value, int))
    count = max(work.macs, work.input_bytes)
    for what, value, most in (
        ("largest size", size, LARGEST_SIZE - 1),
        ("number of multiplications or of input bytes", count, LARGEST_COUNT),
    ):
        if value > most:
            raise InputError(
                f"{where}: the {what} (={value}) must be at most {most}; check the sizes "
                f"of the layer, or use a smaller --batch."
            )
    return work
