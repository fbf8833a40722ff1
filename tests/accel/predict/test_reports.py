"""Reports that SCALE-Sim 3.0.0 wrote here are equal; a changed figure is noticed.

Made by `scalesim` with numpy 2.3, in the mode CALC, of the two topologies below.
"""

import pytest
from refusals import refused

from accel.predict import parity, reports
from configs.errors import InputError

TOPOLOGIES = {
    "conv": """Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,
conv1, 12, 11, 3, 3, 2, 5, 2,
conv2, 7, 7, 1, 1, 9, 20, 1,
dw_DP, 6, 6, 3, 3, 3, 1, 1,
fc, 1, 1, 1, 1, 40, 10, 1,
""",  # noqa: E501
    "gemm": "Layer,M,N,K,\nq,13,10,17,\nk,8,8,8,\nlong,3,40,21,\nrow,1,10,33,\n",
}
ARRAYS = {"conv": (8, 4), "gemm": (4, 8)}
VERSION_3 = "LayerID, Total Cycles (incl. prefetch), Total Cycles, Stall Cycles, Overall Util %, Mapping Efficiency %, Compute Util %,"  # noqa: E501
VERSION_2 = VERSION_3.replace(" Total Cycles (incl. prefetch),", "")
ACCESS = "LayerID, SRAM IFMAP Start Cycle, SRAM IFMAP Reads, SRAM Filter Reads, SRAM OFMAP Writes, DRAM IFMAP Reads,"  # noqa: E501
COMPUTE = {
    "conv_ws": """
0, 465, 287, 0, 29.398954703832754, 46.875, 27.573529411764703,
1, 1224, 669, 0, 41.199551569506724, 56.25, 39.374999999999986,
2, 140, 67, 0, 6.7164179104477615, 14.0625, 6.081081081081082,
3, 140, 67, 0, 6.7164179104477615, 14.0625, 6.081081081081082,
4, 140, 67, 0, 6.7164179104477615, 14.0625, 6.081081081081082,
5, 362, 284, 0, 4.401408450704225, 83.33333333333334, 3.787878787878788,
""",
    "conv_os": """
0, 326, 223, 0, 37.836322869955154, 58.59375, 37.667410714285715,
1, 974, 664, 0, 41.5097891566265, 87.5, 41.4473684210526,
2, 106, 37, 0, 12.162162162162161, 25.0, 11.842105263157894,
3, 106, 37, 0, 12.162162162162161, 25.0, 11.842105263157894,
4, 106, 37, 0, 12.162162162162161, 25.0, 11.842105263157894,
5, 217, 149, 0, 8.389261744966444, 10.416666666666668, 8.333333333333332,
""",
    "conv_is": """
0, 729, 551, 0, 15.31306715063521, 70.3125, 13.521634615384617,
1, 1542, 987, 0, 27.925531914893618, 53.004807692307686, 25.85600375234522,
2, 224, 151, 0, 2.980132450331126, 56.25, 2.5568181818181817,
3, 224, 151, 0, 2.980132450331126, 56.25, 2.5568181818181817,
4, 224, 151, 0, 2.980132450331126, 56.25, 2.5568181818181817,
5, 217, 139, 0, 8.992805755395683, 25.0, 8.064516129032258,
""",
    "gemm_ws": """
0, 416, 269, 0, 25.673791821561338, 53.125, 20.312500000000007,
1, 124, 43, 0, 37.2093023255814, 100.0, 27.586206896551722,
2, 729, 509, 0, 15.471512770137524, 87.5, 10.9375,
3, 346, 269, 0, 3.83364312267658, 57.291666666666664, 2.604166666666667,
""",
    "gemm_os": """
0, 297, 215, 0, 32.122093023255815, 50.78125, 31.973379629629626,
1, 108, 35, 0, 45.714285714285715, 100.0, 44.44444444444444,
2, 299, 154, 0, 51.13636363636363, 75.0, 50.806451612903224,
3, 152, 85, 0, 12.132352941176471, 15.625, 11.991279069767442,
""",
    "gemm_is": """
0, 386, 239, 0, 28.89644351464435, 69.0625, 22.27822580645161,
1, 124, 43, 0, 37.2093023255814, 100.0, 27.586206896551722,
2, 543, 323, 0, 24.38080495356037, 32.8125, 21.51639344262295,
3, 292, 215, 0, 4.796511627906977, 11.458333333333332, 3.6962365591397845,
""",
}
# SRAM reads of maps and filters, SRAM writes.
ACCESSES = {
    "conv_ws": "1080, 90, 450; 2205, 180, 1960; 144, 9, 32; "
    "144, 9, 32; 144, 9, 32; 120, 400, 50",
    "conv_os": "1080, 360, 246; 2205, 1260, 1400; 144, 18, 40; "
    "144, 18, 40; 144, 18, 40; 120, 400, 46",
    "conv_is": "540, 720, 450; 441, 2340, 1960; 144, 36, 32; "
    "144, 36, 32; 144, 36, 32; 40, 400, 50",
    "gemm_ws": "442, 170, 650; 64, 64, 128; 315, 840, 720; 66, 330, 90",
    "gemm_os": "442, 680, 226; 64, 128, 88; 315, 840, 180; 66, 330, 34",
    "gemm_is": "221, 340, 650; 64, 64, 128; 63, 840, 720; 33, 330, 90",
}


