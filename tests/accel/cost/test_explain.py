"""What the sentences say is what the walk counts, read back from the words."""

import random
import re

from cost_cases import case, machine, memory

from accel.cost import explain
from accel.cost.closed_form import Totals
from accel.cost.mapper import choose
from accel.cost.mapping import Mapping
from accel.cost.reference import walk
from accel.machines.chip_file import find
from accel.machines.machine import Systolic
from accel.workload.layer import LayerWorkload


def _bytes(text: str) -> float:
    number, unit = text.split()
    return float(number) * {"B": 1, "kB": 1e3, "MB": 1e6}[unit]


def _near(said: float, true: float, unit: float) -> bool:
    """Rounded to the digits that are shown."""
    return abs(said - true) <= 0.5001 * unit


def _times(said: str, moved: int, size: int) -> bool:
    if said == "once":
        return moved == size
    if said.startswith("not at all"):
        return moved == 0
    number = float(said.removesuffix(" times").replace(",", ""))
    return moved != size and abs(number - moved / size) <= max(0.005 * number, 0.5)


def _other(work: LayerWorkload, text: str, mapping: Mapping) -> Mapping:
    """The runner-up, from its order and what differs."""
    order, _, sizes = text.partition(" with ")
    fields = dict(part.split() for part in sizes.split(", ") if part)
    return Mapping(**{
        **vars(mapping), "order": order, **{k: int(v) for k, v in fields.items()}
    })  # fmt: skip


def _check(work: LayerWorkload, array: Systolic, around, places) -> set[str]:
    """Every number of a sentence; kinds of sentences seen."""
    found = choose(work, array, around, places, objective="cycles")
    got = walk(array, work, around, found.mapping, places)
    bound, saves, *rest = found.why.removesuffix(".").split("; ")
    share = float(re.search(r"([\d.]+) % of the cycles", bound)[1])
    true = 100 * got.stall / got.cycles
    assert _near(share, true, 0.1)
    weights, inputs, sums = saves.split(", ", 2)
    assert _times(
        weights.removeprefix("weights come "), got.dram_weights, work.weight_bytes
    )
    assert _times(inputs.removeprefix("inputs "), got.dram_inputs, work.input_bytes)
    kinds = {"waits" if share >= 50 else "works", re.sub(r"[\d.]+ k?M?B", "some", sums)}
    if got.dram_sums_read:
        said = _bytes(sums.removesuffix(" of partial sums go out and back"))
        assert abs(said - got.dram_sums_read) <= 0.06 * got.dram_sums_read
        assert got.dram_sums_read == got.dram_sums_written
    else:
        whole = found.mapping.trips(work)["K"] == 1
        assert whole == sums.startswith("K is whole")
        assert whole or sums.endswith("stay on the chip")
    assert len(rest) == 1
    match = re.fullmatch(
        r"(?:(\d+) more as good, )?runner-up (.+): ([+-][\d,.e-]+) % cycles, ([+-])(.+)",
        rest[0],
    )
    if match is None:
        assert re.fullmatch(r"no other fits|\d+ more as good, none is worse", rest[0])
        return kinds | {"alone"}
    other = _other(work, match[2], found.mapping)
    its = walk(array, work, around, other, places)
    assert (its.cycles, its.dram) > (got.cycles, got.dram)
    cycles = 100 * (its.cycles - got.cycles) / got.cycles
    assert abs(float(match[3].replace(",", "")) - cycles) <= max(0.06 * cycles, 1e-9)
    moved = its.dram - got.dram
    assert (match[4] == "-") == (moved < 0)
    assert abs(_bytes(match[5]) - abs(moved)) <= 0.06 * abs(moved)
    return kinds | {"runner-up"}


def test_fifty_layers_and_their_sentences() -> None:
    """Random layers under tight and wide buffers, kept maps, ports, both bufferings; all
    kinds of sentences occur."""
    draw, seen = random.Random(11), set()
    for _ in range(50):
        one, array = case(draw), machine(draw)
        work = LayerWorkload(**(vars(one.work) | {"repeats": 1}))
        around = memory(draw, sum_bytes=draw.choice([250, 900, 9000]),
                        weight_bytes=draw.choice([40, 200, 9000]))  # fmt: skip
        seen |= _check(work, array, around, one.places)
    assert seen >= {
        "waits", "works", "runner-up",
        "K is whole and no partial sum leaves the chip",
        "some of partial sums stay on the chip",
    }  # fmt: skip


def test_sums_that_go_out_are_said() -> None:
    """By hand: 8 sums of 4 bytes go out and come back; weights once, inputs twice."""
    work = LayerWorkload(name="fc", images=4, row_bytes=4, K=4, N=2)
    mapping = Mapping(images=2, strip=1, K=2, N=2, order="KMN")
    chip = find("small_16x16")
    got = walk(chip.machine, work, chip.memory, mapping)
    why = explain.reasons(work, mapping, Totals(*got[:7]), None, 0)
    assert "weights come once, inputs 2 times, 32 B of partial sums go out and back" in why
    kept = Mapping(images=4, strip=1, K=2, N=2)
    got = walk(chip.machine, work, chip.memory, kept)
    why = explain.reasons(work, kept, Totals(*got[:7]), None, 3)
    assert "32 B of partial sums stay on the chip; 3 more as good, none is worse." in why


def test_a_group_is_told_of_one_group() -> None:
    """Totals are those of one repeat, and so are the sizes that they are divided by."""
    work = LayerWorkload(name="conv", row_bytes=4, K=4, N=2, repeats=3)
    why = explain.reasons(
        work, Mapping(strip=1, K=4, N=2), Totals(9, 9, 4, 8, 0, 0, 2), None, 0
    )
    assert "weights come once, inputs once" in why


def test_large_numbers_are_written_out() -> None:
    """No powers of ten: 1250 times, 123 %."""
    work, mapping = (
        LayerWorkload(name="fc", row_bytes=4, K=4, N=2),
        Mapping(strip=1, K=4, N=2),
    )
    mine = Totals(100, 50, 5000, 8, 0, 0, 2)
    other = Totals(223, 50, 5000, 8, 0, 0, 2)
    why = explain.reasons(work, mapping, mine, (mapping, other), 0)
    assert "inputs 1,250 times" in why
    assert "MNK: +123 % cycles, +0 B" in why
    spills = mine._replace(dram_sums_read=700, dram_sums_written=800)
    assert ", +1.5 kB." in explain.reasons(work, mapping, mine, (mapping, spills), 0)
    assert ", -1.5 kB." in explain.reasons(work, mapping, spills, (mapping, mine), 0)
    small = explain.reasons(work, mapping, mine, (mapping, mine._replace(cycles=101)), 0)
    assert ": +1 % cycles" in small
    long = mine._replace(cycles=10**7)
    more = explain.reasons(
        work, mapping, long, (mapping, mine._replace(cycles=10**7 + 3)), 0
    )
    assert ": +0.000030 % cycles" in more
