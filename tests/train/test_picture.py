"""Ten sorts of pictures as people have them, each with its pixels computed by hand."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from configs.errors import InputError
from train import files, picture

RNG = np.random.default_rng(5)
RULE = "`X` must be a picture"
# The turn that each EXIF orientation asks for (TIFF 6.0, tag 274): how an upright picture
# must be stored for it.
STORED = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: np.swapaxes(x, 0, 1),
    6: lambda x: np.rot90(x),
    7: lambda x: np.rot90(np.swapaxes(x, 0, 1), 2),
    8: lambda x: np.rot90(x, -1),
}


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def read(path: Path, channels: int = 3) -> np.ndarray:
    return picture.read(path, RULE).pixels(channels)


def png(path: Path, rows: np.ndarray, kind: int, *chunks: bytes) -> None:
    """A PNG of 16 bits a channel, written by the words of its standard."""
    height, width = rows.shape[:2]

    def chunk(name: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + check

    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    clear = b"".join(chunk(b"tRNS", body) for body in chunks)
    content = chunk(b"IHDR", head) + clear + chunk(b"IDAT", zlib.compress(lines))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b""))


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("form", ["png", "jpg", "webp", "tif"])
def test_a_phone_photo_stands_upright(tmp_path: Path, orientation: int, form: str) -> None:
    upright = np.kron(noise(3, 5, 3) // 64 * 64, np.ones((16, 16, 1), np.uint8))
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    exif = image.getexif()
    exif[0x0112] = orientation
    how = {"png": {}, "jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}
    image.save(tmp_path / f"photo.{form}", exif=exif, **how.get(form, {}))
    shown = picture.read(tmp_path / f"photo.{form}", RULE)
    seen = shown.pixels(3).astype(int)
    assert seen.shape == (48, 80, 3)
    assert np.abs(seen - upright).max() <= (4 if form == "jpg" else 0)
    if form != "tif":
        assert shown.notes() == (
            ("turned as its EXIF tag says",) if orientation > 1 else ()
        )


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_canvas_is_on_white_paper(tmp_path: Path, mode: str) -> None:
    channels = 4 if mode == "RGBA" else 2
    drawn = noise(6, 7, channels)
    drawn[0, 0, -1], drawn[0, 1, -1] = 0, 255
    Image.fromarray(drawn, mode if mode == "LA" else None).save(tmp_path / "canvas.png")
    alpha = drawn[..., -1:] / 255.0
    wanted = drawn[..., :-1] * alpha + 255 * (1 - alpha)
    shown = picture.read(tmp_path / "canvas.png", RULE)
    assert np.abs(shown.pixels(3) - wanted).max() <= 1
    assert shown.notes() == ("transparent parts became white paper",)
    assert shown.pixels(3)[0, 0].tolist() == [255] * 3


def test_what_is_opaque_is_not_said_to_be_transparent(tmp_path: Path) -> None:
    drawn = noise(4, 4, 4)
    drawn[..., 3] = 255
    Image.fromarray(drawn).save(tmp_path / "opaque.png")
    shown = picture.read(tmp_path / "opaque.png", RULE)
    assert np.array_equal(shown.pixels(3), drawn[..., :3])
    assert shown.notes() == ()


@pytest.mark.parametrize("form", ["png", "gif"])
def test_a_palette_icon_with_a_clear_colour(tmp_path: Path, form: str) -> None:
    index = np.array([[0, 1], [2, 0]], np.uint8)
    icon = Image.fromarray(index, "P")
    icon.putpalette([10, 20, 30, 200, 0, 7, 1, 2, 3])
    icon.save(tmp_path / f"icon.{form}", transparency=0)
    wanted = [[[255] * 3, [200, 0, 7]], [[1, 2, 3], [255] * 3]]
    assert read(tmp_path / f"icon.{form}").tolist() == wanted


def test_a_scan_of_one_bit_is_black_and_white(tmp_path: Path) -> None:
    ink = noise(9, 13) > 127
    for form in ("png", "tif", "bmp"):
        Image.fromarray(ink).save(tmp_path / f"scan.{form}")
        assert np.array_equal(read(tmp_path / f"scan.{form}", 1)[..., 0], 255 * ink)


def test_sixteen_bits_are_the_high_byte(tmp_path: Path) -> None:
    """Gray, gray with a clear value, gray and alpha, colours; PNG, TIFF, PGM."""
    wide = RNG.integers(0, 65536, (5, 6), dtype=np.uint16)
    high = (wide // 256).astype(np.uint8)
    png(tmp_path / "gray.png", wide, 0)
    Image.fromarray(wide).save(tmp_path / "gray.tif")
    (tmp_path / "gray.pgm").write_bytes(b"P5 6 5 65535\n" + wide.astype(">u2").tobytes())
    for name in ("gray.png", "gray.tif", "gray.pgm"):
        assert np.array_equal(read(tmp_path / name, 1)[..., 0], high), name
        assert picture.is_gray(tmp_path / name, RULE)
    png(tmp_path / "clear.png", wide, 0, struct.pack(">H", int(wide[2, 3])))
    wanted = np.where(wide == wide[2, 3], 255, high)
    assert np.array_equal(read(tmp_path / "clear.png", 1)[..., 0], wanted)
    colours = RNG.integers(0, 65536, (5, 6, 3), dtype=np.uint16)
    png(tmp_path / "colours.png", colours, 2)
    assert np.array_equal(read(tmp_path / "colours.png"), colours // 256)
    both = np.stack([wide, np.full_like(wide, 65535)], axis=2)
    png(tmp_path / "both.png", both, 4)
    assert np.array_equal(read(tmp_path / "both.png", 1)[..., 0], high)


def test_a_clear_colour_of_sixteen_bits_is_refused(tmp_path: Path) -> None:
    colours = RNG.integers(0, 65536, (5, 6, 3), dtype=np.uint16)
    png(tmp_path / "key.png", colours, 2, struct.pack(">HHH", 300, 1, 2))
    with pytest.raises(InputError, match=r"`X` .*transparent colour of 16 bits"):
        read(tmp_path / "key.png")


def test_a_print_shop_jpeg(tmp_path: Path) -> None:
    """CMYK without ink but black: R = G = B = 255 - K."""
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[..., 3] = np.repeat(np.repeat(noise(2, 2), 8, 0), 8, 1)
    Image.fromarray(ink, "CMYK").save(tmp_path / "print.jpg", quality=100)
    seen = read(tmp_path / "print.jpg").astype(int)
    assert np.abs(seen - (255 - ink[..., 3:].astype(int))).max() <= 2


def test_webp_tiff_and_an_animation(tmp_path: Path) -> None:
    first, second = noise(8, 9, 3), noise(8, 9, 3)
    Image.fromarray(first).save(tmp_path / "a.webp", lossless=True)
    for compression in ("raw", "tiff_lzw", "tiff_deflate"):
        Image.fromarray(first).save(tmp_path / "a.tif", compression=compression)
        assert np.array_equal(read(tmp_path / "a.tif"), first)
    assert np.array_equal(read(tmp_path / "a.webp"), first)
    flat = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    flat[0].save(tmp_path / "a.gif", save_all=True, append_images=flat[1:])
    shown = picture.read(tmp_path / "a.gif", RULE)
    assert np.all(shown.pixels(3) == (255, 0, 0))
    assert shown.notes() == ("the first of 2 frames",)
    pages = [Image.fromarray(page) for page in (first, second)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    assert picture.read(tmp_path / "pages.tif", RULE).frames == 2


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_pixels_without_a_rule_are_refused_by_their_mode(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "odd.tif"
    if mode == "LAB":
        to = ImageCms.createProfile("LAB")
        turn = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), to, "RGB", "LAB")
        ImageCms.applyTransform(Image.new("RGB", (4, 4), "red"), turn).save(path)
    else:
        Image.new(mode, (4, 4)).save(path)
    with pytest.raises(InputError, match=f"`X` must be .*mode {mode} in TIFF"):
        read(path)


def test_training_and_the_reader_are_one(tmp_path: Path) -> None:
    Image.fromarray(noise(4, 5, 4)).save(tmp_path / "a.png")
    seen = files._pixels(tmp_path / "a.png", "x")
    assert np.array_equal(seen, read(tmp_path / "a.png"))
