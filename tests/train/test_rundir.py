"""A file of a run directory is whole or not there, and one process writes at a time."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from configs import registry, stored
from configs.errors import InputError
from train import rundir

ROOT = Path(__file__).parents[2]


def run(code: str, *arguments: object, **keywords) -> subprocess.Popen:
    """A process of its own that knows `rundir`, `sys` and `Path`."""
    head = "import sys; from pathlib import Path; from train import rundir\n"
    command = [sys.executable, "-c", head + code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, text=True, **pipes, **keywords)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_json_has_sorted_keys_and_a_last_newline(tmp_path: Path) -> None:
    """Folders are made; an older file is replaced."""
    path = tmp_path / "a" / "b" / "metrics.json"
    for value in ({"old": 1}, {"b": [1.5, None], "a": {"d": "é", "c": True}}):
        rundir.write_json(path, value)
    text = path.read_text()
    lines = ["{", '  "a": {', '    "c": true,', '    "d": "\\u00e9"', "  },", '  "b": [']
    assert text.splitlines() == [*lines, "    1.5,", "    null", "  ]", "}"]
    assert text.endswith("}\n")
    assert rundir.read_json(path) == value
    assert names(path.parent) == ["metrics.json"]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_json_does_not_know_is_refused_and_leaves_nothing(tmp_path, number) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        rundir.write_json(tmp_path / "new.json", {"loss": number})
    assert names(tmp_path) == []
    rundir.write_json(tmp_path / "old.json", {"loss": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        rundir.write_json(tmp_path / "old.json", {"loss": number})
    assert rundir.read_json(tmp_path / "old.json") == {"loss": 1}
    assert names(tmp_path) == ["old.json"]


def test_lines_are_one_object_each(tmp_path: Path) -> None:
    rundir.write_lines(tmp_path / "log.jsonl", [{"b": 1, "a": 2}, {"c": "x\ny"}])
    assert (tmp_path / "log.jsonl").read_text() == '{"a": 2, "b": 1}\n{"c": "x\\ny"}\n'
    rundir.write_lines(tmp_path / "log.jsonl", [])
    assert (tmp_path / "log.jsonl").read_text() == ""


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch, function: str
) -> None:
    """A full disk is the user's to mend: one sentence with the path."""
    path = tmp_path / "metrics.json"
    rundir.write_json(path, {"a": 1})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(rundir.os, function, full)
    says = r"`--run` \(=.*metrics.json\) cannot be written: No space left.*free some space"
    with pytest.raises(InputError, match=says):
        rundir.write_json(path, {"a": 2})
    assert rundir.read_json(path) == {"a": 1}
    assert names(tmp_path) == ["metrics.json"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "I/O error")])
def test_other_failures_pass_through_and_leave_nothing(
    tmp_path, monkeypatch, error
) -> None:
    """A broken disk is no mistake of the user; Ctrl-C is Ctrl-C."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(rundir.os, "fsync", fail)
    with pytest.raises(type(error)) as raised:
        rundir.write_bytes(tmp_path / "x", b"1")
    assert raised.value is error
    assert names(tmp_path) == []


def test_a_file_too_large_for_its_limit_is_refused_by_name(tmp_path: Path) -> None:
    """A real refusal of the operating system, in the middle of a write."""
    (tmp_path / "log").write_bytes(b"old")
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
rundir.write_bytes(Path(sys.argv[1]), bytes(100_000))
"""
    _, said = run(code, tmp_path / "log").communicate(timeout=60)
    assert (
        f"InputError: `--run` (={tmp_path}/log) cannot be written: File too large" in said
    )
    assert (tmp_path / "log").read_bytes() == b"old"
    assert names(tmp_path) == ["log"]


def test_content_reaches_the_disk_before_the_name(tmp_path: Path, monkeypatch) -> None:
    """Written, flushed, then renamed: a power cut leaves the old or the new file."""
    calls = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        calls.append(("fsync", os.fstat(descriptor).st_size))
        fsync(descriptor)

    def noted_replace(source, target) -> None:
        calls.append(("replace", Path(source).parent == Path(target).parent))
        replace(source, target)

    monkeypatch.setattr(rundir.os, "fsync", noted_fsync)
    monkeypatch.setattr(rundir.os, "replace", noted_replace)
    rundir.write_bytes(tmp_path / "x", b"12345")
    assert calls == [("fsync", 5), ("replace", True)]


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    for act in (
        lambda: rundir.write_json(tmp_path / "runs" / "x.json", {}),
        lambda: rundir.lock(tmp_path / "runs").__enter__(),
        lambda: rundir.lock(tmp_path / "runs" / "x").__enter__(),
        lambda: rundir.clear(tmp_path / "runs"),
    ):
        with pytest.raises(InputError, match=r"`--run` \(=.*runs.*\) cannot be written"):
            act()


