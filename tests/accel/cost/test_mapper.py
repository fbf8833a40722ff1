"""The mapper finds what trying everything with the walk finds."""

import random
import re
from itertools import product

import pytest
from cost_cases import case, machine, memory

from accel.cost import closed_form, explain, mapspace
from accel.cost.access_counts import held, moved
from accel.cost.energy import energy, prices
from accel.cost.energy_tables import TABLES
from accel.cost.fixed_mapping import fixed
from accel.cost.mapper import choose
from accel.cost.mapping import Mapping
from accel.cost.reference import walk
from accel.machines.chip_file import find
from accel.machines.machine import Systolic
from accel.machines.memory import Memory
from accel.workload.layer import LayerWorkload
from configs.errors import InputError

CHIP = find("small_16x16")
PRICES = prices(TABLES["horowitz_45nm"], CHIP.capacities, clock_mhz=700)


def _everything(work: LayerWorkload, array: Systolic):
    """All mappings, enumerated by themselves."""
    strips = [(1, d) for d in range(1, work.out_rows + 1) if work.out_rows % d == 0]
    strips += [(n, work.out_rows) for n in range(2, work.images + 1)]
    Ks = sorted({*range(array.rows, work.K, array.rows), work.K})
    Ns = sorted({*range(array.cols, work.N, array.cols), work.N})
    for (images, strip), K, N, order in product(strips, Ks, Ns, mapspace.ORDERS):
        yield Mapping(images=images, strip=strip, K=K, N=N, order=order)


def _best(work, array, around, places, objective) -> tuple[int, int]:
    """Smallest key and number of legal mappings, by the walk."""
    keys = []
    if objective == "balanced":
        pairs, legal = _pairs(work, array, around, places)
        fewest = min(cycles for cycles, _ in pairs)
        within = [(dram, c) for c, dram in pairs if 100 * c <= 101 * fewest]
        return min(within)[::-1], legal
    for mapping in _everything(work, array):
        try:
            got = walk(array, work, around, mapping, places)
        except InputError:
            continue
        keys.append(_key(got, work, array, objective))
    return min(keys), len(keys)


def _pairs(work, array, around, places) -> tuple[list[tuple[int, int]], int]:
    """Cycles and bytes of every legal mapping."""
    found = []
    for mapping in _everything(work, array):
        try:
            got = walk(array, work, around, mapping, places)
        except InputError:
            continue
        found.append((got.cycles, got.dram))
    return found, len(found)


def _key(got, work, array, objective):
    if objective in ("balanced", "cycles"):
        return got.cycles, got.dram
    traffic = moved(got.counters, got, sums=work.M * work.N, held=held(array))
    spent = energy(traffic, macs=work.macs, cycles=got.cycles, prices=PRICES).total
    return (spent, got.cycles) if objective == "energy" else spent * got.cycles


@pytest.mark.parametrize("objective", ["balanced", "cycles", "energy", "edp"])
def test_nothing_is_better(objective: str) -> None:
    """Ten layers whose buffers are tight; the choice's own totals are the walk's."""
    draw = random.Random(5)
    for _ in range(10):
        one, array = case(draw), machine(draw)
        work = LayerWorkload(**(vars(one.work) | {"repeats": 1}))
        around = memory(draw, sum_bytes=draw.choice([200, 800]),
                        weight_bytes=draw.choice([40, 200]))  # fmt: skip
        kind = {"objective": objective, "prices": PRICES}
        found = choose(work, array, around, one.places, **kind)
        best, legal = _best(work, array, around, one.places, objective)
        got = walk(array, work, around, found.mapping, one.places)
        assert _key(got, work, array, objective) == best
        assert found.legal == legal
        assert (found.totals.cycles, sum(found.totals[2:])) == (got.cycles, got.dram)
        assert found.counters == got.counters


def _classes(work, array, around, places) -> dict[tuple, tuple]:
    """Key of every legal mapping that differs, by its blocks and its loops of more than
    one block, with the mapping of the first order."""
    found = {}
    for mapping in _everything(work, array):
        try:
            got = walk(array, work, around, mapping, places)
        except InputError:
            continue
        loops = [d for d in mapping.order if mapping.trips(work)[d] > 1]
        blocks = mapping.images * mapping.strip, mapping.K, mapping.N
        at = (*blocks, "".join(loops))
        found.setdefault(at, ((got.cycles, got.dram), blocks, mapping))
    return found


