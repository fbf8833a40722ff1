"""The benchmark of the simulator measures what it says: right work, right counts, refused
where a contestant does other work. No figure is judged here."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import jax
import numpy as np
import pytest

from accel.machines.machine import Systolic
from accel.simulate import batched_tiles, systolic
from accel.workload.gemm import Gemm
from benchmarks import scalesim_peer, sim_speed, sim_turns
from configs.errors import InputError

ROOT = Path(sim_speed.__file__).parents[1]
# Answers as SCALE-Sim's own Python and `scalesim_run.py` do; a product takes it 1 s.
FAKE = """#!/bin/sh
if [ "$1" = -c ]; then echo {versions}; exit; fi
R=$2; C=$3; M=$4; K=$5; N=$6
T=$(( (K+R-1)/R * ((N+C-1)/C) ))
echo "{{\\"seconds\\": 1.0, \\"cycles\\": $((T * (2*R+M+C-2) - {missing}))}}"
"""


@pytest.fixture
def fake(tmp_path):
    """Writes a stand-in for SCALE-Sim's Python."""

    def write(versions: str = "3.0.0 2.3.5", missing: int = 1) -> str:
        path = tmp_path / "python"
        path.write_text(FAKE.format(versions=versions, missing=missing))
        path.chmod(0o755)
        return str(path)

    return write


def command(*arguments: str) -> subprocess.CompletedProcess:
    words = [sys.executable, "-m", "benchmarks.sim_speed", *arguments]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True)


def test_a_short_run_ends_with_all_figures_in_one_line(fake):
    done = command("--smoke", "--cores", "1", "--scalesim", fake())
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["benchmark"] == "sim_speed"
    figures = result["figures"]["cores_1"]["8"]
    assert set(figures["rates"]) == {"run", "inner", "ceiling", "literal", "peer", "same"}
    assert min(figures["rates"].values()) > 0
    # The stand-in takes a second.
    assert figures["rates"]["peer"] == figures["peer_cycles"]
    assert figures["peer_gemm"][0] == figures["gemm"][0] == sim_turns.M
    ratio = figures["rates"]["run"] / figures["rates"]["peer"]
    assert result["ratios"]["scalesim_8"] == pytest.approx(ratio, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "24"], "invalid choice: 24"),
        (["--cores", "0"], r"`--cores` (=0) must be in 1.."),
        (["--cores", "4096"], r"`--cores` (=4096) must be in 1.."),
        (["--rounds", "0"], r"`--rounds` (=0) must be more than 0"),
        (["--seconds", "nan"], r"`--seconds` (=nan) must be more than 0"),
        (["--scalesim", "/nowhere/python"], r"(=/nowhere/python) must be a Python with"),
    ],
)
def test_wrong_options_are_refused(arguments, message, monkeypatch, capsys):
    from train.console import guarded

    monkeypatch.setattr(sys, "argv", ["sim_speed", "--smoke", *arguments])
    try:
        status = guarded(sim_speed.main)
    except SystemExit as stopped:  # argparse's own way
        status = stopped.code
    assert status == 2
    assert message in capsys.readouterr().err


def test_a_process_that_fails_fails_the_benchmark():
    options = Namespace(sizes=[7], seconds=0.01, rounds=1, cores=[1], scalesim=None)
    with pytest.raises(SystemExit, match="the process on 1 cores failed, status 1"):
        sim_speed.worked(1, options)


def test_ratios_and_aims_come_from_the_rates():
    one = {"run": 24e6, "ceiling": 24e6 * 64 * 4, "peer": 20e3, "same": 4e6}
    two = {"run": 36e6}
    found = {1: {"8": {"rates": one}}, 2: {"8": {"rates": two}}}
    options = Namespace(sizes=[8], rounds=3, seconds=1.0)
    result = sim_speed.summary(found, options)
    assert result["ratios"] == {
        "ceiling_8": 0.25,
        "scalesim_8": 1200.0,
        "scalesim_same_gemm_8": 200.0,
        "cores_2_to_1_8": 1.5,
    }
    assert result["figures"]["reached"] == {"cycles_per_s_8": True, "scalesim_8": True}
    one["run"] = 15e6
    result = sim_speed.summary(found, options)
    assert result["figures"]["reached"] == {"cycles_per_s_8": False, "scalesim_8": False}


@pytest.mark.parametrize("size", sorted(sim_speed.AIMS))
def test_a_product_fills_whole_programs_of_both_cores(size):
    tiles = sim_turns.side_by_side(size, 2, 1e6)
    plan = batched_tiles.Plan.made(tiles.array, sim_turns.M, tiles.wide)
    full = plan.blocks * plan.lanes
    assert [len(group) for group in batched_tiles._groups(plan, tiles.wide)] == [full, full]


@pytest.mark.parametrize("cycles", [1, 1e4, 1e5])
def test_a_square_product_takes_about_the_cycles_asked(cycles):
    tiles = sim_turns.squarish(8, cycles)
    least = sim_turns.Tiles(8, 1, 1).cycles
    assert max(least, 0.75 * cycles) <= tiles.cycles <= max(least, cycles)
    assert tiles.deep <= tiles.wide <= tiles.deep + 2


