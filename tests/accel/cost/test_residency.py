"""A layer done with real numbers: every byte that the model moves is moved, and no other.

DRAM and the buffers hold values by address. Block after block is fetched, multiplied and
written as the periods of `walk` say; a sum that is not there, not written yet, or stale
has no address. What is counted here, byte by byte, is what the cost models must say.
"""

import random
from itertools import product
from math import prod

import pytest
from cost_cases import case, machine, memory

from accel.cost import reference as walks
from accel.cost.mapping import Mapping
from accel.cost.mapspace import ORDERS
from accel.cost.reference import Residency, walk
from accel.machines.machine import Systolic
from accel.predict import timing
from accel.workload.gemm import Gemm
from accel.workload.layer import LayerWorkload

BUFFERS = ("activation_bytes", "weight_bytes", "sum_bytes")


class Chip:
    """One repeat of a layer on a chip whose buffers hold values."""

    def __init__(
        self, work: LayerWorkload, mapping: Mapping, places: Residency, slots: int
    ) -> None:
        self.work, self.mapping, self.places, self.slots = work, mapping, places, slots
        self.x, self.w = _inputs(work), _weights(work)
        # What lies where, by slot: (tag, {address: value}).
        self.held = {name: [(None, {})] * slots for name in ("inputs", "weights", "sums")}
        self.spilled: dict[tuple, bytes] = {}
        self.outputs: dict[tuple, int] = {}
        self.moved = dict.fromkeys(
            ("inputs", "weights", "sums_read", "sums_written", "outputs"), 0
        )
        self.peak = dict.fromkeys(BUFFERS, 0)
        # Slots that the DMA touches while the array works, and those the array uses.
        self.touched: set[tuple] = set()

    def slot(self, name: str, tag: tuple) -> int | None:
        found = [i for i, (t, _) in enumerate(self.held[name]) if t == tag]
        return found[0] if found else None

    def put(self, name: str, tag: tuple, before: tuple | None, values: dict) -> None:
        """Into the slot that the block before does not use."""
        used = self.slot(name, before) if before is not None else None
        at = 0 if used is None or self.slots == 1 else 1 - used
        if name == "sums":
            assert not self.held[name][at][1], "results there still wait to be written"
        self.held[name][at] = (tag, values)
        self.touched.add((name, at))

    def fetch(self, here: dict, before: dict | None) -> int:
        """The operands of a block that the block before did not have; bytes."""
        start = sum(self.moved.values())
        m, n, k = _ranges(self.work, self.mapping, here)
        tag, old = (here["M"],), before and (before["M"],)
        if tag != old:
            values = {a: self.x[a] for a in _addresses(self.work, m)}
            self.put("inputs", tag, old, values)
            self.moved["inputs"] += 0 if self.places.inputs_kept else len(values)
        tag, old = (here["K"], here["N"]), before and (before["K"], before["N"])
        if tag != old:
            values = {a: self.w[a] for a in product(k, n)}
            self.put("weights", tag, old, values)
            self.moved["weights"] += len(values)
        tag, old = (here["M"], here["N"]), before and (before["M"], before["N"])
        if tag != old:
            values = {}
            if here["K"]:
                for a in product(m, n):
                    # Taken away: to read it twice would be to read what is stale.
                    raw = self.spilled.pop(a)
                    self.moved["sums_read"] += len(raw)
                    values[a] = int.from_bytes(raw, "little", signed=True)
            self.put("sums", tag, old, values)
        return sum(self.moved.values()) - start

    def compute(self, here: dict) -> set[tuple]:
        """Adds to the sums of a block, from its slots alone."""
        m, n, k = _ranges(self.work, self.mapping, here)
        tags = {
            "inputs": (here["M"],), "weights": (here["K"], here["N"]),
            "sums": (here["M"], here["N"]),
        }  # fmt: skip
        at = {name: self.slot(name, tag) for name, tag in tags.items()}
        x, w, sums = (self.held[name][at[name]][1] for name in tags)
        for row, col in product(m, n):
            begun = sums[row, col] if here["K"] else 0
            sums[row, col] = begun + sum(
                x[_address(self.work, row, i)] * w[i, col] for i in k
            )
        self.peaks()
        return set(at.items())

    def drain(self, here: dict, after: dict | None) -> int:
        """Writes the results of a block that the next one does not go on with; bytes."""
        start = sum(self.moved.values())
        tag = here["M"], here["N"]
        if after is not None and tag == (after["M"], after["N"]):
            return 0
        at = self.slot("sums", tag)
        done = here["K"] == self.mapping.trips(self.work)["K"] - 1
        for address, value in self.held["sums"][at][1].items():
            if done:
                assert address not in self.outputs
                self.outputs[address] = value
                self.moved["outputs"] += not self.places.outputs_kept
            else:
                self.spilled[address] = value.to_bytes(4, "little", signed=True)
                self.moved["sums_written"] += 4
        self.held["sums"][at] = (tag, {})
        self.touched.add(("sums", at))
        return sum(self.moved.values()) - start

    def peaks(self) -> None:
        sizes = {
            name: sum(len(values) for _, values in slots)
            for name, slots in self.held.items()
        }
        kept = self.work.input_bytes if self.places.inputs_kept else sizes["inputs"]
        kept += self.work.output_bytes if self.places.outputs_kept else 0
        for name, size in zip(BUFFERS, (kept, sizes["weights"], 4 * sizes["sums"]),
                              strict=True):  # fmt: skip
            self.peak[name] = max(self.peak[name], size)


