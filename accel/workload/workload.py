"""What is asked of a machine in one go: the products of a network, and how often it ran."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from accel.workload.layer import LayerWorkload
from configs.checks import check_types, require, require_positive
from configs.tables import count

# What one inference is: of a picture, or one pass over whatever the products stand for.
Unit = Literal["image", "pass"]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """All products of some inferences, in order.

    The rows M of a product do not tell how many inferences they belong to: a row may be an
    image, a position or a token. So the number is a field of its own: the batch that was
    asked for.
    """

    works: tuple[LayerWorkload, ...]
    inferences: int = 1
    unit: Unit = "image"
    # Operators of the source that the products stand for, by name, and how many.
    operators: tuple[tuple[str, int], ...] = ()
    # Operators of the source that no product stands for, by name, and how many there are.
    not_counted: tuple[tuple[str, int], ...] = ()
    # What was decided about the source and changes its figures, a sentence each.
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_types(self)
        require(self, bool(self.works), "works", "must hold a layer with weights.")
        require_positive(self, "inferences")

    @property
    def macs(self) -> int:
        return sum(work.macs for work in self.works)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all different weights."""
        return sum(work.weight_bytes for work in self.works)

    def to_dict(self) -> dict[str, Any]:
        """What a result says of it, for JSON."""
        return {
            "inferences": self.inferences,
            "unit": self.unit,
            "operators": dict(self.operators),
            "not_counted": dict(self.not_counted),
            "remarks": list(self.remarks),
        }


def counted(number: int, unit: str) -> str:
    """A number of inferences in words.

    >>> counted(1, "pass"), counted(2_000, "image"), counted(3, "pass")
    ('1 pass', '2,000 images', '3 passes')
    """
    return count(number, unit, plural(unit))


def plural(unit: str) -> str:
    return {"pass": "passes"}.get(unit, f"{unit}s")


def each(unit: str) -> str:
    """
    >>> each("image"), each("pass")
    ('an image', 'a pass')
    """
    return f"{'an' if unit[0] in 'aeiou' else 'a'} {unit}"


def listed(operators: Iterable[tuple[str, int]]) -> str:
    """Operators that are not counted, in words.

    >>> listed([("Relu", 3), ("Softmax", 1)])
    '3 x Relu, 1 x Softmax'
    """
    return ", ".join(f"{count} x {name}" for name, count in operators)
