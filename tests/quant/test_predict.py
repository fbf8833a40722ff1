"""Pictures of any sort go in as the network takes them; the rest is refused."""

import json
import subprocess
import sys

import integers
import numpy as np
import pytest
import quantised
import runs
from PIL import Image, PngImagePlugin

from configs.errors import InputError
from configs.network import Conv, Dense, Flatten, GlobalPool, Network
from quant import files, normative
from quant.predict import predict, read_picture
from train import data
from train import stage as training


@pytest.fixture(scope="module")
def digits(quantised_run):
    return data.load(training.load(quantised_run).experiment.data).test


@pytest.fixture(scope="module")
def network(quantised_run):
    return files.load(quantised_run / "quant").network


def picture(folder, pixels, name="digit.png", **keywords):
    path = folder / name
    Image.fromarray(pixels.squeeze()).save(path, **keywords)
    return path


def test_the_answer_is_that_of_the_integer_network(
    quantised_run, network, digits, tmp_path
):
    paths = [picture(tmp_path, digits.images[i], f"{i}.png") for i in range(12)]
    found = predict(quantised_run / "quant", paths)
    logits = normative.run(network, digits.images[:12])
    for one, path, row in zip(found, paths, logits, strict=True):
        assert one["picture"] == str(path)
        assert one["outputs"] == row.tolist()
        assert one["class"] == network.classes[int(np.argmax(row))]
        real = row * network.output.scale
        odds = np.exp(real) / np.exp(real).sum()
        assert one["probability"] == pytest.approx(odds.max())
        assert [o["probability"] for o in one["then"]] == pytest.approx(
            sorted(odds)[-2:-4:-1]
        )
        assert one["note"] == ""
    assert len({one["class"] for one in found}) > 1


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA", "CMYK", "I;16"])
def test_gray_digits_in_any_mode_give_the_same_pixels(network, digits, tmp_path, mode):
    gray = digits.images[0].squeeze()
    path = tmp_path / ("digit.tif" if mode == "CMYK" else "digit.png")
    if mode == "I;16":
        made = Image.fromarray(gray.astype(np.uint16) * 257)
    else:
        adaptive = {"palette": Image.Palette.ADAPTIVE} if mode == "P" else {}
        made = Image.fromarray(gray).convert("RGB").convert(mode, **adaptive)
    assert made.mode == mode
    made.save(path)
    pixels, note = read_picture(path, network)
    assert note == ""
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, digits.images[0])


def test_colours_go_into_a_network_of_colours(tmp_path):
    colourful = integers.filled(
        Network(input_shape=(4, 5, 3), layers=(Conv(features=2), GlobalPool()))
    )
    pixels = integers.images(colourful.network, 1)[0]
    path = picture(tmp_path, pixels)
    assert np.array_equal(read_picture(path, colourful)[0], pixels)


def test_another_size_is_resized_with_a_note(quantised_run, tmp_path, capsys):
    path = picture(tmp_path, np.full((10, 30), 77, np.uint8))
    network = files.load(quantised_run / "quant").network
    pixels, note = read_picture(path, network)
    assert np.array_equal(pixels, np.full((28, 28, 1), 77))
    assert note == "resized from 30 x 10"
    assert quantised.main("predict", "--run", quantised_run, path) == 0
    out, err = capsys.readouterr()
    assert err == f"{path}: resized from 30 x 10\n"
    assert "from 30" not in out


def test_invert_swaps_black_and_white(network, digits, tmp_path):
    path = picture(tmp_path, 255 - digits.images[0])
    assert np.array_equal(
        read_picture(path, network, invert=True)[0], digits.images[0].reshape(28, 28, 1)
    )


def test_what_is_transparent_is_white_paper(network, tmp_path):
    """Also where a palette or a colour says so."""
    clear = np.zeros((28, 28, 4), np.uint8)
    clear[0, 0] = (0, 0, 0, 255)
    pixels, _ = read_picture(picture(tmp_path, clear), network)
    assert (pixels[0, 0, 0], pixels[1, 1, 0]) == (0, 255)
    palette = Image.new("P", (28, 28), 1)
    palette.putpalette([0, 0, 0, 0, 0, 0])
    palette.save(tmp_path / "p.png", transparency=1)
    assert read_picture(tmp_path / "p.png", network)[0].min() == 255


