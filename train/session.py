"""One training run from the host's side: pieces, epochs, checkpoints, interruptions.

The state after any step follows from the experiment, the data and the number of
devices. What depends on time (where pieces end, when a checkpoint is written) never
reaches it; that is why a resumed run ends with the same bits.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from train import checkpoint, loop
from train.checkpoint import Checkpoint
from train.evaluate import scores
from train.fit import Fit
from train.interrupt import Interrupted, Interruptions, agree
from train.mesh import AXIS, everywhere, fetch, place
from train.progress import Display, duration

# Seconds that a piece should take: how long Ctrl-C and the display may wait.
_PIECE_S = 0.5


class DivergedError(Exception):
    """The loss or the gradient of a step is NaN or infinite."""


@dataclass(kw_only=True)
class Host:
    """What the host keeps beside the device's state; a checkpoint holds all of it."""

    # One record per finished epoch.
    log: list[dict] = field(default_factory=list)
    # Sums over the steps of the epoch under way.
    loss: float = 0.0
    score: float = 0.0
    # Early stopping: the best validation score (higher is better) and its epoch.
    best: float | None = None
    best_epoch: int = 0
    # Seconds of the run so far; seconds and number of the steps that were timed.
    wall_s: float = 0.0
    timed_s: float = 0.0
    timed_steps: int = 0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished run: the parameters to keep, on the host, and how it went."""

    params: Any
    host: Host
    # Outputs for the test set, float32 (N, F).
    outputs: np.ndarray
    images_per_s: float


def kept_parameters(saved: Checkpoint, like: Any) -> Any:
    """The parameters a finished run keeps: the best ones, or those of the last step.

    Raises:
      DamagedError: they are not parameters of this network.
    """
    best = any(name.startswith("best.") for name in saved.arrays)
    prefix = "best." if best else "state.params."
    arrays = {
        name.removeprefix(prefix): array
        for name, array in saved.arrays.items()
        if name.startswith(prefix)
    }
    return checkpoint.unflatten(arrays, like)


class Trainer:
    """A run in progress; `Trainer(...).finish()` trains to the end.

    It starts at the newest good checkpoint in `folder` if there is one. Without a
    folder nothing is written; with several processes only process 0 writes.
    """

    def __init__(self, fit: Fit, *, folder: Path | None, display: Display, identity: dict):
        # `identity` says what the run is made of; a checkpoint carries it along.
        self.fit, self.folder, self.display, self.identity = fit, folder, display, identity
        self.host = Host()
        self.state = fit.initial
        self.best_params: Any = None
        self.piece_steps = 1
        self.placed_epoch = -1
        self.saved_step = -1

    def finish(self) -> Outcome:
        """Trains to the last step, or to where early stopping ends it.

        Raises:
          DivergedError: names the step; the last good checkpoint stays.
          Interrupted: a signal came; the state was saved first.
          InputError: the folder cannot be written.
        """
        fit = self.fit
        self.started = self.saved_at = time.monotonic() - self.host.wall_s
        self.state = place(self.state, fit.mesh)
        self.images = place(fit.dataset.train.images, fit.mesh)
        self.labels = place(fit.dataset.train.labels, fit.mesh)
        self.key = place(fit.key, fit.mesh)
        self.display.start(fit.steps, self.step)
        try:
            with Interruptions() as interruptions:
                while self.step < fit.steps and not self._is_over():
                    signum = self._piece(interruptions)
                    every = fit.experiment.train.checkpoint_every_s
                    if signum or time.monotonic() - self.saved_at >= every:
                        self.save()
                    if signum:
                        # All processes have the signal; none leaves before all are here.
                        everywhere(0)
                        raise Interrupted(signum, self.step)
                self.save()
        finally:
            self.display.stop()
        params = self.best_params
        if params is None:
            params = fetch(self.state.params)
        outputs = fit.predict(place(params, fit.mesh), fit.dataset.test.images)
        return Outcome(
            params=params, host=self.host, outputs=outputs, images_per_s=self.images_per_s
        )

    @property
    def step(self) -> int:
        step = self.state.step
        return int(fetch(step) if isinstance(step, jax.Array) else step)

    def save(self) -> None:
        """Writes a checkpoint of the current step, unless it is written already."""
        self.saved_at, step = time.monotonic(), self.step
        if self.folder is None or step == self.saved_step or jax.process_index():
            return
        arrays = {"state": fetch(self.state)}
        if self.best_params is not None:
            arrays["best"] = self.best_params
        self.host.wall_s = time.monotonic() - self.started
        meta = {"host": dataclasses.asdict(self.host), "identity": self.identity}
        keep = self.fit.experiment.train.checkpoints
        flat = checkpoint.flatten(arrays)
        checkpoint.save(self.folder, Checkpoint(step, flat, meta), keep=keep)
        self.saved_step = step

    def restore(self, saved: Checkpoint) -> None:
        """Continues from a checkpoint of this run."""
        like = {"state": self.fit.initial}
        if any(name.startswith("best.") for name in saved.arrays):
            like["best"] = self.fit.initial.params
        arrays = checkpoint.unflatten(saved.arrays, like)
        self.state, self.best_params = arrays["state"], arrays.get("best")
        self.host = Host(**saved.meta["host"])
        self.saved_step = saved.step

    def _piece(self, interruptions: Interruptions) -> int:
        """Runs some steps of the current epoch; gives back a signal that came."""
        fit = self.fit
        epoch, first = divmod(self.step, fit.steps_per_epoch)
        if epoch != self.placed_epoch:
            order = loop.batch_order(fit.experiment, len(fit.dataset.train), epoch)
            self.order = place(order, fit.mesh, P(None, AXIS))
            self.placed_epoch = epoch
        wanted = min(self.piece_steps, fit.steps_per_epoch - first)
        count, signum = agree(wanted, interruptions.signum)
        began = time.monotonic()
        piece = fit.run(
            self.state, self.images, self.labels, self.order, self.key,
            np.int32(first), np.int32(count),
        )  # fmt: skip
        totals = fetch(piece.totals)
        if not fetch(piece.healthy):
            raise DivergedError(
                f"the loss or its gradient became NaN or infinite in step "
                f"{int(fetch(piece.state.step))} of {fit.steps} (epoch {epoch + 1})"
            )
        self._pace(count, time.monotonic() - began)
        self.state = piece.state
        self.host.loss += float(totals.loss)
        self.host.score += float(totals.score)
        if first + count == fit.steps_per_epoch:
            self._end_epoch(epoch + 1)
        self.display.step(self.step, self._title(epoch + 1), self.images_per_s)
        return signum

    def _pace(self, count: int, seconds: float) -> None:
        """Sizes the next piece; the first one compiled the program and is not timed."""
        if self.piece_steps == 1:
            self.piece_steps = 2
            return
        self.host.timed_s += seconds
        self.host.timed_steps += count
        step_s = self.host.timed_s / self.host.timed_steps
        self.piece_steps = max(2, min(int(_PIECE_S / step_s), 4 * self.piece_steps))

    @property
    def images_per_s(self) -> float:
        images = self.host.timed_steps * self.fit.experiment.train.batch
        return images / self.host.timed_s if self.host.timed_s else 0.0

    def _title(self, epoch: int) -> str:
        return f"epoch {epoch}/{self.fit.experiment.train.epochs}"

    def _end_epoch(self, epoch: int) -> None:
        """Scores the held-out set, logs the epoch, and keeps the best parameters."""
        fit, host = self.fit, self.host
        held_out = fit.dataset.validation or fit.dataset.test
        outputs = fit.predict(self.state.params, held_out.images)
        found = scores(outputs, held_out.labels, fit.experiment.task)
        seen = fit.steps_per_epoch * fit.experiment.train.batch
        mean = "mse" if fit.experiment.task == "regression" else "accuracy"
        host.log.append(
            {
                "epoch": epoch,
                "step": self.step,
                "train_loss": host.loss / fit.steps_per_epoch,
                f"train_{mean}": host.score / seen,
                **{f"eval_{name}": value for name, value in found.items()},
                "learning_rate": float(fit.learning_rate(self.step - 1)),
                "images_per_s": round(self.images_per_s, 1),
                "wall_s": round(time.monotonic() - self.started, 3),
            }
        )
        host.loss = host.score = 0.0
        better = found["accuracy"] if "accuracy" in found else -found["mse"]
        if fit.experiment.train.patience and (host.best is None or better > host.best):
            host.best, host.best_epoch = better, epoch
            self.best_params = fetch(self.state.params)
        last = epoch == fit.experiment.train.epochs
        self.display.epoch(self._sentence(host.log[-1]), last=last)

    def _sentence(self, record: dict) -> str:
        data = self.fit.dataset
        held_out = "validation" if data.validation else "test"
        if "eval_accuracy" in record:
            result = f"accuracy {100 * record['train_accuracy']:.2f} % in training"
            result += f", {100 * record['eval_accuracy']:.2f} % {held_out}"
        else:
            result = f"squared error {record['train_mse']:.2e} in training"
            result += f", {record['eval_mse']:.2e} {held_out}"
        speed = f"{record['images_per_s']:,.0f} images/s"
        left = ""
        if self.host.timed_steps and self.step < self.fit.steps:
            step_s = self.host.timed_s / self.host.timed_steps
            left = f", {duration((self.fit.steps - self.step) * step_s)} left"
        return f"{self._title(record['epoch'])}: {result}, {speed}{left}"

    def _is_over(self) -> bool:
        patience, log = self.fit.experiment.train.patience, self.host.log
        return bool(
            patience and log and log[-1]["epoch"] - self.host.best_epoch >= patience
        )