@pytest.fixture
def compared(tmp_path):
    """Compares a report of one of the runs."""

    def compare(tag: str, text: str, **changes):
        kind, dataflow = tag.split("_")
        rows, cols = ARRAYS[kind]
        run = {"rows": rows, "cols": cols, "dataflow": dataflow} | changes
        report, topology = tmp_path / "report.csv", tmp_path / "topology.csv"
        report.write_text(text)
        topology.write_text(TOPOLOGIES[kind])
        run = reports.Run(topology=topology, **run)
        return reports.parity(report, reports.named(report), run)

    return compare


def compute(tag: str, version: int = 3) -> str:
    if version == 3:
        return VERSION_3 + COMPUTE[tag]
    lines = COMPUTE[tag].strip().splitlines()
    cells = [line.split(", ") for line in lines]
    return "\n".join([VERSION_2, *(", ".join([c[0], *c[2:]]) for c in cells)])


def access(tag: str) -> str:
    rows = enumerate(ACCESSES[tag].split("; "))
    return "\n".join([ACCESS, *(f"{i}, 9.0, {row}, 77," for i, row in rows)])


@pytest.mark.parametrize("tag", COMPUTE)
def test_reports_that_the_tool_wrote_are_equal(compared, tag):
    layers = len(COMPUTE[tag].split("\n")) - 2
    for text, figures in (
        (compute(tag), 4), (compute(tag, 2), 4), (access(tag), 3),
    ):  # fmt: skip
        found = compared(tag, text)
        assert (found.rows, found.figures) == (layers, figures * layers)
        assert found.differences == ()


@pytest.mark.parametrize("column", range(2, 7))
@pytest.mark.parametrize("row", range(4))
def test_any_changed_figure_is_noticed(compared, row, column):
    lines = compute("gemm_os").splitlines()
    cells = lines[1 + row].split(", ")
    named = VERSION_3.split(", ")[column].strip(",").lower()
    cells[column] = cells[column].strip(",")
    cells[column] = cells[column][:-1] + str((int(cells[column][-1]) + 1) % 10)
    if column > 3:
        cells[column] = f"{float(cells[column]) + 1e-4}"
    lines[1 + row] = ", ".join(cells)
    found = compared("gemm_os", "\n".join(lines))
    differ = [(one.line, one.column) for one in found.differences]
    # Stalls are taken as they are: the total, and what is divided by it, then differ.
    wrong = ["total cycles", "overall util %"] if column == 3 else [named]
    assert differ == [(2 + row, name) for name in wrong]
    assert found.differences[0].case == ("q", "k", "long", "row")[row]