def test_ties_and_the_runner_up() -> None:
    """Of equals the largest blocks win; all others are counted; what comes next is named,
    again by its largest blocks, wherever a layer has such."""
    draw, ties = random.Random(8), 0
    for _ in range(16):
        one, array = case(draw, 5), machine(draw)
        work = LayerWorkload(**(vars(one.work) | {"repeats": 1}))
        around = memory(draw, sum_bytes=draw.choice([100, 300]))
        found = choose(work, array, around, one.places, objective="cycles")
        all_of = _classes(work, array, around, one.places)
        assert found.evaluated == len(all_of)
        ranked = sorted({key for key, *_ in all_of.values()})
        best, *next_best = [
            [(blocks, mapping) for key, blocks, mapping in all_of.values() if key == wanted]
            for wanted in ranked[:2]
        ]
        largest = max(blocks for blocks, _ in best)
        assert found.mapping == next(m for blocks, m in best if blocks == largest)
        equals = re.search(r"(\d+) more as good", found.why)
        assert int(equals[1] if equals else 0) == len(best) - 1
        ties += len(best) > 1
        if next_best:
            largest = max(blocks for blocks, _ in next_best[0])
            other = next(m for blocks, m in next_best[0] if blocks == largest)
            assert f"runner-up {explain._differs(found.mapping, other)}:" in found.why
    assert ties > 5


def test_balanced_trades_a_hundredth_of_the_cycles_for_bytes() -> None:
    """A product of many tokens: at most 1 % slower, for fewer bytes."""
    work = LayerWorkload(name="q", images=1024, row_bytes=256, K=256, N=256)
    chip = find("gemmini_16x16")
    fast, even = (
        choose(work, chip.machine, chip.memory, objective=name).totals
        for name in ("cycles", "balanced")
    )
    assert fast.cycles < even.cycles <= 1.01 * fast.cycles
    assert sum(even[2:]) < 0.95 * sum(fast[2:])


def test_the_counts_of_what_was_tried() -> None:
    """Six orders of every choice of blocks; of orders that cannot differ one is done."""
    work = LayerWorkload(name="l", out_rows=4, row_bytes=8, K=8, N=4)
    found = choose(work, Systolic(rows=4, cols=4), Memory())
    assert found.everything == found.candidates == found.legal == 6 * 3 * 2
    # Blocks of M 1 or more, of K 1 or 2: one order of one loop, two of two.
    assert found.evaluated == 1 + 1 + 2 * (1 + 2)


def test_many_sizes_are_thinned_and_said() -> None:
    """A layer of 2 million mappings on a small array."""
    work = LayerWorkload(name="fc", images=64, row_bytes=9216, K=9216, N=4096)
    found = choose(work, CHIP.machine, CHIP.memory)
    assert found.everything == 6 * 64 * 576 * 256
    assert found.candidates < 6 * 2000
    assert found.legal <= found.candidates


def test_the_reasons_are_its_numbers() -> None:
    """DRAM bound: one byte a cycle under 16 x 16 multipliers; all is fetched once."""
    slow = Memory(dram_mb_per_s=700)
    why = choose(
        LayerWorkload(name="fc", row_bytes=256, K=256, N=256), CHIP.machine, slow
    ).why
    assert why.startswith("the array waits for DRAM ")
    assert "weights come once, inputs once" in why
    assert "runner-up" in why


def test_no_mapping_fits() -> None:
    """The layer, the buffer, and what the smallest blocks need."""
    work = LayerWorkload(name="fc7", row_bytes=64, K=64, N=64)
    with pytest.raises(
        InputError, match=r"`--weight-kib` \(=0.0302734\).*fc7.*take 32 bytes"
    ):
        choose(work, CHIP.machine, Memory(weight_bytes=31))


def test_slices_lower_than_the_array_where_no_others_fit() -> None:
    """Three terms of sixteen columns, twice; what the fixed rule maps, the mapper does."""
    work, small = (
        LayerWorkload(name="fc7", row_bytes=64, K=64, N=64),
        Memory(weight_bytes=100),
    )
    found = choose(work, CHIP.machine, small).mapping
    ruled = fixed(work, CHIP.machine, small)
    assert (found.K, found.N) == (ruled.K, ruled.N) == (3, 16)


def test_an_overflow_is_refused() -> None:
    """Counts beyond 2^63 wrap in arrays and are caught in Python integers."""
    most = 1 << 40
    wide = Memory(activation_bytes=most, weight_bytes=most, sum_bytes=most,
                  clock_mhz=10**9, dram_mb_per_s=1)  # fmt: skip
    huge = LayerWorkload(
        name="huge", images=1 << 20, row_bytes=1 << 16, K=1 << 16, N=1 << 16
    )
    with pytest.raises(InputError, match="too large"):
        choose(huge, Systolic(rows=256, cols=256), wide)


def test_planted_a_wrong_order_of_merit_is_seen(monkeypatch) -> None:
    """A closed form that forgets the weights chooses other mappings than the walk."""
    real = closed_form._reads

    def forgets(*given):
        inputs, weights, sums = real(*given)
        return inputs, weights * 0, sums

    monkeypatch.setattr(closed_form, "_reads", forgets)
    with pytest.raises(AssertionError):
        test_nothing_is_better("cycles")
