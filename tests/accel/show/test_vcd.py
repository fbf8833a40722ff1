"""The dump read back by the parser that the viewer Surfer uses equals its trace.

Every signal of every cycle, for every dataflow and any values; and what a reader relies
on besides: when the clock rises, that nothing is written twice, that files are alike.
"""

import re
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
import pywellen
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.machines.counters import PHASES
from accel.machines.machine import Systolic
from accel.show import vcd
from accel.simulate import trace
from accel.simulate.faults import Fault, masks
from accel.simulate.trace import Trace
from configs.errors import InputError

MACHINES = [
    Systolic(rows=3, cols=2),
    Systolic(rows=2, cols=4, weights="shadow"),
    Systolic(rows=2, cols=3, weights="shadow", load="global"),
    Systolic(rows=3, cols=2, dataflow="is"),
    Systolic(rows=2, cols=3, dataflow="os"),
    Systolic(rows=1, cols=1),
]
CLOCK = {"clock_mhz": 700.0}
# 1 s / 700e6, in femtoseconds, by hand.
PERIOD = 1_428_571


def recorded(machine: Systolic, dtype=np.uint8, faults=()) -> Trace:
    """Ragged in every direction, with several tiles."""
    draw, bounds = np.random.default_rng(5), np.iinfo(dtype)
    x = draw.integers(bounds.min, bounds.max, (5, 4), endpoint=True, dtype=dtype)
    w = draw.integers(-127, 128, (4, 5), dtype=np.int8)
    signed = {"weight": True, "input": dtype == np.int8, "sum": True}
    return trace.record(machine, x, w, masks(faults, machine, signed))


def made(rows: int, cols: int, cycles: int, seed: int) -> Trace:
    """A trace that no array made: any values, the extremes among them."""
    draw = np.random.default_rng(seed)

    def values(shape, low: int, high: int) -> np.ndarray:
        found = draw.integers(low, high, shape, endpoint=True)
        extreme = draw.choice([low, high, 0, -1 if low else 1], shape)
        return np.where(draw.random(shape) < 0.5, extreme, found).astype(np.int32)

    planes, low, high = (cycles, rows, cols), -(2**31), 2**31 - 1
    registers = {
        "weight": values(planes, -128, 127),
        "input": values(planes, *((0, 255) if seed % 2 else (-128, 127))),
        "sum": values(planes, low, high),
        "valid": draw.random(planes) < 0.5,
    }
    captured, valid = values((cycles, cols), low, high), draw.random((cycles, cols)) < 0.5
    phases = tuple(draw.choice(PHASES, cycles).tolist())
    machine, none = Systolic(rows=rows, cols=cols), np.zeros((1, 1), np.int8)
    return Trace(machine, none, none, registers, captured, valid, phases)


def expected(run: Trace) -> dict[str, list]:
    """What every signal must be in every cycle, by its path below the top module."""
    found = {"cycle": list(range(run.cycles)), "phase": list(run.phases)}
    for c in range(run.machine.cols):
        found[f"result_{c}"] = run.captured[:, c].tolist()
        found[f"result_valid_{c}"] = run.captured_valid[:, c].tolist()
        for r in range(run.machine.rows):
            for name in ("weight", "input", "sum", "valid"):
                found[f"pe_{r}_{c}.{name}"] = run.registers[name][:, r, c].tolist()
    return found


def read(dump: bytes, folder) -> tuple[pywellen.Waveform, dict]:
    path = folder / "a.vcd"
    path.write_bytes(dump)
    wave = pywellen.Waveform(str(path))
    return wave, {var.full_name.removeprefix("top."): var for var in wave.all_vars()}


