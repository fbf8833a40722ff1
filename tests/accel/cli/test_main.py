"""The command line of `python -m accel`: answers, results, interruptions."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import quantised
import runs

from accel.simulate.simulation import LostResultError
from accel.verify import quantised_run, stage
from train import rundir

COMMANDS = ("verify", "compare", "faults", "step", "parity", "cost", "sweep", "tpu")
SMALL = ("--rows", "4", "--cols", "4")
FEW = (*SMALL, "--images", "3", "--batch", "2")
OUT = "accel/systolic_ws_4x4"


def started(*arguments, before: str = "", **options) -> subprocess.Popen:
    """`python -m accel ARGUMENTS` in a process of its own, after the code in `before`."""
    code = f"import sys\n{before}\nfrom accel.cli.main import main\nsys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=runs.environment(), **options,
    )  # fmt: skip


# Answers without JAX.


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_and_mistakes_are_answered_without_jax(name):
    """Importing JAX takes longer than all the rest."""
    before = (
        "import atexit, os\n"
        "def heavy():\n"
        "    if {'jax', 'matplotlib', 'onnxruntime', 'jinja2'} & sys.modules.keys():\n"
        "        os._exit(99)\n"
        "atexit.register(heavy)"
    )
    mistake = ["--nosuch"] if name else ["nosuch"]
    for arguments, status in ((["--help"], 0), (mistake, 2)):
        process = started(*([name] if name else []), *arguments, before=before)
        code, out, err = runs.finish(process)
        assert code == status, err
        assert "Traceback" not in err
        if status == 0:
            assert f"usage: python -m accel {name}".strip() in out
            assert err == ""
        else:
            assert out == ""


def test_a_bad_machine_is_refused_without_jax(run):
    """And so is a bad size of a comparison, a fault outside the array, a bad page."""
    before = (
        "class No:\n    def find_spec(self, name, *rest):\n        assert name != 'jax'\n"
    )
    before += "sys.meta_path.insert(0, No())"
    for arguments in (
        ("verify", "--run", run, "--rows", "0"),
        ("compare", "--run", run, "--rows", "0"),
        ("faults", "--run", run, "--register", "sum", "--row", "16"),
        ("step", "--rows", "17"),
    ):
        code, out, err = runs.finish(started(*arguments, before=before))
        assert (code, out) == (2, ""), err
        assert "`row" in err


def test_the_help_names_every_command_and_option(main, capsys):
    assert main("--help") == 0
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert main() == 2
    assert capsys.readouterr().out == text
    assert main("verify", "--help") == 0
    text = capsys.readouterr().out
    for word in (
        "--run", "--images", "--batch", "--clock-mhz", "--overwrite", "--json", "--literal",
        "--machine", "--rows", "--cols", "--dataflow", "--weights", "--load", "--loop",
        "--accumulators", "--multipliers", "--tile-inputs", "--tile-outputs", "--sum-words",
        "--access-cycles",
    ):  # fmt: skip
        assert word in text
    assert "--options" not in text


# Results.


def test_a_process_of_its_own_verifies_and_prints_whole_tables(run):
    """As a user starts it, in a pipe; the next command is named."""
    process = started("verify", "--run", run, *FEW)
    code, out, err = runs.finish(process)
    assert (code, err) == (0, "")
    assert out.startswith("VERIFIED ")
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert rows["conv1"][1:6] == ["288", "x", "9", "x", "2"]
    assert f"{run}/{OUT}/report.html, report.json, step.html, tile.vcd, trace.json" in out
    assert f"next     python -m accel compare --run {run}" in out
    report = json.loads((run / OUT / "report.json").read_text())
    layers = {layer["name"]: layer for layer in report["layers"]}
    cycles = f"{layers['conv1']['cycles_simulated']:,}"
    assert rows["conv1"].count(cycles) == 2
    assert report["command"] == f"python -m accel verify --run {run} {' '.join(FEW)}"


def test_json_is_the_whole_of_stdout(run, main, monkeypatch, capfd):
    """One document, on the file descriptor that libraries write to as well."""
    real = quantised_run.load

    def noisy(folder, images, where=None):
        os.write(1, b"a library says hello\n")
        return real(folder, images, where)

    monkeypatch.setattr(quantised_run, "load", noisy)
    given = ("--run", run, "--json")
    assert main("verify", *given, *FEW) == 0
    found = json.loads(capfd.readouterr().out)
    assert found == json.loads((run / OUT / "report.json").read_text())
    sizes = (*SMALL, "--most-cycles", "30", "--batch", "2", "--images", "2")
    assert main("compare", *given, *sizes) == 0
    out, err = capfd.readouterr()
    found = json.loads(out)
    assert found == json.loads((run / "accel/compare.json").read_text())
    assert found["verified"] is True
    stepped = {row["machine"] for row in found["machines"] if row["stepped"]}
    assert stepped == {"direct"}
    for row in found["machines"]:
        assert row["verified"] is (True if row["stepped"] else None)
        assert row["stepped"] is (row["cycles"] <= 30)
    assert "mac_dram: 25,900 cycles, predicted" in err
    assert main("faults", *given, *FEW, "--register", "sum", "--bit", "30") == 0
    found = json.loads(capfd.readouterr().out)
    assert found == json.loads((run / OUT / "faults.json").read_text())


def test_a_comparison_says_what_it_only_predicts(run, main, capsys):
    """Nothing is called verified that was not stepped."""
    given = ("compare", "--run", run, *SMALL, "--most-cycles", "0")
    assert main(*given) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.endswith("predicted") and "_4x4" in line]
    assert len(rows) == 7
    assert "12 of 12 machines were not stepped" in "\n".join(lines)
    assert not any("verified" in line for line in lines)
    found = json.loads((run / "accel/compare.json").read_text())
    assert found["verified"] is None
    assert main(*given, "--json", "--overwrite", "--images", "all") == 0
    assert json.loads(capsys.readouterr().out)["images"] == 256


def test_all_images(run, main, capsys):
    given = ("verify", "--run", run, "--machine", "direct", "--batch", "256", "--json")
    assert main(*given, "--images", "all") == 0
    assert json.loads(capsys.readouterr().out)["images"] == 256


def test_step_writes_one_page(run, main, tmp_path, capsys):
    """With the lecture's array alone, with another beside it, with a run's tiles."""
    pages = {}
    for name, options in {
        "lecture": (),
        "larger": ("--rows", "4", "--cols", "2"),
        "run": ("--run", run, "--rows", "2"),
    }.items():
        out = tmp_path / "pages" / f"{name}.html"
        assert main("step", "--out", out, *options) == 0
        assert capsys.readouterr().out == f"written  {out}: open it in a browser\n"
        pages[name] = out.read_text().replace("\\u00d7", "x")
    assert all("3 x 3 walk-through of the lecture" in text for text in pages.values())
    assert "4 x 2 walk-through" in pages["larger"]
    assert "4 x 2 walk-through" not in pages["lecture"]
    assert "conv1: positions" in pages["run"]
    assert "dense1: positions" in pages["run"]
    assert '"rows":2,"cols":8' in pages["run"]


def test_parity_recomputes_a_file(main, tmp_path, capsys):
    figures = runs.ROOT / "tests/accel/predict/scalesim.csv"
    assert main("parity", figures) == 0
    assert capsys.readouterr().out.startswith("193 of 193 rows equal; 0 of ")
    assert main("parity", figures, "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 193
    lines = figures.read_text().splitlines()
    column = lines[0].split(",").index("total_cycles")
    cells = lines[1].split(",")
    cells[column] = str(int(cells[column]) + 1)
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    assert main("parity", wrong) == 1
    assert "192 of 193 rows equal; 1 of " in capsys.readouterr().out
    assert main("parity", wrong, "--json") == 1
    assert len(json.loads(capsys.readouterr().out)["differences"]) == 1


# Wrong results, lost results, interruptions.


@pytest.fixture
def faulty(monkeypatch):
    """A multiplier for every connection, one of which adds a one too many."""
    from accel.simulate import direct

    real = direct.run

    def run(machine, x_GMK, w_KN, **keywords):
        found = real(machine, x_GMK, w_KN, **keywords)
        sums = found.sums.copy()
        sums[-1, -1, -1] += 1 << 20
        return found._replace(sums=sums)

    monkeypatch.setattr(direct, "run", run)


def test_a_mismatch_is_status_1_and_a_report_that_says_so(run, main, faulty, capsys):
    assert main("verify", "--run", run, "--machine", "direct", "--images", "2") == 1
    out = capsys.readouterr().out
    assert out.startswith("NOT VERIFIED ")
    assert "`conv1`, image 1, row 143, column 1:" in out
    report = json.loads((run / "accel/direct/report.json").read_text())
    assert report["verified"] is False
    assert report["mismatches"] > 0
    assert {one["name"]: one["mismatches"] > 0 for one in report["layers"]} == {
        "conv1": True, "dense1": True,
    }  # fmt: skip
    assert report["mismatch"]["layer"] == "conv1"
    page = (run / "accel/direct/report.html").read_text()
    assert "not verified</title>" in page
    assert "values of layer conv1 differ from the normative network" in page


def test_a_wrong_machine_is_named_in_a_comparison(run, main, faulty, capsys):
    given = ("compare", "--run", run, "--rows", "2", "--cols", "2", "--most-cycles", "20")
    assert main(*given) == 1
    line = next(line for line in capsys.readouterr().out.splitlines() if "direct" in line)
    assert line.endswith("WRONG")
    found = json.loads((run / "accel/compare.json").read_text())
    assert found["verified"] is False


def test_a_miscount_is_status_1_too(run, main, monkeypatch, capsys):
    from accel.simulate import direct

    real = direct.run

    def miscounting(*arguments, **keywords):
        found = real(*arguments, **keywords)
        wrong = found.counters._replace(stream=found.counters.stream + 1)
        return found._replace(counters=wrong)

    monkeypatch.setattr(direct, "run", miscounting)
    assert main("verify", "--run", run, "--machine", "direct", "--images", "2") == 1
    out = capsys.readouterr().out
    assert "counts" in out
    assert "those of conv1, dense1 are not what the closed form says" in out
    page = (run / "accel/direct/report.html").read_text()
    assert "not verified</title>" in page


@pytest.mark.parametrize("command", ["verify", "compare", "faults"])
def test_a_lost_result_is_status_1_and_one_line(run, main, monkeypatch, capsys, command):
    def lose(*arguments, **keywords):
        raise LostResultError("3 of 8 results never came out")

    from accel.verify import compare, faults

    for module in (stage, compare, faults):
        monkeypatch.setattr(module, "verify", lose)
    more = ("--register", "sum") if command == "faults" else ()
    assert main(command, "--run", run, *SMALL, *more) == 1
    out, err = capsys.readouterr()
    assert out == ""
    (error,) = (line for line in err.splitlines() if "cycles" not in line)
    assert error.startswith("error: ")
    assert error.endswith("3 of 8 results never came out")
    assert not list(run.glob("accel/**/*.json"))


def test_ctrl_c_stops_a_command_and_leaves_nothing_half_written(run):
    """While it steps, in a process of its own: as a user would."""
    before = (
        "import time\nfrom accel.simulate import loops\n"
        "def run(*given):\n    print('stepping', file=sys.stderr, flush=True)\n"
        "    time.sleep(60)\n"
        "loops.run = run"
    )
    given = ("verify", "--run", run, "--machine", "mac", "--images", "1")
    process = started(*given, before=before)
    assert process.stderr.readline() == "stepping\n"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    code, out, err = runs.finish(process)
    assert (code, out, err) == (130, "", "stopped\n")
    assert time.monotonic() - began < 30
    assert quantised.listing(run / "accel") == {}


def test_ctrl_c_while_files_are_written_leaves_the_old_ones(verified, main, monkeypatch):
    def stop(path, value):
        raise KeyboardInterrupt

    monkeypatch.setattr(rundir, "write_json", stop)
    before = quantised.listing(verified)
    assert main("verify", "--run", verified, *FEW, "--overwrite") == 130
    assert quantised.listing(verified) == before
