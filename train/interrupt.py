"""Ctrl-C and SIGTERM ask a run to stop; it saves before it does."""

from __future__ import annotations

import signal

from train.mesh import everywhere

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """A signal asked to stop and the state has been saved."""

    def __init__(self, signum: int, step: int):
        super().__init__(f"{signal.Signals(signum).name}: stopped after step {step}")
        self.signum = signum


class Interruptions:
    """Notes signals while it is entered; a second one ends the process at once."""

    def __init__(self) -> None:
        self.signum = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interruptions:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self.signum = number
        for each, handler in self._before.items():
            signal.signal(each, handler)


def agree(steps: int, signum: int) -> tuple[int, int]:
    """The piece length of process 0, and a signal that any process received."""
    return everywhere(steps)[0], max(everywhere(signum))
