"""The first value that a machine got wrong, and how it is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from accel.simulate.ideal import Place
from accel.simulate.trace import Trace

# Edges and PEs on each side of the first wrong register that a dump shows.
_AROUND = 2


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """The first value that is not what it should be."""

    layer: str
    # Number of the image among all.
    image: int
    # Row and column of the value in the layer's product, for that image.
    m: int
    n: int
    found: int
    expected: int
    # What went wrong, one sentence.
    cause: str
    # The tile, as ranges of M, K and N within the run.
    tile: str = ""
    # Clock edge of the tile, counted from 1, and the PE's register that first differs.
    cycle: int | None = None
    row: int | None = None
    col: int | None = None
    register: str = ""
    register_found: int | None = None
    register_expected: int | None = None
    # Registers around it, as lines of text.
    dump: tuple[str, ...] = ()

    def sentence(self) -> str:
        """The whole in one line."""
        where = f"`{self.layer}`, image {self.image}, row {self.m}, column {self.n}"
        what = f"{where}: {self.found} instead of {self.expected}; {self.cause}"
        tile = f"; tile {self.tile}" if self.tile else ""
        if self.cycle is None:
            return what + tile
        return (
            f"{what}{tile}, cycle {self.cycle}: {self.register} of PE ({self.row}, "
            f"{self.col}) is {self.register_found}, not {self.register_expected}"
        )


def cycle(recorded: Trace, edge: int, skipped: int) -> int:
    """Clock edge of a tile by the edge of a trace that leaves its first items out."""
    return edge + skipped if edge > recorded.machine.rows else edge


def dump(recorded: Trace, place: Place, skipped: int = 0) -> Iterator[str]:
    """Registers of the PEs around a place, on the edges around it, as lines of text.

    The wrong one stands there as `found (not expected)`; a star marks a valid operand.

    Args:
      place: by the edges of the trace.
      skipped: items of the tile that were not recorded.
    """
    rows = _window(place.row, recorded.machine.rows)
    cols = _window(place.col, recorded.machine.cols)
    for edge in _window(place.cycle - 1, recorded.cycles):
        yield f"cycle {cycle(recorded, edge + 1, skipped)} ({recorded.phases[edge]})"
        for row in rows:
            cells = (_cell(recorded, place, edge, row, col) for col in cols)
            yield "  " + " | ".join(cells)


def _cell(recorded: Trace, place: Place, edge: int, row: int, col: int) -> str:
    registers = recorded.registers
    shown = {n: str(registers[n][edge, row, col]) for n in ("weight", "input", "sum")}
    here = (edge + 1, row, col) == (place.cycle, place.row, place.col)
    if here and place.register in shown:
        shown[place.register] = f"{place.found} (not {place.expected})"
    w, x, s = shown.values()
    # The valid bit itself may be the wrong one.
    mark = "*" if registers["valid"][edge, row, col] else " "
    mark = "!" if here and place.register == "valid" else mark
    return f"({row},{col}) w={w:<4} x={x:<4} s={s:<9}{mark}"


def _window(index: int, size: int) -> range:
    return range(max(0, index - _AROUND), min(size, index + _AROUND + 1))