def meaning(var, value: int) -> int | str:
    """A value as a viewer shows it: text for the phase, else a signed decimal."""
    if var.name == "phase":
        return value.to_bytes(var.bitwidth // 8).decode().lstrip("\0")
    negative = var.bitwidth > 1 and value >> (var.bitwidth - 1)
    return value - (negative << var.bitwidth)


def differing(dump: bytes, run: Trace, folder) -> list[str]:
    """Signals that the dump lacks, has too many, or has otherwise in some cycle.

    They are looked at on the edge and just before the next one.
    """
    _, found = read(dump, folder)
    wanted = expected(run)
    wrong = sorted(set(wanted) ^ (set(found) - {"clock"}))
    times = [range(0, run.cycles * PERIOD, PERIOD)]
    times.append(range(PERIOD - 1, run.cycles * PERIOD, PERIOD))
    for path in set(wanted) & set(found):
        var = found[path]
        for moments in times:
            got = [meaning(var, var.signal.value_at(time)) for time in moments]
            if got != wanted[path]:
                wrong.append(path)
    return wrong


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
def test_every_register_of_every_cycle_can_be_read_back(machine, dtype, tmp_path):
    run = recorded(machine, dtype)
    assert differing(vcd.encode(run, name="top", **CLOCK), run, tmp_path) == []


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 9), st.integers(0, 999))
def test_any_values_can_be_read_back(tmp_path_factory, rows, cols, cycles, seed):
    run = made(rows, cols, cycles, seed)
    dump = vcd.encode(run, name="top", **CLOCK)
    assert differing(dump, run, tmp_path_factory.getbasetemp()) == []


def test_broken_registers_show(tmp_path):
    """Sign bits that are stuck: the values at the ends of what a register holds."""
    broken = [
        Fault(register=register, row=0, col=1, bit=bit, kind="stuck_1")
        for register, bit in (("weight", 7), ("input", 7), ("sum", 31))
    ]
    for dtype in (np.uint8, np.int8):
        run = recorded(Systolic(rows=2, cols=2), dtype, broken)
        assert differing(vcd.encode(run, name="top", **CLOCK), run, tmp_path) == []


def test_the_comparison_sees_one_bit_in_one_cycle(tmp_path):
    run = made(2, 3, 6, seed=1)
    dump = vcd.encode(run, name="top", **CLOCK)
    run.registers["sum"][3, 1, 2] ^= 1
    assert set(differing(dump, run, tmp_path)) == {"pe_1_2.sum"}
    run.registers["sum"][3, 1, 2] ^= 1
    run.captured[5, 0] ^= 1 << 30
    assert set(differing(dump, run, tmp_path)) == {"result_0"}


def late(changes):
    """The registers change one cycle after their edge."""
    return changes[0] + 1, *changes[1:]


def crossed(changes):
    """Two PEs are mistaken for each other."""
    last = max(changes[1])
    other = {last: last - 1, last - 1: last}
    return changes[0], [other.get(one, one) for one in changes[1]], changes[2]


def unfinished(changes):
    """The last change is forgotten."""
    return tuple(part[:-1] for part in changes)


@pytest.mark.parametrize("fault", [late, crossed, unfinished])
def test_a_planted_fault_is_seen(fault, monkeypatch, tmp_path):
    run, right = made(2, 2, 8, seed=3), vcd._changes
    monkeypatch.setattr(vcd, "_changes", lambda signals: fault(right(signals)))
    assert differing(vcd.encode(run, name="top", **CLOCK), run, tmp_path)


def test_eight_bits_would_not_tell_the_inputs_apart(monkeypatch, tmp_path):
    run = recorded(Systolic(rows=2, cols=2), np.uint8)
    assert (run.registers["input"] > 127).any()
    monkeypatch.setitem(vcd._BITS, "input", 8)
    wrong = differing(vcd.encode(run, name="top", **CLOCK), run, tmp_path)
    assert wrong
    assert all(path.endswith(".input") for path in wrong)