def _inputs(work: LayerWorkload) -> dict[tuple, int]:
    rows = (work.out_rows - 1) * work.stride + work.kernel_rows
    shape = product(range(work.images), range(rows), range(work.row_bytes))
    return {a: 1 + hash(a) % 250 for a in shape}


def _weights(work: LayerWorkload) -> dict[tuple, int]:
    return {a: hash((7, *a)) % 255 - 127 for a in product(range(work.K), range(work.N))}


def _place(work: LayerWorkload, row: int) -> tuple[int, int, int]:
    """Image, output row and output column of a row of the product."""
    image, position = divmod(row, work.out_rows * work.out_cols)
    return image, *divmod(position, work.out_cols)


def _address(work: LayerWorkload, row: int, k: int) -> tuple[int, int, int]:
    """Some byte of an input row that this output row sees."""
    image, p, q = _place(work, row)
    return image, p * work.stride + k % work.kernel_rows, (q + k) % work.row_bytes


def _addresses(work: LayerWorkload, m: range) -> set[tuple]:
    """All bytes of the input rows from the first to the last that a block sees."""
    rows: dict[int, set] = {}
    for image, p, _ in (_place(work, row) for row in m):
        rows.setdefault(image, set()).update(
            p * work.stride + r for r in range(work.kernel_rows)
        )
    return {
        (image, row, byte)
        for image, seen in rows.items()
        for row in range(min(seen), max(seen) + 1)
        for byte in range(work.row_bytes)
    }


def _ranges(
    work: LayerWorkload, mapping: Mapping, here: dict
) -> tuple[range, range, range]:
    size = mapping.images * mapping.strip * work.out_cols
    sizes = (("M", size, work.M), ("N", mapping.N, work.N), ("K", mapping.K, work.K))
    return tuple(
        range(here[d] * size, min(whole, (here[d] + 1) * size)) for d, size, whole in sizes
    )


def _order(work: LayerWorkload, mapping: Mapping) -> list[dict]:
    """The blocks, innermost loop fastest, written as a counter."""
    trips, found = mapping.trips(work), []
    for i in range(prod(trips.values())):
        here = {}
        for d in reversed(mapping.order):
            i, here[d] = divmod(i, trips[d])
        found.append(here)
    return found


