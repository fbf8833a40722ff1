"""The user's own images: an .npz file, or a folder with one folder per class.

    FILE.npz                     x_train, y_train, x_test, y_test, or images, labels;
                                 optional classes (names); uint8 [N, H, W] or [N, H, W, C]
    DIR/train/<class>/*.png      and DIR/test/<class>/*.png
    DIR/<class>/*.png            also .jpg .jpeg .bmp .gif .pgm

Where no test images are given, one image in five of each class is drawn for the test.
Gray images (mode L, but no GIF) have one channel, all others become RGB. Classes are
numbered in the order of their names.
"""

from __future__ import annotations

import logging
import math
import warnings
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from configs.errors import InputError
from train.dataset import SEED, Examples, Split, balanced_order, checked, divide

_log = logging.getLogger(__name__)

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm")
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM")
# Modes with more than 8 bits a channel; Pillow would clip them without a word.
_DEEP_MODES = ("I", "F")
_TEST_SHARE = 5
_MAX_CLASSES = 65_536
# The most that deflate can shrink anything.
_DEFLATE_RATIO = 1032
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read(path: str) -> Examples:
    """The images at `path`; InputError if they cannot be used."""
    location, origin = Path(path).expanduser(), f"`--data.path` (={path})"
    if location.is_dir():
        return _from_folder(location, origin)
    if location.is_file() and location.suffix == ".npz":
        return _from_npz(location, origin)
    raise InputError(
        f"{origin} must be an existing .npz file, or a folder with one folder per "
        f"class; correct it."
    )


