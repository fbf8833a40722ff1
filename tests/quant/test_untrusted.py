"""Only regular files inside the folder are read, and only strict JSON."""

import os
from pathlib import Path

import forge
import pytest

from configs.errors import InputError
from quant import files, untrusted


@pytest.fixture
def folder(tmp_path):
    return forge.saved(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": -Infinity}', "Infinity is no JSON number"),
        (b'{"a": 1e999}', "not finite"),
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b'{"a": ' + b"9" * 5000 + b"}", "5000 digits"),
        (b"[" * 40 + b"]" * 40, "nested deeper than 32"),
        (b"[" * 200_000, "no strict JSON"),
        (b'{"a": ' * 100_000, "no strict JSON"),
        (b'{"a": "\\ud800"}', "no strict JSON"),
        (b'{"\\ud800": 1}', "no strict JSON"),
        (b"\xff", "no strict JSON"),
        (b"\xef\xbb\xbf{}", "no strict JSON"),
        (b"", "no strict JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", "sha256"),
        (b" " * (untrusted.JSON_LIMIT_BYTES + 1), "must be at most"),
    ],
)
def test_what_is_no_strict_json_is_refused(folder, text, says):
    (folder / "manifest.json").write_bytes(text)
    message = forge.refused(folder, says)
    assert len(message) < 600


def replaced(path: Path, kind: str) -> None:
    """Something else stands where a file stood; a link leads to the same content."""
    aside = path.with_name("aside")
    path.rename(aside)
    if kind == "link":
        path.symlink_to(aside)
    elif kind == "dangling":
        path.symlink_to("/nowhere")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")


KINDS = ["link", "dangling", "folder", "pipe", "device", "missing"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors"])
def test_only_regular_files_are_read(folder, name, kind):
    replaced(folder / name, kind)
    forge.refused(folder, name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["model.onnx", "golden/a.mem"])
def test_what_stands_for_a_further_file_is_reported(folder, name, kind):
    stored = files.load(folder)
    assert files.verify_files(folder, stored.manifest) == []
    replaced(folder / name, kind)
    [sentence] = files.verify_files(folder, stored.manifest)
    assert name in sentence


def test_a_pipe_is_not_even_opened(folder, monkeypatch):
    """To open a device can already do something; a pipe stands for one here."""
    replaced(folder / "model.onnx", "pipe")
    opened = []
    really = os.open
    watch = lambda path, *rest, **more: opened.append(path) or really(path, *rest, **more)
    monkeypatch.setattr(os, "open", watch)
    with pytest.raises(InputError, match="must be a regular file"):
        untrusted.open_inside(folder, "model.onnx")
    assert opened == [folder]
