"""`kill -9` at any moment, then `--resume`: the same bits as an uninterrupted run."""

import json
import random

import pytest
import runs

pytestmark = pytest.mark.slow

# Ends the process as `kill -9` does when `owner.name` is called for the nth time:
# before it runs, after it has run, or some milliseconds into it.
KILLER = """
import os, signal, threading
from train import checkpoint, rundir, session

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def kill_at(owner, name, nth, when):
    real, calls = getattr(owner, name), []
    def doomed(*args, **keywords):
        calls.append(1)
        if len(calls) < nth:
            return real(*args, **keywords)
        if when == "before":
            kill()
        if when != "after":
            threading.Timer(when, kill).start()
        result = real(*args, **keywords)
        if when == "after":
            kill()
        return result
    setattr(owner, name, doomed)
"""

_random = random.Random(20)

# Inside the writing of a checkpoint, each leaving a half-written one behind.
WRITES = [
    ("checkpoint", "_write", 1, "before"),
    ("checkpoint", "_write", 2, "after"),
    ("checkpoint.rundir", "write_bytes", 3, "before"),
    ("checkpoint.rundir", "write_bytes", 2, "after"),
    ("checkpoint", "_array_hashes", 2, "before"),
    ("checkpoint.ocp.StandardCheckpointer", "save", 1, "after"),
    ("checkpoint.ocp.StandardCheckpointer", "save", 3, "before"),
    ("checkpoint.os", "fsync", 4, "before"),
    *(
        ("checkpoint", "_write", _random.randint(1, 4), _random.uniform(0, 0.006))
        for _ in "ab"
    ),
]
# Before the first checkpoint.
EARLY = [
    ("session.Trainer", "finish", 1, "before"),
    ("session.Trainer", "_piece", 1, "after"),
]
# Between checkpoints, and while old ones are deleted.
LATER = [
    ("checkpoint.shutil", "rmtree", 7, "before"),
    ("checkpoint", "save", 2, "after"),
    ("session.Trainer", "_end_epoch", 2, "before"),
    ("session.Trainer", "_end_epoch", 4, "after"),
    *(
        ("session.Trainer", "_piece", _random.randint(2, 8), _random.uniform(0, 0.05))
        for _ in range(4)
    ),
]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return runs.config(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="module")
def uninterrupted(config, tmp_path_factory):
    """SHA-256 of the parameters of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    status, out, err = runs.train("--config", config, "--run", folder, "--json")
    assert status == 0, err
    return json.loads(out)["parameters_sha256"]


def test_there_are_twenty_moments():
    assert len(WRITES) + len(EARLY) + len(LATER) == 20
    assert len(WRITES) >= 8
    assert len(EARLY) == 2


@pytest.mark.parametrize(
    "moment", WRITES + EARLY + LATER, ids=lambda m: f"{m[1]}{m[2]}-{m[3]}"
)
def test_a_killed_run_resumes_to_the_same_bits(moment, config, uninterrupted, tmp_path):
    owner, name, nth, when = moment
    call = f"kill_at({owner}, {name!r}, {nth}, {when!r})\n"
    arguments = ("--config", config, "--run", tmp_path / "run", "--json")
    status, _, err = runs.train(*arguments, before=KILLER + call)
    assert status == -9, err
    saved = list((tmp_path / "run" / "train" / "checkpoint").glob("*"))
    if moment in WRITES and isinstance(when, str):
        assert [path for path in saved if path.name.endswith(".tmp")], "not inside a write"
    if moment in EARLY:
        assert not saved
    status, out, err = runs.train(*arguments, "--resume")
    assert status == 0, err
    assert json.loads(out)["parameters_sha256"] == uninterrupted
    assert not [path for path in saved if path.name.endswith(".tmp") and path.exists()]


def test_a_run_that_forgets_where_it_was_is_noticed(config, uninterrupted, tmp_path):
    """The check can fail: losing the optimiser's state changes the result."""
    forget = """
real = session.Trainer.restore
def restore(self, saved):
    real(self, saved)
    self.state = self.state._replace(optimizer=self.fit.initial.optimizer)
session.Trainer.restore = restore
"""
    arguments = ("--config", config, "--run", tmp_path / "run", "--json")
    call = "kill_at(session.Trainer, '_end_epoch', 2, 'after')\n"
    runs.train(*arguments, before=KILLER + call)
    status, out, err = runs.train(*arguments, "--resume", before=KILLER + forget)
    assert status == 0, err
    assert json.loads(out)["parameters_sha256"] != uninterrupted
