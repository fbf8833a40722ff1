"""How much of a probe is done and how long the rest takes at most."""

from __future__ import annotations

import time

from train.progress import Display, duration

# Without a terminal, at most one line in this many seconds.
_LINE_S = 10.0


class Clock:
    """Work done against work planned, in image-steps: one image through the network once.

    The plan counts as if no image were broken; what broken images save is taken off as
    soon as it is known, so the time left is an upper bound.
    """

    def __init__(self, display: Display, planned: float) -> None:
        self._display, self._left = display, planned
        self._began = self._spoke = time.monotonic()
        self._done = 0.0

    def skip(self, planned: float) -> None:
        """Work that was done before this session."""
        self._left -= planned

    def under_way(self, title: str, planned: float, share: float) -> None:
        """A part of which `share` (0..1) is done."""
        now = time.monotonic()
        if now - self._spoke >= _LINE_S:
            self._spoke = now
            self._say(f"{title}, {share:.0%}", planned * share)

    def finish(self, title: str, planned: float) -> None:
        """A part is done."""
        self._done += planned
        self._left -= planned
        self._spoke = time.monotonic()
        self._say(title, 0.0)

    def _say(self, title: str, besides: float) -> None:
        done, left = self._done + besides, self._left - besides
        rest = ""
        if done > 0 and left > 0:
            seconds = (time.monotonic() - self._began) / done * left
            rest = f"; at most {duration(seconds)} left"
        self._display.say(f"{title}{rest}")
