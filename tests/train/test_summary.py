"""The closing table says what came out and where it lies, in a pipe in full."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from train.summary import print_summary

ROOT = Path(__file__).parents[2]
METRICS = {
    "name": "mnist_cnn",
    "test_accuracy": 0.98765,
    "test_mse": None,
    "dataset": {"name": "mnist", "source": "embedded", "train": 40_000, "test": 10_000},
    "parameters": 12_345,
    "macs": 6_789_012,
    "epochs": 30,
    "wall_s": 41.26,
    "images_per_s": 9_876.5,
}


def test_every_result_is_there(capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    print_summary(METRICS, Path("runs/x"))
    out, err = capsys.readouterr()
    assert err == ""
    rows = {" ".join(line.split()) for line in out.splitlines()}
    assert rows == {
        "test accuracy 98.77 % (9,876 of 10,000)",
        "data mnist (embedded): 40,000 to train, 10,000 to test",
        "network 12,345 parameters, 6,789,012 MACs an image",
        "training 30 epochs in 41.3 s; 9,876 images/s without compiling and testing",
        "written runs/x/train/metrics.json, log.jsonl, checkpoint/",
        "pictures",
        "next python -m quant --run runs/x",
    }


def test_the_next_command_can_be_pasted(capsys) -> None:
    print_summary(METRICS, Path("my runs/x"))
    assert "python -m quant --run 'my runs/x'" in capsys.readouterr().out


def test_regression_has_its_squared_error(capsys, tmp_path: Path) -> None:
    print_summary({**METRICS, "test_accuracy": None, "test_mse": 1.23456e-4}, tmp_path)
    out = capsys.readouterr().out
    assert "test squared error" in out
    assert "1.235e-04" in out
    assert "accuracy" not in out


def picture_names(folder: Path) -> list[str]:
    """Twelve pictures in a run folder, and a file that is none."""
    (folder / "train").mkdir(parents=True)
    names = [f"a_picture_with_a_long_name_{n:02}.png" for n in range(12)]
    for name in (*reversed(names), "metrics.json"):
        (folder / "train" / name).write_text("")
    return names


@pytest.mark.parametrize("terminal", ["40", "80", ""])
def test_nothing_is_cut_or_broken_in_a_pipe(tmp_path: Path, terminal: str) -> None:
    """A path of 250 characters on one line and all pictures in order, whatever the
    width of the terminal behind the pipe."""
    folder = tmp_path / ("n" * 120) / ("m" * 130)
    names = picture_names(folder)
    head = "from pathlib import Path; from train.summary import print_summary\n"
    code = f"{head}print_summary({METRICS!r}, Path({str(folder)!r}))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("COLUMNS", None)
    if terminal:
        environment["COLUMNS"] = terminal
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 7
    assert any(
        f"{folder}/train/metrics.json, log.jsonl, checkpoint/" in line for line in lines
    )
    assert lines[-2].rstrip().split(maxsplit=1) == ["pictures", ", ".join(names)]
    assert "…" not in done.stdout
    assert "\x1b" not in done.stdout


def test_a_path_is_printed_as_it_is(capsys, tmp_path: Path) -> None:
    """Brackets and colons are no markup in a path."""
    for name in ("[bold]", "a[/red]b", ":smile:"):
        print_summary(METRICS, Path("runs") / name)
        assert f"runs/{name}/train/metrics.json" in capsys.readouterr().out
