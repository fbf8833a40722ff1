"""The user's own images: an .npz file, or a folder with one folder per class.

    FILE.npz                     x_train, y_train, x_test, y_test (without a test part
                                 x_val, y_val is it), or images, labels; optional classes
                                 (names); uint8 [N, H, W] or [N, H, W, C]
    DIR/train/<class>/*.png      and DIR/test/<class>/*.png (without it DIR/val)
    DIR/<class>/*.png            also .jpg .jpeg .bmp .gif .pgm .ppm .tif .tiff .webp

Where no test images are given, one image in five of each class is drawn for the test, and
every class keeps one to train on. If all pictures are stored as 8-bit or 16-bit gray they
have one channel, otherwise all become RGB (`train/picture.py` says what a file means in
pixels). Classes are numbered in the order of their names.
"""

from __future__ import annotations

import logging
import math
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from configs.errors import InputError
from train import picture
from train.dataset import SEED, Examples, Split, balanced_order, checked

_log = logging.getLogger(__name__)

# Names of the folders of a data set's parts.
_PARTS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation"),
}
_TEST_SHARE = 5
# Arrays of an .npz file that belong together; the first that is whole is taken.
_LAYOUTS = (
    ["x_train", "y_train", "x_test", "y_test"],
    ["x_train", "y_train", "x_val", "y_val"],
    ["images", "labels"],
)
_MAX_CLASSES = 65_536
# The most that deflate can shrink anything.
_DEFLATE_RATIO = 1032
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read(path: str, channels: int = 0) -> Examples:
    """The images at `path`; InputError if they cannot be used.

    Args:
        channels: of the pictures of a folder: 1 or 3; 0: 1 if all are stored as gray.
    """
    location, origin = Path(path).expanduser(), f"`--data.path` (={path})"
    if location.is_dir():
        return _from_folder(location, origin, channels)
    if location.is_file() and location.suffix == ".npz":
        if channels:
            raise InputError(
                f"`--data.channels` (={channels}) belongs to a folder of pictures, but "
                f"{origin} is an .npz file; leave it out, and convert the arrays."
            )
        return _from_npz(location, origin)
    raise InputError(
        f"{origin} must be an existing .npz file, or a folder with one folder per "
        f"class; correct it."
    )


