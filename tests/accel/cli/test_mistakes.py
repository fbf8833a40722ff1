"""A mistake on the command line of `python -m accel` is one message and changes nothing."""

import os

import pytest
import quantised
from refusals import refused

SMALL = ("--rows", "4", "--cols", "4")
OUT = "accel/systolic_ws_4x4"

V = ("verify", "--run", "RUN")
C = ("compare", "--run", "RUN")
F = ("faults", "--run", "RUN")
MISTAKES = [
    (("nosuch",), "no command 'nosuch'; use verify, compare, faults, step, parity, cost"),
    (("verify",), "--run STR"),
    (("verify", "--run"), "Missing value for argument '--run'"),
    ((*V, "--nosuch"), "Unrecognized options: --nosuch"),
    # Machines.
    ((*V, "--rows", "0"), "`rows` (=0) of Systolic must be in 1..1024"),
    ((*V, "--cols", "-1"), "`cols` (=-1)"),
    ((*V, "--rows", "1025"), "`rows` (=1025)"),
    ((*V, "--rows", "9" * 30), f"`rows` (={'9' * 30})"),
    ((*V, "--rows", "x"), "invalid literal for int() with base 10: 'x'"),
    ((*V, "--rows", "1.5"), "invalid literal for int() with base 10: '1.5'"),
    ((*V, "--dataflow", "xs"), "invalid choice 'xs' for argument '--dataflow'"),
    ((*V, "--machine", "gpu"), "invalid choice 'gpu' for argument '--machine'"),
    ((*V, "--machine", "mac", "--rows", "8"), "`--rows` (=8) belongs to --machine sys"),
    ((*V, "--sum-words", "8"), "`--sum-words` (=8) belongs to --machine tile, not to syst"),
    ((*V, "--machine", "mac", "--access-cycles", "2"), "belongs to --machine mac_dram"),
    ((*V, "--dataflow", "os", "--weights", "shadow"), "`weights` (='shadow') of Systolic"),
    ((*V, "--load", "global"), "`--load` (=global) has a meaning with --weights"),
    (
        (*V, "--dataflow", "os", "--accumulators", "9"),
        "`--accumulators` (=9) has a meaning with --dataflow ws or is only",
    ),
    ((*V, "--accumulators", "0"), "`accumulators` (=0)"),
    (
        (*V, "--accumulators", "287", "--batch", "2"),
        "`accumulators` (=287) of systolic_ws_16x16 is too small for layer conv1, which "
        "keeps 288 partial sums in each column; use 288 or more or a smaller --batch",
    ),
    (
        (*V, "--machine", "tile", "--tile-outputs", "4", "--loop", "inputs",
         "--sum-words", "9"),
        "`sum_words` (=9) of tile_inputs_16x4 is too small for layer dense1, which keeps "
        "10 partial sums; use 10 or more.",
    ),
    ((*V, "--machine", "tile", "--sum-words", "9"), "`sum_words` (=9) of Tile must hold"),
    ((*V, "--machine", "dot", "--multipliers", "0"), "`multipliers` (=0)"),
    ((*V, "--machine", "tile", "--tile-inputs", "0"), "`inputs` (=0)"),
    ((*V, "--machine", "mac_dram", "--access-cycles", "0"), "`access_cycles` (=0)"),
    # Work.
    ((*V, "--batch", "0"), "`batch` (=0)"),
    ((*V, "--images", "0"), "`images` (=0)"),
    ((*V, "--images", "257"), "`--images` (=257) must be in 1..256"),
    ((*V, "--images", "some"), "['some'] does not match choices ('all',)"),
    ((*V, "--clock-mhz", "0"), "`clock_mhz` (=0.0)"),
    ((*V, "--clock-mhz", "nan"), "`clock_mhz` (=nan)"),
    ((*V, "--clock-mhz", "inf"), "`clock_mhz` (=inf)"),
    (("verify", "--run", "absent"), "`--run` (=absent) must be a run directory"),
    ((*C, "--rows", "0"), "`rows` (=0) of Systolic"),
    ((*C, "--cols", "1025"), "`cols` (=1025) of Systolic"),
    ((*C, "--batch", "0"), "`batch` (=0)"),
    ((*C, "--images", "0"), "`images` (=0)"),
    ((*C, "--images", "257"), "`--images` (=257)"),
    ((*C, "--clock-mhz", "inf"), "`clock_mhz` (=inf)"),
    ((*C, "--most-cycles", "-1"), "`most_cycles` (=-1)"),
    (("compare", "--run", "absent"), "`--run` (=absent)"),
    (F, "`register` (=None)"),
    ((*F, "--register", "carry"), "invalid choice 'carry'"),
    ((*F, "--register", "sum", "--row", "16"), "`row` (=16) of Fault must be in 0..15"),
    ((*F, "--register", "sum", "--col", "-1"), "`col` (=-1)"),
    ((*F, "--register", "weight", "--bit", "8"), "`bit` (=8) of Fault must be in 0..7"),
    ((*F, "--random", "-1"), "`random` (=-1)"),
    ((*F, "--random", "2", "--bit", "3"), "`bit` (=3) of Faults is drawn by --random"),
    ((*F, "--random", "2", "--seed", "-1"), "`seed` (=-1)"),
    ((*F, "--random", "2", "--machine", "mac"), "`--machine` (=mac) must be systolic"),
    ((*F, "--random", "2", "--images", "0"), "`images` (=0)"),
    (("step", "--rows", "17"), "`rows` (=17) of Step must be in 1..16"),
    (("step", "--cols", "0"), "`cols` (=0)"),
    (("step", "--run", "absent"), "`--run` (=absent)"),
    (("step", "--out", "RUN"), "` (=RUN) must be a file"),
    (("step", "--out", "RUN/config.json"), "exists; replace it with --overwrite"),
    (("step", "--out", "RUN/config.json/x"), "cannot be written: "),
    (("parity",), "A file with the columns"),
    (("parity", "absent.csv"), "`absent.csv` cannot be read: No such file"),
    (("parity", "RUN"), "must be a regular file"),
    (("parity", "RUN/config.json"), "line 1: column 'case' is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=lambda m: "")
def test_a_mistake_is_one_message_and_nothing_is_written(
    quantised_run, tmp_path, monkeypatch, capsys, main, arguments, message
):
    monkeypatch.chdir(tmp_path)
    before = quantised.listing(quantised_run)
    put = lambda text: text.replace("RUN", str(quantised_run))
    assert main(*map(put, arguments)) == 2
    refused(capsys, put(message))
    assert list(tmp_path.iterdir()) == []
    assert quantised.listing(quantised_run) == before
    assert not (quantised_run / "accel").exists()


def test_what_is_there_is_replaced_only_when_asked(verified, main, capsys):
    (verified / "accel/compare.json").write_text("{}")
    (verified / OUT / "faults.json").write_text("{}")
    before = quantised.listing(verified)
    for command, what in {
        ("verify",): "a report of systolic_ws_4x4",
        ("compare",): "a comparison",
        ("faults", "--register", "sum"): "faults of systolic_ws_4x4",
    }.items():
        assert main(*command, "--run", verified, *SMALL) == 2
        refused(capsys, f"already holds {what}; replace it with --overwrite.")
    assert quantised.listing(verified) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission_is_one_message(run, main, capsys):
    (run / "accel").mkdir(mode=0o500)
    assert main("verify", "--run", run, *SMALL) == 2
    refused(capsys, "cannot be written: Permission denied")


def test_a_folder_that_cannot_be_made_is_one_message(run, main, capsys):
    (run / "accel").write_text("in the way")
    before = quantised.listing(run)
    for command in ("verify", "compare"):
        assert main(command, "--run", run, *SMALL) == 2
        refused(capsys, "cannot be written: ")
    assert quantised.listing(run) == before
