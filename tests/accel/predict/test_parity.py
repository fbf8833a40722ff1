"""193 of 193 rows of SCALE-Sim equal; a changed figure is noticed, a bad cell refused."""

import csv
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from accel.predict import parity, scalesim
from configs.errors import InputError

FILE = Path(__file__).with_name("scalesim.csv")
LINES = FILE.read_text().splitlines()
HEADER = LINES[0].split(",")
ROWS = list(csv.DictReader(LINES))
FIGURES = scalesim.Figures._fields
CONV = next(index for index, row in enumerate(ROWS) if row["kind"] == "conv")


def written(path: Path, rows: list[dict], header: list[str] = HEADER) -> Path:
    """The rows as a file."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def changed(path: Path, index: int, **cells: str) -> Path:
    """The file of one row with other cells."""
    return written(path / "changed.csv", [ROWS[index] | cells])


def test_every_row_of_the_reference_is_equal():
    found = parity.parity(FILE)
    assert (found.rows, found.figures) == (193, 193 * 7)
    assert found.differences == ()
    assert found.equal_rows == 193
    headline = "193 of 193 rows equal; 0 of 1,351 figures differ"
    assert parity.headline(found) == headline


def test_the_reference_holds_what_it_should_prove():
    """All dataflows, both kinds, square sizes from 8 to 256, ragged folds."""
    kinds = {(row["kind"], row["dataflow"], row["bw_mode"]) for row in ROWS}
    assert len(kinds) == 12
    assert {row["array_rows"] for row in ROWS} == {"8", "16", "32", "128", "256"}
    assert sum(row["mapping_eff_pct"] != "100.0" for row in ROWS) > 50


def last_digit_changed(text: str) -> str:
    """The printed figure one unit off in its last place."""
    return text[:-1] + str((int(text[-1]) + 1) % 10)


@pytest.mark.parametrize("column", FIGURES)
def test_any_changed_figure_is_noticed(column, tmp_path):
    """Each figure of each row, one unit off in the last place that the tool prints."""
    rows = []
    for row in ROWS:
        text = row[column]
        if column.endswith("_pct"):
            # Trailing zeros are dropped in print.
            whole, _, part = text.partition(".")
            text = f"{whole}.{part.ljust(4, '0')}"
        rows.append(row | {column: last_digit_changed(text)})
    found = parity.parity(written(tmp_path / "all.csv", rows))
    assert [one.line for one in found.differences] == list(range(2, 195))
    assert {one.column for one in found.differences} == {column}
    assert found.equal_rows == 0
    for one, row, wrong in zip(found.differences, ROWS, rows, strict=True):
        assert (one.case, one.found) == (row["case"], wrong[column])
        assert float(one.computed) == float(row[column])


@settings(max_examples=30)
@given(index=st.integers(0, 192), column=st.sampled_from(FIGURES))
def test_one_change_in_the_whole_file_is_one_difference(tmp_path_factory, index, column):
    rows = [dict(row) for row in ROWS]
    rows[index][column] = last_digit_changed(rows[index][column])
    path = tmp_path_factory.mktemp("one") / "one.csv"
    found = parity.parity(written(path, rows))
    assert [(one.line, one.column) for one in found.differences] == [(index + 2, column)]
    assert found.equal_rows == 192


@pytest.mark.parametrize(
    ("text", "equal"),
    [
        ("27.5862", True),
        ("27.586", False),
        ("27.59", False),
        ("27.5863", False),
        ("27.58621", True),
        ("27.58620", False),
        ("27.586206896551722", True),
        ("27.586206896551726", True),
        ("27.586206996551722", False),
    ],
)
def test_percentages_are_compared_to_the_decimals_printed(text, equal, tmp_path):
    """The first row's utilisation is 800/29 %."""
    found = parity.parity(changed(tmp_path, 0, util_pct=text))
    assert (found.differences == ()) is equal


def test_a_tie_is_rounded_as_the_tool_does(tmp_path):
    """4*5 of 32*32 PEs are 1.953125 %: halves go to the even digit."""
    exact = {"M": "4", "N": "4", "K": "5", "array_rows": "32", "array_cols": "32"}
    row = ROWS[0] | exact
    for text, equal in (("1.95312", True), ("1.95313", False), ("1.9531", True)):
        path = written(tmp_path / "tie.csv", [row | {"mapping_eff_pct": text}])
        columns = {one.column for one in parity.parity(path).differences}
        assert ("mapping_eff_pct" not in columns) is equal, text


