"""Tables for a terminal of any width: a figure is printed whole or its column is named.

    | layer | cycles | busy % |        at 80 columns
    | layer | cycles |                 at 20, and below it: Left out in this width: busy %.

Words may be folded over lines; numbers never are, and no two names become equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

# Narrower, the words of a first column are folded beyond reading.
_LEAST_WORDS = 12
_GAP = 2


class Figures(Table):
    """Words in the first columns, figures in the others.

    Args:
      titles: of the columns.
      words: how many of the first columns hold words, which may be folded.
      least: titles that go first where there is no room, in that order; then the others
        from the right, the first one of figures never.
    """

    def __init__(
        self, *titles: str, words: int = 1, least: Sequence[str] = (), **style
    ) -> None:
        super().__init__(**{"box": None, "pad_edge": False, "header_style": "", **style})
        self.words, self.least = words, tuple(least)
        for at, title in enumerate(titles):
            if at < words:
                self.add_column(title, overflow="fold")
            else:
                self.add_column(title, justify="right", no_wrap=True, overflow="fold")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        kept = self._kept(options.max_width)
        if len(kept) == len(self.columns):
            yield from super().__rich_console__(console, options)
            return
        narrow = Table(box=self.box, pad_edge=self.pad_edge, header_style="")
        for at in kept:
            column = self.columns[at]
            narrow.add_column(
                column.header, justify=column.justify, no_wrap=column.no_wrap,
                overflow="fold",
            )  # fmt: skip
        cells = zip(*(self.columns[at].cells for at in kept), strict=True)
        for row, given in zip(self.rows, cells, strict=True):
            narrow.add_row(*given, style=row.style)
        yield narrow
        left = [c for at, c in enumerate(self.columns) if at not in kept]
        names = ", ".join(str(column.header) for column in left if str(column.header))
        if names:
            yield Text(f"Left out in this width: {names}.")

    def _kept(self, width: int) -> list[int]:
        """Places of the columns that have room, in order."""
        need = [self._need(at) for at in range(len(self.columns))]
        going = self._going()
        kept = list(range(len(self.columns)))
        while sum(need[at] + _GAP for at in kept) > width and going:
            kept.remove(going.pop(0))
        return kept

    def _going(self) -> list[int]:
        """Places of the columns that may go, first to last."""
        titles = [str(column.header) for column in self.columns]
        first = [titles.index(title) for title in self.least if title in titles]
        rest = range(len(titles) - 1, self.words, -1)
        return [*first, *(at for at in rest if at not in first)]

    def _need(self, at: int) -> int:
        """Cells that a column cannot do without."""
        column = self.columns[at]
        longest = max(map(_width, (column.header, *column.cells)), default=0)
        return min(longest, _LEAST_WORDS) if at < self.words else longest


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number of things in words.

    >>> count(1, "epoch"), count(2_000, "image"), count(0, "pass", "passes")
    ('1 epoch', '2,000 images', '0 passes')
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def _width(cell: object) -> int:
    lines: Iterable[str] = str(cell).split("\n")
    return max(map(cell_len, lines), default=0)
