"""MNIST, Fashion-MNIST and CIFAR-10 from their hosts, without TensorFlow.

TFDS's download manager fetches the files and compares them with the sizes and SHA-256
that TFDS records. Whole files are kept under downloads/ in the cache directory
(train/cache.py) and compared again whenever they are read.

$LOCKSTEP_MIRROR is the address of a server that holds the same files elsewhere, as
<mirror>/<set>/<file>, for example http://localhost:8000/mnist/t10k-labels-idx1-ubyte.gz.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import math
import os
import tarfile
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.errors import InputError
from train import cache, idx
from train.dataset import Examples, Split, UnavailableError, checked

_log = logging.getLogger(__name__)

# TFDS's downloader tries for 204 s without a network, so it is asked only when the host
# has answered within this time; the second one includes looking up its name.
_ANSWER_S = 4.0
_PROBE_S = 5.0
_CIFAR_SHAPE = (3, 32, 32)
_CIFAR_CLASSES = "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck"
_FASHION_CLASSES = (
    "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
)
_AGAIN = "run again with network access, or set LOCKSTEP_MIRROR"


@dataclass(frozen=True, kw_only=True)
class RemoteSet:
    """Files that make up a set, and how to read them."""

    name: str
    # Addresses; the last part of each is the file's name.
    urls: tuple[str, ...]
    classes: tuple[str, ...]
    # Train and test from the local paths, in the order of `urls`.
    decode: Callable[[list[Path]], tuple[Split, Split]]


@dataclass(frozen=True, kw_only=True)
class Checksum:
    """What a whole file has."""

    size_bytes: int
    sha256: str


def _idx_splits(paths: list[Path]) -> tuple[Split, Split]:
    train_images, train_labels, test_images, test_labels = map(idx.read, paths)
    return (
        Split(images=train_images[..., None], labels=train_labels),
        Split(images=test_images[..., None], labels=test_labels),
    )


def _cifar_splits(paths: list[Path]) -> tuple[Split, Split]:
    """The five training batches in order, and the test batch."""
    wanted = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]
    found = {}
    with tarfile.open(paths[0], "r|gz") as archive:
        for member in archive:
            name = Path(member.name).name
            if name in wanted and member.isfile():
                found[name] = _cifar_batch(archive.extractfile(member).read(), name)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise InputError(
            f"`{paths[0].name}` must hold the six batches of CIFAR-10, but "
            f"{', '.join(missing)} is missing; fetch it again."
        )
    batches = [found[name] for name in wanted]
    images = np.concatenate([batch.images for batch in batches[:5]])
    labels = np.concatenate([batch.labels for batch in batches[:5]])
    return Split(images=images, labels=labels), batches[5]


def _cifar_batch(data: bytes, name: str) -> Split:
    """Records of one label and 3 planes (red, green, blue) of 32 x 32."""
    record = 1 + math.prod(_CIFAR_SHAPE)
    if not data or len(data) % record:
        raise InputError(
            f"`{name}` must hold records of {record} bytes, but has {len(data)} bytes; "
            f"fetch it again."
        )
    table = np.frombuffer(data, np.uint8).reshape(-1, record)
    planes = table[:, 1:].reshape(-1, *_CIFAR_SHAPE)
    images = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    return Split(images=images, labels=table[:, 0])


def _idx_set(name: str, base: str, classes: tuple[str, ...]) -> RemoteSet:
    files = (
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    )
    urls = tuple(f"{base}/{file}" for file in files)
    return RemoteSet(name=name, urls=urls, classes=classes, decode=_idx_splits)


SETS = {
    remote.name: remote
    for remote in (
        _idx_set(
            "mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
            tuple("0123456789"),
        ),
        _idx_set(
            "fashion_mnist",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            tuple(_FASHION_CLASSES.split(",")),
        ),
        RemoteSet(
            name="cifar10",
            urls=("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
            classes=tuple(_CIFAR_CLASSES.split(",")),
            decode=_cifar_splits,
        ),
    )
}


def read(name: str, checksums: Mapping[str, Checksum] | None = None) -> Examples:
    """The set `name`, from the cache or its host; UnavailableError if that does not answer.

    Args:
        checksums: of each address in SETS; without it those that TFDS records.
    """
    if name not in SETS:
        raise UnavailableError(
            f"`--data.source` (=download) has {', '.join(sorted(SETS))}, not {name}",
            "use one of these, or --data.source tfds",
        )
    remote = SETS[name]
    known = _recorded(remote) if checksums is None else checksums
    sums = {url: known[url] for url in remote.urls}
    key = " ".join(checksum.sha256 for checksum in sums.values())
    return cache.examples(f"download-{name}", key, lambda: _fetched(remote, sums))


def _recorded(remote: RemoteSet) -> dict[str, Checksum]:
    from tensorflow_datasets.core.download import checksums

    recorded = checksums.get_all_url_infos()
    return {
        url: Checksum(size_bytes=int(recorded[url].size), sha256=recorded[url].checksum)
        for url in remote.urls
    }


def _fetched(remote: RemoteSet, sums: dict[str, Checksum]) -> Examples:
    origin = f"`--data.name` (={remote.name})"
    with _folder() as folder:
        paths = [_file(remote, url, checksum, folder) for url, checksum in sums.items()]
        try:
            train, test = remote.decode(paths)
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            raise InputError(
                f"{origin} must be made of whole files, but they cannot be read "
                f"({error}); delete {folder} and run again."
            ) from None
    return checked(Examples(train=train, test=test, classes=remote.classes), origin)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Where files are kept; a temporary folder if that cannot be written."""
    folder = cache.directory() / "downloads"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Only a try tells: permissions do not show a full or a read-only file system.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        _log.warning("downloads cannot be kept in %s (%s)", folder, error)
        with tempfile.TemporaryDirectory(prefix="lockstep-") as temporary:
            yield Path(temporary)
    else:
        yield folder


