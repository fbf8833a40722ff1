"""IDX files are read exactly; every malformed one is refused before memory is taken."""

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from configs.errors import InputError
from train import idx


def packed(array: np.ndarray, *, code: int = 8, shape: tuple | None = None) -> bytes:
    shape = array.shape if shape is None else shape
    header = struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)
    return header + array.tobytes()


VALUES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("shape", [(24,), (4, 6), (2, 3, 4), (1, 2, 3, 4), (0, 3)])
def test_reads_what_was_written(tmp_path: Path, shape: tuple, compress) -> None:
    array = VALUES.reshape(shape) if 0 not in shape else np.zeros(shape, np.uint8)
    path = tmp_path / "file"
    path.write_bytes(compress(packed(array)))
    read = idx.read(path)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array)
    read.flags.writeable = True


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "starts with two zero bytes"),
        (b"\0\0\x08", "starts with two zero bytes"),
        (b"PNG!" + bytes(99), "two zero bytes, not '50 4e'"),
        (packed(VALUES, code=0x0D), r"type code 8 \(uint8\), not 13"),
        (b"\0\0\x08\0", "1 to 4 dimensions, not 0"),
        (b"\0\0\x08\xff" + bytes(2000), "1 to 4 dimensions, not 255"),
        (packed(VALUES)[:11], "states 3 dimensions: it is truncated"),
        (packed(VALUES)[:-5], "holds 24 values, not 19: it is truncated"),
        (packed(VALUES) + b"\0", "ends after 24 values: it is too long"),
        (packed(VALUES, shape=(2**32 - 1,) * 4), "hold what its header announces"),
    ],
)
def test_malformed_files_are_refused(tmp_path: Path, data: bytes, text: str, compress):
    path = tmp_path / "t10k-images"
    path.write_bytes(compress(data))
    with pytest.raises(InputError, match=text) as refusal:
        idx.read(path)
    assert "`t10k-images` is taken as an IDX file" in str(refusal.value)


@pytest.mark.parametrize("damage", ["cut", "flip", "trail"])
def test_damaged_gzip_is_refused(tmp_path: Path, damage: str) -> None:
    data = bytearray(gzip.compress(packed(VALUES)))
    if damage == "cut":
        del data[-6:]
    elif damage == "flip":
        data[-6] ^= 1
    else:
        data += b"more"
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(InputError, match="can be read to its end"):
        idx.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`absent` .* can be read to its end"):
        idx.read(tmp_path / "absent")


def test_a_bomb_is_not_decompressed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(packed(VALUES) + bytes(50_000_000), compresslevel=1))
    tracemalloc.start()
    with pytest.raises(InputError, match="too long"):
        idx.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_no_memory_is_taken_for_what_the_file_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(packed(VALUES, shape=(10**9,))))
    tracemalloc.start()
    with pytest.raises(InputError, match="1000000000 values"):
        idx.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000
