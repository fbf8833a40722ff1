"""A quantisation that was interrupted goes on to the same bits."""

import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys

import pytest
import quantised
import runs

from configs.errors import InputError
from quant import files, stage
from train import session
from train.interrupt import Interrupted

TRAINED = quantised.FINE_TUNED


def tensors(folder) -> bytes:
    return (folder / "quant" / files.TENSORS).read_bytes()


def interrupt_at(call: int, monkeypatch) -> None:
    """Ctrl-C while the training with fake quantisation computes its nth piece."""
    real, calls = session.Trainer._piece, []

    def piece(self, interruptions):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, interruptions)

    monkeypatch.setattr(session.Trainer, "_piece", piece)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_bits(run, fine_tuned_run, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(3, patch)
        with pytest.raises(Interrupted):
            quantised.quantise(run, TRAINED, formats=())
    held = quantised.listing(run / "quant")
    assert not held.keys() & {"manifest.json", "metrics.json", "model.safetensors"}
    with pytest.raises(InputError, match="already holds"):
        quantised.quantise(run, TRAINED, formats=())
    for other in (
        dataclasses.replace(TRAINED, learning_rate=2e-3),
        dataclasses.replace(TRAINED, weight_bits=4),
        dataclasses.replace(TRAINED, epochs=0),
    ):
        with pytest.raises(InputError, match="needs the settings that the interrupted run"):
            quantised.quantise(run, other, formats=(), resume=True)
    assert quantised.listing(run / "quant") == held
    quantised.quantise(run, TRAINED, formats=(), resume=True)
    assert tensors(run) == tensors(fine_tuned_run[0])


UNUSUAL = (
    "--epochs", "2", "--calibration-images", "64", "--weight-bits", "4",
    "--layers", "first=w8a7", "last=w6", "--learning-rate", "1e-3",
    "--formats", "onnx", "--golden-images", "1",
)  # fmt: skip


def outcome(folder) -> dict[str, object]:
    """Every file of the stage, but for how long anything took."""
    held = quantised.listing(folder / "quant")
    metrics = json.loads(held.pop("metrics.json"))
    for timed in (metrics, *metrics["runtimes"].values()):
        for name in [name for name in timed if name.endswith("_s")]:
            del timed[name]
    held = {name: held[name] for name in held if not name.startswith("checkpoint/")}
    return held | {"metrics": metrics}


def interrupted(folder, capsys, monkeypatch) -> str:
    """Begins with unusual settings, is interrupted, and gives back the command it names."""
    with monkeypatch.context() as patch:
        interrupt_at(3, patch)
        assert quantised.main("--run", folder, *UNUSUAL) == 128 + signal.SIGINT
    (command,) = capsys.readouterr().err.splitlines()[-1].split("`")[1:2]
    assert not (folder / "quant" / files.MANIFEST).exists()
    return command


@pytest.mark.slow
def test_the_command_that_is_printed_goes_on_with_the_same_settings(
    trained_run, tmp_path, capsys, monkeypatch
):
    """To the same files; the folder's name is no single word of a shell."""
    one, other = (quantised.copied(trained_run, tmp_path / n) for n in ("my run", "plain"))
    command = interrupted(one, capsys, monkeypatch)
    before = quantised.listing(one)
    start, arguments = "python -m quant ", shlex.split(command)[3:]
    assert command.startswith(start)
    assert arguments == ["--run", str(one), "--resume"]
    for changed in (["--weight-bits", "8"], ["--epochs", "0"], ["--layers"]):
        assert quantised.main(*arguments, *changed) == 2
        message = "needs the settings that the interrupted run began with"
        assert message in capsys.readouterr().err
    assert quantised.listing(one) == before
    assert quantised.main(*arguments) == 0
    assert "Resuming after step" in capsys.readouterr().err
    assert quantised.main("--run", other, *UNUSUAL) == 0
    assert outcome(one) == outcome(other)
    settings = outcome(one)["metrics"]["settings"]
    assert (settings["weight_bits"], settings["layers"]) == (4, ["first=w8a7", "last=w6"])


@pytest.mark.slow
def test_what_was_asked_for_is_forgotten_when_it_is_overwritten(run, capsys, monkeypatch):
    """The defaults count again, and are what a later --resume goes on with."""
    interrupted(run, capsys, monkeypatch)
    plain = ("--epochs", "0", "--formats")
    assert quantised.main("--run", run, "--overwrite", *plain) == 0
    found = json.loads((run / "quant/metrics.json").read_text())["settings"]
    assert (found["epochs"], found["weight_bits"], found["layers"]) == (0, 8, [])
    before = outcome(run)
    assert quantised.main("--run", run, "--resume") == 0
    assert outcome(run) == before
    assert not (run / "quant/model.onnx").exists()


def test_a_finished_run_is_not_continued_with_other_settings(finished):
    """Otherwise --resume would replace a result without being told to."""
    before = quantised.listing(finished)
    with pytest.raises(InputError, match="needs the settings"):
        quantised.quantise(finished, TRAINED, resume=True)
    assert quantised.listing(finished) == before
    quantised.quantise(finished, formats=(), golden_images=0, resume=True)
    assert tensors(finished) == before["quant/model.safetensors"]


def test_a_resume_of_what_has_not_begun_starts_at_the_beginning(run):
    metrics = quantised.quantise(run, formats=(), golden_images=0, resume=True)
    assert metrics["runtimes"]["jax"]["mismatches"] == 0


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(run, fine_tuned_run):
    """`kill -9` after a checkpoint, in a process of its own."""
    doomed = """
import os, signal
from train import session
real, calls = session.Trainer.save, []
def save(self):
    real(self)
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
session.Trainer.save = save
"""
    arguments = ["--run", str(run), "--epochs", "2", "--calibration-images", "64"]
    code = quantised.QUICK + doomed + quantised.MAIN
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, env=runs.environment(), timeout=120,
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    assert not (run / "quant/manifest.json").exists()
    steps = stage.checkpoint.steps(run / "quant/checkpoint")
    assert 0 < steps[-1] < 32
    quantised.quantise(run, TRAINED, formats=(), resume=True)
    assert tensors(run) == tensors(fine_tuned_run[0])