def test_the_clock_rises_once_a_cycle_and_the_last_cycle_has_its_length(tmp_path):
    run = recorded(Systolic(rows=2, cols=2))
    dump = vcd.encode(run, name="top", **CLOCK)
    wave, signals = read(dump, tmp_path)
    edges = [(time, value) for time, value in signals["clock"].tv]
    half = PERIOD // 2
    assert edges == [
        (i // 2 * PERIOD + i % 2 * half, 1 - i % 2) for i in range(2 * run.cycles)
    ]
    assert dump.decode().split()[-1] == f"#{run.cycles * PERIOD}"
    assert (wave.timescale.factor, str(wave.timescale.unit)) == (1, "fs")


def test_widths_and_scopes_are_the_hardwares(tmp_path):
    _, signals = read(vcd.encode(made(2, 11, 3, 0), name="top", **CLOCK), tmp_path)
    bits = {"weight": 8, "input": 9, "sum": 32, "valid": 1}
    for name, width in bits.items():
        assert signals[f"pe_1_10.{name}"].bitwidth == width
    assert signals["result_10"].bitwidth == 32


def test_nothing_is_written_twice_and_everything_once_at_the_start():
    text = vcd.encode(recorded(Systolic(rows=3, cols=2)), name="top", **CLOCK).decode()
    declared = re.findall(r"^\$var \w+ \d+ (\S+) ", text, re.MULTILINE)
    body = text.split("$enddefinitions $end\n")[1]
    written, times = defaultdict(list), []
    for line in body.splitlines():
        if line[0] == "#":
            times.append(int(line[1:]))
        elif line[0] != "$":
            value, code = line.split() if line[0] == "b" else (line[0], line[1:])
            written[code].append(value)
    assert len(set(declared)) == len(declared)
    assert sorted(written) == sorted(declared)
    for values in written.values():
        assert all(a != b for a, b in pairwise(values))
    assert times == sorted(set(times))
    first = body.split("$end\n")[0]
    assert first.startswith("#0\n$dumpvars\n")
    assert len(first.splitlines()) == 2 + len(declared)


def test_two_files_of_one_trace_are_the_same_bytes():
    machine = Systolic(rows=2, cols=2)
    first, second = (vcd.encode(recorded(machine), name="top", **CLOCK) for _ in range(2))
    assert first == second
    assert b"$date" not in first


@pytest.mark.parametrize(
    "name", ["", "a b", "1st", "a.b", "$end", "x $end\n$scope", "é", "a\n", "a" * 101]
)
def test_a_name_that_would_break_the_file_is_refused(name):
    with pytest.raises(InputError, match=r"`name` \(=.*must be at most 100 letters"):
        vcd.encode(made(1, 1, 2, 0), name=name, **CLOCK)


def test_a_file_too_large_is_refused_before_it_is_written(monkeypatch):
    """The number in the message is the number of value changes in the file."""
    run = made(2, 2, 7, seed=4)
    body = vcd.encode(run, name="top", **CLOCK).decode().split("$enddefinitions $end\n")[1]
    changes = sum(line[0] not in "#$" for line in body.splitlines())
    monkeypatch.setattr(vcd, "MOST_CHANGES", changes)
    vcd.encode(run, name="top", **CLOCK)
    monkeypatch.setattr(vcd, "MOST_CHANGES", changes - 1)
    monkeypatch.setattr(vcd, "_written", None)
    message = rf"`trace` \(={changes} value changes in 7 cycles of systolic_ws_2x2\) must"
    with pytest.raises(InputError, match=message + ".*take fewer items or a smaller"):
        vcd.encode(run, name="top", **CLOCK)


@pytest.mark.parametrize(("clock_mhz", "period"), [(700, 1_428_571), (33.3, 30_030_030)])
def test_the_clock_is_the_stated_one(clock_mhz, period):
    """Rising edges are a period apart, 10^9 / MHz femtoseconds."""
    dump = vcd.encode(made(1, 1, 3, seed=0), name="top", clock_mhz=clock_mhz).decode()
    assert "1 fs" in dump.split("$timescale")[1].split("$end")[0]
    code = re.search(r"^\$var wire 1 (\S+) clock", dump, re.MULTILINE)[1]
    time, rises = 0, []
    for line in dump.split("$enddefinitions $end\n")[1].splitlines():
        if line[0] == "#":
            time = int(line[1:])
        elif line == f"1{code}":
            rises.append(time)
    assert rises == [0, period, 2 * period]
