"""`check`: a healthy folder passes; each kind of damage fails and names the file."""

import os
import shutil

import forge
import pytest
import quantised

from configs.errors import InputError
from quant import equivalence, exports
from quant.check import check
from quant.exports import onnx_qdq, stablehlo

NAMES = [
    "manifest.json", "model.safetensors", "model.onnx", "model.stablehlo", "model.tflite",
    "hashes", "golden/", "numpy", "jax", "onnxruntime", "litert", "stablehlo",
]  # fmt: skip
GOLDEN = "golden/conv1.weights.npy"


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    network = quantised.small()
    folder = tmp_path_factory.mktemp("healthy")
    return quantised.write(network, folder, quantised.contents(network))


@pytest.fixture
def folder(healthy, tmp_path):
    return quantised.copied(healthy, tmp_path / "run" / "quant")


def test_a_healthy_folder_passes_every_check(folder, capsys):
    before = quantised.listing(folder)
    assert check(folder) == dict.fromkeys(NAMES, "")
    assert quantised.main("check", "--run", folder.parent) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[: len(NAMES)]] == [[n, "ok"] for n in NAMES]
    assert lines[-1] == f"{folder}: everything agrees"
    assert quantised.listing(folder) == before


def test_a_folder_without_exports_is_checked_too(tmp_path):
    folder = quantised.write(quantised.small(), tmp_path, {})
    assert list(check(folder)) == [
        "manifest.json", "model.safetensors", "hashes", "numpy", "jax",
    ]  # fmt: skip


def flip(path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def grow(path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def link(path) -> None:
    shutil.move(path, path.parent / "elsewhere")
    path.symlink_to("elsewhere")


def pipe(path) -> None:
    """Whoever opens it waits for a writer who never comes."""
    path.unlink()
    os.mkfifo(path)


def empty(path) -> None:
    path.write_bytes(b"")


def folder_instead(path) -> None:
    path.unlink()
    path.mkdir()


def missing(path) -> None:
    path.unlink()


DAMAGE = (flip, cut, grow, empty, link, pipe, folder_instead, missing)


# Everything that can happen to a file of each kind, and the usual to the others.
DAMAGED = [(name, how) for name in ("model.onnx", GOLDEN) for how in DAMAGE]
DAMAGED += [(name, pipe) for name in ("manifest.json", "model.safetensors")]
DAMAGED += [
    (name, how)
    for name in (
        "manifest.json", "model.safetensors", "model.tflite", "model.stablehlo",
        "golden/index.json",
    )
    for how in (flip, cut, missing)
]  # fmt: skip


@pytest.mark.parametrize(("name", "damage"), DAMAGED)
def test_each_damage_fails_and_names_the_file(folder, capsys, name, damage):
    damage(folder / name)
    status = quantised.main("check", "--run", folder.parent)
    out, err = capsys.readouterr()
    assert status in (1, 2)
    assert name.rpartition("/")[2] in out + err
    assert "Traceback" not in err
    assert (status == 2) == err.startswith("error: ")
    if status == 2:
        assert err.count("\n") == 1
        assert out == ""


def test_every_hash_that_is_wrong_is_named(folder):
    for name in ("model.onnx", GOLDEN):
        flip(folder / name)
    found = check(folder)
    assert "model.onnx` has SHA-256" in found["hashes"]
    assert f"{GOLDEN}` has SHA-256" in found["hashes"]
    assert found["model.onnx"]
    assert found["golden/"]


def test_a_file_that_is_not_listed_stands_out_among_the_golden_ones(folder):
    (folder / "golden/more.mem").write_text("00\n")
    found = check(folder)
    assert {n for n, sentence in found.items() if sentence} == {"golden/"}
    assert "more.mem'` is not expected" in found["golden/"]


@pytest.mark.parametrize("name", ["model.onnx", "model.tflite", "model.stablehlo"])
def test_a_damaged_export_with_right_hashes_is_named_and_not_executed(
    folder, monkeypatch, name
):
    flip(folder / name)
    forge.rehash(folder)
    form = next(f for f in map(exports.module, exports.FORMATS) if name == f.FILE)

    def executed(*arguments, **keywords):
        raise AssertionError("executed")

    monkeypatch.setattr(form, "open_session", executed)
    found = check(folder)
    assert found[name].startswith("differs from the integer network: ")
    assert found["hashes"] == ""
    assert form.RUNTIME not in found


def test_a_runtime_that_computes_something_else_is_named(folder, monkeypatch):
    """The files are right, the machine is not."""
    real = onnx_qdq.open_session
    session = lambda content, threads: lambda images: real(content)(images) ^ 1
    monkeypatch.setattr(onnx_qdq, "open_session", session)
    found = check(folder)
    assert {n for n, sentence in found.items() if sentence} == {"onnxruntime"}
    assert found["onnxruntime"] == "image 0: no layer differs when this image runs alone"


def test_the_images_reach_both_ends(folder, monkeypatch):
    seen = []
    real = equivalence.judge
    monkeypatch.setattr(
        equivalence,
        "judge",
        lambda network, images: seen.append(images) or real(network, images),
    )
    check(folder)
    (images,) = seen
    assert {0, 255} <= {int(image.max()) for image in images}
    assert any(image.min() == 255 for image in images)
    assert len(images) > 60


def test_another_writer_is_said_and_not_guessed_about(folder, monkeypatch):
    """A program that another JAX wrote cannot be compared: that is an answer, too."""
    name = stablehlo._writer().encode()
    content = (folder / "model.stablehlo").read_bytes()
    (folder / "model.stablehlo").write_bytes(
        content.replace(name, name.replace(b"0", b"9"))
    )
    forge.rehash(folder)
    assert "was written by jax" in check(folder)["model.stablehlo"]


def test_what_cannot_be_trusted_is_refused_as_a_whole(folder):
    flip(folder / "model.safetensors")
    with pytest.raises(InputError, match=r"model.safetensors"):
        check(folder)
