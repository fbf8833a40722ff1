"""The time left follows from what is done and what is planned."""

import pytest

from train.probe import clock


class Said:
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


@pytest.fixture
def now(monkeypatch):
    """A clock that a test sets."""
    time = {"s": 100.0}
    monkeypatch.setattr(clock.time, "monotonic", lambda: time["s"])
    return time


def test_the_time_left_is_that_of_the_rate_so_far(now) -> None:
    said = Said()
    one = clock.Clock(said, 100.0)
    now["s"] += 10
    one.finish("a", 20.0)
    assert said.lines == ["a; at most 40 s left"]
    now["s"] += 10
    one.finish("b", 80.0)
    assert said.lines[-1] == "b"


def test_what_was_measured_before_says_nothing_about_the_rate(now) -> None:
    said = Said()
    one = clock.Clock(said, 100.0)
    one.skip(50.0)
    now["s"] += 10
    one.finish("a", 25.0)
    assert said.lines == ["a; at most 10 s left"]


def test_a_long_part_is_heard_of_now_and_then(now) -> None:
    said = Said()
    one = clock.Clock(said, 100.0)
    now["s"] += 5
    one.under_way("a", 50.0, 0.1)
    assert said.lines == []
    now["s"] += 5
    one.under_way("a", 50.0, 0.5)
    assert said.lines == ["a, 50%; at most 30 s left"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(42.2, "42 s"), (150, "2.5 min"), (7500, "2.1 h")]
)
def test_durations_are_read_at_a_glance(seconds, text) -> None:
    assert clock.duration(seconds) == text
