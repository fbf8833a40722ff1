"""What `--help` says: every option has words of its own, and they are meant for people."""

import re
from collections import defaultdict

import pytest

import accel.cli.main
import quant.cli
import train.cli

COMMANDS = [
    (train.cli, "probe"),
    (train.cli, "warps"),
    (quant.cli, "probe"),
    (quant.cli, "sweep"),
    (quant.cli, "predict"),
    (quant.cli, "check"),
    *(
        (accel.cli.main, name)
        for name in (
            "verify", "compare", "faults", "step", "parity", "cost", "sweep", "tpu",
        )
    ),
]  # fmt: skip
_OPTION = re.compile(r"(--[a-z][a-z0-9-]*)(?:, --\S+)?\s(.*)")


@pytest.fixture
def wide(monkeypatch):
    """A terminal on which every option stands in one line."""
    monkeypatch.setenv("COLUMNS", "400")


def _texts(shown: str) -> dict[str, list[str]]:
    """Options by what is said of them, types and defaults left out.

    Long options have their words in the line below.
    """
    found, waiting = defaultdict(list), None
    for line in shown.splitlines():
        for cell in line.split("│"):
            match = _OPTION.match(f"{cell.strip()}   ")
            if match:
                words = re.split(r"\s{2,}", match[2].strip(), maxsplit=1)
                # A switch has no type before its words.
                switch = ", --no-" in cell and match[2].strip()
                text = match[2] if switch else words[1] if len(words) > 1 else ""
                name, waiting = match[1], None if text else match[1]
            elif waiting and cell.strip():
                name, text, waiting = waiting, cell, None
            else:
                continue
            text = re.sub(r"\((default|required).*", "", text).strip()
            if text:
                found[text].append(name)
    return found


def test_comments_for_tools_are_no_help(wide, capsys) -> None:
    """Every field of an experiment is an option, its comment the help."""
    with pytest.raises(SystemExit, match="0"):
        train.cli.main(["--config", "mnist_cnn", "--help"])
    shown = capsys.readouterr().out
    assert "--robust.method" in shown
    assert "noqa" not in shown


@pytest.mark.parametrize(("module", "name"), COMMANDS)
def test_no_two_options_share_their_words(module, name, wide, capsys) -> None:
    """A comment above two fields is the help of both."""
    with pytest.raises(SystemExit, match="0"):
        module.main([name, "--help"])
    found = _texts(capsys.readouterr().out)
    assert sum(map(len, found.values())) >= 1
    assert {text: names for text, names in found.items() if len(names) > 1} == {}
