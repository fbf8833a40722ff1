"""A quantisation that was interrupted goes on to the same bits."""

import dataclasses
import os
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
    real, calls = session.Session._piece, []

    def piece(self, interruptions):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, interruptions)

    monkeypatch.setattr(session.Session, "_piece", piece)


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
real, calls = session.Session.save, []
def save(self):
    real(self)
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
session.Session.save = save
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
