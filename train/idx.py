"""Reader of IDX files, the format of MNIST and Fashion-MNIST.

Two zero bytes, a type code (8 is uint8), the number of dimensions, each dimension as a
big-endian uint32, then the values, last dimension fastest. Plain or compressed by gzip.
The header is checked against the size of the file before memory is taken, and no more
than the values it announces is ever decompressed.

References:
    Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", section
    "File formats for the MNIST database".
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from configs.errors import InputError

_UINT8 = 0x08
_MAX_DIMENSIONS = 4
_GZIP_MAGIC = b"\x1f\x8b"
# The most that deflate can shrink anything.
_DEFLATE_RATIO = 1032


def read(path: Path) -> np.ndarray:
    """The uint8 array that an IDX file holds; InputError if it is not exactly one."""
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            capacity = path.stat().st_size * (_DEFLATE_RATIO if compressed else 1)
            stream = gzip.GzipFile(fileobj=file) if compressed else file
            return _array(stream, capacity, path.name)
    except (OSError, EOFError, zlib.error) as error:
        raise _refusal(path.name, f"can be read to its end ({error})") from None


def _refusal(name: str, rule: str) -> InputError:
    return InputError(
        f"`{name}` is taken as an IDX file of bytes only if it {rule}; "
        f"fetch it again or use a file that is whole."
    )


def _array(stream: BinaryIO, capacity: int, name: str) -> np.ndarray:
    shape = _shape(stream, name)
    size = math.prod(shape)
    if size > capacity:
        raise _refusal(
            name, f"can hold what its header announces ({size} values, {list(shape)})"
        )
    array = np.empty(shape, np.uint8)
    room = memoryview(array.reshape(-1))
    filled = 0
    while filled < size and (got := stream.readinto(room[filled:])):
        filled += got
    if filled < size:
        raise _refusal(name, f"holds {size} values, not {filled}: it is truncated")
    if stream.read(1):
        raise _refusal(name, f"ends after {size} values: it is too long")
    return array


def _shape(stream: BinaryIO, name: str) -> tuple[int, ...]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise _refusal(name, f"starts with two zero bytes, not {magic[:2].hex(' ')!r}")
    code, dimensions = magic[2:]
    if code != _UINT8:
        raise _refusal(name, f"has type code 8 (uint8), not {code}")
    if not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise _refusal(name, f"has 1 to {_MAX_DIMENSIONS} dimensions, not {dimensions}")
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise _refusal(name, f"states {dimensions} dimensions: it is truncated")
    return struct.unpack(f">{dimensions}I", sizes)
