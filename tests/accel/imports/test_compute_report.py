"""SCALE-Sim's own COMPUTE_REPORT.csv: as it writes it, and with changes."""

import pytest

from accel.imports.compute_report import Array, compare, is_report
from configs.errors import InputError

# Three products on 8 x 8 PEs, weight stationary, by the rule of SCALE-Sim: one less than
# ceil(K / 8) ceil(N / 8) (2 * 8 + M + 8 - 2).
GEMM = "Layer,M,N,K,\na,8,8,8,\nb,64,64,64,\nc,5,9,17,\n"
V3 = (
    "LayerID, Total Cycles (incl. prefetch), Total Cycles, Stall Cycles, Overall Util %, "
    "Mapping Efficiency %, Compute Util %,\n"
)
V2 = V3.replace(" Total Cycles (incl. prefetch),", "")
# 29; 64 * 86 - 1; 3 * 2 * 27 - 1.
CYCLES = (29, 5503, 161)
# macs / (cycles * 64); K / (ceil(K / 8) 8) * N / (ceil(N / 8) 8).
UTIL = ("27.5862", "74.4321", "7.4243")
MAPPED = ("100.0", "100.0", "39.8438")


def written(folder, head=V3, stalls=0, cycles=CYCLES, topology=GEMM):
    (folder / "t.csv").write_text(topology)
    lines = [head]
    for i, count in enumerate(cycles):
        util = UTIL[i]
        prefetch = f" {count + 8}," if "prefetch" in head else ""
        lines.append(f"{i},{prefetch} {count}, {stalls}, {util}, {MAPPED[i]}, 9.0,\n")
    (folder / "r.csv").write_text("".join(lines))
    return folder / "r.csv", Array(
        topology=folder / "t.csv", rows=8, cols=8, dataflow="ws"
    )  # fmt: skip


@pytest.mark.parametrize("head", [V2, V3, V3.replace(", ", ","), V2.replace(",", ";")])
def test_a_report_is_computed_again(head, tmp_path):
    path, array = written(tmp_path, head)
    if ";" in head:
        path.write_text(path.read_text().replace(",", ";"))
    assert is_report(path)
    found = compare(path, array)
    assert (found.rows, found.figures, found.differences) == (3, 9, ())


def test_a_changed_figure_is_found(tmp_path):
    path, array = written(tmp_path, cycles=(29, 5504, 161))
    (one,) = compare(path, array).differences
    assert (one.line, one.case, one.column) == (3, "b", "Total Cycles")
    assert (one.found, one.computed) == ("5504", "5503")


def test_another_array_is_another_report(tmp_path):
    path, array = written(tmp_path)
    other = Array(topology=array.topology, rows=8, cols=8, dataflow="os")
    assert compare(path, other).equal_rows == 0


def test_stalls_are_taken_as_they_are(tmp_path):
    """They lengthen the total and thin out the utilisation."""
    path, array = written(tmp_path)
    text = path.read_text().replace("0, 37, 29, 0, 27.5862", "0, 37, 58, 29, 13.7931")
    path.write_text(text)
    assert compare(path, array).differences == ()


def test_depthwise_layers_are_one_line_a_channel(tmp_path):
    """SCALE-Sim's report has as many lines as the layer has channels."""
    topology = "Conv_DP,9,9,3,3,2,1,1,\n"
    path, array = written(tmp_path, topology=topology)
    # M = 49, K = 9, N = 1: two tiles of 71 cycles, less one.
    util = f"{100 * 441 / (141 * 64):.4f}"
    lines = "".join(f"{i}, 9, 141, 0, {util}, {100 * 9 / 128:.4f}, 1,\n" for i in (0, 1))
    path.write_text(V3 + lines)
    assert compare(path, array).differences == ()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (V3.replace("Stall Cycles", "Stalls") + "0, 1, 1, 1, 1, 1, 1\n", "`Stall Cycles`"),
        ("LayerID, IFMAP SRAM Start Cycle,\n0, 1\n", "COMPUTE_REPORT.csv"),
        (V3 + "0, 29, 29, 0, 27.5862, 100.0, 9.0,\n", "holds 1 layers"),
        (V3 + "7, 1, 1, 0, 1, 1, 1\n" * 3, "line 2: `LayerID`"),
        (V3 + "0, 1, x, 0, 1, 1, 1\n" * 3, "line 2: `Total Cycles`"),
        (V3 + "0, 1, 29, 0, -1, 1, 1\n" * 3, "line 2: `Overall Util %`"),
        (V3 + "0, 1, 29\n" * 3, "line 2: `Stall Cycles`"),
    ],
)
def test_what_is_no_such_report_is_refused(text, named, tmp_path):
    path, array = written(tmp_path)
    path.write_text(text)
    with pytest.raises(InputError, match=named):
        compare(path, array)


def test_it_must_be_told_what_it_is_of(tmp_path):
    path, _ = written(tmp_path)
    with pytest.raises(InputError, match="--topology NET"):
        compare(path, None)
