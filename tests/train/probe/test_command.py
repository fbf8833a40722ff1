"""`python -m train probe` and `warps`: from a run to files, and every way to fail."""

import json

import numpy as np
import pytest
import quantised

from train import cli
from train.probe import command, show, warps

TINY = (
    "--sections", "attacks", "fgsm", "grid", "--images", "6", "--cheap-images", "10",
    "--eps", "0.1", "--eps-fgsm", "0.1", "--eps-l2", "1.0", "--pgd-steps", "5",
    "--restarts", "1", "--apgd-steps", "6", "--targets", "1", "--queries", "20",
    "--grid-shifts", "3", "--grid-angles", "3",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory):
    """A trained run; nobody writes into it."""
    return quantised.train(tmp_path_factory.mktemp("trained") / "tiny")


@pytest.fixture
def run(trained_run, tmp_path):
    return quantised.copied(trained_run, tmp_path / "run")


@pytest.fixture(autouse=True)
def _this_process(monkeypatch):
    """JAX has its devices already; pictures have tests of their own."""
    monkeypatch.setattr(command, "all_cores", lambda: 1)
    monkeypatch.setattr(warps, "all_cores", lambda: 1)
    monkeypatch.setattr(show, "write_pictures", lambda folder, **keywords: [])


def main(*arguments) -> int:
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code


def refused(capsys, *arguments) -> str:
    assert main(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert "Traceback" not in "".join(lines)
    return lines[-1]


def test_a_probe_writes_its_numbers_and_worst_inputs(run, capsys) -> None:
    assert main("probe", "--run", run, "--json", *TINY) == 0
    printed = json.loads(capsys.readouterr().out)
    stored = json.loads((run / "train" / "probes.json").read_text())
    assert printed == stored
    assert stored["headline"]["eps"] == 0.1
    metrics = json.loads((run / "train" / "metrics.json").read_text())
    clean = next(r for r in stored["rows"] if r["probe"] == "clean")
    assert clean["accuracy"] == metrics["test_accuracy"]
    with np.load(run / "train" / "worst_inputs.npz") as worst:
        far = np.abs(worst["adversarial_float"].astype(int) - worst["images"])
        assert 0 < far.max() <= 25
        assert worst["warped_float"].dtype == np.uint8
    # A second one is refused, and replaces the first if asked to.
    assert "--overwrite" in refused(capsys, "probe", "--run", run, *TINY)
    fewer = ("--overwrite", "--sections", "fgsm", "--images", "4", "--cheap-images", "4")
    assert main("probe", "--run", run, *fewer) == 0
    assert "headline" not in json.loads((run / "train" / "probes.json").read_text())
    # The worst inputs of a probe that is gone would be taken for its successor's.
    assert not (run / "train" / "worst_inputs.npz").exists()


def test_an_interrupted_probe_says_how_to_go_on_and_does(run, capsys, monkeypatch) -> None:
    """Ctrl-C in the middle: what was finished is kept; --resume knows the settings."""
    from train.probe import sections

    grid = sections.grid

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(sections, "grid", interrupted)
    given = ("--sections", "fgsm", "grid", "--images", "4", "--cheap-images", "4",
             "--grid-shifts", "1", "--grid-angles", "1", "--eps-fgsm", "0.1")  # fmt: skip
    assert main("probe", "--run", run, *given) == 130
    error = capsys.readouterr().err
    assert "python -m train probe" in error
    assert "--resume" in error
    assert not (run / "train" / "probes.json").exists()
    assert "--resume" in refused(capsys, "probe", "--run", run, *given)
    monkeypatch.setattr(sections, "grid", grid)
    assert main("probe", "--run", run, "--resume", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"]["images"] == 4
    assert {"fgsm", "spatial"} <= {one["probe"] for one in found["rows"]}
    assert not (run / "train" / "probes.parts").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--resume", "--overwrite"), "exclude each other"),
        (("--eps", "0.3", "0.1"), "`eps`"),
        (("--images", "0"), "`images`"),
    ],
)
def test_bad_settings_are_refused_in_one_line(run, capsys, arguments, words) -> None:
    assert main("probe", "--run", run, *arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_a_run_that_is_not_there_is_refused(tmp_path, capsys) -> None:
    assert "train first" in refused(capsys, "probe", "--run", tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_a_regression_is_refused(trained_run, tmp_path, capsys, monkeypatch) -> None:
    config = """
from configs.network import Dense, Network
from configs.schema import Data, Experiment, Train


def get_config():
    layers = (Dense(features=4), Dense(features=1, activation="identity"))
    return Experiment(
        name="line", task="regression", network=Network(input_shape=(1,), layers=layers),
        data=Data(name="sine"), train=Train(epochs=1, batch=64, microbatch=0),
    )
"""
    folder = quantised.train(tmp_path / "line", config)
    assert "regression" in refused(capsys, "probe", "--run", folder)
    assert "regression" in refused(capsys, "warps", "--runs", folder, "--out", tmp_path)


def test_help_comes_without_jax() -> None:
    import subprocess
    import sys

    for name in ("probe", "warps"):
        code = (
            "import sys\nfrom train import cli\n"
            f"try:\n    cli.main(['{name}', '--help'])\n"
            "except SystemExit: pass\n"
            "assert 'jax' not in sys.modules"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "--run" in done.stdout


def test_warps_draws_networks_side_by_side(run, tmp_path, capsys) -> None:
    out = tmp_path / "warps"
    given = ("--images", "40", "--shift-px", "2", "--angle-step-deg", "90")
    assert main("warps", "--runs", run, run, "--out", out, *given) == 0
    text = capsys.readouterr().out
    assert "+2 px" in text
    found = json.loads((out / "warps.json").read_text())
    assert len(found["networks"]) == 2
    (first, second) = found["networks"].values()
    assert first == second
    assert [p for p, _, _ in first["translation"]] == [-2, -1, 0, 1, 2]
    assert [p for p, _, _ in first["rotation"]] == [-180, -90, 0, 90, 180]
    assert (out / "warps.png").read_bytes().startswith(b"\x89PNG")


def test_warps_refuses_networks_of_other_data(run, tmp_path, capsys) -> None:
    other = quantised.train(
        tmp_path / "other", quantised.runs.CONFIG.replace("limit=256", "limit=128")
    )
    given = ("warps", "--runs", run, other, "--out", tmp_path / "out")
    assert "same data" in refused(capsys, *given)
    assert not (tmp_path / "out").exists()