def test_stalls_count_as_the_row_states_them(tmp_path):
    total = int(ROWS[0]["total_cycles"]) + 7
    stalled = {"stall_cycles": "7", "total_cycles": str(total), "bw_mode": "USER"}
    util = f"{100 * 8**3 / (total * 64):.4f}"
    right = parity.parity(changed(tmp_path, 0, **stalled, util_pct=util))
    assert right.differences == ()
    wrong = parity.parity(changed(tmp_path, 0, stall_cycles="7"))
    assert {one.column for one in wrong.differences} == {"total_cycles", "util_pct"}


def test_columns_may_stand_in_any_order_and_times_are_not_compared(tmp_path):
    header = [*reversed(HEADER), "peak_rss_mb", "wall_s"]
    rows = [row | {"wall_s": "0.1", "peak_rss_mb": "?"} for row in ROWS]
    found = parity.parity(written(tmp_path / "order.csv", rows, header))
    assert (found.rows, found.differences) == (193, ())


@pytest.mark.parametrize("content", ["\ufeff{}\n", "{}\n\n\n", "{}"])
def test_marks_and_empty_lines_are_passed_over(content, tmp_path):
    path = tmp_path / "marks.csv"
    text = content.format("\n".join(LINES)).replace("\n", "\r\n")
    path.write_text(text, encoding="utf-8", newline="")
    assert parity.headline(parity.parity(path)).startswith("193 of 193 rows equal")


def test_json_and_table_tell_the_same(tmp_path):
    rows = [row | {"case": "[red]<b>", "total_cycles": "1"} for row in ROWS[:25]]
    found = parity.parity(written(tmp_path / "many.csv", rows))
    told = json.loads(json.dumps(found.to_dict()))
    assert (told["rows"], told["equal_rows"], told["figures"]) == (25, 0, 175)
    assert told["figures_different"] == len(told["differences"]) == 25
    assert told["differences"][0] == {
        "line": 2,
        "case": "[red]<b>",
        "column": "total_cycles",
        "found": "1",
        "computed": ROWS[0]["total_cycles"],
    }
    console = Console(width=100)
    with console.capture() as printed:
        console.print(parity.table(found))
    lines = printed.get().splitlines()
    assert len(lines) == 1 + 20 + 1
    assert lines[1].split() == ["2", "[red]<b>", "total_cycles", "1", "29"]
    assert lines[-1].split() == ["...", "5", "more"]


# --- What is refused: line, column, value. ---


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "1.5", "1e3", "x", " 8", "+8", "٣", "16777217", "9" * 400]
)
@pytest.mark.parametrize("column", ["M", "N", "K", "array_rows", "array_cols"])
def test_bad_sizes_are_refused(column, text, tmp_path):
    match = rf"^line 2: `{column}` \(='.*\) must be a whole number in 1\.\.16777216\.$"
    with pytest.raises(InputError, match=match) as refusal:
        parity.parity(changed(tmp_path, 0, **{column: text}))
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("text", ["", "-1", "nan", "1.0", "9" * 19, "1_0"])
@pytest.mark.parametrize(
    "column", ["stall_cycles", *(name for name in FIGURES if not name.endswith("_pct"))]
)
def test_bad_counts_are_refused(column, text, tmp_path):
    with pytest.raises(InputError, match=rf"line 2: `{column}` \(='{text}'\) must be a w"):
        parity.parity(changed(tmp_path, 0, **{column: text}))


@pytest.mark.parametrize("text", ["", "nan", "inf", "-1.0", "1e1", "27,5", "1/3", ".5"])
@pytest.mark.parametrize("column", ["util_pct", "mapping_eff_pct"])
def test_bad_percentages_are_refused(column, text, tmp_path):
    with pytest.raises(InputError, match=rf"line 2: `{column}` .* must be a percentage"):
        parity.parity(changed(tmp_path, 0, **{column: text}))


@pytest.mark.parametrize(
    ("column", "text", "rule"),
    [
        ("kind", "fc", "one of gemm, conv"),
        ("dataflow", "rs", "one of ws, os, is"),
        ("bw_mode", "", "one of CALC, USER"),
        ("conv_ih", "3", "empty, since `kind` is gemm"),
        ("case", "\x1b[31m", "printable text"),
        ("case", "x" * 101, "printable text of at most 100"),
    ],
)
def test_bad_words_are_refused(column, text, rule, tmp_path):
    with pytest.raises(InputError, match=rf"line 2: `{column}` \(=.*\) must be {rule}"):
        parity.parity(changed(tmp_path, 0, **{column: text}))


