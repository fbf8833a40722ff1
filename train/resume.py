"""Continuing an interrupted run where its newest good checkpoint left off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from train import checkpoint
from train.progress import Display
from train.session import Trainer


def resume(
    session: Trainer,
    folder: Path,
    display: Display,
    refuse: Callable[[dict, dict], None],
) -> None:
    """Puts the session at the newest good checkpoint in `folder`, if there is one.

    Args:
      refuse: raises InputError if the identities of the session and of the checkpoint
        do not go together.
    """
    saved, complaints = checkpoint.restore(folder)
    for complaint in complaints:
        display.say(f"warning: {complaint}")
    if saved is None:
        display.say("No checkpoint to resume from: starting at step 0.")
        return
    mine, theirs = session.identity, saved.meta["identity"]
    refuse(mine, theirs)
    for what in ("devices", "versions"):
        if mine[what] != theirs[what]:
            display.say(
                f"warning: {what} were {theirs[what]} and are {mine[what]} now; the "
                f"result will not be bit-identical to an uninterrupted run."
            )
    session.restore(saved)
    display.say(f"Resuming after step {saved.step} of {session.fit.steps}.")
