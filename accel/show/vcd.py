"""A trace as a Value Change Dump, the file that waveform viewers open.

    top module, named by the caller
      clock, cycle, phase, result_<c>, result_valid_<c>
      pe_<r>_<c>: weight, input, sum, valid

The clock is the machine's, its period rounded to whole femtoseconds. It rises at cycle *
period, and with it every register takes the value that the trace holds for that cycle: its
state after that edge. Sums and operands are in two's
complement; viewers show them as signed decimals. `phase` holds ASCII text, one byte a
letter: the format itself knows no text.

Reference: IEEE 1364-2005, section 18 (Value change dump files).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from vcd import VCDWriter

from accel.simulate.faults import WIDTHS
from accel.simulate.trace import Trace
from configs.checks import brief
from configs.errors import InputError

# Unit of time in the file; a clock of 700 MHz has 1,428,571 of them, 4e-8 % off.
TIMESCALE = "1 fs"
# First values and changes together; some 20 bytes each in the file.
MOST_CHANGES = 1 << 21
_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,99}"
# An input is uint8 or int8, and a dump does not say which. With one bit more than the
# hardware has, one signed number stands for both.
_BITS = {**WIDTHS, "input": WIDTHS["input"] + 1, "valid": 1}
# "stream" is the longest.
_PHASE_LETTERS = 6


class _Signals(NamedTuple):
    """Signals of one kind: their paths below the top module, and a column for each."""

    paths: list[tuple[str, ...]]
    kind: str
    bits: int
    values: np.ndarray


def period_fs(clock_mhz: float) -> int:
    """
    >>> period_fs(700), period_fs(1000)
    (1428571, 1000000)
    """
    return round(1e9 / clock_mhz)


def encode(trace: Trace, *, name: str, clock_mhz: float) -> bytes:
    """The whole file; the same trace and clock give the same bytes.

    Args:
      name: of the top module.
      clock_mhz: of the machine, at most 10^6.

    Raises:
      InputError: the name is no identifier, or the file would be too large to look at.
    """
    if not re.fullmatch(_NAME, name):
        raise InputError(
            f"`name` (={brief(name)}) of a VCD must be at most 100 letters, digits and "
            f"underscores, no digit first; rename it."
        )
    signals = list(_signals(trace))
    _require_readable(trace, signals)
    return _written(trace, name, signals, clock_mhz).encode("ascii")


def _signals(trace: Trace) -> Iterator[_Signals]:
    cycles, (rows, cols) = trace.cycles, (trace.machine.rows, trace.machine.cols)
    counted = np.arange(cycles)[:, None]
    yield _Signals([("cycle",)], "integer", 32, counted)
    yield _Signals([("phase",)], "reg", 8 * _PHASE_LETTERS, _ascii(trace.phases)[:, None])
    columns = range(cols)
    yield _Signals([(f"result_{c}",) for c in columns], "wire", 32, trace.captured)
    valid = [(f"result_valid_{c}",) for c in columns]
    yield _Signals(valid, "wire", 1, trace.captured_valid)
    places = [f"pe_{r}_{c}" for r in range(rows) for c in columns]
    for register, bits in _BITS.items():
        paths = [(place, register) for place in places]
        values = trace.registers[register].reshape(cycles, -1)
        yield _Signals(paths, "reg", bits, values)


def _ascii(words: tuple[str, ...]) -> np.ndarray:
    """Texts as numbers, the last letter in the low byte, as Verilog stores strings."""
    return np.array([int.from_bytes(word.encode("ascii")) for word in words])


def _require_readable(trace: Trace, signals: list[_Signals]) -> None:
    first = sum(len(one.paths) for one in signals)
    later = sum(int(np.count_nonzero(_changed(one.values))) for one in signals)
    changes = first + later + 2 * trace.cycles
    if changes > MOST_CHANGES:
        raise InputError(
            f"`trace` (={changes} value changes in {trace.cycles} cycles of "
            f"{trace.machine.name}) must have at most {MOST_CHANGES} for a VCD; take fewer "
            f"items or a smaller array."
        )


def _changed(values: np.ndarray) -> np.ndarray:
    return values[1:] != values[:-1]


def _written(trace: Trace, name: str, signals: list[_Signals], clock_mhz: float) -> str:
    file, period = io.StringIO(), period_fs(clock_mhz)
    comment = f"{trace.machine.name}, {clock_mhz:g} MHz: one cycle = {period} fs"
    # A date would make two files of one trace differ.
    with VCDWriter(
        file, timescale=TIMESCALE, date="", version="Lockstep", comment=comment
    ) as writer:
        clock = writer.register_var((name,), "clock", "wire", 1, init=1)
        variables = [
            writer.register_var((name, *scope), label, one.kind, one.bits, init=first)
            for one in signals
            for (*scope, label), first in zip(
                one.paths, one.values[0].tolist(), strict=True
            )
        ]
        cycle, which, values = _changes(signals)
        begin = np.searchsorted(cycle, np.arange(trace.cycles + 1)).tolist()
        for at in range(trace.cycles):
            time = at * period
            writer.change(clock, time, 1)
            for i in range(begin[at], begin[at + 1]):
                writer.change(variables[which[i]], time, values[i])
            writer.change(clock, time + period // 2, 0)
        writer.flush(trace.cycles * period)
    return file.getvalue()


def _changes(signals: list[_Signals]) -> tuple[np.ndarray, list[int], list[int]]:
    """Cycle, signal and new value of every change after the first cycle, in order."""
    cycles, which, values, before = [], [], [], 0
    for one in signals:
        at, column = np.nonzero(_changed(one.values))
        cycles.append(at + 1)
        which.append(column + before)
        values.append(one.values[at + 1, column].astype(np.int64))
        before += len(one.paths)
    cycle = np.concatenate(cycles)
    order = np.argsort(cycle, kind="stable")
    by_time = (np.concatenate(parts)[order].tolist() for parts in (which, values))
    return cycle[order], *by_time