def test_another_machine_is_no_match(compared):
    for changes in ({"rows": 5}, {"cols": 9}, {"dataflow": "is"}):
        found = compared("gemm_ws", compute("gemm_ws"), **changes)
        # The second product is a cube: held inputs take what held weights do.
        equal = 1 if "dataflow" in changes else 0
        assert found.equal_rows == equal
        assert parity.headline(found).startswith(f"{equal} of 4 rows equal; ")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_columns_are_told_by_their_header(compared, separator):
    cells = [[c.strip() for c in ln.split(",")] for ln in compute("gemm_ws").splitlines()]
    text = "\r\n".join(separator.join(reversed(row)) for row in cells)
    assert compared("gemm_ws", f"\ufeff{text}\r\n\r\n").differences == ()


def test_stalls_are_added_to_the_total(compared):
    """43 cycles and 7 of waiting: 512 products on 32 PEs in 50 cycles are 32 %."""
    lines = compute("gemm_ws").splitlines()
    assert lines[2].startswith("1, 124, 43, 0, 37.20")
    lines[2] = "1, 124, 50, 7, 32.0, 100.0, 27.586206896551722,"
    assert compared("gemm_ws", "\n".join(lines)).differences == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\n1, 124", "\n7, 124", "line 3: `layerid` (='7') must be 1, as rows stand in"),
        (" 43, 0", " 43.5, 0", "line 3: `total cycles` (='43.5') must be a whole number"),
        (" 43, 0", " 43, ", "line 3: `stall cycles` (='') must be a whole number"),
        (
            " 100.0,",
            " nan,",
            "line 3: `mapping efficiency %` (='nan') must be a percentage",
        ),
        ("Stall Cycles", "Stalls", "line 1: column 'stall cycles' is missing; COMPUTE_REP"),
        ("Stall Cycles", "Total Cycles", "line 1: column 'total cycles' is there twice"),
        ("\n1, 124, 43, 0", "\n1, 124, 43, 0\n", "has 5 rows, and `"),
    ],
)
def test_bad_reports_name_line_column_and_value(compared, old, new, message):
    with pytest.raises(InputError) as refusal:
        compared("gemm_ws", compute("gemm_ws").replace(old, new, 1))
    assert message in str(refusal.value)


def test_sides_that_no_array_has(compared):
    with pytest.raises(InputError, match=r"`--cols` \(=0\) must be in 1\.\.1048576"):
        compared("gemm_ws", compute("gemm_ws"), cols=0)


# --- The command. ---


@pytest.fixture
def files(tmp_path):
    """A report, its topology, and a file that says its machine itself."""
    (tmp_path / "COMPUTE.csv").write_text(compute("gemm_is"))
    (tmp_path / "BANDWIDTH.csv").write_text("LayerID, Avg IFMAP SRAM BW,\n0, 1.0,\n")
    (tmp_path / "net.csv").write_text(TOPOLOGIES["gemm"])
    return tmp_path


def test_the_command_compares_a_report(main, files, capsys):
    given = ("--topology", files / "net.csv", "--rows", "4", "--cols", "8")
    asked = ("parity", files / "COMPUTE.csv", *given)
    assert main(*asked, "--dataflow", "is") == 0
    assert capsys.readouterr().out == "4 of 4 rows equal; 0 of 16 figures differ\n"
    assert main(*asked, "--dataflow", "ws", "--json") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("COMPUTE.csv",), "COMPUTE_REPORT.csv, which says neither layers nor array; give "
         "--topology, --rows, --cols, --dataflow too: python -m accel parity "),
        (("COMPUTE.csv", "--rows", "4", "--topology", "t"), "give --cols, --dataflow too"),
        (("BANDWIDTH.csv",), "BANDWIDTH_REPORT.csv, whose figures are ratios of those in"),
        (("net.csv",), "Of what SCALE-Sim writes itself, give COMPUTE_REPORT.csv or DETAI"),
        (("net.csv", "--rows", "4"), "`--rows` (=4) belongs to a COMPUTE_REPORT.csv of"),
    ],
)  # fmt: skip
def test_the_command_says_what_a_report_needs(main, files, capsys, arguments, message):
    assert main("parity", files / arguments[0], *arguments[1:]) == 2
    refused(capsys, message)
