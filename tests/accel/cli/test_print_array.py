"""What a person reads in a terminal: every figure of the report, whole lines in a pipe."""

import pytest
import reports

from accel.cli import print_array
from accel.machines.machine import Mac, Systolic
from accel.verify import compare
from accel.verify.mismatch import Mismatch

MISMATCH = {
    "layer": "conv1", "image": 2, "m": 5, "n": 1, "found": -7, "expected": 9,
    "cause": "a sum", "tile": "(0, 1)", "cycle": 12, "row": 3, "col": 4,
    "register": "weight", "register_found": 1, "register_expected": 2,
    "dump": ["cycle 11  weight 2", "cycle 12  weight 1"],
}  # fmt: skip


def made(**changes):
    found = reports.report(Systolic(rows=4, cols=4))
    whole = {"mismatches": 0, "miscounted": [], "mismatch": None}
    return {**whole, **found, **changes}


@pytest.fixture
def folder(tmp_path):
    """A run directory with a space in its name, where the report was written."""
    place = tmp_path / "my runs" / "accel/systolic_ws_4x4"
    place.mkdir(parents=True)
    for name in ("report.json", "report.html", ".lock"):
        (place / name).write_text("")
    return tmp_path / "my runs"


def test_the_report_in_a_pipe(folder, capsys):
    found = made()
    print_array.print_report(found, folder)
    out = capsys.readouterr().out
    assert out.startswith("VERIFIED ")
    assert f"0 of {found['compared']:,} values differ, 100 images on systolic_ws" in out
    assert f"{found['total_cycles']:,}, " in out
    assert "at 123.5 MHz" in out
    assert "97.25 %" in out
    for layer in found["layers"]:
        (line,) = (one for one in out.splitlines() if one.startswith(layer["name"] + " "))
        assert f"{layer['M']:,} x {layer['K']:,} x {layer['N']:,}" in line
        assert line.split().count(f"{layer['cycles_simulated']:,}") == 2
    assert f"{folder}/accel/systolic_ws_4x4/report.html, report.json" in out
    assert ".lock" not in out
    assert f"next     python -m accel compare --run '{folder}'" in out


def test_only_phases_that_are_there_are_columns(folder, capsys):
    print_array.print_report(made(), folder)
    header = next(line for line in capsys.readouterr().out.splitlines() if "tiles" in line)
    assert "load" in header
    assert "stall" not in header


def test_a_mismatch_is_named_with_its_registers(folder, capsys):
    wrong = made(verified=False, mismatches=3, mismatch=MISMATCH, miscounted=["conv2"])
    print_array.print_report(wrong, folder)
    out = capsys.readouterr().out
    assert out.startswith("NOT VERIFIED ")
    assert (
        "`conv1`, image 2, row 5, column 1: -7 instead of 9; a sum; tile (0, 1), cycle 12"
    )
    assert "weight of PE (3, 4) is 1, not 2" in out
    assert "  cycle 12  weight 1\n" in out
    assert "those of conv2 are not what the closed form says" in out


def test_a_mismatch_that_no_register_explains(folder, capsys):
    bare = {**MISMATCH, "cycle": None, "tile": None, "dump": []}
    assert Mismatch(**bare).sentence() == (
        "`conv1`, image 2, row 5, column 1: -7 instead of 9; a sum"
    )


def test_a_regression_shows_no_accuracy(folder, capsys):
    print_array.print_report(made(accuracy=None), folder)
    assert "accuracy" not in capsys.readouterr().out


def row(machine, verified):
    return {
        "machine": machine.name, "multipliers": machine.multipliers, "verified": verified,
        "stepped": verified is not None, "cycles_per_image": 1234.0, "images_per_s": 5e6,
        "utilization": 0.125, "input_fetches": 2000, "weight_fetches": 4000,
        "sum_reads": 300, "sum_writes": 500,
    }  # fmt: skip


def test_a_comparison_says_what_was_stepped(folder, capsys):
    rows = [row(Systolic(), True), row(Mac(), None), row(Mac(dram=True), False)]
    rows = [one | {"fetched_bytes": 9_200} for one in rows]
    bits = {"conv1": [8, 8], "dense1": [4, 4], "dense2": [4, 4]}
    found = {
        "images": 2, "batch": 1, "clock_mhz": 700.0, "machines": rows, "bits": bits
    }  # fmt: skip
    print_array.print_comparison(found, folder)
    lines = capsys.readouterr().out.splitlines()
    ends = {line.split()[0]: line.split() for line in lines if line.strip()}
    assert ends["systolic_ws_16x16"][1:] == [
        "256", "1,234", "5,000,000", "12.5", "1,000", "2,000", "400", "4,600", "stepped,",
        "verified",
    ]  # fmt: skip
    assert ends["mac"][-1] == "predicted"
    assert ends["mac_dram"][-1] == "WRONG"
    assert "at the widths of the run (W4A4, W8A8)" in "\n".join(lines)
    assert "1 of 3 machines were not stepped" in "\n".join(lines)
    print_array.print_comparison({**found, "machines": rows[:1]}, folder)
    assert "not stepped" not in capsys.readouterr().out


def test_progress_in_a_pipe_prints_nothing(capfd):
    with print_array.Cycles() as shown:
        shown.begin("mac", 10)
        shown.done(4)
    assert capfd.readouterr() == ("", "")


def test_the_machines_compared_have_names_that_fit_a_table():
    assert all(len(machine.name) < 40 for machine, _ in compare.machines(1024, 1024))