def _divided(whole: Split, classes: tuple[str, ...], origin: str) -> Examples:
    whole = checked(Examples(train=whole, test=whole, classes=classes), origin).train
    if len(whole) < _TEST_SHARE:
        raise InputError(
            f"{origin} must hold {_TEST_SHARE} or more images to draw test images from, "
            f"not {len(whole)}; add some, or give test images of your own."
        )
    test, train = divide(whole, len(whole) // _TEST_SHARE, seed=SEED)
    return Examples(train=train, test=test, classes=classes)


def _from_npz(location: Path, origin: str) -> Examples:
    try:
        with zipfile.ZipFile(location) as archive:
            stored = _members(archive, location.stat().st_size, origin)
    except InputError:
        raise
    except Exception as error:  # zipfile and numpy fail on hostile files in any way
        raise InputError(
            f"{origin} must be a whole .npz file, but it cannot be read "
            f"({type(error).__name__}: {error}); save it again with numpy.savez."
        ) from None
    splits = {
        name: Split(images=images[..., None] if images.ndim == 3 else images, labels=labels)
        for name, images, labels in (
            ("train", stored.get("x_train"), stored.get("y_train")),
            ("test", stored.get("x_test"), stored.get("y_test")),
            ("whole", stored.get("images"), stored.get("labels")),
        )
        if images is not None
    }
    classes = _class_names(stored.get("classes"), splits, origin)
    if "whole" in splits:
        return _divided(splits["whole"], classes, origin)
    return checked(
        Examples(train=splits["train"], test=splits["test"], classes=classes), origin
    )


def _class_names(
    stored: np.ndarray | None, splits: dict[str, Split], origin: str
) -> tuple[str, ...]:
    if stored is not None:
        return tuple(map(str, stored))
    count = 1 + max(0, *(int(split.labels.max()) for split in splits.values()))
    if count > _MAX_CLASSES:
        raise InputError(
            f"{origin} must hold labels below {_MAX_CLASSES}, not {count - 1}; number the "
            f"classes from 0."
        )
    return tuple(map(str, range(count)))


def _members(
    archive: zipfile.ZipFile, file_bytes: int, origin: str
) -> dict[str, np.ndarray]:
    held = {name.removesuffix(".npy") for name in archive.namelist()}
    for wanted in (["x_train", "y_train", "x_test", "y_test"], ["images", "labels"]):
        if held.issuperset(wanted):
            names = [*wanted, "classes"] if "classes" in held else wanted
            return {name: _member(archive, name, file_bytes, origin) for name in names}
    raise InputError(
        f"{origin} must hold x_train, y_train, x_test and y_test, or images and labels, "
        f"but it holds {', '.join(sorted(held)) or 'nothing'}; rename the arrays."
    )


def _member(
    archive: zipfile.ZipFile, name: str, file_bytes: int, origin: str
) -> np.ndarray:
    """One array, whose header is checked before memory is taken."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version not in _HEADERS:
            raise ValueError(f"{name} has .npy format {version}, not 1.0 or 2.0")
        shape, _, dtype = _HEADERS[version](member)
        header_bytes = member.tell()
    if name == "classes":
        fits, rule = dtype.kind == "U" and len(shape) == 1, "strings [classes]"
    elif name in ("images", "x_train", "x_test"):
        fits, rule = dtype == np.uint8 and len(shape) in (3, 4), "uint8 [N, H, W(, C)]"
    else:
        fits, rule = dtype.kind in "iu" and len(shape) == 1, "whole numbers [N]"
    if not fits or any(size < 1 for size in shape):
        raise InputError(
            f"`{name}` of {origin} must be {rule} and not empty, not {dtype} "
            f"{list(shape)}; convert it."
        )
    announced = header_bytes + math.prod(shape) * dtype.itemsize
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    capacity = min(info.compress_size, file_bytes) * (_DEFLATE_RATIO if deflated else 1)
    if announced != info.file_size or announced > capacity:
        raise InputError(
            f"`{name}` of {origin} must hold the {list(shape)} values that its header "
            f"announces, but it cannot; save it again with numpy.savez."
        )
    with archive.open(info) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def _from_folder(root: Path, origin: str) -> Examples:
    folders = {folder.name: folder for folder in _visible(root) if folder.is_dir()}
    given = folders.keys() & {"train", "test"}
    if len(given) == 1:
        raise InputError(
            f"{origin} must hold both train/ and test/, or neither, but has "
            f"{given.pop()}/ alone; add the other, or move its folders up."
        )
    if not given:
        classes = _classes(root, origin)
        return _divided(_split(root, classes, origin), classes, origin)
    classes = _classes(folders["train"], origin)
    surplus = set(_classes(folders["test"], origin)) - set(classes)
    if surplus:
        raise InputError(
            f"{origin} must have training images of every class in test/, but has none "
            f"of {', '.join(sorted(surplus))}; add them, or remove the folder."
        )
    train, test = (_split(folders[name], classes, origin) for name in ("train", "test"))
    # Files are listed class by class; whoever takes the first few wants all classes.
    train, test = (s.take(balanced_order(s.labels, seed=SEED)) for s in (train, test))
    return checked(Examples(train=train, test=test, classes=classes), origin)


def _visible(folder: Path) -> list[Path]:
    found = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(found, key=lambda path: path.name)


def _classes(folder: Path, origin: str) -> tuple[str, ...]:
    names = tuple(path.name for path in _visible(folder) if path.is_dir())
    if not names:
        raise InputError(
            f"{origin} must hold a folder of images for each class, but {folder} has no "
            f"folders; sort the images into folders."
        )
    return names


def _split(folder: Path, classes: tuple[str, ...], origin: str) -> Split:
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        # Only a test folder can lack a class.
        if not (folder / name).is_dir():
            continue
        files = [path for path in _visible(folder / name) if path.is_file()]
        images = [path for path in files if path.suffix.lower() in _SUFFIXES]
        if len(images) < len(files):
            _log.warning(
                "%d files in %s are no images and are left out",
                len(files) - len(images),
                folder / name,
            )
        if not images:
            raise InputError(
                f"{origin} must hold images ({' '.join(_SUFFIXES)}) of every class, but "
                f"{folder / name} has none; add some, or remove the folder."
            )
        paths += images
        labels += [label] * len(images)
    return Split(images=_stacked(paths, origin), labels=np.array(labels, np.int32))


def _stacked(paths: list[Path], origin: str) -> np.ndarray:
    first = _pixels(paths[0], origin)
    try:
        images = np.empty((len(paths), *first.shape), np.uint8)
    except (MemoryError, ValueError):
        raise InputError(
            f"{origin} must fit into memory, but holds {len(paths)} images of "
            f"{first.nbytes} bytes; make them smaller."
        ) from None
    for row, path in enumerate(paths):
        pixels = _pixels(path, origin)
        if pixels.shape != first.shape:
            raise InputError(
                f"{origin} must hold images of one shape (H, W, C), but {path} is "
                f"{pixels.shape} and {paths[0]} is {first.shape}; make them equal."
            )
        images[row] = pixels
    return images


def _pixels(path: Path, origin: str) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                if image.mode.startswith(_DEEP_MODES):
                    raise ValueError(f"mode {image.mode} has more than 8 bits a channel")
                # Pillow calls a GIF gray or a palette as its colours happen to lie.
                if image.mode == "L" and image.format != "GIF":
                    return np.asarray(image)[..., None]
                # Pillow warns if a palette with transparency becomes RGB at once.
                direct = image.convert("RGBA") if image.mode == "P" else image
                return np.asarray(direct.convert("RGB"))
    except Exception as error:  # Pillow fails on damaged files in any way
        raise InputError(
            f"{origin} must hold images that Pillow can read, but {path} is none "
            f"({type(error).__name__}: {error}); replace it, or save it with 8 bits."
        ) from None