def _divided(
    whole: Split, classes: tuple[str, ...], origin: str, notes: tuple[str, ...]
) -> Examples:
    """One image in five to test on: the first in balanced order that a class can spare."""
    whole = checked(Examples(train=whole, test=whole, classes=classes), origin).train
    if len(whole) < _TEST_SHARE:
        raise InputError(
            f"{origin} must hold {_TEST_SHARE} or more images to draw test images from, "
            f"not {len(whole)}; add some, or give test images of your own."
        )
    order = balanced_order(whole.labels, seed=SEED)
    # A row is spare if another of its class comes after it.
    last = dict(zip(whole.labels[order].tolist(), range(len(order)), strict=True))
    spare = np.ones(len(order), bool)
    spare[list(last.values())] = False
    drawn = np.flatnonzero(spare)[: len(whole) // _TEST_SHARE]
    if not len(drawn):
        raise InputError(
            f"{origin} must hold two images or more of some class to draw test images "
            f"from, but has one of each; add some, or give test images of your own."
        )
    chosen = np.isin(np.arange(len(order)), drawn)
    train, test = whole.take(order[~chosen]), whole.take(order[chosen])
    untested = len(classes) - len(np.unique(test.labels))
    note = (
        f"No test part was given: {len(test)} of {len(whole)} images were drawn for it, "
        f"one in five of each class, and every class keeps one or more to train on"
        + (f"; {untested} classes have no test image" if untested else "")
        + "."
    )
    examples = Examples(train=train, test=test, classes=classes)
    return replace(examples, notes=(*notes, note))


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
    arrays, notes = stored
    splits = {
        name: Split(images=images[..., None] if images.ndim == 3 else images, labels=labels)
        for name, images, labels in (
            ("train", arrays.get("x_train"), arrays.get("y_train")),
            ("test", arrays.get("x_test"), arrays.get("y_test")),
            ("test", arrays.get("x_val"), arrays.get("y_val")),
            ("whole", arrays.get("images"), arrays.get("labels")),
        )
        if images is not None
    }
    classes = _class_names(arrays.get("classes"), splits, origin)
    if "whole" in splits:
        return _divided(splits["whole"], classes, origin, notes)
    examples = Examples(train=splits["train"], test=splits["test"], classes=classes)
    return replace(checked(examples, origin), notes=notes)


def _class_names(
    stored: np.ndarray | None, splits: dict[str, Split], origin: str
) -> tuple[str, ...]:
    low = min(int(split.labels.min()) for split in splits.values())
    high = max(int(split.labels.max()) for split in splits.values())
    if low > 0 and (stored is None or high >= len(stored)):
        raise InputError(
            f"{origin} must number its classes from 0, but its labels start at {low} and "
            f"end at {high}; subtract {low}, or name all {high + 1} classes in `classes`."
        )
    if stored is not None:
        return _two_or_more(tuple(map(str, stored)), origin)
    count = 1 + max(0, high)
    if count > _MAX_CLASSES:
        raise InputError(
            f"{origin} must hold labels below {_MAX_CLASSES}, not {count - 1}; number the "
            f"classes from 0."
        )
    return _two_or_more(tuple(map(str, range(count))), origin)


def _two_or_more(classes: tuple[str, ...], origin: str) -> tuple[str, ...]:
    if len(classes) < 2:
        raise InputError(
            f"{origin} must hold two classes or more to tell apart, but all images are of "
            f"one class ({classes[0]}); add images of another."
        )
    return classes


def _members(
    archive: zipfile.ZipFile, file_bytes: int, origin: str
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The arrays that are used, and sentences on the others."""
    held = {name.removesuffix(".npy") for name in archive.namelist()}
    for wanted in _LAYOUTS:
        if held.issuperset(wanted):
            names = [*wanted, "classes"] if "classes" in held else wanted
            notes = []
            if "x_val" in wanted:
                notes.append("x_val, y_val are the test part, since there is no x_test.")
            if rest := sorted(held.difference(names)):
                notes.append(f"Left out of the .npz file: {', '.join(rest)}.")
            found = {name: _member(archive, name, file_bytes, origin) for name in names}
            return found, tuple(notes)
    raise InputError(
        f"{origin} must hold x_train, y_train, x_test and y_test (or x_val and y_val), or "
        f"images and labels, but it holds {', '.join(sorted(held)) or 'nothing'}; rename "
        f"the arrays."
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
    _require_kind(name, shape, dtype, origin)
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


def _require_kind(name: str, shape: tuple[int, ...], dtype: np.dtype, origin: str) -> None:
    """InputError, with the way out, if an array is not what its name says."""
    sizes = len(shape)
    if name == "classes":
        fits, rule = dtype.kind == "U" and sizes == 1, "strings [classes]"
        way = f"`{name}.astype(str)` of one name for each class"
    elif name in ("images", "x_train", "x_test", "x_val"):
        fits, rule = dtype == np.uint8 and sizes in (3, 4), "uint8 [N, H, W(, C)]"
        way = _as_images(name, shape, dtype)
        if fits and way:
            fits, rule = False, f"{rule}, channels last"
    else:
        fits, rule = dtype.kind in "iu" and sizes == 1, "whole numbers [N]"
        way = _as_labels(name, shape, dtype)
    if fits and all(size > 0 for size in shape):
        return
    raise InputError(
        f"`{name}` of {origin} must be {rule} and not empty, not {dtype} "
        f"{list(shape)}; convert it{f': {way}' if way else ''}."
    )


def _as_images(name: str, shape: tuple[int, ...], dtype: np.dtype) -> str:
    """What makes channels-last bytes of images; "" if that is not known or not needed."""
    ways = []
    if len(shape) == 4 and shape[1] in (1, 2, 3, 4) and min(shape[2:]) > 4:
        ways.append(f"channels come first, use `{name}.transpose(0, 2, 3, 1)`")
    if dtype.kind == "f":
        ways.append(f"floats in 0..1 with `np.rint(255 * {name}).astype(np.uint8)`")
    elif dtype.kind == "b":
        ways.append(f"`255 * {name}.astype(np.uint8)`")
    elif dtype.kind in "iu" and dtype != np.uint8:
        ways.append(f"values in 0..255 with `{name}.astype(np.uint8)`")
    return "; ".join(ways)


def _as_labels(name: str, shape: tuple[int, ...], dtype: np.dtype) -> str:
    """What makes one whole number an image of labels."""
    if len(shape) == 2 and shape[1] == 1:
        flat = f"a column, use `{name}[:, 0]`"
        return flat if dtype.kind in "iu" else f"{flat}, then `.astype(np.int64)`"
    if len(shape) == 2:
        return f"one-hot rows, use `{name}.argmax(1)`"
    if dtype.kind in "fb":
        return f"`{name}.astype(np.int64)`"
    if dtype.kind in "US":
        return f"names, use `classes, labels = np.unique({name}, return_inverse=True)`"
    return ""


def _from_folder(root: Path, origin: str, channels: int) -> Examples:
    parts = _parts(root, origin)
    if parts is None:
        classes = _two_or_more(_classes(root, origin), origin)
        (whole,), notes = _splits([root], classes, origin, channels)
        return _divided(whole, classes, origin, notes)
    classes = _classes(parts.train, origin)
    surplus = set(_classes(parts.test, origin)) - set(classes)
    if surplus:
        raise InputError(
            f"{origin} must have training images of every class in {parts.test.name}/, but "
            f"has none of {', '.join(sorted(surplus))}; add them, or remove the folder."
        )
    _two_or_more(classes, origin)
    (train, test), notes = _splits([parts.train, parts.test], classes, origin, channels)
    # Files are listed class by class; whoever takes the first few wants all classes.
    train, test = (s.take(balanced_order(s.labels, seed=SEED)) for s in (train, test))
    examples = Examples(train=train, test=test, classes=classes)
    return replace(checked(examples, origin), notes=(*parts.notes, *notes))


class _Parts(NamedTuple):
    train: Path
    test: Path
    notes: tuple[str, ...]


def _parts(root: Path, origin: str) -> _Parts | None:
    """The folders to train and to test on; None if `root` holds those of the classes."""
    folders = {folder.name: folder for folder in _visible(root) if folder.is_dir()}
    found = {part: _part(part, folders) for part in _PARTS}
    train, test, val = (found[part] for part in _PARTS)
    if train is None and test is None:
        return None
    if train is None or (test is None and val is None):
        alone = train or test
        raise InputError(
            f"{origin} must hold both train/ and test/, or neither, but has {alone.name}/ "
            f"{f'and {val.name}/' if val else 'alone'}; add the other, or move its folders "
            f"up (val/ beside train/ serves as test/)."
        )
    used = test or val
    rest = [f"{name}/" for name in folders if name not in (train.name, used.name)]
    notes = []
    if test is None:
        notes.append(f"{val.name}/ is the test part, since there is no test/.")
    if rest:
        notes.append(
            f"Left out of {root}: {', '.join(rest)} (--data.validation holds images of "
            f"{train.name}/ out)."
        )
    return _Parts(train, used, tuple(notes))


def _part(part: str, folders: dict[str, Path]) -> Path | None:
    """The folder of one part, by its own name first; others must hold folders."""
    if part != "val" and part in folders:
        return folders[part]
    for name, folder in folders.items():
        held = name.lower() in _PARTS[part]
        if held and any(path.is_dir() for path in _visible(folder)):
            return folder
    return None


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


def _splits(
    folders: list[Path], classes: tuple[str, ...], origin: str, channels: int
) -> tuple[list[Split], tuple[str, ...]]:
    """The images of each folder, and what the user should know of them."""
    listed = [_listed(folder, classes, origin) for folder in folders]
    paths = [path for found, _ in listed for path in found]
    gray = sum(picture.is_gray(path, _rule(path, origin)) for path in paths)
    notes = []
    if 0 < gray < len(paths) and not channels:
        notes.append(
            f"{gray} of {len(paths)} pictures are gray and became RGB like the others "
            f"(--data.channels 1 makes all gray)."
        )
    channels = channels or (1 if gray == len(paths) else 3)
    done: Counter[str] = Counter()
    splits = []
    for found, labels in listed:
        images = _stacked(found, origin, channels, done)
        splits.append(Split(images=images, labels=np.array(labels, np.int32)))
    notes += [f"{n} of {len(paths)} pictures: {text}." for text, n in sorted(done.items())]
    return splits, tuple(notes)


def _listed(
    folder: Path, classes: tuple[str, ...], origin: str
) -> tuple[list[Path], list[int]]:
    """Files and their classes."""
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        # Only a test folder can lack a class.
        if not (folder / name).is_dir():
            continue
        files = [path for path in _visible(folder / name) if path.is_file()]
        images = [path for path in files if path.suffix.lower() in picture.SUFFIXES]
        if len(images) < len(files):
            _log.warning(
                "%d files in %s are no images and are left out",
                len(files) - len(images),
                folder / name,
            )
        if not images:
            raise InputError(
                f"{origin} must hold images ({' '.join(picture.SUFFIXES)}) of every class, "
                f"but {folder / name} has none; add some, or remove the folder."
            )
        paths += images
        labels += [label] * len(images)
    return paths, labels


def _stacked(
    paths: list[Path], origin: str, channels: int, done: Counter[str]
) -> np.ndarray:
    """Images [N, H, W, channels]; `done` counts how often something was done to one."""
    first = _pixels(paths[0], origin, channels)
    try:
        images = np.empty((len(paths), *first.shape), np.uint8)
    except (MemoryError, ValueError):
        raise InputError(
            f"{origin} must fit into memory, but holds {len(paths)} images of "
            f"{first.nbytes} bytes; make them smaller."
        ) from None
    for row, path in enumerate(paths):
        shown = picture.read(path, _rule(path, origin))
        pixels = shown.pixels(channels)
        if pixels.shape != first.shape:
            raise InputError(
                f"{origin} must hold images of one shape (H, W, C), but {path} is "
                f"{pixels.shape} and {paths[0]} is {first.shape}; make them equal."
            )
        images[row] = pixels
        done.update(shown.notes())
    return images


def _pixels(path: Path, origin: str, channels: int = 0) -> np.ndarray:
    """uint8 [H, W, channels]; 0: 1 if the picture is stored as gray, else 3."""
    shown = picture.read(path, _rule(path, origin))
    return shown.pixels(channels or (1 if shown.gray else 3))


def _rule(path: Path, origin: str) -> str:
    return f"{origin} must hold images that Pillow can read, but {path} is none"
