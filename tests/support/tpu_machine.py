"""The TPU's units as state machines, stepped cycle by cycle: judges `accel.tpu.sim.clock`.

Nothing here knows a formula for a time. Every unit holds the instruction it works on and
the cycles that are left; it starts its next one in the first cycle in which all that it
needs has happened.
"""

from collections import Counter

from hypothesis import strategies as st

from accel.tpu.sim import table as kinds
from accel.tpu.sim.table import Row

_UNITS = {
    kinds.READ_HOST: "host",
    kinds.WRITE_HOST: "host",
    kinds.READ_WEIGHTS: "fetch",
    kinds.MATMUL: "matrix",
    kinds.ACTIVATE: "act",
    kinds.POOL: "act",
}


class Machine:
    """`step` until `finished`; then `starts`, `ends` by row and `idle` cycles by reason."""

    def __init__(self, program: list[Row], fifo: int):
        self.program, self.fifo, self.now = program, fifo, 0
        self.queues = {unit: [] for unit in ("host", "fetch", "shift", "matrix", "act")}
        self.busy: dict[str, list[int]] = {}
        self.starts, self.ends = {}, {}
        self.shift_starts, self.shift_ends = {}, {}
        # Products whose results still fall out of the array: cycles left.
        self.falling: dict[int, int] = {}
        self.idle, self.occupied = Counter(), 0
        fetches = []
        self.tile_of = {}
        self.barrier: dict[int, int] = {}
        last_sync = 0
        for index, row in enumerate(program):
            if row.kind == kinds.SYNC:
                last_sync = index
            self.barrier[index] = last_sync
            if row.kind in _UNITS:
                self.queues[_UNITS[row.kind]].append(index)
            if row.kind == kinds.READ_WEIGHTS:
                fetches.append(index)
            if row.kind == kinds.MATMUL and row.new_tile:
                self.queues["shift"].append(index)
                self.tile_of[index] = fetches[len(self.tile_of)]

    @property
    def finished(self) -> bool:
        return not (any(self.queues.values()) or self.busy or self.falling)

    def run(self) -> int:
        """Cycles until everything has ended."""
        self._settle()
        while not self.finished:
            self._step()
        return self.now

    def _step(self) -> None:
        if "matrix" not in self.busy:
            self.idle[self._reason()] += 1
        self.now += 1
        for work in self.busy.values():
            work[1] -= 1
        for index in list(self.falling):
            self.falling[index] -= 1
        self._settle()

    def _settle(self) -> None:
        """Ends and starts of this cycle, until nothing more happens in it."""
        changed = True
        while changed:
            changed = False
            for index in [i for i, left in self.falling.items() if left == 0]:
                del self.falling[index]
                changed = True
            for unit in self.queues:
                if unit in self.busy and self.busy[unit][1] == 0:
                    self._end(unit, self.busy.pop(unit)[0])
                    changed = True
                free = unit not in self.busy and bool(self.queues[unit])
                if free and self._may_start(unit, self.queues[unit][0]):
                    self._start(unit, self.queues[unit].pop(0))
                    changed = True

    def _start(self, unit: str, index: int) -> None:
        row = self.program[index]
        (self.shift_starts if unit == "shift" else self.starts)[index] = self.now
        self.busy[unit] = [index, row.shift if unit == "shift" else row.duration]
        self.occupied += unit == "fetch"

    def _end(self, unit: str, index: int) -> None:
        (self.shift_ends if unit == "shift" else self.ends)[index] = self.now
        self.occupied -= unit == "shift"
        if unit == "matrix":
            self.falling[index] = self.program[index].drain

    def _may_start(self, unit: str, index: int) -> bool:
        row = self.program[index]
        match unit:
            case "fetch":
                return self.occupied < self.fifo
            case "shift":
                return self._shadow_is_free(index) and self.tile_of[index] in self.ends
            case "matrix":
                return not self._missing(index)
            case "act" if row.kind == kinds.ACTIVATE:
                return self._fallen_out(index)
            case "act":
                return self._done((kinds.READ_HOST,), self.barrier[index])
        return row.kind == kinds.READ_HOST or self._done(
            (kinds.ACTIVATE, kinds.POOL), index
        )

    def _shadow_is_free(self, index: int) -> bool:
        """The tile before was taken over by its first product."""
        return all(tile in self.starts for tile in self.tile_of if tile < index)

    def _fallen_out(self, index: int) -> bool:
        return self._done((kinds.MATMUL,), index) and not any(
            product < index for product in self.falling
        )

    def _done(self, which: tuple[int, ...], before: int, half: int | None = None) -> bool:
        return all(
            i in self.ends
            for i, row in enumerate(self.program[:before])
            if row.kind in which and half in (None, row.half)
        )

    def _missing(self, index: int) -> str:
        """Why a product cannot start; empty if it can."""
        row = self.program[index]
        if row.new_tile and index not in self.shift_ends:
            return "weight_shift" if index in self.shift_starts else "weight_stall"
        if not self._done((kinds.ACTIVATE, kinds.POOL), self.barrier[index]):
            return "raw_stall"
        if not self._done((kinds.READ_HOST,), self.barrier[index]):
            return "input_stall"
        if not row.accumulate and not self._done((kinds.ACTIVATE,), index, row.half):
            return "accumulator_stall"
        return ""

    def _reason(self) -> str:
        waiting = self.queues["matrix"]
        return self._missing(waiting[0]) if waiting else "drain"


@st.composite
def programs(draw, fifo: int, most: int = 14) -> list[Row]:
    """Any legal order of instructions; no more fetched than the FIFO holds."""
    short = st.integers(1, 9)
    kind = st.sampled_from(
        [kinds.MATMUL] * 4
        + [kinds.READ_WEIGHTS] * 3
        + [kinds.ACTIVATE] * 2
        + [kinds.SYNC, kinds.POOL, kinds.READ_HOST, kinds.WRITE_HOST, kinds.IDLE]
    )
    rows, waiting, live = [], 0, False
    drain = draw(st.integers(1, 20))
    for _ in range(draw(st.integers(1, most))):
        chosen = draw(kind)
        if chosen == kinds.READ_WEIGHTS and waiting < fifo:
            waiting += 1
            rows.append(Row(kind=chosen, duration=draw(short)))
        elif chosen == kinds.MATMUL and (waiting or live):
            new = bool(waiting) and (not live or draw(st.booleans()))
            waiting, live = waiting - new, True
            rows.append(_product(draw, short, int(new), drain))
        elif chosen in (kinds.SYNC, kinds.IDLE):
            rows.append(Row(kind=chosen))
        elif chosen not in (kinds.READ_WEIGHTS, kinds.MATMUL):
            half = draw(st.integers(0, 1))
            rows.append(Row(kind=chosen, duration=draw(short), half=half))
    return rows


def _product(draw, short, new: int, drain: int) -> Row:
    lengths = {name: draw(short) for name in ("duration", "shift")}
    bits = {name: draw(st.integers(0, 1)) for name in ("accumulate", "half")}
    rows = lengths["duration"]
    fixed = {"kind": kinds.MATMUL, "rows": rows, "new_tile": new, "drain": drain}
    return Row(used=draw(short), **fixed, **lengths, **bits)
