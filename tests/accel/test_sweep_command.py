"""`python -m accel sweep`: what it writes, how it goes on, what it refuses."""

import json

import pytest
import quantised
from refusals import refused

from accel.sweep import plots
from accel.sweep import run as running
from accel.sweep.command import FILES, STATE

AXES = (
    "--rows", "8", "16", "--cols", "8", "16", "--dataflow", "ws", "os",
    "--dram-mb-per-s", "1600", "12800", "--clock-mhz", "200", "700",
    "--activation-kib", "8", "64", "--weight-kib", "64", "256", "--sum-kib", "16", "64",
)  # fmt: skip


def test_a_sweep_of_a_run_writes_its_front(verified, main, capsys):
    """The winner comes with commands that can be typed as they are, and they work."""
    assert main("sweep", "--run", verified, *AXES) == 0
    said = capsys.readouterr().out
    folder = verified / "accel" / "sweep"
    assert sorted(path.name for path in folder.iterdir()) == sorted((*FILES, *plots.NAMES))
    assert str(folder) in said
    found = json.loads((folder / "sweep.json").read_text())
    assert found["designs"] == 2 * 2 * 2 * 2 * 2 * 2 * 2 * 2
    assert {row["index"] for row in found["refined"]} == {
        row["index"] for row in found["named"].values()
    }
    fastest = found["named"]["fastest"]
    words = fastest["cost"].removeprefix("python -m accel ").split()
    assert main(*words, "--mapping", "fixed", "--json") == 0
    costed = json.loads(capsys.readouterr().out)
    assert costed["cycles"] == fastest["cycles"]
    assert costed["energy"]["total"] == fastest["energy"]
    assert costed["dram_bytes"] == fastest["dram_bytes"]
    words = fastest["verify"].removeprefix("python -m accel ").split()
    assert main(*words, "--images", "2", "--overwrite") == 0
    assert capsys.readouterr().out.startswith("VERIFIED")


def test_an_interrupted_sweep_goes_on_when_asked(main, tmp_path, monkeypatch, capsys):
    """Without --resume it is neither lost nor mistaken for a finished one."""
    asked = ("sweep", "--config", "mnist_mlp", "--out", tmp_path / "s", *AXES)
    with monkeypatch.context() as patch:
        patch.setattr(running, "_SAVE_S", 0.0)
        patch.setattr(running, "_STEP", 1)
        right, steps = running._Runner.step, []

        def step(runner):
            if len(steps) == 2:
                raise KeyboardInterrupt
            steps.append(right(runner))

        patch.setattr(running._Runner, "step", step)
        assert main(*asked) == 130
    assert "go on with" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "s").iterdir()] == [STATE]
    assert main(*asked) == 2
    refused(capsys, "holds an interrupted sweep; go on with --resume, or begin anew")
    assert main(*asked, "--resume", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["resumed_at"] < found["designs"]
    assert not (tmp_path / "s" / STATE).exists()
    assert main(*asked) == 2
    refused(capsys, "already holds sweep.json; replace it with --overwrite")
    assert main(*asked, "--overwrite", "--json") == 0
    again = json.loads(capsys.readouterr().out)
    for name in ("front", "named", "least", "heat", "legal"):
        assert again[name] == found[name]


S = ("sweep", "--config", "mnist_mlp")
MISTAKES = [
    (("sweep",), "`--config` is missing"),
    ((*S, "--rows", "16", "8"), "`rows` (=(16, 8)) of Space must be positive and strictly"),
    ((*S, "--rows", "0"), "`rows` (=(0,))"),
    ((*S, "--cols", "2000"), "`cols` (=2000)"),
    ((*S, "--dataflow", "xs"), "invalid choice 'xs'"),
    ((*S, "--sum-kib", "-4"), "`sum_bytes` (=(-4096,))"),
    ((*S, "--batch", "0"), "`batch` (=0)"),
    ((*S, "--longest-s", "0"), "`longest_s` (=0.0)"),
    ((*S, "--objectives", "beauty"), "`objectives` (='beauty') must be different ones of"),
    ((*S, "--energy", "3nm"), "(='3nm')"),
    ((*S, "--dram-pj-per-bit", "-1"), "`dram_pj_per_bit` (=-1.0)"),
    ((*S, "--resume"), "`--resume` finds no interrupted sweep in sweeps/mnist_mlp"),
    ((*S, "--resume", "--overwrite"), "`--resume` goes on and `--overwrite` begins anew"),
    ((*S, "--weight-kib", "1"), "`weight_bytes` (=1024 at most) is too small"),
    (("sweep", "--run", "absent"), "absent"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=lambda m: "")
def test_a_mistake_is_one_message_and_nothing_is_written(
    tmp_path, monkeypatch, capsys, main, arguments, message
):
    monkeypatch.chdir(tmp_path)
    assert main(*arguments) == 2
    refused(capsys, message)
    assert quantised.listing(tmp_path) == {}
