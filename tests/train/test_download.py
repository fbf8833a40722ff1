"""Sets are fetched from a local server; whatever is not the recorded file is refused."""

import functools
import gzip
import hashlib
import http.server
import io
import logging
import socket
import struct
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from configs.errors import InputError
from train import cache, download
from train.dataset import UnavailableError

RNG = np.random.default_rng(0)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files and notes what was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


class Mirror:
    """A folder behind a local address, and what was asked of it."""

    def __init__(self, folder: Path, address: str, asked: list[str]) -> None:
        self.folder, self.address, self.asked = folder, address, asked


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    folder = tmp_path / "mirror"
    folder.mkdir()
    asked: list[str] = []
    handler = type("Noting", (Handler,), {"asked": asked})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    serve = functools.partial(handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("LOCKSTEP_MIRROR", f"{address}/")
        yield Mirror(folder, address, asked)
        server.shutdown()
        thread.join()


def idx_file(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


def offered(mirror: Mirror, name: str, data: list[bytes]) -> dict[str, download.Checksum]:
    """Puts the files of a set on the mirror; their checksums by recorded address."""
    (mirror.folder / name).mkdir(exist_ok=True)
    sums = {}
    for url, content in zip(download.SETS[name].urls, data, strict=True):
        (mirror.folder / name / url.rsplit("/", 1)[1]).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        sums[url] = download.Checksum(size_bytes=len(content), sha256=digest)
    return sums


ARRAYS = [
    RNG.integers(0, 256, (6, 28, 28), dtype=np.uint8),
    np.array([0, 9, 1, 2, 3, 4], np.uint8),
    RNG.integers(0, 256, (3, 28, 28), dtype=np.uint8),
    np.array([5, 6, 7], np.uint8),
]
IDX_FILES = [idx_file(array) for array in ARRAYS]


def cifar_file(batches: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in {"readme.html": b"text", **batches}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def cifar_batches(rows: int = 2) -> tuple[dict[str, bytes], np.ndarray, np.ndarray]:
    """Batches of `rows` images, written pixel by pixel, with the images and labels."""
    images = RNG.integers(0, 256, (6 * rows, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(6 * rows) % 10
    records = []
    for image, label in zip(images, labels, strict=True):
        planes = b"".join(image[:, :, channel].tobytes() for channel in range(3))
        records.append(bytes([label]) + planes)
    names = [f"data_batch_{n}.bin" for n in range(1, 6)] + ["test_batch.bin"]
    parts = {
        name: b"".join(records[i * rows : (i + 1) * rows]) for i, name in enumerate(names)
    }
    # The archive of the real set has the test batch in the middle.
    return dict(sorted(parts.items(), key=lambda kv: kv[0][-5])), images, labels


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_idx_sets_are_fetched_from_the_mirror(mirror: Mirror, name: str) -> None:
    seen = download.read(name, offered(mirror, name, IDX_FILES))
    np.testing.assert_array_equal(seen.train.images[..., 0], ARRAYS[0])
    np.testing.assert_array_equal(seen.train.labels, ARRAYS[1])
    np.testing.assert_array_equal(seen.test.images[..., 0], ARRAYS[2])
    np.testing.assert_array_equal(seen.test.labels, ARRAYS[3])
    assert seen.train.labels.dtype == np.int32
    assert len(seen.classes) == 10
    assert mirror.asked[0] == f"/{name}/train-images-idx3-ubyte.gz"


def test_cifar_is_fetched_and_put_in_order(mirror: Mirror) -> None:
    batches, images, labels = cifar_batches()
    seen = download.read("cifar10", offered(mirror, "cifar10", [cifar_file(batches)]))
    np.testing.assert_array_equal(seen.train.images, images[:10])
    np.testing.assert_array_equal(seen.train.labels, labels[:10])
    np.testing.assert_array_equal(seen.test.images, images[10:])
    assert seen.classes[:2] == ("airplane", "automobile")


def test_a_second_run_asks_for_nothing(mirror: Mirror) -> None:
    sums = offered(mirror, "mnist", IDX_FILES)
    download.read("mnist", sums)
    count = len(mirror.asked)
    download.read("mnist", sums)
    for entry in cache.directory().glob("*.npz"):
        entry.unlink()
    seen = download.read("mnist", sums)
    np.testing.assert_array_equal(seen.train.images[..., 0], ARRAYS[0])
    assert len(mirror.asked) == count


def kept_files() -> list[Path]:
    return sorted(path for path in cache.directory().rglob("*") if path.is_file())


def test_a_kept_file_that_was_damaged_is_fetched_again(mirror: Mirror, caplog) -> None:
    caplog.set_level(logging.INFO)
    sums = offered(mirror, "mnist", IDX_FILES)
    download.read("mnist", sums)
    for damage in (lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b[:-1]):
        for path in kept_files():
            if path.suffix == ".npz":
                path.unlink()
            elif "train-labels" in path.name:
                path.write_bytes(damage(path.read_bytes()))
        caplog.clear()
        seen = download.read("mnist", sums)
        assert seen.train.labels.tolist() == ARRAYS[1].tolist()
        assert "is damaged; downloading it again" in caplog.text


def test_another_checksum_is_refused_and_nothing_kept(mirror: Mirror) -> None:
    sums = offered(mirror, "mnist", IDX_FILES)
    bad = bytearray(IDX_FILES[0])
    bad[-1] ^= 1
    (mirror.folder / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(bad)
    for _ in range(2):
        with pytest.raises(
            InputError, match="another SHA-256; nothing was kept"
        ) as refusal:
            download.read("mnist", sums)
        assert "train-images-idx3-ubyte.gz` must be the file" in str(refusal.value)
        assert not isinstance(refusal.value, UnavailableError)
        assert kept_files() == []
    (mirror.folder / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(IDX_FILES[0])
    assert len(download.read("mnist", sums).train) == 6


def test_a_file_of_another_size_is_refused_before_it_is_fetched(mirror: Mirror) -> None:
    sums = offered(mirror, "mnist", IDX_FILES)
    (mirror.folder / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(bytes(99))
    with pytest.raises(InputError, match=r"it has 99 bytes, not \d+; nothing was kept"):
        download.read("mnist", sums)
    assert kept_files() == []
    assert len(mirror.asked) == 1


def test_a_file_that_is_not_there_is_unavailable(mirror: Mirror) -> None:
    sums = offered(mirror, "mnist", IDX_FILES)
    (mirror.folder / "mnist" / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(UnavailableError, match=r"host 127.0.0.1 answers 404 File not"):
        download.read("mnist", sums)


def test_a_transfer_that_breaks_off_leaves_nothing(mirror: Mirror, monkeypatch) -> None:
    import tensorflow_datasets as tfds

    def broken(*_: object) -> None:
        raise tfds.download.DownloadError("the wire was cut")

    monkeypatch.setattr(tfds.download.DownloadManager, "download", broken)
    with pytest.raises(
        UnavailableError, match=r"broke off \(the wire was cut\); run again"
    ):
        download.read("mnist", offered(mirror, "mnist", IDX_FILES))
    assert kept_files() == []


def test_no_server_is_noticed_at_once(mirror: Mirror, monkeypatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        monkeypatch.setenv("LOCKSTEP_MIRROR", f"http://127.0.0.1:{port}")
        start = time.perf_counter()
        with pytest.raises(UnavailableError, match=r"does not answer \(Connection refused"):
            download.read("mnist", offered(mirror, "mnist", IDX_FILES))
    assert time.perf_counter() - start < 4


def test_a_silent_server_is_given_up(mirror: Mirror, monkeypatch) -> None:
    monkeypatch.setattr(download, "_ANSWER_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        monkeypatch.setenv("LOCKSTEP_MIRROR", f"http://127.0.0.1:{port}")
        with pytest.raises(UnavailableError, match=r"does not answer \(timed out"):
            download.read("mnist", offered(mirror, "mnist", IDX_FILES))


def test_a_name_that_is_looked_up_for_ever_is_given_up(mirror: Mirror, monkeypatch) -> None:
    release = threading.Event()

    def look_up(*_: object, **__: object) -> None:
        release.wait(30)
        raise OSError("too late")

    monkeypatch.setattr(download, "_PROBE_S", 0.1)
    monkeypatch.setattr(download.urllib.request, "urlopen", look_up)
    with pytest.raises(UnavailableError, match="is silent for"):
        download.read("mnist", offered(mirror, "mnist", IDX_FILES))
    release.set()


@pytest.mark.parametrize("mirror_address", ["file:///etc", "localhost:8000"])
def test_a_mirror_must_be_http(mirror: Mirror, monkeypatch, mirror_address: str) -> None:
    monkeypatch.setenv("LOCKSTEP_MIRROR", mirror_address)
    with pytest.raises(InputError, match=r"`LOCKSTEP_MIRROR` \(=.*\) must start with http"):
        download.read("mnist", offered(mirror, "mnist", IDX_FILES))


def test_a_folder_that_cannot_be_written_only_means_no_copy(
    mirror: Mirror, tmp_path: Path, monkeypatch, caplog
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    seen = download.read("mnist", offered(mirror, "mnist", IDX_FILES))
    assert len(seen.train) == 6
    assert "downloads cannot be kept in" in caplog.text


def test_an_unknown_set_is_refused(mirror: Mirror) -> None:
    with pytest.raises(
        UnavailableError, match="has cifar10, fashion_mnist, mnist, not svhn"
    ):
        download.read("svhn")


def changed(batches: dict[str, bytes], name: str, data: bytes | None) -> bytes:
    batches = dict(batches)
    del batches[name]
    return cifar_file({**batches, name: data} if data is not None else batches)


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("data_batch_3.bin", None, "six batches .* but data_batch_3.bin is missing"),
        ("data_batch_3.bin", b"", "`data_batch_3.bin` must hold records of 3073"),
        ("test_batch.bin", bytes(3072), "`test_batch.bin` .* but has 3072 bytes"),
        ("test_batch.bin", b"\x0a" + bytes(3072), r"test labels in 0\.\.9"),
    ],
)
def test_other_batches_are_refused(mirror: Mirror, name: str, data, text: str) -> None:
    archive = changed(cifar_batches()[0], name, data)
    with pytest.raises(InputError, match=text):
        download.read("cifar10", offered(mirror, "cifar10", [archive]))


@pytest.mark.parametrize("damage", ["cut", "no tar"])
def test_a_damaged_archive_is_refused(mirror: Mirror, damage: str) -> None:
    archive = cifar_file(cifar_batches()[0])
    archive = archive[: len(archive) // 2] if damage == "cut" else b"no archive"
    with pytest.raises(InputError, match="made of whole files, but they cannot be read"):
        download.read("cifar10", offered(mirror, "cifar10", [archive]))


def test_idx_files_of_other_shapes_are_refused(mirror: Mirror) -> None:
    labels = idx_file(np.zeros(5, np.uint8))
    data = [IDX_FILES[0], labels, *IDX_FILES[2:]]
    with pytest.raises(InputError, match="each of its 6 train images"):
        download.read("mnist", offered(mirror, "mnist", data))


@pytest.mark.parametrize(
    ("name", "size_bytes"),
    [("mnist", 11_594_722), ("fashion_mnist", 30_878_645), ("cifar10", 170_052_171)],
)
def test_tfds_records_every_file(name: str, size_bytes: int) -> None:
    recorded = download._recorded(download.SETS[name])
    assert sum(checksum.size_bytes for checksum in recorded.values()) == size_bytes
    assert all(len(checksum.sha256) == 64 for checksum in recorded.values())


def test_recorded_checksums_guard_the_real_sets(mirror: Mirror) -> None:
    offered(mirror, "mnist", IDX_FILES)
    with pytest.raises(InputError, match="bytes, not 9912422"):
        download.read("mnist")