def unreadable(folder):
    text, cut = folder / "text.png", folder / "cut.png"
    text.write_text("no picture")
    noise = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    whole = picture(folder, noise, "whole.png").read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "folder.png").mkdir()
    (folder / "binary\n.png").write_bytes(bytes(range(256)))
    Image.new("F", (28, 28)).save(folder / "float.tif")
    return [
        text,
        cut,
        *(folder / n for n in ("empty.png", "folder.png", "binary\n.png", "float.tif")),
    ]


def test_unreadable_pictures_are_one_message(quantised_run, network, tmp_path, capsys):
    for path in [*unreadable(tmp_path), tmp_path / "absent.png"]:
        with pytest.raises(InputError, match="must be a readable picture"):
            read_picture(path, network)
        assert quantised.main("predict", "--run", quantised_run, path) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: `IMAGE` (=")
        assert err.count("\n") == 1, path


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_picture_that_would_fill_the_memory_is_refused(network, tmp_path, side):
    """A small file that claims to be huge: where Pillow warns, and where it refuses."""
    path = tmp_path / "bomb.png"
    header = b"".join(n.to_bytes(4, "big") for n in (side, side)) + bytes([8, 0, 0, 0, 0])
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        PngImagePlugin.putchunk(file, b"IHDR", header)
        PngImagePlugin.putchunk(file, b"IDAT", b"")
    with pytest.raises(InputError, match=r"(?i)decompression bomb"):
        read_picture(path, network)


@pytest.mark.parametrize(
    ("shape", "layers"),
    [
        ((3,), (Dense(features=2),)),
        ((4, 4, 2), (Flatten(), Dense(features=2))),
    ],
)
def test_a_network_that_takes_no_pictures_refuses_them(tmp_path, shape, layers):
    network = integers.filled(Network(input_shape=shape, layers=layers))
    folder = quantised.write(network, tmp_path, {})
    path = picture(tmp_path, np.zeros((4, 4), np.uint8))
    with pytest.raises(InputError, match="cannot go into this network, whose input is"):
        predict(folder, [path])


def test_a_network_without_classes_gives_numbers(tmp_path, capsys):
    spec = Network(input_shape=(4, 4, 1), layers=(Flatten(), Dense(features=2)))
    network = integers.filled(spec)
    folder = quantised.write(network, tmp_path, {})
    path = picture(tmp_path, np.full((4, 4), 200, np.uint8))
    (found,) = predict(folder, [path])
    logits = normative.run(network, np.full((1, 4, 4, 1), 200, np.uint8))
    assert found["outputs"] == (logits[0] * network.output.scale).tolist()
    assert "class" not in found
    assert quantised.main("predict", "--run", tmp_path, path) == 0
    assert str(found["outputs"]) in capsys.readouterr().out


def test_it_works_where_jax_cannot_be_imported(quantised_run, digits, tmp_path):
    path = picture(tmp_path, digits.images[0])
    code = (
        "import sys\nfor name in ('jax', 'flax', 'onnxruntime', 'ai_edge_litert'):\n"
        "    sys.modules[name] = None\n"
        "from quant.cli import main\nsys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", "--run", str(quantised_run), str(path)],
        capture_output=True, text=True, env=runs.environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(path) in done.stdout


def test_a_turned_photo_goes_in_upright_with_a_note(network, digits, tmp_path):
    stored = Image.fromarray(np.rot90(digits.images[0].squeeze()).copy())
    exif = stored.getexif()
    exif[0x0112] = 6
    stored.save(tmp_path / "photo.png", exif=exif)
    pixels, note = read_picture(tmp_path / "photo.png", network)
    assert np.array_equal(pixels, digits.images[0])
    assert note == "turned as its EXIF tag says"


def test_colours_that_are_dropped_are_said(network, tmp_path):
    red = picture(tmp_path, np.full((28, 28, 3), (200, 0, 0), np.uint8))
    pixels, note = read_picture(red, network)
    assert set(pixels.ravel().tolist()) == {60}  # 0.299 * 200 = 59.8
    assert note == "colours became gray"


def test_hints_are_in_the_table_and_in_json(quantised_run, digits, tmp_path, capsys):
    right = picture(tmp_path, digits.images[0], "right.png")
    paper = picture(tmp_path, 255 - digits.images[0], "paper.png")
    hint = "looks inverted: try `--invert`"
    found = predict(quantised_run / "quant", [right, paper])
    assert [one["hint"] for one in found] == ["", hint]
    found = predict(quantised_run / "quant", [paper], invert=True)
    assert found[0]["hint"] == ""
    assert quantised.main("predict", "--run", quantised_run, paper, "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["hint"] == hint
    assert quantised.main("predict", "--run", quantised_run, right) == 0
    assert "hint" not in capsys.readouterr().out.splitlines()[0]
    assert quantised.main("predict", "--run", quantised_run, paper) == 0
    assert "looks inverted" in capsys.readouterr().out


def test_fit_finds_a_digit_in_the_corner(network, digits, tmp_path):
    page = np.zeros((300, 200, 1), np.uint8)
    page[20:104, 100:184] = np.kron(digits.images[0], np.ones((3, 3, 1), np.uint8))
    pixels, note = read_picture(picture(tmp_path, page), network, fit=True)
    assert note == "centred from 200 x 300"
    rows, cols = np.nonzero(pixels[..., 0])
    assert max(np.ptp(rows), np.ptp(cols)) + 1 == 20


def test_what_the_network_saw_is_written(quantised_run, network, tmp_path, capsys):
    (tmp_path / "b").mkdir()
    page = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    paths = [picture(tmp_path, page, "x.png"), picture(tmp_path / "b", 255 - page, "x.png")]
    out = tmp_path / "new" / "out"
    words = ("predict", "--run", quantised_run, *paths, "--out", out, "--invert", "--fit")
    assert quantised.main(*words, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["input"] for one in found] == [str(out / f"{i}_x.png") for i in (1, 2)]
    for path, one in zip(paths, found, strict=True):
        pixels, _ = read_picture(path, network, invert=True, fit=True)
        written = np.asarray(Image.open(one["input"]))
        assert np.array_equal(written, pixels.squeeze())
        logits = normative.run(network, written.reshape(1, 28, 28, 1))
        assert logits[0].tolist() == one["outputs"]
    before = quantised.listing(out)
    assert quantised.main(*words) == 2
    assert "already holds 1_x.png; replace it with --overwrite" in capsys.readouterr().err
    assert quantised.listing(out) == before
    assert quantised.main(*words, "--overwrite") == 0
    assert "what the network saw" in capsys.readouterr().out


def test_a_picture_is_never_written_over(quantised_run, tmp_path, capsys):
    path = picture(tmp_path, np.zeros((28, 28), np.uint8), "1_x.png")
    other = picture(tmp_path, np.zeros((28, 28), np.uint8), "x.png")
    words = ("predict", "--run", quantised_run, other, path, "--out", tmp_path)
    before = path.read_bytes()
    assert quantised.main(*words, "--overwrite") == 2
    assert "must not hold the picture 1_x.png itself" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_named(quantised_run, tmp_path, capsys):
    path = picture(tmp_path, np.zeros((28, 28), np.uint8))
    assert quantised.main("predict", "--run", quantised_run, path, "--out", path) == 2
    assert "error: `--out` (=" in capsys.readouterr().err


def test_a_golden_image_that_was_changed_is_refused(finished, tmp_path):
    (stored,) = (finished / "quant" / "golden").glob("image0.pool1.input.npy")
    stored.write_bytes(stored.read_bytes()[:-1])
    path = picture(tmp_path, np.zeros((28, 28), np.uint8))
    with pytest.raises(InputError, match=r"pool1\.input\.npy` must be an image uint8"):
        predict(finished / "quant", [path])