@pytest.mark.parametrize("literal", [False, True])
def test_wrong_sums_are_refused(monkeypatch, literal):
    good = systolic.run

    def flipped(*arguments, **options):
        found = good(*arguments, **options)
        found.sums[0, 3, 5] ^= 1
        return found

    tiles = sim_turns.Tiles(8, 1, 1)
    turn = sim_turns.product(tiles, literal=literal)
    assert turn.count == tiles.cycles
    assert turn.rate() > 0
    monkeypatch.setattr(systolic, "run", flipped)
    with pytest.raises(SystemExit, match=r"sums of Gemm.* are wrong"):
        sim_turns.product(tiles, literal=literal)


def test_wrong_counters_are_refused(monkeypatch):
    good = systolic.run

    def late(*arguments, **options):
        found = good(*arguments, **options)
        return found._replace(counters=found.counters._replace(stall=1))

    monkeypatch.setattr(systolic, "run", late)
    with pytest.raises(SystemExit, match="are not the closed form"):
        sim_turns.product(sim_turns.Tiles(8, 1, 1))


def test_all_runs_of_the_literal_array_are_counted():
    turn = sim_turns.literal(32, 1)
    assert turn.count == 8 * sim_turns.Tiles(32, 1, 1).cycles


def test_the_inner_loop_computes_products_on_every_device():
    size, devices = 16, jax.local_devices()
    plan = batched_tiles.Plan.made(Systolic(rows=size, cols=size), sim_turns.M, 1 << 20)
    turn = sim_turns.inner_loop(size, 1)
    each = plan.blocks * plan.lanes * sim_turns.Tiles(size, 1, 1).cycles
    assert turn.count == len(devices) * each
    found = turn.work()
    assert [f.devices() for f in found] == [{device} for device in devices]
    held, _, items, _ = jax.device_get(sim_turns._operands(plan, devices[0]))
    x, w = items[:, plan.before :].astype(np.int64), held.astype(np.int64)
    wanted = np.einsum("bmrl,brcl->bcml", x[:, : sim_turns.M], w)
    first = size - 1
    for f in found:
        assert np.array_equal(f[:, :, first : first + sim_turns.M], wanted)
    assert wanted.any()


def test_the_ceiling_accumulates_on_every_device():
    size, devices = 16, jax.local_devices()
    state = 16 * 16 * 32
    turn = sim_turns.ceiling(size, 10 * state * len(devices))
    assert turn.count == 10 * state * len(devices)
    found = turn.work()
    assert [f.devices() for f in found] == [{device} for device in devices]
    weights = np.random.default_rng(0).integers(-127, 128, (16, 512), dtype=np.int8)
    assert np.array_equal(found[0], weights.astype(np.int32) * sum(range(10)))


def test_the_peer_must_count_the_same_cycles(fake):
    gemm = Gemm("gemm", 1, 10, 17, 9)
    path = scalesim_peer.python(fake())
    # 3 x 2 tiles of 2*8 + 10 + 8 - 2 cycles, in a second.
    assert scalesim_peer.rate(path, 8, gemm) == 6 * 32
    for missing in (0, 2):
        with pytest.raises(scalesim_peer.OtherWork, match="where 191 are due"):
            scalesim_peer.rate(fake(missing=missing), 8, gemm)


def test_other_work_stops_the_benchmark(fake):
    done = command("--smoke", "--cores", "1", "--scalesim", fake(missing=0))
    assert done.returncode == 1
    assert "598 cycles" in done.stderr
    assert "this is not the same work" in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_a_peer_that_fails_says_why(tmp_path):
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\necho no layout file >&2; exit 1\n")
    path.chmod(0o755)
    with pytest.raises(scalesim_peer.OtherWork, match="no layout file"):
        scalesim_peer.rate(str(path), 8, Gemm("gemm", 1, 8, 8, 8))


@pytest.mark.parametrize("versions", ["2.0.2 2.3.5", "3.0.0 2.4.0", "3.0.0 3.0.1"])
def test_another_version_is_refused(fake, versions):
    with pytest.raises(
        InputError, match=r"must be a Python with scalesim==3.0.0 and numpy"
    ):
        scalesim_peer.python(fake(versions))


def test_a_python_without_it_is_refused():
    with pytest.raises(InputError, match="leave it out to have one made"):
        scalesim_peer.python(sys.executable)


def test_an_environment_that_is_there_is_used(monkeypatch, tmp_path, fake):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "lockstep" / "scalesim-venv" / "bin"
    folder.mkdir(parents=True)
    os.rename(fake(), folder / "python")
    assert scalesim_peer.python() == str(folder / "python")


def test_an_environment_that_cannot_be_made_is_one_clear_error(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(InputError, match=r"could not be installed .* --no-peer"):
        scalesim_peer.python()