HOLD = """
with rundir.lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_lock_refuses_another_process_until_the_holder_is_killed(
    tmp_path: Path,
) -> None:
    """Also the holder's own: SIGKILL leaves it nothing to clean up with."""
    folder = tmp_path / "mnist" / "train"
    holder = run(HOLD, folder)
    try:
        assert holder.stdout.readline() == "held\n"
        says = r"`--run` \(=.*train\) is in use by another process; wait for it"
        for _ in range(2):
            with pytest.raises(InputError, match=says), rundir.lock(folder):
                pytest.fail("two processes hold the lock")
        holder.send_signal(signal.SIGKILL)
        assert holder.wait(timeout=60) == -signal.SIGKILL
        with rundir.lock(folder):
            late, said = run(HOLD, folder).communicate("", timeout=60)
            assert (late, "is in use by another process" in said) == ("", True)
    finally:
        holder.kill()
        holder.communicate()


def test_the_lock_is_free_after_its_block_and_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), rundir.lock(tmp_path):
        raise KeyError
    for _ in range(2):
        with rundir.lock(tmp_path):
            pass
    assert names(tmp_path) == [".lock"]


def test_clear_keeps_the_lock_only_and_holds_it(tmp_path: Path) -> None:
    """Files, hidden files, folders and links go; what a link points to stays."""
    folder, other = tmp_path / "train", tmp_path / "other"
    (other / "kept").mkdir(parents=True)
    with rundir.lock(folder):
        (folder / "checkpoint" / "3").mkdir(parents=True)
        (folder / "checkpoint" / "3" / "leaf").write_text("x")
        for name in ("metrics.json", ".metrics.json.7.tmp", "a.lock"):
            (folder / name).write_text("x")
        (folder / "link").symlink_to(other)
        (folder / "dangling").symlink_to(tmp_path / "nowhere")
        inode = (folder / ".lock").stat().st_ino
        rundir.clear(folder)
        assert names(folder) == [".lock"]
        assert (folder / ".lock").stat().st_ino == inode
        with pytest.raises(InputError), rundir.lock(folder):
            pass
    assert names(other) == ["kept"]


def test_clear_keeps_the_names_it_is_told(tmp_path: Path) -> None:
    for name in ("metrics.json", "sweep.json"):
        (tmp_path / name).write_text("x")
    rundir.clear(tmp_path, keep=("sweep.json",))
    assert names(tmp_path) == ["sweep.json"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, r"`--run`: there is no .*x\.json; train first with `python -m train"),
        (b"{", r"`.*x\.json` cannot be read: Expecting.*; train the run again"),
        (b"\xff\xfe\xfa", r"`.*x\.json` cannot be read: .*; train the run again"),
        (b"[1]", r"`.*x\.json` must hold a JSON object; train the run again"),
        (b"", r"`.*x\.json` cannot be read: Expecting value"),
    ],
)
def test_json_that_cannot_be_read_is_named(tmp_path: Path, content, says: str) -> None:
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=says):
        rundir.read_json(tmp_path / "x.json")


def test_a_folder_in_place_of_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read: .*Is a directory"):
        rundir.read_json(tmp_path)


def test_the_config_of_a_run_comes_back_or_its_field_is_named(tmp_path: Path) -> None:
    """With the path of the file before the field."""
    experiment = registry.load_experiment("mnist_cnn")
    with pytest.raises(InputError, match=r"there is no .*config\.json; train first"):
        rundir.read_config(tmp_path)
    tree = stored.to_dict(experiment)
    rundir.write_json(tmp_path / "config.json", tree)
    assert rundir.read_config(tmp_path) == experiment
    del tree["seed"]
    (tmp_path / "config.json").write_text(json.dumps(tree))
    with pytest.raises(
        InputError, match=r"`.*config\.json\.seed` is missing.*make it again"
    ):
        rundir.read_config(tmp_path)
