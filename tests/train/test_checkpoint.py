"""Checkpoints: whole or absent, and no damage goes unnoticed."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from configs.errors import InputError
from train import checkpoint
from train.checkpoint import Checkpoint, DamagedError

ARRAYS = {
    "state.params.layers.conv1.kernel": np.linspace(-1, 1, 144, dtype=np.float32).reshape(
        3, 3, 4, 4
    ),
    "state.params.layers.conv1.bias": np.zeros(4, np.float32),
    "state.step": np.array(7, np.int32),
}
META = {"host": {"log": [{"epoch": 1}]}, "identity": {"devices": 1}}


def saved(folder, *steps, keep=10):
    for step in steps:
        checkpoint.save(folder, Checkpoint(step, ARRAYS, META), keep=keep)
    return folder


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(bytes(content))


def test_what_was_saved_comes_back_bit_for_bit(tmp_path):
    found = checkpoint.load(saved(tmp_path, 7) / "00000007")
    assert (found.step, found.meta) == (7, META)
    assert found.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)


def test_flatten_and_unflatten_are_inverse_and_names_say_the_path():
    tree = {
        "params": {"conv1": {"kernel": np.ones((2, 2), np.float32)}},
        "steps": [np.int32(1)],
    }
    flat = checkpoint.flatten(tree)
    assert list(flat) == ["params.conv1.kernel", "steps.0"]
    back = checkpoint.unflatten(flat, tree)
    assert back["steps"][0] == 1
    with pytest.raises(
        DamagedError, match=r"`params.conv1.kernel` does not fit the network"
    ):
        checkpoint.unflatten(flat | {"params.conv1.kernel": np.ones(3, np.float32)}, tree)
    with pytest.raises(DamagedError, match=r"`steps.0` does not fit the network"):
        checkpoint.unflatten({"params.conv1.kernel": flat["params.conv1.kernel"]}, tree)


def test_a_flipped_bit_in_any_file_is_noticed(tmp_path):
    """Array data, Orbax metadata and the digest itself: twelve random bits of each file."""
    draw = np.random.default_rng(0)
    folder = saved(tmp_path / "good", 7) / "00000007"
    kinds = set()
    for path in files(folder):
        size = path.stat().st_size * 8
        for bit in draw.choice(size, min(12, size), replace=False):
            shutil.copytree(folder, tmp_path / "bad", dirs_exist_ok=True)
            flip(tmp_path / "bad" / path.relative_to(folder), int(bit))
            with pytest.raises(DamagedError):
                checkpoint.load(tmp_path / "bad")
            kinds.add(path.name)
            shutil.rmtree(tmp_path / "bad")
    assert {"digest.json", "_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt"} <= kinds


def test_arrays_are_checked_even_if_the_files_agree(tmp_path):
    """Orbax handing back other numbers than were saved is noticed by the array hashes."""
    folder = saved(tmp_path, 7) / "00000007"
    wrong = {name: array + 1 for name, array in ARRAYS.items()}
    other = saved_with(tmp_path / "other", wrong)
    digest = checkpoint._read_digest(folder / "digest.json")
    digest["files"] = checkpoint._read_digest(other / "digest.json")["files"]
    digest["sha256"] = checkpoint._sha256(checkpoint._canonical(digest))
    (other / "digest.json").write_bytes(checkpoint._canonical(digest))
    with pytest.raises(DamagedError, match="an array is not the one that was saved"):
        checkpoint.load(other)


def saved_with(folder, arrays):
    checkpoint.save(folder, Checkpoint(7, arrays, META), keep=2)
    return folder / "00000007"


@pytest.mark.parametrize("damage", ["missing", "truncated", "extra", "no digest"])
def test_a_checkpoint_that_is_not_whole_is_refused(tmp_path, damage):
    folder = saved(tmp_path, 7) / "00000007"
    victim = folder / "digest.json" if damage == "no digest" else files(folder / "state")[0]
    if damage == "truncated":
        victim.write_bytes(victim.read_bytes()[:-1])
    elif damage == "extra":
        (folder / "state" / "extra").write_text("x")
    else:
        victim.unlink()
    with pytest.raises(DamagedError, match=r"digest.json cannot be read|is not the file"):
        checkpoint.load(folder)


def test_another_format_is_refused_by_its_number(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_FORMAT", 9)
    folder = saved(tmp_path, 7) / "00000007"
    monkeypatch.undo()
    with pytest.raises(DamagedError, match="its format is 9, this program reads 1"):
        checkpoint.load(folder)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path):
    saved(tmp_path, 1, 2, 3)
    flip(tmp_path / "00000003" / "digest.json", 100)
    flip(files(tmp_path / "00000002" / "state")[0], 5)
    found, complaints = checkpoint.restore(tmp_path)
    assert found.step == 1
    assert [text.split()[1] for text in complaints] == [
        str(tmp_path / "00000003"),
        str(tmp_path / "00000002"),
    ]


def test_without_a_good_checkpoint_there_is_none(tmp_path):
    assert checkpoint.restore(tmp_path / "absent") == (None, [])
    saved(tmp_path, 1)
    (tmp_path / "00000001" / "digest.json").unlink()
    found, complaints = checkpoint.restore(tmp_path)
    assert found is None
    assert len(complaints) == 1


def test_only_the_newest_are_kept(tmp_path):
    saved(tmp_path, 1, 2, 30, 4, keep=2)
    assert checkpoint.steps(tmp_path) == [4, 30]


def test_saving_a_step_again_replaces_it(tmp_path):
    saved(tmp_path, 7)
    other = {name: array + 1 for name, array in ARRAYS.items()}
    found = checkpoint.load(saved_with(tmp_path, other))
    np.testing.assert_array_equal(found.arrays["state.step"], 8)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_never_saved(tmp_path, value):
    arrays = {"state.params.bias": np.array([0, value], np.float32)}
    with pytest.raises(ValueError, match=r"`state.params.bias` of step 3 is not finite"):
        checkpoint.save(tmp_path, Checkpoint(3, arrays, {}), keep=2)
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from configs.errors import InputError
from train import checkpoint
folder = Path(sys.argv[1])
arrays = {"w": np.random.default_rng(0).normal(size=100_000).astype(np.float32)}
checkpoint.save(folder, checkpoint.Checkpoint(1, arrays, {}), keep=2)
# No file may grow beyond the limit: what a full disk does, without filling one.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    checkpoint.save(folder, checkpoint.Checkpoint(2, arrays, {}), keep=2)
except InputError as error:
    print(error)
    sys.exit(2)
"""


@pytest.mark.parametrize("limit", [0, 100_000])
def test_a_full_disk_is_one_message_and_leaves_the_checkpoint_before(tmp_path, limit):
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "c"), str(limit)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 2, run.stderr
    assert "cannot be written" in run.stdout
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["00000001"]
    assert checkpoint.load(tmp_path / "c" / "00000001").step == 1


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"`--run` \(=.*\) cannot be written"):
        saved(tmp_path / "file" / "checkpoint", 1)


def test_parameters_sha256_sees_names_shapes_and_bits():
    one = {"a": np.zeros((2, 3), np.float32)}
    different = [
        {"b": np.zeros((2, 3), np.float32)},
        {"a": np.zeros((3, 2), np.float32)},
        {"a": np.zeros((2, 3), np.int32)},
        {"a": np.full((2, 3), -0.0, np.float32)},
    ]
    hashes = {checkpoint.parameters_sha256(tree) for tree in [one, *different]}
    assert len(hashes) == 5
    assert checkpoint.parameters_sha256({"a": np.zeros((2, 3), np.float32)}) in hashes