def _array(
    array: Systolic, work: LayerWorkload, mapping: Mapping, memory, here: dict
) -> int:
    """Cycles of a block: its own, or those of a port that passes all that it moves."""
    m, n, k = map(len, _ranges(work, mapping, here))
    c = timing.predict(array, Gemm("block", 1, m, k, n))
    words = c.sum_reads + c.sum_writes + c.output_writes + (m * n if here["K"] else 0)
    found = [c.cycles]
    for count, port in (
        (c.input_fetches, memory.activation_port),
        (c.weight_fetches, memory.weight_port),
        (4 * words, memory.sum_port),
    ):
        found.append(0 if port is None else (count + port - 1) // port)
    return max(found)


def _rate(count: int, memory) -> int:
    return (count * memory.clock_mhz + memory.dram_mb_per_s - 1) // memory.dram_mb_per_s


def run(one, array: Systolic, around) -> tuple[Chip, int]:
    """One repeat, period by period; the chip at its end, and cycles."""
    work, mapping, places = one
    chip = Chip(work, mapping, places, 2 if around.double_buffered else 1)
    at = [None, *_order(work, mapping), None]
    cycles = [0] + [_array(array, work, mapping, around, here) for here in at[1:-1]]
    total = 0
    if not around.double_buffered:
        for i in range(1, len(at) - 1):
            total += _rate(chip.fetch(at[i], at[i - 1]), around) + cycles[i]
            chip.compute(at[i])
            total += _rate(chip.drain(at[i], at[i + 1]), around)
        return chip, total
    for i in range(1, len(at) + 1):
        # The array is at block i - 1; the DMA writes block i - 2, then reads block i.
        chip.touched, bytes_moved, used, busy = set(), 0, set(), 0
        if 2 <= i <= len(at) - 1:
            used, busy = chip.compute(at[i - 1]), cycles[i - 1]
        if i >= 3:
            bytes_moved += chip.drain(at[i - 2], at[i - 1])
        if i < len(at) - 1:
            bytes_moved += chip.fetch(at[i], at[i - 1])
            chip.peaks()
        assert not used & chip.touched, "the DMA touches what the array is at"
        total += max(busy, _rate(bytes_moved, around))
    return chip, total


def check(one, array: Systolic, around) -> Chip:
    """The values are right, and the walk says what was counted."""
    work = one.work
    chip, cycles = run(one, array, around)
    for row, col in product(range(work.M), range(work.N)):
        terms = (chip.x[_address(work, row, k)] * chip.w[k, col] for k in range(work.K))
        assert chip.outputs[row, col] == sum(terms)
    assert not chip.spilled
    assert len(chip.outputs) == work.M * work.N
    got = walk(array, work, around, one.mapping, one.places)
    counted = tuple(work.repeats * count for count in chip.moved.values())
    assert (got[2:7], got.cycles) == (counted, work.repeats * cycles)
    need = one.mapping.capacity(work, around, **vars(one.places))
    for name, peak in chip.peak.items():
        assert peak <= need[name], name
    return chip


@pytest.mark.parametrize("seed", range(3))
def test_every_byte_is_moved_as_the_walk_says(seed: int) -> None:
    """Random layers, blocks, orders, kept maps, ports and both bufferings."""
    draw = random.Random(seed)
    for _ in range(80):
        check(case(draw, 6), machine(draw), memory(draw))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("double", [True, False])
def test_every_order_of_a_layer_cut_in_all_dimensions(order: str, double: bool) -> None:
    """Strips with a halo, whole and ragged images; two and three blocks a dimension, where
    sums that went out come back as early as they can."""
    draw, work = random.Random(9), LayerWorkload(
        name="conv", images=2, out_rows=4, out_cols=2, kernel_rows=3, row_bytes=4, K=6, N=4
    )  # fmt: skip
    around = memory(draw, double_buffered=double, sum_port=None)
    for strip, K, N in product((2, 4), (2, 3), (2, 4)):
        mapping = Mapping(strip=strip, K=K, N=N, order=order)
        one = case(draw)._replace(work=work, mapping=mapping, places=Residency())
        chip = check(one, Systolic(rows=2, cols=2), around)
        # All blocks are whole: nothing that is reserved stays empty.
        assert chip.peak == mapping.capacity(work, around)


def test_kept_outputs_lie_beside_the_blocks_of_the_input() -> None:
    """Two strips of three rows take four input rows each, though the map has six only."""
    work = LayerWorkload(
        name="conv", out_rows=4, out_cols=2, kernel_rows=3, row_bytes=5, K=3, N=2
    )
    one = case(random.Random(1))._replace(
        work=work, mapping=Mapping(strip=2, K=3, N=2), places=Residency(outputs_kept=True)
    )
    around = memory(random.Random(1), double_buffered=True)
    chip = check(one, Systolic(rows=2, cols=2), around)
    assert chip.peak["activation_bytes"] == 2 * 4 * 5 + 4 * 2 * 2
    need = one.mapping.capacity(work, around, outputs_kept=True)
    assert need["activation_bytes"] == chip.peak["activation_bytes"]


def test_planted_a_spill_that_comes_back_narrow_is_seen(monkeypatch) -> None:
    """Sums of two bytes in the walk are four here."""
    monkeypatch.setattr(walks, "SUM_BYTES", 2)
    with pytest.raises(AssertionError):
        test_every_order_of_a_layer_cut_in_all_dimensions("KMN", True)
