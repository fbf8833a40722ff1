"""A run whose data was moved is no dead end: every command that reads it is told where."""

import re

import pytest
import quantised

SMALL = ("--rows", "4", "--cols", "4")
COMMANDS = {
    "verify": (*SMALL, "--images", "1"),
    "compare": (*SMALL, "--images", "1", "--most-cycles", "1"),
    "faults": (*SMALL, "--images", "1", "--register", "sum"),
    "step": SMALL,
    "tpu": ("--images", "1"),
}


@pytest.fixture(scope="module")
def moved(quantised_run, tmp_path_factory):
    """A quantised run, where its data is now, and other data."""
    folder = tmp_path_factory.mktemp("moved")
    run = quantised.copied(quantised_run, folder / "run")
    return run, *quantised.with_moved_data(run, folder)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_the_place_of_the_data(moved, main, tmp_path, capsys, command):
    run, elsewhere, other = moved
    out = ("--out", tmp_path / "page.html") if command == "step" else ()
    words = (command, "--run", run, *COMMANDS[command], *out)
    before = quantised.listing(run)
    assert main(*words) == 2
    assert "error: `--data.path` (=" in capsys.readouterr().err
    assert main(*words, "--data.path", other) == 2
    err = capsys.readouterr().err
    assert len(set(re.findall(r"\b[0-9a-f]{12}\b", err))) == 2
    assert main(*words, "--data.dir", tmp_path) == 2
    assert "`--data.dir` (=" in capsys.readouterr().err
    assert quantised.listing(run) == before
    assert main(*words, "--data.path", elsewhere) == 0


@pytest.mark.parametrize("words", [("step", "--out", "x.html"), ("tpu",)])
def test_a_place_of_data_needs_a_run(main, capsys, words):
    assert main(*words, "--data.path", "x.npz") == 2
    assert (
        "`--data.path` (=x.npz) says where the data of a run is" in capsys.readouterr().err
    )
