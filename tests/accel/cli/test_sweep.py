"""`python -m accel sweep`: what it writes, how it goes on, what it refuses."""

import errno
import json
import os

import pytest
import quantised
from refusals import refused

from accel.cli.sweep import FILES, STATE, _again
from accel.sweep import plots
from accel.sweep import run as running

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
    # ws, os, and ws with shadow registers.
    assert found["designs"] == 3 * 2 * 2 * 2 * 2 * 2 * 2 * 2
    indices = {row["index"] for row in found["refined"]}
    for group in ("named", "ruled"):
        assert {row["index"] for row in found[group].values()} <= indices
    fastest = found["named"]["fastest"]
    words = fastest["cost"].removeprefix("python -m accel ").split()
    assert main(*words, "--mapping", "fixed", "--json") == 0
    costed = json.loads(capsys.readouterr().out)
    assert costed["cycles"] == fastest["rule"]["cycles"]
    assert costed["energy"]["total"] == fastest["rule"]["energy"]
    assert costed["dram_bytes"] == fastest["rule"]["dram_bytes"]
    for row in found["named"].values():
        assert f"--rows {row['rows']} --cols {row['cols']} " in row["verify"]
        dataflow, _, shadow = row["dataflow"].partition("_")
        registers = shadow or "single"
        assert f"--dataflow {dataflow} --weights {registers} " in row["verify"]
    assert f"next  {fastest['verify']}" in said
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
    assert "go on with python -m accel sweep" in capsys.readouterr().err
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


SMALL = ("--rows", "4", "--cols", "4", "--dataflow", "os", "--clock-mhz", "500")


def test_buffers_below_a_kib_and_energies_are_handed_over(main, tmp_path, capsys):
    """The default space has them; the command prices as the sweep did."""
    out = tmp_path / "s"
    asked = ("sweep", "--config", "mnist_mlp", "--out", out, *SMALL, "--json")
    energies = ("--energy", "tpuv4i_7nm", "--dram-pj-per-bit", "7")
    assert main(*asked, *energies) == 0
    least = json.loads(capsys.readouterr().out)["named"]["least energy"]
    assert least["sum_bytes"] % 1024
    words = least["cost"].removeprefix("python -m accel ").split()
    assert main(*words, "--mapping", "fixed", "--json") == 0
    costed = json.loads(capsys.readouterr().out)
    for name in ("cycles", "dram_bytes"):
        assert costed[name] == least[name]
    assert costed["energy"]["total"] == least["energy"]


def test_what_stops_before_its_state_is_written_promises_nothing(
    main, tmp_path, monkeypatch, capsys
):
    def stopped(runner):
        raise KeyboardInterrupt

    monkeypatch.setattr(running._Runner, "step", stopped)
    assert main("sweep", "--config", "mnist_mlp", "--out", tmp_path / "s", *SMALL) == 130
    assert "go on" not in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_a_mistake_keeps_an_interrupted_sweep(main, tmp_path, capsys):
    """--overwrite throws it away only when another one begins."""
    out = tmp_path / "s"
    out.mkdir()
    (out / STATE).write_bytes(b"hours")
    asked = ("sweep", "--config", "mnist_mlp", "--out", out, "--overwrite")
    assert main(*asked, "--rows", "16", "8") == 2
    assert (out / STATE).read_bytes() == b"hours"
    assert main(*asked, *SMALL) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted((*FILES, *plots.NAMES))


def test_how_to_go_on():
    """Neither twice --resume, nor --overwrite beside it."""
    words = "python -m accel sweep --out 'a b' --overwrite --resume"
    assert _again(words) == "python -m accel sweep --out 'a b' --resume"


def test_a_full_disk_at_the_pictures_is_one_message(main, tmp_path, monkeypatch, capsys):
    """All designs are done then: --resume draws and writes."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "s"
    asked = ("sweep", "--config", "mnist_mlp", "--out", out, *SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(plots, "draw", full)
        assert main(*asked) == 2
    said = capsys.readouterr().err
    assert f"error: `--out` (={out}) cannot be written: No space left on device" in said
    assert "Traceback" not in said
    assert [path.name for path in out.iterdir()] == [STATE]
    assert main(*asked, "--resume") == 0
    assert "million a second" not in capsys.readouterr().out


S = ("sweep", "--config", "mnist_mlp")
MISTAKES = [
    (("sweep",), "`--config` is missing"),
    ((*S, "--rows", "16", "8"), "`rows` (=(16, 8)) of Space must be positive and strictly"),
    ((*S, "--rows", "0"), "`rows` (=(0,))"),
    ((*S, "--cols", "2000"), "`cols` (=2000)"),
    ((*S, "--dataflow", "xs"), "invalid choice 'xs'"),
    ((*S, "--sum-kib", "-4"), "`--sum-kib` (=-4) must be whole bytes"),
    ((*S, "--rows"), "`rows` (=()) of Sweep is empty; give values, or leave it out"),
    ((*S, "--out", ""), "`out` (='') of Sweep must name a folder"),
    ((*S, "--batch", "9" * 20), "of Sweep must be in 1..1,048,576"),
    ((*S, "--batch", "0"), "`batch` (=0)"),
    ((*S, "--longest-s", "0"), "`longest_s` (=0.0)"),
    ((*S, "--objectives", "beauty"), "`objectives` (='beauty') must be different ones of"),
    ((*S, "--energy", "3nm"), "(='3nm')"),
    ((*S, "--dram-pj-per-bit", "-1"), "`dram_pj_per_bit` (=-1.0)"),
    ((*S, "--resume"), "`--resume` finds no interrupted sweep in sweeps/mnist_mlp"),
    ((*S, "--resume", "--overwrite"), "`--resume` goes on and `--overwrite` begins anew"),
    ((*S, "--weight-kib", "0.00390625"), "`--weight-kib` (=0.00390625 at most) is"),
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
