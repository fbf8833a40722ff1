"""Narrow numbers take fewer bytes and less energy; at 8 bits nothing is another."""

import random
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import integers
import pytest
from cost_cases import case, machine, memory

from accel.cost import narrow, reference, stepped
from accel.cost.cost import cost
from accel.cost.energy_tables import TABLES
from accel.cost.mapper import evaluate
from accel.cost.mapping import Mapping
from accel.cost.widths import narrowed, said
from accel.machines.chip_file import find
from accel.machines.machine import Mac
from accel.machines.memory import Memory
from accel.workload.from_network import workload
from accel.workload.layer import Bits, LayerWorkload, packed
from configs.errors import InputError
from configs.registry import load_network
from quant import files

PRESET = TABLES["horowitz_45nm"]


def test_packed_bytes_are_bits_written_out() -> None:
    """As many bytes as the string of all bits is long, eight to each."""
    for bits in range(1, 9):
        for numbers in range(40):
            assert packed(bits, numbers) == len(range(0, bits * numbers, 8))


def test_a_walk_by_hand() -> None:
    """Two rows of 3 inputs of 4 bits (2 bytes each), 3 x 2 weights of 3 bits (18 bits are
    3 bytes), 2 outputs of 5 bits (2 bytes) a row; slices of K put out sums of 4 bytes."""
    work = LayerWorkload(name="l", images=2, row_bytes=3, K=3, N=2, weight_bits=3,
                         activation_bits=4, output_bits=5)  # fmt: skip
    got = reference.walk(Mac(), work, Memory(), Mapping(strip=1, K=3, N=2))
    assert (got.dram_inputs, got.dram_weights, got.dram_outputs) == (4, 3, 4)
    # Both weights of a slice of one take a byte.
    got = reference.walk(Mac(), work, Memory(), Mapping(strip=1, K=1, N=2, order="KMN"))
    assert (got.dram_weights, got.dram_sums_written) == (3, 2 * 2 * 2 * 4)


def mismatches(cases: int) -> int:
    """Random layers of random widths in which closed form, walk or steps differ."""
    draw, wrong = random.Random(21), 0
    for at in range(cases):
        one, array, around = case(draw), machine(draw), memory(draw)
        widths = ("weight_bits", "activation_bits", "output_bits")
        work = replace(one.work, **{name: draw.randint(1, 8) for name in widths})
        want = reference.walk(array, work, around, one.mapping, one.places)
        got = evaluate(work, array, around, one.mapping, one.places)
        same = tuple(work.repeats * n for n in got.totals) == want[:-1]
        if at < 3:
            seen = reference.walk(
                array, work, around, one.mapping, one.places, stepped.cycles
            )
            same = same and seen == want
        wrong += not same
    return wrong


def test_the_closed_form_and_the_steps_equal_the_walk() -> None:
    assert mismatches(120) == 0


def test_planted_outputs_of_whole_bytes_are_seen(monkeypatch) -> None:
    monkeypatch.setattr(reference, "packed", lambda bits, numbers: numbers)
    assert mismatches(20) > 0


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_mac_by_the_rule(name: str) -> None:
    """Half of the 64 cells halve the multiplier alone; at 8 x 8 it is the table's."""
    preset = TABLES[name]
    assert narrow.mac(preset, Bits()) is preset.mac
    half, least = (
        narrow.mac(preset, Bits(weights, 8)) for weights in (4, 1)
    )  # fmt: skip
    parts = {"horowitz_45nm": ("0.2", "0.1"), "tpuv4i_7nm": ("0.07", "0.03")}
    multiply, add = map(Fraction, parts.get(name, parts["horowitz_45nm"]))
    for one, cells in ((half, Fraction(32, 64)), (least, Fraction(8, 64))):
        wanted = float(preset.mac.value) * float(
            (multiply * cells + add) / (multiply + add)
        )
        assert float(one.value) == pytest.approx(wanted)
        assert one.status == "assumed"
        assert "product of the widths" in one.source


def test_w4a4_costs_less_than_w8a8_in_the_same_cycles_of_the_array() -> None:
    load = workload(load_network("mnist_cnn"), 4)
    for chip in (find("small_16x16"), find("dot_256")):
        eight, four = (
            cost(narrowed(load, weight_bits=n, activation_bits=n), chip, PRESET,
                 mapping="fixed")
            for n in (8, 4)
        )  # fmt: skip
        assert eight["layers"] == cost(load, chip, PRESET, mapping="fixed")["layers"]
        assert four["compute_cycles"] == eight["compute_cycles"]
        assert four["dram_bytes"] < 0.6 * eight["dram_bytes"]
        for level, value in four["energy"]["by_level"].items():
            assert value <= eight["energy"]["by_level"][level]
        assert four["energy"]["total"] < 0.8 * eight["energy"]["total"]
        assert (eight["workload"]["widths"], four["workload"]["widths"]) == ("W8A8", "W4A4")
        assert any(note.startswith("Narrow numbers are packed") for note in four["notes"])
        assert not any(note.startswith("Narrow") for note in eight["notes"])


def test_the_ends_of_a_network_keep_bytes_and_attention_has_no_weights() -> None:
    works = tuple(
        LayerWorkload(name=f"l{i}", row_bytes=4, K=4, N=4, weight_sets=sets)
        for i, sets in enumerate((None, 0, None))
    )
    load = replace(workload(load_network("mnist_cnn")), works=works)
    got = narrowed(load, weight_bits=2, activation_bits=4).works
    assert [tuple(work.bits) for work in got] == [(2, 8, 4), (4, 4, 4), (2, 4, 8)]
    with pytest.raises(InputError, match=r"`weight_bits` \(=9\).* must be in 1\.\.8"):
        narrowed(load, weight_bits=9)


def test_a_run_has_its_own_widths(tmp_path, monkeypatch) -> None:
    """Of each layer; an option goes before."""
    load = workload(load_network("mnist_cnn"))
    bits = iter(((2, 8, 4), (3, 4, 5), (4, 5, 8), (8, 8, 8)))
    layers = [
        SimpleNamespace(
            product=SimpleNamespace(name=f"{work.name}.sum", weights=work.name),
            weighted=SimpleNamespace(weight_bits=w),
            input=SimpleNamespace(bits=i),
            output=SimpleNamespace(bits=o),
        )
        for work, (w, i, o) in zip(load.works, bits, strict=False)
    ]
    titles = {one.product.name: one.product.weights for one in layers}
    program = SimpleNamespace(titles=lambda: titles)
    network = SimpleNamespace(walk=lambda: layers, program=program)
    monkeypatch.setattr(files, "load", lambda _: SimpleNamespace(network=network))
    assert narrowed(load, tmp_path).works == load.works
    (tmp_path / "quant").mkdir()
    (tmp_path / "quant" / "manifest.json").write_text("{}")
    got = narrowed(load, tmp_path).works
    assert [tuple(w.bits) for w in got[:3]] == [(2, 8, 4), (3, 4, 5), (4, 5, 8)]
    assert said(got[:3]) == "W2/3/4A4/5"
    assert all(w.weight_bits == 6 for w in narrowed(load, tmp_path, weight_bits=6).works)
    layers.pop()
    with pytest.raises(InputError, match="holds no quantised layer"):
        narrowed(load, tmp_path)


def test_a_quantised_network_packs_its_weights() -> None:
    network = integers.filled(load_network("mnist_cnn"), weight_bits=3)
    weights = [w.weights.size for w in network.weighted.values()]
    saved = sum(size - len(range(0, 3 * size, 8)) for size in weights)
    assert network.size_bytes() - network.packed_bytes() == saved > 0
