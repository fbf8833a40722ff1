"""`python -m accel cost` and `tpu`: what they print and write, and what they refuse."""

import errno
import json
import os

import pytest
import quantised
from refusals import refused

from accel.cli.cost import FILE, PICTURES, changed
from accel.cli.design_options import Changes
from accel.cost.energy_tables import TABLES
from accel.machines.chip_file import find
from accel.machines.chips import CHIPS
from accel.tpu.stage import ASSEMBLY
from accel.tpu.stage import FILE as TPU
from quant import files
from quant.exports import onnx_qdq

# A TPU on which the tests' small networks have several tiles.
SMALL = ("--side", "8", "--images", "5", "--batch", "2")
TPU_8 = "accel/tpu_8x8"
TOPOLOGY = """Layer name, IFMAP height, IFMAP width, Filter height, Filter width, Channels, Num filter, Strides,
conv1, 28, 28, 3, 3, 1, 16, 1,
"""  # noqa: E501


@pytest.fixture
def topology(tmp_path):
    path = tmp_path / "net.csv"
    path.write_text(TOPOLOGY)
    return path


# Cost.


def test_cost_of_vgg16_on_the_first_tpu(main, capsys):
    """The lecture's figures come out of the model: weights, MACs, where they balance."""
    assert main("cost", "--config", "vgg16", "--machine", "tpu_v1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    roof = found["roofline"]
    assert roof["weights_ms"] == pytest.approx(4.07, abs=0.005)
    assert roof["macs_ms_per_image"] == pytest.approx(0.337, abs=0.0005)
    assert round(roof["balance_batch"]) == 12
    assert round(roof["ridge_macs_per_byte"]) == 1349
    assert len(found["layers"]) == 16
    assert sum(row["cycles"] for row in found["layers"]) == found["cycles"]


def test_cost_writes_what_it_says(main, tmp_path, capsys):
    out = tmp_path / "there"
    asked = ("cost", "--config", "mnist_cnn", "--out", out)
    assert main(*asked) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted((FILE, *PICTURES))
    said = capsys.readouterr().out
    assert str(out) in said
    assert "dense1" in said
    assert json.loads((out / FILE).read_text())["name"] == "mnist_cnn"
    assert main(*asked) == 2
    assert "already holds cost.json; replace it with --overwrite" in capsys.readouterr().err
    assert main(*asked, "--overwrite") == 0


def test_cost_of_a_topology_is_that_of_the_network(main, topology, capsys):
    """conv1 of mnist_cnn, from a SCALE-Sim file."""
    assert main("cost", "--topology", topology, "--json") == 0
    (ours,) = json.loads(capsys.readouterr().out)["layers"]
    assert main("cost", "--config", "mnist_cnn", "--json") == 0
    first = json.loads(capsys.readouterr().out)["layers"][0]
    assert (ours["M"], ours["K"], ours["N"]) == (676, 9, 16)
    for same in ("macs", "weight_bytes"):
        assert ours[same] == first[same]


def test_cost_of_a_run_is_that_of_its_config(main, verified, capsys):
    assert main("cost", "--run", verified, "--json") == 0
    assert json.loads(capsys.readouterr().out)["layers"]


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_cost_without_waiting_counts_as_the_array_does(main, verified, capsys, dataflow):
    """Where buffers hold all, each layer takes the cycles that verify steps."""
    asked = ("--run", verified, "--dataflow", dataflow, "--batch", 2, "--json")
    room = ("--activation-kib", 2**20, "--weight-kib", 2**20, "--sum-kib", 2**20)
    assert main("cost", *asked, *room) == 0
    ours = json.loads(capsys.readouterr().out)["layers"]
    array = ("--rows", 16, "--cols", 16, "--images", 2, "--overwrite")
    assert main("verify", *asked, *array) == 0
    stepped = json.loads(capsys.readouterr().out)["layers"]
    assert [row["compute_cycles"] for row in ours] == [
        row["cycles_simulated"] for row in stepped
    ]


def test_a_result_is_replaced_whole_or_not_at_all(main, tmp_path, monkeypatch, capsys):
    """The disk is full at the second picture; a first result leaves no folder."""
    from accel.cost import plots

    out, asked = tmp_path / "there", ("cost", "--config", "mnist_mlp", "--out")
    assert main(*asked, out) == 0
    before = quantised.listing(out)

    def full(folder, report):
        (folder / "roofline.png").write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(plots, "draw", full)
    capsys.readouterr()
    assert main(*asked, out, "--batch", 3, "--overwrite") == 2
    refused(capsys, f"`--out` (={out}) cannot be written: No space left on device; choose")
    assert quantised.listing(out) == before
    assert main(*asked, tmp_path / "new") == 2
    assert not (tmp_path / "new").exists()


def test_help_names_the_machines_and_energies_that_there_are(main, capsys):
    assert main("cost", "--help") == 0
    # Names are broken over the lines of the parser's box.
    said = "".join(capsys.readouterr().out.replace("│", " ").split())
    for name in (*CHIPS, *TABLES):
        assert name in said


def test_long_work_is_said_on_a_terminal_only(monkeypatch, capsys):
    """On stderr: results on stdout stay alone."""
    from accel.cli.output import working

    for shown in (False, True):
        monkeypatch.setenv("TTY_COMPATIBLE", "1" if shown else "0")
        with working("mapping 54 layers"):
            pass
        out, err = capsys.readouterr()
        assert out == ""
        assert ("mapping 54 layers" in err) == shown


def test_dram_energy_is_a_parameter(main, capsys):
    """Twice the energy a bit is twice the energy of DRAM, and of nothing else."""
    levels = []
    for price in ("10", "20"):
        asked = ("cost", "--config", "mnist_mlp", "--dram-pj-per-bit", price, "--json")
        assert main(*asked) == 0
        levels.append(json.loads(capsys.readouterr().out)["energy"]["by_level"])
    assert levels[1].pop("dram") == 2 * levels[0].pop("dram")
    assert levels[0] == levels[1]


def test_changes_of_a_machine_are_said(main):
    """What the user gave is marked as the user's; the rest keeps its source."""
    chip = find("tpu_v1")
    other = changed(chip, Changes(rows=128, dram_mb_per_s=180_000, sum_kib=1024))
    assert (other.machine.rows, other.machine.cols) == (128, 256)
    assert (other.memory.dram_mb_per_s, other.memory.sum_bytes) == (180_000, 1 << 20)
    assert other.sources["rows"].source == "given by the user"
    assert other.sources["cols"] == chip.sources["cols"]
    assert other.name != chip.name
    assert changed(chip, Changes()) is chip
    assert changed(chip, Changes(dataflow="os")).machine.weights == "single"


def test_static_power_is_a_parameter(main, capsys):
    """28 W at 700 MHz are 40 nJ a cycle, and nothing else changes."""
    found = []
    for watts in ("0", "28"):
        assert main("cost", "--config", "mnist_mlp", "--static-w", watts, "--json") == 0
        found.append(json.loads(capsys.readouterr().out))
    levels = [one["energy"]["by_level"] for one in found]
    assert levels[0].pop("static") == 0
    assert levels[1].pop("static") == 40_000_000 * found[1]["cycles"]
    assert levels[0] == levels[1]


@pytest.mark.parametrize("machine", ["mac", "dot_256", "tile_16x16", "tile_inputs_16x16"])
def test_the_lectures_machines_have_memory_too(main, machine, capsys):
    """Enough of it, the cycles of the machine are those of its closed form, and on one
    image a dense layer's weights are most of what moves."""
    assert main("cost", "--config", "mnist_mlp", "--machine", machine, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cycles"] == found["compute_cycles"] + found["stall_cycles"]
    dram = found["traffic"]["dram"]
    assert dram["weights"] >= found["macs"] > 100 * dram["inputs"]
    levels = found["energy"]["by_level"]
    assert max(levels, key=levels.__getitem__) in ("dram", "buffer")


# TPU.


def test_a_run_on_the_tpu_is_compared_and_written(verified, main, capsys):
    assert main("tpu", "--run", verified, *SMALL, "--overwrite") == 0
    said = capsys.readouterr().out
    assert said.startswith("VERIFIED")
    assert "the closed form" in said
    found = json.loads((verified / TPU_8 / TPU).read_text())
    assert found["verified"]
    assert found["layers_compared"]
    assert found["mismatches"] == 0 < found["compared"]
    assert found["cycles"] == found["cycles_closed_form"]
    counts = found["counts"]
    parts = ("active", "weight_stall", "weight_shift", "non_matrix")
    assert sum(counts[part] for part in parts) == found["cycles"]
    assert "Halt" in (verified / TPU_8 / ASSEMBLY).read_text()
    assert main("tpu", "--run", verified, *SMALL) == 2
    assert "already holds a run on tpu_8x8" in capsys.readouterr().err


def test_a_wrong_bit_on_the_tpu_is_named_and_status_1(verified, main, monkeypatch, capsys):
    """The check can fail: the first tile changes its signs before it is executed."""
    from accel.tpu.sim import execution

    right = execution.execute

    def wrong(program, images, machine):
        tiles = program.tiles.copy()
        tiles[0] = -tiles[0]
        changed = type(program)(**{**vars(program), "tiles": tiles})
        return right(changed, images, machine)

    monkeypatch.setattr(execution, "execute", wrong)
    assert main("tpu", "--run", verified, *SMALL, "--overwrite") == 1
    said = capsys.readouterr().out
    assert said.startswith("NOT VERIFIED")
    assert "\nfirst         image 0, conv1[" in said
    assert not json.loads((verified / TPU_8 / TPU).read_text())["verified"]


def test_a_miscount_on_the_tpu_is_status_1(verified, main, monkeypatch, capsys):
    """Every bit is right, but the closed form says one cycle more."""
    from accel.tpu.sim import maxplus

    right = maxplus.predict
    monkeypatch.setattr(maxplus, "predict", lambda *asked: right(*asked) + 1)
    assert main("tpu", "--run", verified, *SMALL, "--overwrite") == 1
    assert "NOT VERIFIED  0 of" in capsys.readouterr().out


def test_our_own_onnx_file_is_executed(verified, main, capsys):
    """Weights included: the file alone, on random pixels."""
    network = files.load(verified / "quant").network
    path = verified / "model.onnx"
    path.write_bytes(onnx_qdq.encode(network))
    assert main("tpu", "--onnx", path, *SMALL, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verified"]
    assert found["dataset"]["name"] == "random pixels, seed 0"


def test_the_papers_table_in_markdown(main, capsys):
    """A head, a rule, six applications; nothing else."""
    assert main("tpu", "--markdown") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    assert lines[2].startswith("| MLP0 | 12.3 |")


def test_a_workload_is_explained(main, capsys):
    assert main("tpu", "--workload", "mlp1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agrees"]
    assert found["batch"] == found["published"]["batch"]["value"] == 168
    assert found["latency"]["response"]["response_ms"] > 0


def test_a_program_is_written_as_text(main, topology, tmp_path, capsys):
    """It reads back as the instructions it was made of."""
    from accel.tpu.isa.assembler import assemble

    path = tmp_path / "program.asm"
    assert main("tpu", "--topology", topology, "--assembly", path) == 0
    assert str(path) in capsys.readouterr().out
    assert assemble(path.read_text())[-1].opcode.name == "Halt"


T = ("tpu", "--config", "mnist_cnn")
C = ("cost", "--config", "mnist_cnn")
MISTAKES = [
    (("cost",), "`--config` is missing; name a network with one of --config, --run"),
    ((*C, "--topology", "NET"), "`--config` (=mnist_cnn) and `--topology` (=NET) each"),
    ((*C, "--machine", "tpu_v9"), "`machine` (='tpu_v9') must be one of tpu_v1,"),
    ((*C, "--machine", "absent.toml"), "absent.toml"),
    ((*C, "--energy", "3nm"), "(='3nm')"),
    ((*C, "--machine", "mac", "--rows", "4"), "`--rows` (=4) belongs to a systolic array"),
    ((*C, "--rows", "0"), "`rows` (=0) of Systolic must be in 1..1024"),
    ((*C, "--sum-kib", "-1"), "`--sum-kib` (=-1) must be whole bytes"),
    ((*C, "--sum-kib", "0.3"), "`--sum-kib` (=0.3) must be whole bytes"),
    ((*C, "--sum-kib", "nan"), "`--sum-kib` (=nan) must be whole bytes"),
    ((*C, "--energy", ""), "`energy` (='') must be one of"),
    ((*C, "--out", ""), "`out` (='') of Cost must name a folder"),
    ((*C, "--batch", "9" * 20), "of Cost must be in 1..1,048,576"),
    (("cost", "--config", "vgg16", "--batch", "1048576"), "the number of multiplications"),
    (("cost", "--topology", "TALL"), "`images` (=2147483647) of l must be"),
    (("sweep", "--topology", "TALL"), "`images` (=2147483647) of l must be at most"),
    (("tpu", "--topology", "TALL"), "`images` (=2147483647) of l must be at most"),
    ((*C, "--dram-mb-per-s", "0"), "`dram_mb_per_s` (=0)"),
    ((*C, "--dram-pj-per-bit", "0"), "`dram_pj_per_bit` (=0.0)"),
    ((*C, "--dram-pj-per-bit", "nan"), "`dram_pj_per_bit` (=nan)"),
    ((*C, "--batch", "0"), "`batch` (=0)"),
    ((*C, "--sum-kib", "1", "--activation-kib", "0.5"), "use --activation-kib 1 or more"),
    ((*C, "--out", "NET"), "` (=NET) must be a folder, and is a file"),
    ((*C, "--out", "NET/x"), "cannot be written: "),
    (("cost", "--config", "nix"), "`config` (=nix) is not a known name"),
    (("cost", "--topology", "absent.csv"), "absent.csv"),
    (("cost", "--topology", "BAD"), "line 2"),
    (("cost", "--onnx", "NET"), "NET"),
    (("cost", "--run", "absent"), "absent"),
    ((*T, "--workload", "mlp0"), "`workload` (='mlp0') of Tpu is a network"),
    (("tpu", "--workload", "mlp7"), "invalid choice 'mlp7'"),
    (("tpu", "--batch", "3"), "`--batch` (=3) needs a network"),
    (("tpu", "--assembly", "x.asm"), "`--assembly` (=x.asm) needs a network"),
    ((*T, "--batch", "0"), "`batch` (=0)"),
    ((*T, "--markdown"), "`--markdown` (=True) is of the paper's applications"),
    ((*C, "--static-w", "-1"), "`static_w` (=-1.0)"),
    ((*T, "--side", "0"), "`side` (=0)"),
    ((*T, "--side", "1025"), "`side` (=1025)"),
    ((*T, "--side", "100"), "`side` (=100) of Tpu must be a power of two, or three times"),
    ((*T, "--clock-mhz", "0"), "`clock_mhz` (=0) of Tpu must be in 1..1,000,000"),
    ((*T, "--clock-mhz", "9" * 20), "of Tpu must be in 1..1,000,000"),
    ((*T, "--batch", "1000000"), "products of rows and tiles, and at most 2,000,000 are"),
    ((*T, "--batch", "9" * 20), "of Tpu must be in 1..1,048,576"),
    ((*T, "--images", "5"), "`--images` (=5) needs a network that is executed"),
    (("tpu", "--images", "5"), "`--images` (=5) needs a network that is executed"),
    (("tpu", "--onnx", "ONNX", "--images", "9999999999"), "must have at most 268,435,456"),
    ((*T, "--weight-mb-per-s", "0"), "`weight_mb_per_s` (=0) of Tpu must be in"),
    ((*T, "--assembly", "NET"), "exists; replace it with --overwrite"),
    ((*T, "--assembly", "."), "` (=.) must be a file"),
    (("tpu", "--run", "absent"), "`--run` (=absent) must be a run directory"),
    (("tpu", "--run", "RUN", "--images", "0"), "`images` (=0)"),
    (("tpu", "--run", "RUN", "--images", "257"), "`--images` (=257) must be in 1..256"),
    (("tpu", "--run", "RUN", "--assembly", "x.asm"), "must be left out with --run"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=lambda m: "")
def test_a_mistake_is_one_message_and_nothing_is_written(
    quantised_run, topology, tmp_path, monkeypatch, capsys, main, arguments, message
):
    bad = tmp_path / "bad.csv"
    bad.write_text(TOPOLOGY.replace("28, 28, 3", "28, 3"))
    tall = tmp_path / "tall.csv"
    tall.write_text("name, M, N, K,\nl, 2147483647, 1, 1,\n")
    own = tmp_path / "own.onnx"
    own.write_bytes(onnx_qdq.encode(files.load(quantised_run / "quant").network))
    monkeypatch.chdir(tmp_path)
    before = quantised.listing(tmp_path), quantised.listing(quantised_run)
    names = {"RUN": quantised_run, "NET": topology, "BAD": bad, "TALL": tall, "ONNX": own}

    def put(text: str) -> str:
        for name, path in names.items():
            text = text.replace(name, str(path))
        return text

    assert main(*map(put, arguments)) == 2
    refused(capsys, put(message))
    assert (quantised.listing(tmp_path), quantised.listing(quantised_run)) == before