@pytest.mark.parametrize(
    ("column", "text", "rule"),
    [
        ("M", "783", "must be 784, as the conv_ columns say"),
        ("K", "10", "must be 9, as"),
        ("N", "33", "must be 32, as"),
        ("conv_stride", "0", "must be a whole number in 1"),
        ("conv_nf", "", "must be a whole number in 1"),
        ("conv_fh", "31", "must be at most the 30 of its image"),
        ("conv_fw", "31", "must be at most the 30 of its image"),
    ],
)
def test_a_convolution_that_contradicts_itself_is_refused(column, text, rule, tmp_path):
    assert ROWS[CONV]["case"] == "lenet_conv1"
    with pytest.raises(InputError, match=rf"line 2: `{column}` \(='{text}'\) {rule}"):
        parity.parity(changed(tmp_path, CONV, **{column: text}))


def test_a_product_without_cycles_is_refused_with_its_line(tmp_path):
    one = dict.fromkeys(("M", "N", "K", "array_rows", "array_cols"), "1")
    with pytest.raises(InputError, match=r"^line 2: 1x1x1 on 1x1 os takes 0 cycles"):
        parity.parity(changed(tmp_path, 0, **one, dataflow="os"))


def test_the_line_named_is_the_line_of_the_file(tmp_path):
    text = "\n".join([*LINES[:5], "", LINES[5].replace("CALC", "FAST")])
    (tmp_path / "line.csv").write_text(text)
    with pytest.raises(InputError, match=r"^line 7: `bw_mode`"):
        parity.parity(tmp_path / "line.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: column 'case' is missing"),
        (LINES[0], "must hold a row or more"),
        (LINES[0].replace("total_cycles", "cycles"), "'total_cycles' is missing"),
        (LINES[0] + ",speed", "line 1: column 'speed' is unknown"),
        (LINES[0] + ",case", "line 1: column 'case' is double"),
        ("\n".join([LINES[0], LINES[1] + ",1"]), "line 2: 25 cells must be 24"),
        ("\n".join([LINES[0], "g64,gemm"]), "line 2: 2 cells must be 24"),
        ("\n".join([LINES[0], '"g64']), "line 2: no valid CSV: unexpected end of data"),
        ("\n".join([LINES[0], "a" * 200_000]), "line 2: no valid CSV: field larger"),
        ("x" * (parity.LIMIT_BYTES + 1), "must be of at most 4194304 bytes"),
        (b"\xff\xfe", "must be UTF-8 text"),
    ],
)
def test_bad_files_are_refused(text, message, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        parity.parity(path)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent\.csv` cannot be read: No such file"):
        parity.parity(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="must be a regular file"):
        parity.parity(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="must be a regular file"):
        parity.parity(tmp_path / "pipe")


# --- The check can fail: each term of the compatibility mode, planted wrong. ---


@pytest.mark.parametrize("column", FIGURES)
def test_a_wrong_form_is_noticed_in_every_row(column, monkeypatch):
    right = scalesim.figures

    def wrong(*shape, **array):
        found = right(*shape, **array)
        return found._replace(**{column: getattr(found, column) + 1})

    monkeypatch.setattr(scalesim, "figures", wrong)
    found = parity.parity(FILE)
    assert found.equal_rows == 0
    assert {one.column for one in found.differences} == {column}


@pytest.mark.parametrize(
    ("form", "counter", "dataflows"),
    [
        ("output_stationary", "drain", set()),
        ("output_stationary", "fill", {"os"}),
        ("output_stationary", "tiles", {"os"}),
        ("weight_stationary", "load", {"ws", "is"}),
        ("weight_stationary", "sum_writes", {"ws", "is"}),
    ],
)
def test_a_wrong_closed_form_is_noticed(form, counter, dataflows, monkeypatch):
    """All but the drain of os, which SCALE-Sim leaves out: there other tests must look."""
    right = getattr(scalesim.forms, form)

    def wrong(*shape, **array):
        found = right(*shape, **array)
        return found._replace(**{counter: getattr(found, counter) + 1})

    monkeypatch.setattr(scalesim.forms, form, wrong)
    lines = {one.line for one in parity.parity(FILE).differences}
    affected = [i + 2 for i, row in enumerate(ROWS) if row["dataflow"] in dataflows]
    assert sorted(lines) == affected
