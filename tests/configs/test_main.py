"""`python -m configs` answers, and refuses in one line with exit status 2."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import configs
from configs import registry
from configs.__main__ import main

ROOT = Path(configs.__path__[0]).parent


def start(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        **options,
    )


def test_the_list_names_everything_and_the_next_commands(capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in registry.known_names())
    last = [line.removeprefix("Next:").strip() for line in printed.splitlines()[-2:]]
    assert last == [
        "python -m configs show mnist_cnn",
        "python -m train --config mnist_cnn",
    ]


def test_show_ends_with_the_next_command(capsys):
    assert main(["show", "sine_mlp"]) == 0
    assert capsys.readouterr().out.endswith("Next: python -m train --config sine_mlp\n")
    assert main(["show", "vgg16"]) == 0
    assert "Next:" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["--json"], ["show", "vgg16", "--json"], ["--json", "show", "mnist_cnn"]],
)
def test_json_is_one_document_with_sorted_keys(arguments, capsys):
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    document = json.loads(printed)
    assert printed == json.dumps(document, sort_keys=True) + "\n"


def test_the_list_as_json(capsys):
    main(["--json"])
    listed = json.loads(capsys.readouterr().out)["configs"]
    assert [entry["name"] for entry in listed] == registry.known_names()
    vgg16 = listed[-1]
    assert (vgg16["kind"], vgg16["parameters"], vgg16["data"]) == (
        "network",
        138_357_544,
        None,
    )


@pytest.mark.parametrize("name", ["nosuch", "no/such.py", ".", "", "raises.py"])
@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_a_mistake_is_one_line_and_exit_status_2(
    name, json_too, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("raises.py").write_text("print('noise', end='')\nraise ValueError('no')\n")
    assert main(["show", name, *json_too]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.removeprefix("noise").startswith("error: `config` (=")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["show", "--help"]])
def test_help(arguments, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(arguments)
    assert "usage: python -m configs" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["bla"], ["show"], ["--bla"]])
def test_wrong_usage_is_exit_status_2(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--json"], ["show", "vgg16"]])
def test_a_closed_pipe_is_no_traceback(arguments):
    read, write = os.pipe()
    os.close(read)
    with start("-m", "configs", *arguments, stdout=write, stderr=subprocess.PIPE) as run:
        os.close(write)
        assert run.communicate()[1] == ""
    assert run.returncode == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["configs"],
        ["configs", "--help"],
        ["configs", "show", "vgg16"],
        ["train", "--help"],
        ["quant", "--help"],
        ["accel", "--help"],
    ],
    ids=" ".join,
)
def test_answers_come_before_jax_is_imported(arguments):
    """Importing JAX takes a second or more; `configs` needs no numpy either."""
    if not (ROOT / arguments[0] / "__main__.py").exists():
        pytest.skip(f"{arguments[0]} has no command yet")
    command = ["-X", "importtime", "-m", *arguments]
    with start(*command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
        lines = run.communicate()[1].splitlines()
    assert run.returncode == 0
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert "configs" in imported
    heavy = {"jax", "jaxlib", "flax", "optax", "orbax", "tensorflow", "matplotlib"}
    if arguments[0] == "configs":
        heavy |= {"numpy"}
    assert not imported & heavy