def _file(remote: RemoteSet, url: str, checksum: Checksum, folder: Path) -> Path:
    """A whole copy of the file behind `url`: the one that is kept, or a new one."""
    name = url.rsplit("/", 1)[1]
    kept = folder / f"{remote.name}-{checksum.sha256[:16]}-{name}"
    if kept.exists():
        if _matches(kept, checksum):
            return kept
        _log.info("%s is damaged; downloading it again", kept)
        kept.unlink()
    address = _mirrored(remote, url, name)
    _probe(address, checksum)
    with tempfile.TemporaryDirectory(dir=folder, prefix="partial-") as scratch:
        _transfer(address, checksum, scratch).replace(kept)
    return kept


def _matches(path: Path, checksum: Checksum) -> bool:
    if path.stat().st_size != checksum.size_bytes:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == checksum.sha256


def _mirrored(remote: RemoteSet, url: str, name: str) -> str:
    mirror = os.environ.get("LOCKSTEP_MIRROR")
    if not mirror:
        return url
    if not mirror.startswith(("http://", "https://")):
        raise InputError(
            f"`LOCKSTEP_MIRROR` (={mirror}) must start with http:// or https://; "
            f"correct it, or unset it."
        )
    return f"{mirror.rstrip('/')}/{remote.name}/{name}"


def _probe(address: str, checksum: Checksum) -> None:
    """Returns if the host answers with a file of the right size in time."""
    answers: list[tuple[str, int]] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(address, timeout=_ANSWER_S) as response:
                length = response.headers.get("Content-Length")
                answers.append(("", int(length or checksum.size_bytes)))
        except urllib.error.HTTPError as error:
            error.close()
            answers.append((f"answers {error.code} {error.reason}", 0))
        except (OSError, ValueError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", error)
            cause = getattr(cause, "strerror", None) or cause
            answers.append((f"does not answer ({cause})", 0))

    # A thread, because looking up a name has no time limit of its own.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PROBE_S)
    trouble, length = answers[0] if answers else (f"is silent for {_PROBE_S:.0f} s", 0)
    if trouble:
        host = urllib.parse.urlsplit(address).hostname
        raise UnavailableError(f"the download host {host} {trouble}", _AGAIN)
    if length != checksum.size_bytes:
        raise _wrong(address, f"{length} bytes, not {checksum.size_bytes}")


def _wrong(address: str, difference: str) -> InputError:
    return InputError(
        f"`{address}` must be the file that its recorded checksum describes, but it has "
        f"{difference}; nothing was kept. Run again later, check LOCKSTEP_MIRROR, or use "
        f"--data.source tfds or embedded."
    )


def _transfer(address: str, checksum: Checksum, scratch: str) -> Path:
    """Fetches a file into `scratch`, whole and with the right checksum."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import checksums, download_manager

    expected = checksums.UrlInfo(
        size=tfds.core.units.Size(checksum.size_bytes),
        checksum=checksum.sha256,
        filename=None,
    )
    manager = tfds.download.DownloadManager(
        download_dir=scratch,
        url_infos={address: expected},
        force_checksums_validation=True,
    )
    try:
        return Path(manager.download(address))
    except download_manager.NonMatchingChecksumError:
        raise _wrong(address, "another SHA-256") from None
    except (OSError, tfds.download.DownloadError) as error:
        raise UnavailableError(
            f"the download of {address} broke off ({error})", _AGAIN
        ) from None
