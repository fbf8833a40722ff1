"""The user's own images are taken as they are, or refused with the file to blame."""

import io
import logging
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs.errors import InputError
from train import files

RNG = np.random.default_rng(0)


def pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def four(**changes: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays that are accepted, but for `changes`."""
    good = {
        "x_train": pixels(6, 4, 5),
        "y_train": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": pixels(3, 4, 5),
        "y_test": np.array([2, 1, 0]),
    }
    return {**good, **changes}


def saved(folder: Path, arrays: dict[str, np.ndarray], save=np.savez) -> str:
    save(folder / "own.npz", **arrays)
    return str(folder / "own.npz")


def save_image(path: Path, array: np.ndarray, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)


def image_tree(root: Path, counts: dict[str, int], shape=(4, 5)) -> Path:
    for name, count in counts.items():
        for number in range(count):
            save_image(root / name / f"{number}.png", pixels(*shape))
    return root


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_with_both_splits_keeps_its_order(tmp_path: Path, save) -> None:
    arrays = four()
    seen = files.read(saved(tmp_path, arrays, save))
    np.testing.assert_array_equal(seen.train.images[..., 0], arrays["x_train"])
    np.testing.assert_array_equal(seen.test.images[..., 0], arrays["x_test"])
    assert seen.train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert seen.test.labels.tolist() == [2, 1, 0]
    assert seen.train.labels.dtype == np.int32
    assert seen.classes == ("0", "1", "2")


def test_npz_takes_colour_names_and_fortran_order(tmp_path: Path) -> None:
    colour = np.asfortranarray(pixels(6, 4, 5, 3))
    arrays = four(x_train=colour, x_test=pixels(3, 4, 5, 3))
    arrays["classes"] = np.array(["ant", "bee", "cat", "dog"])
    seen = files.read(saved(tmp_path, arrays))
    np.testing.assert_array_equal(seen.train.images, colour)
    assert seen.classes == ("ant", "bee", "cat", "dog")


def test_npz_without_test_images_gives_one_in_five_of_each_class(tmp_path: Path) -> None:
    images = pixels(50, 4, 4)
    labels = np.repeat([0, 1], [30, 20])
    path = saved(tmp_path, {"images": images, "labels": labels})
    seen, again = files.read(path), files.read(path)
    assert np.bincount(seen.test.labels).tolist() == [6, 4]
    assert np.bincount(seen.train.labels).tolist() == [24, 16]
    np.testing.assert_array_equal(seen.test.images, again.test.images)
    both = np.concatenate([seen.train.images, seen.test.images])[..., 0]
    assert sorted(map(bytes, both)) == sorted(map(bytes, images))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"x_train": np.zeros((6, 4, 5))}, r"`x_train` .* not float64 \[6, 4, 5\]"),
        ({"x_train": pixels(6, 4)}, r"must be uint8 \[N, H, W\(, C\)\]"),
        ({"x_train": pixels(0, 4, 5)}, "must be .* and not empty"),
        ({"x_train": np.array([None] * 6)}, r"`x_train` .* not object \[6\]"),
        ({"y_train": np.zeros(6)}, "`y_train` .* whole numbers"),
        ({"y_train": np.zeros((6, 3), int)}, r"whole numbers \[N\] .* \[6, 3\]"),
        ({"y_train": np.zeros(5, int)}, "each of its 6 train images"),
        ({"y_test": np.array([0, 1, -1])}, r"test labels in 0\.\.2 .* from -1 to 1"),
        ({"y_test": np.array([0, 1, 2**40])}, "labels below 65536"),
        ({"x_test": pixels(3, 4, 4)}, "images of one shape"),
        ({"classes": np.array([1, 2, 3])}, r"`classes` .* strings \[classes\]"),
        ({"classes": np.array(["a", "b"])}, r"train labels in 0\.\.1"),
        ({"classes": np.array([{}, {}])}, "`classes` .* not object"),
    ],
)
def test_unfit_arrays_are_refused(tmp_path: Path, changes: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        files.read(saved(tmp_path, four(**changes)))


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"x_train": pixels(1, 2, 2)}, "but it holds x_train; rename the arrays"),
        ({}, "but it holds nothing"),
        ({"images": pixels(4, 2, 2), "labels": np.arange(4)}, "hold 5 or more images"),
        ({"images": pixels(9, 2, 2), "labels": np.arange(8)}, "each of its 9 train"),
    ],
)
def test_missing_or_too_few_arrays_are_refused(tmp_path, arrays: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        files.read(saved(tmp_path, arrays))


def npy(header: str, body: bytes, version: bytes = b"\x01\x00") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + body


def crafted(folder: Path, x_train: bytes) -> str:
    with zipfile.ZipFile(folder / "own.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in four().items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            data = x_train if name == "x_train" else buffer.getvalue()
            archive.writestr(f"{name}.npy", data)
    return str(folder / "own.npz")


def described(shape: str) -> str:
    return f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (npy(described("(999999, 99999, 9999)"), b"1234"), "header announces"),
        (npy(described("(1, 2, 2)"), b"12345"), "header announces"),
        (npy(described("(-1, -2, 2)"), b"1234"), "not empty"),
        (npy(described("(1, 2, 2)"), b"1234", b"\x03\x00"), "not 1.0 or 2.0"),
        (npy("__import__('os')", b""), "cannot be read"),
        (b"no array at all", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_hostile_headers_are_refused_before_memory_is_taken(tmp_path, data, text) -> None:
    path = crafted(tmp_path, data)
    tracemalloc.start()
    with pytest.raises(InputError, match=text):
        files.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_size_that_the_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    """The archive's own directory claims as many bytes as the array's header."""
    path = Path(crafted(tmp_path, npy(described("(1000, 1000, 1000)"), b"1234")))
    data = bytearray(path.read_bytes())
    size = (128 + 4).to_bytes(4, "little")
    entry = data.index(b"PK\x01\x02")
    at = data.index(size, entry)
    data[at : at + 4] = (128 + 10**9).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"\[1000, 1000, 1000\] values that its header"):
        files.read(str(path))


def test_a_damaged_npz_is_refused(tmp_path: Path) -> None:
    path = Path(saved(tmp_path, four()))
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"whole \.npz file.*Bad CRC-32"):
        files.read(str(path))
    path.write_bytes(data[:300])
    with pytest.raises(InputError, match=r"whole \.npz file.*not a zip file"):
        files.read(str(path))


@pytest.mark.parametrize("name", ["absent.npz", "absent", "notes.txt"])
def test_a_path_that_is_neither_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("not images")
    with pytest.raises(InputError, match=r"`--data.path` \(=.*\) must be an existing .npz"):
        files.read(str(tmp_path / name))


def test_a_folder_with_both_splits(tmp_path: Path) -> None:
    image_tree(tmp_path / "train", {"bee": 6, "ant": 3, "cat": 4})
    image_tree(tmp_path / "test", {"bee": 2, "ant": 1})
    seen = files.read(str(tmp_path))
    assert seen.classes == ("ant", "bee", "cat")
    assert np.bincount(seen.train.labels).tolist() == [3, 6, 4]
    assert np.bincount(seen.test.labels).tolist() == [1, 2]
    assert seen.train.images.shape == (13, 4, 5, 1)
    for split, folder in ((seen.train, "train"), (seen.test, "test")):
        for image, label in zip(split.images, split.labels, strict=True):
            class_folder = tmp_path / folder / seen.classes[label]
            stored = [np.asarray(Image.open(f)).tobytes() for f in class_folder.iterdir()]
            assert image.tobytes() in stored


def test_a_folder_of_classes_gives_one_in_five(tmp_path: Path) -> None:
    seen = files.read(str(image_tree(tmp_path, {"a": 20, "b": 10})))
    assert np.bincount(seen.test.labels).tolist() == [4, 2]
    assert np.bincount(seen.train.labels).tolist() == [16, 8]


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "bmp", "pgm", "PNG"])
def test_gray_formats(tmp_path: Path, suffix: str) -> None:
    flat = np.full((8, 8), 77, np.uint8)
    for name in ("a", "b"):
        for number in range(3):
            save_image(tmp_path / name / f"{number}.{suffix}", flat)
    images = files.read(str(tmp_path)).train.images
    assert images.shape[1:] == (8, 8, 1)
    assert np.all(images == 77)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "1"])
def test_all_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    for name in ("a", "b"):
        for number in range(3):
            save_image(tmp_path / name / f"{number}.png", pixels(4, 5, 3), mode)
    assert files.read(str(tmp_path)).train.images.shape[1:] == (4, 5, 3)


def test_gif_is_rgb_whatever_its_colours(tmp_path: Path) -> None:
    """Pillow reads a gray ramp as L and a flat gray as P: one folder may hold both."""
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for name, array in (("a", ramp), ("b", np.full_like(ramp, 77))):
        for number in range(3):
            save_image(tmp_path / name / f"{number}.gif", array)
    images = files.read(str(tmp_path)).train.images
    assert images.shape[1:] == (16, 16, 3)
    assert np.ptp(images, axis=3).max() == 0


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(3):
            (tmp_path / name).mkdir(exist_ok=True)
            image = Image.fromarray(pixels(4, 5, 3)).convert("P")
            image.save(tmp_path / name / f"{number}.png", transparency=bytes(range(99)))
    assert files.read(str(tmp_path)).train.images.shape[1:] == (4, 5, 3)


def test_hidden_files_are_ignored_and_others_reported(tmp_path: Path, caplog) -> None:
    image_tree(tmp_path, {"a": 5, "b": 5})
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "a" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "readme.txt").write_text("x")
    with caplog.at_level(logging.WARNING):
        assert files.read(str(tmp_path)).classes == ("a", "b")
    assert not caplog.text
    (tmp_path / "b" / "photo.raw").write_bytes(b"x")
    files.read(str(tmp_path))
    assert "1 files in" in caplog.text


def test_an_odd_image_is_named(tmp_path: Path) -> None:
    image_tree(tmp_path, {"a": 3, "b": 3})
    save_image(tmp_path / "b" / "1.png", pixels(5, 5))
    with pytest.raises(
        InputError, match=r"b/1\.png is \(5, 5, 1\) and .*a/0\.png is \(4, 5"
    ):
        files.read(str(tmp_path))


def test_gray_beside_colours_becomes_rgb_and_is_said(tmp_path: Path) -> None:
    image_tree(tmp_path, {"a": 3, "b": 3})
    colours = pixels(4, 5, 3)
    save_image(tmp_path / "b" / "1.png", colours)
    seen = files.read(str(tmp_path))
    assert seen.train.images.shape[1:] == (4, 5, 3)
    assert "5 of 6 pictures are gray and became RGB" in seen.notes[0]
    every = np.concatenate([seen.train.images, seen.test.images])
    assert any(np.array_equal(one, colours) for one in every)
    # ITU-R 601, as whole numbers by hand.
    gray = files.read(str(tmp_path), channels=1)
    luma = (colours @ np.array([19595, 38470, 7471]) + 0x8000) >> 16
    every = np.concatenate([gray.train.images, gray.test.images])
    assert any(np.array_equal(one[..., 0], luma) for one in every)


@pytest.mark.parametrize("damage", ["text", "cut", "float", "bomb"])
def test_an_unreadable_image_is_named(tmp_path: Path, damage: str, monkeypatch) -> None:
    image_tree(tmp_path, {"a": 3, "b": 3})
    odd = tmp_path / "b" / "2.png"
    if damage == "text":
        odd.write_text("no image")
    elif damage == "cut":
        odd.write_bytes(odd.read_bytes()[:-30])
    elif damage == "float":
        Image.fromarray(pixels(4, 5).astype(np.float32)).save(odd, format="TIFF")
    else:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
        save_image(odd, pixels(7, 7))
    with warnings.catch_warnings():
        # As for a user, to whom Pillow's warning of a bomb is only a line.
        warnings.simplefilter("ignore")
        with pytest.raises(InputError, match=r"that Pillow can read, but .*b/2\.png"):
            files.read(str(tmp_path))


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], "has no folders; sort the images into folders"),
        (["a/", "b/0.png"], r"of every class, but .*/a has none"),
        (["train/a/0.png"], "both train/ and test/, or neither, but has train/ alone"),
        (["train/a/0.png", "test/b/0.png"], "in test/, but has none of b"),
        (["train/a/0.png", "test/0.png"], r"but .*test has no folders"),
        (["a/0.png", "b/0.png"], "5 or more images to draw test images from, not 2"),
    ],
)
def test_an_unfit_folder_is_refused(tmp_path: Path, names: list[str], text: str) -> None:
    for name in names:
        if name.endswith("/"):
            (tmp_path / name).mkdir()
        else:
            save_image(tmp_path / name, pixels(4, 5))
    with pytest.raises(InputError, match=text):
        files.read(str(tmp_path))


def test_images_beyond_memory_are_refused(tmp_path: Path, monkeypatch) -> None:
    image_tree(tmp_path, {"a": 3, "b": 3})

    def no_room(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(files.np, "empty", no_room)
    with pytest.raises(InputError, match="must fit into memory, but holds 6 images of 20"):
        files.read(str(tmp_path))
