"""Numbers from outside: each with its unit, where it stands, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from configs.checks import check_types, require

# confirmed: read in the source that is named. derived: arithmetic on confirmed numbers.
# recalled: widely quoted, not found in a text. assumed: our choice where nothing is known.
# fitted: adjusted until one published figure came out.
Status = Literal["confirmed", "derived", "recalled", "assumed", "fitted"]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """A number with its unit ("pJ", "GB/s"; "" for a ratio), its source and its status."""

    value: int | float
    unit: str
    source: str
    status: Status

    def __post_init__(self) -> None:
        check_types(self)
        require(self, bool(self.source), "source", "must say where the number stands.")

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))
