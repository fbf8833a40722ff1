"""The benchmark of the sweep counts what it says, and refuses a wrong form. No figure is
judged here."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from accel.cost.energy_tables import TABLES
from accel.sweep import reference
from accel.sweep.space import Space
from accel.workload.layer import LayerWorkload
from benchmarks import sweep_speed
from configs.errors import InputError

ROOT = Path(sweep_speed.__file__).parents[1]
WORKS = [LayerWorkload(name="dense", images=3, row_bytes=40, K=40, N=12)]
SPACE = Space(
    rows=(4, 8), cols=(4,), dram_mb_per_s=(100, 900), clock_mhz=(100, 700),
    activation_bytes=(80, 400), weight_bytes=(3, 900), sum_bytes=(100, 400),
)  # fmt: skip


def command(*arguments: str) -> subprocess.CompletedProcess:
    words = [sys.executable, "-m", "benchmarks.sweep_speed", *arguments]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True)


def test_a_short_run_ends_with_all_figures_in_one_line():
    done = command("--smoke", "--check", "4", "--config", "sine_mlp", "--cores", "1")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["benchmark"] == "sweep_speed"
    figures = result["figures"]
    assert figures["designs_per_s"] > 0
    assert (figures["cores"], figures["checked"]) == (1, 4)
    assert 0 < figures["front"] <= figures["legal"] <= figures["designs"]
    assert result["ratios"]["aim"] == round(figures["designs_per_s"] / sweep_speed.AIM, 3)
    assert figures["resident_at_the_end"] > 1 << 20


def test_a_space_grows_to_the_size_asked():
    found = sweep_speed.wide(SPACE, 10 * SPACE.size)
    assert 10 * SPACE.size <= found.size <= 12 * SPACE.size
    assert sweep_speed.wide(SPACE, 1) == SPACE
    with pytest.raises(InputError, match=r"`--designs` \(=1e\+11\) must be at most"):
        sweep_speed.wide(SPACE, 1e11)


def test_designs_are_compared_with_the_reference(monkeypatch):
    preset = TABLES["tpuv4i_7nm"]
    legal = sweep_speed.checked(WORKS, SPACE, preset, 12)
    assert 0 < legal < 12
    good = reference.metrics
    monkeypatch.setattr(
        reference, "metrics", lambda *a: good(*a) | {"stall": np.float64(-1)}
    )
    with pytest.raises(SystemExit, match=r"Design\(dataflow=.* is not"):
        sweep_speed.checked(WORKS, SPACE, preset, 12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cores", "0"), "`--cores` (=0) must be in 1.."),
        (("--designs", "nan"), "`--designs` (=nan) must be 1 or more"),
        (("--images", "0"), "`--images` (=0) must be 1 or more"),
    ],
)
def test_wrong_options_are_refused(arguments, message, monkeypatch, capsys):
    from train.console import guarded

    monkeypatch.setattr(sys, "argv", ["sweep_speed", *arguments])
    assert guarded(sweep_speed.main) == 2
    assert message in capsys.readouterr().err
