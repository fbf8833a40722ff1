"""What the user sees while training: a bar on a terminal, lines in a log."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

# Without a terminal, at most one line in this many seconds.
_LINE_S = 5.0


class Display:
    """Progress on stderr, so that stdout is free for results."""

    def __init__(self, *, quiet: bool = False):
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self._bar: Progress | None = None
        self._task = None
        self._spoke = 0.0

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, markup=False, soft_wrap=True)

    def start(self, steps: int, done: int) -> None:
        """The bar of a run of `steps` updates of which `done` are made."""
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:3.0f} %"),
                TextColumn("{task.fields[speed]}"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._task = self._bar.add_task(
                "compiling", total=steps, completed=done, speed=""
            )
            self._bar.start()

    def step(self, done: int, epoch: str, images_per_s: float) -> None:
        """`done` updates are made."""
        if self._bar is not None:
            speed = f"{images_per_s:,.0f} images/s"
            self._bar.update(self._task, completed=done, description=epoch, speed=speed)

    def epoch(self, text: str, *, last: bool) -> None:
        """The result of an epoch."""
        now = time.monotonic()
        if self.console.is_terminal or last or now - self._spoke >= _LINE_S:
            self._spoke = now
            self.say(text)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def duration(seconds: float) -> str:
    """Seconds to read at a glance.

    >>> duration(42.2), duration(150), duration(7500)
    ('42 s', '2.5 min', '2.1 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
