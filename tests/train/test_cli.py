"""The command line: overrides, mistakes, interruptions."""

import json
import signal
import subprocess
import sys
import time

import pytest
import runs

from train import checkpoint, cli


def refused(capsys, *arguments) -> str:
    """What stderr says of a command that must end with status 2 and print nothing."""
    try:
        status = cli.main(arguments)
    except SystemExit as exit:
        status = exit.code
    out, err = capsys.readouterr()
    assert status == 2
    assert out == ""
    assert "Traceback" not in err
    return " ".join(err.replace("│", " ").split())


def test_overrides_reach_every_part_of_the_experiment():
    command = cli.parse(
        [
            "--config", "mnist_cnn", "--seed", "7", "--train.epochs", "3",
            "--data.source", "embedded", "--network.layers.0.features", "8",
            "--optimizer.learning-rate", "0.5", "--augment.shift-px", "1.5",
        ]
    )  # fmt: skip
    experiment = command.experiment
    assert (experiment.seed, experiment.train.epochs) == (7, 3)
    assert experiment.network.layers[0].features == 8
    assert experiment.optimizer.learning_rate == 0.5
    assert experiment.augment.shift_px == 1.5
    assert experiment.data.source == "embedded"


def test_smoke_shrinks_the_experiment_and_can_be_overridden():
    assert cli.parse(["--config", "mnist_cnn", "--smoke"]).experiment.train.epochs == 1
    command = cli.parse(["--config", "mnist_cnn", "--smoke", "--train.epochs", "2"])
    assert command.experiment.train.epochs == 2
    assert command.experiment.data.limit == 512


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "`--config` (='') must name what to train"),
        (["--config", "mnist_cn"], "Did you mean mnist_cnn?"),
        (["--config", "vgg16"], "is a network without training"),
        (["--config", "absent.py"], "must be an existing .py file"),
        (
            ["--config", "mnist_cnn", "--train.epoch", "3"],
            "Unrecognized options: --train.epoch",
        ),
        (["--config", "mnist_cnn", "--train.epochs", "x"], "invalid literal for int()"),
        (
            ["--config", "mnist_cnn", "--train.batch", "-4"],
            "`batch` (=-4) of Train must be 1 or more",
        ),
        (
            ["--config", "mnist_cnn", "--optimizer.learning-rate", "nan"],
            "`learning_rate` (=nan)",
        ),
        (
            ["--config", "mnist_cnn", "--network.layers.0.kernel", "40", "40"],
            "`kernel` (=(40, 40))",
        ),
        (
            ["--config", "mnist_cnn", "--data.dir", "absent"],
            "`--data.dir` (=absent) must be an existing folder",
        ),
        (
            ["--config", "mnist_cnn", "--data.name", "./x"],
            "must be the name of a set, not a path",
        ),
        (
            ["--config", "mnist_cnn", "--data.path", "absent.npz"],
            "`--data.path` (=absent.npz)",
        ),
        (["--config", "mnist_cnn", "--resume", "--overwrite"], "exclude each other"),
        (["--run", "absent", "--resume"], "`--config` (='') must name what to train"),
        (
            ["--config", "mnist_cnn", "--distributed.processes", "2"],
            "goes with `--distributed.processes`",
        ),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_written(
    capsys, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_run_directory_that_cannot_be_made_is_one_message(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    arguments = ["--config", runs.config(tmp_path), "--run", str(tmp_path / "file/run")]
    assert "`--run`" in refused(capsys, *arguments)


def test_a_full_disk_is_one_message(tmp_path):
    """No file may grow: the first one that is written says so."""
    limit = "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    arguments = ("--config", runs.config(tmp_path), "--run", tmp_path / "run")
    status, out, err = runs.train(*arguments, before=limit)
    assert (status, out) == (2, ""), err
    assert "cannot be written" in err
    assert "Traceback" not in err
    left = [path.name for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert left == [".lock"]


def test_help_and_mistakes_are_answered_without_jax():
    code = (
        "import sys\nfrom train.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "assert 'jax' not in sys.modules"
    )
    for arguments in (["--help"], ["--config", "nothing"]):
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, env=runs.environment()
        )
        assert done.returncode == 0, done.stderr
    help_text = subprocess.run(
        [sys.executable, "-m", "train", "--help"],
        capture_output=True, text=True, env=runs.environment(),
    ).stdout  # fmt: skip
    for option in ("--config", "--resume", "--train.epochs", "--network.layers.0.features"):
        assert option in help_text


def test_json_is_the_whole_of_stdout(tmp_path):
    arguments = ("--config", runs.config(tmp_path), "--run", tmp_path / "run", "--json")
    status, out, err = runs.train(*arguments)
    assert status == 0, err
    metrics = json.loads(out)
    assert metrics == json.loads((tmp_path / "run/train/metrics.json").read_text())
    assert "epoch 4/4" in err


def test_the_summary_names_the_result_and_the_files(tmp_path):
    arguments = ("--config", runs.config(tmp_path), "--run", tmp_path / "run")
    status, out, err = runs.train(*arguments)
    assert status == 0, err
    assert "test accuracy" in out
    assert f"{tmp_path}/run/train/metrics.json" in out


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_saves_and_the_run_can_go_on(tmp_path, signum):
    config = runs.config(tmp_path)
    whole = ("--config", config, "--json", "--train.checkpoint-every-s", "1000")
    _, out, _ = runs.train(*whole, "--run", tmp_path / "whole", "--train.epochs", "300")
    run = tmp_path / "cut"
    process = runs.start(*whole, "--run", run, "--train.epochs", "300")
    while "epoch" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signum)
    status, _, err = runs.finish(process)
    assert status == 128 + signum, err
    assert f"Continue with `python -m train --run {run} --resume`" in err
    steps = checkpoint.steps(run / "train" / "checkpoint")
    assert len(steps) == 1
    assert 0 < steps[0] < 300 * 16
    status, resumed, err = runs.train("--run", run, "--resume", "--json")
    assert status == 0, err
    same = lambda text: json.loads(text)["parameters_sha256"]
    assert same(resumed) == same(out)


def test_a_loss_that_is_not_finite_ends_the_run_with_its_step(tmp_path):
    arguments = ("--config", runs.config(tmp_path), "--run", tmp_path / "run")
    wild = ("--optimizer.learning-rate", "1e38", "--optimizer.name", "sgd")
    status, out, err = runs.train(*arguments, *wild)
    assert (status, out) == (1, ""), err
    assert "became NaN or infinite in step" in err
    assert "--optimizer.learning-rate" in err
    assert "Traceback" not in err


def test_two_processes_cannot_train_in_one_directory(tmp_path):
    common = ("--config", runs.config(tmp_path), "--run", tmp_path / "run")
    first = runs.start(*common, "--train.epochs", "1000000")
    end = time.monotonic() + 60
    while not checkpoint.steps(tmp_path / "run/train/checkpoint"):
        assert time.monotonic() < end
        time.sleep(0.05)
    status, _, err = runs.train(*common, "--resume", "--train.epochs", "1000000")
    first.kill()
    first.communicate()
    assert status == 2
    assert "is in use by another process" in err
